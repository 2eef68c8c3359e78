#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A run from deck to text: its outputs, that it repeats itself bit for bit, that its used deck gives
# the same run, checkpoints, signals, and the commands that read what it wrote.
. "${srcdir:-.}/regression/checks/app_memory.sh"

make_data
make_deck
deck=$folder/deck.yaml
run=$folder/run

expect 0 "$zinf" run "$deck"
says "step 6/6"
says "of peak"
says "ETA"
says "  v "
says "peak resident memory"
says "at the start (layout"
awk '/ in steps, / { seconds = $1; sum = 0; for (i = 3; i < NF; i++) if ($i ~ /^[0-9.]+$/ && $(i - 1) !~ /layout|values/) sum += $i
    found = sum > seconds - 0.31 && sum < seconds + 0.31 } END { exit !found }' "$folder/out" ||
    fail "the parts of the time are not the whole: $(grep " in steps, " "$folder/out")"
cp "$folder/out" "$folder/first.out"
for file in used.yaml steps.csv timings.csv memory.csv run.h5 checkpoints/step-00000006.h5; do
    [ -s "$run/$file" ] || fail "no $file"
done
[ "$(head -n 1 "$run/steps.csv")" = "step,tokens,loss,gradient_norm,learning_rate,seconds,tokens_per_s,skipped,checksum,validation_loss,wait_compute,wait_comm,wait_link_in,wait_link_out,wait_disk_read,wait_disk_write,wait_host,wait_file,disk_read_bytes,disk_written_bytes,io_read_bytes,io_written_bytes,loss_scale,targets,speculated,disk_busy" ] ||
    fail "heading of steps.csv"
[ "$(head -n 1 "$run/timings.csv")" = "step,lane,kind,count,seconds,wait_seconds,bytes" ] ||
    fail "heading of timings.csv"
[ "$(head -n 1 "$run/memory.csv")" = "tier,name,bytes,peak_bytes" ] || fail "heading of memory.csv"
awk -F, 'NR > 1 && ($1 != NR - 1 || $2 != $1 * 128 || NF != 26 || length($9) != 16 ||
                    ($1 % 3 == 0) != ($10 != "")) { exit 1 } END { exit NR != 7 }' \
    "$run/steps.csv" || fail "rows of steps.csv: $(cat "$run/steps.csv")"
awk -F, 'NR > 1 { if ($2 == "compute" && $3 == "forward" && $4 > 0) found++ } END { exit found < 3 }' \
    "$run/timings.csv" || fail "rows of timings.csv"
grep -q '^host,resident,' "$run/memory.csv" || fail "memory.csv has no resident size"
awk -F, 'NR == 2 { first = $3 } NR == 7 { exit !($3 < first) }' "$run/steps.csv" ||
    fail "the loss does not fall"

# The share of what the disk can do is said where that is known: here a disk of a byte a second, which any is faster than.
if grep "^checkpoint" "$folder/out" | grep -q "%"; then fail "a share of nothing"; fi
echo "machine: {file_bytes_per_s: 1}" >"$folder/machine.yaml"
for command in "$zinf" "$launcher -n 2 $zinf"; do
    expect 0 $command run "$deck" --machine "$folder/machine.yaml" --set run.directory="$folder/share" --overwrite
    grep -Eq '^checkpoint of step 6: .* s \([0-9.]+ GB/s, [0-9]{6,} % of file_bytes_per_s; .*\); training' "$folder/out" ||
        fail "no share: $(grep "^checkpoint" "$folder/out")"
    expect 2 $command run "$deck" --machine "$folder/none.yaml" --set run.directory="$folder/share" --overwrite
    complains_once "cannot open $folder/none.yaml"
done

# An earlier run is not touched without being told, and then wholly replaced.
bits "$run" >"$folder/bits"
expect 2 "$zinf" run "$deck"
complains "--overwrite"
bits "$run" | cmp -s - "$folder/bits" || fail "a refused run changed steps.csv"
echo keep >"$run/own.txt"
expect 0 "$zinf" run "$deck" --overwrite --set checkpoint.final=no --set run.steps=6
bits "$run" | cmp -s - "$folder/bits" || fail "a second run has other numbers"
[ -e "$run/own.txt" ] || fail "--overwrite removed a file that is no output"
[ ! -e "$run/checkpoints/step-00000006.h5" ] || fail "a checkpoint of the earlier run stayed"

# The used deck is the run, and reproduces itself.
cp "$run/used.yaml" "$folder/used.yaml"
expect 0 "$zinf" run "$folder/used.yaml" --overwrite
bits "$run" | cmp -s - "$folder/bits" || fail "the used deck gives other numbers"
same "$run/used.yaml" "$folder/used.yaml"

# Two ranks: the same sums in another order.
expect 0 "$launcher" -n 2 "$zinf" run "$deck" --set run.directory="$folder/two"
[ "$(grep -c '^step ' "$folder/out")" -eq "$(grep -c '^step ' "$folder/first.out")" ] ||
    fail "lines of two ranks"
paste -d, "$run/steps.csv" "$folder/two/steps.csv" |
    awk -F, 'NR > 1 { d = $3 - $29; if (d < 0) d = -d; if (d > 1e-4) exit 1 }' ||
    fail "two ranks have another loss"

# Checkpoints at intervals; the newest ones are kept.
expect 0 "$zinf" run "$deck" --set run.directory="$folder/kept" --set checkpoint.every=2 \
    --set checkpoint.keep=2
[ "$(cd "$folder/kept/checkpoints" && ls -d step-*.h5 | tr '\n' ' ')" = "step-00000004.h5 step-00000006.h5 " ] ||
    fail "checkpoints kept: $(ls "$folder/kept/checkpoints")"
same "$folder/kept/checkpoints/step-00000006.h5" "$folder/kept/checkpoints/latest"

# Checkpoints are their owner's alone unless the deck says otherwise.
[ "$(stat -c %a "$folder/kept/checkpoints/step-00000006.h5")" = 600 ] || fail "mode of a checkpoint"
expect 0 "$zinf" run "$deck" --set run.directory="$folder/group" --set run.steps=2 \
    --set checkpoint.mode=group
[ "$(stat -c %a "$folder/group/checkpoints/step-00000002.h5")" = 640 ] || fail "checkpoint.mode=group"

# Commands on outputs.
run=$folder/kept
for file in "$run/checkpoints/step-00000006.h5" "$run/run.h5" "$folder/train.h5"; do
    expect 0 "$zinf" inspect "$file"
    [ -s "$folder/out" ] || fail "inspect $file says nothing"
done
expect 2 "$zinf" inspect "$folder/text"

# The checksums of a checkpoint are compared when that is asked for, and it is said when not.
checkpoint=$folder/flipped.h5
cp "$run/checkpoints/step-00000006.h5" "$checkpoint"
expect 0 "$zinf" inspect "$checkpoint" --verify
says "checksums    verified"
# a place of numbers: a long row of bytes in which two checkpoints differ
place=$(cmp -l "$checkpoint" "$run/checkpoints/step-00000004.h5" |
    awk '{ row = $1 == last + 1 ? row + 1 : 0; last = $1; if (row == 40) { print $1 - 20; exit } }')
printf '\252\125\252\125' | dd of="$checkpoint" bs=1 seek="$place" conv=notrunc 2>"$folder/err"
expect 0 "$zinf" inspect "$checkpoint"
says "checksums    not verified; --verify"
expect 5 "$zinf" inspect "$checkpoint" --verify
complains "is damaged: its checksum is"
says "the file is damaged"
expect 0 "$zinf" inspect "$run/run.h5" --verify
says "none in a run record"

# Without the link, the newest whole checkpoint of the folder.
cp -r "$run/checkpoints" "$folder/unlinked"
rm "$folder/unlinked/latest"
truncate -s 3000 "$folder/unlinked/step-00000006.h5"
cp "$run/checkpoints/step-00000006.h5" "$folder/unlinked/step-00000007-best.h5"
expect 0 "$zinf" generate "$folder/unlinked" --prompt "the " --tokens 5
complains "step-00000004.h5 is taken"
ln -s step-00000009.h5 "$folder/unlinked/latest"
expect 0 "$zinf" generate "$folder/unlinked" --prompt "the " --tokens 5
complains "step-00000009.h5, which is not there"

for path in "$run" "$run/checkpoints" "$run/checkpoints/step-00000006.h5"; do
    expect 0 "$zinf" generate "$path" --prompt "the " --tokens 60 --seed 3 --threads 1
    cp "$folder/out" "$folder/text.$(basename "$path")"
    same "$folder/out" "$folder/text.kept"
done
[ "$(wc -c <"$folder/text.kept")" -eq 65 ] || fail "length of the generated text"
head -c 4 "$folder/text.kept" | grep -q '^the ' || fail "the prompt is not shown"
expect 0 "$zinf" generate "$run" --prompt "the " --tokens 60 --seed 4 --threads 1
! cmp -s "$folder/out" "$folder/text.kept" || fail "another seed gives the same text"
expect 0 "$zinf" generate "$run" --prompt "the " --tokens 20 --temperature 0 --seed 3
cp "$folder/out" "$folder/greedy"
expect 0 "$zinf" generate "$run" --prompt "the " --tokens 20 --top-k 1 --seed 9
same "$folder/out" "$folder/greedy"
expect 0 "$zinf" generate "$run" --ids 116,104,101,32 --tokens 20 --temperature 0
[ "$(tr ',' '\n' <"$folder/out" | wc -l)" -eq 24 ] || fail "number of ids"
expect 2 "$zinf" generate "$run" --ids 1,256
complains "256"
expect 2 "$zinf" generate "$run" --ids 1,,2
expect 0 "$zinf" generate "$run" --prompt x --tokens 0

# A vocabulary that is padded above the bytes has text; a larger one has not.
expect 0 "$zinf" run "$deck" --set model.vocabulary=300 --set run.steps=2 \
    --set run.directory="$folder/large"
expect 0 "$zinf" generate "$folder/large" --prompt x --tokens 3
complains "padding"
[ "$(wc -c <"$folder/out")" -eq 5 ] || fail "length of the text of a padded vocabulary"
expect 0 "$zinf" run "$deck" --set model.vocabulary=2000 --set run.steps=2 \
    --set run.directory="$folder/larger"
expect 2 "$zinf" generate "$folder/larger" --prompt x
complains "--ids"
expect 0 "$zinf" generate "$folder/large" --ids 299,0 --tokens 3

# 16 bits from training to text.
for type in bf16 fp16; do
    expect 0 "$zinf" run "$deck" --set precision.compute=$type --set run.directory="$folder/$type"
    expect 0 "$zinf" generate "$folder/$type" --prompt "the " --tokens 10
done

# A loss that is not finite is a failure, whatever the loss scale.
expect 7 "$zinf" run "$deck" --set precision.compute=fp16 --set optimizer.learning_rate=1000 \
    --set run.nonfinite_limit=3 --set run.steps=20 --set run.directory="$folder/infinite"
says "the loss is not finite (3 in a row)"
[ "$(awk -F, 'NR > 1 && $8 { print $8, $23 }' "$folder/infinite/steps.csv" | sort -u)" = "1 65536" ] ||
    fail "another loss scale for a loss"
done_with app_run
