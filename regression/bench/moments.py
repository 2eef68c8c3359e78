#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Moments of 8 bits against fp32 moments: the same decks trained with both, and their last validation losses.

    regression/bench/moments.py --zinf build/zinf [--steps 2000] [--seed N]... [--scratch FOLDER] [DECK...]

Default: inputs/quickstart.yaml, and the same with model.family=llama; both need the data that ./quickstart makes.
With several seeds (initial values, order of the data) each is trained with both, and their means are compared: how far
runs of fp32 moments lie apart from seed to seed says how much of a difference is chance.
Exit code: 0, or 1 where a mean loss with 8 bits is more than --limit above that with fp32 (0.005: half a percent).
"""
import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("decks", nargs="*", metavar="DECK", help="with a validation file")
    parser.add_argument("--zinf", default="build/zinf")
    parser.add_argument("--scratch", default=".", help="folder for the runs")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", action="append", type=int, dest="seeds", help="run.seed; may be given again")
    parser.add_argument("--limit", type=float, default=0.005)
    parser.add_argument("--set", action="append", default=[], dest="sets", metavar="SECTION.KEY=VALUE")
    return parser.parse_args()


def last_loss(zinf, deck, sets, folder):
    """The last validation loss of a run."""
    command = [zinf, "run", deck, "--set", f"run.directory={folder}"]
    for pair in sets:
        command += ["--set", pair]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}:\n{done.stdout[-2000:]}")
    with open(os.path.join(folder, "steps.csv"), encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["validation_loss"]]
    if not rows:
        sys.exit(f"{deck} validates nothing; give data.validation")
    return float(rows[-1]["validation_loss"])


def train_both(given, deck, sets):
    """Last losses of a deck with either kind of moments."""
    losses = {}
    for moments in ("fp32", "8-bit"):
        with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
            every = [f"run.steps={given.steps}", f"optimizer.moments={moments}"]
            losses[moments] = last_loss(given.zinf, deck, every + sets + given.sets, os.path.join(scratch, "run"))
    return losses


def report(label, fp32, blocks):
    """Prints two losses; gives how much larger that with 8 bits is, relative."""
    change = blocks / fp32 - 1
    print(f"{label}: {fp32:.5f} with fp32 moments, {blocks:.5f} with 8 bits: {100 * change:+.3f} %", flush=True)
    return change


def main():
    given = arguments()
    quickstart = os.path.join(TOP, "inputs", "quickstart.yaml")
    cases = [(deck, []) for deck in given.decks] or [(quickstart, []), (quickstart, ["model.family=llama"])]
    worse = 0
    for deck, sets in cases:
        label = " ".join([os.path.basename(deck), *sets, f"after {given.steps} steps"])
        every = []
        for seed in given.seeds or [None]:
            every.append(train_both(given, deck, sets + ([] if seed is None else [f"run.seed={seed}"])))
            change = report(label if seed is None else f"{label}, seed {seed}", every[-1]["fp32"], every[-1]["8-bit"])
        if len(every) > 1:
            fp32 = [losses["fp32"] for losses in every]
            mean = statistics.mean(fp32)
            change = report(f"{label}, mean", mean, statistics.mean(losses["8-bit"] for losses in every))
            print(f"{label}: fp32 moments from seed to seed: {100 * (max(fp32) - min(fp32)) / mean:.3f} %", flush=True)
        worse += change > given.limit
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
