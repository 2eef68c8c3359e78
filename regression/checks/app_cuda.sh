#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a user with device.type: cuda sees of zinf itself: each reason that there is no device has its own message and exit
# code 6; a run on emulated devices goes from the command line to a checkpoint and on, on one rank and on two.
. "${srcdir:-.}/regression/checks/app_common.sh"
[ -e "$top/zinf-cuda.so" ] || { echo "skipped: no CUDA toolkit, so nothing of CUDA was built"; exit 77; }
emulator=$top/emulator
ZINF_MODULE_FOLDER=$top
export ZINF_MODULE_FOLDER
make_data
make_deck
deck=$folder/deck.yaml
settings="--set device.type=cuda --set memory.device=48MiB --set memory.host=64MiB --set optimizer.schedule=constant"
on="$settings --overwrite"

if ! command -v nvidia-smi >/dev/null; then
    # The real libraries, which find no driver.
    # shellcheck disable=SC2086
    expect 6 "$zinf" run "$deck" $on
    complains "this node has no NVIDIA driver"
fi

LD_LIBRARY_PATH=$emulator
export LD_LIBRARY_PATH
for reason in "none:this node has no NVIDIA driver" "old:the NVIDIA driver of this node is too old" \
    "empty:the driver shows this process no device"; do
    # shellcheck disable=SC2086
    expect 6 env EMULATOR_DRIVER="${reason%%:*}" "$zinf" run "$deck" $on
    complains "${reason#*:}"
done

# A library that is not one.
mkdir "$folder/broken"
echo "no library" >"$folder/broken/libcublasLt.so.13"
# shellcheck disable=SC2086
expect 6 env LD_LIBRARY_PATH="$folder/broken:$emulator" "$zinf" run "$deck" $on
complains "the module of CUDA devices does not load"
complains "libcublasLt.so.13"

# More ranks than devices.
# shellcheck disable=SC2086
expect 2 env EMULATOR_DEVICES=2 "$launcher" -n 3 "$zinf" run "$deck" $on
complains "3 ranks on this node share 2 devices"

# More memory than the device has.
# shellcheck disable=SC2086
expect 6 env EMULATOR_MEMORY=4194304 "$zinf" run "$deck" $on --set memory.device=8MiB --set zero.prefetch=4 \
    --set model.hidden=256 --set model.heads=4
complains "no device memory for"

# A run that stops and goes on has the checksum of one that does not.
# shellcheck disable=SC2086
expect 0 "$zinf" run "$deck" $on --set run.directory="$folder/whole" --set run.steps=6
# shellcheck disable=SC2086
expect 0 "$zinf" run "$deck" $on --set run.directory="$folder/parts" --set run.steps=3
# shellcheck disable=SC2086
expect 0 "$zinf" run "$deck" $settings --set placement.optimizer=host --set run.directory="$folder/parts" \
    --set run.steps=6 --resume auto
bits "$folder/whole" >"$folder/a"
bits "$folder/parts" >"$folder/b"
same "$folder/a" "$folder/b"
# shellcheck disable=SC2086
expect 0 "$launcher" -n 2 "$zinf" run "$deck" $on --set run.directory="$folder/two" --set run.steps=3
done_with app_cuda
