# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What the job scripts share: modules, the run itself, and whether it was one. Sourced.

# zinf_job DECK [OPTION]...: runs the deck in a run directory of this job; the exit code is that of the program:
#   0  trained to the last step       4  stopped by the time limit's signal, with a good checkpoint
#   2  deck or usage   3  does not fit   5 input/output   6  communication   7  numerics   70  bug
# srun may say 0 although a node has failed, so 0 is believed only when the record has the last step (else 6).
zinf_job() {
    local deck=$1 directory code=0 module
    shift
    directory=$ZINF_RUNS/${SLURM_JOB_NAME:-job}-${SLURM_JOB_ID:-$$}
    for module in $ZINF_MODULES; do module load "$module"; done
    echo "job ${SLURM_JOB_ID:-none} on ${SLURM_JOB_NODELIST:-this node}: $("$ZINF" --version)"
    echo "deck $deck, outputs in $directory"
    # shellcheck disable=SC2086 # words on purpose
    $ZINF_LAUNCH "$ZINF" run "$deck" --set run.directory="$directory" "$@" || code=$?
    if [ "$code" -eq 0 ] && ! zinf_job_complete "$directory"; then
        echo "the launcher says 0, but the record in $directory ends early: a node or a rank was lost" >&2
        code=6
    fi
    echo "exit code $code"
    return "$code"
}

# The last row of steps.csv is the last step of the used deck, and the run has reached its end (memory.csv is
# written there).
zinf_job_complete() {
    local wanted done
    [ -s "$1/memory.csv" ] || return 1
    wanted=$(sed -n 's/^ *steps: *\([0-9][0-9]*\).*/\1/p' "$1/used.yaml" | head -n 1) || return 1
    done=$(tail -n 1 "$1/steps.csv" | cut -d, -f 1) || return 1
    [ -n "$wanted" ] && [ "$wanted" = "$done" ]
}
