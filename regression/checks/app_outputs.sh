#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The places of outputs are looked at before the first step. What zinf has not made is neither
# replaced nor removed nor followed, --overwrite or not; a folder of checkpoints may be a link; and
# files that commands write appear when they are whole.
. "${srcdir:-.}/regression/checks/app_memory.sh"

make_data
make_deck
deck=$folder/deck.yaml
run=$folder/run
checkpoints=$run/checkpoints
short="--set run.steps=2 --set data.validation= --set data.validation_every=never"

# trains_not: the last command has not reached a step.
trains_not() {
    if grep -q '^step ' "$folder/out"; then fail "steps were run"; fi
    passed=$((passed + 1))
}

# refused CODE TEXT: with --overwrite and without, on one rank and on two, before the first step.
refused() {
    for command in "$zinf run" "$zinf run --overwrite" "$launcher -n 2 $zinf run --overwrite"; do
        expect "$1" $command "$deck" $short
        complains_once "$2"
        trains_not
    done
    [ ! -e "$run/run.lock" ] || [ ! -f "$run/run.lock" ] || fail "a refused run left its lock"
}

# An output's name that is not a file of zinf's: a folder, a fifo, a link, and, for root, a device.
precious=$folder/precious
echo precious >"$precious"
mkdir -p "$checkpoints"
for name in end.yaml data.scan run.lock used.yaml steps.csv timings.csv memory.csv starts.csv run.h5 trace.json \
    checkpoints/step-00000002.h5 checkpoints/step-00000002.h5.tmp; do
    mkdir "$run/$name"
    expect 2 "$zinf" run "$deck" $short
    complains "$run/$name is a folder"
    trains_not
    rmdir "$run/$name" || fail "$name was removed"
    ln -s "$precious" "$run/$name"
    expect 2 "$zinf" run "$deck" $short --overwrite
    complains "$run/$name is a link"
    trains_not
    [ "$(cat "$precious")" = precious ] || fail "$name was followed"
    rm "$run/$name"
    mkfifo "$run/$name"
    expect 2 "$zinf" run "$deck" $short --overwrite
    complains "$run/$name is a fifo"
    trains_not
    rm "$run/$name"
done
if mknod "$run/steps.csv" c 1 3 2>/dev/null; then
    refused 2 "$run/steps.csv is a device"
    [ -c "$run/steps.csv" ] || fail "a device was replaced"
    rm "$run/steps.csv"
else
    echo "not shown: devices, which only root makes"
fi
echo "somebody's" >"$checkpoints/latest"
refused 2 "$checkpoints/latest is a regular file"
[ "$(cat "$checkpoints/latest")" = "somebody's" ] || fail "a file named latest was replaced"
rm -r "$run"

# The folder of checkpoints.
mkdir "$run"
echo "somebody's" >"$checkpoints"
refused 2 "$checkpoints is a regular file"
rm "$checkpoints"
ln -s "$folder/scratch" "$checkpoints"
refused 5 "$checkpoints cannot be reached"
[ ! -e "$folder/scratch" ] || fail "the target of a dangling link was made"
mkdir "$folder/scratch"
expect 0 "$zinf" run "$deck" $short
[ -s "$folder/scratch/step-00000002.h5" ] || fail "no checkpoint behind the link"
expect 0 "$zinf" generate "$run" --prompt a --tokens 2

# --overwrite removes what zinf makes, and nothing that only looks like it.
mine="step-00000003-best.h5 latest-good.h5 notes.tmp.txt step-3.h5 step-000000003.h5 step-00000003.h5.bak
      step-00000003.h5.tmp2 step-.h5 latest.h5 latest.tmp.h5 run.lock.old"
for name in $mine; do
    echo "somebody's" >"$checkpoints/$name"
    echo "somebody's" >"$run/$name"
done
cp "$checkpoints/step-00000002.h5" "$checkpoints/step-00000009.h5"
cp "$checkpoints/step-00000002.h5" "$checkpoints/step-1234567890.h5"
: >"$checkpoints/step-00000009.h5.tmp"
ln -s step-00000009.h5 "$checkpoints/latest.tmp"
expect 2 "$zinf" run "$deck" $short
complains "--overwrite"
expect 0 "$zinf" run "$deck" $short --overwrite
for name in $mine; do
    [ -f "$checkpoints/$name" ] || fail "$name was removed from checkpoints"
    [ -f "$run/$name" ] || fail "$name was removed"
    rm "$checkpoints/$name"
done
[ "$(cd "$checkpoints" && echo *)" = "latest step-00000002.h5" ] || fail "left: $(ls "$checkpoints")"
[ ! -e "$run/run.lock" ] || fail "a finished run left its lock"

# A file in the way of the directory.
expect 5 "$zinf" run "$deck" $short --set run.directory="$precious"
complains "$precious"

# What commands write: the place is tried before the work; a link's target is written; what fails
# leaves what was there.
ln -s target "$folder/link"
mkfifo "$folder/fifo"
for command in "plan $deck --trace" "program $deck --picture" "bench disk --output"; do
    for place in "$folder/fifo" "$folder/scratch" "$folder/absent/file"; do
        code=2
        [ "$place" != "$folder/absent/file" ] || code=5
        expect $code "$zinf" $command "$place"
        complains "$place"
        [ ! -s "$folder/out" ] || fail "work was done before the place was tried: $command $place"
    done
done
for command in "plan $deck --trace" "program $deck --picture"; do
    expect 0 "$zinf" $command "$folder/link"
    [ -L "$folder/link" ] && [ -s "$folder/target" ] || fail "a link was replaced: $command"
    cp "$folder/target" "$folder/before"
    expect 3 "$zinf" $command "$folder/link" --set "memory.device=200 KiB"
    same "$folder/target" "$folder/before"
done
[ -z "$(find "$folder" -name '*.tmp-*')" ] || fail "left: $(find "$folder" -name '*.tmp-*')"

# A rank that sees another folder under the name: told before the first step.
if unshare -rm true 2>/dev/null; then
    # Each waits 5 s for the folder to appear: both at once.
    apart() {
        folder=$folder/$1
        code=$2
        shift 2
        mkdir -p "$folder/local"
        expect "$code" unshare -rm "$launcher" -n 2 sh -c \
            'if [ "$PMI_RANK" = 1 ]; then
                 exec unshare -m sh -c "mount -t tmpfs none \"\$0\" && exec \"\$@\"" "$0" "$@"
             fi
             exec "$@"' "$folder/local" "$zinf" run "$deck" $short "$@" --set run.directory="$folder/local"
        complains_once "is not the folder that rank 0 sees"
    }
    (
        apart refused 5
        trains_not
    ) &
    refused=$!
    (
        apart warned 0 --set checkpoint.final=no
        complains "a stop could not save"
    ) &
    wait $! && wait $refused || exit 1
else
    echo "not shown: folders that ranks do not share, for lack of mount namespaces"
fi
done_with app_outputs
