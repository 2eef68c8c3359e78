#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# CUDA: an empty asm volatile("" : "+f"(p)) keeps gcc and clang from fusing a product p with the sum that takes it. With
# nvcc it holds the compiler to PTX, and not ptxas after it: PTX has mul.f32 and add.f32, machine code one FFMA, which
# rounds once. The same with a volatile variable p in 13.0.88 (13.5.37 keeps that apart), and with a * b - c * d, of which
# PTX has no fma and machine code has. ptxas -O0 fuses nothing, so that one PTX gives two results. What holds is
# __fmul_rn, or -fmad=false, which write mul.rn. Seen with nvcc 13.0.88 and 13.5.37 for sm_75, sm_80, sm_90, sm_100 and
# sm_120.
#
# Who would meet it: who splits a product into its value and its error, or wants a processor's bits, behind a fence that
# works everywhere else; and who looks for fma in the PTX, or runs the PTX in an emulator, to see that it does. zinf
# compiles its update, which has the bits of the cpu's, with -fmad=false (src/device/cuda/Makefile.inc).
#
# Installs the wheels of nvcc, cuobjdump and what they call in a temporary folder (g++ has to be there; no GPU); ends with
# 0 when the behaviour is as stated, 1 when it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/seen.cu" <<'END'
#define KERNEL(name, body) extern "C" __global__ void name(float *y, float a, float b, float c, float d) { body; }
KERNEL(difference, y[0] = a * b - c * d)
KERNEL(fence, float p = a * b; asm volatile("" : "+f"(p) : : "memory"); y[0] = p + c)
KERNEL(variable, volatile float p = a * b; y[0] = p + c)
KERNEL(rounded, float p = __fmul_rn(a, b); y[0] = p + c)
END
cat >"$folder/seen.py" <<'END'
import os
import re
import subprocess
import sys

folder, version, programs, kept = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4].split()
os.environ["PATH"] = programs + ":" + os.environ["PATH"]
TARGETS = ("sm_75", "sm_80", "sm_90", "sm_100", "sm_120")
changed = []


def run(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True, cwd=folder).stdout


def operations(text, head, operation):
    """The operations of each kernel in a listing."""
    parts = re.split(head, text)[1:]
    return {name: re.findall(operation, body) for name, body in zip(parts[::2], parts[1::2])}


def machine(target, level):
    """What ptxas makes of seen.ptx."""
    run("ptxas", "-arch=" + target, level, "seen.ptx", "-o", "seen.cubin")
    listing = run("cuobjdump", "-sass", "seen.cubin")
    return operations(listing, r"Function : (\w+)", r"\bU?F(?:FMA|ADD|MUL)\b")


for flag in ("-fmad=true", "-fmad=false"):
    for target in TARGETS:
        run("nvcc", "-w", "-arch=" + target, flag, "-ptx", "seen.cu", "-o", "seen.ptx")
        with open(os.path.join(folder, "seen.ptx")) as file:
            ptx = operations(file.read(), r"\.entry (\w+)", r"\b(?:fma|add|sub|mul)(?:\.rn)?\.f32")
        plain, optimized = machine(target, "-O0"), machine(target, "-O3")
        for kernel, words in ptx.items():
            fused = "FFMA" in optimized[kernel]
            if target == "sm_90":
                print(f"nvcc {version} {flag} {target} {kernel}: PTX {' '.join(words)}, machine code "
                      f"{' '.join(optimized[kernel])}, with -O0 {' '.join(plain[kernel])}")
            wanted = flag == "-fmad=true" and kernel not in kept
            if len(words) < 2 or any("fma" in word for word in words) or "FFMA" in plain[kernel] or fused != wanted:
                changed.append(f"{kernel} {flag} {target}")
if changed:
    sys.exit(f"changed: {', '.join(changed)}")
END
status=0
for version in 13.0.88 13.5.37; do
    kept=rounded
    if [ $version = 13.5.37 ]; then kept="rounded variable"; fi
    python3 -m venv "$folder/nvcc-$version"
    "$folder/nvcc-$version/bin/pip" install --quiet --disable-pip-version-check "nvidia-cuda-nvcc==$version" \
        "nvidia-nvvm==$version" "nvidia-cuda-crt==$version" "nvidia-cuda-runtime==$version" \
        nvidia-cuda-cuobjdump==13.5.37 nvidia-cuda-nvdisasm==13.5.37
    set -- "$folder/nvcc-$version"/lib/python3*/site-packages/nvidia/cu13/bin
    python3 "$folder/seen.py" "$folder" "$version" "$1" "$kept" || status=1
done
exit $status
