# SPDX-License-Identifier: Apache-2.0
"""Makes model folders of Hugging Face with known logits, for regression/unit/app_source_test.c.

    python make_hf_goldens.py FOLDER [CASE]...

needs torch, safetensors and transformers; zinf itself needs none of them. Each case is a folder of a small
model with random weights (norms and biases too, so that no tensor could be taken for another), as
save_pretrained of the installed version of transformers writes it, and expected.safetensors:

    tokens [T]       ids, as fp32
    logits [T, V]    of the whole causal model, computed in float64 where transformers lets it

The committed hf_* folders were made by transformers 5.24.0 (hf_llama, hf_qwen3) and 4.57.1 (hf_gpt2), torch 2.15.0.
"""
import os
import sys

import torch
from safetensors.torch import save_file
from transformers import (Gemma2Config, Gemma2ForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig, GPT2Config,
                          GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM,
                          Olmo2Config, Olmo2ForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM,
                          SmolLM3Config, SmolLM3ForCausalLM)
from transformers import __version__ as version

GPT2 = dict(vocab_size=61, n_positions=40, n_embd=24, n_layer=2, n_head=3, bos_token_id=0, eos_token_id=0)
LLAMA = dict(vocab_size=61, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=6,
             num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, pad_token_id=0, bos_token_id=1,
             eos_token_id=2)


DEEP = {**LLAMA, "num_hidden_layers": 3}
GEMMA = {**DEEP, "num_attention_heads": 4, "head_dim": 10, "query_pre_attn_scalar": 7, "sliding_window": 7}
YARN = dict(factor=4.0, original_max_position_embeddings=16)
FULL, SLIDING = "full_attention", "sliding_attention"


def rope(base, kind="default", name="rope_type", **values):
    if int(version.split(".")[0]) >= 5:
        return {"rope_parameters": {"rope_theta": base, "rope_type": kind, **values}}
    return {"rope_theta": base, **({} if kind == "default" else {"rope_scaling": {name: kind, **values}})}


def rope_of_kinds(base, local, kind="default", **values):
    """Of Gemma 3: blocks with a window rotate with a base of their own, and know no scaling."""
    if int(version.split(".")[0]) < 5:
        return {**rope(base, kind, **values), "rope_local_base_freq": local}
    return {"rope_parameters": {FULL: {"rope_theta": base, "rope_type": kind, **values},
                                SLIDING: {"rope_theta": local, "rope_type": "default"}}}


# name: class, config, type, what is saved
CASES = {
    "hf_gpt2": (GPT2LMHeadModel, lambda: GPT2Config(**GPT2), "float32", "whole"),
    "hf_llama": (LlamaForCausalLM, lambda: LlamaConfig(**LLAMA, **rope(50000.0)), "float32", "shards"),
    "gpt2_inner": (GPT2LMHeadModel, lambda: GPT2Config(**{**GPT2, "n_inner": 50, "layer_norm_epsilon": 1e-3}),
                   "float16", "whole"),
    "gpt2_bare": (GPT2LMHeadModel, lambda: GPT2Config(**GPT2), "float32", "bare"),
    "gpt2_untied": (GPT2LMHeadModel, lambda: GPT2Config(**GPT2, tie_word_embeddings=False), "float32", "whole"),
    "llama_tied": (LlamaForCausalLM, lambda: LlamaConfig(**LLAMA, tie_word_embeddings=True), "bfloat16", "whole"),
    "llama_heads": (LlamaForCausalLM, lambda: LlamaConfig(**{**LLAMA, "num_key_value_heads": 6, "rms_norm_eps": 1e-3},
                                                          **rope(1e6)), "float32", "whole"),
    "llama_half": (LlamaForCausalLM, lambda: LlamaConfig(**LLAMA, **rope(5000.0)), "float16", "shards"),
    "llama_wide": (LlamaForCausalLM, lambda: LlamaConfig(**LLAMA, head_dim=10, **rope(5000.0)), "float32", "whole"),
    "llama_linear": (LlamaForCausalLM, lambda: LlamaConfig(**LLAMA, **rope(5e3, "linear", factor=4.0)), "float32",
                     "whole"),
    "llama_dynamic": (LlamaForCausalLM, lambda: LlamaConfig(**LLAMA, **rope(5e3, "dynamic", factor=4.0)), "float32",
                      "whole"),
    "llama_llama3": (LlamaForCausalLM, lambda: LlamaConfig(**{**LLAMA, "head_dim": 16}, **rope(
        100.0, "llama3", **YARN, low_freq_factor=1.5, high_freq_factor=3.0)), "float32", "whole"),
    "llama_yarn": (LlamaForCausalLM, lambda: LlamaConfig(**{**LLAMA, "head_dim": 16}, **rope(
        100.0, "yarn", **YARN, beta_fast=3.0, beta_slow=0.5, truncate=False, attention_factor=1.25)), "float32",
                   "whole"),
    "mistral": (MistralForCausalLM, lambda: MistralConfig(**LLAMA, **rope(5e3), sliding_window=7), "float32", "whole"),
    "mistral_full": (MistralForCausalLM, lambda: MistralConfig(**LLAMA, **rope(5e3), sliding_window=None, head_dim=8),
                     "float32", "whole"),
    "qwen2": (Qwen2ForCausalLM, lambda: Qwen2Config(**DEEP, **rope(5e3)), "bfloat16", "whole"),
    "qwen2_window": (Qwen2ForCausalLM, lambda: Qwen2Config(
        **DEEP, **rope(5e3, "yarn", **YARN), use_sliding_window=True, sliding_window=7, max_window_layers=1), "float32",
                     "shards"),
    "hf_qwen3": (Qwen3ForCausalLM, lambda: Qwen3Config(
        **{**DEEP, "num_attention_heads": 4}, **rope(100.0, "yarn", **YARN, beta_fast=8.0), head_dim=10,
        use_sliding_window=True, sliding_window=7, layer_types=[SLIDING, FULL, SLIDING]), "float32", "whole"),
    "qwen3_tied": (Qwen3ForCausalLM, lambda: Qwen3Config(**DEEP, **rope(1e6), head_dim=4, tie_word_embeddings=True),
                   "float32", "whole"),
    "smollm3": (SmolLM3ForCausalLM, lambda: SmolLM3Config(**DEEP, **rope(2e6), no_rope_layer_interval=2), "float32",
                "whole"),
    "smollm3_window": (SmolLM3ForCausalLM, lambda: SmolLM3Config(
        **DEEP, **rope(5e3), no_rope_layers=[1, 1, 0], use_sliding_window=True, sliding_window=7,
        tie_word_embeddings=False), "float32", "whole"),
    "smollm3_rotated": (SmolLM3ForCausalLM, lambda: SmolLM3Config(**LLAMA, **rope(5e3), no_rope_layers=[1, 1]),
                        "float32", "whole"),
    "olmo2": (Olmo2ForCausalLM, lambda: Olmo2Config(**LLAMA, **rope(5e3)), "float32", "whole"),
    "olmo2_linear": (Olmo2ForCausalLM, lambda: Olmo2Config(**LLAMA, **rope(5e3, "linear", "type", factor=4.0)),
                     "float32", "whole"),
    "gemma2": (Gemma2ForCausalLM, lambda: Gemma2Config(**GEMMA, **rope(5e3), attn_logit_softcapping=3.0,
                                                       final_logit_softcapping=4.0), "float32", "whole"),
    "gemma2_uncapped": (Gemma2ForCausalLM, lambda: Gemma2Config(
        **GEMMA, **rope(5e3), attn_logit_softcapping=None, final_logit_softcapping=None,
        layer_types=[FULL, SLIDING, FULL], tie_word_embeddings=False), "bfloat16", "whole"),
    "gemma2_bare": (Gemma2ForCausalLM, lambda: Gemma2Config(**GEMMA, **rope(5e3)), "float32", "bare"),
    "gemma3": (Gemma3ForCausalLM, lambda: Gemma3TextConfig(**GEMMA, **rope_of_kinds(5e3, 1e2)), "float32", "shards"),
    "gemma3_linear": (Gemma3ForCausalLM, lambda: Gemma3TextConfig(
        **GEMMA, **rope_of_kinds(5e3, 1e2, "linear", factor=8.0), layer_types=[SLIDING, FULL, SLIDING],
        final_logit_softcapping=5.0), "bfloat16", "whole"),
    "gemma3_full": (Gemma3ForCausalLM, lambda: Gemma3TextConfig(
        **GEMMA, **rope_of_kinds(5e3, 1e2), layer_types=[FULL, FULL, FULL]), "float32", "whole"),
    "llama_biased": (LlamaForCausalLM, lambda: LlamaConfig(**LLAMA, **rope(5e3), attention_bias=True, mlp_bias=True),
                     "float32", "whole"),
    "qwen3_biased": (Qwen3ForCausalLM, lambda: Qwen3Config(**DEEP, **rope(1e6), head_dim=4, attention_bias=True),
                     "float32", "whole"),
    "smollm3_biased": (SmolLM3ForCausalLM, lambda: SmolLM3Config(**DEEP, **rope(5e3), mlp_bias=True), "float32",
                       "whole"),
    "olmo2_biased": (Olmo2ForCausalLM, lambda: Olmo2Config(**LLAMA, **rope(5e3), attention_bias=True), "float32",
                     "whole"),
    "gemma2_biased": (Gemma2ForCausalLM, lambda: Gemma2Config(**GEMMA, **rope(5e3), attention_bias=True), "float32",
                      "whole"),
    "gemma3_biased": (Gemma3ForCausalLM, lambda: Gemma3TextConfig(
        **GEMMA, **rope_of_kinds(5e3, 1e2), attention_bias=True), "float32", "whole"),
    "llama_bf16": (LlamaForCausalLM, lambda: LlamaConfig(**LLAMA, **rope(5000.0)), "bfloat16", "whole"),
}


def randomise(model):
    """Weights that no tensor could be taken for another with."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0, 0.25)
            if parameter.ndim == 1 and name.endswith("weight") and "gemma" not in model.config.model_type:
                parameter.add_(1)


def make(folder, name):
    kind, config, dtype, saved = CASES[name]
    torch.manual_seed(sum(map(ord, name)))
    model = kind(config()).eval()
    randomise(model)
    model = model.to(getattr(torch, dtype))
    path = os.path.join(folder, name)
    os.makedirs(path, exist_ok=True)
    if saved == "bare":
        model.base_model.save_pretrained(path)
    else:
        model.save_pretrained(path, **({"max_shard_size": "12KB"} if saved == "shards" else {}))
    tokens = torch.randint(0, model.config.vocab_size, (1, 32))
    # From the file: a model that was turned into 16 bits has rotary frequencies of 16 bits, too.
    # Caps on scores are done by its eager attention alone.
    model = kind.from_pretrained(path, dtype=torch.float64, attn_implementation="eager").eval()
    with torch.no_grad():
        logits = model(tokens).logits[0]
    save_file({"tokens": tokens[0].float(), "logits": logits.float().contiguous()},
              os.path.join(path, "expected.safetensors"))
    return path


if __name__ == "__main__":
    for case in sys.argv[2:] or CASES:
        print(make(sys.argv[1], case))
