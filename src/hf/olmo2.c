/* SPDX-License-Identifier: Apache-2.0 */
/* OLMo 2 (Olmo2ForCausalLM). transformers 4 takes a rope_scaling of type and factor, and no other. */
#include "hf/rope_keys.h"

static const struct hf_key keys[] = {
    HF_SIZE_KEYS,
    HF_ROPE_KEYS("\"default\"|\"linear\"|\"dynamic\"", HF_NEVER, HF_STRETCHED),
    {"tie_word_embeddings", HF_TIED, 0, NULL, HF_ALWAYS},
    {"hidden_act", HF_MUST, 0, "\"silu\"", HF_ALWAYS},
    {"attention_dropout", HF_DROPOUT, 0, NULL, HF_ALWAYS},
    {"attention_bias", HF_FLAG, HF_FIELD(attention_bias), NULL, HF_ALWAYS},
    {0},
};

#define LAYER "model.layers.{layer}."
static const struct hf_name names[] = {
    {"embedding.token.weight", "model.embed_tokens.weight", false},
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
    {"blocks.{layer}.attention.post_norm.weight", LAYER "post_attention_layernorm.weight", false},
    {"blocks.{layer}.mlp.gate.weight", LAYER "mlp.gate_proj.weight", false},
    {"blocks.{layer}.mlp.up.weight", LAYER "mlp.up_proj.weight", false},
    {"blocks.{layer}.mlp.down.weight", LAYER "mlp.down_proj.weight", false},
    {"blocks.{layer}.mlp.post_norm.weight", LAYER "post_feedforward_layernorm.weight", false},
    {"norm.weight", "model.norm.weight", false},
    {"head.weight", "lm_head.weight", false},
    {0},
};

const struct hf_architecture hf_olmo2 = {
    .model_type = "olmo2",
    .causal = "Olmo2ForCausalLM",
    .bare = "Olmo2Model",
    .prefix = "model.",
    .fallback = {.family = MODEL_OLMO2,
                 .layers = 32,
                 .hidden = 4096,
                 .heads = 32,
                 .key_heads = ZI_AUTO,
                 .head_width = ZI_AUTO,
                 .inner = 11008,
                 .context = 2048,
                 .vocabulary = 50304,
                 .tied = 0,
                 .norm_epsilon = 1e-5,
                 .rope_base = 10000,
                 HF_DEFAULTS},
    .keys = keys,
    .names = names,
    .passed = hf_llama_passed,
};
