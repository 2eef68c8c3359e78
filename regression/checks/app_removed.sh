#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The folder of a run is removed while it is in progress, or all that is in it, or one table: the run ends with the next
# line of numbers, with exit code 5, and says what is gone, on one rank and on two. What can still be saved is.
. "${srcdir:-.}/regression/checks/app_common.sh"

make_data
make_deck
run=$folder/run

# begin COMMAND...: a run without end, in the background; returns when it has done some steps.
begin() {
    timeout 120 "$@" run "$folder/deck.yaml" --set run.steps=1000000 --set data.validation= \
        --set data.validation_every=never >"$folder/out" 2>"$folder/err" </dev/null &
    job=$!
    tries=0
    while [ "$(cat "$run/steps.csv" 2>/dev/null | wc -l)" -lt 4 ]; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || fail "the run does not start"
        sleep 0.1
    done
}

# ended WHAT: it has ended with 5.
ended() {
    result=0
    wait $job || result=$?
    [ $result -eq 5 ] || fail "exit code $result, not 5, of the run without $1"
    passed=$((passed + 1))
}

for command in "$zinf" "$launcher -n 2 $zinf"; do
    begin $command
    mv "$run" "$folder/gone" && rm -rf "$folder/gone" # at once
    ended "its folder"
    complains_once "$run has been moved, removed or taken by another run meanwhile"
    [ ! -e "$run" ] || fail "a removed run directory was made again: $(ls "$run")"

    # File by file: the run may save while they go, and then the folder stays.
    begin $command
    rm -rf "$run" 2>/dev/null || :
    ended "its folder, which goes slowly"
    grep -Eq "has been (moved, removed or taken|removed, moved or replaced)" "$folder/err" || fail "no word of what is gone"

    for what in all steps.csv checkpoints.csv; do
        rm -rf "$run"
        begin $command
        if [ $what = all ]; then rm -rf "${run:?}"/*; else rm "$run/$what"; fi
        ended "$what"
        complains_once "has been removed, moved or replaced while the run writes to it"
        grep -q "^code: 5" "$run/end.yaml" || fail "end.yaml without $what"
        expect 0 "$zinf" inspect --verify "$run/checkpoints/latest"
        [ "$(readlink "$run/checkpoints/latest")" = "$(printf 'step-%08d.h5' "$(sed -n 's/^step: //p' "$run/end.yaml")")" ] ||
            fail "the last step was not saved"
    done
    rm -rf "$run"
done
done_with app_removed
