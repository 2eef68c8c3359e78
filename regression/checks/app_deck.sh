#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What is accepted has an effect, or is said: keys that a deck cannot use, options that mean nothing together;
# a validation file validates; shell notation in paths means what it means to a shell.
. "${srcdir:-.}/regression/checks/app_common.sh"

make_data
make_deck
deck=$folder/deck.yaml

# silent: the last command warned of nothing.
silent() {
    ! grep -F "warning: deck" "$folder/err" || fail "a warning about nothing"
    passed=$((passed + 1))
}

# Keys without effect: by check and by run, each at its place, once for all ranks, and not for the echo of a run.
sed 's/learning_rate: 3.0e-3/decay: 3 steps, learning_rate: 3.0e-3/' "$deck" >"$folder/unused.yaml"
expect 0 "$zinf" check "$deck"
silent
for command in "$zinf check" "$zinf run" "$launcher -n 2 $zinf run"; do
    rm -rf "$folder/run"
    expect 0 $command "$folder/unused.yaml" --set model.rope_base=10000
    complains_once "unused.yaml:6:20: optimizer.decay has no effect with optimizer.schedule: cosine; it is used with"
    complains_once "--set model.rope_base has no effect with model.family: gpt2; it is used with model.family other than gpt2"
done
cp "$folder/run/used.yaml" "$folder/used.yaml"
expect 0 "$launcher" -n 2 "$zinf" run "$folder/used.yaml" --overwrite
silent
same "$folder/used.yaml" "$folder/run/used.yaml"
expect 0 "$zinf" help deck optimizer.decay
says "only with: optimizer.schedule: wsd"

# A deck may come through a pipe; what never ends is none.
expect 0 sh -c "cat '$deck' | '$zinf' check /dev/stdin"
expect 2 "$zinf" check /dev/zero
complains "/dev/zero is no deck: it has more than 1 MiB"

# Types of gradients that lose what the arithmetic has.
expect 2 "$zinf" check "$deck" --set precision.gradient=bf16
complains_once "bf16 gradients of fp32 arithmetic lose what fp32 was chosen for"
for key in gradient reduce; do
    expect 2 "$zinf" check "$deck" --set precision.$key=fp16 --set precision.compute=bf16
    complains_once "--set precision.$key: fp16 holds only scaled gradients, and those of bf16 arithmetic are not"
    expect 0 "$zinf" check "$deck" --set precision.$key=fp16 --set precision.compute=fp16
done

# More than there is: of a trace, and of the sequences of a rank.
expect 0 "$zinf" check "$deck" --set run.trace=5
complains_once "--set run.trace: 5 steps, but the trace begins with step 3, and a run of 6 (run.steps) has 4"
expect 0 "$zinf" check "$deck" --set run.trace=5 --set run.steps=2
complains_once "--set run.trace has no effect with run.steps: 2 steps"
expect 0 "$zinf" check "$deck" --set batch.micro=3 --ranks 2
complains_once "one rank has at most 2"
expect 0 "$zinf" check "$deck" --set batch.micro=3
silent

# Without a state on disk the disk's keys say nothing, also by way of an option.
nowhere="--set placement.parameters=device --set placement.gradients=device --set placement.optimizer=device
         --set placement.activations=device"
expect 0 "$zinf" run "$deck" --overwrite --reclaim $nowhere
complains_once "--set nvme.reclaim has no effect with placement.parameters: device"

# What would never be done is an error.
expect 2 "$zinf" run "$deck" --overwrite --set checkpoint.every=100 --set checkpoint.final=no
complains "--set checkpoint.every: 100 steps has no effect with run.steps: 6 steps, checkpoint.final: no;"
expect 2 "$zinf" check "$deck" --set data.validation=
complains "deck.yaml:3:"
complains "data.validation_every has no effect with data.validation: \"\"; it is used with data.validation given"

# A deck that names a validation file validates: 11 steps, each second and the last.
sed 's/, validation_every: 3 steps,/,/' "$deck" >"$folder/validates.yaml"
expect 0 "$zinf" run "$folder/validates.yaml" --set run.steps=11 --overwrite
[ "$(awk -F, 'NR > 1 && $10 != "" { printf "%s ", $1 }' "$folder/run/steps.csv")" = "2 4 6 8 10 11 " ] ||
    fail "steps with a validation"
grep -q '^    validation_every: 2 steps  *# default: auto$' "$folder/run/used.yaml" || fail "validation_every of used.yaml"
expect 0 "$zinf" run "$folder/validates.yaml" --set data.validation= --overwrite
[ "$(awk -F, 'NR > 1 && $10 != ""' "$folder/run/steps.csv" | wc -l)" -eq 0 ] || fail "validation without a file"
complains_once "validates.yaml:4:30: data.validation_sequences has no effect with data.validation: \"\";"

# Shell notation. The deck is read where no folder is called ~ or $PLACE, and none is made.
PLACE=$folder/'a # $b'
HOME=$folder/home
export PLACE HOME
mkdir -p "$PLACE" "$HOME"
cp "$folder/train.h5" "$HOME/train.h5"
sed -e "s|directory: $folder/run|directory: '\$PLACE/run'|" -e "s|train: $folder/train.h5|train: ~/train.h5|" \
    -e 's/checkpoint: .*//' "$deck" >"$folder/shell.yaml"
cat >>"$folder/shell.yaml" <<'END'
placement: {parameters: nvme, gradients: nvme, optimizer: nvme, activations: nvme}
nvme: {paths: ["${PLACE}/one$$", ~/two]}
END
cd "$folder"
expect 0 "$launcher" -n 2 "$zinf" run shell.yaml
[ -f "$PLACE/run/steps.csv" ] || fail "no outputs in \$PLACE/run"
[ -d "$PLACE/one\$" ] && [ -d "$HOME/two" ] || fail "folders of nvme.paths"
[ ! -e "$folder/~" ] && [ ! -e "$folder/\$PLACE" ] || fail "shell notation taken as it is"
cp "$PLACE/run/used.yaml" again.yaml
grep -qF "# deck line 1: \"\$PLACE/run\"" again.yaml || fail "used.yaml does not show what was written"
grep -qF "# deck line 3: \"~/train.h5\"" again.yaml || fail "used.yaml does not show what was written"
there=$PLACE/run/used.yaml
unset PLACE
expect 0 "$zinf" run again.yaml --overwrite
same again.yaml "$there"
expect 2 "$zinf" check shell.yaml
complains "shell.yaml:1:"
complains "run.directory: found '\$PLACE/run' (\$PLACE is not set; \$\$ is a dollar)"
# Of two ranks with other environments: disks may differ, the run's directory may not.
expect 0 "$launcher" -n 1 env PLACE="$folder/p" DISK="$folder/d0" "$zinf" run shell.yaml --set 'nvme.paths=$DISK' \
    : -n 1 env PLACE="$folder/p" DISK="$folder/d1" "$zinf" run shell.yaml --set 'nvme.paths=$DISK'
[ -d "$folder/d0" ] && [ -d "$folder/d1" ] || fail "each rank its own disk"
grep -qF "    paths: $folder/d0 " "$folder/p/run/used.yaml" || fail "used.yaml is not rank 0's"
expect 2 "$launcher" -n 1 env PLACE="$folder/q" "$zinf" run shell.yaml : -n 1 env PLACE="$folder/q1" "$zinf" run shell.yaml
complains_once "run.directory is $folder/q1/run on this rank and $folder/q/run on rank 0"
# Two spellings of one folder.
mkdir one
ln -s one two
expect 2 "$zinf" check "$deck" --set nvme.paths=one,two
complains "the folder of path 1 of the list once more"

# A step whose program would fill the memory.
expect 2 "$zinf" check "$deck" --set batch.global=1e9
complains "it counts sequences, not tokens"

# Options that mean nothing where they are given.
expect 2 "$zinf" tokenize text --output=~/x.h5
complains "the shell leaves a ~ there as it is; write --output ~/x.h5"
expect 2 "$zinf" tokenize text --output x.h5 --share 0.5
complains "--share needs --validation"
expect 2 "$zinf" tokenize text --output x.h5 --suffix .txt
complains "--suffix .txt has no effect: it chooses files of folders"
[ ! -e x.h5 ] || fail "a file of a refused command"
expect 2 "$zinf" generate "$folder/p/run" --prompt a --temperature 0 --top-k 3
complains "--top-k and --top-p have no effect with --temperature 0"
expect 0 "$zinf" generate "$folder/p/run" --prompt a --tokens 1 --top-k 257 --threads 1
complains_once "--top-k 257 has no effect: there are 256 tokens to draw from"
expect 2 "$zinf" bench device --size 3
complains "--size is an option of"
expect 2 "$zinf" bench disk --set nvme.reclaim=yes
complains "has no effect on a measurement"
expect 2 "$zinf" program "$deck" --ranks 2 --ranks-per-node 3
complains "from 1 to 2"
expect 2 "$zinf" help run --markdown
complains "--markdown is for decks"
expect 3 "$zinf" plan "$deck" --set "memory.device=100 KiB" --trace plan.json
complains "--trace plan.json is not written"
done_with app_deck
