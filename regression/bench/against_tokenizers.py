#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How fast zinf encodes texts against the tokenizers package, one thread each.

    tokenize.py --build BUILD [--turns 5] [--size 16000] [--megabytes 10] [--kind gpt2 ...]

Needs the packages tokenizers and sentencepiece, and BUILD/regression/text/encode (make regression/text/encode). The
texts are those of regression/checks/text_against_tokenizers.py: documents, sources, and random characters in 7 % of
them. A tokenizer of each kind is trained on them, then both sides encode all texts in alternation, in new processes,
without special tokens: the package by encode_batch_fast, which keeps no places, with TOKENIZERS_PARALLELISM=false. Only
encoding is timed, with cold caches of words. Prints medians in MB/s, and the median of the ratios of neighbours.
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PEER = """
import sys, time
from tokenizers import Tokenizer
own = Tokenizer.from_file(sys.argv[1])
data, texts, at = open(sys.argv[2], "rb").read(), [], 0
while at < len(data):
    size = int.from_bytes(data[at:at + 8], "little")
    texts.append(data[at + 8:at + 8 + size].decode())
    at += 8 + size
begun = time.perf_counter()
made = own.encode_batch_fast(texts, add_special_tokens=False)
spent = time.perf_counter() - begun
print(spent, sum(len(one) for one in made))
"""


def seconds(command):
    """What a side prints: seconds and number of ids."""
    found = subprocess.run(command, check=True, capture_output=True, text=True,
                           env=dict(os.environ, TOKENIZERS_PARALLELISM="false")).stdout.split()
    return float(found[0]), int(found[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--size", type=int, default=16000)
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--kind", action="append")
    given = parser.parse_args()
    os.environ["abs_top_srcdir"] = os.path.dirname(os.path.dirname(HERE))
    os.environ["ZINF_TEXT_MB"] = str(given.megabytes)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    sys.path[:0] = [os.path.join(HERE, "..", "checks"), os.path.join(HERE, "..", "text")]
    import kinds
    import text_against_tokenizers as check
    texts = check.documents()
    lines = [line for text in texts for line in text.split("\n")][:60000]
    program = os.path.join(given.build, "regression", "text", "encode")
    print("| kind | tokenizers, MB/s | zinf, MB/s | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        check.Zinf(folder, texts)
        file, tokenizer = os.path.join(folder, "texts"), os.path.join(folder, "own.json")
        size = os.path.getsize(file) / 1e6
        for kind in kinds.KINDS:
            if given.kind and kind.__name__ not in given.kind:
                continue
            kind(given.size, lines if kind.__name__ not in ("t5", "albert") else lines[:6000]).save(tokenizer)
            turns = [(seconds([sys.executable, "-c", PEER, tokenizer, file]), seconds([program, tokenizer, file]))
                     for _ in range(given.turns)]
            if any(peer[1] != own[1] for peer, own in turns):
                sys.exit(f"{kind.__name__}: the numbers of ids differ: {turns[0]}")
            peer = size / statistics.median(peer[0] for peer, own in turns)
            own = size / statistics.median(own[0] for peer, own in turns)
            ratio = statistics.median(peer[0] / own[0] for peer, own in turns)
            print(f"| {kind.__name__} | {peer:.2f} | {own:.1f} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()
