#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every kernel compiles for every GPU that nvcc knows, without a warning: for the oldest and the newest to machine code,
# without spilled registers or local memory, for the others to PTX, since machine code takes most of the time.
set -eu
top=${srcdir:-.}
nvcc=$(sed -n 's/^NVCC = //p' Makefile)
[ -e zinf-cuda.so ] || { echo "skipped: no CUDA toolkit, so nothing of CUDA was built"; exit 77; }
targets=$("$nvcc" --list-gpu-code | sed -n 's/^sm_\([0-9][0-9]*\)$/\1/p' | sort -n)
[ -n "$targets" ] || { echo "failed: $nvcc --list-gpu-code lists nothing"; exit 1; }
oldest=
for target in $targets; do
    [ "$target" -ge 75 ] || continue
    oldest=${oldest:-$target}
    newest=$target
done
names=
for file in "$top"/src/device/cuda/*.cu; do
    names="$names src/device/cuda/$(basename "$file" .cu).cubin"
done
failed=0
count=0
for target in $targets; do
    [ "$target" -ge 75 ] || continue
    code=-ptx
    if [ "$target" = "$oldest" ] || [ "$target" = "$newest" ]; then code=-cubin; fi
    # shellcheck disable=SC2086 # names of files
    rm -f $names
    # shellcheck disable=SC2086
    "${MAKE:-make}" -s -k -j2 $names CUDA_TARGET="$target" CUDA_CODE=$code || { echo "failed: for sm_$target"; failed=1; }
    count=$((count + 1))
done
# shellcheck disable=SC2086
rm -f $names
rm -f src/device/cuda/*.target
[ "$failed" -eq 0 ] && echo "cuda_targets: all kernels for $count GPUs, sm_$(echo "$targets" | paste -sd ,)"
exit "$failed"
