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

nothing() {
    gone "$folder/new/one"
    empty "$folder/two"
}

mkdir "$folder/two"
bench 0
says "3.00 MiB per path, blocks of 128.00 KiB, depth 16, median of 2; MB/s"
says "$folder/new/one"
says "$folder/two"
nothing
for key in flops_fp32 flops_bf16 flops_fp16 memory_bytes_per_s disk_read_bytes_per_s disk_write_bytes_per_s \
    disk_mixed_bytes_per_s; do
    grep -Eq "^  $key: [1-9][0-9.]*(e\+[0-9]+)?$" "$folder/machine.yaml" || fail "no $key"
    passed=$((passed + 1))
done
[ "$(grep -cv '^#' "$folder/machine.yaml")" -eq 8 ] || fail "more in the machine file than is known"
grep -q '^machine:$' "$folder/machine.yaml" || fail "no section"

# The file stays when it is to be kept, under a name of its own that is said.
kept() { find "$folder/two" -name 'zinf-bench-*' -size 3072k | wc -l; }
bench 0 --set nvme.keep=yes --set nvme.engine=threads
says " threads "
says "kept: $folder/two/zinf-bench-"
[ "$(kept)" -eq 1 ] || fail "the file was not kept"

# What others have in these folders is not used, whatever it is and however it is called, and a file that was
# kept stays. The machine file: a link is followed.
echo mine >"$folder/mine"
mkfifo "$folder/two/zinf-bench"
mkdir -p "$folder/new/one"
ln -s "$folder/mine" "$folder/new/one/zinf-bench"
ln -s "$folder/target.yaml" "$folder/link.yaml"
bench 0 --output "$folder/link.yaml"
[ "$(kept)" -eq 1 ] || fail "a file that was kept is gone"
[ "$(cat "$folder/mine")" = mine ] || fail "a link was followed"
[ -p "$folder/two/zinf-bench" ] || fail "a fifo was replaced"
rm -r "$folder/new" "$folder/two/zinf-bench"
rm "$folder/two"/zinf-bench-*
if [ ! -L "$folder/link.yaml" ]; then fail "a link was replaced"; fi
grep -q '^machine:$' "$folder/target.yaml" || fail "nothing behind the link"

# What is no regular file is refused, before anything is measured.
mkfifo "$folder/fifo.yaml"
bench 2 --output "$folder/fifo.yaml"
complains "$folder/fifo.yaml is a fifo, which is not replaced by a file"
[ ! -s "$folder/out" ] || fail "measured before the output was looked at"
if [ "$(id -u)" -eq 0 ] && mknod "$folder/null.yaml" c 1 3 2>/dev/null; then
    bench 2 --output "$folder/null.yaml"
    complains "null.yaml is a device"
    [ -c "$folder/null.yaml" ] || fail "a device was replaced"
else
    echo "not root: no device is made to be named as output"
fi

# A disk that fails in the middle: 24 blocks a pass and path.
export ZINF_DISK_FAULT
for fault in write:EIO:30 read:EIO:20 any:ENOSPC:75; do
    ZINF_DISK_FAULT=$fault
    bench 5
    complains "ZINF_DISK_FAULT=$fault: disk faults are made on purpose"
    complains_once "error:"
    complains "(measurement)"
    nothing
done
for fault in any:short:1:1000 any:EAGAIN:5:3 any:nodirect:1:2 any:nolibaio:1:1; do
    ZINF_DISK_FAULT=$fault
    bench 0
    case $fault in *nodirect*) complains_once "refuses direct I/O" ;; esac
done
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
