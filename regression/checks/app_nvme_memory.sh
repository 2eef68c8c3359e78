#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Memory taken for a disk: states that go to a path on tmpfs count as host memory. Where they fit, a run
# says so by a warning and computes the same; where memory.host is less than they need, alone or together
# with what else is there, plan and run refuse with exit code 3, naming the path and what to do, and
# nothing is made. The file systems are mounted in a name space of its own; skipped (77) where that is
# not permitted.
. "${srcdir:-.}/regression/checks/mounts.sh"
. "${srcdir:-.}/regression/checks/app_common.sh"

trap 'umount "$disk" 2>/dev/null || :; rm -rf "$folder"' EXIT
make_data
make_nvme_deck
deck=$folder/deck.yaml
mkdir "$disk" "$folder/real"
expect 0 "$zinf" run "$deck" --overwrite --set nvme.paths="$folder/real"
bits "$folder/run" >"$folder/bits"
mount -t tmpfs -o size=64m none "$disk" 2>/dev/null || {
    echo "skipped: tmpfs cannot be mounted here"
    exit 77
}

# Said once, by one rank and by two; the numbers are the same.
for command in "$zinf" "$launcher -n 2 $zinf"; do
    expect 0 $command run "$deck" --overwrite
    complains_once "nvme.paths: $disk is memory (tmpfs), not a disk: states there count as host memory"
    says "nvme.paths are memory: "
    empty "$disk"
done
expect 0 "$zinf" run "$deck" --overwrite
bits "$folder/run" | cmp -s - "$folder/bits" || fail "other numbers on memory"
expect 0 "$zinf" run "$deck" --overwrite --set nvme.paths="$disk/new/folder"
complains_once "nvme.paths: $disk/new/folder is memory (tmpfs)"
rm -r "$disk/new"

# The states need some 630 KiB, the rest at least 500 KiB: a host budget that holds both, and one that only holds the
# rest, which is enough with a disk.
expect 0 "$zinf" run "$deck" --overwrite --set "memory.device=8 MiB" --set "memory.host=8 MiB"
for command in run plan; do
    more=
    [ $command = plan ] || more=--overwrite
    for paths in "$disk" "$folder/real,$disk"; do
        rm -rf "$folder/run"
        expect 3 "$zinf" $command "$deck" $more --set "memory.device=8 MiB" --set "memory.host=900 KiB" \
            --set nvme.paths="$paths"
        complains "does not fit: memory.host is 900.00 KiB per rank and the program needs "
        complains "of that are states that go to nvme: $disk (tmpfs) is memory, not a disk; name a folder on a"
        complains "local disk in nvme.paths, or raise memory.host"
        empty "$disk"
    done
done
expect 0 "$zinf" run "$deck" --overwrite --set "memory.device=8 MiB" --set "memory.host=900 KiB" \
    --set nvme.paths="$folder/real"

# A measurement there says what it is of.
expect 0 "$zinf" bench disk --size 1 --turns 1 --output "$folder/machine.yaml" --set nvme.paths="$disk" \
    --set device.threads=1
complains_once "nvme.paths: $disk is memory (tmpfs)"
empty "$disk"
umount "$disk"
done_with app_nvme_memory
