#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Moments of 8 bits against fp32 moments: the same decks trained with both, and their last validation losses.

    regression/bench/moments.py --zinf build/zinf [--steps 2000] [--scratch FOLDER] [DECK...]

Default: inputs/quickstart.yaml, and the same with model.family=llama; both need the data that ./quickstart makes.
Exit code: 0, or 1 where a loss with 8 bits is more than --limit above that with fp32 (0.005: half a percent).
"""
import argparse
import csv
import os
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


def main():
    given = arguments()
    quickstart = os.path.join(TOP, "inputs", "quickstart.yaml")
    cases = [(deck, []) for deck in given.decks] or [(quickstart, []), (quickstart, ["model.family=llama"])]
    worse = 0
    for deck, sets in cases:
        losses = {}
        for moments in ("fp32", "8-bit"):
            with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
                every = [f"run.steps={given.steps}", f"optimizer.moments={moments}"]
                losses[moments] = last_loss(given.zinf, deck, every + sets + given.sets,
                                            os.path.join(scratch, "run"))
        change = losses["8-bit"] / losses["fp32"] - 1
        worse += change > given.limit
        print(f"{os.path.basename(deck)} {' '.join(sets)}: validation loss after {given.steps} steps "
              f"{losses['fp32']:.5f} with fp32 moments, {losses['8-bit']:.5f} with 8 bits: {100 * change:+.3f} %")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
