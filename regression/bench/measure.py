# SPDX-License-Identifier: Apache-2.0
"""What the benches share: shapes of models, decks made from dictionaries, one run of zinf with its records and
its peak memory, medians and Markdown tables.

A deck is written as JSON, which is YAML. Tokens are random over the whole vocabulary, so that the embedding and the
loss meet as many different rows as a peer fed by torch.randint does.
"""
import csv
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from array import array

GIB = 2**30
STATES = ("parameters", "gradients", "optimizer", "activations")
# name: (hidden, layers, heads); the names are what a row of parameters comes to, in gpt2 as in llama.
SHAPES = {
    "30M": (512, 8, 8),
    "124M": (768, 12, 12),
    "0.35B": (1024, 24, 16),
    "0.76B": (1536, 24, 16),
    "1.3B": (2048, 24, 16),
    "2.7B": (2560, 32, 32),
    "4B": (3072, 34, 24),
}


def model_section(name, family="gpt2", context=1024, vocabulary=0):
    hidden, layers, heads = SHAPES[name]
    if not vocabulary:
        vocabulary = 8192 if name == "30M" else 50257 if family == "gpt2" else 32000
    return {"family": family, "layers": layers, "hidden": hidden, "heads": heads,
            "context": context, "vocabulary": vocabulary}


def inner_width(model):
    hidden = model["hidden"]
    return 4 * hidden if model["family"] == "gpt2" else -(-8 * hidden // (3 * 64)) * 64


def model_parameters(model):
    """Number of parameters: gpt2 with a tied head, learned positions, biases; llama untied, without biases."""
    hidden, inner, rows = model["hidden"], inner_width(model), model["vocabulary"]
    if model["family"] == "gpt2":
        block = 4 * hidden * hidden + 2 * hidden * inner + 4 * hidden + inner + hidden + 4 * hidden
        return model["layers"] * block + (rows + model["context"]) * hidden + 2 * hidden
    block = 4 * hidden * hidden + 3 * hidden * inner + 2 * hidden
    return model["layers"] * block + 2 * rows * hidden + hidden


def tiles_for(model, elements):
    """The tiling whose largest tile of attention, MLP and vocabulary has at most so many parameters, where heads,
    columns and rows allow it."""
    hidden, inner, heads = model["hidden"], inner_width(model), model["heads"]
    matrices = 2 if model["family"] == "gpt2" else 3

    def fewest(pieces, bytes_of_piece):
        for count in range(1, pieces + 1):
            if -(-pieces // count) * bytes_of_piece <= elements:
                return count
        return pieces

    return {"attention": fewest(heads, 4 * hidden * hidden // heads),
            "mlp": fewest(inner, matrices * hidden),
            "vocabulary": fewest(model["vocabulary"], hidden)}


def write_tokens(path, vocabulary, count=200000):
    """Random tokens as bare uint16 (data.format: nanogpt), always the same."""
    draw = random.Random(1)
    with open(path, "wb") as file:
        array("H", [draw.randrange(min(vocabulary, 65536)) for _ in range(count)]).tofile(file)


class Workplace:
    """A folder for decks and runs, and one for states on disk; both go away."""

    def __init__(self, scratch=None):
        self.scratch_parent = scratch or "."

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self.folder = tempfile.mkdtemp(prefix="zinf-bench-")
        os.makedirs(self.scratch_parent, exist_ok=True)
        self.scratch = tempfile.mkdtemp(prefix="zinf-bench-", dir=self.scratch_parent)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def deck(self, model, batch, steps, **sections):
        """A deck that only times: no validation, no checkpoint, a line every step."""
        tokens = os.path.join(self.folder, f"tokens-{model['vocabulary']}.bin")
        if not os.path.exists(tokens):
            write_tokens(tokens, model["vocabulary"])
        deck = {
            "run": {"name": "bench", "directory": os.path.join(self.folder, "run"), "steps": steps,
                    "report_every": 1},
            "model": model,
            "data": {"train": tokens, "format": "nanogpt"},
            "batch": batch,
            "optimizer": {"learning_rate": 6e-4, "weight_decay": 0.1, "clip": 1.0},
            "precision": {"compute": "bf16"},
            "checkpoint": {"final": False},
            "nvme": {"paths": self.scratch},
        }
        for name, section in sections.items():
            deck.setdefault(name, {}).update(section)
        return deck

    def write_deck(self, deck):
        path = os.path.join(self.folder, "deck.yaml")
        with open(path, "w") as file:
            file.write(to_yaml(deck) + "\n")
        return path


def to_yaml(deck):
    def plain(value):
        if isinstance(value, bool):
            return "yes" if value else "no"
        return value

    return json.dumps({section: {key: plain(value) for key, value in keys.items()}
                       for section, keys in deck.items()}, indent=1)


class Run:
    """What one run left: rows of steps.csv, peak resident bytes, and its output."""

    def __init__(self, code, peak_bytes, output, errors):
        self.code, self.peak_bytes = code, peak_bytes
        self.output, self.errors = output, errors
        self.steps = []

    def seconds(self, warm_up):
        return [float(row["seconds"]) for row in self.steps[warm_up:]]

    def tokens_per_step(self):
        return float(self.steps[-1]["tokens"]) / len(self.steps)

    def column(self, name, warm_up):
        """Values of a column of steps.csv, or None where it has none or the kernel did not tell (-1)."""
        if name not in self.steps[0]:
            return None
        values = [float(row[name]) for row in self.steps[warm_up:]]
        return None if -1 in values else values

    def waits(self, warm_up):
        """Mean seconds per step that the compute lane stood still for each other lane, by lane; longest first."""
        lanes = [name[len("wait_"):] for name in self.steps[0] if name.startswith("wait_")]
        means = {lane: statistics.mean(self.column("wait_" + lane, warm_up)) for lane in lanes}
        return dict(sorted(means.items(), key=lambda item: -item[1]))


def read_rows(path):
    try:
        with open(path, newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        return []


def run_command(command, watch=None):
    """Runs it to its end; `watch` is called every 50 ms with the process id."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL)
        try:
            code, usage = wait_for(process, watch)
        except BaseException:
            process.terminate()  # zinf removes its files
            process.wait()
            raise
        out.seek(0)
        err.seek(0)
        return Run(code, usage.ru_maxrss * 1024, out.read(), err.read())


def run_zinf(zinf, place, deck, sets=(), before=(), watch=None, may_fail=False):
    """Runs the deck; `before` is put before the command."""
    folder = deck["run"]["directory"]
    shutil.rmtree(folder, ignore_errors=True)
    command = list(before) + [zinf, "run", place.write_deck(deck)]
    for value in sets:
        command += ["--set", value]
    run = run_command(command, watch)
    run.steps = read_rows(os.path.join(folder, "steps.csv"))
    if run.code != 0 and not may_fail:
        sys.exit(f"zinf failed with exit code {run.code}: {' '.join(command)}\n{run.output}{run.errors}")
    return run


def wait_for(process, watch):
    """Exit code (128 + signal where one killed it) and resources of a child."""
    while True:
        pid, status, usage = os.wait4(process.pid, 0 if watch is None else os.WNOHANG)
        if pid != 0:
            break
        watch(process.pid)
        time.sleep(0.05)
    process.returncode = os.waitstatus_to_exitcode(status)
    code = process.returncode
    return (code if code >= 0 else 128 - code), usage


def table(headings, rows):
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def median_range(values, form="{:.2f}"):
    middle = form.format(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({form.format(min(values))} to {form.format(max(values))})"


def read_batch(text):
    """MICROxTOKENSxMICRO_BATCHES of one rank, such as 1x128x8; the last may be left out."""
    numbers = [int(word) for word in text.split("x")]
    if len(numbers) == 2:
        numbers.append(1)
    if len(numbers) != 3 or min(numbers) < 1:
        sys.exit(f"{text}: expected MICROxTOKENS or MICROxTOKENSxMICRO_BATCHES, such as 1x128x8")
    return numbers


def batch_section(micro, tokens, micro_batches):
    return {"global": micro * micro_batches, "micro": micro, "tokens": tokens}
