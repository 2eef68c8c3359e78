#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A run whose states all live on disk, and disks that misbehave in the middle of it. What can be got
# over (short transfers, refusals, interruptions, a stall, no direct I/O, no libaio, another run on
# the same path) changes no bit of the result; what cannot (EIO, a full disk) ends the run with exit
# code 5 and says which bytes of what could not be moved. Nothing stays on the path in either case.
. "${srcdir:-.}/regression/checks/app_common.sh"

make_data
make_nvme_deck
deck=$folder/deck.yaml
run=$folder/run

# In memory, for comparison.
expect 0 "$zinf" run "$deck" --set run.directory="$folder/memory" --set placement.parameters=device \
    --set placement.gradients=device --set placement.optimizer=device --set placement.activations=device
bits "$folder/memory" >"$folder/bits"
as_in_memory() {
    bits "$1" | cmp -s - "$folder/bits" || fail "other numbers than in memory: $1"
    passed=$((passed + 1))
}

# survives FAULT: the run ends well, and the same. Whether the fault came at all shows when an error
# takes its place.
survives() {
    expect 0 env ZINF_DISK_FAULT="$1" "$zinf" run "$deck" --overwrite --set "nvme.deadline=1 second"
    as_in_memory "$run"
    empty "$disk"
    cp "$folder/err" "$folder/survived"
    operation=${1%%:*}
    first=$(echo "$1" | cut -d: -f 3)
    case $1 in
    *:nodirect:* | *:nolibaio:*) ;;
    *) expect 5 env ZINF_DISK_FAULT="$operation:EIO:$first" "$zinf" run "$deck" --overwrite ;;
    esac
    cp "$folder/survived" "$folder/err"
}

expect 0 "$zinf" run "$deck"
as_in_memory "$run"
empty "$disk"
survives read:short:10
survives any:short:1:1000
survives any:EAGAIN:20:3
survives any:interrupt:5:20
survives any:refuse:10
survives write:stall:20:1:2
complains "the disk is stalled: a write of"
survives any:nodirect:1:1000
complains_once "refuses direct I/O"
survives any:nolibaio:1:1000
complains_once "libaio is refused"

# fails FAULT WORDS ERRNO-TEXT: in mid-run, and says everything about it, once.
fails() {
    expect 5 env ZINF_DISK_FAULT="$1" "$zinf" run "$deck" --overwrite
    says "step 1/6"
    if grep -q 'step 6/6' "$folder/out"; then fail "the fault came too late"; fi
    bytes="rank-0\\.h5: cannot $2 [0-9]+ bytes at offset [0-9]+"
    states='(parameter|remainder|gradient|moment1|moment2|activation)/[a-z0-9.]+'
    found=$(grep -Ec "error: disk: $disk/zinf-tiny-[0-9a-f]+/$bytes \\($states\\): $3; " "$folder/err") || :
    [ "$found" -eq 1 ] || fail "$found complete messages"
    empty "$disk"
}
fails write:EIO:100 write "Input/output error"
fails write:ENOSPC:100 write "No space left on device"
fails read:EIO:150 read "Input/output error"

# No rank waits for one that has failed. The launcher's code is some error's: when ranks abort at once the transport
# of MPI may die on the way out (doc/libraries.md). The end that rank 0 leaves, where it comes to that, is true.
for fault in write:EIO:100 write:EIO:130 read:EIO:150 write:EIO:160 any:EIO:350; do
    result=0
    timeout 120 "$launcher" -n 2 env ZINF_DISK_FAULT=$fault "$zinf" run "$deck" --overwrite >"$folder/out" \
        2>"$folder/err" </dev/null || result=$?
    case $result in
    0 | 4 | 124) fail "exit code $result of two ranks whose disk fails" ;;
    esac
    complains ": cannot "
    if [ -e "$run/end.yaml" ] && ! grep -q "^code: 5" "$run/end.yaml"; then
        fail "end.yaml: $(cat "$run/end.yaml")"
    fi
    rm -rf "$disk"
done

# Two runs at once on one path: seen there together, they do each other no harm.
expect 0 "$zinf" run "$deck" --overwrite --set run.steps=300
bits "$run" >"$folder/bits"
beside() {
    exec "$zinf" run "$deck" --set run.steps=300 --set run.directory="$folder/$1" >"$folder/$1.out" \
        2>"$folder/$1.err" </dev/null
}
beside left &
left=$!
beside right &
right=$!
together=0
while kill -0 "$left" 2>/dev/null && kill -0 "$right" 2>/dev/null; do
    [ "$(find "$disk" -name rank-0.h5 2>/dev/null | wc -l)" -eq 2 ] && together=1
    sleep 0.05
done
wait "$left" || fail "exit code $? beside another run: $(cat "$folder/left.err")"
wait "$right" || fail "exit code $? beside another run: $(cat "$folder/right.err")"
[ "$together" -eq 1 ] || fail "the two runs never met"
as_in_memory "$folder/left"
as_in_memory "$folder/right"
empty "$disk"
done_with app_nvme_faults
