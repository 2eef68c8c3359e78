#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The job scripts under a Slurm of their own: a controller and two virtual nodes on this machine, made for the check and
# ended with it. A job of two nodes; a wrong --mpi; mpiexec inside a job; a chain that the time limit cuts; a requeue; an
# array; a plan; a node that fails.
# Skipped where Slurm is not installed or cannot be started (it wants root here).
. "${srcdir:-.}/regression/checks/app_common.sh"

export PATH="$PATH:/usr/sbin:/sbin"
for program in slurmctld slurmd munged sbatch srun bash; do
    command -v $program >/dev/null || {
        echo "skipped: no $program (Debian: slurm-wlm slurm-client munge)"
        exit 77
    }
done
[ "$(id -u)" -eq 0 ] || { echo "skipped: slurmd starts processes for others, and this is not root"; exit 77; }

# Everything of Slurm lies in a folder with a short name, since a socket's path is limited, that root alone may write.
slurm=$(mktemp -d /tmp/slurm-XXXXXX)
ports=$((20000 + $$ % 20000))
host=$(uname -n)

# end_slurm: ends the jobs, and then what this check has started, by the numbers that it wrote down (and takes away when
# it is told to end), and waits for that.
end_slurm() {
    tries=0
    while [ $tries -lt 60 ] && [ -n "$(timeout 10 squeue -h 2>/dev/null)" ]; do
        scancel --full --signal=KILL --user=root 2>/dev/null || :
        scancel --user=root 2>/dev/null || :
        tries=$((tries + 1))
        sleep 0.5
    done
    pids=$(cat "$slurm"/run/*.pid 2>/dev/null || :)
    for pid in $pids; do kill "$pid" 2>/dev/null || :; done
    tries=0
    for pid in $pids; do
        while [ $tries -lt 100 ]; do
            case $(ps -o stat= -p "$pid" 2>/dev/null) in "" | Z*) break ;; esac
            tries=$((tries + 1))
            sleep 0.2
        done
    done
    rm -rf "$slurm" "$folder"
}
trap end_slurm EXIT
trap 'exit 1' INT TERM HUP

chmod 755 "$slurm"
mkdir "$slurm/run" "$slurm/log" "$slurm/state" "$slurm/spool" "$slurm/spool/n1" "$slurm/spool/n2"
(umask 077 && head -c 128 /dev/urandom >"$slurm/key")
export SLURM_CONF="$slurm/slurm.conf"
cat >"$SLURM_CONF" <<END
ClusterName=check
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=$ports
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$slurm/run/munge.socket
StateSaveLocation=$slurm/state
SlurmdSpoolDir=$slurm/spool/%n
SlurmctldPidFile=$slurm/run/slurmctld.pid
SlurmdPidFile=$slurm/run/slurmd.%n.pid
SlurmctldLogFile=$slurm/log/slurmctld.log
SlurmdLogFile=$slurm/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
ReturnToService=2
SlurmdTimeout=30
KillWait=5
SlurmdParameters=config_overrides
PropagateResourceLimitsExcept=MEMLOCK
JobCompType=jobcomp/filetxt
JobCompLoc=$slurm/log/jobs
NodeName=n[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((ports + 1))-$((ports + 2))] CPUs=4 RealMemory=1000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
munged --socket="$slurm/run/munge.socket" --key-file="$slurm/key" --pid-file="$slurm/run/munged.pid" \
    --log-file="$slurm/log/munged.log" --seed-file="$slurm/seed" || { echo "skipped: munged does not start"; exit 77; }
slurmctld -f "$SLURM_CONF" -c
for node in n1 n2; do slurmd -f "$SLURM_CONF" -N $node; done
tries=0
while [ "$(timeout 10 sinfo -h -t idle -o %D 2>/dev/null)" != 2 ]; do
    tries=$((tries + 1))
    if [ $tries -ge 100 ]; then
        cat "$slurm"/log/*.log
        echo "skipped: the nodes do not come up"
        exit 77
    fi
    sleep 0.2
done
if ! srun --mpi=list 2>&1 | grep -q pmi2; then echo "skipped: this Slurm has no pmi2"; exit 77; fi

make_data
make_deck
jobs=$(cd "${srcdir:-.}" && pwd)/jobscripts
export ZINF="$zinf" ZINF_RUNS="$folder/runs" ZINF_JOBSCRIPTS="$jobs" SBATCH_PARTITION=main
small="--ntasks-per-node=1 --cpus-per-task=1 --time=5"
cd "$folder" # where the logs go

# submit OPTION... SCRIPT WORD...: the number of the job into $job.
submit() {
    job=$(timeout 30 sbatch --parsable "$@") || fail "sbatch $*"
}

# What Slurm says of a job: Key=VALUE of scontrol.
job_has() { timeout 30 scontrol -o show job "$1" | sed -n "s/.* $2=\([^ ]*\).*/\1/p"; }

# await JOB STATE EXIT: waits until the job is in the state, with this exit code (a pattern).
await() {
    tries=0
    while :; do
        state=$(job_has "$1" JobState)
        case $state in # others pass, as SIGNALING does, and none is said where the controller does not answer
        COMPLETED | FAILED | CANCELLED | TIMEOUT | NODE_FAIL | OUT_OF_MEMORY) break ;;
        esac
        tries=$((tries + 1))
        [ $tries -lt 400 ] || fail "job $1 is still $state"
        sleep 0.5
    done
    cp "$folder"/*-"$1".out "$folder/out" 2>/dev/null || :
    exit_code=$(job_has "$1" ExitCode)
    # shellcheck disable=SC2254 # a pattern on purpose
    case "$state $exit_code" in "$2 "$3) ;; *) fail "job $1 is $state $exit_code, not $2 $3" ;; esac
    passed=$((passed + 1))
}

# await_steps DIRECTORY N: waits for rows of a table of steps.
await_steps() {
    tries=0
    while [ "$(cat "$1/steps.csv" 2>/dev/null | wc -l)" -le "$2" ]; do
        tries=$((tries + 1))
        if [ $tries -ge 600 ]; then
            cat "$folder/zinf-$job.out" "$slurm/log/slurmctld.log" >"$folder/out"
            fail "$1 does not get to step $2"
        fi
        sleep 0.1
    done
}

# Whether a table has the steps 1 to the last, each once.
steps_of() { awk -F, 'NR > 1 && $1 != NR - 1 { exit 1 } END { print NR - 1 }' "$1/steps.csv"; }

endless="--set run.steps=1000000 --set data.validation= --set data.validation_every=never"

# Two nodes, a rank on each.
submit --nodes=2 $small "$jobs/many_nodes.sbatch" "$folder/deck.yaml"
await "$job" COMPLETED 0:0
says "2 ranks"
says "exit code 0"

# Where srun and MPI do not understand each other nothing is trained, and the cure is said. The code is srun's, which has
# ended the other rank, since no run has begun.
export ZINF_MPI=none
submit --nodes=2 $small "$jobs/many_nodes.sbatch" "$folder/deck.yaml"
await "$job" FAILED '*:0'
says "srun started 2 tasks, but MPI sees one: use srun --mpi=pmi2"
says "srun --mpi=list"
says "SLURM_MPI_TYPE=pmi2"
unset ZINF_MPI

# An error of a rank: the code of the run, not the launcher's.
submit --nodes=1 $small --ntasks-per-node=2 "$jobs/one_node.sbatch" "$folder/deck.yaml" \
    --set placement.optimizer=nvme --set nvme.paths=/proc/none
await "$job" FAILED 5:0
grep -q "^code: 5" "$folder/runs/zinf-$job/end.yaml" || fail "end.yaml of the run that failed"

# A script of the user's that calls mpiexec: the ranks are one world, signals of Slurm reach them, and the same script
# submitted again goes on. On one node, where mpiexec starts both ranks by one task of srun, and on two.
cat >"$folder/user.sbatch" <<END
#!/bin/bash
#SBATCH --job-name=zinf
#SBATCH --output=%x-%j.out
code=0
"$launcher" -n 2 "$zinf" run "\$@" --resume auto --reclaim || code=\$?
echo "the script's exit code \$code"
exit \$code
END
numbers() { cut -d, -f 1,3,4,5,9 "$1/steps.csv"; }
sed 's/warmup: 2 steps/warmup: 2 steps, schedule: constant/' "$folder/deck.yaml" >"$folder/user.yaml"
for tasks in "--nodes=1 --ntasks-per-node=2 USR1" "--nodes=2 --ntasks-per-node=1 TERM"; do
    signal=${tasks##* }
    run=$folder/runs/user-$signal
    set -- ${tasks% *} --cpus-per-task=1 --time=5 "$folder/user.sbatch" "$folder/user.yaml" --set run.directory="$run"
    submit "$@" $endless
    await_steps "$run" 5
    scancel --signal="$signal" "$job"
    await "$job" FAILED 4:0
    says "2 ranks on"
    grep -q "^reason: \"SIG$signal\"" "$run/end.yaml" || fail "another reason: $(cat "$run/end.yaml")"
    says "the script's exit code 4"
    saved=$(steps_of "$run")
    grep -qx "checkpoint: $saved" "$run/end.yaml" || fail "no checkpoint of the last step: $(cat "$run/end.yaml")"
    submit "$@" --set data.validation= --set data.validation_every=never --set run.steps=$((saved + 3))
    await "$job" COMPLETED 0:0
    says "goes on after step $saved of $((saved + 3))"
    [ "$(steps_of "$run")" -eq $((saved + 3)) ] || fail "the steps of both jobs are not one table"
    expect 0 "$launcher" -n 2 "$zinf" run "$folder/user.yaml" --set run.directory="$folder/whole" --overwrite \
        --set checkpoint.final=no --set data.validation= --set data.validation_every=never --set run.steps=$((saved + 3))
    numbers "$run" >"$folder/numbers"
    numbers "$folder/whole" | cmp -s - "$folder/numbers" || fail "other numbers than without interruption"
done

# The job scripts with mpiexec instead of srun, without a number of ranks: all tasks of the job. A chain, stopped once.
export ZINF_LAUNCH="$launcher"
submit --nodes=2 $small "$jobs/many_nodes.sbatch" "$folder/deck.yaml"
await "$job" COMPLETED 0:0
says "2 ranks"
says "exit code 0"
sed 's/steps: 6,/steps: 1000000,/' "$folder/user.yaml" >"$folder/chain.yaml"
submit --nodes=1 $small --ntasks-per-node=2 --time=1 --signal=USR1@50 "$jobs/chain.sbatch" "$folder/chain.yaml"
run=$folder/runs/zinf-$job
await_steps "$run" 3
scontrol update nodename=n1,n2 state=drain reason=check
await "$job" COMPLETED 0:0
says "exit code 4"
says '"SIGUSR1"'
saved=$(steps_of "$run")
job=$(sed -n 's/^Submitted batch job //p' "$folder/out")
sed "s/steps: 1000000,/steps: $((saved + 3)),/" "$folder/chain.yaml" >"$folder/new.yaml"
mv "$folder/new.yaml" "$folder/chain.yaml"
scontrol update nodename=n1,n2 state=resume
await "$job" COMPLETED 0:0
says "2 ranks"
says "step $((saved + 3)) of $((saved + 3))"
[ "$(steps_of "$run")" -eq $((saved + 3)) ] || fail "the steps of the chain by mpiexec are not one table"
unset ZINF_LAUNCH

# A plan, and an array of which the second task is wrong.
submit $small "$jobs/plan.sbatch" "$folder/deck.yaml" --ranks 2
await "$job" COMPLETED 0:0
says "tokens a second"
printf '%s\n' '--set run.steps=2' '--set run.stepz=2' >"$folder/list"
submit --array=1-2%1 $small "$jobs/sweep.sbatch" "$folder/deck.yaml" "$folder/list"
await "${job}_1" COMPLETED 0:0
await "${job}_2" FAILED 2:0
[ "$(steps_of "$folder/runs/sweep-$job/1")" -eq 2 ] || fail "steps of the first task"

# Requeued in mid-run: it goes on where it was, in the same directory and log.
submit --nodes=1 $small "$jobs/preemptible.sbatch" "$folder/deck.yaml" $endless
run=$folder/runs/zinf-$job
await_steps "$run" 5
scancel --signal=TERM "$job" # as before preemption; the script requeues its job
tries=0
until [ "$(job_has "$job" Restarts)" = 1 ] && [ "$(job_has "$job" JobState)" = PENDING ]; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || fail "job $job is not requeued: $(job_has "$job" JobState)"
    sleep 0.2
done
saved=$(steps_of "$run")
sleep 3 # a job that is started in the second of its requeue is lost: "Job credential revoked"
scontrol update jobid="$job" StartTime=now # Slurm would wait two minutes
await_steps "$run" $((saved + 3))
scancel "$job"
await "$job" CANCELLED '*'
says "job $job was cancelled"
says "job $job, start 1, on"
says "exit code 4"
says "job $job, start 2, on"
[ "$(steps_of "$run")" -ge $((saved + 3)) ] || fail "the steps of both starts are not one table"

# Two jobs that the time limit stops, and a third that does the rest. Slurm sends the signal up to a minute early. The
# steps to do are in the deck, which is changed while the nodes are closed to the third job.
sed 's/steps: 6,/steps: 1000000,/; s/warmup: 2 steps/warmup: 2 steps, schedule: constant/' "$folder/deck.yaml" \
    >"$folder/chain.yaml"
step=0
submit --nodes=1 $small --time=1 --signal=USR1@50 "$jobs/chain.sbatch" "$folder/chain.yaml"
run=$folder/runs/zinf-$job
for link in 1 2; do
    await_steps "$run" $((step + 1))
    [ $link -eq 1 ] || scontrol update nodename=n1,n2 state=drain reason=check
    await "$job" COMPLETED 0:0
    says "exit code 4"
    says '"SIGUSR1"'
    [ "$(steps_of "$run")" -gt "$step" ] || fail "link $link of the chain did no step"
    step=$(steps_of "$run")
    job=$(sed -n 's/^Submitted batch job //p' "$folder/out")
    [ "$(job_has "$job" TimeLimit)" = 00:01:00 ] || fail "link $link has submitted another time limit"
done
sed "s/steps: 1000000,/steps: $((step + 7)),/" "$folder/chain.yaml" >"$folder/new.yaml"
mv "$folder/new.yaml" "$folder/chain.yaml"
scontrol update nodename=n1,n2 state=resume
await "$job" COMPLETED 0:0
says "step $((step + 7)) of $((step + 7))"
says "exit code 0"
[ "$(steps_of "$run")" -eq $((step + 7)) ] || fail "the steps of the chain are not one table"
if grep -q "^Submitted" "$folder/out"; then fail "the chain goes on though the run is done"; fi
[ ! -e "$folder/runs/zinf-$job" ] || fail "a link has a run directory of its own"
expect 0 "$zinf" run "$folder/chain.yaml" --set run.directory="$folder/whole" --set checkpoint.final=no --overwrite
numbers "$run" >"$folder/numbers"
numbers "$folder/whole" | cmp -s - "$folder/numbers" || fail "the chain has other numbers than a run without interruption"

# A node that fails: its slurmd and all that runs there are killed. Slurm starts the job again, and the run goes on.
# Steps are known by the log of their node, runs by their environment; another Slurm's are left alone.
kill_node() {
    steps=0
    kill -s KILL "$(cat "$slurm/run/slurmd.$1.pid")" || fail "no slurmd of $1"
    for pid in $(pgrep -x slurmstepd); do
        readlink "/proc/$pid/fd"/* 2>/dev/null | grep -qxF "$slurm/log/slurmd.$1.log" || continue
        kill -s KILL "$pid" && steps=$((steps + 1))
    done
    [ $steps -gt 0 ] || fail "no step of job $job"
    for pid in $(pgrep -x zinf); do
        [ "$(tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" |
            grep -cxF -e "SLURM_CONF=$SLURM_CONF" -e "SLURMD_NODENAME=$1")" -ne 2 ] || kill -s KILL "$pid" || :
    done
    scontrol update nodename="$1" state=down reason=killed
}
submit --nodes=1 --nodelist=n1 $small "$jobs/preemptible.sbatch" "$folder/deck.yaml" $endless --set checkpoint.every=10
run=$folder/runs/zinf-$job
await_steps "$run" 35
kill_node n1
tries=0
until [ "$(job_has "$job" Restarts)" = 1 ] && [ "$(job_has "$job" JobState)" = PENDING ]; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || fail "job $job of the node that failed is $(job_has "$job" JobState)"
    sleep 0.2
done
saved=$(steps_of "$run")
slurmd -f "$SLURM_CONF" -N n1
sleep 3 # the node is back by itself, or has to be told
scontrol update nodename=n1 state=resume 2>/dev/null || :
scontrol update jobid="$job" StartTime=now
await_steps "$run" $((saved + 3))
scancel "$job"
await "$job" CANCELLED '*'
says "goes on after step"
[ "$(steps_of "$run")" -ge $((saved + 3)) ] || fail "the steps of both starts are not one table"
done_with slurm
