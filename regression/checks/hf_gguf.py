#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""analysis/gguf_folder.py on a small GGUF file that the package gguf writes: weights in the order and with the bits
that they had before, also those that were quantised to 8 bits and back; zinf imports the folder and takes its
tokenizer; what is no llama is refused by name. Skipped (77) without gguf; ZINF_PEERS_PYTHON names a Python that has it.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile

TOP = os.environ.get("top_srcdir", ".")
BUILD = os.environ.get("abs_top_builddir", os.getcwd())
ZINF = os.environ.get("ZINF", os.path.join(BUILD, "zinf"))

if "ZINF_PEERS_PYTHON" in os.environ:
    # A virtual environment's interpreter may be a link to this one.
    python = os.environ.pop("ZINF_PEERS_PYTHON")
    os.execvp(python, [python, *sys.argv])
try:
    import gguf
    import numpy as np
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

HIDDEN, INNER, LAYERS, HEADS, KEY_HEADS, CONTEXT = 64, 96, 2, 4, 2, 128
WIDTH = HIDDEN // HEADS
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
failures = []


def check(condition, what):
    if not condition:
        failures.append(what)


def byte_tokens():
    """The characters that stand for the 256 bytes in byte-level BPE."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in kept] + [chr(256 + i) for i in range(256 - len(kept))]


def shapes():
    """Names of GGUF and of transformers, and shapes."""
    vocabulary = len(SPECIAL) + 257
    yield "token_embd.weight", "model.embed_tokens.weight", (vocabulary, HIDDEN)
    yield "output_norm.weight", "model.norm.weight", (HIDDEN,)
    for layer in range(LAYERS):
        for name, other, shape in (
                ("attn_norm", "input_layernorm", (HIDDEN,)), ("ffn_norm", "post_attention_layernorm", (HIDDEN,)),
                ("attn_q", "self_attn.q_proj", (HIDDEN, HIDDEN)),
                ("attn_k", "self_attn.k_proj", (KEY_HEADS * WIDTH, HIDDEN)),
                ("attn_v", "self_attn.v_proj", (KEY_HEADS * WIDTH, HIDDEN)),
                ("attn_output", "self_attn.o_proj", (HIDDEN, HIDDEN)), ("ffn_gate", "mlp.gate_proj", (INNER, HIDDEN)),
                ("ffn_up", "mlp.up_proj", (INNER, HIDDEN)), ("ffn_down", "mlp.down_proj", (HIDDEN, INNER))):
            yield f"blk.{layer}.{name}.weight", f"model.layers.{layer}.{other}.weight", shape


def paired(rows, heads):
    """From halves of a head to pairs side by side, row by row."""
    half = rows.shape[0] // heads // 2
    order = [head * 2 * half + part * half + i for head in range(heads) for i in range(half) for part in range(2)]
    return rows[order]


def write_gguf(path, architecture):
    """The weights as transformers would have them."""
    writer, draw, weights = gguf.GGUFWriter(path, architecture), np.random.default_rng(3), {}
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_rope_dimension_count(WIDTH)
    writer.add_rope_freq_base(100000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(SPECIAL + byte_tokens() + ["ab"])
    writer.add_token_types([gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * 257)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
                             "{% endfor %}")
    for number, (name, other, shape) in enumerate(shapes()):
        values = draw.standard_normal(shape, dtype=np.float32)
        kind = gguf.GGMLQuantizationType.Q8_0 if len(shape) == 2 and number % 2 else gguf.GGMLQuantizationType.F32
        packed = gguf.quantize(values, kind)
        weights[other] = gguf.dequantize(packed, kind).reshape(shape)
        heads = {"attn_q": HEADS, "attn_k": KEY_HEADS}.get(name.split(".")[-2])
        if heads:
            packed = gguf.quantize(paired(values, heads), kind)
        writer.add_tensor(name, packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


def read_folder(folder):
    with open(os.path.join(folder, "model.safetensors"), "rb") as file:
        length, = struct.unpack("<Q", file.read(8))
        header, body = json.loads(file.read(length)), file.read()
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        yield name, np.frombuffer(body[begin:end], dtype=np.float32).reshape(entry["shape"])


def convert(*words):
    return subprocess.run([sys.executable, "-B", os.path.join(TOP, "analysis", "gguf_folder.py"), *words],
                          capture_output=True, text=True)


def run(*words):
    return subprocess.run([ZINF, *words], capture_output=True, text=True)


def main():
    with tempfile.TemporaryDirectory() as place:
        path, folder = os.path.join(place, "small.gguf"), os.path.join(place, "folder")
        weights = write_gguf(path, "llama")
        done = convert(path, "--output", folder, "--type", "fp32")
        if done.returncode != 0:
            print(f"failed: {done.stderr}")
            return 1
        found = dict(read_folder(folder))
        check(set(found) == set(weights), f"names: {set(found) ^ set(weights)}")
        for name, values in weights.items():
            check(np.array_equal(found[name], values), f"{name} differs")
        done = run("import", folder, "--output", os.path.join(place, "small.h5"))
        check(done.returncode == 0 and "LlamaForCausalLM" in done.stdout, done.stdout + done.stderr)
        lines = os.path.join(place, "lines.jsonl")
        with open(lines, "w", encoding="utf-8") as file:
            file.write(json.dumps({"messages": [{"role": "user", "content": "a 12"},
                                                {"role": "assistant", "content": "b"}]}) + "\n")
        tokens = os.path.join(place, "tokens.h5")
        done = run("tokenize", lines, "--tokenizer", folder, "--output", tokens)
        check(done.returncode == 0, done.stderr)
        done = run("inspect", tokens, "--tokenizer", folder, "--tokens", "40")
        check("<|im_start|>" in done.stdout and "<|im_end|>" in done.stdout, done.stdout + done.stderr)
        other = os.path.join(place, "other.gguf")
        write_gguf(other, "mamba")
        done = convert(other, "--output", os.path.join(place, "none"))
        check(done.returncode != 0 and "mamba" in done.stderr and not os.path.exists(os.path.join(place, "none")),
              done.stderr)
    for what in failures:
        print(f"failed: {what}")
    print(f"hf_gguf: {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
