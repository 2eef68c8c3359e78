#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The job scripts without a batch system: an `srun` that starts two ranks by the MPI launcher, one that loses the
# run and says 0, as Slurm's does after a node has failed, one that says another code than the run, and a deck with an
# error; a `squeue` that knows when the job ends, or none; a job that was put back into the queue. What sbatch and
# scontrol are told is looked at. slurm.sh has a batch system.
. "${srcdir:-.}/regression/checks/app_common.sh"
command -v bash >/dev/null || { echo "skipped: no bash"; exit 77; }

make_data
make_deck
mkdir "$folder/bin"
cat >"$folder/bin/srun" <<'END'
#!/bin/sh
[ "$1 $2" = "--mpi=pmi2 -K" ] || exit 99
shift 2
directory=$(echo "$*" | sed 's/.*run.directory=\([^ ]*\).*/\1/')
if [ -n "${LOSE:-}" ]; then
    "$MPIEXEC" -n 2 "$@" --set run.steps=2 >/dev/null
    rm "$directory/end.yaml"
    exit 0
fi
if [ -n "${STOP:-}" ]; then # stopped, by a launcher that says something else
    "$MPIEXEC" -n 2 "$@" --set run.steps=1000000 >/dev/null &
    while [ "$(wc -l <"$directory/steps.csv" || echo 0)" -lt 3 ]; do sleep 0.1; done 2>/dev/null
    for process in $(pgrep -x zinf); do
        if grep -qF "run.directory=$directory" "/proc/$process/cmdline"; then kill -USR1 "$process"; fi
    done
    wait
    exit "$STOP"
fi
exec "$MPIEXEC" -n 2 "$@"
END
# A program that only tells how it was started.
cat >"$folder/bin/told" <<'END'
#!/bin/sh
[ "$1" = run ] || exec echo told
echo "words: $*"
echo "end: ${SLURM_JOB_END_TIME:-}"
echo "cores: ${SRUN_CPUS_PER_TASK:-}"
directory=$(echo "$*" | sed 's/.*run.directory=\([^ ]*\).*/\1/')
mkdir -p "$directory" && echo "code: 0" >"$directory/end.yaml"
END
for name in sbatch scontrol; do # what they are told
    printf '#!/bin/sh\nprintf "%%s\\n" "$@" >"%s"\n' "$folder/$name" >"$folder/bin/$name"
done
cat >"$folder/bin/squeue" <<'END'
#!/bin/sh
case $* in
*%e) [ -n "${END:-}" ] || exit 1; echo "$END" ;;
*%T) echo "${STATE:-RUNNING}" ;;
*%l) echo 0:20:00 ;;
esac
END
# What a script waits for after it had itself requeued.
printf '#!/bin/sh\n[ "$1" = 60 ] || exec /bin/sleep "$@"\n' >"$folder/bin/sleep"
chmod +x "$folder"/bin/*
export PATH="$folder/bin:$PATH" MPIEXEC="$launcher" ZINF="$zinf" ZINF_RUNS="$folder/runs" SLURM_JOB_NAME=job
SLURM_SUBMIT_DIR=$(cd "${srcdir:-.}" && pwd)
export SLURM_SUBMIT_DIR

# stamp SECONDS: a time as squeue writes it.
stamp() { date -d "@$1" +%Y-%m-%dT%H:%M:%S; }

number=0
for script in one_node many_nodes; do
    job=$SLURM_SUBMIT_DIR/jobscripts/$script.sbatch
    number=$((number + 10))
    SLURM_JOB_ID=$number expect 0 bash "$job" "$folder/deck.yaml" --set run.name=other
    says "2 ranks"
    says "other: deck"
    says "exit code 0"
    [ "$(wc -l <"$folder/runs/job-$number/steps.csv")" -eq 7 ] || fail "rows of steps.csv"
    SLURM_JOB_ID=$((number + 1)) expect 2 bash "$job" "$folder/deck.yaml" --set run.stepz=1
    SLURM_JOB_ID=$((number + 2)) LOSE=1 expect 6 bash "$job" "$folder/deck.yaml"
    complains "left no end.yaml"
    SLURM_JOB_ID=$((number + 3)) STOP=0 expect 4 bash "$job" "$folder/deck.yaml"
    says "SIGUSR1"
    says "exit code 4"
    [ "$(sed -n 's/^step: //p' "$folder/runs/job-$((number + 3))/end.yaml")" -ge 2 ] || fail "step of end.yaml"
    SLURM_JOB_ID=$((number + 4)) expect 3 bash "$job" "$folder/deck.yaml" --set memory.host=4KiB --set memory.device=4KiB
    grep -q "^code: 3" "$folder/runs/job-$((number + 4))/end.yaml" || fail "end.yaml of a deck that does not fit"
    expect 2 bash "$job"

    # No end is known, a far one, one that the warning of ten minutes would come too early for.
    export ZINF_LAUNCH=env
    unset SLURM_JOB_END_TIME
    SLURM_JOB_ID=$number ZINF=told expect 0 bash "$job" deck
    says "words: run deck --set run.directory=$folder/runs/job-$number"
    SLURM_JOB_ID=$number ZINF=told SLURM_CPUS_PER_TASK=8 SRUN_CPUS_PER_TASK=8 expect 0 bash "$job" deck
    grep -q '^cores: $' "$folder/out" || fail "mpiexec would start all ranks on the cores of one"
    SLURM_JOB_ID=$number ZINF=told SLURM_CPUS_PER_TASK=8 ZINF_LAUNCH="env SRUN=srun" expect 0 bash "$job" deck
    says "cores: 8"
    grep -q '^end: $' "$folder/out" || fail "an end of the job's time that nobody knows"
    SLURM_JOB_ID=$number ZINF=told SLURM_JOB_END_TIME=9999999999 expect 0 bash "$job" deck
    says "end: 9999999999"
    end=$(($(date +%s) + 7200))
    SLURM_JOB_ID=$number ZINF=told SLURM_JOB_END_TIME=1 END=$(stamp $end) expect 0 bash "$job" deck
    says "end: $end"
    if grep -q warning "$folder/err"; then fail "a warning of a signal that comes in time"; fi
    end=$(($(date +%s) + 600))
    SLURM_JOB_ID=$number ZINF=told END=$(stamp $end) expect 0 bash "$job" deck
    says "end: $end"
    complains "--signal=USR1@600"
    SLURM_JOB_ID=$number ZINF=told END=$(stamp $end) SBATCH_SIGNAL=B:USR1@60 expect 0 bash "$job" deck
    if grep -q warning "$folder/err"; then fail "a warning of a later signal"; fi
    SLURM_JOB_ID=$number ZINF=told END=$(stamp $end) SBATCH_SIGNAL=TERM@570 expect 0 bash "$job" deck
    complains "--signal=TERM@570"

    # Put back into the queue.
    SLURM_JOB_ID=$number ZINF=told SLURM_RESTART_COUNT=1 expect 0 bash "$job" deck --set a.b=c
    says "words: run deck --set run.directory=$folder/runs/job-$number --resume auto --reclaim --set a.b=c"
    SLURM_JOB_ID=$number ZINF=told SLURM_RESTART_COUNT=0 expect 0 bash "$job" deck --set a.b=c
    if grep -q -e --resume "$folder/out"; then fail "a first start resumes"; fi
    unset ZINF_LAUNCH
done

# told NAME TEXT: what it was called with last has this line.
told() {
    grep -qxF -e "$2" "$folder/$1" || fail "$1 is not told $2: $(cat "$folder/$1")"
    passed=$((passed + 1))
}
not_called() {
    for name in sbatch scontrol; do
        [ ! -e "$folder/$name" ] || fail "$name is called: $(cat "$folder/$name")"
    done
    passed=$((passed + 1))
}
step_of() { sed -n 's/^step: //p' "$1/end.yaml"; }

# A chain: stopped, it submits itself again and goes on in the directory of the first job; done, or wrong, it ends.
jobs=$SLURM_SUBMIT_DIR/jobscripts
export SLURM_JOB_NUM_NODES=1 SLURM_JOB_PARTITION=main SLURM_CPUS_PER_TASK=1 SLURM_NTASKS_PER_NODE=2
SLURM_JOB_ID=30 STOP=143 expect 0 bash "$jobs/chain.sbatch" "$folder/deck.yaml"
says "the launcher says 143, the run 4"
for line in --nodes=1 --ntasks-per-node=2 --cpus-per-task=1 --job-name=job --partition=main --time=0:20:00 \
    --dependency=afterany:30 "$jobs/chain.sbatch" "$folder/deck.yaml"; do
    told sbatch "$line"
done
rm "$folder/sbatch"
stopped=$(step_of "$folder/runs/job-30")
export ZINF_RUN="$folder/runs/job-30"
SLURM_JOB_ID=31 expect 0 bash "$jobs/chain.sbatch" "$folder/deck.yaml" --set run.steps=$((stopped + 3))
[ "$(step_of "$ZINF_RUN")" -eq $((stopped + 3)) ] || fail "the chain does not go on"
[ "$(wc -l <"$ZINF_RUN/steps.csv")" -eq $((stopped + 4)) ] || fail "rows of steps.csv after going on"
not_called
SLURM_JOB_ID=32 expect 2 bash "$jobs/chain.sbatch" "$folder/deck.yaml" --set run.stepz=1
unset ZINF_RUN
SLURM_JOB_ID=33 LOSE=1 expect 6 bash "$jobs/chain.sbatch" "$folder/deck.yaml"
SLURM_JOB_ID=36 STOP=143 STATE=COMPLETING expect 4 bash "$jobs/chain.sbatch" "$folder/deck.yaml"
says "job 36 was cancelled"
not_called

# A run that is stopped before it has done a step would be started for ever.
mkdir "$folder/stuck"
cat >"$folder/stuck/srun" <<'END'
#!/bin/sh
directory=$(echo "$*" | sed 's/.*run.directory=\([^ ]*\).*/\1/')
mkdir -p "$directory"
printf 'code: 4\nstep: 5\nsteps: 9\ncheckpoint: 5\nreason: "SIGUSR1"\n' >"$directory/end.yaml"
exit 4
END
chmod +x "$folder/stuck/srun"
export ZINF_RUN="$folder/runs/stuck"
SLURM_JOB_ID=34 PATH="$folder/stuck:$PATH" expect 0 bash "$jobs/chain.sbatch" "$folder/deck.yaml"
told sbatch --dependency=afterany:34
rm "$folder/sbatch"
SLURM_JOB_ID=35 PATH="$folder/stuck:$PATH" expect 4 bash "$jobs/chain.sbatch" "$folder/deck.yaml"
complains "no step was done since the last start (step 5)"
not_called
unset ZINF_RUN

# Cancelled it stays so; pushed aside it is requeued under its number, and the second start goes on.
SLURM_JOB_ID=41 STOP=143 STATE=CANCELLED expect 4 bash "$jobs/preemptible.sbatch" "$folder/deck.yaml"
not_called
SLURM_JOB_ID=40 STOP=137 expect 4 bash "$jobs/preemptible.sbatch" "$folder/deck.yaml"
told scontrol requeue
told scontrol 40
rm "$folder/scontrol"
stopped=$(step_of "$folder/runs/job-40")
SLURM_JOB_ID=40 SLURM_RESTART_COUNT=1 expect 0 bash "$jobs/preemptible.sbatch" "$folder/deck.yaml" \
    --set run.steps=$((stopped + 2))
says "job 40, start 2, on "
[ "$(wc -l <"$folder/runs/job-40/steps.csv")" -eq $((stopped + 3)) ] || fail "rows of steps.csv after a requeue"
not_called

# A sweep: the line of the task, with quotes.
cat >"$folder/list" <<'END'
--set run.steps=2
--set run.steps=3 --set "checkpoint.every=2 steps"
END
export SLURM_ARRAY_JOB_ID=50
SLURM_ARRAY_TASK_ID=2 expect 0 bash "$jobs/sweep.sbatch" "$folder/deck.yaml" "$folder/list" --set run.name=swept
says 'line 2 of '
[ "$(step_of "$folder/runs/job-50/2")" -eq 3 ] || fail "the options of line 2 are not taken"
[ -f "$folder/runs/job-50/2/checkpoints/step-00000002.h5" ] || fail "the quoted option of line 2 is not taken"
SLURM_ARRAY_TASK_ID=3 expect 2 bash "$jobs/sweep.sbatch" "$folder/deck.yaml" "$folder/list"
complains "has no line 3"
expect 2 bash "$jobs/sweep.sbatch" "$folder/deck.yaml" "$folder/list"

# A plan, and a folder for states on nvme that each rank names itself.
expect 0 bash "$jobs/plan.sbatch" "$folder/deck.yaml" --ranks 2
says "tokens a second"
expect 3 bash "$jobs/plan.sbatch" "$folder/deck.yaml" --set memory.host=4KiB --set memory.device=4KiB
SLURM_JOB_ID=60 ZINF_SCRATCH='$TMPDIR/states' TMPDIR="$folder" expect 0 bash "$jobs/one_node.sbatch" \
    "$folder/deck.yaml" --set placement.optimizer=nvme
[ -d "$folder/states" ] || fail "ZINF_SCRATCH is not used"

# Where they lie is known from site.env, also in a copy of the folder.
mkdir "$folder/copy"
cp -r "$jobs" "$folder/copy/jobscripts"
expect 0 bash -c '. "$0/copy/jobscripts/site.env" && echo "$ZINF_JOBSCRIPTS"' "$folder"
says "$folder/copy/jobscripts"
SLURM_SUBMIT_DIR=$folder ZINF_JOBSCRIPTS=$folder/copy/jobscripts expect 0 bash "$jobs/plan.sbatch" "$folder/deck.yaml"
done_with jobscripts
