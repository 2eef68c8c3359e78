/* SPDX-License-Identifier: Apache-2.0 */
/* Gemma 2 (Gemma2ForCausalLM): every second block sees all where no list says otherwise. */
#include "hf/rope_keys.h"

static const struct hf_key keys[] = {
    HF_SIZE_KEYS,
    HF_ROPE_KEYS(HF_ROPE_TYPES, HF_STRETCHED, HF_NEVER),
    {"attn_logit_softcapping", HF_CAP, HF_FIELD(attention_cap), NULL, HF_ALWAYS},
    {"query_pre_attn_scalar", HF_SCORE_WIDTH, HF_FIELD(score_width), NULL, HF_ALWAYS},
    {"final_logit_softcapping", HF_CAP, HF_FIELD(logit_cap), NULL, HF_ALWAYS},
    {"sliding_window", HF_WINDOW, HF_FIELD(window), NULL, HF_ALWAYS},
    {"layer_types", HF_WINDOWS, 0, NULL, HF_ALWAYS},
    {"tie_word_embeddings", HF_TIED, 0, NULL, HF_ALWAYS},
    {"hidden_activation", HF_MUST, 0, "\"gelu_pytorch_tanh\"", HF_ALWAYS},
    {"attention_bias", HF_FLAG, HF_FIELD(attention_bias), NULL, HF_ALWAYS},
    {"attention_dropout", HF_DROPOUT, 0, NULL, HF_ALWAYS},
    {"use_bidirectional_attention", HF_MUST, 0, "false", HF_NEVER},
    /* The class reads hidden_activation; published files have both. */
    {"hidden_act", HF_IDLE, 0, NULL, HF_NEVER},
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
    {"blocks.{layer}.attention.output.weight", LAYER "self_attn.o_proj.weight", false},
    {"blocks.{layer}.attention.output.bias", LAYER "self_attn.o_proj.bias", false},
    {"blocks.{layer}.attention.post_norm.weight", LAYER "post_attention_layernorm.weight", false},
    {"blocks.{layer}.mlp.norm.weight", LAYER "pre_feedforward_layernorm.weight", false},
    {"blocks.{layer}.mlp.gate.weight", LAYER "mlp.gate_proj.weight", false},
    {"blocks.{layer}.mlp.up.weight", LAYER "mlp.up_proj.weight", false},
    {"blocks.{layer}.mlp.down.weight", LAYER "mlp.down_proj.weight", false},
    {"blocks.{layer}.mlp.post_norm.weight", LAYER "post_feedforward_layernorm.weight", false},
    {"norm.weight", "model.norm.weight", false},
    {"head.weight", "lm_head.weight", false},
    {0},
};

const struct hf_architecture hf_gemma2 = {
    .model_type = "gemma2",
    .causal = "Gemma2ForCausalLM",
    .bare = "Gemma2Model",
    .prefix = "model.",
    .fallback = {.family = MODEL_GEMMA2,
                 .layers = 26,
                 .hidden = 2304,
                 .heads = 8,
                 .key_heads = 4,
                 .head_width = 256,
                 .inner = 9216,
                 .context = 8192,
                 .vocabulary = 256000,
                 .tied = 1,
                 .norm_epsilon = 1e-6,
                 .rope_base = 10000,
                 .attention_cap = 50,
                 .logit_cap = 30,
                 .window = 4096,
                 .full_every = 2,
                 HF_DEFAULTS_SCORED(256)},
    .keys = keys,
    .names = names,
    .passed = hf_llama_passed,
};
