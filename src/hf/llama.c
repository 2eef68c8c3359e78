/* SPDX-License-Identifier: Apache-2.0 */
/* Llama (LlamaForCausalLM). transformers 4 writes rope_theta and rope_scaling, 5 an object
 * rope_parameters of both, and 4 takes its default base where there is no rope_theta: so both are
 * written. */
#include "hf/architecture.h"

static const struct hf_key keys[] = {
    {"vocab_size", HF_INTEGER, HF_FIELD(vocabulary), NULL, false},
    {"max_position_embeddings", HF_INTEGER, HF_FIELD(context), NULL, false},
    {"hidden_size", HF_INTEGER, HF_FIELD(hidden), NULL, false},
    {"intermediate_size", HF_INTEGER, HF_FIELD(inner), NULL, false},
    {"num_hidden_layers", HF_INTEGER, HF_FIELD(layers), NULL, false},
    {"num_attention_heads", HF_INTEGER, HF_FIELD(heads), NULL, false},
    {"num_key_value_heads", HF_INTEGER, HF_FIELD(key_heads), NULL, false},
    {"head_dim", HF_WIDTH, HF_FIELD(head_width), NULL, false},
    {"rms_norm_eps", HF_REAL, HF_FIELD(norm_epsilon), NULL, false},
    {"initializer_range", HF_REAL, HF_FIELD(init_deviation), NULL, false},
    {"rope_theta", HF_REAL, HF_FIELD(rope_base), NULL, false},
    {"rope_parameters.rope_theta", HF_REAL, HF_FIELD(rope_base), NULL, false},
    {"rope_parameters.rope_type", HF_MUST, 0, "\"default\"", false},
    {"rope_parameters.partial_rotary_factor", HF_MUST, 0, "1.0|1", true},
    {"rope_scaling.rope_theta", HF_REAL, HF_FIELD(rope_base), NULL, true},
    {"rope_scaling.rope_type", HF_MUST, 0, "\"default\"", true},
    {"rope_scaling.type", HF_MUST, 0, "\"default\"", true},
    {"rope_interleaved", HF_MUST, 0, "false", true},
    {"tie_word_embeddings", HF_TIED, 0, NULL, false},
    {"hidden_act", HF_MUST, 0, "\"silu\"", false},
    {"attention_bias", HF_MUST, 0, "false", false},
    {"mlp_bias", HF_MUST, 0, "false", false},
    {"attention_dropout", HF_DROPOUT, 0, NULL, false},
    /* How products are cut for several devices. */
    {"pretraining_tp", HF_IDLE, 0, NULL, false},
    {"is_llama_config", HF_IDLE, 0, NULL, false},
    {0},
};

#define LAYER "model.layers.{layer}."
static const struct hf_name names[] = {
    {"embedding.token.weight", "model.embed_tokens.weight", false},
    {"blocks.{layer}.attention.norm.weight", LAYER "input_layernorm.weight", false},
    {"blocks.{layer}.attention.query.weight", LAYER "self_attn.q_proj.weight", false},
    {"blocks.{layer}.attention.key.weight", LAYER "self_attn.k_proj.weight", false},
    {"blocks.{layer}.attention.value.weight", LAYER "self_attn.v_proj.weight", false},
    {"blocks.{layer}.attention.output.weight", LAYER "self_attn.o_proj.weight", false},
    {"blocks.{layer}.mlp.norm.weight", LAYER "post_attention_layernorm.weight", false},
    {"blocks.{layer}.mlp.gate.weight", LAYER "mlp.gate_proj.weight", false},
    {"blocks.{layer}.mlp.up.weight", LAYER "mlp.up_proj.weight", false},
    {"blocks.{layer}.mlp.down.weight", LAYER "mlp.down_proj.weight", false},
    {"norm.weight", "model.norm.weight", false},
    {"head.weight", "lm_head.weight", false},
    {0},
};

static const char *const passed[] = {LAYER "self_attn.rotary_emb.inv_freq",
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
    .names = names,
    .passed = passed,
};
