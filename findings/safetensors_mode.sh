#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# safetensors 0.8.0 (Python): save_file makes its file with mode 0600 whatever the umask says: it is written under a
# temporary name of mode 0600 and renamed. What numpy, torch.save or h5py write beside it has mode 0666 without the
# umask. So a model that one account of a group saves, with transformers' save_pretrained too, can be listed by the
# others, and its config.json read, but not its weights.
#
# zinf gives files the mode that the umask leaves (base/file.c).
#
# Installs the wheels in a temporary folder; ends with 0 when the behaviour is as stated, 1 when it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.2.6
cat >"$folder/seen.py" <<'END'
import os
import sys

import numpy
from safetensors.numpy import save_file

os.umask(0o022)
os.chdir(os.path.dirname(__file__))
save_file({"a": numpy.zeros(2)}, "a.safetensors")
numpy.zeros(2).tofile("a.bin")
modes = [os.stat(name).st_mode & 0o777 for name in ("a.safetensors", "a.bin")]
print(f"safetensors {modes[0]:o}, numpy {modes[1]:o}")
sys.exit(modes != [0o600, 0o644])
END
"$folder/env/bin/python" "$folder/seen.py"
