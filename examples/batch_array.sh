#!/bin/sh
# A study as an array of SLURM jobs, into one directory that all nodes see. Submitted again it goes on.
#SBATCH --array=1-20
#SBATCH --time=03:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --cpus-per-task=4
exec disinhib batch run study.toml --out /shared/study \
  --shard "$SLURM_ARRAY_TASK_ID/20" --time-limit 2h50m
