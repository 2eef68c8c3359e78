#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a step moves between memory and disk, by zinf's own count and by the kernel's (/proc/self/io): they agree within
1 %, and per parameter they are within what the states are worth, with 1 and with 8 micro-batches.

bf16, one rank. Read: 2 gradient + 2 parameter + 2 remainder + 8 moments where the update takes the place of the forward
fetch, 2 parameter backward; written: 12 state + 2 gradient. Without gradients on disk 2 less each. The bound has 1 %
on top, for padding to whole blocks and for kept inputs (8 micro-batches of 8 tokens: 0.5 %).

Steps from the third on: the first has no pending update, the second may still meet what initialisation left in
memory. Skipped (77) where the file system's I/O is not counted (tmpfs).
"""
import os
import statistics
import sys
import tempfile

CHECKS = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(CHECKS, "..", "bench"))
import measure  # noqa: E402

TOP = os.environ.get("abs_top_builddir", os.getcwd())
ZINF = os.environ.get("ZINF", os.path.join(TOP, "zinf"))
MODEL = {"family": "gpt2", "layers": 4, "hidden": 256, "heads": 4, "context": 64, "vocabulary": 2048}
READ, WRITTEN, GRADIENT = 16, 14, 2  # bytes per parameter and step, everything on disk; of the gradient in each
WARM_UP, STEPS = 2, 6
SLACK = 0.01
failures = []


def check(condition, what):
    if not condition:
        failures.append(what)


def kernel_written():
    with open("/proc/self/io") as file:
        return int(dict(line.split(": ") for line in file.read().splitlines())["write_bytes"])


def is_counted(folder):
    """Whether the kernel counts what is written in a folder."""
    size = 1 << 20
    try:
        before = kernel_written()
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x" * size)
            file.flush()
            os.fsync(file.fileno())
        return kernel_written() - before >= size
    except (OSError, KeyError):
        return False


def compare(place, gradients, micro_batches):
    placement = {state: "nvme" for state in measure.STATES}
    placement["gradients"] = gradients
    deck = place.deck(MODEL, measure.batch_section(1, 8, micro_batches), STEPS, placement=placement,
                      device={"threads": 1})
    run = measure.run_zinf(ZINF, place, deck)
    parameters = measure.model_parameters(MODEL)
    less = GRADIENT if gradients != "nvme" else 0
    name = f"gradients on {gradients}, {micro_batches} micro-batches"
    for ours, kernel, most in (("disk_read_bytes", "io_read_bytes", READ - less),
                               ("disk_written_bytes", "io_written_bytes", WRITTEN - less)):
        pairs = list(zip(run.column(ours, WARM_UP) or [], run.column(kernel, WARM_UP) or []))
        check(len(pairs) == STEPS - WARM_UP, f"{name}: steps.csv has no columns {ours} and {kernel}")
        for step, (own, counted) in enumerate(pairs, WARM_UP + 1):
            check(abs(own - counted) <= SLACK * counted,
                  f"{name}, step {step}: {ours} {own:.0f}, but the kernel counted {counted:.0f}")
        for column in zip(*pairs):
            each = statistics.median(column) / parameters
            check(each <= most * (1 + SLACK), f"{name}: {ours} {each:.3f} a parameter, more than {most}")
            check(each >= most / 2, f"{name}: {ours} {each:.3f} a parameter: the states were not on disk")
        if pairs:
            print(f"{name}: {ours} {statistics.median(pair[0] for pair in pairs) / parameters:.3f}, {kernel} "
                  f"{statistics.median(pair[1] for pair in pairs) / parameters:.3f} bytes per parameter; at most "
                  f"{most}")


def main():
    with measure.Workplace(TOP) as place:
        if not is_counted(place.scratch):
            print("skipped: the kernel does not count the I/O of the build folder's file system")
            return 77
        for gradients in ("nvme", "host"):
            for micro_batches in (1, 8):
                compare(place, gradients, micro_batches)
        check(os.listdir(place.scratch) == [], "files were left on the disk")
    for failure in failures:
        print(f"failed: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
