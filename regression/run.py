#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Whole runs against committed numbers.

    regression/run.py CASE...            CASE: a folder of regression/cases, or its expected.yaml
    regression/run.py --measure CASE...  prints what the runs give, and how far they are apart

A case has deck.yaml, the deck (its data and run directory are set by this script), and expected.yaml:

    runs:        how the deck is run: ranks, and what is set; every run is held to the same values
    quantities:  of a column of steps.csv at a step: value, abs and rel (|found - value| <= abs + rel |value|),
                 and the reason for the tolerance

The data are a made-up language that this script writes, the same on every machine. After the runs the
comparison is tried on values that are off by a little more than the tolerance, and must refuse each; and a run
whose learning rate is 1% higher, which must disagree. Run in the build folder; exit code 77 without PyYAML.
"""
import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile

try:
    import yaml
except ImportError:
    print("skipped: no PyYAML")
    sys.exit(77)

BUILD = os.environ.get("abs_top_builddir", ".")
LAUNCHER = os.environ.get("MPIEXEC", "mpiexec.mpich")
KNOWN = {"column", "step", "value", "abs", "rel", "reason"}


def language(sentences):
    """Sentences of 60 made-up words, by a congruential generator: a text with something to learn."""
    state = 12345

    def draw(count):
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2 ** 64
        return (state >> 33) % count

    def word():
        return "".join("bdfgklmnprst"[draw(12)] + "aeiou"[draw(5)] for _ in range(1 + draw(3)))

    nouns, verbs = [word() for _ in range(40)], [word() for _ in range(20)]
    lines = []
    for _ in range(sentences):
        noun = draw(40)
        lines.append(f"{nouns[noun]} {verbs[(noun * 7) % 20]} the {nouns[(noun * 3 + draw(2)) % 40]}.")
    return "\n".join(lines) + "\n"


def make_data(folder):
    text = f"{folder}/text"
    with open(text, "w") as file:
        file.write(language(8000))
    subprocess.run([f"{BUILD}/zinf", "tokenize", text, "--output", f"{folder}/train.h5", "--validation",
                    f"{folder}/validation.h5", "--share", "0.1"], check=True, stdout=subprocess.DEVNULL)


def run(case, variant, folder):
    """Rows of steps.csv of one run, or None; what it said is printed when it fails."""
    directory = f"{folder}/run"
    shutil.rmtree(directory, ignore_errors=True)
    sets = [f"data.train={folder}/train.h5", f"data.validation={folder}/validation.h5",
            f"run.directory={directory}", "checkpoint.final=no", "device.threads=1"]
    command = [f"{BUILD}/zinf", "run", f"{case}/deck.yaml"]
    for value in sets + variant.get("set", []):
        command += ["--set", value]
    ranks = variant.get("ranks", 1)
    if ranks > 1:
        command = [LAUNCHER, "-n", str(ranks)] + command
    environment = dict(os.environ, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive")
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    if done.returncode != 0:
        print(f"failed: exit code {done.returncode}: {' '.join(command)}\n{done.stdout}{done.stderr}")
        return None
    with open(f"{directory}/steps.csv", newline="") as file:
        return {int(row["step"]): row for row in csv.DictReader(file)}


def name(variant):
    return f"{variant.get('ranks', 1)} ranks {' '.join(variant.get('set', []))}".strip()


def found_value(rows, quantity):
    try:
        return float(rows[quantity["step"]][quantity["column"]])
    except (KeyError, ValueError):
        return float("nan")


def agrees(found, quantity):
    """NaN agrees with nothing."""
    return abs(found - quantity["value"]) <= quantity["abs"] + quantity["rel"] * abs(quantity["value"])


def complaints_of(expected):
    """What is wrong with an expected.yaml itself."""
    if not expected.get("quantities") or not expected.get("runs"):
        yield "no runs or no quantities"
    for quantity in expected.get("quantities", []):
        if set(quantity) != KNOWN or not str(quantity["reason"]).strip():
            yield f"{quantity}: a quantity has {', '.join(sorted(KNOWN))}"


def self_test(rows, quantities):
    """The comparison refuses values just outside the tolerance, and values that are missing."""
    for quantity in quantities:
        found = found_value(rows, quantity)
        tolerance = quantity["abs"] + quantity["rel"] * abs(quantity["value"])
        for sign in (-1, 1):
            off = dict(quantity, value=found + sign * 1.1 * tolerance)
            if agrees(found, off):
                yield f"the comparison is broken: {found} agrees with {off}"
        if agrees(found_value({}, quantity), quantity):
            yield "the comparison is broken: a missing value agrees"


def changed_run(case, expected, folder):
    """A run that is slightly another one disagrees."""
    with open(f"{case}/deck.yaml") as file:
        rate = float(yaml.safe_load(file)["optimizer"]["learning_rate"])
    rows = run(case, {"set": [f"optimizer.learning_rate={1.01 * rate:.9g}"]}, folder)
    if rows is None:
        yield "no run with another learning rate"
    elif all(agrees(found_value(rows, quantity), quantity) for quantity in expected["quantities"]):
        yield "a learning rate that is 1% higher is not noticed"


def check_case(case, folder):
    with open(f"{case}/expected.yaml") as file:
        expected = yaml.safe_load(file)
    failures = list(complaints_of(expected))
    if failures:
        return failures
    for variant in expected["runs"]:
        rows = run(case, variant, folder)
        if rows is None:
            failures.append(f"{name(variant)}: no run")
            continue
        for quantity in expected["quantities"]:
            found = found_value(rows, quantity)
            if not agrees(found, quantity):
                failures.append(f"{name(variant)}: {quantity['column']} of step {quantity['step']} is "
                                f"{found:.9g}, not {quantity['value']:.9g} within {quantity['abs']:g} + "
                                f"{quantity['rel']:g} of it ({quantity['reason']})")
        failures += self_test(rows, expected["quantities"])
    return failures + list(changed_run(case, expected, folder))


def measure(case, folder):
    with open(f"{case}/expected.yaml") as file:
        expected = yaml.safe_load(file)
    results = [(variant, run(case, variant, folder)) for variant in expected["runs"]]
    for quantity in expected["quantities"]:
        values = [found_value(rows, quantity) for _, rows in results if rows]
        spread = (max(values) - min(values)) / abs(values[0])
        print(f"{quantity['column']} {quantity['step']}: {values[0]:.9g}, spread {spread:.2g}")
        for (variant, _), value in zip(results, values):
            print(f"    {value:.9g}  {name(variant)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", metavar="CASE")
    parser.add_argument("--measure", action="store_true")
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        make_data(folder)
        for case in options.cases:
            case = case if os.path.isdir(case) else os.path.dirname(case)
            if options.measure:
                measure(case, folder)
                continue
            failures = check_case(case, folder)
            failed += bool(failures)
            for line in failures:
                print(f"failed: {line}")
            print(f"{os.path.basename(case)}: {'failed' if failures else 'passed'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
