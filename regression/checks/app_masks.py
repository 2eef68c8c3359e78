#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Of a run in progress, that no signal can interrupt a thread that works: every thread blocks all signals but those
of its own faults, except one, which takes them. Teams of OpenMP, lanes, disk workers and the threads of MPI are among
them. The run also says how long its teams spin, so that a neighbour does not slow it many times over.
"""
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from stops import Runs, ZINF  # noqa: E402

FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS}
NEVER = {signal.SIGKILL, signal.SIGSTOP}  # cannot be blocked; 32 and 33 are the C library's own
WANTED = {number for number in range(1, 32)} - FAULTS - NEVER
NVME = "placement.parameters=nvme", "placement.optimizer=nvme", "placement.gradients=host"


def blocked(path):
    with open(path) as file:
        fields = dict(line.split(":", 1) for line in file.read().splitlines() if ":" in line)
    bits = int(fields["SigBlk"], 16)
    return {number for number in range(1, 32) if bits >> (number - 1) & 1}


def check(runs, ranks, engine):
    sets = NVME + (f"nvme.paths={runs.path('disk')}", f"nvme.engine={engine}", "device.threads=2")
    runs.start(ranks, sets)
    runs.wait_until(lambda: runs.rows() >= 3, "its third step")
    counted = 0
    for rank in range(ranks):
        tasks = f"/proc/{runs.pid(rank)}/task"
        open_ones = []
        for task in os.listdir(tasks):
            found = blocked(f"{tasks}/{task}/status")
            counted += 1
            if not WANTED <= found:
                open_ones.append((task, sorted(WANTED - found)))
        if len(open_ones) != 1:
            runs.fail(f"rank {rank} of {ranks}: threads that signals interrupt: {open_ones}")
        with open(f"/proc/{runs.pid(rank)}/comm") as file:
            if file.read().strip() != os.path.basename(ZINF):
                runs.fail("the process has another name after it has started itself again")
        with open(f"/proc/{runs.pid(rank)}/environ") as file:
            if not os.environ.get("OMP_WAIT_POLICY") and "GOMP_SPINCOUNT=" not in file.read():
                runs.fail("teams spin as long as OpenMP likes")
    os.kill(runs.pid(ranks - 1), signal.SIGTERM)
    code = runs.wait_end()
    if code != 4:
        runs.fail(f"exit code {code} after SIGTERM, not 4")
    return counted


def main():
    os.environ.pop("OMP_WAIT_POLICY", None)
    with Runs() as runs:
        counted = check(runs, 1, "threads") + check(runs, 2, "libaio")
    print(f"app_masks: {counted} threads looked at")
    if counted < 10:
        sys.exit("failed: fewer threads than lanes: were they looked at?")


main()
