#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a model folder of Hugging Face from a GGUF file, for `zinf import`.

    analysis/gguf_folder.py MODEL.gguf --output FOLDER [--type bf16|fp32]

Architectures: llama. Tokenizers: byte-level BPE (tokenizer.ggml.model gpt2) that is split as
smollm, gpt-2 or default say. Anything else is refused by name. Quantised tensors are expanded:
what was rounded away stays away, so a model that is fine-tuned from here begins a little worse
than the one that was quantised.

Needs the Python package gguf (0.19).
"""
import argparse
import json
import os
import struct
import sys

import numpy as np
from gguf import GGUFReader, dequantize

BLOCK = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}
OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
CONTROL, USER_DEFINED = 3, 4  # values of tokenizer.ggml.token_type
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
SPLITS = {"gpt-2": BYTE_LEVEL, "default": BYTE_LEVEL,
          "smollm": {"type": "Sequence", "pretokenizers": [
              {"type": "Digits", "individual_digits": True}, BYTE_LEVEL]}}


class Refused(Exception):
    pass


class Fields:
    """The key-value part of the file."""

    def __init__(self, reader):
        self.fields = reader.fields

    def get(self, name, default=None):
        field = self.fields.get(name)
        return default if field is None else field.contents()

    def need(self, name):
        value = self.get(name)
        if value is None:
            raise Refused(f"the file has no {name}")
        return value


def hugging_face_name(name):
    """As transformers names a tensor that GGUF calls blk.3.attn_q.weight."""
    stem, _, kind = name.rpartition(".")
    if kind == "weight" and stem in OUTSIDE:
        return f"{OUTSIDE[stem]}.weight"
    parts = stem.split(".")
    if kind == "weight" and len(parts) == 3 and parts[0] == "blk" and parts[2] in BLOCK:
        return f"model.layers.{parts[1]}.{BLOCK[parts[2]]}.weight"
    raise Refused(f"tensor {name} is not one of a llama's")


def halves(rows, heads):
    """GGUF keeps the pairs of rotary positions side by side; transformers half a head apart."""
    width = rows.shape[0] // heads
    return rows.reshape(heads, width // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def to_bf16(values):
    """Bits of bf16, rounded to nearest even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def expanded(tensor, fields):
    values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
    values = values.reshape([int(n) for n in reversed(tensor.shape)])
    if ".attn_q." in tensor.name:
        values = halves(values, fields.need("llama.attention.head_count"))
    if ".attn_k." in tensor.name:
        values = halves(values, fields.need("llama.attention.head_count_kv"))
    return values


def write_weights(reader, fields, kind, path):
    """One safetensors file; a tensor is in memory at a time."""
    header, at, size = {}, 0, 2 if kind == "bf16" else 4
    for tensor in reader.tensors:
        count = int(np.prod(tensor.shape, dtype=np.int64)) * size
        header[hugging_face_name(tensor.name)] = {
            "dtype": kind.replace("fp", "f").upper(),
            "shape": [int(n) for n in reversed(tensor.shape)], "data_offsets": [at, at + count]}
        at += count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in reader.tensors:
            values = expanded(tensor, fields)
            file.write((to_bf16(values) if kind == "bf16" else values).tobytes())


def config(reader, fields, kind):
    tied = all(tensor.name != "output.weight" for tensor in reader.tensors)
    heads = fields.need("llama.attention.head_count")
    hidden = fields.need("llama.embedding_length")
    base = fields.get("llama.rope.freq_base", 10000.0)
    if fields.get("llama.rope.scaling.type", "none") != "none" or any(
            tensor.name.startswith("rope_freqs") for tensor in reader.tensors):
        raise Refused("its rotary positions are scaled, which is not carried over")
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "hidden_size": hidden, "num_hidden_layers": fields.need("llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": fields.get("llama.attention.head_count_kv", heads),
        "head_dim": fields.get("llama.rope.dimension_count", hidden // heads),
        "intermediate_size": fields.need("llama.feed_forward_length"),
        "max_position_embeddings": fields.need("llama.context_length"),
        "rms_norm_eps": float(f"{fields.need('llama.attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_theta": base, "rope_parameters": {"rope_type": "default", "rope_theta": base},
        "vocab_size": len(fields.need("tokenizer.ggml.tokens")),
        "hidden_act": "silu", "attention_bias": False, "mlp_bias": False,
        "tie_word_embeddings": tied,
        "torch_dtype": "bfloat16" if kind == "bf16" else "float32",
        "bos_token_id": fields.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": fields.get("tokenizer.ggml.eos_token_id"),
    }


def tokenizer(fields):
    split = fields.get("tokenizer.ggml.pre", "default")
    if fields.need("tokenizer.ggml.model") != "gpt2" or split not in SPLITS:
        raise Refused(f"its tokenizer is {fields.get('tokenizer.ggml.model')}, split as {split}; "
                      f"known: gpt2, split as {', '.join(sorted(SPLITS))}")
    tokens = fields.need("tokenizer.ggml.tokens")
    kinds = fields.need("tokenizer.ggml.token_type")
    added = [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": kinds[i] == CONTROL}
             for i in range(len(tokens)) if kinds[i] in (CONTROL, USER_DEFINED)]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": None, "pre_tokenizer": SPLITS[split], "post_processor": None,
        "decoder": dict(BYTE_LEVEL, add_prefix_space=True),
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {token: i for i, token in enumerate(tokens)},
                  "merges": [merge.split(" ", 1) for merge in fields.need("tokenizer.ggml.merges")]},
    }


def tokenizer_config(fields):
    """Beginning and end of a text as the file numbers them; nothing is put before a text unasked."""
    tokens = fields.need("tokenizer.ggml.tokens")
    known = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False,
             "model_max_length": fields.need("llama.context_length"),
             "add_bos_token": bool(fields.get("tokenizer.ggml.add_bos_token", False)),
             "chat_template": fields.get("tokenizer.chat_template")}
    for name, key in (("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"),
                      ("pad_token", "padding")):
        number = fields.get(f"tokenizer.ggml.{key}_token_id")
        if number is not None:
            known[name] = tokens[number]
    return known


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=2)
        file.write("\n")


def main():
    parser = argparse.ArgumentParser(description="Makes a model folder of a GGUF file.")
    parser.add_argument("model")
    parser.add_argument("--output", required=True)
    parser.add_argument("--type", choices=["bf16", "fp32"], default="bf16")
    given = parser.parse_args()
    reader = GGUFReader(given.model)
    fields = Fields(reader)
    if fields.need("general.architecture") != "llama":
        raise Refused(f"its architecture is {fields.get('general.architecture')}; known: llama")
    files = {"config.json": config(reader, fields, given.type), "tokenizer.json": tokenizer(fields),
             "tokenizer_config.json": tokenizer_config(fields)}
    os.makedirs(given.output, exist_ok=True)
    write_weights(reader, fields, given.type, os.path.join(given.output, "model.safetensors"))
    for name, value in files.items():
        write_json(given.output, name, value)


if __name__ == "__main__":
    try:
        main()
    except Refused as why:
        sys.exit(f"gguf_folder.py: {why}")
