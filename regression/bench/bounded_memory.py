#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Trains models of growing size for a few steps on one rank inside a memory cgroup, every state on NVMe: the kernel,
not zinf, holds memory below the limit. Prints (and writes, with --output) a Markdown table.

    regression/bench/bounded_memory.py --zinf build/zinf --scratch /on/a/local/disk --limit "2 GiB" \\
        [--size 0.35B --size 0.76B --size 1.3B --size 2.7B --size 4B] [--family llama] [--output table.md]

Tiles are cut so that the largest has the same number of parameters (--tile) in all sizes, and a micro-batch is one
sequence of --tokens; so memory should not grow with the model. (gpt2 ties the head to the embedding, whose whole fp32
gradient is kept from the backward pass of the one to that of the other: this does grow. llama has none.) A peak with
page cache may come near the limit, since the kernel gives cache back only then; the anonymous memory, sampled, is what
the program holds.

With --control, the group must kill a process that takes more, and the smallest size with its states in memory must not
run in it. Exit code: 0, 1 where a run fails, 77 where there is no cgroup or no disk space.
"""
import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys

import cgroup
import measure

UNITS = {"MiB": 2**20, "GiB": 2**30, "MB": 10**6, "GB": 10**9}
SKIPPED = 77
# Bytes on disk per parameter: parameter, remainder, two moments, gradient; and some for padding and activations.
DISK_BYTES = 14 * 1.02


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zinf", default="build/zinf")
    parser.add_argument("--scratch", default=".", help="folder on the disk that takes the states")
    parser.add_argument("--size", action="append", choices=sorted(measure.SHAPES))
    parser.add_argument("--family", default="llama", choices=["gpt2", "llama"])
    parser.add_argument("--vocabulary", type=int, default=0)
    parser.add_argument("--limit", default="2 GiB", help="of the cgroup")
    parser.add_argument("--device-memory", default="1 GiB")
    parser.add_argument("--host-memory", default="640 MiB")
    parser.add_argument("--tile", type=int, default=4 << 20, help="parameters of the largest tile")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--control", action="store_true", help="show that the limit is real")
    parser.add_argument("--output", help="file for the table")
    return parser.parse_args()


def read_bytes(text):
    match = re.fullmatch(r"([0-9.]+) *(\w+)", text)
    if not match or match.group(2) not in UNITS:
        sys.exit(f"{text}: expected a size in {', '.join(UNITS)}")
    return int(float(match.group(1)) * UNITS[match.group(2)])


def make_deck(options, place, model, tier):
    deck = place.deck(model, measure.batch_section(1, options.tokens, 1), options.steps,
                      zero={"stage": 3}, placement={state: tier for state in measure.STATES},
                      activations={"recompute": "always"}, device={"threads": options.threads})
    if tier == "nvme":
        deck["memory"] = {"device": options.device_memory, "host": options.host_memory}
        deck["tiling"] = measure.tiles_for(model, options.tile)
    return deck


def run_in_group(options, place, model, tier):
    """The run, the group's peak with cache, and its anonymous peak."""
    with cgroup.MemoryGroup(read_bytes(options.limit)) as group:
        run = measure.run_zinf(options.zinf, place, make_deck(options, place, model, tier), options.set,
                               before=group.prefix(), watch=group.sample, may_fail=True)
        return run, group.peak(), group.anonymous_peak


def mebibytes(number):
    return "unknown" if number is None else f"{number / 2**20:.0f}"


def measure_size(options, place, name):
    """Cells of a row, or None where the run fails."""
    model = measure.model_section(name, options.family, options.tokens, options.vocabulary)
    parameters = measure.model_parameters(model)
    needed, free = parameters * DISK_BYTES, shutil.disk_usage(place.scratch).free
    if needed > free:
        print(f"{name}: needs {needed / measure.GIB:.1f} GiB on disk, {free / measure.GIB:.1f} are free: skipped")
        return []
    run, peak, anonymous = run_in_group(options, place, model, "nvme")
    if run.code != 0 or len(run.steps) != options.steps:
        print(f"{name}: exit code {run.code} after {len(run.steps)} steps"
              + (" (killed: the limit was reached)" if run.code == 137 else "")
              + f"\n{run.output[-3000:]}{run.errors[-3000:]}")
        return None
    tiles = measure.tiles_for(model, options.tile)
    row = [f"{parameters / 1e9:.3f}", f"{14 * parameters / measure.GIB:.2f}",
           f"{tiles['attention']}, {tiles['mlp']}, {tiles['vocabulary']}", mebibytes(peak), mebibytes(anonymous),
           mebibytes(run.peak_bytes), f"{statistics.median(run.seconds(0)):.2f}"]
    print(f"{name}: " + ", ".join(row), flush=True)
    return row


def control(options, place, name):
    """Whether the group is real: it kills a process that takes more, and the deck in memory cannot run in it."""
    taker = [sys.executable, "-c", f"b'x' * {2 * read_bytes(options.limit)}"]
    with cgroup.MemoryGroup(read_bytes(options.limit)) as group:
        killed = subprocess.run(group.prefix() + taker, stderr=subprocess.DEVNULL)
        peak = group.peak()
    print(f"a process that takes twice the limit: exit code {killed.returncode}, peak {mebibytes(peak)} MiB")
    model = measure.model_section(name, options.family, options.tokens, options.vocabulary)
    run, peak, _ = run_in_group(options, place, model, "host")
    print(f"{name} with its states in memory, in the same group: exit code {run.code} after {len(run.steps)} steps, "
          f"peak {mebibytes(peak)} MiB")
    return killed.returncode != 0 and run.code != 0


def main():
    options = arguments()
    sizes = options.size or ["0.35B", "0.76B", "1.3B", "2.7B", "4B"]
    rows = []
    try:
        with measure.Workplace(options.scratch) as place:
            for name in sizes:
                row = measure_size(options, place, name)
                if row is None:
                    return 1
                if row:
                    rows.append(row)
            if options.control and not control(options, place, sizes[0]):
                print("what should not fit survived: the limit proves nothing")
                return 1
    except cgroup.NoCgroup as reason:
        print(f"skipped: {reason}")
        return SKIPPED
    text = measure.table(
        ["parameters (10^9)", "state (GiB)", "tiles: attention, MLP, vocabulary", "cgroup peak with cache (MiB)",
         "anonymous peak (MiB)", "peak RSS of the process (MiB)", "s/step"], rows)
    print(text)
    if options.output:
        with open(options.output, "w") as file:
            file.write(text + "\n")
    return 0 if len(rows) == len(sizes) else SKIPPED


if __name__ == "__main__":
    sys.exit(main())
