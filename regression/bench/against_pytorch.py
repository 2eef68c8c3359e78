#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Times a zinf deck against a PyTorch script in alternation and prints medians and their ratio.

    regression/bench/against_pytorch.py --zinf build/zinf --deck inputs/gpt2-124m.yaml \\
        --peer 'THREADS=2 DTYPE=fp32 python torch_step.py' [--set precision.compute=fp32]... [--ranks 1]

The peer is any command that prints one line with "<seconds> s/step"; it must train the same model
with as many tokens a step. Each turn runs zinf, then the peer, so that a drift of the machine's speed
meets both. The first steps of a run (warm-up) are not counted.
"""
import argparse
import csv
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zinf", default="build/zinf")
    parser.add_argument("--deck", required=True)
    parser.add_argument("--peer", help="shell command; without it zinf is timed alone")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--warm-up", type=int, default=2)
    return parser.parse_args()


def run_zinf(options):
    """Seconds per counted step, and the last progress line."""
    folder = tempfile.mkdtemp(prefix="zinf-bench-")
    sets = [f"run.steps={options.steps}", f"run.directory={folder}/run", "checkpoint.final=no",
            "checkpoint.every=never",
            "data.validation=", "data.validation_every=never"] + options.set
    command = [options.zinf, "run", options.deck]
    for value in sets:
        command += ["--set", value]
    if options.ranks > 1:
        command = [os.getenv("MPIEXEC", "mpiexec.mpich"), "-n", str(options.ranks)] + command
    try:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"zinf failed with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
        with open(f"{folder}/run/steps.csv", newline="") as file:
            rows = list(csv.DictReader(file))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    tokens = float(rows[-1]["tokens"]) / len(rows)
    lines = [line for line in done.stdout.splitlines() if "peak" in line]
    return [float(row["seconds"]) for row in rows[options.warm_up:]], tokens, lines


def run_peer(command):
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    match = re.search(r"([0-9.]+) s/step", done.stdout)
    if done.returncode != 0 or not match:
        sys.exit(f"the peer failed: {command}\n{done.stdout}{done.stderr}")
    return float(match.group(1)), done.stdout.strip().splitlines()[-1]


def main():
    options = arguments()
    ours, theirs, ratios = [], [], []
    for turn in range(options.turns):
        seconds, tokens, lines = run_zinf(options)
        median = statistics.median(seconds)
        ours.append(median)
        print(f"turn {turn + 1}: zinf {median:.3f} s/step (min {min(seconds):.3f}, max {max(seconds):.3f})"
              f" {tokens / median:.1f} tokens/s", flush=True)
        for line in lines[-1:]:
            print("   ", line.strip())
        if options.peer:
            peer, text = run_peer(options.peer)
            theirs.append(peer)
            ratios.append(peer / median)
            print(f"    peer: {text}\n    ratio of tokens/s, zinf to peer: {peer / median:.2f}",
                  flush=True)
    print(f"zinf: median {statistics.median(ours):.3f} s/step, {tokens / statistics.median(ours):.1f} "
          f"tokens/s over {options.turns} turns")
    if theirs:
        print(f"peer: median {statistics.median(theirs):.3f} s/step, "
              f"{tokens / statistics.median(theirs):.1f} tokens/s; ratio {statistics.median(ratios):.2f}"
              f" ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
