#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs one test program: under N ranks when its name ends in _npN (or _npN.full), else alone. Ranks poll while they
# wait, so tests with several are tiny and single-threaded, and a time limit ends one that hangs. Threads of OpenMP
# sleep while they wait for each other: with more threads than cores, spinning takes fifty times as long.
#
# Programs named cuda_* run on the CUDA devices of regression/emulator where it was built, once under each schedule; with
# ZINF_NEEDS_GPU set (make check-gpu) on real ones.
set -eu
program=$1
shift
OMP_WAIT_POLICY=passive
export OMP_WAIT_POLICY
ranks=$(expr "${program%.full}" : '.*_np\([0-9][0-9]*\)$' || :)
limit=300
case ${program##*/} in cuda_*.full) limit=900 ;; esac # the emulation takes its time
# They write hundreds of small files.
case ${program##*/} in
checkpoint_damage_test | checkpoint_kill_test | checkpoint_write_test_np* | checkpoint_local_test_np*)
    . "${top_srcdir:-.}/regression/memory.sh"
    TMPDIR=$(memory_folder)
    export TMPDIR
    ;;
esac
launch="timeout -k 5 $limit"
if [ -n "$ranks" ]; then
    OMP_NUM_THREADS=1
    export OMP_NUM_THREADS
    launch="$launch $MPIEXEC -n $ranks"
fi
emulator=${abs_top_builddir:-$PWD}/emulator
case ${program##*/} in
cuda_*)
    if [ -n "${ZINF_NEEDS_GPU:-}" ]; then
        devices=$(nvidia-smi --list-gpus 2>/dev/null | wc -l)
        if [ "${ranks:-1}" -gt 1 ] && [ "$devices" -lt "$ranks" ]; then
            echo "skipped: $ranks ranks need as many GPUs, and there are $devices"
            exit 77
        fi
    elif [ -e "$emulator/libcudart.so.13" ]; then
        LD_LIBRARY_PATH=$emulator${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
        export LD_LIBRARY_PATH
        schedules="random eager late"
        # The first is about what is caught, and chooses the seeds itself; the second takes minutes, and fewer ranks do
        # the same under all.
        case ${program##*/} in cuda_faults_test.full | cuda_engine_test_np4.full) schedules=random ;; esac
        for schedule in $schedules; do
            echo "schedule: $schedule"
            # shellcheck disable=SC2086 # words of a command
            EMULATOR_SCHEDULE=$schedule $launch "$program" "$@"
        done
        exit 0
    fi
    ;;
esac
# shellcheck disable=SC2086
exec $launch "$program" "$@"
