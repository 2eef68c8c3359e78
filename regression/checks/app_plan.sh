#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# zinf plan against runs of the same decks: the bytes of the pools are those that memory.csv says were
# allocated (within 2 %: pools are aligned), the bytes and counts of a step those of timings.csv. Then its machine file, its trace,
# and what it says of decks that do not fit.
. "${srcdir:-.}/regression/checks/app_common.sh"

make_data
make_deck
deck=$folder/deck.yaml
inputs=${srcdir:-.}/inputs
cat >>"$deck" <<END
memory: {device: 64 MiB, host: 64 MiB}
placement: {parameters: device, gradients: device, optimizer: device, activations: device}
END

# Bytes of a tier's pools: as planned, and as a run allocated them.
planned() {
    awk -v tier="$1" '/^fit / { inside = 1 } inside && $1 == tier { print $2; exit } NF == 0 { inside = 0 }' \
        "$folder/plan"
}
allocated() {
    awk -F, -v tier="$1" 'NR > 1 && $1 == tier && $2 ~ / pool$/ { sum += $4 } END { printf "%.0f\n", sum }' \
        "$2/memory.csv"
}

# Lines "lane kind count bytes" of a step: as planned, and as a run counted them in its last step,
# where nothing is the first of its kind, and speculative updates have been made and hold.
planned_traffic() {
    awk '/^traffic/ { inside = 1; next } NF == 0 { inside = 0 } inside && $2 != "all" { print $1, $2, $3, $4 }' \
        "$folder/plan" | sort
}
counted_traffic() {
    awk -F, 'NR > 1 { if ($1 != step) { step = $1; count = 0 } line[count++] = $2 " " $3 " " $4 " " $7 }
        END { for (i = 0; i < count; i++) print line[i] }' "$1/timings.csv" | sort
}

# compare RANKS SET...: the plan is the run.
compare() {
    ranks=$1
    shift
    run=$folder/compared
    rm -rf "$run"
    expect 0 "$zinf" plan "$deck" --ranks "$ranks" "$@"
    cp "$folder/out" "$folder/plan"
    expect 0 "$launcher" -n "$ranks" "$zinf" run "$deck" --set run.directory="$run" --set run.steps=3 --set optimizer.clip=0 --set run.report_every=1 \
        --set data.validation_every=never --set checkpoint.final=no "$@"
    for tier in device host; do
        plan=$(planned "$tier")
        real=$(allocated "$tier" "$run")
        awk -v plan="${plan:-0}" -v real="$real" \
            'BEGIN { d = plan - real; exit (d < 0 ? -d : d) > 0.02 * real + 8192 }' ||
            fail "$tier memory: planned ${plan:-0}, allocated $real: $*"
    done
    [ "$(allocated device "$run")" -gt 100000 ] || fail "memory.csv names no device memory"
    planned_traffic >"$folder/planned"
    counted_traffic "$run" >"$folder/counted"
    [ "$(wc -l <"$folder/planned")" -gt 4 ] || fail "the plan has no traffic"
    diff "$folder/planned" "$folder/counted" >"$folder/err" || fail "traffic: planned <, counted >: $*"
    passed=$((passed + 1))
}
compare 1
compare 1 --set precision.compute=bf16 --set activations.recompute=always
compare 1 --set zero.order=micro-major
compare 2 --set zero.stage=3 --set precision.compute=bf16
compare 1 --set precision.compute=fp16
compare 2 --set zero.stage=1
(zinf=$zinf_apart; compare 1 --set device.type=cuda --set placement.parameters=host --set placement.gradients=host \
    --set placement.optimizer=host --set placement.activations=host)

# States on nvme: the step to plan is the one that brings the update of the step before it.
compare_nvme() {
    ranks=$1
    shift
    compare "$ranks" --set nvme.paths="$folder/store" --set placement.parameters=nvme \
        --set placement.optimizer=nvme "$@"
}
compare_nvme 1 --set precision.compute=bf16
compare_nvme 2 --set precision.compute=fp16
compare_nvme 1 --set zero.update=immediate --set placement.gradients=nvme
compare_nvme 1 --set placement.gradients=nvme --set placement.activations=nvme --set batch.micro=2 \
    --set precision.compute=bf16
compare_nvme 2 --set zero.stage=3 --set placement.gradients=host

# The step on a machine: what is given is not assumed, and twice the arithmetic takes half as long.
seconds() { awk '$1 == "step" && $3 == "s" { print $2 }' "$folder/out"; }
expect 0 "$zinf" plan "$deck"
says "flops_fp32"
says "assumed"
says "tokens a second"
says "of flops_fp32"
says "largest model that fits"
[ "$(grep -c assumed "$folder/out")" -eq 10 ] || fail "ten rates are assumed"
says "node_network_bytes_per_s     1.250 GB/s, as network_bytes_per_s"
printf 'machine:\n  flops_fp32: 10 GFLOP/s\n  memory_bytes_per_s: 1e15\n' >"$folder/slow.yaml"
printf 'machine:\n  flops_fp32: 20 GFLOP/s\n  memory_bytes_per_s: 1e15\n' >"$folder/fast.yaml"
expect 0 "$zinf" plan "$deck" --machine "$folder/slow.yaml"
[ "$(grep -c assumed "$folder/out")" -eq 8 ] || fail "eight rates are assumed"
slow=$(seconds)
expect 0 "$zinf" plan "$deck" --machine "$folder/fast.yaml"
awk -v slow="$slow" -v fast="$(seconds)" 'BEGIN { r = slow / fast; exit r < 1.99 || r > 2.01 }' ||
    fail "a step of $slow s takes $(seconds) s on a machine twice as fast"
expect 0 "$zinf" plan "$deck" --machine "${srcdir:-.}/inputs/machine.yaml"
if grep -q assumed "$folder/out"; then fail "inputs/machine.yaml leaves rates out"; fi
printf 'machine:\n  flops_fp23: 1\n' >"$folder/wrong.yaml"
expect 2 "$zinf" plan "$deck" --machine "$folder/wrong.yaml"
complains "wrong.yaml:2:3"
complains "nearest: flops_fp32"
expect 2 "$zinf" plan "$deck" --machine "$folder/absent.yaml"

# Several ranks exchange; copies between tiers are I/O, and b* says how many tokens hide them.
expect 0 "$zinf" plan "$deck" --ranks 4 --ranks-per-node 2 --set zero.stage=3
says "gather"
says "exposed"
printf 'machine: {link_bytes_per_s: 100 MB/s}\n' >"$folder/link.yaml"
expect 0 "$zinf_apart" plan "$deck" --set device.type=cuda --set placement.parameters=host \
    --machine "$folder/link.yaml"
says "tokens a step make arithmetic as long as I/O; this deck has 128"

# Few cores beside a link: the device updates what is in host memory; many: the host; of rates that are not given nothing
# is concluded.
offloaded="--set device.type=cuda --set placement.optimizer=host --set precision.compute=bf16 --set zero.update=immediate"
# shellcheck disable=SC2086
updated() { expect 0 "$zinf_apart" plan "$deck" $offloaded "$@"; }
updated
says "zero.update_on: auto chose host, because the rates of memory and link are not known"
says "update: on the host; of each parameter 26 bytes of its memory, and of the link 2 in, 4 out"
says "host       adam"
updated --machine "$folder/link.yaml"
says "auto chose host, because the rates of memory and link are not known"
printf 'machine: {link_bytes_per_s: 200 GB/s, memory_bytes_per_s: 400 GB/s}\n' >"$folder/few.yaml"
updated --machine "$folder/few.yaml"
says "auto chose device, because a parameter takes a node 0.065 ns on the host and 0.05 ns on the device; a run"
says "update: on the device; of each parameter 26 bytes of its memory, and of the link 10 in, 10 out"
says "compute    adam"
printf 'machine: {link_bytes_per_s: 200 GB/s, memory_bytes_per_s: 600 GB/s}\n' >"$folder/many.yaml"
updated --machine "$folder/many.yaml"
says "auto chose host, because a parameter takes a node 0.0433 ns on the host and 0.05 ns on the device"
updated --machine "$folder/many.yaml" --set zero.update_on=device
says "update: on the device"
if grep -q "update_on: auto" "$folder/out"; then fail "auto chose what was given"; fi
(zinf=$zinf_apart; compare 1 --set device.type=cuda --set placement.parameters=host --set placement.optimizer=host \
    --set zero.update_on=device)

# Inner activations go to the host where they come back sooner than they are computed again: by the rates of a file auto
# takes what makes the simulated step the shortest, over a slow link nothing.
cat >"$folder/llama.yaml" <<END
run: {steps: 100}
model: {family: llama, layers: 32, hidden: 4096, heads: 32, key_heads: 8, inner: 14336, context: 8192, vocabulary: 128256}
data: {train: none}
batch: {global: 64, micro: 4}
optimizer: {learning_rate: 1.0e-4}
precision: {compute: bf16}
device: {type: cuda}
memory: {device: 60 GiB}
placement: {optimizer: host}
END
kept() {
    expect 0 "$zinf_apart" plan "$folder/llama.yaml" --ranks 8 --ranks-per-node 8 --machine "$1" --set activations.offload="$2"
}
step_s() { awk '$1 == "step" && $3 == "s" { print $2; exit }' "$folder/out"; }
kept "$inputs/h100-node.yaml" auto
says "activations.offload: auto chose attention, which goes out and comes back sooner"
chosen=$(step_s)
for other in none mlp all; do
    kept "$inputs/h100-node.yaml" "$other"
    awk "BEGIN { exit !($chosen < 0.98 * $(step_s)) }" ||
        fail "activations.offload: auto takes $chosen s, $other $(step_s) s"
done
sed 's/link_bytes_per_s: [0-9]*/link_bytes_per_s: 20/' "$inputs/h100-node.yaml" >"$folder/narrow.yaml"
kept "$folder/narrow.yaml" auto
says "activations.offload: auto chose none: what the device does not hold is computed again sooner"
expect 0 "$zinf_apart" plan "$deck" --set device.type=cuda
says "activations.offload: auto chose none, because the rates of link and arithmetic are not known"

# The trace: one event per operation, in the rows of its lanes.
expect 0 "$zinf" plan "$deck" --trace "$folder/trace.json"
[ "$(grep -c '"ph":"X".*"op":' "$folder/trace.json")" -eq \
    "$(awk '/^traffic/ { inside = 1; next } NF == 0 { inside = 0 } inside && $2 != "all" { sum += $3 }
        END { print sum }' "$folder/out")" ] || fail "events of the trace"
grep -q '"name":"backward blocks.1.mlp"' "$folder/trace.json" || fail "names of the trace"
if [ -x /usr/bin/python3 ]; then
    expect 0 /usr/bin/python3 -m json.tool "$folder/trace.json"
fi
expect 5 "$zinf" plan "$deck" --trace "$folder/absent/trace.json"

# What does not fit.
expect 3 "$zinf" plan "$deck" --set "memory.device=1000 KiB"
complains "too much"
complains "nearest change that fits"
says "more layers   1 layers of 32"
expect 3 "$zinf" plan "$deck" --set "memory.device=100 KiB"
says "none: not even 1 layers of 32"
expect 2 "$zinf" plan "$deck" --ranks 5
complains "5 ranks"
expect 2 "$zinf" plan "$deck" --set model.heads=3

# A device that is not here is described by the deck: what it lacks is asked for, the rest is a plan as any other.
far="--set device.type=cuda --set device.threads=auto --set batch.global=512 --set zero.stage=3 --ranks 512 --ranks-per-node 8"
# shellcheck disable=SC2086
expect 2 "$zinf" plan "$deck" $far --set memory.device=auto
complains "as memory.device: 72 GiB"
# shellcheck disable=SC2086
expect 0 "$zinf" plan "$deck" $far
says "ranks: 512, 8 on a node"
says "pool"
says "gather"
says "link_in    push"
says "tokens a second"
complains "give flops_fp32, device_bytes_per_s, link_bytes_per_s, node_network_bytes_per_s, network_bytes_per_s of the nodes"
# shellcheck disable=SC2086
expect 0 "$zinf" plan "$deck" $far --machine "$inputs/h100-node.yaml"
if grep -q assumed "$folder/err"; then fail "rates are asked for that are given"; fi
# shellcheck disable=SC2086
expect 0 "$zinf" program "$deck" $far --name validate

# A machine file says what a node has: a rank per device, and budgets that are nine tenths of the memory and all of the
# disks, for each rank its share, whatever this machine has; its own folders are not even asked.
described="--set device.type=cuda --set memory.device=auto --set memory.host=auto --set batch.global=16 --set zero.stage=3
    --set placement.optimizer=nvme"
budgets() { awk '$1 == "budget" { print $2, $3, $4, $5 }' "$folder/out"; }
nvme_budget() { awk '/^fit / { inside = 1 } inside && $1 == "nvme" { print $3, $4; exit }' "$folder/out"; }
# compare_budgets FILE RANKS-OF-A-NODE DEVICE-AND-HOST NVME
compare_budgets() {
    # shellcheck disable=SC2086
    expect 0 "$zinf" plan "$deck" --machine "$inputs/$1" --ranks 16 $described --set nvme.paths="$folder/absent"
    says "ranks: 16, $2 on a node"
    [ "$(budgets)" = "$3" ] || fail "$1: budgets $(budgets)"
    [ "$(nvme_budget)" = "$4" ] || fail "$1: budget of nvme $(nvme_budget)"
    cp "$folder/out" "$folder/plan"
    # shellcheck disable=SC2086
    expect 0 "$zinf" plan "$deck" --machine "$inputs/$1" --ranks 16 $described --set nvme.paths=/dev/shm
    cmp "$folder/plan" "$folder/out" || fail "$1: the disks of this machine are in the plan"
    if grep -q "is memory" "$folder/err"; then fail "$1: a disk of this machine is complained of"; fi
}
compare_budgets h100-node.yaml 8 "71.68 GiB 230.40 GiB" "3.49 TiB" # 0.9 x 81559 MiB, 0.9 x 2 TiB / 8, 30.72 TB / 8
compare_budgets dgx-2.yaml 16 "28.80 GiB 86.40 GiB" "1.75 TiB"     # 0.9 x 32 GiB, 0.9 x 1.5 TiB / 16, 30.72 TB / 16

# So for a processor, of which device memory is a part of the host's.
printf 'machine: {host_memory: 100 GiB, disk_space: 3 TiB}\n' >"$folder/host.yaml"
expect 0 "$zinf" plan "$deck" --machine "$folder/host.yaml" --ranks 2 --set memory.device=auto --set memory.host=auto \
    --set placement.optimizer=nvme --set nvme.paths="$folder/absent"
[ "$(budgets) $(nvme_budget)" = "45.00 GiB 45.00 GiB 1.50 TiB" ] || fail "budgets of a processor's node"
says "host_memory                 100.00 GiB"
grep -q "^  host  .* 100.00 GiB  0 % taken" "$folder/out" || fail "the host of a node of two"

# The node's part: what a rank takes, times its ranks, of what the file says that it has.
[ "$(awk '/^node of / { inside = 1 } inside && $1 == "device" { print $2, $3, $4; exit }' "$folder/plan")" = \
    "$((16 * $(planned device))) 512.00 GiB" ] || fail "devices of the node"

# Collectives: on one node over NVLink, 2880 GB/s by 8; on two, gathers in a ring at 280 GB/s, sums in rank order at an
# eighth of that, and sums of the library in a ring as well.
# compare_collectives RANKS GATHER-GB/S REDUCE-GB/S SET...
compare_collectives() {
    ranks=$1 gather=$2 reduce=$3
    shift 3
    # shellcheck disable=SC2086
    expect 0 "$zinf" plan "$deck" --machine "$inputs/h100-node.yaml" --ranks "$ranks" $described "$@"
    awk -v gather="$gather" -v reduce="$reduce" '
        $1 == "comm" && $2 == "gather" { expected += $4 / gather * 1e-9; found++ }
        $1 == "comm" && $2 == "reduce" { expected += $4 / reduce * 1e-9; found++ }
        $1 == "comm" && $3 == "s," { took = $2 }
        END { d = took - expected; exit found != 2 || took <= 0 || (d < 0 ? -d : d) > 1e-3 * expected }' \
        "$folder/out" || fail "collectives of $ranks ranks: $*"
    passed=$((passed + 1))
}
compare_collectives 8 360 360
compare_collectives 16 280 35
compare_collectives 16 280 280 --set precision.order=library
compare_collectives 2 360 360 # of eight devices

# shellcheck disable=SC2086
expect 2 "$zinf" plan "$deck" --machine "$inputs/h100-node.yaml" --ranks 16 --ranks-per-node 9 $described
complains "have 8 devices and each rank needs one"
expect 2 "$zinf" plan "$deck" --machine "$inputs/h100-node.yaml"
complains "set device.type=cuda"
# shellcheck disable=SC2086
expect 0 "$zinf" plan "$deck" --machine "$inputs/dgx-2.yaml" --ranks 16 $described --set precision.compute=bf16
complains "give flops_bf16 of the nodes"
# A deck is right without its device, where zinf can use one at all; a run is not.
if [ -e zinf-cuda.so ]; then
    expect 0 "$zinf" check "$deck" --set device.type=cuda
else
    expect 6 "$zinf" check "$deck" --set device.type=cuda
    complains "built without CUDA"
fi
if ! command -v nvidia-smi >/dev/null; then
    expect 6 "$zinf" run "$deck" --set device.type=cuda --overwrite
    complains "device.type: cuda"
fi
done_with app_plan
