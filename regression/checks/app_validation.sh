#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The validation loss is the mean over the tokens of the chosen sequences, each once: whatever the
# batch, the micro-batch and the ranks; and tokens outside the vocabulary are found before the first
# step, by a scan whose result is kept. The parameters do not move (learning rate 0), so that all
# runs validate the same ones.
. "${srcdir:-.}/regression/checks/app_memory.sh"

cat "${srcdir:-.}"/regression/checks/app_*.sh >"$folder/text"
head -c 20000 "$folder/text" >"$folder/train.bin"
cut_text() { tail -c +$((30001 + $1)) "$folder/text" | head -c "$2"; }
cut_text 0 808 >"$folder/all.bin"       # 50 sequences of 16 and their successors, and 7 tokens more
cut_text 0 801 >"$folder/whole.bin"     # the 50
cut_text 0 785 >"$folder/less.bin"      # 49
cut_text 0 321 >"$folder/begin.bin"     # the first 20
cut_text 320 488 >"$folder/end.bin"     # the others, and the 7
deck=$folder/deck.yaml
cat >"$deck" <<END
run: {name: validation, directory: $folder/run, steps: 1}
model: {family: gpt2, layers: 2, hidden: 32, heads: 2, context: 16, vocabulary: 256}
data: {train: $folder/train.bin, type: uint8, validation_every: 1, validation: $folder/all.bin}
batch: {global: 30, micro: 2}
optimizer: {learning_rate: 0}
checkpoint: {final: no}
device: {threads: 1}
END

# loss COMMAND...: the validation loss of a run.
loss() {
    expect 0 "$@" --overwrite
    value=$(tail -n 1 "$folder/run/steps.csv" | cut -d, -f 10)
    [ -n "$value" ] || fail "no validation loss"
}

# near EXPECTED TOLERANCE: whether the value is that, relatively.
near() {
    awk -v a="$value" -v b="$1" -v t="$2" 'BEGIN { d = (a - b) / b; exit !(d <= t && -d <= t) }'
}

loss "$zinf" run "$deck"
base=$value
says "validation on 51 of 51 sequences"
says "807 tokens"
for batch in 1 50 51 64; do
    loss "$zinf" run "$deck" --set batch.global=$batch --set batch.micro=1
    near "$base" 1e-6 || fail "batch.global $batch: $value, not $base"
done
for micro in 1 3 4; do
    loss "$zinf" run "$deck" --set batch.micro=$micro
    near "$base" 1e-6 || fail "batch.micro $micro: $value, not $base"
done
for batch in 30 50 64; do
    loss "$launcher" -n 2 "$zinf" run "$deck" --set batch.global=$batch --set batch.micro=3
    near "$base" 1e-6 || fail "two ranks, batch.global $batch: $value, not $base"
done
loss "$zinf" run "$deck" --set tiling.vocabulary=3
near "$base" 1e-6 || fail "tiles: $value, not $base"
passed=$((passed + 11))

# Tokens count alike: the mean of two parts, by their tokens, is that of the whole. (A value of 9
# digits of which 4 would do to tell means by windows or by batches apart.)
loss "$zinf" run "$deck" --set data.validation="$folder/begin.bin"
begin=$value
loss "$zinf" run "$deck" --set data.validation="$folder/end.bin"
value=$(awk -v a="$begin" -v b="$value" 'BEGIN { printf "%.9g", (320 * a + 487 * b) / 807 }')
near "$base" 1e-6 || fail "two parts have $value, the whole $base"

# One sequence less is another value, and so is an incomplete one.
loss "$zinf" run "$deck" --set data.validation="$folder/whole.bin"
says "50 of 50"
if near "$base" 1e-6; then fail "7 tokens more make no difference"; fi
whole=$value
loss "$zinf" run "$deck" --set data.validation="$folder/less.bin"
if near "$whole" 1e-6; then fail "49 sequences have the value of 50"; fi
loss "$zinf" run "$deck" --set data.validation="$folder/whole.bin" --set data.validation_sequences=49
says "validation on 49 of 50 sequences"
says "data.validation_sequences"
if near "$whole" 1e-6; then fail "49 of 50 sequences have the value of 50"; fi
part=$value
loss "$zinf" run "$deck" --set data.validation="$folder/whole.bin" \
    --set data.validation_sequences=49 --set batch.global=7
near "$part" 1e-6 || fail "batch.global 7, 49 sequences: $value, not $part"
passed=$((passed + 5))

# A token outside the vocabulary, in a place that is never drawn: behind the last whole sequence.
scan=$folder/run/data.scan
sets="--overwrite --set model.vocabulary=130 --set data.validation= --set data.validation_every=never"
expect 0 "$zinf" run "$deck" $sets
{
    head -c 19999 "$folder/train.bin"
    printf '\226'
} >"$folder/bad.bin"
for command in "$zinf" "$launcher -n 2 $zinf"; do
    expect 2 $command run "$deck" $sets --set data.train="$folder/bad.bin"
    complains_once "token 150 at position 19999 "
    complains "model.vocabulary"
    if grep -q '^step ' "$folder/out"; then fail "a step was made with a bad token in the file"; fi
done

# Ranks that see other files under one path.
mkdir "$folder/a" "$folder/b"
cp "$folder/train.bin" "$folder/a/own.bin"
cp "$folder/all.bin" "$folder/b/own.bin"
command="$zinf run $deck $sets --set data.train=own.bin"
expect 2 $launcher -n 1 -wdir "$folder/a" $command : -n 1 -wdir "$folder/b" $command
complains_once "20000 tokens on rank 0, but 808 on rank 1"

# What a scan found is kept for a file that is at rest, and holds as long as it does not change; a file whose time
# of change is set back has another time of its inode.
touch -d '1 hour ago' "$folder/train.bin"
rm -f "$scan"
expect 0 "$launcher" -n 2 "$zinf" run "$deck" $sets
grep -q 'train\.bin$' "$scan" || fail "data.scan says nothing of train.bin"
sed 's/^largest [0-9]*/largest 5/' "$scan" >"$folder/scan"
cp "$folder/scan" "$scan"
expect 0 "$zinf" run "$deck" $sets
same "$scan" "$folder/scan"
touch -r "$folder/train.bin" "$folder/time"
printf '\226' | dd of="$folder/train.bin" bs=1 seek=19999 conv=notrunc 2>/dev/null
touch -r "$folder/time" "$folder/train.bin"
expect 2 "$zinf" run "$deck" $sets
complains "token 150 at position 19999 "
done_with app_validation
