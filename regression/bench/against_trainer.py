#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Full fine-tuning of a Llama-shaped model folder of 1.3 billion parameters by zinf against the Trainer of transformers
with DeepSpeed ZeRO-3, in alternation: the same folder, the same tokens a step, bf16, parameters and optimizer states on
NVMe, inner activations computed again, the same cores.

    regression/bench/against_trainer.py --zinf build/zinf --python ENV/bin/python --scratch /on/a/local/disk \\
        [--turns 2] [--batch 4x256] [--size 1.3B]

ENV has torch, transformers, accelerate and deepspeed (DS_ACCELERATOR=cpu pip install deepspeed). A batch is
SEQUENCESxTOKENS a step, a sequence at a time. Peak memory is ru_maxrss of the process; a step of zinf is the median of
those after the second. Exit code: 0, 1 where either fails, 77 without disk space.
"""
import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

import finetune
import measure

PEER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "trainer_step.py")
PEER_LINE = re.compile(r"peer: ([0-9.]+) s/step, maxrss ([0-9]+) bytes")
DISK_BYTES = 2 + 18  # per parameter: the folder, and the peer's states, which are more than zinf's


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zinf", default="build/zinf")
    parser.add_argument("--python", default="python3")
    parser.add_argument("--scratch", default=".", help="folder on the disk that takes the states of both")
    parser.add_argument("--size", default="1.3B", choices=sorted(finetune.SHAPES))
    parser.add_argument("--batch", default="4x256", metavar="SEQUENCESxTOKENS")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device-memory", default="1400 MiB")
    parser.add_argument("--host-memory", default="700 MiB")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    return parser.parse_args()


def zinf_turn(options, place, folder):
    """Seconds per step and peak bytes."""
    sequences, tokens = map(int, options.batch.split("x"))
    data = os.path.join(place.folder, "tokens.bin")
    if not os.path.exists(data):
        measure.write_tokens(data, 32000)
    deck = {"run": {"directory": os.path.join(place.folder, "run"), "steps": options.steps + 2, "report_every": 1},
            "model": {"from": folder},
            "data": {"train": data, "format": "nanogpt", "type": "uint16"},
            "batch": {"global": sequences, "micro": 1, "tokens": tokens},
            "optimizer": {"learning_rate": 1e-4, "schedule": "constant"},
            "precision": {"compute": "bf16"}, "checkpoint": {"final": False},
            "placement": {state: "nvme" for state in measure.STATES},
            "activations": {"recompute": "always"},
            "memory": {"device": options.device_memory, "host": options.host_memory},
            "device": {"threads": options.threads}, "nvme": {"paths": place.scratch}}
    run = measure.run_zinf(options.zinf, place, deck, options.set)
    return statistics.median(run.seconds(2)), run.peak_bytes


def peer_turn(options, place, folder):
    """The same of the peer."""
    sequences, tokens = options.batch.split("x")
    nvme = tempfile.mkdtemp(dir=place.scratch)
    environment = dict(os.environ, DS_ACCELERATOR="cpu", LOCAL_SIZE="1", OMP_NUM_THREADS=str(options.threads),
                       PATH=os.path.dirname(os.path.abspath(options.python)) + ":" + os.environ["PATH"])
    command = [options.python, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1", PEER, folder, nvme,
               sequences, tokens, str(options.steps + 1)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    shutil.rmtree(nvme, ignore_errors=True)
    found = PEER_LINE.search(done.stdout)
    if done.returncode != 0 or not found:
        sys.exit(f"the peer failed with exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return float(found.group(1)), int(found.group(2))


def main():
    options = arguments()
    config = finetune.config_of(options.size, 2048)
    needed = DISK_BYTES * finetune.parameters_of(config)
    if needed > shutil.disk_usage(options.scratch).free:
        print(f"skipped: needs {needed / 2**30:.0f} GiB on disk")
        return finetune.SKIPPED
    rates, peaks = [], []
    with measure.Workplace(options.scratch) as place:
        folder = os.path.join(place.scratch, "folder")
        finetune.make_folder(folder, config)
        for turn in range(options.turns):
            own, own_peak = zinf_turn(options, place, folder)
            print(f"turn {turn}: zinf {own:.2f} s/step, peak {own_peak / 2**30:.2f} GiB", flush=True)
            peer, peer_peak = peer_turn(options, place, folder)
            print(f"turn {turn}: peer {peer:.2f} s/step, peak {peer_peak / 2**30:.2f} GiB", flush=True)
            rates.append(peer / own)
            peaks.append(own_peak / peer_peak)
    print(f"{options.size} {options.batch}: {statistics.median(rates):.2f} times the tokens/s of the peer, "
          f"{statistics.median(peaks):.3f} of its peak memory (medians of {options.turns} turns)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
