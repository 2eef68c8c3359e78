#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The job scripts without a batch system: an `srun` that starts two ranks by the MPI launcher, one that loses the
# run and says 0, as Slurm's does after a node has failed, and a deck with an error.
. "${srcdir:-.}/regression/checks/app_common.sh"
command -v bash >/dev/null || { echo "skipped: no bash"; exit 77; }

make_data
make_deck
mkdir "$folder/bin"
cat >"$folder/bin/srun" <<'END'
#!/bin/sh
[ "$1 $2" = "--mpi=pmi2 -K" ] || exit 99
shift 2
if [ -n "${LOSE:-}" ]; then
    timeout -s KILL 120 "$@" --set run.steps=2 >/dev/null
    directory=$(echo "$*" | sed 's/.*run.directory=\([^ ]*\).*/\1/')
    sed 's/^\( *steps: \)2 /\16 /' "$directory/used.yaml" >"$directory/used"
    mv "$directory/used" "$directory/used.yaml"
    exit 0
fi
exec "$MPIEXEC" -n 2 "$@"
END
chmod +x "$folder/bin/srun"
export PATH="$folder/bin:$PATH" MPIEXEC="$launcher" ZINF="$zinf" ZINF_RUNS="$folder/runs" SLURM_JOB_NAME=job
SLURM_SUBMIT_DIR=$(cd "${srcdir:-.}" && pwd)
export SLURM_SUBMIT_DIR

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
    complains "ends early"
    expect 2 bash "$job"
done
done_with jobscripts
