#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the NVMe store says that it read and wrote in a step is what the kernel counted, within 1%; in the first two
# steps the kernel may have read less, as what was never written needs no disk. Skipped where the kernel does not say,
# and on file systems in memory, which it does not count.
. "${srcdir:-.}/regression/checks/app_common.sh"

disk=$(mktemp -d "$top/app_traffic_XXXXXX")
trap 'rm -rf "$folder" "$disk"' EXIT
grep -q '^read_bytes: ' /proc/self/io 2>/dev/null || { echo "skipped: no /proc/self/io"; exit 77; }
case $(stat -f -c %T "$disk") in tmpfs | ramfs) echo "skipped: $disk is in memory"; exit 77 ;; esac

make_data
make_deck

# agree FILE: in each step both counts are there, and as near as said.
agree() {
    awk -F, 'function near(a, b) { return (a > b ? a - b : b - a) <= 0.01 * b }
        NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
        { if ($at["disk_read_bytes"] <= 0 || $at["disk_written_bytes"] <= 0) bad = 1
          if ($at["io_read_bytes"] > 1.01 * $at["disk_read_bytes"]) bad = 1
          if (NR > 3 && !near($at["disk_read_bytes"], $at["io_read_bytes"])) bad = 1
          if (!near($at["disk_written_bytes"], $at["io_written_bytes"])) bad = 1 }
        END { exit bad || NR < 4 }' "$1"
}

# The comparison refuses what it must.
heading=disk_read_bytes,disk_written_bytes,io_read_bytes,io_written_bytes
for rows in 1000,1000,1000,1000=0 1000,1000,1009,995=0 1000,1000,1011,1000=1 1000,1000,1000,989=1 0,0,0,0=1 9,9,-1,-1=1; do
    { echo $heading; for _ in 1 2 3; do echo "${rows%=*}"; done; } >"$folder/made.csv"
    if agree "$folder/made.csv"; then found=0; else found=1; fi
    [ $found -eq "${rows#*=}" ] || fail "the comparison is broken: $rows"
done

for set in zero.update=immediate zero.update=deferred; do
    expect 0 "$zinf" run "$folder/deck.yaml" --overwrite --set "nvme.paths=[$disk]" --set nvme.engine=libaio \
        --set model.hidden=128 --set placement.parameters=nvme --set placement.gradients=nvme \
        --set placement.optimizer=nvme --set placement.activations=nvme --set $set --set data.validation_every=never
    agree "$folder/run/steps.csv" || fail "$set: $(cut -d, -f 19-22 "$folder/run/steps.csv")"
    passed=$((passed + 1))
done
done_with app_traffic
