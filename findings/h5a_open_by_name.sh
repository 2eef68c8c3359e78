#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# HDF5: an attribute that was opened by the name of its object (H5Aopen_by_name) can be read but not written: H5Awrite
# fails with "can't locate open attribute?". Opened by index (H5Aopen_by_idx) of the same object, or from the opened
# object, or by the name ".", the same attribute is written, and an attribute created by name (H5Acreate_by_name) is
# writable too. Seen in 1.14.2 and 2.0.0 (the wheels of h5py 3.11.0 and 3.16.0), and in C with 1.10.8 of Debian 12.
#
# Who would meet it: a program that goes back to fill in a checksum or a step number which it had reserved, and opens
# the attribute in one call. zinf opens the object first (checkpoint/checkpoint.c).
#
# Installs the two wheels in a temporary folder; ends with 0 when the behaviour is as stated, 1 when it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/seen.py" <<'END'
import os
import sys

import h5py
import numpy

count = 0


def opened(kind):
    """A file with an attribute `step` of the dataset `d`, closed and opened again for writing."""
    global count
    count += 1
    name = os.path.join(os.path.dirname(__file__), f"{h5py.version.hdf5_version}-{count}.h5")
    with h5py.File(name, "w") as file:
        file.create_dataset("d", (1,), "i4").attrs["step"] = numpy.uint64(1)
    file = h5py.File(name, "r+")
    if kind == "by name":
        return file, h5py.h5a.open(file.id, b"step", obj_name=b"d")
    if kind == "by index":
        return file, h5py.h5a.open(file.id, index=0, obj_name=b"d")
    if kind == "by the name . of the object":
        return file, h5py.h5a.open(file["d"].id, b"step", obj_name=b".")
    return file, h5py.h5a.open(file["d"].id, b"step")


def write(kind):
    file, attribute = opened(kind)
    value = numpy.zeros((), "u8")
    attribute.read(value)
    try:
        attribute.write(numpy.array(2, "u8"))
        outcome = "written"
    except Exception as error:
        outcome = f"refused ({str(error).split('(')[-1].rstrip(')')})"
    print(f"HDF5 {h5py.version.hdf5_version}, attribute opened {kind}: read {int(value)}, then {outcome}")
    del attribute
    file.close()
    return outcome


wanted = {"by name": "refused", "by index": "written", "by the name . of the object": "written",
          "from the opened object": "written"}
changed = [kind for kind, outcome in wanted.items() if not write(kind).startswith(outcome)]
if changed:
    sys.exit(f"changed: {', '.join(changed)}")
END
status=0
for version in 3.11.0 3.16.0; do
    python3 -m venv "$folder/h5py-$version"
    "$folder/h5py-$version/bin/pip" install --quiet --disable-pip-version-check "h5py==$version" "numpy==2.2.6"
    "$folder/h5py-$version/bin/python" "$folder/seen.py" || status=1
done
exit $status
