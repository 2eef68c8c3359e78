#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# end.yaml tells of the run that was started last, whatever its end, and of the exit code of the
# process; nohup holds; what is closed of standard input, output and error is no place for files;
# a colon in run.directory is no word of MPI's.
. "${srcdir:-.}/regression/checks/app_memory.sh"

make_data
make_deck
deck=$folder/deck.yaml
run=$folder/run
short="--set run.steps=2 --set data.validation= --set data.validation_every=never"
endless="--set run.steps=1000000 --set data.validation= --set data.validation_every=never
         --set checkpoint.final=no --overwrite"

# ended CODE: what end.yaml says.
ended() {
    [ "$(sed -n 's/^code: //p' "$run/end.yaml")" = "$1" ] || fail "end.yaml does not say $1: $(cat "$run/end.yaml")"
    passed=$((passed + 1))
}

rows() { cat "$run/steps.csv" 2>/dev/null | wc -l; }

# grows ROWS: waits until the run $job has so many.
grows() {
    tries=0
    while [ "$(rows)" -lt "$1" ]; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || fail "the run does not go on: $(cat "$folder/err")"
        kill -0 $job 2>/dev/null || fail "the run has ended: $(cat "$run/end.yaml")"
        sleep 0.1
    done
    passed=$((passed + 1))
}

# Outputs of an earlier run, which ended well, and a run that fails before it replaces them.
expect 0 "$zinf" run "$deck" $short
ended 0
expect 2 "$zinf" run "$deck" $short
ended 0
expect 3 "$zinf" run "$deck" $short --overwrite --set memory.host=4KiB --set memory.device=4KiB
ended 3
[ -s "$run/steps.csv" ] || fail "a run that does not fit removed the outputs of an earlier one"

# A run that is killed has no end, whoever was there before.
expect 0 "$zinf" run "$deck" $short --overwrite
"$zinf" run "$deck" $endless >"$folder/out" 2>"$folder/err" </dev/null &
job=$!
grows 20
kill -s KILL $job
wait $job 2>/dev/null || :
[ ! -e "$run/end.yaml" ] || fail "a killed run has the end of an earlier one: $(cat "$run/end.yaml")"

# Started by nohup, a terminal that closes does not end it.
rm -r "$run"
nohup "$zinf" run "$deck" $endless >"$folder/out" 2>"$folder/err" </dev/null &
job=$!
grows 20
kill -s HUP $job
grows $(($(rows) + 200))
kill -s TERM $job
wait $job && fail "exit code 0 of a run that was stopped" || result=$?
[ "$result" -eq 4 ] || fail "exit code $result, not 4"
ended 4
grep -q SIGTERM "$run/end.yaml" || fail "nohup was not respected: $(cat "$run/end.yaml")"

# Standard output that takes nothing is an error of the run, and its end says so.
if [ -c /dev/full ]; then
    result=0
    "$zinf" run "$deck" $short --overwrite >/dev/full 2>"$folder/err" </dev/null || result=$?
    [ "$result" -eq 5 ] || fail "exit code $result, not 5, for standard output on a full disk"
    complains_once "cannot write to standard output"
    ended 5
fi
result=0
"$zinf" run "$deck" $short --overwrite <&- >&- 2>"$folder/err" || result=$?
[ "$result" -eq 5 ] || fail "exit code $result, not 5, when standard input and output are closed"
complains_once "cannot write to standard output"
ended 5

# MPI-IO takes what stands before a colon for the kind of a file system.
run=$folder/at-12:30
for command in "$zinf" "$launcher -n 2 $zinf"; do
    expect 0 $command run "$deck" $short --set run.directory="$run" --overwrite
    ended 0
    expect 0 "$zinf" inspect "$run/checkpoints/latest" --verify
done
done_with app_end
