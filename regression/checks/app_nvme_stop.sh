#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SIGTERM while states are laid out, to any one rank: all ranks end with exit code 4, say so, and leave
# nothing on the disk. The lock of a path, held by this script, keeps the run at that place for as long as
# it takes. Skipped where the program does not take signals before it makes anything.
. "${srcdir:-.}/regression/checks/app_common.sh"

holder=
trap '[ -z "$holder" ] || kill $holder 2>/dev/null; rm -rf "$folder"' EXIT
make_data
make_nvme_deck
mkdir "$disk" "$folder/held"
pids=$folder/pids
mkfifo "$folder/gate"

# one RANKS RANK
one() {
    rm -rf "$folder/run" "$pids"
    mkdir "$pids"
    result=0
    # Holds the lock until the gate is opened from the other side, or it is ended.
    rm -f "$folder/ready"
    (flock 9 && : >"$folder/ready" && exec cat "$folder/gate") 9<"$folder/held" >/dev/null 2>&1 &
    holder=$!
    until [ -e "$folder/ready" ]; do sleep 0.05; done
    timeout 120 "$launcher" -n "$1" sh -c \
        'echo $$ >"$0/${PMI_RANK:-0}" && exec "$@"' "$pids" \
        "$zinf" run "$folder/deck.yaml" --set nvme.paths="$disk,$folder/held" \
        >"$folder/out" 2>"$folder/err" </dev/null &
    job=$!
    tries=0
    while [ -z "$(ls -A "$disk")" ] || [ ! -s "$pids/$2" ]; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || fail "the run does not start"
        sleep 0.1
    done
    pid=$(cat "$pids/$2")
    blocked=$(sed -n 's/^SigBlk:[[:space:]]*//p' "/proc/$pid/status")
    if [ $((0x$blocked >> 14 & 1)) -eq 0 ]; then
        kill "$pid"
        wait $job || :
        echo "skipped: SIGTERM is not taken"
        exit 77
    fi
    kill -s TERM "$pid"
    # A rank that has not been told waits for the lock of a path; those that have been are gone by then.
    : >"$folder/gate"
    wait $job || result=$?
    wait $holder || :
    holder=
    [ $result -eq 4 ] || fail "$1 ranks, TERM to rank $2: exit code $result, not 4"
    empty "$disk"
    empty "$folder/held"
    [ ! -e "$folder/run/checkpoints" ] || empty "$folder/run/checkpoints"
    passed=$((passed + 1))
}
one 1 0
says "stopped by SIGTERM while states were laid out; nothing to save"
one 2 0
says "stopped by SIGTERM while states were laid out; nothing to save"
one 2 1
says "while states were laid out; nothing to save"
done_with app_nvme_stop
