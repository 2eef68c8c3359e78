#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A disk of a node that is full: local checkpoints are not written, which is said, training goes on to the same
numbers, and the step that stands is what a later job goes on from. The disk is a small tmpfs in a mount namespace of
its own; skipped (77) where that is not permitted.
"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from app_local import RANKS, SETS, Levels  # noqa: E402


def main():
    with Levels() as runs:
        runs.start(RANKS, SETS)
        if runs.wait_end() != 0:
            runs.fail("the run without interruption failed")
        wanted = runs.numbers()
        # The parts of a step take 420 kB: there is room for one.
        os.mkdir(runs.path("node"))
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "none", runs.path("node")], check=True)
        try:
            runs.sets = SETS + [f"checkpoint.local={runs.path('node')}", "checkpoint.local_every=7",
                                "checkpoint.every=never"]
            for _ in range(20):
                runs.start(RANKS, runs.sets)
                runs.kill(29)
                if runs.rows() < 35:  # where the next is tried
                    break
            runs.complains("two local checkpoints, which stand at once, take")
            runs.complains("No space left on device; make room in checkpoint.local")
            runs.complains("the local checkpoint of step 14 could not be written: training goes on, that of step 7 "
                           "stands, and the next is tried when it is due")
            runs.compare(wanted)
            found, folder = runs.parts()
            if found != {7: {0, 1}} or any(".tmp" in name for name in os.listdir(folder)):
                runs.fail(f"in the folder: {os.listdir(folder)}")
            runs.go_on()
            runs.came_from(7, True)
            runs.compare(wanted)
            # Not even room for the folder: known before the first step.
            filler = os.open(runs.path("node", "filler"), os.O_WRONLY | os.O_CREAT)
            try:
                while True:
                    os.write(filler, bytes(4096))
            except OSError:
                os.close(filler)
            runs.start(RANKS, runs.sets)
            if runs.wait_end() != 5 or runs.rows() > 0:
                runs.fail("a disk without room for the folder")
        finally:
            subprocess.run(["umount", runs.path("node")], check=True)
    print("app_local_full: checks passed")


if sys.argv[1:] == ["inside"]:
    main()
elif subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], stderr=subprocess.DEVNULL).returncode:
    print("skipped: tmpfs cannot be mounted here")
    sys.exit(77)
else:
    os.execvp("unshare", ["unshare", "-rm", sys.executable, os.path.abspath(__file__), "inside"])
