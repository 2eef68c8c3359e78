/* SPDX-License-Identifier: Apache-2.0 */
/* Qwen 3 (Qwen3ForCausalLM). */
#include "hf/rope_keys.h"

static const struct hf_key keys[] = {
    HF_SIZE_KEYS,
    HF_ROPE_KEYS(HF_ROPE_TYPES, HF_STRETCHED, HF_NEVER),
    {"use_sliding_window", HF_WINDOWED, 0, NULL, HF_ALWAYS},
    {"sliding_window", HF_WINDOW, HF_FIELD(window), NULL, HF_ALWAYS},
    {"max_window_layers", HF_WINDOW_FROM, HF_FIELD(window_from), NULL, HF_ALWAYS},
    {"layer_types", HF_WINDOWS, 0, NULL, HF_ALWAYS},
    {"tie_word_embeddings", HF_TIED, 0, NULL, HF_ALWAYS},
    {"hidden_act", HF_MUST, 0, "\"silu\"", HF_ALWAYS},
    {"attention_dropout", HF_DROPOUT, 0, NULL, HF_ALWAYS},
    {"attention_bias", HF_FLAG, HF_FIELD(attention_bias), NULL, HF_ALWAYS},
    {0},
};

#define LAYER "model.layers.{layer}."
static const struct hf_name names[] = {
    {"embedding.token.weight", "model.embed_tokens.weight", false},
    {"blocks.{layer}.attention.norm.weight", LAYER "input_layernorm.weight", false},
    {"blocks.{layer}.attention.query.weight", LAYER "self_attn.q_proj.weight", false},
    {"blocks.{layer}.attention.key.weight", LAYER "self_attn.k_proj.weight", false},
    {"blocks.{layer}.attention.value.weight", LAYER "self_attn.v_proj.weight", false},
    {"blocks.{layer}.attention.query.bias", LAYER "self_attn.q_proj.bias", false},
    {"blocks.{layer}.attention.key.bias", LAYER "self_attn.k_proj.bias", false},
    {"blocks.{layer}.attention.value.bias", LAYER "self_attn.v_proj.bias", false},
    {"blocks.{layer}.attention.query_norm.weight", LAYER "self_attn.q_norm.weight", false},
    {"blocks.{layer}.attention.key_norm.weight", LAYER "self_attn.k_norm.weight", false},
    {"blocks.{layer}.attention.output.weight", LAYER "self_attn.o_proj.weight", false},
    {"blocks.{layer}.attention.output.bias", LAYER "self_attn.o_proj.bias", false},
    {"blocks.{layer}.mlp.norm.weight", LAYER "post_attention_layernorm.weight", false},
    {"blocks.{layer}.mlp.gate.weight", LAYER "mlp.gate_proj.weight", false},
    {"blocks.{layer}.mlp.up.weight", LAYER "mlp.up_proj.weight", false},
    {"blocks.{layer}.mlp.down.weight", LAYER "mlp.down_proj.weight", false},
    {"norm.weight", "model.norm.weight", false},
    {"head.weight", "lm_head.weight", false},
    {0},
};

const struct hf_architecture hf_qwen3 = {
    .model_type = "qwen3",
    .causal = "Qwen3ForCausalLM",
    .bare = "Qwen3Model",
    .prefix = "model.",
    .fallback = {.family = MODEL_QWEN3,
                 .layers = 32,
                 .hidden = 4096,
                 .heads = 32,
                 .key_heads = 32,
                 .head_width = 128,
                 .inner = 22016,
                 .context = 32768,
                 .vocabulary = 151936,
                 .tied = 0,
                 .norm_epsilon = 1e-6,
                 .rope_base = 10000,
                 .window = 4096,
                 .window_from = 28,
                 HF_DEFAULTS},
    .keys = keys,
    .names = names,
    .passed = hf_llama_passed,
};
