#!/bin/sh
# A study as an array of SLURM jobs, into one directory that all nodes see. A job whose time is up
# goes back into the queue; submitted again after whatever else ended it, the array goes on.
#SBATCH --array=1-20
#SBATCH --time=03:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --cpus-per-task=4
trap 'kill -USR1 $!' USR1
disinhib batch run study.toml --out /shared/study \
  --shard "$SLURM_ARRAY_TASK_ID/20" --time-limit 2h50m &
# A signal ends `wait` too.
while wait $!; code=$?; kill -0 $! 2>/dev/null; do :; done
# Runs are left: 75 is the end of --time-limit, 138 SIGUSR1. A job's number alone may be the array's.
case $code in
75 | 138) scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" ;;
esac
exit $code
