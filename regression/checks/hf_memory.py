#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Import and export of model folders that are many times larger than the memory they take: a Llama of 0.4 billion
parameters in bf16, 0.9 GB in shards, and a GPT-2 of 0.1 billion in fp32, whose matrices are turned on the way.
The kernel's count of resident memory must stay below 128 MiB.

--layers N makes the Llama deeper: 50 million parameters a layer.
"""
import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile

BUILD = os.environ.get("abs_top_builddir", os.getcwd())
ZINF = os.environ.get("ZINF", os.path.join(BUILD, "zinf"))
MOST = 128 << 20
BYTES = {"F32": 4, "BF16": 2}


def write_file(path, kind, shapes):
    """Tensors of zeros, which are holes of the file, but for a number in the middle of each."""
    head, at = {}, 0
    for name, shape in shapes:
        size = BYTES[kind]
        for extent in shape:
            size *= extent
        head[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(head).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for entry in head.values():
            begin, end = entry["data_offsets"]
            file.seek(8 + len(text) + (begin + end) // 2 // 4 * 4)
            file.write(b"\x80\x3f\x80\x3f")
        file.truncate(8 + len(text) + at)
    return list(head)


def llama(folder, layers):
    width, inner, vocabulary = 2048, 5632, 32000
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": width,
              "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": 16,
              "num_key_value_heads": 16, "vocab_size": vocabulary, "max_position_embeddings": 2048}
    shards = [[("model.embed_tokens.weight", [vocabulary, width])], [("lm_head.weight", [vocabulary, width])],
              [("model.norm.weight", [width])]]
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        shards.append([(prefix + f"self_attn.{name}_proj.weight", [width, width]) for name in "qkvo"] +
                      [(prefix + f"{name}_layernorm.weight", [width]) for name in ("input", "post_attention")] +
                      [(prefix + f"mlp.{name}_proj.weight", [inner, width]) for name in ("gate", "up")] +
                      [(prefix + "mlp.down_proj.weight", [width, inner])])
    index = {}
    for number, shapes in enumerate(shards):
        name = f"model-{number}.safetensors"
        index.update({key: name for key in write_file(os.path.join(folder, name), "BF16", shapes)})
    with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8") as file:
        json.dump({"weight_map": index}, file)
    return config


def gpt2(folder, layers):
    width, vocabulary, context = 768, 50257, 1024
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_layer": layers}
    shapes = [("wte.weight", [vocabulary, width]), ("wpe.weight", [context, width]), ("ln_f.weight", [width]),
              ("ln_f.bias", [width])]
    for layer in range(layers):
        for name, rows, columns in (("attn.c_attn", width, 3 * width), ("attn.c_proj", width, width),
                                    ("mlp.c_fc", width, 4 * width), ("mlp.c_proj", 4 * width, width)):
            shapes += [(f"h.{layer}.{name}.weight", [rows, columns]), (f"h.{layer}.{name}.bias", [columns])]
        shapes += [(f"h.{layer}.{name}.{kind}", [width]) for name in ("ln_1", "ln_2") for kind in ("weight", "bias")]
    write_file(os.path.join(folder, "model.safetensors"), "F32", shapes)
    return config


def run(*words):
    """Runs zinf; peak resident bytes."""
    with subprocess.Popen([ZINF, *words], stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        print(f"failed: zinf {' '.join(words)} ends with {process.returncode}")
        sys.exit(1)
    return usage.ru_maxrss * 1024


def places(folder):
    """Name: file, first byte, bytes, of all tensors of a folder."""
    found = {}
    for name in os.listdir(folder):
        if not name.endswith(".safetensors"):
            continue
        path = os.path.join(folder, name)
        with open(path, "rb") as file:
            size, = struct.unpack("<Q", file.read(8))
            head = json.loads(file.read(size))
        head.pop("__metadata__", None)
        for key, entry in head.items():
            begin, end = entry["data_offsets"]
            found[key.removeprefix("transformer.")] = path, 8 + size + begin, end - begin
    return found


def same(one, other):
    """Whether two tensors have the same bytes."""
    with open(one[0], "rb") as left, open(other[0], "rb") as right:
        left.seek(one[1])
        right.seek(other[1])
        for done in range(0, one[2], 1 << 22):
            most = min(1 << 22, one[2] - done)
            if left.read(most) != right.read(most):
                return False
    return one[2] == other[2]


def measure(work, make, layers):
    folder, model, out = os.path.join(work, "in"), os.path.join(work, "m.h5"), os.path.join(work, "out")
    os.mkdir(folder)
    config = make(folder, layers)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    size = sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder))
    peaks = run("import", folder, "--output", model), run("export", model, "--output", out)
    print(f"{config['model_type']}: {size / 1e9:.2f} GB; import {peaks[0] >> 20} MiB, export {peaks[1] >> 20} MiB")
    if max(peaks) >= MOST:
        print(f"failed: more than {MOST >> 20} MiB")
        sys.exit(1)
    before, after = places(folder), places(out)
    if before.keys() != after.keys() or not all(same(before[name], after[name]) for name in before):
        print("failed: what was exported is not what was imported")
        sys.exit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--scratch", default=BUILD)
    arguments = parser.parse_args()
    for make, layers in ((llama, arguments.layers), (gpt2, 6)):
        with tempfile.TemporaryDirectory(dir=arguments.scratch) as work:
            measure(work, make, layers)
