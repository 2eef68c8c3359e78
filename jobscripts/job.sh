# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What the job scripts share: modules, the run itself, and how it ended. Sourced, with site.env beside it.
# shellcheck source=jobscripts/site.env
. "$(dirname "${BASH_SOURCE[0]}")/site.env"

zinf_modules() {
    local module
    for module in $ZINF_MODULES; do module load "$module"; done
}

# zinf_usage WORDS: says how a script is submitted, and ends it.
zinf_usage() {
    echo "usage: sbatch $1" >&2
    exit 2
}

# zinf_job DIRECTORY DECK [OPTION]...: runs the deck in a run directory; the exit code is that of the program:
#   0  trained to the last step       4  stopped by the time limit or a signal, with a good checkpoint
#   2  deck or usage   3  does not fit   5 input/output   6  communication   7  numerics   70  bug
# Launchers do not always pass the program's code on: srun says 137, 139 or 143 where a rank gave 5, and 0 after some
# lost nodes; mpiexec has said 0 for 4. So the code is that of end.yaml, which the run writes last of all; a run that
# left none was killed or lost a rank (6).
# A job that was requeued goes on with the newest checkpoint of its first start. ZINF_BEFORE and ZINF_AFTER are then the
# steps that were done before and after, or empty.
zinf_job() {
    local directory=$1 deck=$2 code=0 ended options=()
    shift 2
    zinf_modules
    if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then options+=(--resume auto --reclaim); fi
    if [ -n "$ZINF_SCRATCH" ]; then options+=(--set "nvme.paths=$ZINF_SCRATCH"); fi
    # srun does not inherit it from sbatch. mpiexec has one task of srun on each node, for all ranks there, to which it
    # would leave the cores of one.
    case $ZINF_LAUNCH in
    *srun*) export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} ;;
    *) unset SRUN_CPUS_PER_TASK ;;
    esac
    echo "job ${SLURM_JOB_ID:-none}, start $((${SLURM_RESTART_COUNT:-0} + 1)), on ${SLURM_JOB_NODELIST:-this node}:" \
        "$("$ZINF" --version)"
    echo "deck $deck, outputs in $directory"
    zinf_time
    ZINF_BEFORE=$(zinf_end "$directory" step)
    rm -f "$directory/end.yaml"
    # shellcheck disable=SC2086 # words on purpose
    $ZINF_LAUNCH "$ZINF" run "$deck" --set run.directory="$directory" "${options[@]}" "$@" || code=$?
    ended=$(zinf_end "$directory" code)
    ZINF_AFTER=$(zinf_end "$directory" step)
    if [ -n "$ended" ]; then
        if [ "$code" -ne "$ended" ]; then echo "the launcher says $code, the run $ended"; fi
        code=$ended
        echo "step $ZINF_AFTER of $(zinf_end "$directory" steps), checkpoint of step" \
            "$(zinf_end "$directory" checkpoint): $(zinf_end "$directory" reason)"
    elif [ "$code" -eq 0 ]; then
        echo "the launcher says 0, but the run in $directory left no end.yaml: a node or a rank was lost" >&2
        code=6
    fi
    echo "exit code $code"
    return "$code"
}

# zinf_time: SLURM_JOB_END_TIME, in which the run finds when Slurm will end the job: it stops in time by itself. Slurm
# 22.05 does not set it, and one that another job has handed on is wrong, so Slurm is asked. Warns where the signal that
# comes before the time limit comes at once.
zinf_time() {
    local text end warning left
    if [ -n "${SLURM_JOB_ID:-}" ] && text=$(timeout 20 squeue -h -j "$SLURM_JOB_ID" -o %e 2>/dev/null) &&
        [ -n "$text" ] && end=$(date -d "$text" +%s 2>/dev/null); then
        export SLURM_JOB_END_TIME=$end
    fi
    [ -n "${SLURM_JOB_END_TIME:-}" ] || return 0
    left=$((SLURM_JOB_END_TIME - $(date +%s)))
    warning=$(zinf_warning)
    echo "the job's time ends in $left s"
    if [ -n "$warning" ] && [ "$left" -le $((${warning#*@} + 60)) ]; then
        echo "warning: --signal=$warning has Slurm send ${warning%@*} ${warning#*@} s (up to 60 s more) before the end of" \
            "the job's time, which is in $left s: it may come at once and stop the run. Ask for more time, or for a later" \
            "signal (sbatch --signal=USR1@60)" >&2
    fi
}

# zinf_warning: NAME@SECONDS of the signal that Slurm sends before the time limit, as SBATCH_SIGNAL or else the script
# asks for it; nothing where neither does. A --signal of the command line is not seen here.
zinf_warning() {
    local option=${SBATCH_SIGNAL:-}
    [ -n "$option" ] || option=$(sed -n 's/^#SBATCH --signal=//p' "$0")
    option=${option##*:}
    case $option in
    '') ;;
    *@*) echo "$option" ;;
    *) echo "$option@60" ;;
    esac
}

# zinf_end DIRECTORY KEY: the value of a key of end.yaml, or nothing.
zinf_end() {
    [ -f "$1/end.yaml" ] || return 0
    sed -n "s/^$2: *//p" "$1/end.yaml"
}

# zinf_again CODE: whether a run that ended so is to be started again: it was stopped, by something else than scancel
# (Slurm does not call the job running then), and has done a step since the stop before. Where the time is too short for
# a step it would be started for ever.
zinf_again() {
    local state tries=0
    [ "$1" -eq 4 ] || return 1
    while state=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T) && [ "$state" = SIGNALING ] && [ $tries -lt 60 ]; do
        tries=$((tries + 1)) # until all nodes have taken the signal that stopped the run
        sleep 1
    done
    if [ "$state" != RUNNING ] && [ "$state" != SIGNALING ]; then
        echo "job $SLURM_JOB_ID was cancelled: not started again"
        return 1
    fi
    if [ -z "$ZINF_BEFORE" ] || [ "$ZINF_AFTER" -gt "$ZINF_BEFORE" ]; then return 0; fi
    echo "no step was done since the last start (step $ZINF_AFTER): not started again; give it more time" >&2
    return 1
}
