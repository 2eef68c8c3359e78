#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A request to stop, a signal or the file `stop`, in the middle of a long validation: the run ends at the next batch
with exit code 4 and a checkpoint; the step before has its row, without a validation loss. The validation would take
many minutes.
"""
import csv
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from stops import Runs  # noqa: E402

TRIES = 5


def said(runs, text):
    with open(runs.path("out"), errors="replace") as file:
        return text in file.read()


def stop(runs, ranks, by_file):
    """Whether the stop came during the validation."""
    runs.start(ranks, ["device.threads=1", "data.type=uint8", f"data.validation={runs.path('long.bin')}",
                       "data.validation_every=1", "data.validation_sequences=1000000000", "batch.global=2",
                       "batch.micro=1"])
    runs.wait_until(lambda: said(runs, "GF a token"), "its first step")
    time.sleep(1)
    if by_file:
        open(runs.path("run", "stop"), "w").close()
    else:
        os.kill(runs.pid(ranks - 1), signal.SIGTERM)
    code = runs.wait_end()
    if code != 4:
        runs.fail(f"exit code {code}, not 4")
    if not runs.rows():
        return False
    with open(runs.path("run", "steps.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    if len(rows) != 1 or rows[0]["validation_loss"] != "":
        runs.fail(f"rows of steps.csv: {rows}")
    if not os.path.isfile(runs.path("run", "checkpoints", "step-00000001.h5")):
        runs.fail("no checkpoint of step 1")
    if not said(runs, "stopped after step 1 of"):
        runs.fail("the end is not said")
    return True


def main():
    with Runs() as runs:
        with open(runs.path("long.bin"), "wb") as file:
            file.write(bytes(i % 251 for i in range(1 << 16)) * 1024)
        for ranks in (1, 2):
            for by_file in (False, True):
                if not any(stop(runs, ranks, by_file) for _ in range(TRIES)):
                    runs.fail("no stop came during a validation")
    print("app_validation_stop: passed")


main()
