#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs one test program: under N ranks when its name ends in _npN (or _npN.full), else alone. Ranks poll while they
# wait, so tests with several are tiny and single-threaded, and a time limit ends one that hangs. Threads of OpenMP
# sleep while they wait for each other: with more threads than cores, spinning takes fifty times as long.
set -eu
program=$1
shift
OMP_WAIT_POLICY=passive
export OMP_WAIT_POLICY
ranks=$(expr "${program%.full}" : '.*_np\([0-9][0-9]*\)$' || :)
if [ -n "$ranks" ]; then
    OMP_NUM_THREADS=1
    export OMP_NUM_THREADS
    exec timeout -k 5 300 "$MPIEXEC" -n "$ranks" "$program" "$@"
fi
exec timeout -k 5 300 "$program" "$@"
