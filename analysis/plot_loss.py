#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Draws loss, validation loss, gradient norm and learning rate of a run.

    analysis/plot_loss.py RUN [--output loss.png]

RUN is a run directory, its steps.csv, or its run.h5.
"""
import argparse
import csv
import os
import sys

import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

COLUMNS = ["step", "loss", "gradient_norm", "learning_rate", "validation_loss"]


def read_csv(path):
    """A line without its end, as a run in progress may have it for a moment, is no row yet."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(line for line in file if line.endswith("\n")))
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in COLUMNS}


def read_record(path):
    import h5py
    with h5py.File(path, "r") as file:
        columns = {name: file["steps"][name][:].astype(float) for name in COLUMNS}
    rows = min(len(column) for column in columns.values())  # the last row may be in some columns only
    return {name: column[:rows] for name, column in columns.items()}


def read(path):
    if os.path.isdir(path):
        path = os.path.join(path, "steps.csv")
    return read_record(path) if path.endswith(".h5") else read_csv(path)


def draw(run, output):
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(8, 6), sharex=True,
                                         gridspec_kw={"height_ratios": [3, 2]})
    top.plot(run["step"], run["loss"], color="#2b6cb0", linewidth=1, label="training")
    measured = ~np.isnan(run["validation_loss"])
    if measured.any():
        top.plot(run["step"][measured], run["validation_loss"][measured], "o-", color="#c05621",
                 label="validation")
    top.set_ylabel("loss (nats per token)")
    top.legend()
    top.grid(alpha=0.3)
    bottom.semilogy(run["step"], run["gradient_norm"], color="#2f855a", linewidth=1)
    bottom.set_ylabel("gradient norm", color="#2f855a")
    bottom.set_xlabel("step")
    bottom.grid(alpha=0.3)
    rate = bottom.twinx()
    rate.plot(run["step"], run["learning_rate"], color="#718096", linewidth=1)
    rate.set_ylabel("learning rate", color="#718096")
    figure.tight_layout()
    figure.savefig(output, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--output", default="loss.png")
    options = parser.parse_args()
    try:
        run = read(options.run)
    except (OSError, KeyError, ValueError) as error:
        sys.exit(f"{options.run}: {error}")
    if len(run["step"]) == 0:
        sys.exit(f"{options.run}: no steps yet")
    draw(run, options.output)
    print(f"{options.output}: {len(run['step'])} steps, loss {run['loss'][0]:.4f} to "
          f"{run['loss'][-1]:.4f}")


if __name__ == "__main__":
    main()
