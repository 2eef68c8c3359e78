#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Collectives of memory of CUDA devices, under several numbers of ranks: right values with each wire type, and what is
# said and done when a rank does not come. On the emulation, or on real devices where ZINF_NEEDS_GPU is set.
set -eu
program=regression/unit/comm_cuda_test
[ -x "$program" ] || { echo "skipped: no CUDA toolkit, so nothing of CUDA was built"; exit 77; }
emulated=
if [ -z "${ZINF_NEEDS_GPU:-}" ]; then
    emulated=yes
    LD_LIBRARY_PATH=$PWD/emulator${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export LD_LIBRARY_PATH
fi
OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive EMULATOR_TIMEOUT=60
export OMP_NUM_THREADS OMP_WAIT_POLICY EMULATOR_TIMEOUT
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0

# run RANKS MODE: sets $code; the output is in $folder/out.
run() {
    ranks=$1 mode=$2 code=0
    timeout -k 5 120 "$MPIEXEC" -n "$ranks" "$program" "$ranks" "$mode" >"$folder/out" 2>&1 || code=$?
}

complain() {
    echo "failed: $ranks ranks, $mode: $* (exit $code)"
    cat "$folder/out"
    failed=1
}

says() {
    grep -q -- "$1" "$folder/out" || complain "nothing like: $1"
}

for ranks in 1 2 3 4; do
    run "$ranks" values
    [ "$code" -eq 0 ] || complain "wrong values"
done
for ranks in 2 3; do
    run "$ranks" library
    [ "$code" -eq 0 ] || complain "wrong values"
done

# A rank that is late is spoken of, and waited for.
ZINF_PATIENCE=1
export ZINF_PATIENCE
run 2 late
[ "$code" -eq 0 ] || complain "a late rank ended the job"
says 'gather of blocks.3.mlp waits since [0-9]* s for other ranks in ncclAllGather #2'

# One that has ended is not, also where the launcher goes on without it: it sees that a shell ends well.
start=$(date +%s)
ranks=2 mode=killed code=0
# shellcheck disable=SC2016 # the shell of each rank expands it
timeout -k 5 120 "$MPIEXEC" -disable-auto-cleanup -n 2 sh -c 'trap "" USR1; "$0" "$@"; echo "a rank ended with $?"' \
    "$program" 2 killed >"$folder/out" 2>&1 || code=$?
[ $(($(date +%s) - start)) -le 30 ] || complain "it took more than 30 s"
says 'reduce of blocks.1.attention cannot end, in ncclAllGather #2: '
says 'rank 1 of 2 on .* ends the job: communication error'
says 'a rank ended with 6'

# Ranks that do not call the same; only the emulation sees that.
if [ -n "$emulated" ]; then
    run 2 order
    says 'calls ncclAllGather #1 of 100 int8, but rank 1 calls ncclAllGather #1 of 101 int8\|calls ncclAllGather #1 of 101 int8, but rank 0'
    # NCCL fails to start on one rank: all leave by the same door.
    EMULATOR_FAIL=ncclCommInitRankConfig:1
    export EMULATOR_FAIL
    run 2 values
    [ "$code" -ne 0 ] || complain "a start that failed was not seen"
    says 'ncclCommInitRankConfig: unhandled system error'
fi
[ "$failed" -eq 0 ] && echo "comm_cuda: passed"
