#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# All that only a GPU can show, in under eight minutes. From the build folder of a zinf built with CUDA:
#
#     ../regression/bench/gpu.sh [--scratch FOLDER] [--python ENV/bin/python] [--tiny] [--set SECTION.KEY=VALUE]...
#
# FOLDER is on a local disk and takes the states that are placed on NVMe. The Python is one with PyTorch; without it
# there is no comparison. --tiny is for the emulation (LD_LIBRARY_PATH=emulator): models of a few thousand parameters.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
start=$SECONDS failures=0
options=("$@") tiny=no
for word in "$@"; do [ "$word" != --tiny ] || tiny=yes; done

part() {
    local name=$1
    shift
    printf '\n== %s (%d s)\n' "$name" $((SECONDS - start))
    local code=0
    "$@" || code=$?
    [ "$code" -ne 0 ] || return 0
    if [ "$code" -eq 124 ]; then echo "FAILED: $name: its time was over"; else echo "FAILED: $name"; fi
    failures=$((failures + 1))
}

./zinf help | head -1
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
python=$(command -v /usr/bin/python3 || command -v python3)
[ "$tiny" = yes ] || part "every operation and small training runs, against the cpu" make --quiet check-gpu
[ "$tiny" = yes ] || part "rates of the device" timeout 60 ./zinf bench device --set device.type=cuda
for name in memory placement curve largest; do
    part "$name" timeout 240 "$python" "$here/gpu.py" "$name" --zinf ./zinf "${options[@]}"
done
printf '\n%d parts failed, %d s\n' "$failures" $((SECONDS - start))
[ "$failures" -eq 0 ]
