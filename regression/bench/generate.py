#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Generation with a cache, batch 1, against transformers with its cache, on the same cores in alternation.

    regression/bench/generate.py --zinf build/zinf --python /path/to/python-with-transformers
                                 [--tokens 64] [--prompt-tokens 8] [--turns 5] [--threads 2] [--type fp32 bf16]

The model is GPT-2 124M with random weights, made by transformers and read by both from the same folder. Each turn
runs zinf, then the peer; both take the likeliest token. Counted are the passes behind the prompt, one token each,
and both say their rate themselves, so that starting and loading do not count. Ids of both are compared: random
weights make near ties, so that a difference is told, not failed. Prints medians and their ratio, and ends with 1
where it is below --at-least.
"""
import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile

MAKE = """
import sys, torch
from transformers import GPT2Config, GPT2LMHeadModel
torch.manual_seed(0)
for type in sys.argv[2:]:
    model = GPT2LMHeadModel(GPT2Config()).to({"fp32": torch.float32, "bf16": torch.bfloat16}[type])
    model.save_pretrained(f"{sys.argv[1]}/{type}")
"""

PEER = """
import sys, time, torch
from transformers import GPT2LMHeadModel
folder, type, ids, tokens, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
torch.set_grad_enabled(False)
model = GPT2LMHeadModel.from_pretrained(folder, dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[type]).eval()
tokens = int(tokens)

def run():
    last = torch.tensor([[int(i) for i in ids.split(",")]])
    made = last[0].tolist()
    past, start = None, None
    for n in range(tokens):
        out = model(last, past_key_values=past, use_cache=True)
        past = out.past_key_values
        last = out.logits[:, -1:].argmax(-1)
        made.append(last.item())
        if start is None:
            start = time.perf_counter()  # the prompt's pass is over
    return made, (tokens - 1) / (time.perf_counter() - start)

run()
made, rate = run()
print(",".join(map(str, made)))
print(f"{rate:.3f} a second")
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zinf", default="build/zinf")
    parser.add_argument("--python", default=sys.executable, help="has torch and transformers")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompt-tokens", type=int, default=8)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--type", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--at-least", type=float, default=0, help="ratio of the medians")
    return parser.parse_args()


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    rate = re.search(r"([0-9.]+) a second", done.stdout + done.stderr)
    return done.stdout.splitlines()[-1 if "a second" not in done.stdout else -2], float(rate.group(1))


def compare(options, folder, kind):
    ids = ",".join(str(7 * i * i % 50257) for i in range(1, options.prompt_tokens + 1))
    zinf = [options.zinf, "generate", folder, "--ids", ids, "--tokens", str(options.tokens), "--temperature", "0",
            "--threads", str(options.threads), "--timings"]
    peer = [options.python, "-c", PEER, folder, kind, ids, str(options.tokens), str(options.threads)]
    ours, theirs, made = [], [], set()
    for turn in range(options.turns):
        for command, rates in (zinf, ours), (peer, theirs):
            text, rate = run(command)
            rates.append(rate)
            made.add(text)
        print(f"{kind}, turn {turn + 1}: zinf {ours[-1]:.2f}, transformers {theirs[-1]:.2f} tokens/s", flush=True)
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(f"{kind}: medians zinf {statistics.median(ours):.2f}, transformers {statistics.median(theirs):.2f} tokens/s,"
          f" ratio {ratio:.2f}; ids {'the same' if len(made) == 1 else 'differ'}")
    return ratio


def main():
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="zinf-bench-") as folder:
        subprocess.run([options.python, "-c", MAKE, folder, *options.type], check=True, capture_output=True)
        ratios = [compare(options, f"{folder}/{kind}", kind) for kind in options.type]
    sys.exit(min(ratios) < options.at_least)


if __name__ == "__main__":
    main()
