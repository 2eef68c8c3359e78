#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Times zinf's disk queue against fio's libaio engine on the same file, in alternation, and prints medians.

    regression/bench/against_fio.py --zinf build/zinf --folder scratch [--block 1048576] [--depth 16]
        [--size 1024] [--turns 5] [--goal 0.95]

Each turn runs `zinf bench disk` and fio with the same block size and depth, so that a drift of the disk's speed
meets both; every other turn runs them the other way round. Both read and write the same file, whose blocks
have been written before.

Buffers matter: a block of 1 MiB is 256 pieces for the disk's driver on pages of 4 KiB, and one on a huge page,
which can double the speed. fio's buffers are on small pages unless huge ones were reserved by the
administrator, so the ratio is of zinf with transparent huge pages switched off (prctl); what zinf reaches as it
is, is the extra column.

"mixed" is a reader in one half of the file and a writer in the other at the same time, ended by whoever is
through first. Exit code 1 when a ratio is below the goal.

fio is a Debian package: apt-get install fio.
"""
import argparse
import ctypes
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

KINDS = ("read", "write", "mixed")
KEYS = {kind: f"disk_{kind}_bytes_per_s" for kind in KINDS}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zinf", default="build/zinf")
    parser.add_argument("--folder", default="scratch", help="on the disk to measure; made if absent")
    parser.add_argument("--block", type=int, default=1 << 20, help="bytes")
    parser.add_argument("--depth", type=int, default=16)
    parser.add_argument("--size", type=int, default=1024, help="MiB")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--goal", type=float, default=0.0, help="least ratio of zinf to fio")
    return parser.parse_args()


def no_huge_pages():
    PR_SET_THP_DISABLE = 41  # inherited by what is executed
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def run(command, before=None):
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=before)
    if done.returncode != 0:
        sys.exit(f"exit code {done.returncode} of {' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def run_zinf(options, work, before=None):
    """Bytes per second of each kind."""
    machine = f"{work}/machine.yaml"
    command = [options.zinf, "bench", "disk", "--size", str(options.size), "--turns", "1",
               "--output", machine]
    for value in (f"paths={options.folder}", "engine=libaio", f"depth={options.depth}",
                  f"block={options.block} B", "keep=yes"):
        command += ["--set", f"nvme.{value}"]
    run(command, before)
    with open(machine) as file:
        text = file.read()
    return {kind: float(re.search(rf"^  {key}: (\S+)$", text, re.M).group(1))
            for kind, key in KEYS.items()}


def fio_jobs(options, *jobs):
    """Bytes per second of each job; a job is (direction, first MiB, MiB)."""
    command = ["fio", "--output-format=json", "--ioengine=libaio", "--direct=1", "--thread",
               f"--filename={options.folder}/zinf-bench", f"--bs={options.block}",
               f"--iodepth={options.depth}", "--exitall", "--end_fsync=1", "--overwrite=1",
               "--fallocate=none"]
    for number, (direction, first, size) in enumerate(jobs):
        command += [f"--name=job{number}", f"--rw={direction}", f"--offset={first}m", f"--size={size}m"]
    text = run(command)
    found = json.loads(text[text.index("{"):])["jobs"]
    return [job[direction]["bw_bytes"] for job, (direction, _, _) in zip(found, jobs)]


def run_fio(options):
    size, half = options.size, options.size // 2
    return {"read": fio_jobs(options, ("read", 0, size))[0],
            "write": fio_jobs(options, ("write", 0, size))[0],
            "mixed": sum(fio_jobs(options, ("read", 0, half), ("write", half, size - half)))}


def main():
    options = arguments()
    if not shutil.which("fio"):
        sys.exit("fio is not installed (Debian: apt-get install fio)")
    if options.turns < 1 or options.size < 2:
        sys.exit("--turns must be at least 1, --size at least 2")
    os.makedirs(options.folder, exist_ok=True)
    names = ("zinf", "fio", "zinf on huge pages")
    found = {name: {kind: [] for kind in KINDS} for name in names}
    with tempfile.TemporaryDirectory(prefix="zinf-fio-") as work:
        runs = {"zinf": lambda: run_zinf(options, work, no_huge_pages),
                "fio": lambda: run_fio(options),
                "zinf on huge pages": lambda: run_zinf(options, work)}
        try:
            run_zinf(options, work)  # makes the file; not counted
            for turn in range(options.turns):
                for name in names if turn % 2 == 0 else names[::-1]:
                    for kind, rate in runs[name]().items():
                        found[name][kind].append(rate)
                print(f"turn {turn + 1}, MB/s: " + "; ".join(
                    f"{name} " + ", ".join(f"{kind} {found[name][kind][-1] / 1e6:.0f}" for kind in KINDS)
                    for name in names), flush=True)
        finally:
            if os.path.exists(f"{options.folder}/zinf-bench"):
                os.remove(f"{options.folder}/zinf-bench")
    missed = False
    print(f"medians of {options.turns}, MB/s")
    for kind in KINDS:
        zinf, fio, huge = (statistics.median(found[name][kind]) for name in names)
        missed |= zinf / fio < options.goal
        print(f"  {kind:5}  zinf {zinf / 1e6:7.0f}  fio {fio / 1e6:7.0f}  ratio {zinf / fio:.3f}"
              f"  zinf on huge pages {huge / 1e6:7.0f}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
