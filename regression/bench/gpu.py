#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What only a GPU can show, in parts that each print a table: gpu.sh runs them all in under eight minutes.

    gpu.py --zinf build/zinf --scratch /on/a/local/disk memory|placement|largest|curve [--python ENV/bin/python]

memory     GPT-2 of 124M and 1.5B, all in device memory, in alternation with a PyTorch loop of the same model
placement  the 1.5B with optimizer states on the device, in host memory, on NVMe, at the same step
largest    the deepest model of the 1.5B's width that `zinf plan` says one GPU trains with all states away, trained
curve      tokens/s of the 1.5B over tokens per step, for states on device, host and NVMe

--tiny takes models of a few thousand parameters, to see under the emulation that everything runs to its end. The
share of peak is zinf's own, which names the peak that it is of.
"""
import argparse
import re
import statistics
import subprocess
import sys

import measure

MODELS = {"124M": (768, 12, 12), "1.5B": (1600, 48, 25)}
TINY = {"124M": (32, 2, 2), "1.5B": (48, 2, 3)}
AWAY = {"device": {}, "host": {"optimizer": "host"},
        "nvme": {"parameters": "nvme", "gradients": "host", "optimizer": "nvme"}}


class Sizes:
    """Shapes of models and steps: real ones, or tiny ones for the emulation."""

    def __init__(self, options):
        self.models = TINY if options.tiny else MODELS
        self.vocabulary, self.tokens = (61, 16) if options.tiny else (50257, 1024)
        self.micro = {"124M": 2, "1.5B": 2} if options.tiny else {"124M": 32, "1.5B": 16}
        self.steps, self.warm_up = (1, 1) if options.tiny else (4, 2)
        # Tokens of a step, in sequences.
        self.step = {"124M": 4, "1.5B": 4} if options.tiny else {"124M": 256, "1.5B": 128}
        self.curve = (2, 4) if options.tiny else (32, 128, 512)

    def model(self, name):
        hidden, layers, heads = self.models[name]
        return {"family": "gpt2", "layers": layers, "hidden": hidden, "heads": heads, "context": self.tokens,
                "vocabulary": self.vocabulary}

    def batch(self, name, sequences):
        micro = min(self.micro[name], sequences)
        return measure.batch_section(micro, self.tokens, sequences // micro)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["memory", "placement", "largest", "curve"])
    parser.add_argument("--zinf", default="build/zinf")
    parser.add_argument("--scratch", default=".", help="folder on the disk that takes the states")
    parser.add_argument("--python", help="Python with PyTorch, for part memory")
    parser.add_argument("--set", action="append", default=[], help="--set of all runs, as SECTION.KEY=VALUE")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--tiny", action="store_true")
    return parser.parse_args()


class Bench:
    def __init__(self, options, place):
        self.options, self.place, self.sizes = options, place, Sizes(options)

    def run(self, model, batch, tier, steps=None, sets=()):
        """Tokens/s of a run, and its share of peak as text."""
        sizes = self.sizes
        deck = self.place.deck(model, batch, steps or sizes.warm_up + sizes.steps,
                               device={"type": "cuda"}, placement=AWAY[tier])
        run = measure.run_zinf(self.options.zinf, self.place, deck, self.options.set + list(sets))
        seconds = run.seconds(sizes.warm_up if not steps else 1)
        shares = re.findall(r"([0-9.]+)% of peak", run.output)
        peak = re.search(r"peak.*", run.output)
        if peak and not hasattr(self, "peak_said"):
            self.peak_said = True
            print("  " + peak.group(0).strip(), flush=True)
        return run.tokens_per_step() / statistics.median(seconds), shares[-1] + " %" if shares else "-"

    def torch(self, model, batch):
        """Tokens/s of the PyTorch loop."""
        count = batch["global"] // batch["micro"]
        numbers = [model["layers"], model["hidden"], model["heads"], model["vocabulary"], batch["tokens"],
                   batch["micro"], count, self.sizes.steps]
        command = [self.options.python, sys.path[0] + "/torch_gpu.py"] + [str(number) for number in numbers]
        if self.options.tiny:
            command += ["--device", "cpu"]
        done = subprocess.run(command, capture_output=True, text=True)
        match = re.search(r"([0-9.]+) s/step", done.stdout)
        if done.returncode != 0 or not match:
            print(f"  the PyTorch loop failed:\n{done.stdout}{done.stderr[-2000:]}")
            return None
        print("  " + done.stdout.strip(), flush=True)
        return batch["global"] * batch["tokens"] / float(match.group(1))

    def memory(self):
        rows = []
        for name in self.sizes.models:
            model, batch = self.sizes.model(name), self.sizes.batch(name, self.sizes.step[name])
            ours, theirs, share = [], [], "-"
            for _ in range(self.options.turns):
                speed, share = self.run(model, batch, "device")
                ours.append(speed)
                peer = self.torch(model, batch) if self.options.python else None
                if peer:
                    theirs.append(peer)
            ratios = [a / b for a, b in zip(ours, theirs)]
            rows.append([name, batch["global"] * batch["tokens"], f"{statistics.median(ours):.0f}", share,
                         f"{statistics.median(theirs):.0f}" if theirs else "not run",
                         measure.median_range(ratios) if ratios else "-"])
        print(measure.table(["model", "tokens a step", "zinf tokens/s", "of peak", "PyTorch tokens/s", "ratio"], rows))

    def placement(self):
        model, batch = self.sizes.model("1.5B"), self.sizes.batch("1.5B", self.sizes.step["1.5B"])
        rows, base = [], None
        for tier in AWAY:
            speed, share = self.run(model, batch, tier)
            base = base or speed
            rows.append([tier, f"{speed:.0f}", share, f"{speed / base:.2f}"])
        print(measure.table(["states on", "tokens/s", "of peak", "of device"], rows))

    def device_memory(self):
        """Nine tenths of what the device has, as a setting."""
        if self.options.tiny:
            return "memory.device=1 MiB"
        done = subprocess.run(["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"],
                              capture_output=True, text=True, check=True)
        return f"memory.device={int(done.stdout.split()[0]) * 9 // 10} MiB"

    def largest(self):
        model, batch = self.sizes.model("1.5B"), self.sizes.batch("1.5B", self.sizes.micro["1.5B"])
        sets = self.options.set + [self.device_memory()]
        deck = self.place.deck(model, batch, 3, device={"type": "cuda"},
                               placement={state: "nvme" for state in measure.STATES})
        command = [self.options.zinf, "plan", self.place.write_deck(deck)]
        for value in sets:
            command += ["--set", value]
        done = subprocess.run(command, capture_output=True, text=True)
        match = re.search(r"([0-9]+) layers of [0-9]+", done.stdout.partition("largest")[2])
        if not match:
            sys.exit(f"zinf plan does not say:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
        print(f"  {match.group(0)} would fit", flush=True)
        model["layers"] = min(int(match.group(1)), 4 if self.options.tiny else 4096)
        deck["model"] = model
        run = measure.run_zinf(self.options.zinf, self.place, deck, sets, may_fail=True)
        parameters = measure.model_parameters(model)
        print(f"  {model['layers']} layers of {model['hidden']}: {parameters / 1e9:.2f} B parameters, exit code "
              f"{run.code}" + (f", {run.tokens_per_step() / statistics.median(run.seconds(1)):.0f} tokens/s"
                               if run.code == 0 else f"\n{run.errors[-1500:]}"))
        if run.code != 0:
            sys.exit(1)

    def curve(self):
        model, rows = self.sizes.model("1.5B"), []
        for sequences in self.sizes.curve:
            batch = self.sizes.batch("1.5B", sequences)
            speeds = [self.run(model, batch, tier, steps=3)[0] for tier in AWAY]
            rows.append([sequences * self.sizes.tokens] + [f"{speed:.0f}" for speed in speeds] +
                        [f"{speed / speeds[0]:.2f}" for speed in speeds[1:]])
        print(measure.table(["tokens a step", "device", "host", "nvme", "host of device", "nvme of device"], rows))


def main():
    options = arguments()
    with measure.Workplace(options.scratch) as place:
        getattr(Bench(options, place), options.part)()


if __name__ == "__main__":
    main()
