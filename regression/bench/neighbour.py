#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a busy neighbour costs a small run whose team has a thread on every core: seconds in steps alone and beside N
processes that only count, in alternation; medians, and the ratio. A fair scheduler gives the run cores/(cores + N) of
the machine: the last column is the ratio over that share, which 1 would make perfect and spinning teams make 50.
--spin shows other times (GOMP_SPINCOUNT; "default" is OpenMP's own), to choose the one that zinf sets.
"""
import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile

DECK = """
run: {{name: neighbour, directory: {folder}/run, steps: {steps}}}
model: {{family: gpt2, layers: {layers}, hidden: {hidden}, heads: 4, context: 128, vocabulary: 256}}
data: {{train: {folder}/train.h5}}
batch: {{global: 4, micro: 4}}
optimizer: {{learning_rate: 1e-3}}
checkpoint: {{final: no}}
"""
COUNT = "while True: pass"


def seconds(arguments, folder, spin):
    environment = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    if spin == "default":
        environment["GOMP_SPINCOUNT"] = "300000"
    elif spin != "zinf":
        environment["GOMP_SPINCOUNT"] = spin
    done = subprocess.run([arguments.zinf, "run", f"{folder}/deck.yaml", "--overwrite", "--set",
                           f"device.threads={os.cpu_count()}"], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"the run failed with {done.returncode}: {done.stderr}")
    with open(f"{folder}/run/steps.csv") as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zinf", default="build/zinf")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--neighbours", type=int, default=1)
    parser.add_argument("--spin", action="append", help="may be given again; default: what zinf sets")
    arguments = parser.parse_args()
    cores, share = os.cpu_count(), os.cpu_count() / (os.cpu_count() + arguments.neighbours)
    print("| spin | alone s | beside s | ratio | ratio x share |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/deck.yaml", "w") as file:
            file.write(DECK.format(folder=folder, steps=arguments.steps, layers=arguments.layers,
                                   hidden=arguments.hidden))
        with open(f"{folder}/text", "wb") as file:
            file.write(bytes(range(256)) * 400)
        subprocess.run([arguments.zinf, "tokenize", f"{folder}/text", "--output", f"{folder}/train.h5"], check=True,
                       stdout=subprocess.DEVNULL)
        for spin in arguments.spin or ["zinf"]:
            alone, beside = [], []
            for _ in range(arguments.turns):
                alone.append(seconds(arguments, folder, spin))
                others = [subprocess.Popen([sys.executable, "-c", COUNT]) for _ in range(arguments.neighbours)]
                try:
                    beside.append(seconds(arguments, folder, spin))
                finally:
                    for other in others:
                        other.kill()
                        other.wait()
            a, b = statistics.median(alone), statistics.median(beside)
            print(f"| {spin} | {a:.2f} | {b:.2f} | {b / a:.2f} | {b / a * share:.2f} |", flush=True)
    print(f"\n{cores} cores, {arguments.neighbours} neighbour(s), medians of {arguments.turns} turns")


main()
