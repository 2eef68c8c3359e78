#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A model of 34 million parameters, whose state takes 470 MB, trains in a memory cgroup of 192 MiB with every state on
# NVMe; the group kills what takes more, and the same deck in memory cannot run in it. Skipped (77) without cgroups.
set -eu

top=${abs_top_builddir:-$(pwd)}
scratch=$(mktemp -d "$top/bounded.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
status=0
sh "${srcdir:-.}/regression/python.sh" "${srcdir:-.}/regression/bench/bounded_memory.py" --zinf "${ZINF:-$top/zinf}" \
    --scratch "$scratch" --size 30M --tile 1048576 --limit "192 MiB" --device-memory "80 MiB" \
    --host-memory "48 MiB" --set zero.group=262144 --threads 1 --control || status=$?
[ "$status" -eq 0 ] || exit "$status"
[ -z "$(ls -A "$scratch")" ] || {
    echo "left on the disk: $(ls -A "$scratch")"
    exit 1
}
