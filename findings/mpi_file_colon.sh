#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# MPICH 4.0.3: MPI_File_open refuses a file when a colon stands anywhere in its path, as in a folder named by a time
# (runs/at-12:30): what stands before the first colon is taken for the kind of a file system (ufs, nfs, ...), and a
# kind that is not known is an error ("unsupported file system type"), though the file exists or could be made. On a
# single rank too, and so under parallel HDF5, which says only that it cannot create the file. With "ufs:" before the
# path the same file is written. MPICH 4.3.2 writes it either way; Debian 12 has 4.0.2, which refuses.
#
# Who would meet it: a job whose run directory holds a time, whose checkpoint fails after hours. zinf gives such names
# "ufs:" (checkpoint/read.c).
#
# Installs the wheels of MPICH and mpi4py in a temporary folder; ends with 0 when the behaviour is as stated, 1 when it
# has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/seen.py" <<'END'
import os
import sys

from mpi4py import MPI

top, refused = sys.argv[1], sys.argv[2] == "refused"
version = MPI.Get_library_version().split("\n")[0].split()[-1].rstrip("\0")
changed = []
for name in ("at-12.30", "at-12:30"):
    os.makedirs(os.path.join(top, name), exist_ok=True)
    for prefix in ("", "ufs:"):
        path = os.path.join(top, name, "state")
        try:
            file = MPI.File.Open(MPI.COMM_SELF, prefix + path, MPI.MODE_CREATE | MPI.MODE_WRONLY)
            file.Write(b"x")
            file.Close()
            outcome = "written"
        except MPI.Exception as error:
            outcome = f"refused (error class {error.Get_error_class() == MPI.ERR_IO and 'MPI_ERR_IO' or 'other'})"
        wanted = "refused" if refused and ":" in name and not prefix else "written"
        print(f"MPICH {version}, {prefix}.../{name}/state: {outcome}")
        if not outcome.startswith(wanted) or os.path.exists(path) != (wanted == "written"):
            changed.append(prefix + name)
        if os.path.exists(path):
            os.unlink(path)
if changed:
    sys.exit(f"changed: {', '.join(changed)}")
END
status=0
for version in 4.0.3 4.3.2; do
    outcome=written
    if [ "$version" = 4.0.3 ]; then outcome=refused; fi
    python3 -m venv "$folder/mpich-$version"
    "$folder/mpich-$version/bin/pip" install --quiet --disable-pip-version-check "mpich==$version" "mpi4py==4.1.0"
    mkdir "$folder/$version"
    "$folder/mpich-$version/bin/python" "$folder/seen.py" "$folder/$version" "$outcome" || status=1
done
exit $status
