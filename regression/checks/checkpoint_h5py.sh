#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Checkpoints and the run record are files for everybody: h5py opens a checkpoint that ranks have
# written together, and a run record while its writer lives and after it was killed. h5dump shows
# bf16 as numbers, and fp16 is a type of its own. Runs in the build folder; skipped where there is no h5py.
set -eu

source_folder=${srcdir:-$(dirname "$0")/../..}
check=$source_folder/regression/checks/checkpoint_reader.py
for python in python3 /usr/bin/python3 none; do
    if [ "$python" = none ]; then
        echo "skipped: no python3 with h5py"
        exit 77
    fi
    if "$python" -c 'import h5py' 2>/dev/null; then break; fi
done

folder=$(mktemp -d)
writer=
finish() {
    if [ -n "$writer" ]; then kill -9 "$writer" 2>/dev/null || :; fi
    rm -rf "$folder"
}
trap finish EXIT

fail() {
    echo "failed: $1"
    exit 1
}

regression/unit/checkpoint_write_test --leave "$folder/checkpoints"
"$python" "$check" checkpoint "$folder/checkpoints/latest" || fail "h5py and a checkpoint"
if command -v h5dump >/dev/null; then
    # one bf16 number of norm.weight, formula in checkpoint_fixture.h, printed by h5py as fp32
    wanted=$("$python" -c "import h5py
print('%g' % h5py.File('$folder/checkpoints/latest')['parameter/norm.weight'][0])")
    h5dump -d /parameter/norm.weight "$folder/checkpoints/latest" >"$folder/dump"
    grep -q "(0): $wanted\$" "$folder/dump" || fail "h5dump shows another number than $wanted"
fi

regression/unit/checkpoint_write_test --leave-fp16 "$folder/checkpoints-fp16"
"$python" "$check" checkpoint "$folder/checkpoints-fp16/latest" || fail "h5py and a checkpoint of fp16"

mkfifo "$folder/ready"
regression/unit/checkpoint_record_test --hold "$folder/run.h5" >"$folder/ready" &
writer=$!
read -r word <"$folder/ready"
[ "$word" = ready ] || fail "the writer of the record"
"$python" "$check" record "$folder/run.h5" 1000 || fail "h5py beside the living writer"
kill -9 "$writer"
wait "$writer" 2>/dev/null || :
writer=
"$python" "$check" record "$folder/run.h5" 1000 || fail "h5py after the writer was killed"
echo "checkpoint_h5py: passed"
