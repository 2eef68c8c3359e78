#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Draws where the time of a run goes, from rank 0's timings.

    analysis/plot_timings.py RUN [--output timings.png]

RUN is a run directory, its timings.csv, or its run.h5. Above: one stacked bar per row of the table of
timings (an interval of run.report_every steps), the seconds of a step by operation of the compute lane,
and the rest, which that lane waited. Below: of each lane, the share of the run in which it worked and in which it
waited for others.
"""
import argparse
import csv
import os
import re
import sys

import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt

WAIT_COLOUR = "#cbd5e0"


def read_csv(path):
    """A line without its end, as a run in progress may have it for a moment, is no row yet."""
    with open(path, newline="") as file:
        whole = (line for line in file if line.endswith("\n"))
        return [(int(row["step"]), row["lane"], row["kind"], float(row["seconds"]),
                 float(row["wait_seconds"])) for row in csv.DictReader(whole)]


def codes(dataset):
    """Names by number, from the text of a column: "0 compute, 1 comm"."""
    text = dataset.attrs["unit"]
    text = text.decode() if isinstance(text, bytes) else text
    return {int(number): name for number, name in re.findall(r"(\d+) (\w+)", text)}


def read_record(path):
    import h5py
    with h5py.File(path, "r") as file:
        table = file["timings"]
        lanes, kinds = codes(table["lane"]), codes(table["kind"])
        columns = [table[name][:] for name in ("step", "lane", "kind", "seconds", "wait_seconds")]
    return [(int(step), lanes[int(lane)], kinds[int(kind)], float(seconds), float(wait))
            for step, lane, kind, seconds, wait in zip(*columns)]


def read(path):
    if os.path.isdir(path):
        path = os.path.join(path, "timings.csv")
    return read_record(path) if path.endswith(".h5") else read_csv(path)


def sums(rows):
    """Seconds by interval, lane and kind, and waits by interval and lane; steps that end intervals."""
    work, wait = {}, {}
    for step, lane, kind, seconds, waited in rows:
        key = (step, lane)
        work.setdefault(key, {})
        work[key][kind] = work[key].get(kind, 0.0) + seconds
        wait[key] = wait.get(key, 0.0) + waited
    return work, wait, sorted({row[0] for row in rows})


def draw_intervals(axes, work, wait, steps):
    """Bars of the compute lane, in seconds of a step; bar widths are the steps of an interval."""
    widths = [step - before for step, before in zip(steps, [0] + steps[:-1])]
    middles = [step - width / 2 for step, width in zip(steps, widths)]
    parts = [work.get((step, "compute"), {}) for step in steps]
    kinds = sorted({kind for part in parts for kind in part},
                   key=lambda kind: -sum(part.get(kind, 0.0) for part in parts))
    base = [0.0] * len(steps)
    palette = plt.get_cmap("tab10")
    layers = [(kind, [part.get(kind, 0.0) for part in parts], palette(number % 10))
              for number, kind in enumerate(kinds)]
    layers.append(("waiting", [wait.get((step, "compute"), 0.0) for step in steps], WAIT_COLOUR))
    for name, seconds, colour in layers:
        heights = [value / width for value, width in zip(seconds, widths)]
        axes.bar(middles, heights, width=[0.92 * width for width in widths], bottom=base,
                 color=colour, label=name)
        base = [low + height for low, height in zip(base, heights)]
    axes.set_xlabel("step")
    axes.set_ylabel("compute lane: seconds per step")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return base


def draw_lanes(axes, work, wait, steps):
    """Of each lane, seconds at work and waiting, over all intervals, beside the compute lane's sum."""
    lanes = sorted({lane for _, lane in work}, key=lambda lane: (lane != "compute", lane))
    busy = {lane: sum(sum(work.get((step, lane), {}).values()) for step in steps) for lane in lanes}
    idle = {lane: sum(wait.get((step, lane), 0.0) for step in steps) for lane in lanes}
    whole = max(busy[lane] + idle[lane] for lane in lanes) or 1.0
    places = range(len(lanes))
    working = [100 * busy[lane] / whole for lane in lanes]
    axes.barh(places, working, color="#2b6cb0", label="working")
    axes.barh(places, [100 * idle[lane] / whole for lane in lanes], left=working, color=WAIT_COLOUR,
              label="waiting for other lanes")
    for place, lane in zip(places, lanes):
        inside = working[place] > 12
        axes.text(1 if inside else working[place] + 1, place, f"{busy[lane]:.3g} s", va="center",
                  color="white" if inside else "black", fontsize=9)
    axes.set_yticks(list(places))
    axes.set_yticklabels(lanes)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the time of the busiest lane")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def draw(rows, output):
    work, wait, steps = sums(rows)
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(9, 6.5), gridspec_kw={"height_ratios": [3, 2]})
    heights = draw_intervals(top, work, wait, steps)
    draw_lanes(bottom, work, wait, steps)
    figure.tight_layout()
    figure.savefig(output, dpi=120)
    return len(steps), heights


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--output", default="timings.png")
    options = parser.parse_args()
    try:
        rows = read(options.run)
    except (OSError, KeyError, ValueError) as error:
        sys.exit(f"{options.run}: {error}")
    if not rows:
        sys.exit(f"{options.run}: no timings yet")
    intervals, heights = draw(rows, options.output)
    print(f"{options.output}: {intervals} intervals, {heights[-1]:.4g} s per step in the last")


if __name__ == "__main__":
    main()
