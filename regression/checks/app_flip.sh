#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# checkpoint_flip_test on a checkpoint of a real run, on two ranks: every byte that is no tensor's in several ways, a sample
# of the others, and cuts. PATTERNS (2) and SEED (1): see there.
. "${srcdir:-.}/regression/checks/app_common.sh"

make_data
make_deck
expect 0 "$launcher" -n 2 "$zinf" run "$folder/deck.yaml" --set model.layers=1 --set model.hidden=16 --set run.steps=3 \
    --set data.validation= --set data.validation_every=never
export TMPDIR="$folder"
if ! "$top/regression/unit/checkpoint_flip_test.full" "$folder/run/checkpoints/latest" "${PATTERNS:-2}" "${SEED:-1}" \
    >"$folder/out" 2>"$folder/err"; then
    fail "a changed byte is neither found nor without effect"
fi
cat "$folder/out"
passed=$((passed + 1))
done_with app_flip
