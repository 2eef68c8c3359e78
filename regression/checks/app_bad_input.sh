#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Bad input: each mistake has its exit code and a message that names the place, what was expected and
# what helps; on several ranks it is said once and all ranks leave.
. "${srcdir:-.}/regression/checks/app_memory.sh"

make_data
make_deck
deck=$folder/deck.yaml
expect 0 "$zinf" check "$deck"
says "no errors"

# with KEY=VALUE...: the run of the deck so changed, on one rank and on two.
run_both() {
    code=$1
    text=$2
    shift 2
    expect "$code" "$zinf" run "$deck" "$@"
    complains "$text"
    expect "$code" "$launcher" -n 2 "$zinf" run "$deck" "$@"
    complains_once "$text"
    [ ! -e "$folder/run/steps.csv" ] || fail "a run that cannot start left outputs: $*"
}

# The deck itself. `check` and `run` agree, and all errors come at once.
bad_deck() {
    printf '%s' "$1" >"$folder/bad.yaml"
    expect 2 "$zinf" check "$folder/bad.yaml"
    complains "$2"
    expect 2 "$zinf" run "$folder/bad.yaml"
    complains "$2"
}
sed 's/micro: 1/mikro: 1/' "$deck" >"$folder/key.yaml"
bad_deck "$(cat "$folder/key.yaml")" "micro"
complains "bad.yaml:5:"
sed 's/layers: 2/layers: two/; s/heads: 2/heads: [2]/' "$deck" >"$folder/type.yaml"
bad_deck "$(cat "$folder/type.yaml")" "layers"
complains "heads"
sed 's/6, report_every: 2 steps/6, report_every: 2 GiB/' "$deck" >"$folder/unit.yaml"
bad_deck "$(cat "$folder/unit.yaml")" "report_every"
bad_deck "" "bad.yaml"
bad_deck "# only a comment
" "bad.yaml"
head -c 300 "$zinf" >"$folder/binary.yaml"
expect 2 "$zinf" run "$folder/binary.yaml"
expect 2 "$launcher" -n 2 "$zinf" run "$folder/binary.yaml"
[ -s "$folder/err" ] || fail "a binary deck: no message"
cp "$folder/train.h5" "$folder/data.yaml"
expect 2 "$zinf" check "$folder/data.yaml"
complains "HDF5"
run_both 2 "hidden" --set model.heads=3
run_both 2 "nearest" --set optimizer.learning_rat=1
expect 2 "$launcher" -n 3 "$zinf" run "$deck" --set batch.global=2
complains_once "3 ranks"
expect 2 "$zinf" check "$deck" --ranks 5
complains "5 ranks"
expect 0 "$zinf" check "$deck" --ranks 4

# Data.
run_both 2 "absent.h5" --set data.train="$folder/absent.h5"
run_both 2 "absent.h5" --set data.validation="$folder/absent.h5"
run_both 2 "vocabulary" --set model.vocabulary=100
run_both 2 "data.type is uint32" --set data.type=uint32
printf 'too short' >"$folder/short"
expect 0 "$zinf" tokenize "$folder/short" --output "$folder/short.h5"
run_both 2 "short.h5" --set data.train="$folder/short.h5"

# A token out of vocabulary of which the file says nothing: position 500 of bare uint16. It is found
# before the first step.
awk 'BEGIN { for (i = 0; i < 1000; i++) printf "%c%c", 65, (i == 500 ? 1 : 0) }' >"$folder/bare.bin"
if [ "$(wc -c <"$folder/bare.bin")" -eq 2000 ]; then
    run_both 2 "token 321 at position 500 " --set data.train="$folder/bare.bin" \
        --set data.validation= --set data.validation_every=never
    awk 'BEGIN { for (i = 0; i < 1000; i++) printf "%c%c%c%c", 65 + i % 20, 0, 0, 0 }' >"$folder/wide.bin"
    run_both 2 "set data.type to what they are (uint32" --set data.train="$folder/wide.bin" \
        --set data.validation= --set data.validation_every=never
fi

# The run directory: below a file, and (for other users than root) a folder without the right.
run_both 5 "$folder/text" --set run.directory="$folder/text/run"
mkdir "$folder/closed"
chmod 500 "$folder/closed"
if ! touch "$folder/closed/probe" 2>/dev/null; then
    run_both 5 "Permission denied" --set run.directory="$folder/closed"
else
    rm "$folder/closed/probe"
fi

# Memory: exit 3, what is short, and a change of the deck that then works.
expect 3 "$zinf" run "$deck" --set "memory.device=200 KiB"
complains "does not fit"
complains "nearest change that fits"
expect 3 "$launcher" -n 2 "$zinf" run "$deck" --set "memory.device=150 KiB"
complains_once "memory.device is"
[ ! -e "$folder/run/steps.csv" ] || fail "a run that does not fit left outputs"

# More threads than cores wait for each other; far more are refused.
cores=$(env -u OMP_NUM_THREADS nproc)
expect 2 "$zinf" run "$deck" --set device.threads=$((9 * cores))
complains "device.threads: $((9 * cores)) threads on $cores core"
OMP_NUM_THREADS=$((9 * cores)) expect 2 "$zinf" run "$deck" --set device.threads=auto
complains "OMP_NUM_THREADS: $((9 * cores)) threads"

# More micro-batches than a program can list are refused at once, and no advice compiles so many.
expect 2 "$zinf" run "$deck" --set batch.global=1000000000 --set batch.micro=1
complains "1000000000 micro-batches"
expect 3 "$zinf" run "$deck" --set batch.global=1000000000 --set batch.micro=1000000000
complains "does not fit"

# Numbers that explode: steps are skipped, said, counted, and after the limit the run ends.
for command in "$zinf" "$launcher -n 2 $zinf"; do
    expect 7 $command run "$deck" --set optimizer.learning_rate=1000 \
        --set optimizer.weight_decay=1000 --set optimizer.warmup=0 --set run.steps=100 \
        --set run.nonfinite_limit=3 --set optimizer.decay_embeddings=yes --overwrite
    says "(3 in a row)"
    complains_once "optimizer.learning_rate"
    [ "$(awk -F, '$8 == 1' "$folder/run/steps.csv" | wc -l)" -eq 3 ] || fail "skipped steps of steps.csv"
    [ "$(awk -F, '$8 == 1 { print $9 }' "$folder/run/steps.csv" | sort -u | wc -l)" -eq 1 ] ||
        fail "a skipped step changed a parameter"
    grep -q resident "$folder/run/memory.csv" || fail "memory.csv after exit code 7"
done
done_with app_bad_input
