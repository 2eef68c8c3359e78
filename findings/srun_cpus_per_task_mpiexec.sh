#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# MPICH in a job of Slurm: with SRUN_CPUS_PER_TASK in the environment, mpiexec puts all ranks of a node on the cores of a
# single task. mpiexec starts nothing itself there but has srun start one task on each node, a proxy which starts the
# ranks; srun gives this task the cores that the variable says, and the ranks inherit them. Without the variable they have
# all cores of the job, and srun puts each of its own tasks on its own cores with the variable and without. Nothing is
# said: the ranks share one core and the others idle. Seen in MPICH 4.0.3 and 5.0.2 under Slurm 22.05.8 with
# task/affinity, and in MPICH 4.0.2 of Debian 12.
#
# Who would meet it: since Slurm 22.05, where srun does not take --cpus-per-task from its job, job scripts have the line
# "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK"; who then calls mpiexec below it. zinf sets the variable only where
# ranks are started by srun (jobscripts/job.sh).
#
# Installs the wheels of MPICH and unpacks Debian 12's packages of Slurm and munge in a temporary folder, and starts a
# Slurm of one node with two cores there, which ends with the script; ends with 0 when the behaviour is as stated, 1 when
# it has changed.
set -eu
folder=$(mktemp -d /tmp/slurm-XXXXXX)
daemons=""
end() {
    for pid in $daemons; do kill "$pid" 2>/dev/null || :; done
    wait
    rm -rf "$folder"
}
trap end EXIT
trap 'exit 1' INT TERM HUP
chmod 755 "$folder"
cd "$folder"
mkdir packages state spool
(
    cd packages
    slurm=22.05.8-4+deb12u3
    apt-get -q download slurmctld=$slurm slurmd=$slurm slurm-client=$slurm slurm-wlm-basic-plugins=$slurm munge libmunge2 \
        libhwloc15 libnuma1 >log 2>&1 || { cat log; exit 1; }
    for package in *.deb; do dpkg -x "$package" .; done
)
for version in 4.0.3 5.0.2; do
    python3 -m venv "mpich-$version"
    "mpich-$version/bin/pip" install --quiet --disable-pip-version-check "mpich==$version"
done
libraries=$folder/packages/usr/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH="$libraries/slurm-wlm:$libraries" PATH="$folder/packages/usr/bin:$folder/packages/usr/sbin:$PATH"
export SLURM_CONF="$folder/slurm.conf"
host=$(uname -n)
port=$((20000 + $$ % 20000))
user=$(id -un)
cat >slurm.conf <<END
ClusterName=seen
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
PluginDir=$libraries/slurm-wlm
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=2 RealMemory=500
PartitionName=main Nodes=n1 Default=YES State=UP
END
(umask 077 && head -c 128 /dev/urandom >key)
munged -F --socket="$folder/munge.socket" --key-file="$folder/key" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/seed" >munge 2>&1 &
daemons="$daemons $!"
slurmctld-wlm -D >controller 2>&1 &
daemons="$daemons $!"
slurmd-wlm -D -N n1 -d "$folder/packages/usr/sbin/slurmstepd-wlm" >node 2>&1 &
daemons="$daemons $!"
tries=0
until [ "$(timeout 10 sinfo -h -t idle -o %D 2>/dev/null)" = 1 ]; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || { cat munge controller node; echo "Slurm does not start"; exit 1; }
    sleep 0.3
done

# The job: the cores of a batch script, and those of two ranks or tasks without and with the variable.
cat >job <<END
#!/bin/sh
cores='sleep 1; sed -n "s/^Cpus_allowed_list:[^0-9]*//p" /proc/self/status'
echo "the job: cores" \$(sh -c "\$cores")
for cpus in "" \$SLURM_CPUS_PER_TASK; do
    unset SRUN_CPUS_PER_TASK
    [ -z "\$cpus" ] || export SRUN_CPUS_PER_TASK="\$cpus"
    for launcher in mpich-4.0.3/bin/mpiexec mpich-5.0.2/bin/mpiexec srun; do
        echo "SRUN_CPUS_PER_TASK=\$cpus \$launcher: cores" \$(\$launcher -n 2 sh -c "\$cores" | sort)
    done
done
END
timeout 120 sbatch --quiet --wait --ntasks=2 --cpus-per-task=1 --output=out job
cat out
awk '/^the job/ { all = $NF; next }
    $2 == "srun:" { as_stated += $4 != $5 && $4 != all && $5 != all; next }
    { as_stated += $4 == $5 && ($1 == "SRUN_CPUS_PER_TASK=") == ($4 == all) }
    END { exit as_stated != 6 || NR != 7 }' out || { echo changed; exit 1; }
