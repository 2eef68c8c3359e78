#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every kernel compiles for every GPU that nvcc knows, without a warning, spilled registers or local memory. One file at a
# time: compilers of CUDA take a lot of memory.
set -eu
top=${srcdir:-.}
nvcc=$(sed -n 's/^NVCC = //p' Makefile)
[ -e zinf-cuda.so ] || { echo "skipped: no CUDA toolkit, so nothing of CUDA was built"; exit 77; }
targets=$("$nvcc" --list-gpu-code | sed -n 's/^sm_\([0-9][0-9]*\)$/\1/p')
[ -n "$targets" ] || { echo "failed: $nvcc --list-gpu-code lists nothing"; exit 1; }
failed=0
count=0
for target in $targets; do
    [ "$target" -ge 75 ] || continue
    for file in "$top"/src/device/cuda/*.cu; do
        name=src/device/cuda/$(basename "$file" .cu)
        rm -f "$name.cubin"
        "${MAKE:-make}" -s "$name.cubin" CUDA_TARGET="$target" || { echo "failed: $file for sm_$target"; failed=1; }
        rm -f "$name.cubin" "$name.target"
        count=$((count + 1))
    done
done
[ "$failed" -eq 0 ] && echo "cuda_targets: $count compilations for GPUs of sm_$(echo "$targets" | paste -sd ,)"
exit "$failed"
