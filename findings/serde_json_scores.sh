#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tokenizers 0.23.3 (serde_json): a tokenizer.json that is loaded and saved again has other scores in its Unigram model.
# Numbers are read as their digits divided by a power of ten, with two roundings, so some 1 of 7 of 16 or 17 digits miss the
# nearest double by the last bit. Sums of scores that are equal on paper then compare otherwise, and texts get other ids:
# a trained tokenizer and the same one saved and loaded disagree.
#
# Who would meet it: who trains a Unigram tokenizer and encodes with the object at hand, or reads the file with another
# program; ids of long rules ("======") differ. zinf reads scores as the package does (src/text/unigram.c).
#
# Installs the wheel of tokenizers in a temporary folder; ends with 0 when the behaviour is as stated, 1 when it has
# changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/seen.py" <<'END'
import json
import random
import sys

import tokenizers
from tokenizers import Tokenizer, models

generator = random.Random(1)
scores = [-generator.uniform(1, 14) for _ in range(1000)]
vocabulary = [["<unk>", 0.0]] + [[chr(0x4e00 + at), score] for at, score in enumerate(scores)]
document = json.loads(Tokenizer(models.Unigram([tuple(one) for one in vocabulary], 0)).to_str())
given = [score for _, score in document["model"]["vocab"]]
loaded = json.loads(Tokenizer.from_str(json.dumps(document)).to_str())
found = [score for _, score in loaded["model"]["vocab"]]
others = [(a, b) for a, b in zip(given, found) if a != b]
print(f"tokenizers {tokenizers.__version__}: {len(others)} of {len(given)} scores are others after loading")
for a, b in others[:3]:
    print(repr(a), "became", repr(b))


def two_roundings(text):
    digits, _, fraction = text.partition(".")
    return float(int(digits + fraction)) / 10.0 ** len(fraction)


explained = all(b == two_roundings(repr(a)) for a, b in zip(given, found))
print("all are their digits divided by a power of ten:", explained)
sys.exit(0 if others and explained else 1)
END
python3 -m venv "$folder/environment" >/dev/null
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3
"$folder/environment/bin/python" "$folder/seen.py"
