#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs on many token files: those of a folder, of mixed formats, are the same as one file after the other by name;
# mixtures; both on one and two ranks, and stopped and gone on with in the middle, take the same tokens; what is
# wrong with a path, or with a file among many, is said before the first step.
. "${srcdir:-.}/regression/checks/app_common.sh"

# Files of uint8 in HDF5, of uint16 without a header, and one too short for a sequence.
cat "${srcdir:-.}"/regression/checks/app_*.sh | tr -cd '\11\12\40-\176' >"$folder/text"
part() { tail -c +$(($1 + 1)) "$folder/text" | head -c "$2"; }
sixteen() { iconv -f LATIN1 -t UTF-16LE; }
mkdir "$folder/mixed" "$folder/other"
part 0 9000 >"$folder/a"
expect 0 "$zinf" tokenize "$folder/a" --output "$folder/mixed/a.h5"
part 9000 5001 | sixteen >"$folder/mixed/b.bin"
part 14001 20 | sixteen >"$folder/mixed/c.bin"
part 14021 2000 >"$folder/d"
expect 0 "$zinf" tokenize "$folder/d" --output "$folder/mixed/d.h5"
part 17000 7000 | sixteen >"$folder/other/e.bin"
part 24000 3000 | sixteen >"$folder/validation.bin"
touch "$folder/mixed/.nfs0001" "$folder/mixed/f.h5.tmp-aB3dE6"
deck=$folder/deck.yaml
cat >"$deck" <<END
run: {name: corpus, directory: $folder/run, steps: 8}
model: {family: gpt2, layers: 2, hidden: 32, heads: 2, context: 32, vocabulary: 256}
data: {train: $folder/mixed, type: uint16, validation: ["$folder/validation.bin", "$folder/mixed/[ad].h5"],
       validation_every: 4, validation_sequences: 9}
batch: {global: 2, micro: 1}
optimizer: {learning_rate: 3.0e-3, warmup: 2 steps}
device: {threads: 1}
END
mixture="[{path: $folder/mixed/*.h5, weight: 3}, {path: $folder/other, weight: 1}]"

# run NAME COMMAND...: its steps in $folder/NAME.
run() {
    name=$1
    shift
    expect 0 "$@" --set run.directory="$folder/$name.run" --overwrite
    bits "$folder/$name.run" >"$folder/$name"
}

# What is said of the data.
run folder "$zinf" run "$deck"
says "training on 499 sequences of $folder/mixed in 4 files, 0.0321 times"
says "1 of 4 files are too short for a sequence, and passed over"
says "data.train: passed over what is hidden, unfinished or a folder: $folder/mixed/.nfs0001, 2 in all"
says "validation on 9 of 439 sequences of data.validation in 3 files, evenly spread (data.validation_sequences)"
grep -q "^    train: $folder/mixed " "$folder/folder.run/used.yaml" || fail "used.yaml"

# A pattern and lists of the same files are the same; another order of them is not.
run pattern "$zinf" run "$deck" --set data.train="$folder/mixed/*"
same "$folder/folder" "$folder/pattern"
run list "$zinf" run "$deck" \
    --set data.train="[$folder/mixed/a.h5, '$folder/mixed/[bc].bin', $folder/mixed/d.h5]"
same "$folder/folder" "$folder/list"
run turned "$zinf" run "$deck" --set data.train="[$folder/mixed/d.h5, '$folder/mixed/[abc].*']"
if cmp -s "$folder/folder" "$folder/turned"; then fail "the order of files makes no difference"; fi

# One source with a weight is that source, and a mixture is another run.
run alone "$zinf" run "$deck" --set data.train="[{path: $folder/mixed, weight: 3}]"
same "$folder/folder" "$folder/alone"
run mixture "$zinf" run "$deck" --set data.train="$mixture"
says "training on 561 sequences of data.train in 3 files"
says "  75 % of the sequences of a run, 0.035 times the 343 of $folder/mixed/*.h5 in 2 files"
says "  25 % of the sequences of a run, 0.0183 times the 218 of $folder/other"
if cmp -s "$folder/folder" "$folder/mixture"; then fail "a mixture makes no difference"; fi
run used "$zinf" run "$folder/mixture.run/used.yaml"
same "$folder/mixture" "$folder/used"
expect 0 "$zinf" run "$deck" --set data.train="$mixture" --set run.steps=2000 --set run.report_every=2000 \
    --set run.directory="$folder/long" --set checkpoint.final=no --set data.validation= \
    --set data.validation_every=never --set model.layers=1 --set model.hidden=2
complains_once "$folder/mixed/*.h5 is gone through 8.75 times, "
complains_once "$folder/other is gone through 4.59 times, "

# alike NAME NAME: the losses of two runs differ by the order of sums alone. (Other tokens differ in the second digit.)
alike() {
    paste -d, "$folder/$1" "$folder/$2" | awk -F, 'NR > 1 { d = $3 - $11; if (d > 1e-6 || d < -1e-6) exit 1; n++ }
        END { exit n != 8 }' || fail "$1 and $2 have other losses"
    passed=$((passed + 1))
}

# Two ranks take the same tokens. A job that ends after 4 steps and one that goes on to the 8th are the whole, to the
# bit.
keep="--set checkpoint.every=4 --set checkpoint.keep=0 --set run.directory=$folder/stop"
for data in folder mixture; do
    [ $data = folder ] && train=$folder/mixed || train=$mixture
    run two.$data "$launcher" -n 2 "$zinf" run "$deck" --set data.train="$train"
    alike $data two.$data
    for ranks in 1 2; do
        [ $ranks = 1 ] && whole=$data || whole=two.$data
        rm -rf "$folder/stop"
        expect 0 "$launcher" -n $ranks "$zinf" run "$deck" --set data.train="$train" $keep
        rm "$folder/stop/checkpoints/step-00000008.h5" "$folder/stop/checkpoints/latest" "$folder/stop/end.yaml"
        expect 0 "$launcher" -n $ranks "$zinf" run "$deck" --set data.train="$train" $keep --resume auto
        says "step 5/8"
        bits "$folder/stop" >"$folder/resumed"
        same "$folder/$whole" "$folder/resumed"
    done
done

# Other data may be gone on with, which is said.
rm "$folder/stop/checkpoints/step-00000008.h5" "$folder/stop/checkpoints/latest" "$folder/stop/end.yaml"
expect 0 "$zinf" run "$deck" $keep --resume auto
says "data.train: [{path: \"$folder/mixed/*.h5\", weight: 3.0}, {path: $folder/other, weight: 1.0}] -> $folder/mixed"

# What is wrong is said before the first step, with one rank or two.
refused() {
    said=$1
    shift
    for command in "$zinf" "$launcher -n 2 $zinf"; do
        expect 2 $command run "$deck" --set run.directory="$folder/refused" "$@"
        complains_once "$said"
        if grep -q '^step ' "$folder/out"; then fail "a step was made"; fi
    done
}
refused "data.train: no file fits the pattern $folder/mixed/*.npy " --set data.train="$folder/mixed/*.npy"
printf 'what this is' >"$folder/mixed/README.md"
refused "$folder/mixed/README.md is no token file"
rm "$folder/mixed/README.md"
refused "none of the 1 file of $folder/mixed/c.bin has the 33 tokens of a sequence" \
    --set data.train="[{path: $folder/other, weight: 1}, {path: $folder/mixed/c.bin, weight: 1}]"
mkdir "$folder/bad"
cp "$folder/mixed/a.h5" "$folder/bad"
{
    cat "$folder/mixed/b.bin"
    printf '\310\0'
} >"$folder/bad/b.bin"
refused "$folder/bad/b.bin: token 200 at position 5001 " --set model.vocabulary=130 --set data.train="$folder/bad"
refused "weights are for data.train" --set data.validation="[{path: $folder/other, weight: 1}]"

# Ranks that see other files in one folder.
mkdir "$folder/one" "$folder/less" "$folder/one/data" "$folder/less/data"
cp "$folder/mixed/a.h5" "$folder/mixed/d.h5" "$folder/one/data"
cp "$folder/mixed/a.h5" "$folder/less/data"
command="$zinf run $deck --set run.directory=$folder/refused --set data.train=data --set data.type=auto"
expect 2 $launcher -n 1 -wdir "$folder/one" $command : -n 1 -wdir "$folder/less" $command
complains_once "data.train has 2 files on rank 0, but 1 on rank 1"
done_with app_corpus
