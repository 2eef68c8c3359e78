#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a killed run leaves on its disk: later runs say so, work beside it, and remove it with
# --reclaim, but never what a living run owns or what nvme.keep left there on purpose. A kept store
# is a file for everybody: h5py finds in it the very numbers of the checkpoint.
. "${srcdir:-.}/regression/checks/app_common.sh"

job=
trap '[ -z "$job" ] || kill -s KILL $job 2>/dev/null; rm -rf "$folder"' EXIT
make_data
make_nvme_deck
deck=$folder/deck.yaml

# Starts a run without end in the background, $job, and waits until it is in its steps.
start_endless() {
    rm -rf "$folder/endless"
    "$zinf" run "$deck" --set run.directory="$folder/endless" --set run.steps=1000000 \
        --set data.validation= --set data.validation_every=never \
        >"$folder/endless.out" 2>"$folder/endless.err" </dev/null &
    job=$!
    tries=0
    while [ "$(cat "$folder/endless/steps.csv" 2>/dev/null | wc -l)" -lt 4 ]; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || fail "the run does not start: $(cat "$folder/endless.err")"
        sleep 0.1
    done
}

expect 0 "$zinf" run "$deck"
bits "$folder/run" >"$folder/bits"
empty "$disk"
start_endless
kill -s KILL $job
wait $job || :
job=
stale=$(ls "$disk")
[ -s "$disk/$stale/rank-0.h5" ] || fail "the killed run has left nothing to look for"
[ "$(stat -c %a "$disk/$stale/rank-0.h5")" = 600 ] || fail "others may read the states"

# Said once, by one rank and by two, and worked beside.
for command in "$zinf" "$launcher -n 2 $zinf"; do
    expect 0 $command run "$deck" --overwrite
    complains_once "$disk/$stale was left by a run that died and holds "
    complains "zinf run DECK --reclaim"
    [ "$(ls "$disk")" = "$stale" ] || fail "not only the stale folder is there: $(ls "$disk")"
done
expect 0 "$zinf" run "$deck" --overwrite
bits "$folder/run" | cmp -s - "$folder/bits" || fail "other numbers beside a stale store"

# Reclaimed; a run that lives is left alone, and ends well.
start_endless
expect 0 "$zinf" run "$deck" --overwrite --reclaim
says "$disk/$stale, left by a run that died, is removed: "
bits "$folder/run" | cmp -s - "$folder/bits" || fail "other numbers after reclaiming"
[ "$(find "$disk" -name rank-0.h5 | wc -l)" -eq 1 ] || fail "what is there: $(ls "$disk")"
lines=$(wc -l <"$folder/endless/steps.csv")
expect 0 "$zinf" run "$deck" --overwrite --set nvme.reclaim=yes
if grep -q "run that died" "$folder/err" "$folder/out"; then fail "a living run is taken for dead"; fi
[ "$(wc -l <"$folder/endless/steps.csv")" -gt "$lines" ] || fail "the living run stands still"
kill -s TERM $job
result=0
wait $job || result=$?
job=
[ $result -eq 4 ] || fail "exit code $result, not 4, of a run that others have reclaimed beside"
empty "$disk"

# Files of others on the path are no stale stores, whatever their names: nothing is said, nothing goes.
mkdir "$disk/zinf-notes" "$disk/other" "$disk/zinf-data" "$disk/zinf-0.1" "$disk/zinf-mine-0123456789abcdef"
for name in zinf-notes/thesis.txt zinf-data/rank-0.h5 zinf-data/node zinf-0.1/speed-1 \
    zinf-mine-0123456789abcdef/rank-1.h5; do
    echo mine >"$disk/$name"
done
find "$disk" | sort >"$folder/before"
expect 0 "$zinf" run "$deck" --overwrite --reclaim
if grep -q "run that died" "$folder/err" "$folder/out"; then fail "what no run has made is taken for a store"; fi
find "$disk" | sort | cmp -s - "$folder/before" || fail "--reclaim removed what no run has made"
rm -rf "$disk"

# In a dead run's folder, what others have put there stays, and is not waited for.
start_endless
kill -s KILL $job
wait $job || :
job=
stale=$(ls "$disk")
echo mine >"$disk/$stale/notes.txt"
mkfifo "$disk/$stale/rank-7.h5"
expect 0 "$zinf" run "$deck" --overwrite
complains_once "$disk/$stale was left by a run that died"
expect 0 "$zinf" run "$deck" --overwrite --reclaim
complains_once "$disk/$stale, left by a run that died: its files are removed ("
[ "$(cat "$disk/$stale/notes.txt")" = mine ] || fail "somebody's notes are gone"
[ "$(find "$disk/$stale" -type f -o -type p | wc -l)" -eq 2 ] || fail "left: $(ls -A "$disk/$stale")"
rm -rf "$disk"

# Kept on purpose: later runs say nothing and leave it.
expect 0 "$zinf" run "$deck" --overwrite --set nvme.keep=yes --set checkpoint.final=yes
kept=$(ls "$disk")
[ -s "$disk/$kept/rank-0.h5" ] || fail "nothing is kept"
cp "$folder/run/checkpoints/latest" "$folder/checkpoint.h5"
expect 0 "$zinf" run "$deck" --overwrite --reclaim
if grep -q "$kept" "$folder/err" "$folder/out"; then fail "a kept store is complained about"; fi
[ "$(ls "$disk")" = "$kept" ] || fail "the kept store alone should be there: $(ls "$disk")"
for python in python3 /usr/bin/python3 none; do
    if [ "$python" = none ]; then
        echo "no python3 with h5py: the kept file is not looked into"
        break
    fi
    "$python" -c 'import h5py' 2>/dev/null || continue
    expect 0 "$python" -B "${srcdir:-.}/regression/checks/app_nvme_reader.py" \
        "$disk/$kept/rank-0.h5" "$folder/checkpoint.h5"
    says "masters of 34688 parameters"
    rm -r "${disk:?}/$kept"
    expect 0 "$zinf" run "$deck" --overwrite --set nvme.keep=yes --set checkpoint.final=yes --set precision.compute=fp16
    expect 0 "$python" -B "${srcdir:-.}/regression/checks/app_nvme_reader.py" \
        "$disk/$(ls "$disk")/rank-0.h5" "$folder/run/checkpoints/latest"
    says "masters of 34688 parameters"
    break
done
done_with app_nvme_stale
