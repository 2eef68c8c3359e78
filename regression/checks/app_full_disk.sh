#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A disk that fills up under the record of a run: the run ends with exit code 5 and says which file
# could not be written, why, and what helps, on one rank and on two, instead of training on with
# holes in its record; what it has written ends in whole rows. Room for checkpoints is asked for
# before the first step. The disk is a small tmpfs in a mount namespace of its own; skipped (77)
# where that is not permitted.
. "${srcdir:-.}/regression/checks/mounts.sh"
. "${srcdir:-.}/regression/checks/app_common.sh"

make_data
make_deck
mkdir "$folder/disk"
mount -t tmpfs -o size=600k none "$folder/disk" 2>/dev/null || {
    echo "skipped: tmpfs cannot be mounted here"
    exit 77
}
small="--set batch.global=2 --set batch.tokens=4 --set model.layers=1" # steps are short, and the disk is full soon
endless="$small --set run.steps=1000000 --set run.report_every=100000 --set data.validation=
         --set data.validation_every=never"
for command in "$zinf" "$launcher -n 2 $zinf"; do
    expect 5 $command run "$folder/deck.yaml" --set run.directory="$folder/disk" --overwrite $endless \
        --set checkpoint.final=no
    grep -Eq 'error: .*cannot write .*/(steps\.csv|run\.h5): No space left on device; make room' \
        "$folder/err" || fail "no file, cause and remedy"
    if grep -Eqi 'HDF5|unable to' "$folder/err"; then fail "a message of HDF5"; fi
    [ "$(wc -l <"$folder/disk/steps.csv")" -gt 100 ] || fail "the disk was full too early"
    awk -F, 'NF != 26 || $NF == "" { exit 1 }' "$folder/disk/steps.csv" || fail "a broken row"
    [ "$(tail -c 1 "$folder/disk/steps.csv" | wc -l)" -eq 1 ] || fail "half a row at the end"
    expect 0 "$zinf" check "$folder/disk/used.yaml"
    expect 0 "$zinf" inspect "$folder/disk/run.h5"
    says "/steps/loss"
    [ ! -e "$folder/disk/run.lock" ] || fail "the lock file stayed"
done
rm -r "$folder/disk"/*

# The record has no room, the folder of checkpoints has: what was computed is saved.
for command in "$zinf" "$launcher -n 2 $zinf"; do
    mkdir "$folder/disk/apart" "$folder/large"
    ln -s "$folder/large" "$folder/disk/apart/checkpoints"
    expect 5 $command run "$folder/deck.yaml" --set run.directory="$folder/disk/apart" $endless
    step=$(sed -n 's/^checkpoint: //p' "$folder/disk/apart/end.yaml")
    [ "$step" = "$(sed -n 's/^step: //p' "$folder/disk/apart/end.yaml")" ] || fail "the last step was not saved"
    expect 0 "$zinf" inspect "$folder/large/latest" --verify
    rm -r "$folder/disk"/* "$folder/large"
done

# No room for the outputs at all: found before the first step, and nothing empty is left.
dd if=/dev/zero of="$folder/disk/filler" bs=1k count=700 2>/dev/null || :
expect 5 "$zinf" run "$folder/deck.yaml" --set run.directory="$folder/disk/other" \
    --set checkpoint.final=no
if grep -q '^step ' "$folder/out"; then fail "a run without room for its record has trained"; fi
[ ! -e "$folder/disk/other/used.yaml" ] || fail "an empty used.yaml"
rm -rf "$folder/disk"/*

# Room for some of the outputs: whichever is the first that does not fit is named, and the end is orderly.
for left in 8 16 24 40 80 160 240; do
    mkdir "$folder/disk/other"
    free=$(df -k "$folder/disk" | awk 'END { print $4 }')
    dd if=/dev/zero of="$folder/disk/filler" bs=1k count=$((free - left)) 2>/dev/null
    expect 5 "$zinf" run "$folder/deck.yaml" --set run.directory="$folder/disk/other" \
        --set checkpoint.final=no
    grep -Eq 'error: .*cannot write .*/disk/other/.*: No space left on device; make room' "$folder/err" ||
        fail "no file, cause and remedy with $left KiB left"
    if grep -Eqi 'HDF5|unable to' "$folder/err"; then fail "a message of HDF5 with $left KiB left"; fi
    rm -rf "$folder/disk"/*
done

# Checkpoints, of 0.5 MB and claimed with a margin as 1 MB: room for one of them and not for three;
# for none; and for one once --overwrite has removed what there is.
mount -t tmpfs -o remount,size=2700k none "$folder/disk"
run="$zinf run $folder/deck.yaml --set run.directory=$folder/disk/run --set checkpoint.every=2"
expect 0 $run --set checkpoint.keep=1
expect 0 $run --set checkpoint.keep=9 --overwrite
complains "up to 3 stand at once"
[ -e "$folder/disk/run/checkpoints/step-00000006.h5" ] || fail "no checkpoint"
free=$(df -k "$folder/disk" | awk 'END { print $4 }')
dd if=/dev/zero of="$folder/disk/filler" bs=1k count=$((free - 700)) 2>/dev/null
for command in "$zinf" "$launcher -n 2 $zinf"; do
    expect 5 $command run "$folder/deck.yaml" --set run.directory="$folder/disk/another"
    complains_once "a checkpoint takes"
    complains "are free in $folder/disk/another"
    if grep -q '^step ' "$folder/out"; then fail "a run without room for a checkpoint has trained"; fi
done
expect 0 "$zinf" run "$folder/deck.yaml" --set run.directory="$folder/disk/another" \
    --set checkpoint.final=no
complains "no checkpoint is due, but a stop would write one"
expect 0 $run --set checkpoint.every=6 --overwrite

# The disk fills up under checkpoints: training goes on, those that are whole stay, and the last one is asked for.
rm -rf "$folder/disk"/*
for command in "$zinf" "$launcher -n 2 $zinf"; do
    for final in no yes; do
        code=0
        [ $final = no ] || code=5
        expect $code $command run "$folder/deck.yaml" --set run.directory="$folder/disk/run" --overwrite \
            --set checkpoint.every=1 --set checkpoint.keep=0 --set checkpoint.final=$final
        complains "could not be written: training goes on, that of step 4 stands"
        complains "free there); make room, or write elsewhere (of a run: lower checkpoint.keep, or choose another run.directory)"
        [ "$(wc -l <"$folder/disk/run/steps.csv")" -eq 7 ] || fail "training did not go on"
        expect 0 "$zinf" inspect --verify "$folder/disk/run/checkpoints/latest"
        [ "$(readlink "$folder/disk/run/checkpoints/latest")" = step-00000004.h5 ] || fail "latest is another"
        [ "$(find "$folder/disk/run/checkpoints" -name '*.tmp' | wc -l)" -eq 0 ] || fail "half a checkpoint is left"
    done
done

# A cause that comes again with each checkpoint is not said for ever.
expect 0 "$zinf" run "$folder/deck.yaml" --set run.directory="$folder/disk/run" --overwrite --set run.steps=40 \
    --set checkpoint.every=1 --set checkpoint.keep=0 --set checkpoint.final=no
complains_once "run.directory) (further errors of this kind are not shown)"
[ "$(grep -c "cannot claim" "$folder/err")" -eq 20 ] || fail "an error is said $(grep -c "cannot claim" "$folder/err") times"
umount "$folder/disk"
done_with app_full_disk
