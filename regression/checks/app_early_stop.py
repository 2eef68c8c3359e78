#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""SIGUSR1 in the first 50 ms of a run on two ranks, as the warning of a batch system whose job is as short as the
warning is early: while libraries start, before and in MPI_Init, which takes this signal over. It is never lost: the run
ends with exit code 4, and end.yaml names the signal. Only a process that does not have it blocked yet, in the dynamic
linker, may be killed by it; every other run gets it later than that. A program that has started itself anew, for the
settings of its threads, has it blocked from the first. TRIES=N in the environment makes N runs.
"""
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from stops import Runs  # noqa: E402


def state(pid):
    """The name of the program, and whether it has SIGUSR1 blocked."""
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in file)
    return fields["Name"], bool(int(fields["SigBlk"], 16) >> (signal.SIGUSR1 - 1) & 1)


def is_again(pid):
    """Whether the program has started itself anew; with a variable that it leaves behind."""
    with open(f"/proc/{pid}/environ", "rb") as file:
        return "GOMP_SPINCOUNT" not in os.environ and b"GOMP_SPINCOUNT=" in file.read()


def reason(runs):
    with open(runs.path("run", "end.yaml")) as file:
        lines = dict(line.rstrip("\n").split(": ", 1) for line in file)
    return lines["reason"]


def stop(runs, rank, waits, delay):
    """Whether the signal was blocked when it was sent; with `waits` the delay begins when it is."""
    runs.start(2, ["device.threads=1"])
    runs.wait_until(lambda: os.path.exists(runs.path("pids", str(rank))), f"rank {rank}")
    runs.wait_until(lambda: state(runs.pid(rank))[0] == "zinf", "its program")
    if waits:
        runs.wait_until(lambda: state(runs.pid(rank))[1], "its hold on signals")
    time.sleep(delay)
    again = is_again(runs.pid(rank))
    held = state(runs.pid(rank))[1]
    if again and not held:
        runs.fail(f"SIGUSR1 is not blocked in the second start, {delay:.4f} s after the first")
    os.kill(runs.pid(rank), signal.SIGUSR1)
    code = runs.wait_end()
    if code == 4 and not os.path.exists(runs.path("run", "end.yaml")):
        runs.fail("no end.yaml")
    if code == 4 and reason(runs) not in ('"SIGUSR1"', '"a signal to another rank"'):
        runs.fail(f"end.yaml gives {reason(runs)} as the reason")
    if code != 4 and (held or os.path.exists(runs.path("run", "end.yaml"))):
        runs.fail(f"exit code {code}, not 4, after SIGUSR1 to rank {rank}, {delay:.4f} s after its start")
    return held


def main():
    count = int(os.environ.get("TRIES", "24"))
    random.seed(1)
    with Runs() as runs:
        held = sum(stop(runs, i % 2, i // 2 % 2, random.random() * 0.05) for i in range(count))
    print(f"app_early_stop: {count} runs, {held} with the signal blocked")


main()
