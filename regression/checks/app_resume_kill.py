#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs of which a rank is killed (SIGKILL) at random moments, in steps and in checkpoints, and that go on with --resume
auto: every step that any life of the run has reported has the numbers of the run that was not interrupted, the other
ranks end within 30 s, and no process stays. On two ranks, in memory and with states on a disk. KILLS=N in the
environment makes N of them.
"""
import os
import random
import shutil
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from stops import Runs  # noqa: E402

STEPS, EVERY, RANKS = 600, 4, 2
SETS = ["device.threads=1", f"run.steps={STEPS}", f"checkpoint.every={EVERY}"]


def kill_one(runs, sets, seconds):
    """A life of the run; whether it was killed before its end."""
    runs.start(RANKS, SETS + sets, ["--resume", "auto", "--reclaim"])
    for rank in range(RANKS):
        runs.wait_until(lambda: os.path.exists(runs.path("pids", str(rank))), f"rank {rank}")
    pids = [runs.pid(rank) for rank in range(RANKS)]
    end = time.monotonic() + seconds
    while runs.job.poll() is None and time.monotonic() < end:
        time.sleep(0.002)
    if runs.job.poll() == 0:
        return False
    try:
        os.kill(random.choice(pids), signal.SIGKILL)
    except ProcessLookupError:
        return runs.wait_end(30) != 0
    runs.wait_end(30)
    for pid in pids:
        end = time.monotonic() + 30
        while os.path.exists(f"/proc/{pid}") and time.monotonic() < end:
            time.sleep(0.01)
        if os.path.exists(f"/proc/{pid}"):
            runs.fail(f"process {pid} lives on")
    return True


def main():
    count = int(os.environ.get("KILLS", "50"))
    random.seed(1)
    with Runs() as runs:
        runs.start(RANKS, SETS)
        if runs.wait_end() != 0:
            runs.fail("the run without interruption failed")
        wanted = runs.numbers()
        shutil.rmtree(runs.path("run"))
        disk = ["placement.parameters=nvme", "placement.optimizer=nvme", f"nvme.paths={runs.path('disk')}"]
        kills, ends = 0, 0
        while kills < count:
            # Starting takes some 0.4 s, and is a moment to be killed in as well.
            killed = kill_one(runs, disk if kills % 2 else [], 0.2 + 1.0 * random.random())
            runs.compare(wanted)
            kills += killed
            if not killed:
                ends += 1
                if len(runs.numbers()) != STEPS:
                    runs.fail(f"{len(runs.numbers())} rows at the end, not {STEPS}")
                shutil.rmtree(runs.path("run"))
        runs.start(RANKS, SETS, ["--resume", "auto", "--reclaim"])
        if runs.wait_end() != 0:
            runs.fail("the last life did not come to its end")
        runs.compare(wanted)
        if len(runs.numbers()) != STEPS:
            runs.fail(f"{len(runs.numbers())} rows at the end, not {STEPS}")
    print(f"app_resume_kill: {kills} kills, {ends + 1} runs came to their end")


main()
