#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A run that goes on from a checkpoint: the steps that it takes are those that the run would have taken that was not
# interrupted, to the bit, wherever its states live; its tables have each step once; damaged checkpoints are passed
# over; what must not change in the deck is refused.
. "${srcdir:-.}/regression/checks/app_memory.sh"

make_data
make_deck
deck=$folder/deck.yaml
run=$folder/run
nvme="--set placement.parameters=nvme --set placement.optimizer=nvme --set nvme.paths=$disk"
every="--set checkpoint.every=2 --set checkpoint.keep=0 --set checkpoint.final=yes"

# The whole of it, in fp32 and in bf16.
whole() {
    expect 0 "$zinf" run "$deck" --set run.directory="$folder/whole.$1" --set precision.compute="$1" $every
    bits "$folder/whole.$1" >"$folder/bits.$1"
}
whole fp32
whole bf16
expect 0 "$zinf" run "$deck" --set run.directory="$folder/whole.bf16" --set precision.compute=bf16 $every --resume auto
says "6 steps, 0 tokens; no step was left to make"

# begin TYPE STEPS ARGUMENT...: a run in $run that ends after so many steps of the whole.
begin() {
    type=$1
    stop=$2
    shift 2
    rm -rf "$run"
    expect 0 "$zinf" run "$deck" --set run.directory="$folder/whole" --set precision.compute="$type" $every \
        --set run.directory="$run" "$@"
    # A job that was killed behind step $stop: rows and checkpoints of later steps stand half there.
    for file in "$run"/checkpoints/step-*.h5; do
        step=${file##*step-}
        step=$(expr "${step%.h5}" + 0)
        [ "$step" -le "$stop" ] || rm "$file"
    done
    rm -f "$run/end.yaml"
    printf '6,7' >>"$run/steps.csv"
    printf '6,20' >>"$run/starts.csv"
}

# started STEP...: the jobs of $run went on after these steps, each from its checkpoint; all but the date and version.
started() {
    for step in "$@"; do
        [ "$step" -eq 0 ] && echo "0,$ranks," || printf '%d,%d,checkpoints/step-%08d.h5\n' "$step" "$ranks" "$step"
    done >"$folder/wanted"
    tail -n +2 "$run/starts.csv" | cut -d, -f 1,3,6 | diff - "$folder/wanted" >"$folder/out" || fail "starts.csv"
    awk -F, 'NR > 1 && ($2 !~ /^20..-..-..T..:..:..Z$/ || $4 == "" || $5 == "" || NF != 6) { exit 1 }' "$run/starts.csv" ||
        fail "fields of starts.csv"
}
ranks=1

# same TYPE: the run in $run is now the whole one.
same() {
    bits "$run" | cmp -s - "$folder/bits.$1" || fail "other numbers: $(bits "$run" | diff - "$folder/bits.$1")"
    [ "$(tail -n +2 "$run/steps.csv" | cut -d, -f 1 | tr '\n' ' ')" = "1 2 3 4 5 6 " ] || fail "rows of steps.csv"
    expect 0 "$zinf" inspect --verify "$run/checkpoints/step-00000006.h5"
    grep -q '^ *code: 0' "$run/end.yaml" || fail "end.yaml"
}

go_on() { expect 0 "$zinf" run "$deck" --set run.directory="$run" $every --resume auto "$@"; }

# In the same place, and from one place to another and back.
for type in fp32 bf16; do
    begin $type 4
    go_on --set precision.compute=$type
    says "goes on after step 4 of 6"
    same $type
    started 0 4
    begin $type 2 $nvme
    go_on --set precision.compute=$type
    says "placement.parameters: nvme -> auto"
    same $type
    begin $type 2
    go_on --set precision.compute=$type $nvme
    same $type
done

# Other numbers of ranks: the same parameters where it goes on, sums in another order from there.
begin bf16 4
expect 0 "$launcher" -n 2 "$zinf" run "$deck" --set run.directory="$run" $every --resume auto \
    --set precision.compute=bf16 --set zero.stage=3
[ "$(cut -d, -f 9 "$run/steps.csv" | sed -n 6p)" = "$(cut -d, -f 9 "$folder/whole.bf16/steps.csv" | sed -n 6p)" ] ||
    fail "other parameters before step 5 on two ranks"
[ "$(wc -l <"$run/steps.csv")" -eq 7 ] || fail "rows of two ranks"
[ "$(tail -n 1 "$run/starts.csv" | cut -d, -f 1,3)" = 4,2 ] || fail "starts.csv of two ranks"
rm "$run/checkpoints/step-00000006.h5"
expect 0 "$zinf" run "$deck" --set run.directory="$run" $every --resume auto --set precision.compute=bf16
[ "$(wc -l <"$run/steps.csv")" -eq 7 ] || fail "rows of two ranks and one"

# 4 ranks, 1, 3, 2, and nvme, memory, nvme: where each goes on it has the checksum of the parameters that the one before
# had behind that step, as its own next step says.
rm -rf "$run"
step=2
from=""
for ranks in 4 1 3 2; do
    where="$nvme"
    [ $((ranks % 2)) -eq 0 ] || where=""
    # shellcheck disable=SC2086 # words on purpose
    expect 0 "$launcher" -n $ranks "$zinf" run "$deck" --set run.directory="$run" $every --set zero.stage=3 $where \
        --set device.threads=1 --set batch.global=12 --set checkpoint.every=1 --set run.steps=$((step + 1)) --resume auto
    if [ -n "$from" ]; then
        says "goes on after step $((step - 1)) of"
        now=$(cut -d, -f 9 "$run/steps.csv" | sed -n $((step + 1))p)
        [ "$now" = "$from" ] || fail "on $ranks ranks step $step begins with other parameters: $now, not $from"
        passed=$((passed + 1))
    fi
    from=$(cut -d, -f 9 "$run/steps.csv" | sed -n $((step + 2))p)
    # The last step of each is lost: the next goes on behind the one before.
    rm -f "$run/checkpoints/$(printf 'step-%08d.h5' $((step + 1)))"
    [ -e "$run/checkpoints/$(printf 'step-%08d.h5' $step)" ] || fail "no checkpoint of step $step"
    step=$((step + 1))
done
ranks=1

# Nothing to go on from is a beginning; what is done is done.
rm -rf "$run"
go_on --set precision.compute=fp32
says "step 1/6"
same fp32
go_on --set precision.compute=fp32
same fp32
started 0 6
expect 0 "$zinf" report "$run"
grep -q '<td>6</td><td>1</td>.*<td class="t">checkpoints/step-00000006.h5</td>' "$run/report.html" || fail "starts of the page"
expect 0 "$zinf" watch --once "$run"
says "restarts    1, the last after step 6"

# A damaged checkpoint, and one that was cut, are named and passed over.
begin fp32 4
printf 'x' | dd of="$run/checkpoints/step-00000004.h5" bs=1 seek=90000 conv=notrunc 2>/dev/null
go_on --set precision.compute=fp32
complains "step-00000004.h5 is damaged and passed over"
says "goes on after step 2 of 6"
same fp32
begin fp32 4
truncate -s 50000 "$run/checkpoints/step-00000004.h5"
go_on --set precision.compute=fp32
says "goes on after step 2 of 6"
same fp32

# Where none of the checkpoints can be used, the run does not begin anew over them.
begin fp32 4
for file in "$run"/checkpoints/step-*.h5; do
    cut_file=$file
    truncate -s -100 "$file"
done
cp "$run/steps.csv" "$folder/rows"
expect 5 "$zinf" run "$deck" --set run.directory="$run" $every --resume auto --set precision.compute=fp32
complains "none of the checkpoints in $run/checkpoints can be used"
cmp -s "$run/steps.csv" "$folder/rows" || fail "rows of a run that could not go on are gone"
[ -s "$cut_file" ] || fail "a checkpoint of a run that could not go on is gone"
expect 0 "$zinf" run "$deck" --set run.directory="$run" $every --overwrite --set precision.compute=fp32

# A folder with a colon, through MPI-IO.
for option in "" "--resume auto"; do
    # shellcheck disable=SC2086 # words on purpose
    expect 0 "$launcher" -n 2 "$zinf" run "$deck" --set run.directory="$folder/at-12:30/run" $every \
        --set device.threads=1 --set run.steps=$((${option:+2} + 4)) $option
done
says "goes on after step 4 of 6"

# A record that cannot go on is kept, and begins anew.
begin fp32 4
echo damaged >"$run/run.h5"
go_on --set precision.compute=fp32
complains_once "run.h5 cannot go on"
[ -s "$run/run.h5.previous" ] || fail "the damaged record is gone"
same fp32

# fp16 goes on through changes of the loss scale, from every checkpoint, updates at once and deferred: steps that were
# skipped for it behind a checkpoint are skipped again.
scaled() { cut -d, -f 1-5,8-10,23 "$1/steps.csv"; }
fp16="--set precision.compute=fp16 --set run.steps=10 --set checkpoint.every=1 --set checkpoint.keep=0
    --set precision.loss_scale_initial=16777216 --set precision.loss_scale_growth=2 --set data.validation_every=4"
expect 0 "$zinf" run "$deck" --set run.directory="$folder/whole.fp16" $fp16
says "a gradient overflowed: loss scale 16777216 -> 8388608"
[ "$(awk -F, '$8 == 2' "$folder/whole.fp16/steps.csv" | wc -l)" -ge 3 ] || fail "this check is broken: few overflows"
[ "$(tail -n +2 "$folder/whole.fp16/steps.csv" | cut -d, -f 23 | sort -u | wc -l)" -ge 3 ] ||
    fail "this check is broken: few scales"
tried=0
for file in "$folder/whole.fp16"/checkpoints/step-*.h5; do
    step=${file##*step-}
    step=$(expr "${step%.h5}" + 0)
    [ "$step" -lt 10 ] || continue
    for update in immediate deferred; do
        rm -rf "$run"
        expect 0 "$zinf" run "$deck" --set run.directory="$run" $fp16 --set zero.update=$update
        for later in "$run"/checkpoints/step-*.h5; do
            number=${later##*step-}
            [ "$(expr "${number%.h5}" + 0)" -le "$step" ] || rm "$later"
        done
        expect 0 "$zinf" run "$deck" --set run.directory="$run" $fp16 --set zero.update=$update --resume auto
        says "goes on after step $step of 10"
        scaled "$run" >"$folder/bits"
        scaled "$folder/whole.fp16" | cmp -s - "$folder/bits" || fail "other numbers from step $step on, $update"
        tried=$((tried + 1))
    done
done
[ "$tried" -ge 4 ] || fail "this check is broken: few checkpoints"
expect 0 "$zinf" run "$deck" --set run.directory="$run" $fp16 --set run.steps=12 --set precision.loss_scale=1024 \
    --resume auto
says "precision.loss_scale: auto -> 1024"
[ "$(tail -n 1 "$run/steps.csv" | cut -d, -f 23)" = 1024 ] || fail "the scale that was given"

# What must stay, and what contradicts itself.
begin fp32 4
expect 2 "$zinf" run "$deck" --set run.directory="$run" --resume auto --set precision.compute=bf16 --set run.seed=7
complains "precision.compute is bf16, and was fp32"
complains "run.seed is 7, and was"
complains "2 keys of the deck must stay as they were"
[ -s "$run/checkpoints/step-00000004.h5" ] || fail "a refused deck removed a checkpoint"
expect 2 "$zinf" run "$deck" --set run.directory="$run" --resume auto --overwrite
complains "give one of them"
expect 2 "$zinf" run "$deck" --set run.directory="$run" --resume always
complains "--resume always: expected auto"
expect 2 "$zinf" run "$deck" --set run.directory="$run"
complains "go on with it by --resume auto"

# What a killed job has left of a checkpoint goes when the next one starts, though that writes none; what zinf does not
# make stays.
: >"$run/checkpoints/step-00000004.h5.tmp"
: >"$run/checkpoints/step-00000004.h5.tmp2"
ln -s step-00000004.h5 "$run/checkpoints/latest.tmp"
expect 0 "$zinf" run "$deck" --set run.directory="$run" --set precision.compute="$type" $every --set run.steps=4 \
    --resume auto
[ ! -e "$run/checkpoints/step-00000004.h5.tmp" ] || fail "half a checkpoint stays"
[ ! -L "$run/checkpoints/latest.tmp" ] || fail "half a link stays"
[ -e "$run/checkpoints/step-00000004.h5.tmp2" ] || fail "somebody's file was removed"
done_with app_resume
