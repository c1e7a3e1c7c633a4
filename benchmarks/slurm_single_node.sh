#!/usr/bin/env bash
# This machine as a Slurm cluster of one node: a sweep of six jobs through it, one of which is killed and
# requeued; ends with the table of all six. Needs root on Debian, and the environment of `make test` in .venv.
# Usage: benchmarks/slurm_single_node.sh [RESULTS_FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
results=${1:-results/slurm}
mark="# by benchmarks/slurm_single_node.sh"
if [ -s /etc/slurm/slurm.conf ] && ! grep -qF "$mark" /etc/slurm/slurm.conf; then
  echo "/etc/slurm/slurm.conf belongs to another cluster: this script would replace it" >&2
  exit 1
fi
if [ -e "$results" ] && [ ! -d "$results/cells" ]; then
  echo "$results exists and holds no cells: choose a folder that may be emptied" >&2
  exit 1
fi
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
$mark
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
# submitit's jobs ignore the first signal; the second one, which kills, follows after this many seconds.
KillWait=1
JobRequeue=1
NodeName=$host CPUs=$(nproc) RealMemory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024 - 512)) State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
EOF
# Nothing here uses control groups, but slurmd wants the plugin of those that the machine has.
if [ -d /sys/fs/cgroup/memory ]; then cgroup=cgroup/v1; else cgroup=autodetect; fi
printf 'CgroupPlugin=%s\n' "$cgroup" >/etc/slurm/cgroup.conf
pgrep -x slurmctld >/dev/null || slurmctld
pgrep -x slurmd >/dev/null || slurmd || { tail /var/log/slurm/slurmd.log >&2; exit 1; }
for _ in $(seq 60); do
  sinfo -h -o %t | grep -qE 'idle|mix|alloc' && break
  sleep 1
done
sinfo

export HF_HUB_OFFLINE=1
rm -rf "$results"
.venv/bin/python -m harness -m model=lab-base \
  variants="[base,oproj_zeroed],[base,mlp_merged],[base,oproj_merged]" tasks="[lab_gsm8k],[lab_mmlu]" \
  results.dir="$results" hydra/launcher=submitit_slurm hydra.launcher.partition=main hydra.launcher.cpus_per_task=1 \
  hydra.launcher.mem_gb=4 hydra.launcher.gpus_per_node=null runtime.threads=1 &
sweep=$!

# The first job that has taken a part of its cell is killed in the middle of it, and queued again.
victim=""
while [ -z "$victim" ] && kill -0 $sweep 2>/dev/null; do
  sleep 0.1
  for marker in "$results"/.locks/*.working; do
    pid=$(grep -oE '"pid": [0-9]+' "$marker" 2>/dev/null | grep -oE '[0-9]+') || continue
    victim=$(tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | awk -F= '$1 == "SLURM_JOB_ID" {print $2}') || continue
    [ -n "$victim" ] && break
  done
done
[ -n "$victim" ] || { echo "no job was seen at work" >&2; exit 1; }
echo "job $victim works on $(basename "$marker" .working): killed and queued again"
scontrol requeue "$victim"
wait $sweep
restarts=$(scontrol show job "$victim" | grep -oE 'Restarts=[0-9]+')
echo "job $victim: $restarts"
scontrol shutdown
[ "$restarts" = Restarts=1 ]
