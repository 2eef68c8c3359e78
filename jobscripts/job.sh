# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What the job scripts share: modules, the run itself, and how it ended. Sourced.

# zinf_job DECK [OPTION]...: runs the deck in a run directory of this job; the exit code is that of the program:
#   0  trained to the last step       4  stopped by the time limit's signal, with a good checkpoint
#   2  deck or usage   3  does not fit   5 input/output   6  communication   7  numerics   70  bug
# Launchers do not always pass the program's code on: srun may say 0 although a node has failed, mpiexec 0 for 4. So the
# code is that of end.yaml, which the run writes last of all; a run that left none was killed or lost a rank (6).
zinf_job() {
    local deck=$1 directory code=0 ended module
    shift
    directory=$ZINF_RUNS/${SLURM_JOB_NAME:-job}-${SLURM_JOB_ID:-$$}
    for module in $ZINF_MODULES; do module load "$module"; done
    echo "job ${SLURM_JOB_ID:-none} on ${SLURM_JOB_NODELIST:-this node}: $("$ZINF" --version)"
    echo "deck $deck, outputs in $directory"
    rm -f "$directory/end.yaml"
    # shellcheck disable=SC2086 # words on purpose
    $ZINF_LAUNCH "$ZINF" run "$deck" --set run.directory="$directory" "$@" || code=$?
    ended=$(zinf_end "$directory" code)
    if [ -n "$ended" ]; then
        code=$ended
        echo "step $(zinf_end "$directory" step) of $(zinf_end "$directory" steps), checkpoint of step" \
            "$(zinf_end "$directory" checkpoint): $(zinf_end "$directory" reason)"
    elif [ "$code" -eq 0 ]; then
        echo "the launcher says 0, but the run in $directory left no end.yaml: a node or a rank was lost" >&2
        code=6
    fi
    echo "exit code $code"
    return "$code"
}

# zinf_end DIRECTORY KEY: the value of a key of end.yaml, or nothing.
zinf_end() {
    [ -f "$1/end.yaml" ] || return 0
    sed -n "s/^$2: *//p" "$1/end.yaml"
}
