#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# HDF5 1.14.6 (h5py 3.14.0; 1.10.8 of Debian 12 does the same): a file that was opened for reading and writing, and closed
# without anything being written, is cut at HDF5's own end: bytes that a program has appended behind it (a checksum, a
# signature, an index) are gone. Opened for reading only it stays as it is, and so do bytes of a program in the user block
# before HDF5's part.
#
# Who would meet it: who seals finished files with a trailer, as is common for archives, and whose users open them once in
# mode "r+". zinf keeps the checksum of a checkpoint's metadata in the user block (src/checkpoint/user_block.c).
#
# Installs the wheels of h5py and numpy in a temporary folder; ends with 0 when the behaviour is as stated, 1 when it has
# changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/seen.py" <<'END'
import os
import sys

import h5py

tail = b"behind the end"
changed = []
print("h5py", h5py.version.version, "HDF5", h5py.version.hdf5_version)
for block in (0, 512):
    name = os.path.join(sys.argv[1], f"block-{block}.h5")
    with h5py.File(name, "w", userblock_size=block) as file:
        file["x"] = list(range(1000))
    if block:
        with open(name, "r+b") as raw:
            raw.write(b"before the start")
    whole = os.path.getsize(name)
    with open(name, "ab") as raw:
        raw.write(tail)
    sizes = {}
    for mode in ("r", "r+"):
        with h5py.File(name, mode):
            pass
        sizes[mode] = os.path.getsize(name) - whole
    with open(name, "rb") as raw:
        kept = raw.read(16) == b"before the start"
    print(f"user block of {block}: bytes behind the end after r: {sizes['r']}, after r+: {sizes['r+']}"
          + (f", block kept: {kept}" if block else ""))
    if sizes != {"r": len(tail), "r+": 0} or (block and not kept):
        changed.append(block)
print("changed:" if changed else "as stated", *changed)
sys.exit(bool(changed))
END
python3 -m venv "$folder/environment" >/dev/null
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check h5py==3.14.0 numpy==2.2.6
"$folder/environment/bin/python" "$folder/seen.py" "$folder"
