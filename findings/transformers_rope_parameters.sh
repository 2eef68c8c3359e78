#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# transformers 5.24.0 writes the base of rotary positions into an object `rope_parameters` of config.json, and no
# `rope_theta` beside it. 4.57.1 does not know that object: it reads the file without a remark and takes its default,
# 10000, and no scaling. The logits are wrong and nothing says so. The other way round is right: 5.24.0 reads the keys
# of 4.57.1. A file that has both keys is read rightly by both.
#
# Who would meet it: a model saved by 5 and evaluated where 4 is installed. zinf export writes both.
#
# Installs both versions in a temporary folder (configs need no torch); ends with 0 when the behaviour is as stated, 1
# when it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 4.57.1 5.24.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install --quiet --disable-pip-version-check "transformers==$version"
done
cat >"$folder/write.py" <<'END'
import sys
from transformers import LlamaConfig
LlamaConfig(rope_parameters={"rope_theta": 500000.0, "rope_type": "default"}).save_pretrained(sys.argv[1])
END
cat >"$folder/read.py" <<'END'
import sys
from transformers import LlamaConfig
config = LlamaConfig.from_pretrained(sys.argv[1])
parameters = getattr(config, "rope_parameters", None) or {}
print(int(getattr(config, "rope_theta", 0) or parameters["rope_theta"]))
END
"$folder/5.24.0/bin/python" "$folder/write.py" "$folder/model" 2>/dev/null
mkdir "$folder/both"
sed 's/^{$/{ "rope_theta": 500000.0,/' "$folder/model/config.json" >"$folder/both/config.json"
status=0
for wanted in "4.57.1 model 10000" "5.24.0 model 500000" "4.57.1 both 500000" "5.24.0 both 500000"; do
    # shellcheck disable=SC2086
    set -- $wanted
    base=$("$folder/$1/bin/python" "$folder/read.py" "$folder/$2" 2>/dev/null)
    echo "transformers $1, $2: base $base"
    [ "$base" = "$3" ] || status=1
done
exit "$status"
