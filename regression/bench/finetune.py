#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""From a model folder to a fine-tuned model folder within a memory cgroup: a Llama-shaped model of random bf16
parameters (made shard by shard) is imported, trained by LoRA for a few steps with its weights on NVMe, and exported,
merged. Prints peak and time of each part.

    regression/bench/finetune.py --zinf build/zinf --scratch /on/a/local/disk [--size 8B] [--limit "2 GiB"] [--steps 3]

Needs root (cgroups) and disk space of four times the model, since import, tiers, checkpoint and export each have it
once; what a part has read is removed as soon as the next one is done. Exit code: 0, 1 where a part fails, 77 where
there is no cgroup or no disk space.
"""
import argparse
import json
import os
import shutil
import struct
import sys
import tempfile
import time

import numpy as np

import cgroup
import measure

SKIPPED = 77
COPIES = 3.1  # of the model on disk at once
# hidden, inner, layers, heads, key heads, vocabulary: of 8B as Llama 3 has them.
SHAPES = {"8B": (4096, 14336, 32, 32, 8, 128256), "1.3B": (2048, 5632, 24, 32, 32, 32000),
          "0.1B": (768, 2048, 8, 12, 4, 32000)}
UNITS = {"MiB": 2**20, "GiB": 2**30}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zinf", default="build/zinf")
    parser.add_argument("--scratch", default=".", help="folder on the disk that takes everything")
    parser.add_argument("--size", default="8B", choices=sorted(SHAPES))
    parser.add_argument("--limit", default="2 GiB", help="of the cgroup")
    parser.add_argument("--device-memory", default="1100 MiB")
    parser.add_argument("--host-memory", default="500 MiB")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rank", type=int, default=8, help="of the adapters")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    return parser.parse_args()


def config_of(size, tokens):
    hidden, inner, layers, heads, key_heads, vocabulary = SHAPES[size]
    return {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": hidden,
            "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": key_heads, "vocab_size": vocabulary, "max_position_embeddings": max(tokens, 2048),
            "rope_theta": 500000.0, "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "torch_dtype": "bfloat16"}


def shards_of(config):
    """One shard for each end of the model and for each layer: lists of (name, shape)."""
    hidden, inner, rows = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    keys = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    yield [("model.embed_tokens.weight", [rows, hidden])]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        yield [(prefix + "input_layernorm.weight", [hidden]),
               (prefix + "self_attn.q_proj.weight", [hidden, hidden]),
               (prefix + "self_attn.k_proj.weight", [keys, hidden]),
               (prefix + "self_attn.v_proj.weight", [keys, hidden]),
               (prefix + "self_attn.o_proj.weight", [hidden, hidden]),
               (prefix + "post_attention_layernorm.weight", [hidden]),
               (prefix + "mlp.gate_proj.weight", [inner, hidden]),
               (prefix + "mlp.up_proj.weight", [inner, hidden]),
               (prefix + "mlp.down_proj.weight", [hidden, inner])]
    yield [("model.norm.weight", [hidden])]
    yield [("lm_head.weight", [rows, hidden])]


def parameters_of(config):
    return sum(int(np.prod(shape, dtype=np.int64)) for shard in shards_of(config) for _, shape in shard)


def write_values(file, shape, draw):
    """bf16: norms are ones, matrices normal with a deviation of 0.02, a piece of 4 Mi elements at a time."""
    count = int(np.prod(shape, dtype=np.int64))
    for first in range(0, count, 1 << 22):
        part = min(1 << 22, count - first)
        values = np.ones(part, np.float32) if len(shape) == 1 else \
            np.float32(0.02) * draw.standard_normal(part, dtype=np.float32)
        file.write((values.view(np.uint32) >> 16).astype(np.uint16).tobytes())


def write_shard(path, tensors, draw):
    """Its bytes."""
    head, at = {}, 0
    for name, shape in tensors:
        size = 2 * int(np.prod(shape, dtype=np.int64))
        head[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(head).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape in tensors:
            write_values(file, shape, draw)
    return at


def make_folder(folder, config):
    """Bytes of its tensors."""
    draw, index, total = np.random.default_rng(1), {}, 0
    os.mkdir(folder)
    for number, tensors in enumerate(shards_of(config)):
        name = f"model-{number:05}.safetensors"
        total += write_shard(os.path.join(folder, name), tensors, draw)
        index.update({tensor: name for tensor, _ in tensors})
    with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8") as file:
        json.dump({"metadata": {"total_size": total}, "weight_map": index}, file)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    return total


def deck_of(options, place, model):
    """All weights on NVMe, a sequence at a time."""
    deck = {"run": {"directory": os.path.join(place, "run"), "steps": options.steps, "report_every": 1},
            "model": {"from": model},
            "adapter": {"rank": options.rank},
            "data": {"train": os.path.join(place, "tokens.bin"), "format": "nanogpt", "type": "uint16"},
            "batch": {"global": 1, "micro": 1, "tokens": options.tokens},
            "optimizer": {"learning_rate": 1e-4},
            "precision": {"compute": "bf16"},
            "placement": {state: "nvme" for state in measure.STATES},
            "activations": {"recompute": "always"},
            "memory": {"device": options.device_memory, "host": options.host_memory},
            "device": {"threads": options.threads},
            "nvme": {"paths": os.path.join(place, "nvme")}}
    path = os.path.join(place, "deck.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(measure.to_yaml(deck) + "\n")
    return path


def in_group(options, what, words):
    """Runs zinf in a group of its own; whether it ended well."""
    begin = time.monotonic()
    with cgroup.MemoryGroup(int(float(options.limit.split()[0]) * UNITS[options.limit.split()[1]])) as group:
        run = measure.run_command(group.prefix() + [options.zinf, *words], watch=group.sample)
        peak = group.peak()
        print(f"{what:8} {time.monotonic() - begin:7.1f} s, exit code {run.code}; peak of the group with page cache "
              f"{peak / 2**20:.0f} MiB, anonymous {group.anonymous_peak / 2**20:.0f} MiB", flush=True)
    if run.code != 0:
        print(run.output[-3000:] + run.errors[-3000:])
    return run.code == 0


def parts(options, place, folder):
    """Import, training, export, each removing what nobody reads any more."""
    sets = [word for pair in options.set for word in ("--set", pair)]
    model, result = os.path.join(place, "model.h5"), os.path.join(place, "result")
    os.mkdir(os.path.join(place, "nvme"))
    measure.write_tokens(os.path.join(place, "tokens.bin"), 65536)
    if not in_group(options, "import", ["import", folder, "--output", model]):
        return False
    shutil.rmtree(folder)
    if not in_group(options, "train", ["run", deck_of(options, place, model), *sets]):
        return False
    with open(os.path.join(place, "run", "steps.csv"), encoding="utf-8") as file:
        print(file.read(), end="")
    os.remove(model)
    latest = os.path.join(place, "run", "checkpoints", "latest")
    return in_group(options, "export", ["export", latest, "--output", result])


def main():
    options = arguments()
    config = config_of(options.size, options.tokens)
    needed, free = COPIES * 2 * parameters_of(config), shutil.disk_usage(options.scratch).free
    if needed > free:
        print(f"skipped: needs {needed / 2**30:.0f} GiB on disk, {free / 2**30:.0f} are free")
        return SKIPPED
    place = tempfile.mkdtemp(prefix="zinf-finetune-", dir=options.scratch)
    try:
        folder = os.path.join(place, "folder")
        total = make_folder(folder, config)
        print(f"{total / 2e9:.3f} billion parameters, {total / 2**30:.2f} GiB", flush=True)
        return 0 if parts(options, place, folder) else 1
    except cgroup.NoCgroup as reason:
        print(f"skipped: {reason}")
        return SKIPPED
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
