#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SIGTERM or SIGUSR1 to any one rank: all ranks finish the step, write a checkpoint of it, and end
# with exit code 4.
. "${srcdir:-.}/regression/checks/app_common.sh"

make_data
make_deck
pids=$folder/pids

# one RANKS SIGNAL RANK
one() {
    rm -rf "$folder/run" "$pids"
    mkdir "$pids"
    result=0
    timeout 120 "$launcher" -n "$1" sh -c \
        'echo $$ >"$0/${PMI_RANK:-0}" && exec "$@"' "$pids" \
        "$zinf" run "$folder/deck.yaml" --set run.steps=1000000 --set checkpoint.final=no \
        --set data.validation= --set data.validation_every=never >"$folder/out" 2>"$folder/err" </dev/null &
    job=$!
    tries=0
    while [ "$(cat "$folder/run/steps.csv" 2>/dev/null | wc -l)" -lt 4 ]; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || fail "the run does not start"
        sleep 0.2
    done
    kill -s "$2" "$(cat "$pids/$3")"
    wait $job || result=$?
    [ $result -eq 4 ] || fail "$1 ranks, $2 to rank $3: exit code $result, not 4"
    says "stopped after step"
    last=$(tail -n 1 "$folder/run/steps.csv" | cut -d, -f 1)
    [ -s "$folder/run/checkpoints/$(printf 'step-%08d.h5' "$last")" ] ||
        fail "no checkpoint of step $last: $(ls "$folder/run/checkpoints")"
    grep -q resident "$folder/run/memory.csv" || fail "memory.csv"
    passed=$((passed + 4))
}
one 1 TERM 0
one 1 USR1 0
one 2 USR1 1
one 2 TERM 0
done_with app_signal
