#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the disk costs: one deck with every state in host memory, then with every state on NVMe, in alternation,
at given tokens a step. Prints medians of tokens/s, their ratio, and what the compute lane waited for.

    regression/bench/placement.py --zinf build/zinf --scratch /on/a/local/disk --model 124M \\
        --batch 4x1024x4 --batch 4x1024x16 [--bstar TOKENS] [--turns 3]

A batch is MICROxTOKENSxMICRO_BATCHES of one rank. With --bstar, the tokens a step at which arithmetic takes as long
as the traffic of the disk (`zinf plan` prints it), batches may be given in multiples of it: --multiple 1 --multiple 4,
of sequences of --tokens, at most --micro in a micro-batch. Without --bstar, --multiple asks `zinf plan` itself, for
the deck of the disk.
"""
import argparse
import os
import re
import statistics
import subprocess
import sys

import measure


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zinf", default="build/zinf")
    parser.add_argument("--scratch", default=".", help="folder on the disk that takes the states")
    parser.add_argument("--model", default="124M", choices=sorted(measure.SHAPES))
    parser.add_argument("--family", default="gpt2", choices=["gpt2", "llama"])
    parser.add_argument("--vocabulary", type=int, default=0)
    parser.add_argument("--batch", action="append", default=[], metavar="MICROxTOKENSxMICRO_BATCHES")
    parser.add_argument("--multiple", action="append", default=[], type=float, help="batches in units of b*")
    parser.add_argument("--bstar", type=float, help="b* in tokens a step")
    parser.add_argument("--machine", help="file of rates for `zinf plan`, as `zinf bench disk` writes it")
    parser.add_argument("--micro", type=int, default=8, help="most sequences of a micro-batch, for --multiple")
    parser.add_argument("--tokens", type=int, default=128, help="length of a sequence, for --multiple")
    parser.add_argument("--memory-tier", default="host", choices=["host", "device"],
                        help="where states are when not on disk")
    parser.add_argument("--keep", action="append", default=[], choices=measure.STATES,
                        help="states that stay in memory in both")
    parser.add_argument("--recompute", default="always", choices=["always", "never", "auto"])
    parser.add_argument("--memory-set", action="append", default=[], help="--set of the runs in memory")
    parser.add_argument("--disk-set", action="append", default=[], help="--set of the runs on disk")
    parser.add_argument("--set", action="append", default=[], help="--set of both, as SECTION.KEY=VALUE")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5, help="counted steps of a run")
    parser.add_argument("--warm-up", type=int, default=2)
    return parser.parse_args()


def make_deck(options, place, model, batch, on_disk):
    placement = {state: "nvme" if on_disk and state not in options.keep else options.memory_tier
                 for state in measure.STATES}
    return place.deck(model, measure.batch_section(*batch), options.warm_up + options.steps,
                      zero={"stage": 3}, placement=placement, activations={"recompute": options.recompute},
                      device={"threads": options.threads})


def ask_plan(options, place, model):
    """b* of the deck on disk, as `zinf plan` prints it."""
    batch = [options.micro, options.tokens, 1]
    command = [options.zinf, "plan", place.write_deck(make_deck(options, place, model, batch, True))]
    for value in options.set + options.disk_set:
        command += ["--set", value]
    if options.machine:
        command += ["--machine", options.machine]
    done = subprocess.run(command, capture_output=True, text=True)
    match = re.search(r"b\*: ([0-9]+) tokens", done.stdout)
    if done.returncode != 0 or not match or match.group(1) == "0":
        sys.exit(f"zinf plan does not say b*; give it with --bstar\n{done.stdout}{done.stderr}")
    return int(match.group(1))


def all_batches(options, place, model):
    """The batches to time, and b* or None."""
    batches = [measure.read_batch(text) for text in options.batch]
    bstar = options.bstar
    if options.multiple:
        bstar = bstar or ask_plan(options, place, model)
        print(f"b* {bstar:.0f} tokens a step")
        for multiple in options.multiple:
            sequences = max(1, round(multiple * bstar / options.tokens))
            micro_batches = -(-sequences // options.micro)
            batches.append([round(sequences / micro_batches), options.tokens, micro_batches])
    if not batches:
        sys.exit("give --batch, or --multiple with or without --bstar")
    return batches, bstar


class Side:
    """Runs of one placement."""

    def __init__(self, name):
        self.name, self.speeds, self.waits, self.shares, self.peaks = name, [], [], [], []

    def add(self, run, warm_up):
        seconds = run.seconds(warm_up)
        waits = run.waits(warm_up)
        self.speeds.append(run.tokens_per_step() / statistics.median(seconds))
        self.waits.append(sum(waits.values()))
        self.shares.append(100 * self.waits[-1] / statistics.mean(seconds))
        self.peaks.append(run.peak_bytes / measure.GIB)
        reasons = ", ".join(f"{lane} {wait:.3f}" for lane, wait in waits.items() if wait > 0.0005)
        print(f"    {self.name:6} {statistics.median(seconds):.3f} s/step ({min(seconds):.3f} to {max(seconds):.3f}), "
              f"{self.speeds[-1]:.1f} tokens/s, compute waited {self.waits[-1]:.3f} s/step ({self.shares[-1]:.1f} %)"
              f"{': ' + reasons if reasons else ''}; peak {self.peaks[-1]:.2f} GiB", flush=True)

    def cells(self):
        return [f"{statistics.median(self.speeds):.1f}",
                f"{statistics.median(self.waits):.2f} ({statistics.median(self.shares):.1f} %)",
                f"{statistics.median(self.peaks):.2f}"]


def compare(options, place, model, batch):
    memory, disk = Side("memory"), Side("disk")
    sets = {memory: options.set + options.memory_set, disk: options.set + options.disk_set}
    for turn in range(options.turns):
        print(f"  turn {turn + 1}:", flush=True)
        # Either goes first in turn, so that neither always meets the warmer machine.
        for side in (memory, disk) if turn % 2 == 0 else (disk, memory):
            deck = make_deck(options, place, model, batch, side is disk)
            side.add(measure.run_zinf(options.zinf, place, deck, sets[side]), options.warm_up)
    ratios = [below / above for below, above in zip(disk.speeds, memory.speeds)]
    return memory.cells() + disk.cells() + [measure.median_range(ratios, "{:.3f}")]


def main():
    options = arguments()
    model = measure.model_section(options.model, options.family, vocabulary=options.vocabulary)
    model["context"] = max([1024, options.tokens] + [measure.read_batch(text)[1] for text in options.batch])
    rows = []
    with measure.Workplace(options.scratch) as place:
        batches, bstar = all_batches(options, place, model)
        for batch in batches:
            micro, tokens, micro_batches = batch
            print(f"{options.family} {options.model}, {measure.model_parameters(model):,} parameters, "
                  f"{micro_batches} x {micro} x {tokens} = {micro * tokens * micro_batches} tokens a step",
                  flush=True)
            count = micro * tokens * micro_batches
            rows.append([f"{micro_batches} x {micro} x {tokens}",
                         f"{count} ({count / bstar:.2f} b*)" if bstar else count]
                        + compare(options, place, model, batch))
    print(measure.table(
        ["micro-batches x sequences x tokens", "tokens a step", "memory tokens/s", "waited s/step", "peak GiB",
         "NVMe tokens/s", "waited s/step", "peak GiB", "NVMe : memory"], rows))


if __name__ == "__main__":
    main()
