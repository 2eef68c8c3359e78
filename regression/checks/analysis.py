#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The scripts of analysis/ on made-up runs: what they read from CSV and from HDF5 is what was written, the
pictures are there, and what is no run is refused with a message. Skipped where h5py or matplotlib is not.
"""
import contextlib
import gzip
import importlib.util
import io
import json
import math
import os
import subprocess
import sys
import tempfile

try:
    import h5py
    import matplotlib.image
    import numpy as np
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

ANALYSIS = os.path.join(os.environ.get("top_srcdir", "."), "analysis")
STEPS = ["step", "tokens", "loss", "gradient_norm", "learning_rate", "seconds", "tokens_per_s",
         "skipped", "checksum", "validation_loss", "wait_compute", "wait_comm", "wait_link_in", "wait_link_out",
         "wait_disk_read", "wait_disk_write", "wait_host", "disk_read_bytes", "disk_written_bytes",
         "io_read_bytes", "io_written_bytes"]
TIMINGS = ["step", "lane", "kind", "count", "seconds", "wait_seconds", "bytes"]
TIMED_LANES, TIMED_KINDS = ["compute", "comm"], ["forward", "backward", "gather"]
failures = []


def check(condition, what):
    if not condition:
        failures.append(what)


def load(name):
    spec = importlib.util.spec_from_file_location(name, os.path.join(ANALYSIS, name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_run(folder):
    steps = [[i, 64 * i, 5.0 - 0.25 * i, 1.0 / i, 1e-3 * i, 0.5, 128.0, 0, i,
              4.5 - 0.25 * i if i % 2 == 0 else math.nan] + [0.01] * 7 + [4096, 0, 4096, -1]
             for i in range(1, 7)]
    timings = [[step, lane, kind, 3, seconds, wait, 8.0]
               for step in (2, 4) for lane, kind, seconds, wait in
               ((0, 0, 1.0, 0.25), (0, 1, 2.0, 0.5), (1, 2, 0.75, 1.5))]
    with open(f"{folder}/steps.csv", "w") as file:
        file.write(",".join(STEPS) + "\n")
        for row in steps:
            fields = ["" if isinstance(value, float) and math.isnan(value) else f"{value:.9g}"
                      for value in row]
            fields[8] = f"{row[8]:016x}"
            file.write(",".join(fields) + "\n")
    with open(f"{folder}/timings.csv", "w") as file:
        file.write(",".join(TIMINGS) + "\n")
        for row in timings:
            names = [row[0], TIMED_LANES[row[1]], TIMED_KINDS[row[2]]] + row[3:]
            file.write(",".join(str(value) for value in names) + "\n")
    with h5py.File(f"{folder}/run.h5", "w") as file:
        for group, names, rows in (("steps", STEPS, steps), ("timings", TIMINGS, timings)):
            for number, name in enumerate(names):
                file[f"{group}/{name}"] = np.array([row[number] for row in rows])
        file["timings/lane"].attrs["unit"] = ", ".join(f"{i} {n}" for i, n in enumerate(TIMED_LANES))
        file["timings/kind"].attrs["unit"] = ", ".join(f"{i} {n}" for i, n in enumerate(TIMED_KINDS))
    return steps


def test_loss(folder, steps):
    plot = load("plot_loss")
    for source in (folder, f"{folder}/steps.csv", f"{folder}/run.h5"):
        run = plot.read(source)
        check(list(run["loss"]) == [row[2] for row in steps], f"losses of {source}")
        check([bool(math.isnan(value)) for value in run["validation_loss"]] ==
              [row[0] % 2 == 1 for row in steps], f"validation of {source}")


def test_timings(folder):
    plot = load("plot_timings")
    for source in (folder, f"{folder}/timings.csv", f"{folder}/run.h5"):
        work, wait, ends = plot.sums(plot.read(source))
        check(ends == [2, 4], f"steps of {source}")
        check(work[2, "compute"] == {"forward": 1.0, "backward": 2.0}, f"work of {source}")
        check(wait == {(2, "compute"): 0.75, (2, "comm"): 1.5, (4, "compute"): 0.75, (4, "comm"): 1.5},
              f"waits of {source}")
    _, heights = plot.draw(plot.read(folder), f"{folder}/bars.png")
    # 1 + 2 seconds of work and 0.75 of waiting in two steps
    check(heights == [1.875, 1.875], f"heights {heights}")


def test_in_progress(folder):
    """A run that is being written: the last line is cut anywhere, and the last row is in some columns only."""
    make_run(folder)
    loss, timings = load("plot_loss"), load("plot_timings")
    for name, plot, read, rows in (("steps.csv", loss, lambda path: len(loss.read(path)["step"]), 5),
                                   ("timings.csv", timings, lambda path: len(timings.read(path)), 5)):
        with open(f"{folder}/{name}") as file:
            text = file.read()
        last = text[:-1].rindex("\n") + 1
        for end in range(last, len(text)):
            with open(f"{folder}/{name}", "w") as file:
                file.write(text[:end])
            check(read(f"{folder}/{name}") == rows, f"{name} cut at {end - last} of {len(text) - last}")
    with h5py.File(f"{folder}/run.h5", "a") as file:
        for group, name in (("steps", "validation_loss"), ("timings", "wait_seconds")):
            values = file[group][name][:-1]
            del file[group][name]
            file[group][name] = values
    run = loss.read(f"{folder}/run.h5")
    check({len(column) for column in run.values()} == {5}, "columns of different lengths")
    check(len(timings.read(f"{folder}/run.h5")) == 5, "timings of different lengths")
    loss.draw(run, f"{folder}/progress.png")
    timings.draw(timings.read(f"{folder}/timings.csv"), f"{folder}/progress.png")


# Of a step of 10 ms: lane, row, kind, asked for, start, end (ms), lane waited for. The second read begins
# before the first is done; the compute lane waits 1 + 2 ms for reads and, at the end, 0.5 for a store.
TRACED = [("disk_read", 6, "load", 0.0, 0.0, 1.0, None), ("disk_read", 13, "load", 0.5, 0.5, 5.0, None),
          ("compute", 1, "wait", 0.0, 0.0, 1.0, "disk_read"), ("compute", 1, "forward", 0.0, 1.0, 3.0, "disk_read"),
          ("compute", 1, "wait", 3.0, 3.0, 5.0, "disk_read"), ("compute", 1, "backward", 3.0, 5.0, 9.5, "disk_read"),
          ("host", 8, "adam", 0.0, 6.0, 7.0, "compute"), ("disk_write", 7, "store", 2.0, 9.0, 10.0, "host"),
          ("compute", 1, "wait", 9.5, 9.5, 10.0, "disk_write")]


LANES = {"compute": "#525252", "disk_read": "#e6550d", "disk_write": "#a63603", "host": "#a50f15"}
KINDS = {"load": "#101112", "forward": "#205080", "backward": "#80a020", "adam": "#a01010", "store": "#d94801"}


def make_trace(path):
    """Two ranks, steps 3 and 4; step 4 of rank 1 is TRACED, the others are twice as long."""
    events = [{"ph": "M", "pid": 0, "name": "process_name", "args": {"name": "rank 0"}}]
    for rank, step in ((0, 3), (0, 4), (1, 3), (1, 4)):
        scale, zero = 1e3 * (1 if (rank, step) == (1, 4) else 2), 1e6 * step
        events.append({"ph": "X", "pid": rank, "tid": 0, "cat": "step", "name": f"step {step}", "ts": zero,
                       "dur": 10 * scale, "args": {"step": step}})
        for lane, row, kind, ready, start, end, cause in TRACED:
            known = {"step": step, "lane": lane}
            if cause:
                known["waited_for"] = cause
            if kind != "wait":
                known.update(op=1, subject="blocks.0.mlp", micro=0, bytes=2000000, flops=1e6,
                             waited_us=scale * (start - ready))
            events.append({"ph": "X", "pid": rank, "tid": row, "cat": kind, "name": kind, "args": known,
                           "ts": zero + scale * start, "dur": scale * (end - start)})
    with open(path, "w") as file:
        json.dump({"otherData": {"lanes": LANES, "kinds": KINDS}, "traceEvents": events}, file)


def near(found, expected):
    """Times are sums of a few numbers that are exact to 1e-9 of a second at 4 seconds."""
    return len(found) == len(expected) and all(abs(a - b) < 1e-6 for a, b in zip(found, expected))


def test_timeline(folder):
    plot = load("plot_timeline")
    make_trace(f"{folder}/trace.json")
    palette, boxes = plot.read(folder)
    check(boxes == plot.read(f"{folder}/trace.json")[1], "a folder and its trace.json")
    check((palette.lanes, palette.kinds) == (LANES, KINDS), "lanes and kinds of the trace")
    step, rank, length, mine = plot.choose(boxes, 4, 1)
    check((step, rank, len(mine)) == (4, 1, len(TRACED)) and near([length], [10.0]), f"step 4: {length}")
    check(plot.choose(boxes, None, None)[:2] == (4, 0), "the last step of the first rank")
    check(near([plot.choose(boxes, 3, 1)[2]], [20.0]), "step 3 of rank 1")
    table = plot.lane_times(mine, palette.lanes)
    # operations, ms at work, ms waiting, bytes; the second read starts in the first and is counted on from there
    for lane, expected in {"compute": (2, 6.5, 3.5, 4e6), "disk_read": (2, 5.0, 0.0, 4e6), "host": (1, 1.0, 6.0, 2e6),
                           "disk_write": (1, 1.0, 7.0, 2e6)}.items():
        check(near(table.pop(lane, ()), expected), f"times of {lane}")
    check(not table, f"lanes without operations: {table}")
    waits = plot.exposed(mine)
    check(list(waits) == ["disk_read", "disk_write"] and near(waits.values(), [3.0, 0.5]), f"waits {waits}")
    check("waits 35.0% (disk_read 30.0%, disk_write 5.0%)" in plot.title_of(4, 1, length, waits), "title")
    check(near([plot.total(plot.merged([(3, 4), (0, 2), (1, 2.5), (5, 5)]))], [3.5]), "merged spans")
    for wrong in ({"step": 5, "rank": 0}, {"step": 3, "rank": 2}):
        try:
            plot.choose(boxes, **wrong)
            check(False, f"{wrong} was found")
        except ValueError as error:
            check("steps 3 to 4" in str(error), f"{wrong}: {error}")


def pixels_of(path):
    """How many pixels have each colour."""
    pixels = (matplotlib.image.imread(path)[:, :, :3] * 255).round().astype(int)
    found, counts = np.unique(pixels @ [0x10000, 0x100, 1], return_counts=True)
    return {f"#{colour:06x}": int(count) for colour, count in zip(found, counts)}


def test_timeline_picture(folder):
    """The areas of the boxes are in the proportion of their times."""
    plot = load("plot_timeline")
    palette, boxes = plot.read(folder)
    chosen = plot.choose(boxes, 4, 1)
    plot.draw(chosen, palette, (0, 10), f"{folder}/whole.png")
    areas = pixels_of(f"{folder}/whole.png")
    forward, backward = areas[KINDS["forward"]], areas[KINDS["backward"]]
    # the samples of the legend are small beside the boxes
    check(2.0 < backward / forward < 2.4, f"areas of forward and backward: {forward} {backward}, not 2 to 4.5")
    plot.draw(chosen, palette, (0, 5), f"{folder}/part.png")
    areas = pixels_of(f"{folder}/part.png")
    check(areas[KINDS["forward"]] > 1.8 * forward, "a part of the step is not drawn larger")
    check(areas[KINDS["backward"]] < 0.05 * backward, "what is after the part is drawn")
    script = [sys.executable, "-B", os.path.join(ANALYSIS, "plot_timeline.py"), folder]
    done = subprocess.run(script + ["--step", "4", "--rank", "1", "--output", f"{folder}/line.svg"],
                          capture_output=True, text=True)
    check(done.returncode == 0 and "compute waits for disk_read         3.000 ms   30.0%" in done.stdout,
          f"table: {done.stdout}{done.stderr}")
    if done.returncode == 0:
        with open(f"{folder}/line.svg") as file:
            check("</svg>" in file.read(), "SVG")
    done = subprocess.run(script + ["--from", "7", "--to", "6", "--output", f"{folder}/none.png"],
                          capture_output=True, text=True)
    check(done.returncode != 0 and "between 7 and 6 ms" in done.stderr, f"empty part: {done.stderr}")


def refusal(script, arguments):
    """What a script ends with, in this process, which has loaded what takes a script longest; None without an end."""
    module, before = load(script), sys.argv
    sys.argv = [script] + arguments
    try:
        module.main()
    except SystemExit as end:
        return end.code
    finally:
        sys.argv = before
    return None


def test_commands(folder):
    for name in ("plot_loss", "plot_timings", "plot_timeline"):
        picture = f"{folder}/{name}.png"
        script = [sys.executable, "-B", os.path.join(ANALYSIS, name + ".py")]
        done = subprocess.run(script + [folder, "--output", picture], capture_output=True, text=True)
        check(done.returncode == 0 and picture in done.stdout, f"{name}: {done.stdout}{done.stderr}")
        if done.returncode == 0:
            rows, colours = matplotlib.image.imread(picture).shape[0], len(pixels_of(picture))
            check(rows > 300 and colours > 10, f"{name}: a picture of {colours} colours")
        for wrong in ("/dev/null", f"{folder}/nothing", __file__):
            message = refusal(name, [wrong, "--output", f"{folder}/wrong.png"])
            check(isinstance(message, str) and wrong in message, f"{name} {wrong}: {message}")
        check(not os.path.exists(f"{folder}/wrong.png"), f"{name}: a picture of nothing")


DICTIONARY = """00-database-short

     The database.

first
1st

   <theory> (1ST) Something that comes {before} every other
   {second (http://example.org)} thing.

   Not part of the answer, which is the first paragraph.

   (1999-01-01)

pointer

   See {first}.

{link
continued, indented as no headword is.

number

   1. <maths> One of several meanings of this word here.

   2. Another, which makes a sentence of some length.

last entry

   What stands at the end of a list of several things.
"""


def test_dictionary(folder):
    path = f"{folder}/dictionary.dz"
    with gzip.open(path, "wt") as file:
        file.write(DICTIONARY)
    words = ["--dictionary", path, "--train", f"{folder}/train.jsonl", "--validation", f"{folder}/other.jsonl"]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        check(refusal("foldoc_chat", words) is None, "foldoc_chat ends well")
    check(said.getvalue() == "2 of 5 entries\n", f"foldoc_chat: {said.getvalue()}")
    with open(f"{folder}/train.jsonl") as file:
        found = [[m["content"] for m in json.loads(line)["messages"]] for line in file]
    check(found == [["What is first?", "Something that comes before every other second thing."],
                    ["What does last entry mean in computing?",
                     "What stands at the end of a list of several things."]], f"foldoc_chat: {found}")
    message = refusal("foldoc_chat", ["--dictionary", f"{folder}/nothing"] + words[2:])
    check(isinstance(message, str) and "dict-foldoc" in message, f"foldoc_chat: {message}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MPLCONFIGDIR"] = folder
        steps = make_run(folder)
        test_loss(folder, steps)
        test_timings(folder)
        test_timeline(folder)
        test_timeline_picture(folder)
        test_commands(folder)
        test_in_progress(folder)
        test_dictionary(folder)
    for what in failures:
        print(f"failed: {what}")
    print(f"analysis: {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
