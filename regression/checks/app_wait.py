#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A rank that does not come is named, with the operation in which the others wait for it, instead of a silent hang;
when it comes the run goes on. And a rank that dies ends the job on all ranks. With a thread per lane (three ranks), and
with one that plays all lanes (two ranks, which take all cores).
"""
import os
import re
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from stops import Runs  # noqa: E402


WAITS = ("gather", "reduce", "norm", "finish", "agreement")


def said(runs):
    with open(runs.path("err"), errors="replace") as file:
        return re.findall(r"comm: (\w+(?: of [\w. ]+)?) waits since (\d+) s for rank (\d+)\n", file.read())


def check(ranks, sets):
    last = ranks - 1
    with Runs() as runs:
        runs.start(ranks, sets + ["zero.stage=3"])
        runs.wait_until(lambda: runs.rows() >= 3, "its third step")
        if said(runs):
            runs.fail("a wait in a run in which none is long")
        os.kill(runs.pid(last), signal.SIGSTOP)
        runs.wait_until(lambda: len(said(runs)) >= 2, "a word about the rank that stands still")
        for what, seconds, rank in said(runs):
            if rank != str(last) or int(seconds) < 1 or what.split()[0] not in WAITS:
                runs.fail(f"{what} waits since {seconds} s for rank {rank}")
        rows = runs.rows()
        os.kill(runs.pid(last), signal.SIGCONT)
        runs.wait_until(lambda: runs.rows() > rows + 3, "going on")
        pids = [runs.pid(rank) for rank in range(ranks)]
        start = time.monotonic()
        os.kill(pids[1], signal.SIGKILL)
        if runs.wait_end(30) == 0:
            runs.fail("a job of which a rank was killed ended well")
        while any(os.path.exists(f"/proc/{pid}") for pid in pids):
            if time.monotonic() > start + 30:
                runs.fail("a rank lives 30 s after another was killed")
            time.sleep(0.05)


def main():
    os.environ["ZINF_PATIENCE"] = "1"
    check(3, ["device.threads=1"])
    check(2, [])
    print("app_wait: passed")


main()
