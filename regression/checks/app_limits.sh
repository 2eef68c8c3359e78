#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Limits of a process that a checkpoint runs into, set while a run is in progress, on its last rank: memory, open files.
# Training goes on, cause and remedy are said, and when the limit is gone the next checkpoint is written.
. "${srcdir:-.}/regression/checks/app_common.sh"
command -v prlimit >/dev/null || { echo "skipped: no prlimit (Debian: util-linux)"; exit 77; }

make_data
make_deck
run=$folder/run

# await TEXT: until stderr of the run says it.
await() {
    tries=0
    until grep -qF -e "$1" "$folder/err"; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || fail "the run does not say: $1"
        kill -0 "$pid" 2>/dev/null || fail "the run has ended, and has not said: $1"
        sleep 0.1
    done
    passed=$((passed + 1))
}

# begin COMMAND...: a run without end, in the background, whose last rank has the number $pid.
begin() {
    rm -rf "$run" "$folder/pids"
    mkdir "$folder/pids"
    timeout 120 "$@" sh -c 'echo $$ >"$0/${PMI_RANK:-0}" && exec "$@"' "$folder/pids" "$zinf" run "$folder/deck.yaml" \
        --set run.steps=1000000 --set run.report_every=1000 --set data.validation= --set data.validation_every=never \
        --set checkpoint.keep=1 >"$folder/out" 2>"$folder/err" </dev/null &
    job=$!
    tries=0
    while [ "$(cat "$run/steps.csv" 2>/dev/null | wc -l)" -lt 4 ]; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || fail "the run does not start"
        sleep 0.1
    done
    for file in "$folder/pids"/*; do pid=$(cat "$file"); done
}

# written: a checkpoint is asked for, and is there.
written() {
    touch "$run/checkpoint"
    tries=0
    while [ -e "$run/checkpoint" ]; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || fail "no checkpoint after $1"
        sleep 0.1
    done
    rm "$run/checkpoints"/*
    passed=$((passed + 1))
}

# refused LIMIT VALUE TEXT...: what is said of a checkpoint under the limit.
refused() {
    limit=$1
    value=$2
    shift 2
    prlimit --pid "$pid" "--$limit=$value:"
    touch "$run/checkpoint"
    await "could not be written: training goes on, "
    for text in "$@"; do await "$text"; done
    if grep -q "make room" "$folder/err"; then fail "room is no remedy against $limit"; fi
    prlimit --pid "$pid" "--$limit=$(prlimit --pid $$ "--$limit" -o HARD --noheadings | tr -d ' '):"
    : >"$folder/err"
    written "$limit"
}

for command in "env" "$launcher -n 2"; do
    begin $command
    written "the start"
    refused as "$(($(awk '{ print $1 }' "/proc/$pid/statm") * $(getconf PAGESIZE)))" \
        "Cannot allocate memory" "raise the limit on the memory of a process (ulimit -v)"
    refused nofile 12 "Too many open files; raise the limit on open files of a process (ulimit -n)"
    kill -s TERM "$pid"
    result=0
    wait $job || result=$?
    [ $result -eq 4 ] || grep -q "^code: 4" "$run/end.yaml" || fail "exit code $result, not 4"
done
done_with app_limits
