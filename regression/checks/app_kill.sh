#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# One rank of two is killed with no chance to say anything: the job ends at once and with an error, no
# process stays behind, and what was finished before is whole: the newest checkpoint, which
# `latest` names, the record and the table of steps. So it is where the launcher does not end the others: a rank
# that reads the memory of one that has ended knows it.
. "${srcdir:-.}/regression/checks/app_common.sh"

make_data
make_deck
pids=$folder/pids
mkdir "$pids"

# lose_rank COMMAND...: the command, which starts a job of two ranks; rank 1 is killed when it trains.
lose_rank() {
    result=0 tries=0
    timeout 120 "$@" "$pids" "$zinf" run "$folder/deck.yaml" --overwrite --set run.steps=1000000 \
        --set "checkpoint.every=2 steps" --set data.validation= --set data.validation_every=never \
        >"$folder/out" 2>"$folder/err" </dev/null &
    job=$!
    while [ "$(cat "$folder/run/steps.csv" 2>/dev/null | wc -l)" -lt 8 ]; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || fail "the run does not start"
        sleep 0.2
    done
    kill -s KILL "$(cat "$pids/1")"
    began=$(date +%s)
    wait $job || result=$?
    for rank in 0 1; do
        while kill -0 "$(cat "$pids/$rank")" 2>/dev/null; do
            [ $(($(date +%s) - began)) -le 20 ] || fail "rank $rank is still there"
            sleep 0.1
        done
    done
    [ $(($(date +%s) - began)) -le 20 ] || fail "the job did not end"
    passed=$((passed + 3))
}

# shellcheck disable=SC2016 # the shell of each rank expands it
lose_rank "$launcher" -n 2 sh -c 'echo $$ >"$0/${PMI_RANK:-0}" && exec "$@"'
[ "$result" -ne 0 ] || fail "exit code 0 after a rank was killed"
checkpoints=$folder/run/checkpoints
[ -L "$checkpoints/latest" ] || fail "no link to the newest checkpoint: $(ls "$checkpoints")"
expect 0 "$zinf" inspect "$checkpoints/$(readlink "$checkpoints/latest")"
says embedding.token.weight
expect 0 "$zinf" generate "$folder/run" --prompt "the " --tokens 8 --temperature 0
expect 0 "$zinf" inspect "$folder/run/run.h5"
# Nothing keeps the run from being started again in the same place.
expect 0 "$launcher" -n 2 "$zinf" run "$folder/deck.yaml" --overwrite

# The launcher sees a shell that ends well.
if ! grep -q "exchange messages" "$folder/out"; then
    rm -r "$folder/run"
    # shellcheck disable=SC2016 # the shell of each rank expands it
    lose_rank "$launcher" -disable-auto-cleanup -n 2 \
        sh -c 'trap "" USR1; "$@" & echo $! >"$0/${PMI_RANK:-0}"; wait $! || :'
    grep -q "rank 1 has ended\|memory of rank 1 cannot be read" "$folder/err" || fail "nothing about the end of rank 1"
    complains "rank 0 of 2"
fi
done_with app_kill
