#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# No room on the disk that is to hold the states: found before the first step, by the plan (exit code
# 3) or when the space is claimed (5), with a message that says where, how much is wanted and free,
# and what to do; nothing is left there, on one rank, on two of which only one finds room, and with a
# second path that has room. Room that was claimed cannot be taken away by others: the disk fills up,
# the run goes on. The disk is a small tmpfs in a mount namespace of its own; skipped (77) where that
# is not permitted.
. "${srcdir:-.}/regression/checks/mounts.sh"
. "${srcdir:-.}/regression/checks/app_common.sh"

trap 'umount "$disk" 2>/dev/null || :; rm -rf "$folder"' EXIT
make_data
make_nvme_deck
deck=$folder/deck.yaml
mkdir "$disk" "$folder/second"
mount -t tmpfs -o size=300k none "$disk" 2>/dev/null || {
    echo "skipped: tmpfs cannot be mounted here"
    exit 77
}

# refused CODE COMMAND...: before the first step, leaving nothing.
refused() {
    expect "$@"
    if grep -q '^step ' "$folder/out"; then fail "a run without room has trained"; fi
    empty "$disk"
}

# The plan sees at once that the free space is less than the states.
refused 5 "$zinf" run "$deck" --overwrite
complains_once "does not fit: nvme.paths have 300.00 KiB free per rank and the states need "
refused 5 "$launcher" -n 2 "$zinf" run "$deck" --overwrite

# What it cannot foresee, such as room that is there for the states but not for all of their file, or
# that another rank takes, is found when the space is claimed.
mount -o remount,size=620k "$disk"
refused 5 "$zinf" run "$deck" --overwrite
complains_once "error: tier: $disk/zinf-tiny-"
complains "/rank-0.h5: cannot claim "
complains "No space left on device (616.00 KiB free there); free some space, add a folder of another "
refused 5 "$zinf" run "$deck" --overwrite --set nvme.paths="$folder/second,$disk"
complains "cannot claim "
empty "$folder/second"
mount -o remount,size=800k "$disk"
refused 5 "$launcher" -n 2 "$zinf" run "$deck" --overwrite
complains "cannot claim "
mount -o remount,size=4m "$disk"
expect 0 "$launcher" -n 2 "$zinf" run "$deck" --overwrite
empty "$disk"

# The disk is filled to the last byte while the run goes on.
expect 0 "$zinf" run "$deck" --overwrite --set run.steps=400
bits "$folder/run" >"$folder/bits"
rm -r "$folder/run"
"$zinf" run "$deck" --overwrite --set run.steps=400 >"$folder/out" 2>"$folder/err" </dev/null &
job=$!
tries=0
while [ "$(cat "$folder/run/steps.csv" 2>/dev/null | wc -l)" -lt 3 ]; do
    tries=$((tries + 1))
    [ $tries -lt 600 ] || fail "the run does not start"
    sleep 0.05
done
dd if=/dev/zero of="$disk/filler" bs=4k count=2000 2>/dev/null && fail "the disk is not full"
kill -0 $job 2>/dev/null || fail "the run was over before the disk was full"
wait $job || fail "exit code $? on a disk that others have filled"
bits "$folder/run" | cmp -s - "$folder/bits" || fail "other numbers on a full disk"
rm "$disk/filler"
empty "$disk"
umount "$disk"
done_with app_nvme_full
