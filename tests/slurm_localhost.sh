#!/usr/bin/env bash
# A Slurm cluster of one node, this machine, to try the study on: root on Debian with
#   apt-get install slurmctld slurmd slurm-client munge
# Usage: tests/slurm_localhost.sh DIR COMMAND...   runs COMMAND with the cluster up, then ends it
set -euo pipefail
dir=$(mkdir -p "$1" && cd "$1" && pwd)
shift
host=$(hostname -s)
cpus=$(nproc)
memory=$(awk "/MemTotal/ {print int(\$2 / 1024)}" /proc/meminfo)
rm -rf "$dir"/{state,spool}
mkdir -p "$dir"/{state,spool}
cat >"$dir/slurm.conf" <<CONF
ClusterName=fer
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
SlurmctldPort=16817
SlurmdPort=16818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ReturnToService=2
MinJobAge=600
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
# jobs start without this shell's variables and look where Slurm's programs look by themselves
conf=/etc/slurm/slurm.conf
if [ -e $conf ]; then
    echo "error: there is a $conf already; this script is for a machine without a cluster" >&2
    exit 2
fi
ln -sf "$dir/slurm.conf" $conf
end() {
    rm -f $conf
    for name in slurmd slurmctld; do
        if [ -f "$dir/$name.pid" ]; then kill "$(cat "$dir/$name.pid")" 2>/dev/null || true; fi
    done
}
trap end EXIT
if ! munge -n >/dev/null 2>&1; then
    mkdir -p /run/munge
    chown munge:munge /run/munge
    su -s /bin/sh munge -c /usr/sbin/munged
fi
slurmctld
slurmd
for _ in $(seq 60); do
    if sinfo -h -o %T 2>/dev/null | grep -q idle; then break; fi
    sleep 0.5
done
sinfo
"$@"
