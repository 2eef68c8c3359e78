#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs one test program: under N ranks when its name ends in _npN, else alone. Ranks poll while they wait, so
# tests with several are tiny and single-threaded, and a time limit ends one that hangs.
set -eu
program=$1
shift
ranks=$(expr "$program" : '.*_np\([0-9][0-9]*\)$' || :)
if [ -n "$ranks" ]; then
    OMP_NUM_THREADS=1
    export OMP_NUM_THREADS
    exec timeout -k 5 300 "$MPIEXEC" -n "$ranks" "$program" "$@"
fi
exec timeout -k 5 300 "$program" "$@"
