#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs a test that is written in Python: by Debian's own python3 (which has h5py, matplotlib and yaml), else by any;
# without one the test is skipped.
set -eu
for python in /usr/bin/python3 python3; do
    if command -v "$python" >/dev/null; then exec timeout -k 5 600 "$python" -B "$@"; fi
done
echo "skipped: no python3"
exit 77
