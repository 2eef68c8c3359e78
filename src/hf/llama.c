/* SPDX-License-Identifier: Apache-2.0 */
/* Llama (LlamaForCausalLM). */
#include "hf/rope_keys.h"

static const struct hf_key keys[] = {
    HF_SIZE_KEYS,
    HF_ROPE_KEYS(HF_ROPE_TYPES, HF_STRETCHED, HF_NEVER),
    {"rope_interleaved", HF_MUST, 0, "false", HF_NEVER},
    {"tie_word_embeddings", HF_TIED, 0, NULL, HF_ALWAYS},
    {"hidden_act", HF_MUST, 0, "\"silu\"", HF_ALWAYS},
    {"attention_bias", HF_FLAG, HF_FIELD(attention_bias), NULL, HF_ALWAYS},
    {"mlp_bias", HF_FLAG, HF_FIELD(mlp_bias), NULL, HF_ALWAYS},
    {"attention_dropout", HF_DROPOUT, 0, NULL, HF_ALWAYS},
    /* How products are cut for several devices. */
    {"pretraining_tp", HF_IDLE, 0, NULL, HF_ALWAYS},
    {"is_llama_config", HF_IDLE, 0, NULL, HF_ALWAYS},
    {0},
};

#define LAYER "model.layers.{layer}."
const struct hf_name hf_llama_names[] = {
    {"embedding.token.weight", "model.embed_tokens.weight", false},
    {"blocks.{layer}.attention.norm.weight", LAYER "input_layernorm.weight", false},
    {"blocks.{layer}.attention.query.weight", LAYER "self_attn.q_proj.weight", false},
    {"blocks.{layer}.attention.key.weight", LAYER "self_attn.k_proj.weight", false},
    {"blocks.{layer}.attention.value.weight", LAYER "self_attn.v_proj.weight", false},
    {"blocks.{layer}.attention.query.bias", LAYER "self_attn.q_proj.bias", false},
    {"blocks.{layer}.attention.key.bias", LAYER "self_attn.k_proj.bias", false},
    {"blocks.{layer}.attention.value.bias", LAYER "self_attn.v_proj.bias", false},
    {"blocks.{layer}.attention.output.weight", LAYER "self_attn.o_proj.weight", false},
    {"blocks.{layer}.attention.output.bias", LAYER "self_attn.o_proj.bias", false},
    {"blocks.{layer}.mlp.norm.weight", LAYER "post_attention_layernorm.weight", false},
    {"blocks.{layer}.mlp.gate.weight", LAYER "mlp.gate_proj.weight", false},
    {"blocks.{layer}.mlp.up.weight", LAYER "mlp.up_proj.weight", false},
    {"blocks.{layer}.mlp.down.weight", LAYER "mlp.down_proj.weight", false},
    {"blocks.{layer}.mlp.gate.bias", LAYER "mlp.gate_proj.bias", false},
    {"blocks.{layer}.mlp.up.bias", LAYER "mlp.up_proj.bias", false},
    {"blocks.{layer}.mlp.down.bias", LAYER "mlp.down_proj.bias", false},
    {"norm.weight", "model.norm.weight", false},
    {"head.weight", "lm_head.weight", false},
    {0},
};

const char *const hf_llama_passed[] = {LAYER "self_attn.rotary_emb.inv_freq",
                                       "model.rotary_emb.inv_freq", NULL};

const struct hf_architecture hf_llama = {
    .model_type = "llama",
    .causal = "LlamaForCausalLM",
    .bare = "LlamaModel",
    .prefix = "model.",
    .fallback = {.family = MODEL_LLAMA,
                 .layers = 32,
                 .hidden = 4096,
                 .heads = 32,
                 .key_heads = ZI_AUTO,
                 .head_width = ZI_AUTO,
                 .inner = 11008,
                 .context = 2048,
                 .vocabulary = 32000,
                 .tied = 0,
                 .norm_epsilon = 1e-6,
                 .rope_base = 10000,
                 HF_DEFAULTS},
    .keys = keys,
    .names = hf_llama_names,
    .passed = hf_llama_passed,
};
