/* SPDX-License-Identifier: Apache-2.0 */
/* Gemma 3, its text model (Gemma3ForCausalLM): every sixth block sees all where neither a list nor
 * sliding_window_pattern says otherwise. transformers 5 has an object of rotary positions for blocks with
 * a window and one for the others. What a file says of a cap on scores its class does not do. */
#include "hf/rope_keys.h"

#define GLOBAL "rope_parameters.full_attention"
#define LOCAL  "rope_parameters.sliding_attention"
#define TYPES  "\"default\"|\"linear\""

static const struct hf_key keys[] = {
    HF_SIZE_KEYS,
    {"rope_theta", HF_REAL, HF_FIELD(rope_base), NULL, HF_ALWAYS},
    {"rope_local_base_freq", HF_REAL, HF_FIELD(rope_window_base), NULL, HF_ALWAYS},
    {"rope_scaling.rope_type", HF_WORD, HF_FIELD(rope_scaling), TYPES, HF_STRETCHED},
    {"rope_scaling.type", HF_WORD, HF_FIELD(rope_scaling), TYPES, HF_NEVER},
    {"rope_scaling.factor", HF_REAL, HF_FIELD(rope_factor), NULL, HF_STRETCHED},
    {GLOBAL ".rope_theta", HF_REAL, HF_FIELD(rope_base), NULL, HF_ALWAYS},
    {GLOBAL ".rope_type", HF_WORD, HF_FIELD(rope_scaling), TYPES, HF_ALWAYS},
    {GLOBAL ".factor", HF_REAL, HF_FIELD(rope_factor), NULL, HF_STRETCHED},
    {LOCAL ".rope_theta", HF_REAL, HF_FIELD(rope_window_base), NULL, HF_ALWAYS},
    {LOCAL ".rope_type", HF_MUST, 0, "\"default\"", HF_ALWAYS},
    {"attn_logit_softcapping", HF_MUST, 0, "null", HF_ALWAYS},
    {"sliding_window_pattern", HF_INTEGER, HF_FIELD(full_every), NULL, HF_NEVER},
    /* What the class made of that; it is not read. */
    {"_sliding_window_pattern", HF_IDLE, 0, NULL, HF_NEVER},
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
    {"blocks.{layer}.attention.query_norm.weight", LAYER "self_attn.q_norm.weight", false},
    {"blocks.{layer}.attention.key_norm.weight", LAYER "self_attn.k_norm.weight", false},
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

const struct hf_architecture hf_gemma3 = {
    .model_type = "gemma3_text",
    .causal = "Gemma3ForCausalLM",
    .bare = "Gemma3TextModel",
    .prefix = "model.",
    .fallback = {.family = MODEL_GEMMA3,
                 .layers = 26,
                 .hidden = 2304,
                 .heads = 8,
                 .key_heads = 4,
                 .head_width = 256,
                 .inner = 9216,
                 .context = 131072,
                 .vocabulary = 262208,
                 .tied = 1,
                 .norm_epsilon = 1e-6,
                 .rope_base = 1000000,
                 .rope_window_base = 10000,
                 .window = 4096,
                 .full_every = 6,
                 HF_DEFAULTS_SCORED(256)},
    .keys = keys,
    .names = names,
    .passed = hf_llama_passed,
};
