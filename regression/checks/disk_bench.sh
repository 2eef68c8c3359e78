#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `zinf bench disk`: measures several folders, makes and removes what it needs, writes a machine file, and
# ends with the right exit code and without leftovers when a disk fails, which ZINF_DISK_FAULT does here.
. "${srcdir:-.}/regression/checks/app_common.sh"

bench() {
    wanted=$1
    shift
    expect "$wanted" "$zinf" bench disk --size 3 --turns 2 --output "$folder/machine.yaml" \
        --set "nvme.paths=[$folder/new/one, $folder/two]" --set "nvme.block=128 KiB" \
        --set device.threads=1 "$@"
}
gone() {
    [ ! -e "$1" ] || fail "$1 is left"
    passed=$((passed + 1))
}

mkdir "$folder/two"
bench 0
says "3.00 MiB per path, blocks of 128.00 KiB, depth 16, median of 2; MB/s"
says "$folder/new/one"
says "$folder/two"
gone "$folder/new/one"
gone "$folder/two/zinf-bench"
for key in flops_fp32 flops_bf16 memory_bytes_per_s disk_read_bytes_per_s disk_write_bytes_per_s \
    disk_mixed_bytes_per_s; do
    grep -Eq "^  $key: [1-9][0-9.]*(e\+[0-9]+)?$" "$folder/machine.yaml" || fail "no $key"
    passed=$((passed + 1))
done
[ "$(grep -cv '^#' "$folder/machine.yaml")" -eq 7 ] || fail "more in the machine file than is known"
grep -q '^machine:$' "$folder/machine.yaml" || fail "no section"

# What zinf has not made under the file's name is neither written through nor waited at.
echo precious >"$folder/precious"
ln -s "$folder/precious" "$folder/two/zinf-bench"
bench 2
complains "$folder/two/zinf-bench is a link"
[ "$(cat "$folder/precious")" = precious ] || fail "a link was followed"
rm "$folder/two/zinf-bench"
mkfifo "$folder/two/zinf-bench"
bench 2
complains "$folder/two/zinf-bench is a fifo"
rm "$folder/two/zinf-bench"

# The file stays when it is to be kept, and is used again.
bench 0 --set nvme.keep=yes --set nvme.engine=threads
says " threads "
[ "$(wc -c <"$folder/two/zinf-bench")" -eq 3145728 ] || fail "the file was not kept"
bench 0
gone "$folder/two/zinf-bench"

# A disk that fails in the middle: 24 blocks a pass and path.
export ZINF_DISK_FAULT
for fault in write:EIO:30 read:EIO:20 any:ENOSPC:75; do
    ZINF_DISK_FAULT=$fault
    bench 5
    complains "ZINF_DISK_FAULT=$fault: disk faults are made on purpose"
    complains_once "error:"
    complains "(measurement)"
    gone "$folder/two/zinf-bench"
    gone "$folder/new/one/zinf-bench"
done
for fault in any:short:1:1000 any:EAGAIN:5:3 any:nodirect:1:2 any:nolibaio:1:1; do
    ZINF_DISK_FAULT=$fault
    bench 0
done
ZINF_DISK_FAULT=any:nodirect:1:2
bench 0
complains_once "refuses direct I/O"
ZINF_DISK_FAULT=nonsense
bench 2
unset ZINF_DISK_FAULT

bench 2 --set nvme.block="5000 B"
complains "multiple of 4096"
bench 2 --set run.steps=3
expect 2 "$zinf" bench device --size 3
complains "option of \`zinf bench disk\`"
expect 5 "$zinf" bench disk --output "$folder/absent/machine.yaml"
: >"$folder/file"
expect 5 "$zinf" bench disk --output "$folder/m" --set nvme.paths="$folder/file"
complains "Not a directory"
done_with disk_bench
