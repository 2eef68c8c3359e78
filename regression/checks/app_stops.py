#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs that are asked to stop at random moments, by each of the signals, on one rank and on two: each ends with exit
code 4, its checkpoint is that of the last step of its record, and the checkpoint is whole. Stops before the first
step leave no checkpoint, and nothing in the folders of the run's disk. STOPS=N in the environment makes N of them.
"""
import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from stops import Runs, ZINF  # noqa: E402

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP, signal.SIGQUIT]


def check_checkpoint(runs, last):
    name = runs.path("run", "checkpoints", f"step-{last:08d}.h5")
    if not os.path.isfile(name):
        runs.fail(f"no checkpoint of step {last}")
    seen = subprocess.run([ZINF, "inspect", name, "--verify"], capture_output=True, text=True)
    if seen.returncode != 0:
        runs.fail(f"the checkpoint of step {last} is not whole: {seen.stderr}")


def stop(runs, ranks, number, delay, late):
    sets = ["device.threads=1"]
    if not late:
        sets += ["placement.optimizer=nvme", f"nvme.paths={runs.path('disk')}"]
    runs.start(ranks, sets)
    for rank in range(ranks):
        runs.wait_until(lambda: os.path.exists(runs.path("pids", str(rank))), f"rank {rank}")
    if late:
        runs.wait_until(lambda: runs.rows() >= 1, "its first step")
    else:
        # Not before the program has come so far as to take signals: its exec and its libraries come first.
        runs.wait_until(lambda: takes_signals(runs.pid(0)), "its thread for signals")
    time.sleep(delay)
    os.kill(runs.pid(random.randrange(ranks)) if late else runs.pid(0), number)
    code = runs.wait_end()
    if code != 4:
        runs.fail(f"exit code {code}, not 4, after {number.name}, {delay:.3f} s, {ranks} ranks")
    last = runs.rows()
    if last > 0:
        check_checkpoint(runs, last)
    if not late and os.path.isdir(runs.path("disk")) and os.listdir(runs.path("disk")):
        runs.fail(f"left on the disk: {os.listdir(runs.path('disk'))}")


def takes_signals(pid):
    try:
        with open(f"/proc/{pid}/status") as file:
            bits = [line.split()[1] for line in file if line.startswith("SigBlk")]
    except FileNotFoundError:
        return False
    return bool(bits and int(bits[0], 16) >> (signal.SIGTERM - 1) & 1 and len(os.listdir(f"/proc/{pid}/task")) > 1)


def main():
    count = int(os.environ.get("STOPS", "300"))
    random.seed(1)
    with Runs() as runs:
        for i in range(count):
            stop(runs, 1 + i % 2, SIGNALS[i % len(SIGNALS)], random.random() * 0.2, late=i % 6 != 5)
    print(f"app_stops: {count} stops")


main()
