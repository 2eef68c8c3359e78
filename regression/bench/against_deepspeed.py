#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Times zinf against DeepSpeed ZeRO-3 with all states on NVMe, in alternation: the same GPT-2, the same tokens
a step, bf16, the same cores; gradients in host memory on both sides, parameters and optimizer states on disk.

    regression/bench/against_deepspeed.py --zinf build/zinf --peers PEERS --torchrun ENV/bin/torchrun \\
        --scratch /on/a/local/disk [--batch 1x128 --batch 4x256 --batch 1x128x8] [--turns 3] [--recompute]

PEERS has deepspeed_step.py and deepspeed_nvme.json: a program that takes its shape from the environment (HIDDEN,
LAYERS, HEADS, VOCABULARY, CONTEXT, TOKENS, SEQUENCES, MICRO_BATCHES, RECOMPUTE, STEPS, NVME_DIR), drops two
steps and ends with a line "... s/step ..., read R written W bytes per parameter and step, maxrss G GiB".

A batch is MICROxTOKENSxMICRO_BATCHES of one rank. Inner activations are kept in memory on both sides, or computed
again on both with --recompute. Peak memory is ru_maxrss of the process; bytes are the kernel's (/proc/self/io).
"""
import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

import measure

PEER_LINE = re.compile(r"([0-9.]+) s/step .* read ([0-9.]+) written ([0-9.]+) bytes per parameter and step, "
                       r"maxrss ([0-9.]+) GiB")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zinf", default="build/zinf")
    parser.add_argument("--peers", required=True, help="folder of the DeepSpeed script and its configuration")
    parser.add_argument("--torchrun", default="torchrun")
    parser.add_argument("--scratch", default=".", help="folder on the disk that takes the states of both")
    parser.add_argument("--batch", action="append", metavar="MICROxTOKENSxMICRO_BATCHES")
    parser.add_argument("--model", default="124M", choices=sorted(measure.SHAPES))
    parser.add_argument("--vocabulary", type=int, default=50257)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--device-memory", default="896 MiB", help="memory.device of zinf")
    parser.add_argument("--host-memory", default="512 MiB", help="memory.host of zinf")
    parser.add_argument("--recompute", action="store_true", help="both compute inner activations again")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6, help="counted steps of a run")
    parser.add_argument("--warm-up", type=int, default=2, help="steps of zinf before those that count")
    parser.add_argument("--skip-peer", action="store_true", help="time zinf alone")
    return parser.parse_args()


class Figures:
    """One run of either: medians over its counted steps."""

    def __init__(self, tokens_per_s, read, written, peak_gib):
        self.tokens_per_s, self.read, self.written, self.peak_gib = tokens_per_s, read, written, peak_gib

    def __str__(self):
        return (f"{self.tokens_per_s:.1f} tokens/s, read {self.read:.1f} written {self.written:.1f} "
                f"bytes per parameter and step, peak {self.peak_gib:.2f} GiB")


def run_zinf(options, place, model, batch):
    deck = place.deck(
        model, measure.batch_section(*batch), options.warm_up + options.steps,
        zero={"stage": 3},
        placement={"parameters": "nvme", "gradients": "host", "optimizer": "nvme", "activations": "device"},
        memory={"device": options.device_memory, "host": options.host_memory},
        activations={"recompute": "always" if options.recompute else "never"},
        device={"threads": options.threads})
    run = measure.run_zinf(options.zinf, place, deck, options.set)
    parameters = measure.model_parameters(model)
    moved = []
    for name in ("io_read_bytes", "io_written_bytes"):
        values = run.column(name, options.warm_up)
        moved.append(statistics.median(values) / parameters if values else float("nan"))
    return Figures(run.tokens_per_step() / statistics.median(run.seconds(options.warm_up)), *moved,
                   run.peak_bytes / measure.GIB)


def run_peer(options, place, model, batch):
    micro, tokens, micro_batches = batch
    states = tempfile.mkdtemp(prefix="peer-", dir=place.scratch)
    environment = dict(
        os.environ, HIDDEN=str(model["hidden"]), LAYERS=str(model["layers"]), HEADS=str(model["heads"]),
        VOCABULARY=str(model["vocabulary"]), CONTEXT=str(model["context"]), TOKENS=str(tokens),
        SEQUENCES=str(micro), MICRO_BATCHES=str(micro_batches), STEPS=str(options.steps),
        RECOMPUTE="1" if options.recompute else "0", DTYPE="bf16", HOST="0", NVME_DIR=states,
        DS_ACCELERATOR="cpu", LOCAL_SIZE="1", OMP_NUM_THREADS=str(options.threads),
        PYTHONDONTWRITEBYTECODE="1")
    # The extensions are found by the compiler's tools beside torchrun.
    tools = os.path.dirname(shutil.which(options.torchrun) or "")
    environment["PATH"] = tools + os.pathsep + environment["PATH"]
    command = [options.torchrun, "--standalone", "--nproc_per_node=1", "deepspeed_step.py", "deepspeed_nvme.json"]
    try:
        done = subprocess.run(command, cwd=options.peers, env=environment, capture_output=True, text=True)
    finally:
        shutil.rmtree(states, ignore_errors=True)
    match = PEER_LINE.search(done.stdout)
    if done.returncode != 0 or not match:
        sys.exit(f"the peer failed: {' '.join(command)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    seconds, read, written, peak = map(float, match.groups())
    return Figures(micro * tokens * micro_batches / seconds, read, written, peak)


def middle(figures, name, form):
    return form.format(statistics.median(getattr(one, name) for one in figures))


def compare(options, place, model, batch):
    """Cells of one row of the table."""
    ours, theirs = [], []
    for turn in range(options.turns):
        ours.append(run_zinf(options, place, model, batch))
        print(f"turn {turn + 1}: zinf      {ours[-1]}", flush=True)
        if not options.skip_peer:
            theirs.append(run_peer(options, place, model, batch))
            print(f"        DeepSpeed {theirs[-1]}\n        ratio of tokens/s "
                  f"{ours[-1].tokens_per_s / theirs[-1].tokens_per_s:.2f}", flush=True)
    ratios = [mine.tokens_per_s / yours.tokens_per_s for mine, yours in zip(ours, theirs)]
    cells = []
    for name, form in (("tokens_per_s", "{:.1f}"), ("read", "{:.1f}"), ("written", "{:.1f}"),
                       ("peak_gib", "{:.2f}")):
        cells.append(middle(ours, name, form))
        cells.append(middle(theirs, name, form) if theirs else "")
    return cells + [measure.median_range(ratios) if ratios else ""]


def main():
    options = arguments()
    options.peers = os.path.abspath(options.peers)
    model = measure.model_section(options.model, vocabulary=options.vocabulary)
    batches = [measure.read_batch(text) for text in options.batch or ["1x128", "4x256", "1x128x8"]]
    rows = []
    with measure.Workplace(options.scratch) as place:
        for batch in batches:
            micro, tokens, micro_batches = batch
            name = f"{micro_batches} x {micro} x {tokens}"
            print(f"{name} tokens a step, {measure.model_parameters(model):,} parameters, RECOMPUTE="
                  f"{int(options.recompute)}, {options.threads} threads", flush=True)
            rows.append([name] + compare(options, place, model, batch))
    print(measure.table(
        ["micro-batches x sequences x tokens", "zinf tokens/s", "DeepSpeed", "zinf read B", "DeepSpeed",
         "zinf written B", "DeepSpeed", "zinf peak GiB", "DeepSpeed", "ratio of tokens/s"], rows))


if __name__ == "__main__":
    main()
