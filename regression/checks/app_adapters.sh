#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Fine-tuning of some tensors, and with adapters: what is frozen keeps its bits and has no states in checkpoints, is
# never written to disk again, and runs go on to the bit; what cannot be is refused with the nearest that can.
. "${srcdir:-.}/regression/checks/app_common.sh"

make_data
make_deck
deck=$folder/deck.yaml
base=$folder/base
nvme="--set placement.parameters=nvme --set placement.optimizer=nvme --set nvme.paths=$folder/store"
adapter="--set adapter.rank=3 --set adapter.targets=all --set precision.compute=bf16"
every="--set checkpoint.every=2 --set checkpoint.keep=0"
tune() { # DIRECTORY ARGUMENT...: a run from the weights of the first
    directory=$1
    shift
    # shellcheck disable=SC2086
    expect 0 "$zinf" run "$folder/tune.yaml" --set run.directory="$directory" --set model.from="$base" $every "$@"
}
# values CHECKPOINT NAME: what inspect says of a dataset
values() { "$zinf" inspect "$1" | grep "^/parameter/$2 " || fail "no $2 in $1"; }

expect 0 "$zinf" run "$deck" --set run.directory="$base"
grep -v '^model:' "$deck" >"$folder/tune.yaml"

# With adapters: nothing else changes.
# shellcheck disable=SC2086
tune "$folder/lora" $adapter
expect 0 "$zinf" inspect "$folder/lora/checkpoints/step-00000006.h5"
says "/master/blocks.1.attention.query.lora_b"
says "/moment1/blocks.0.mlp.down.lora_a"
! grep -q '^/[m][a-z0-9]*/.*\.weight' "$folder/out" || fail "a frozen tensor has states"
begin=$folder/lora/checkpoints/step-00000002.h5 end=$folder/lora/checkpoints/step-00000006.h5
for name in embedding.token.weight blocks.1.mlp.up.weight blocks.0.attention.norm.bias; do
    [ "$(values "$begin" $name)" = "$(values "$end" $name)" ] || fail "$name has changed"
done
for name in blocks.0.attention.query.lora_a blocks.1.mlp.down.lora_b; do
    [ "$(values "$begin" $name)" != "$(values "$end" $name)" ] || fail "$name has not changed"
done
expect 0 "$zinf" generate "$folder/lora" --prompt abc --tokens 4

# On disk, and with a run that goes on.
# shellcheck disable=SC2086
tune "$folder/disk" $adapter $nvme
bits "$folder/lora" >"$folder/bits"
bits "$folder/disk" | cmp -s - "$folder/bits" || fail "other numbers with states on disk"
writes=$(awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "disk_written_bytes") c = i }
    NR > 2 && $c > most { most = $c } END { print most + 0 }' \
    "$folder/disk/steps.csv")
if [ "$writes" -eq 0 ] || [ "$writes" -gt 200000 ]; then fail "a step writes $writes bytes"; fi
rm "$folder/disk/checkpoints/step-00000006.h5" "$folder/disk/checkpoints/step-00000004.h5" "$folder/disk/end.yaml"
# shellcheck disable=SC2086
tune "$folder/disk" $adapter --resume auto
says "goes on after step 2 of 6"
bits "$folder/disk" | cmp -s - "$folder/bits" || fail "other numbers of a run that went on"

# A checkpoint with adapters to begin with tells what they are.
expect 0 "$zinf" run "$folder/tune.yaml" --set run.directory="$folder/further" --set model.from="$folder/lora" \
    --set run.steps=2
expect 2 "$zinf" check "$folder/tune.yaml" --set model.from="$folder/lora" --set adapter.rank=4
complains "adapter.rank: $folder/lora has 3"
expect 2 "$zinf" run "$folder/tune.yaml" --set run.directory="$folder/lora" --set model.from="$base" --resume auto \
    --set precision.compute=bf16 --set adapter.rank=2
complains "adapter.rank is 2, and was 3"

# Some tensors, some of them in units with frozen ones.
tune "$folder/some" --set 'model.trainable=[norm.*, blocks.1.mlp.*, blocks.0.attention.query.bias]'
begin=$folder/some/checkpoints/step-00000002.h5 end=$folder/some/checkpoints/step-00000006.h5
for name in embedding.token.weight blocks.0.attention.query.weight blocks.0.mlp.up.weight; do
    [ "$(values "$begin" $name)" = "$(values "$end" $name)" ] || fail "$name has changed"
done
for name in norm.weight blocks.0.attention.query.bias blocks.1.mlp.up.weight; do
    [ "$(values "$begin" $name)" != "$(values "$end" $name)" ] || fail "$name has not changed"
done

# Dropout: the same bits made again as kept, on disk, and of a run that went on; other bits than without; not in
# validation, evaluation and generation, which after a step at a rate of 0 are those of the model without.
drops="$adapter --set adapter.dropout=0.25"
# shellcheck disable=SC2086
tune "$folder/drops" $drops --set activations.recompute=always
bits "$folder/drops" >"$folder/dropped"
! cmp -s "$folder/dropped" "$folder/bits" || fail "nothing was dropped"
# shellcheck disable=SC2086
tune "$folder/kept" $drops $nvme --set activations.recompute=never
bits "$folder/kept" | cmp -s - "$folder/dropped" || fail "other numbers with dropout, kept and on disk"
rm "$folder/kept/checkpoints/step-00000006.h5" "$folder/kept/checkpoints/step-00000004.h5" "$folder/kept/end.yaml"
# shellcheck disable=SC2086
tune "$folder/kept" $drops --resume auto
bits "$folder/kept" | cmp -s - "$folder/dropped" || fail "other numbers with dropout of a run that went on"
expect 0 "$zinf" export "$folder/drops" --adapter --output "$folder/drops.out"
grep -q '"lora_dropout": 0.25' "$folder/drops.out/adapter_config.json" || fail "lora_dropout"
expect 0 "$zinf" check "$folder/tune.yaml" --set model.from="$base" --set adapter.from="$folder/drops.out" \
    --set adapter.dropout=0
for share in 0 0.5; do
    still=$folder/still.$share
    expect 0 "$zinf" run "$folder/tune.yaml" --set run.directory="$still" --set model.from="$base" \
        --set adapter.from="$folder/drops.out" --set adapter.dropout=$share --set run.steps=1 --set optimizer.warmup=0 \
        --set optimizer.learning_rate=0 --set data.validation_every="1 steps"
    awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i }
        NR == 2 { print $at["validation_loss"] > v; print $at["loss"] > l }' \
        v="$still.validation" l="$still.loss" "$still/steps.csv"
    expect 0 "$zinf" evaluate "$still" --data "$folder/validation.h5" --output "$still.json"
    grep '"loss"' "$still.json" >"$still.evaluation"
    expect 0 "$zinf" generate "$still" --prompt abc --tokens 8
    cp "$folder/out" "$still.text"
done
for made in validation evaluation text; do
    same "$folder/still.0.$made" "$folder/still.0.5.$made"
done
! cmp -s "$folder/still.0.loss" "$folder/still.0.5.loss" || fail "training drops nothing"

# What goes out, and what is refused.
expect 0 "$zinf" export "$folder/lora" --output "$folder/merged"
expect 0 "$zinf" export "$folder/lora" --adapter --output "$folder/joined"
grep -q '"attn.c_attn": 9' "$folder/joined/adapter_config.json" || fail "rank_pattern"
tune "$folder/apart" --set adapter.rank=3 --set adapter.targets=output,up,down
expect 0 "$zinf" export "$folder/apart" --adapter --output "$folder/adapter"
grep -q '"r": 3' "$folder/adapter/adapter_config.json" || fail "adapter_config.json"
expect 2 "$zinf" export "$folder/some" --adapter --output "$folder/none"
complains "no adapters"

# The adapters that went out come in again, beside the weights that they were made for.
expect 0 "$zinf" run "$folder/tune.yaml" --set run.directory="$folder/in" --set model.from="$base" \
    --set adapter.from="$folder/adapter" --set run.steps=2 --set adapter.rank=3
says "and with the adapters of $folder/adapter"
expect 2 "$zinf" check "$folder/tune.yaml" --set model.from="$folder/lora" --set adapter.from="$folder/adapter"
complains "has adapters already"
expect 2 "$zinf" check "$deck" --set adapter.from="$folder/adapter"
complains "name them in model.from"
config=$folder/adapter/adapter_config.json
cp "$config" "$folder/kept.json"
asks() { # SED_PROGRAM TEXT
    sed "$1" "$folder/kept.json" >"$config"
    expect 2 "$zinf" check "$folder/tune.yaml" --set model.from="$base" --set adapter.from="$folder/adapter"
    complains "$2"
}
asks 's/"use_dora": false/"use_dora": true/' "use_dora asks for what zinf does not do"
asks 's/"modules_to_save": null/"modules_to_save": ["lm_head"]/' "modules_to_save asks"
asks 's/"rank_pattern": {[^}]*}/"rank_pattern": {"c_proj": 2}/' "rank_pattern asks"
asks 's/"bias": "none"/"bias": "all"/' "bias asks"
asks 's/"bias": "none"/"bias": "none", "init_lora_weights": "pissa_niter_4"/' "init_lora_weights asks"
asks 's/"bias": "none"/"bias": "none", "exclude_modules": ["c_attn"]/' "exclude_modules asks"
asks 's/"r": 3/"r": 0/' "r is no whole number"
for share in '"0.1"' '""' null true '[]' -0.1 1 1e300; do
    asks "s/\"lora_dropout\": [0-9.]*/\"lora_dropout\": $share/" "lora_dropout"
done
asks 's/"use_rslora": false/"use_rslora": "true"/' "use_rslora asks"
asks 's/"LORA"/"IA3"/' "peft_type is not LORA"
asks 's/"LORA"/"IA3"/' "merge_and_unload"
asks 's/"target_modules": \[/&"c_attn", /' "names transformer.h.0.attn.c_attn, of which the weights have no adapter"
asks 's/"target_modules": \[/&"lm_head", /' "names lm_head, of which the weights have no adapter"
asks 's/, "mlp.c_fc"//' "have an adapter of transformer.h.0.mlp.c_fc, which target_modules"
asks 's/"target_modules": \[/&7, /' "an entry that is no name"
asks 's/"alpha_pattern": {[^}]*}/"alpha_pattern": {"c_fc": 7}/' "alpha_pattern asks"
asks 's/"rank_pattern": {[^}]*}/"rank_pattern": {"1.mlp.c_fc": 3}/' "rank_pattern asks"
asks 's/"rank_pattern": {[^}]*}/"rank_pattern": {"c_fc": "3"}/' "rank_pattern asks"
sed 's/"target_modules": \[/&"q_proj", "fc", /' "$folder/kept.json" >"$config"
expect 0 "$zinf" check "$folder/tune.yaml" --set model.from="$base" --set adapter.from="$folder/adapter"
complains "target_modules names q_proj, which GPT2LMHeadModel does not have"
cp "$folder/kept.json" "$config"

# Adapters of matrices that are one outside come in again as they were, and go out with the same bits.
for targets in query,value all key; do
    tune "$folder/parts" --overwrite --set adapter.rank=2 --set adapter.scaling=rsqrt --set adapter.targets=$targets
    rm -rf "$folder/parts.out" "$folder/parts.again"
    expect 0 "$zinf" export "$folder/parts" --adapter --output "$folder/parts.out"
    grep -q '"attn.c_attn": 6' "$folder/parts.out/adapter_config.json" || fail "rank_pattern of $targets"
    expect 0 "$zinf" run "$folder/tune.yaml" --overwrite --set run.directory="$folder/parts" --set model.from="$base" \
        --set adapter.from="$folder/parts.out" --set run.steps=1 --set optimizer.warmup=0 --set optimizer.learning_rate=0
    expect 0 "$zinf" export "$folder/parts" --adapter --output "$folder/parts.again"
    for file in adapter_config.json adapter_model.safetensors; do
        cmp -s "$folder/parts.out/$file" "$folder/parts.again/$file" || fail "$file of $targets is another"
    done
done
# A number that is not zero where another matrix's rows meet its lora_A.
python3 - "$folder/parts.out/adapter_model.safetensors" <<'END'
import json, struct, sys
with open(sys.argv[1], "r+b") as file:
    size = struct.unpack("<Q", file.read(8))[0]
    head = json.loads(file.read(size))
    file.seek(8 + size + head["base_model.model.transformer.h.0.attn.c_attn.lora_B.weight"]["data_offsets"][0] + 4 * 5)
    file.write(struct.pack("<f", 1))
END
expect 2 "$zinf" run "$folder/tune.yaml" --overwrite --set run.directory="$folder/parts" --set model.from="$base" \
    --set adapter.from="$folder/parts.out"
complains "mixes the adapters of matrices that zinf has apart"
refuses() { # KEY=VALUE TEXT
    expect 2 "$zinf" check "$deck" --set adapter.rank=2 --set "$1"
    complains "$2"
}
refuses model.trainable=blocks.0.atention.key.bias "nearest is blocks.*.attention.key.bias"
refuses model.trainable=nothing "fits no tensor"
expect 2 "$zinf" check "${srcdir:-.}/inputs/llama-small.yaml" --set 'model.trainable=["*.bias"]'
complains "*.bias fits no tensor"
expect 0 "$zinf" plan "${srcdir:-.}/inputs/llama-small.yaml" --set 'model.trainable=[blocks.1.*]'
says "not told, since model.trainable names tensors of this one"
refuses adapter.targets=gate "gpt2 has no matrix gate"
refuses adapter.targets=outptu "nearest is output"
refuses adapter.dropout=1 "all would be dropped"
for share in 1.5 -0.1 some nan; do
    refuses adapter.dropout=$share "adapter.dropout"
done
refuses adapter.rank=33 "smaller side is 32"
echo "app_adapters: $passed checks passed"
