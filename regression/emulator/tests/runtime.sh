#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The checks of the emulated CUDA runtime: each fires on its fault and not without.
set -eu
program=regression/emulator/tests/runtime_test
[ -x "$program" ] || { echo "skipped: no CUDA toolkit, so nothing of CUDA was built"; exit 77; }
LD_LIBRARY_PATH=$PWD/emulator${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
exec "$program"
