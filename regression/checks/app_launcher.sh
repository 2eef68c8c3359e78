#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Commands for one process that a launcher has started twice: rank 0 works and the other waits, so
# output, files and exit code are those of one process, and a line says so.
. "${srcdir:-.}/regression/checks/app_common.sh"

make_data
make_deck
deck=$folder/deck.yaml
expect 0 "$zinf" run "$deck"

# plain FILE: its lines without times, and without what a launcher adds to messages.
plain() {
    grep -av "2 processes were started" "$1" | sed -E 's/^\[ *[0-9.]+ s\] (rank 0 on [^:]*: )?//' || :
}

# alike CODE WORD...: the command does under a launcher what it does alone.
alike() {
    code=$1
    shift
    expect "$code" "$zinf" "$@"
    plain "$folder/err" >"$folder/alone.err"
    plain "$folder/out" >"$folder/alone.out"
    expect "$code" "$launcher" -n 2 "$zinf" "$@"
    complains_once "2 processes were started; zinf $1 works in one of them"
    plain "$folder/out" | cmp -s - "$folder/alone.out" || fail "another output than alone: $*"
    plain "$folder/err" | cmp -s - "$folder/alone.err" || fail "other messages than alone: $*"
}

alike 0 tokenize "$folder/text" --output "$folder/t.h5" --validation "$folder/v.h5" --share 0.2
for file in t train; do
    expect 0 "$zinf" inspect "$folder/$file.h5"
    sed 1d "$folder/out" >"$folder/$file"
done
same "$folder/t" "$folder/train"
alike 2 tokenize "$folder/absent" --output "$folder/u.h5"
alike 0 generate "$folder/run" --prompt "the " --tokens 20 --seed 3 --threads 1
alike 0 check "$deck" --ranks 4
alike 2 check "$deck" --set model.heads=3
# Not on nvme: the largest model that fits would change with the free space of the disk.
memory="--set placement.parameters=host --set placement.gradients=host --set placement.optimizer=host
        --set placement.activations=host --set memory.host=1GiB"
alike 0 plan "$deck" --ranks 2 --trace "$folder/trace.json" --set memory.device="1 GiB" $memory
alike 3 plan "$deck" --set memory.device="20 KiB" $memory
alike 0 program "$deck" --picture "$folder/lanes.svg" --set memory.device="1 GiB" --set memory.host="1 GiB"
alike 0 inspect "$folder/run/checkpoints/latest"
alike 2 inspect "$folder/absent"
alike 0 help deck --schema
alike 2 plan
[ -s "$folder/trace.json" ] && [ -s "$folder/lanes.svg" ] || fail "files of plan and program"
expect 0 "$launcher" -n 2 "$zinf" bench disk --size 1 --turns 1 --set "nvme.paths=$folder/disk" \
    --output "$folder/machine.yaml"
complains_once "2 processes were started"
[ "$(grep -c "^written to" "$folder/out")" -eq 1 ] || fail "the disks were measured by both"

# The command for all of them says nothing of this.
expect 0 "$launcher" -n 2 "$zinf" run "$deck" --overwrite
if grep -q "processes were started" "$folder/err"; then fail "run works in all"; fi

# A launcher that MPI does not understand: refused, by its own name.
expect 2 env SLURM_STEP_ID=0 SLURM_PROCID=1 SLURM_STEP_NUM_TASKS=2 "$zinf" inspect "$folder/train.h5"
complains "srun started 2 tasks"
expect 2 env OMPI_COMM_WORLD_SIZE=2 "$zinf" inspect "$folder/train.h5"
complains "Open MPI started 2 processes"
# In the shell of a job there is one process, and under a launcher of one no other.
expect 0 env SLURM_NTASKS=8 SLURM_JOB_ID=7 "$zinf" inspect "$folder/train.h5"
expect 0 "$launcher" -n 1 "$zinf" inspect "$folder/train.h5"
if grep -q "processes were started" "$folder/err"; then fail "one process is several"; fi
# Ranks with other words: refused, not waited for.
for other in "run $folder/deck.yaml --set run.steps=3" "check $folder/deck.yaml"; do
    # shellcheck disable=SC2086 # words on purpose
    expect 2 "$launcher" -n 1 "$zinf" run "$folder/deck.yaml" : -n 1 "$zinf" $other
    complains "started with other arguments than rank 0"
done
done_with app_launcher
