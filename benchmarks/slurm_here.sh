#!/bin/sh
# A SLURM of one's own on this machine, for trying batches on it; nothing outside DIR is touched.
#
#   benchmarks/slurm_here.sh start [DIR [NODES]]   # prints what to do in the shell that submits
#   benchmarks/slurm_here.sh stop [DIR]
#
# As root, nodes beyond the first have host names of their own, node1, node2, …: so a batch sees
# several hosts, which share processors and file system. As another user all have the machine's.
# REQUEUE_EXIT=75,138 in the environment becomes RequeueExit of slurm.conf.
# Debian: apt-get install slurm-wlm munge
set -eu
PATH=$PATH:/usr/sbin
command=${1:-} dir=${2:-/tmp/slurm-here-$(id -u)} n_nodes=${3:-1}

start() {
  for name in munged slurmctld slurmd; do
    command -v $name >/dev/null || { echo "$name is missing: apt-get install slurm-wlm munge" >&2; exit 2; }
  done
  if [ -e "$dir/slurm.conf" ]; then
    echo "$dir has a SLURM already: $0 stop $dir" >&2
    exit 2
  fi
  mkdir -m 755 -p "$dir" "$dir/state"
  dd if=/dev/urandom of="$dir/munge.key" bs=128 count=1 2>/dev/null
  chmod 600 "$dir/munge.key"
  munged --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
    --log-file="$dir/munged.log" --seed-file="$dir/munged.seed"
  write_configuration
  export SLURM_CONF="$dir/slurm.conf"
  slurmctld
  for node in $(nodes); do
    mkdir -p "$dir/spool-$node"
    if [ "$n_nodes" -gt 1 ] && [ "$(id -u)" = 0 ]; then
      unshare --uts sh -c "hostname $node && exec slurmd -N $node"
    else
      slurmd -N "$node"
    fi
  done
  until [ "$(sinfo -h -t idle -o %D 2>/dev/null)" = "$n_nodes" ]; do sleep 0.5; done
  sinfo >&2
  echo "export SLURM_CONF=$SLURM_CONF"
}

nodes() {
  if [ "$n_nodes" = 1 ]; then
    hostname -s
  else
    seq -f 'node%.0f' "$n_nodes"
  fi
}

write_configuration() {
  cat >"$dir/slurm.conf" <<END
ClusterName=here
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
# A job that goes back into the queue starts again when its old credential has run out.
AuthInfo=socket=$dir/munge.socket,cred_expire=10
SlurmctldPort=16817
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd-%n.log
# A line a job that has ended.
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/jobs.txt
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
${REQUEUE_EXIT:+RequeueExit=$REQUEUE_EXIT}
KillWait=10
SchedulerParameters=sched_interval=2,bf_interval=2
ReturnToService=2
END
  number=0
  for node in $(nodes); do
    number=$((number + 1))
    echo "NodeName=$node NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$((16818 + number))" \
      "$(slurmd -C | sed -n 's/NodeName=[^ ]* //p' | sed 's/UpTime.*//')"
  done >>"$dir/slurm.conf"
  # Jobs of the second partition push those of the first back into the queue.
  cat >>"$dir/slurm.conf" <<END
PartitionName=main Nodes=ALL Default=YES MaxTime=UNLIMITED OverSubscribe=FORCE:8 LLN=YES PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=UNLIMITED OverSubscribe=NO PriorityTier=2
END
}

stop() {
  [ -e "$dir/slurm.conf" ] || { echo "$dir has no SLURM" >&2; exit 2; }
  export SLURM_CONF="$dir/slurm.conf"
  scancel --quiet --user "$(id -un)" 2>/dev/null || true
  for pid_file in "$dir"/slurmd-*.pid "$dir/slurmctld.pid" "$dir/munged.pid"; do
    if [ -e "$pid_file" ]; then
      pid=$(cat "$pid_file")
      kill "$pid" 2>/dev/null || true
      while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    fi
  done
  rm -r "$dir"
}

case $command in
start | stop) $command ;;
*)
  sed -n '2,/^# Debian/s/^# \{0,1\}//p' "$0" >&2
  exit 2
  ;;
esac
