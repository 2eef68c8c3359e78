#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Draws what each lane does during one step of one rank, and says how long it works and waits.

    analysis/plot_timeline.py TRACE [--step N|initialize|save] [--rank N] [--from MS] [--to MS]
                              [--output timeline.png]

TRACE is a run directory, its trace.json, or the file of `zinf plan --trace`. A row per lane, a box per
operation, in the colour that the trace gives its kind; where several operations of a lane are in flight its
row is divided. Hatched: the compute lane stands still, and the colour is that of the lane that it waits for.
The table has, of each lane, the time in which at least one operation was at work, the time in which it had
none at work and waited for other lanes, and bytes moved per time at work; then the waits of the compute
lane by the lane that caused them. --from and --to cut out a part of the step.
"""
import argparse
import json
import os
import sys

import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch


class Palette:
    """Lanes in the order of their rows and kinds of operations, each with its colour, as the trace says."""

    def __init__(self, tables):
        if not {"lanes", "kinds"} <= set(tables):
            raise ValueError("it has no table of lanes and kinds; write it with this version of zinf")
        self.lanes, self.kinds = tables["lanes"], tables["kinds"]


def read(path):
    """The palette and the boxes of a trace: dictionaries with rank, step, lane, kind, row, start and end (ms),
    and what else the event says."""
    if os.path.isdir(path):
        path = os.path.join(path, "trace.json")
    with open(path) as file:
        trace = json.load(file)
    palette, boxes = Palette(trace.get("otherData", {})), []
    for event in trace["traceEvents"]:
        if event["ph"] != "X":
            continue
        box = dict(event["args"], kind=event["cat"], rank=event["pid"], row=event["tid"],
                   start=event["ts"] / 1e3, end=(event["ts"] + event["dur"]) / 1e3)
        if box["kind"] != "step" and box["lane"] not in palette.lanes:
            raise ValueError(f"no lane has the name {box['lane']}")
        boxes.append(box)
    return palette, boxes


def choose(boxes, step, rank):
    """Of one step of one rank (the last one, and the first rank, where not said), with times from its
    start on: its number, its length in ms, and its operations and waits."""
    steps = [box for box in boxes if box["kind"] == "step"]
    numbers = [box["step"] for box in steps if isinstance(box["step"], int)]
    if not steps or (not numbers and step is None):
        raise ValueError("no step was traced (run.trace is the number of steps, from the third on)")
    rank = min(box["rank"] for box in steps) if rank is None else rank
    step = max(numbers) if step is None else int(step) if str(step).isdigit() else step
    whole = [box for box in steps if (box["step"], box["rank"]) == (step, rank)]
    if not whole:
        names = sorted({box["step"] for box in steps} - set(numbers))
        known = [f"steps {min(numbers)} to {max(numbers)}"] if numbers else []
        raise ValueError(f"no step {step} of rank {rank}; there are {', '.join(known + names)} "
                         f"of {len({box['rank'] for box in steps})} ranks")
    zero, length = whole[0]["start"], whole[0]["end"] - whole[0]["start"]
    mine = [dict(box, start=box["start"] - zero, end=box["end"] - zero) for box in boxes
            if (box["step"], box["rank"]) == (step, rank) and box["kind"] != "step"]
    return step, rank, length, mine


def merged(spans):
    """Spans of time as few that do not touch."""
    result = []
    for start, end in sorted(spans):
        if result and start <= result[-1][1]:
            result[-1][1] = max(result[-1][1], end)
        elif end > start:
            result.append([start, end])
    return result


def total(spans):
    return sum(end - start for start, end in spans)


def lane_times(mine, lanes):
    """Of each lane that does something: operations, ms at work, ms waiting with nothing at work, bytes."""
    table = {}
    for lane in lanes:
        boxes = [box for box in mine if box["lane"] == lane]
        work = [box for box in boxes if box["kind"] != "wait"]
        if not work:
            continue
        busy = merged((box["start"], box["end"]) for box in work)
        asked = [(box["start"] - box["waited_us"] / 1e3, box["start"]) for box in work]
        asked += [(box["start"], box["end"]) for box in boxes if box["kind"] == "wait"]
        either = merged(asked + [tuple(span) for span in busy])
        table[lane] = (len(work), total(busy), total(either) - total(busy), sum(box["bytes"] for box in work))
    return table


def exposed(mine):
    """Waits of the compute lane: ms by the lane that it waited for, longest first."""
    sums = {}
    for box in mine:
        if box["kind"] == "wait" and box["lane"] == "compute":
            sums[box["waited_for"]] = sums.get(box["waited_for"], 0.0) + box["end"] - box["start"]
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def kind_colours(mine, palette):
    """In the order of the legend: kinds by lane and first use."""
    kinds = []
    for lane in palette.lanes:
        for box in sorted((b for b in mine if b["lane"] == lane), key=lambda b: b["start"]):
            if box["kind"] not in kinds and box["kind"] != "wait":
                kinds.append(box["kind"])
    return {kind: palette.kinds[kind] for kind in kinds}


def rectangle(box, low, height):
    return [(box["start"], low), (box["end"], low), (box["end"], low + height), (box["start"], low + height)]


def draw_lane(axes, boxes, place, palette, axis_ms):
    """A row around `place`, divided among the rows of the lane in the trace."""
    rows = sorted({box["row"] for box in boxes})
    height = 0.8 / len(rows)
    lows = {row: place - 0.4 + number * height for number, row in enumerate(rows)}
    axes.axhspan(place - 0.4, place + 0.4, color="#f5f5f5", zorder=0)
    groups = {}
    for box in boxes:
        groups.setdefault((box["kind"], box.get("waited_for") if box["kind"] == "wait" else None),
                          []).append(rectangle(box, lows[box["row"]], 0.94 * height))
    for (kind, cause), corners in groups.items():
        if kind == "wait":
            axes.add_collection(PolyCollection(corners, facecolors="white", edgecolors=palette.lanes[cause],
                                               hatch="//////", linewidths=0.4, zorder=2))
        else:
            # boxes of more than 4 pixels are set off from each other; those below one stay visible
            widths = [right[0] - left[0] for left, right, *_ in corners]
            edges = ["white" if width > axis_ms / 300 else palette.kinds[kind] for width in widths]
            lines = [0.3 if width > axis_ms / 300 or width < axis_ms / 1200 else 0.0 for width in widths]
            axes.add_collection(PolyCollection(corners, facecolors=palette.kinds[kind], edgecolors=edges,
                                               linewidths=lines, zorder=3))


def name_of(step):
    return f"step {step}" if isinstance(step, int) else step


def title_of(step, rank, length, waits):
    shares = [f"{lane} {100 * ms / length:.1f}%" for lane, ms in waits.items() if ms > 0.005 * length]
    standing = 100 * sum(waits.values()) / length
    return (f"{name_of(step)}, rank {rank}: {length:.4g} ms, the compute lane waits {standing:.1f}%"
            + (f" ({', '.join(shares)})" if shares else ""))


def draw(chosen, palette, window, output):
    step, rank, length, mine = chosen
    table, colours, waits = lane_times(mine, palette.lanes), kind_colours(mine, palette), exposed(mine)
    lanes = list(table)
    figure, axes = plt.subplots(figsize=(13, 1.5 + 0.62 * len(lanes)))
    for place, lane in enumerate(lanes):
        draw_lane(axes, [box for box in mine if box["lane"] == lane], place, palette,
                  window[1] - window[0])
        axes.text(1.008, place, f"{100 * table[lane][1] / length:.0f}% at work", fontsize=9, va="center",
                  transform=axes.get_yaxis_transform(), color="#4a5568")
    axes.set_yticks(range(len(lanes)))
    axes.set_yticklabels(lanes)
    axes.set_ylim(len(lanes) - 0.45, -0.55)
    axes.set_xlim(*window)
    axes.set_xlabel("ms from the start of the step")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e2e8f0", zorder=1)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.set_title(title_of(step, rank, length, waits), loc="left", fontsize=11)
    handles = [Patch(facecolor=colour, label=kind) for kind, colour in colours.items()]
    handles += [Patch(facecolor="white", edgecolor=palette.lanes[lane], hatch="//////", label=f"wait for {lane}")
                for lane in waits]
    columns = min(len(handles), 9)
    figure.tight_layout()
    axes.legend(handles=handles, ncol=columns, frameon=False, fontsize=9, loc="upper left",
                bbox_to_anchor=(-0.01, -0.62 / (0.62 * len(lanes))), handlelength=1.4, columnspacing=1.4)
    figure.savefig(output, dpi=130, bbox_inches="tight")


def print_table(chosen, lanes):
    step, rank, length, mine = chosen
    print(f"{name_of(step)} of rank {rank}: {length:.3f} ms")
    print(f"{'lane':<11}{'operations':>11}{'at work ms':>12}{'%':>7}{'waiting ms':>12}{'%':>7}{'GB':>9}{'GB/s':>8}")
    for lane, (count, busy, waiting, moved) in lane_times(mine, lanes).items():
        rate = f"{moved / busy / 1e6:8.2f}" if moved and busy > 0 else f"{'-':>8}"
        print(f"{lane:<11}{count:>11}{busy:>12.3f}{100 * busy / length:>7.1f}{waiting:>12.3f}"
              f"{100 * waiting / length:>7.1f}{moved / 1e9:>9.3f}{rate}")
    waits = exposed(mine)
    for lane, ms in waits.items():
        print(f"compute waits for {lane:<11}{ms:>12.3f} ms{100 * ms / length:>7.1f}%")
    print(f"compute waits in all{sum(waits.values()):>21.3f} ms{100 * sum(waits.values()) / length:>7.1f}%")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace")
    parser.add_argument("--step", help="as in steps.csv, or initialize, save or load; the last one of the trace")
    parser.add_argument("--rank", type=int, help="the first one")
    parser.add_argument("--from", type=float, default=0.0, dest="first", metavar="MS")
    parser.add_argument("--to", type=float, metavar="MS")
    parser.add_argument("--output", default="timeline.png", help="a name with .png, .svg or .pdf")
    options = parser.parse_args()
    try:
        palette, boxes = read(options.trace)
        chosen = choose(boxes, options.step, options.rank)
        window = (options.first, chosen[2] if options.to is None else options.to)
        if not 0 <= window[0] < window[1]:
            raise ValueError(f"nothing lies between {window[0]:g} and {window[1]:g} ms")
        draw(chosen, palette, window, options.output)
    except (OSError, KeyError, TypeError, ValueError) as error:
        sys.exit(f"{options.trace}: {error}")
    print_table(chosen, palette.lanes)
    print(options.output)


if __name__ == "__main__":
    main()
