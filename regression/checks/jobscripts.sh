#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The job scripts without a batch system: an `srun` that starts two ranks by the MPI launcher, one that loses the
# run and says 0, as Slurm's does after a node has failed, and a deck with an error; a `squeue` that knows when the job
# ends, or none; a job that was put back into the queue.
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
if [ -n "${STOP:-}" ]; then # stopped, by a launcher that says 0 for 4
    "$MPIEXEC" -n 2 "$@" --set run.steps=1000000 >/dev/null &
    while [ "$(wc -l <"$directory/steps.csv" || echo 0)" -lt 3 ]; do sleep 0.1; done 2>/dev/null
    for process in $(pgrep -x zinf); do
        if grep -qF "run.directory=$directory" "/proc/$process/cmdline"; then kill -USR1 "$process"; fi
    done
    wait
    exit 0
fi
exec "$MPIEXEC" -n 2 "$@"
END
cat >"$folder/bin/squeue" <<'END'
#!/bin/sh
[ "$1 $2 $4 $5" = "-h -j -o %e" ] && [ "$3" = "$SLURM_JOB_ID" ] && [ -n "${END:-}" ] || exit 1
echo "$END"
END
# A program that only tells how it was started.
cat >"$folder/bin/told" <<'END'
#!/bin/sh
[ "$1" = run ] || exec echo told
echo "words: $*"
echo "end: ${SLURM_JOB_END_TIME:-}"
directory=$(echo "$*" | sed 's/.*run.directory=\([^ ]*\).*/\1/')
mkdir -p "$directory" && echo "code: 0" >"$directory/end.yaml"
END
chmod +x "$folder/bin"/*
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
    SLURM_JOB_ID=$((number + 3)) STOP=1 expect 4 bash "$job" "$folder/deck.yaml"
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
    says "words: run deck --set run.directory=$folder/runs/job-$number --resume auto --set a.b=c"
    SLURM_JOB_ID=$number ZINF=told SLURM_RESTART_COUNT=0 expect 0 bash "$job" deck --set a.b=c
    if grep -q -e --resume "$folder/out"; then fail "a first start resumes"; fi
    unset ZINF_LAUNCH
done
done_with jobscripts
