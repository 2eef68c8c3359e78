#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The scripts of analysis/ on made-up runs: what they read from CSV and from HDF5 is what was written, the
pictures are there, and what is no run is refused with a message. Skipped where h5py or matplotlib is not.
"""
import importlib.util
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
         "skipped", "checksum", "validation_loss"]
TIMINGS = ["step", "lane", "kind", "count", "seconds", "wait_seconds", "bytes"]
LANES, KINDS = ["compute", "comm"], ["forward", "backward", "gather"]
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
              4.5 - 0.25 * i if i % 2 == 0 else math.nan] for i in range(1, 7)]
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
            names = [row[0], LANES[row[1]], KINDS[row[2]]] + row[3:]
            file.write(",".join(str(value) for value in names) + "\n")
    with h5py.File(f"{folder}/run.h5", "w") as file:
        for group, names, rows in (("steps", STEPS, steps), ("timings", TIMINGS, timings)):
            for number, name in enumerate(names):
                file[f"{group}/{name}"] = np.array([row[number] for row in rows])
        file["timings/lane"].attrs["unit"] = ", ".join(f"{i} {n}" for i, n in enumerate(LANES))
        file["timings/kind"].attrs["unit"] = ", ".join(f"{i} {n}" for i, n in enumerate(KINDS))
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


def test_commands(folder):
    for name in ("plot_loss", "plot_timings"):
        picture = f"{folder}/{name}.png"
        script = [sys.executable, "-B", os.path.join(ANALYSIS, name + ".py")]
        done = subprocess.run(script + [folder, "--output", picture], capture_output=True, text=True)
        check(done.returncode == 0 and picture in done.stdout, f"{name}: {done.stdout}{done.stderr}")
        if done.returncode == 0:
            pixels = matplotlib.image.imread(picture)
            colours = len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0))
            check(pixels.shape[0] > 300 and colours > 10, f"{name}: a picture of {colours} colours")
        for wrong in ("/dev/null", f"{folder}/nothing", __file__):
            done = subprocess.run(script + [wrong, "--output", f"{folder}/wrong.png"],
                                  capture_output=True, text=True)
            check(done.returncode != 0 and wrong in done.stderr and "Traceback" not in done.stderr,
                  f"{name} {wrong}: {done.returncode} {done.stderr}")
        check(not os.path.exists(f"{folder}/wrong.png"), f"{name}: a picture of nothing")


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MPLCONFIGDIR"] = folder
        steps = make_run(folder)
        test_loss(folder, steps)
        test_timings(folder)
        test_commands(folder)
    for what in failures:
        print(f"failed: {what}")
    print(f"analysis: {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
