#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# One run at a time in a run directory: a second one is refused while the first lives, with
# --overwrite too, and told which process on which host has it; the lock goes with the run, also
# when it is killed.
. "${srcdir:-.}/regression/checks/app_memory.sh"

make_data
make_deck
deck=$folder/deck.yaml
run=$folder/run
endless="--set run.steps=1000000 --set data.validation= --set data.validation_every=never
         --set checkpoint.final=no"

# begin COMMAND...: a run without end, in the background; returns when it has done some steps.
begin() {
    timeout 120 "$@" run "$deck" $endless >"$folder/first.out" 2>"$folder/first.err" </dev/null &
    job=$!
    tries=0
    while [ "$(cat "$run/steps.csv" 2>/dev/null | wc -l)" -lt 4 ]; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || fail "the run does not start: $(cat "$folder/first.err")"
        sleep 0.1
    done
    [ "$(wc -l <"$run/run.lock")" -eq 1 ] || fail "no line in run.lock"
    pid=$(sed -n 's/^process \([0-9][0-9]*\) on host .*/\1/p' "$run/run.lock")
    kill -0 "$pid" || fail "run.lock names no living process: $(cat "$run/run.lock")"
}

begin "$zinf"
ls -i "$run" >"$folder/before"
for option in "" --overwrite; do
    expect 2 "$zinf" run "$deck" $option
    complains "in use by another run: process $pid on host $(uname -n) since 2"
    expect 2 "$launcher" -n 2 "$zinf" run "$deck" $option
    complains_once "in use by another run: process $pid on host $(uname -n) since 2"
done
ls -i "$run" | cmp -s - "$folder/before" || fail "a refused run changed the folder"
result=0
kill -s TERM "$pid"
wait $job || result=$?
[ $result -eq 4 ] || fail "exit code $result, not 4, of the run that was there first"
awk -F, 'NR > 1 && ($1 != NR - 1 || NF != 26) { exit 1 }' "$run/steps.csv" || fail "steps.csv is mixed"
[ ! -e "$run/run.lock" ] || fail "a run that was stopped left its lock"
expect 0 "$zinf" run "$deck" --overwrite
[ ! -e "$run/run.lock" ] || fail "a finished run left its lock"
passed=$((passed + 5))

# Killed: the file stays, and is no obstacle.
rm -r "$run"
begin "$zinf"
kill -s KILL "$pid"
wait $job || :
[ -e "$run/run.lock" ] || fail "this check is broken: no lock file of a killed run"
expect 0 "$zinf" run "$deck" --overwrite
[ ! -e "$run/run.lock" ] || fail "the lock file of a killed run stayed"

# The folder of a run is moved away, and another run takes its name: the first ends by itself, and
# neither its checkpoints nor its end are written among those of the other.
rm -r "$run"
begin "$zinf"
mv "$run" "$run.moved"
expect 0 "$zinf" run "$deck"
find "$run" -printf '%p %i %s\n' | sort >"$folder/before"
result=0
wait $job || result=$?
[ $result -eq 5 ] || fail "exit code $result, not 5, of the run whose folder was moved"
cp "$folder/first.err" "$folder/err"
complains_once "$run has been moved, removed or taken by another run meanwhile"
find "$run" -printf '%p %i %s\n' | sort | cmp -s - "$folder/before" || fail "two runs have mixed their outputs"
rm -r "$run.moved"

# One rank of two fails while the run starts, another while it runs: no lock is left behind.
rm -r "$run"
expect 2 "$launcher" -n 2 "$zinf" run "$deck" --set nvme.paths= --set placement.parameters=nvme
expect 0 "$zinf" run "$deck" --overwrite
rm -r "$run"
mkdir "$folder/pids"
begin "$launcher" -n 2 sh -c 'echo $$ >"$0/${PMI_RANK:-0}" && exec "$@"' "$folder/pids" "$zinf"
[ "$pid" = "$(cat "$folder/pids/0")" ] || fail "the lock is not rank 0's"
kill -s KILL "$(cat "$folder/pids/1")"
wait $job && fail "exit code 0 after a rank was killed"
expect 0 "$launcher" -n 2 "$zinf" run "$deck" --overwrite
[ ! -e "$run/run.lock" ] || fail "the lock file stayed"
done_with app_lock
