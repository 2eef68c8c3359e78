#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint costs: zinf in turns with plain writes to the same disk, and with PyTorch's own asynchronous
distributed checkpoint (DCP) of the same model.

    regression/bench/checkpoint.py --zinf build/zinf --folder DISK [--peer-python ENV/bin/python] [--set ...]

Each turn:
  raw    as many bytes as a checkpoint has, 4 MiB at a time past the page cache (four in flight), fsync and rename:
         what the disk can
  zinf   a run of inputs/gpt2-124m.yaml: a checkpoint every `--every` steps that is laid over a step, and the last one,
         which is waited for (checkpoints.csv)
  peer   the same sizes and AdamW states in PyTorch, `async_save` after a step, steps meanwhile, until its future is
         done

Printed are medians: the rate of a checkpoint that is waited for over that of raw; how long training stood still, and
how much longer the step was that it was laid over than the median of those without (in per cent of it: the stall); for
the peer the same of the call of async_save and of the steps during it, and the time until it was durable.
"""
import argparse
import csv
import mmap
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

PEER = r"""
import os, sys, time
import torch, torch.distributed as dist
import torch.distributed.checkpoint as dcp
os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=sys.argv[4], RANK="0", WORLD_SIZE="1")
folder, steps, every = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(int(sys.argv[5]))
dist.init_process_group("gloo")
torch.manual_seed(1)
L, H, A, T, V, B = 12, 768, 12, 256, 50257, 4
class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.n1, self.n2 = torch.nn.LayerNorm(H), torch.nn.LayerNorm(H)
        self.qkv, self.out = torch.nn.Linear(H, 3 * H), torch.nn.Linear(H, H)
        self.up, self.down = torch.nn.Linear(H, 4 * H), torch.nn.Linear(4 * H, H)
    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = (y.view(b, t, A, H // A).transpose(1, 2) for y in self.qkv(self.n1(x)).split(H, 2))
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, H))
        return x + self.down(torch.nn.functional.gelu(self.up(self.n2(x)), approximate="tanh"))
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.token, self.place = torch.nn.Embedding(V, H), torch.nn.Embedding(1024, H)
        self.blocks, self.norm = torch.nn.ModuleList(Block() for _ in range(L)), torch.nn.LayerNorm(H)
    def forward(self, ids):
        x = self.token(ids) + self.place(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.token.weight.T
model = Model()
for parameter in model.parameters():
    if parameter.dim() > 1:
        torch.nn.init.normal_(parameter, 0.0, 0.02)
optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, fused=True)
saved = None
for step in range(1, steps + 1):
    start, during = time.time(), int(saved is not None and not saved.done())
    ids = torch.randint(V, (B, T + 1))
    loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    print("step", time.time() - start, during, flush=True)
    if step % every == 0:
        begun = time.time()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        saved = dcp.async_save(state, checkpoint_id=f"{folder}/dcp-{step}")
        print("call", time.time() - begun, flush=True)
        saved.add_done_callback(lambda f, begun=begun: print("durable", time.time() - begun, flush=True))
if saved:
    saved.result()
dist.destroy_process_group()
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zinf", default="build/zinf")
    parser.add_argument("--deck", default="inputs/gpt2-124m.yaml")
    parser.add_argument("--data", help="token file; default: the deck's")
    parser.add_argument("--folder", default=".", help="on the disk that is measured")
    parser.add_argument("--peer-python", help="an interpreter with torch; without it there is no peer")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=13)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    return parser.parse_args()


def write_raw(folder, size):
    """Bytes a second of `size` bytes, direct, four writes of 4 MiB in flight; then fsync and rename."""
    piece, path = 4 << 20, f"{folder}/raw.tmp"
    pieces = size // piece
    file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_DIRECT, 0o600)
    os.posix_fallocate(file, 0, pieces * piece)
    buffers = [mmap.mmap(-1, piece) for _ in range(4)]
    for buffer in buffers:
        buffer.write(os.urandom(1 << 20) * 4)

    def write(which):
        for k in range(which, pieces, 4):
            os.pwrite(file, buffers[which], k * piece)
    start = time.monotonic()
    threads = [threading.Thread(target=write, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.fsync(file)
    os.rename(path, f"{folder}/raw")
    seconds = time.monotonic() - start
    os.close(file)
    os.unlink(f"{folder}/raw")
    return pieces * piece / seconds


def run_zinf(options, folder):
    """Rows of steps.csv and of checkpoints.csv."""
    sets = [f"run.steps={options.steps}", f"run.directory={folder}/run", f"checkpoint.every={options.every}",
            "checkpoint.keep=2", f"device.threads={options.threads}"] + options.set
    if options.data:
        sets.append(f"data.train={options.data}")
    command = [options.zinf, "run", options.deck]
    for value in sets:
        command += ["--set", value]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"zinf failed with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    tables = []
    for name in ("steps", "checkpoints"):
        with open(f"{folder}/run/{name}.csv", newline="") as file:
            tables.append([{key: float(value) for key, value in row.items() if key != "checksum" and value}
                           for row in csv.DictReader(file)])
    shutil.rmtree(f"{folder}/run")
    return tables


def take_zinf(tables, every):
    """What a turn gave: usual step, still, longer, waited-for rate, seconds to durable."""
    steps, rows = tables
    laid = [row for row in rows if row["over_s"] > 0]
    over = {int(row["step"]) + 1 for row in laid}
    usual = statistics.median(row["seconds"] for row in steps
                              if int(row["step"]) not in over and row["step"] > 2)
    last = rows[-1]
    return {
        "usual": usual,
        "still": statistics.median(row["still_s"] for row in laid),
        "longer": statistics.median(row["over_s"] for row in laid) - usual,
        "rate": last["bytes"] / last["written_s"],
        "durable": statistics.median(row["seconds"] for row in laid),
        "bytes": last["bytes"],
        "every": every,
    }


def take_peer(options, folder, port):
    done = subprocess.run([options.peer_python, "-c", PEER, folder, str(options.steps), str(options.every), str(port),
                           str(options.threads)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"the peer failed:\n{done.stdout}{done.stderr}")
    found = {"step": [], "during": [], "call": [], "durable": []}
    for line in done.stdout.splitlines():
        words = line.split()
        if words and words[0] == "step":
            found["during" if words[2] == "1" else "step"].append(float(words[1]))
        elif words and words[0] in found:
            found[words[0]].append(float(words[1]))
    size = sum(os.path.getsize(os.path.join(where, name))
               for where, _, names in os.walk(f"{folder}/dcp-{options.every}") for name in names)
    for name in os.listdir(folder):
        if name.startswith("dcp-"):
            shutil.rmtree(f"{folder}/{name}")
    usual = statistics.median(found["step"][2:])
    return {"usual": usual, "still": statistics.median(found["call"]),
            "longer": statistics.median(found["during"]) - usual if found["during"] else 0.0,
            "durable": statistics.median(found["durable"]), "bytes": size}


def main():
    options = arguments()
    turns = {"raw": [], "zinf": [], "peer": []}
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="checkpoint-bench-") as folder:
        for turn in range(options.turns):
            turns["zinf"].append(take_zinf(run_zinf(options, folder), options.every))
            turns["raw"].append(write_raw(folder, int(turns["zinf"][-1]["bytes"])))
            if options.peer_python:
                turns["peer"].append(take_peer(options, folder, 29500 + turn))
            print(f"turn {turn + 1}:", {name: rows[-1] for name, rows in turns.items() if rows}, flush=True)
    zinf, raw = turns["zinf"], turns["raw"]
    print(f"\n{zinf[0]['bytes'] / 1e9:.2f} GB, {options.threads} threads; medians of {options.turns} turns")
    print(f"waited for: {statistics.median(z['rate'] for z in zinf) / 1e9:.2f} GB/s, raw "
          f"{statistics.median(raw) / 1e9:.2f} GB/s, ratio "
          f"{statistics.median(z['rate'] / r for z, r in zip(zinf, raw)):.2f}")
    rows = [("zinf", zinf)] + ([("peer", turns["peer"])] if turns["peer"] else [])
    print("| | step s | stood still s | step longer by s | stall, % of a step | durable after s |")
    print("|---|---|---|---|---|---|")
    for name, found in rows:
        def middle(key, found=found):
            return statistics.median(f[key] for f in found)
        stall = statistics.median((f["still"] + f["longer"]) / f["usual"] for f in found)
        print(f"| {name} | {middle('usual'):.3f} | {middle('still'):.3f} | {middle('longer'):.3f} | "
              f"{100 * stall:.1f} | {middle('durable'):.2f} |")


if __name__ == "__main__":
    main()
