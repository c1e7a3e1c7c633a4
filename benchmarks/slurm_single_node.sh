#!/usr/bin/env bash
# This machine as a Slurm cluster of one node: a sweep of six jobs through it, one of which is killed and
# requeued; ends with the table of all six. Needs root on Debian, and the environment of `make test` in .venv.
# Usage: benchmarks/slurm_single_node.sh [RESULTS_FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
results=${1:-results/slurm}
host=$(hostname -s)

if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
  apt-get update >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -y slurm-wlm munge >/dev/null
fi

mkdir -p /etc/slurm /var/spool/slurmctld /var/spool/slurmd /var/log/slurm /run/munge /etc/munge
[ -s /etc/munge/munge.key ] || (umask 077 && head -c 1024 /dev/urandom >/etc/munge/munge.key)
chown -R munge:munge /etc/munge /run/munge /var/lib/munge /var/log/munge
pgrep -x munged >/dev/null || runuser -u munge -- munged --force

cat >/etc/slurm/slurm.conf <<EOF
ClusterName=one
SlurmctldHost=$host
SlurmUser=root
AuthType=auth/munge
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
JobRequeue=1
NodeName=$host CPUs=$(nproc) RealMemory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024 - 512)) State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
EOF
echo "CgroupPlugin=disabled" >/etc/slurm/cgroup.conf
pgrep -x slurmctld >/dev/null || slurmctld
pgrep -x slurmd >/dev/null || slurmd
for _ in $(seq 60); do
  sinfo -h -o %t | grep -qE 'idle|mix|alloc' && break
  sleep 1
done
sinfo

export HF_HUB_OFFLINE=1
rm -rf "$results"
.venv/bin/python -m harness -m model=lab-base \
  variants="[base,oproj_merged],[base,mlp_merged],[base,oproj_zeroed]" tasks="[lab_gsm8k],[lab_mmlu]" \
  results.dir="$results" hydra/launcher=submitit_slurm hydra.launcher.partition=main hydra.launcher.cpus_per_task=1 \
  hydra.launcher.mem_gb=4 hydra.launcher.gpus_per_node=null runtime.threads=1 &
sweep=$!

# The first job that has taken a part of its cell is killed in the middle of it, and queued again.
victim=""
while [ -z "$victim" ] && kill -0 $sweep 2>/dev/null; do
  if compgen -G "$results/.locks/*.working" >/dev/null; then
    victim=$(squeue -h -r -t R -o %i | head -1)
  fi
  sleep 0.2
done
echo "requeueing job $victim"
scontrol requeue "$victim"
wait $sweep
