#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Processor time of `zinf plan` for a model of 182 billion parameters, 100 layers of 12288, on 512 ranks, whose
placement is auto: medians of several plans, against a bound of seconds. It ends with exit code 1 above the bound.

    regression/bench/plan_time.py --zinf build/zinf [--turns 5] [--bound 2]

Nothing is trained and no device is opened; a plan has one thread, so on an idle core it takes as long as this says.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile

PLACES = {
    "cpu, auto": [],
    "cuda, auto": ["device.type=cuda"],
    "cuda, states on the host": ["device.type=cuda", "placement.parameters=host", "placement.gradients=host",
                                 "placement.optimizer=host", "placement.activations=host"],
    "cuda, activations on the host": ["device.type=cuda", "memory.device=12 GiB", "placement.activations=host"],
}


def deck():
    return {"run": {"name": "plan", "directory": "runs/plan", "steps": 1},
            "model": {"family": "gpt2", "layers": 100, "hidden": 12288, "heads": 96, "context": 2048,
                      "vocabulary": 50304},
            "data": {"train": "data/train.h5"},
            "batch": {"global": 512},
            "optimizer": {"learning_rate": 1e-4},
            "precision": {"compute": "bf16"},
            "zero": {"stage": 3},
            "memory": {"device": "72 GiB", "host": "128 GiB"}}


def processor_seconds(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"zinf plan ends with exit code {done.returncode}:\n{done.stderr}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zinf", default="build/zinf")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--bound", type=float, default=2.0, help="seconds")
    options = parser.parse_args()
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "deck.yaml")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(deck(), file)
        plan = [options.zinf, "plan", path, "--ranks", "512", "--ranks-per-node", "8"]
        for name, sets in PLACES.items():
            command = plan + [word for value in sets for word in ("--set", value)]
            seconds = [processor_seconds(command) for _ in range(options.turns)]
            worst = max(worst, statistics.median(seconds))
            print(f"plan of 100 layers on 512 ranks, {name + ':':30} {statistics.median(seconds):.2f} s "
                  f"({min(seconds):.2f} to {max(seconds):.2f})")
    if worst > options.bound:
        sys.exit(f"a plan takes {worst:.2f} s, the bound is {options.bound:g} s")


if __name__ == "__main__":
    main()
