/* SPDX-License-Identifier: Apache-2.0 */
/* GPT-2 (GPT2LMHeadModel). Its matrices are [inputs, outputs] in files, and query, key and value are
 * one. */
#include "hf/architecture.h"

static const struct hf_key keys[] = {
    {"vocab_size", HF_INTEGER, HF_FIELD(vocabulary), NULL, HF_ALWAYS},
    {"n_positions", HF_INTEGER, HF_FIELD(context), NULL, HF_ALWAYS},
    {"n_embd", HF_INTEGER, HF_FIELD(hidden), NULL, HF_ALWAYS},
    {"n_layer", HF_INTEGER, HF_FIELD(layers), NULL, HF_ALWAYS},
    {"n_head", HF_INTEGER, HF_FIELD(heads), NULL, HF_ALWAYS},
    {"n_inner", HF_INTEGER, HF_FIELD(inner), NULL, HF_ALWAYS},
    {"layer_norm_epsilon", HF_REAL, HF_FIELD(norm_epsilon), NULL, HF_ALWAYS},
    {"initializer_range", HF_REAL, HF_FIELD(init_deviation), NULL, HF_ALWAYS},
    {"tie_word_embeddings", HF_TIED, 0, NULL, HF_ALWAYS},
    {"activation_function", HF_MUST, 0, "\"gelu_new\"|\"gelu_pytorch_tanh\"", HF_ALWAYS},
    {"scale_attn_weights", HF_MUST, 0, "true", HF_ALWAYS},
    {"scale_attn_by_inverse_layer_idx", HF_MUST, 0, "false", HF_ALWAYS},
    {"resid_pdrop", HF_DROPOUT, 0, NULL, HF_ALWAYS},
    {"embd_pdrop", HF_DROPOUT, 0, NULL, HF_ALWAYS},
    {"attn_pdrop", HF_DROPOUT, 0, NULL, HF_ALWAYS},
    /* As scores in more bits, which zinf has anyway. */
    {"reorder_and_upcast_attn", HF_IDLE, 0, NULL, HF_ALWAYS},
    /* An earlier name of n_positions, which is there as well. */
    {"n_ctx", HF_IDLE, 0, NULL, HF_ALWAYS},
    /* Heads of other tasks. */
    {"summary_type", HF_IDLE, 0, NULL, HF_ALWAYS},
    {"summary_use_proj", HF_IDLE, 0, NULL, HF_ALWAYS},
    {"summary_activation", HF_IDLE, 0, NULL, HF_ALWAYS},
    {"summary_proj_to_labels", HF_IDLE, 0, NULL, HF_ALWAYS},
    {"summary_first_dropout", HF_IDLE, 0, NULL, HF_ALWAYS},
    {0},
};

#define LAYER "transformer.h.{layer}."
static const struct hf_name names[] = {
    {"embedding.token.weight", "transformer.wte.weight", false},
    {"embedding.position.weight", "transformer.wpe.weight", false},
    {"blocks.{layer}.attention.norm.weight", LAYER "ln_1.weight", false},
    {"blocks.{layer}.attention.norm.bias", LAYER "ln_1.bias", false},
    {"blocks.{layer}.attention.query.weight", LAYER "attn.c_attn.weight", true},
    {"blocks.{layer}.attention.key.weight", LAYER "attn.c_attn.weight", true},
    {"blocks.{layer}.attention.value.weight", LAYER "attn.c_attn.weight", true},
    {"blocks.{layer}.attention.query.bias", LAYER "attn.c_attn.bias", false},
    {"blocks.{layer}.attention.key.bias", LAYER "attn.c_attn.bias", false},
    {"blocks.{layer}.attention.value.bias", LAYER "attn.c_attn.bias", false},
    {"blocks.{layer}.attention.output.weight", LAYER "attn.c_proj.weight", true},
    {"blocks.{layer}.attention.output.bias", LAYER "attn.c_proj.bias", false},
    {"blocks.{layer}.mlp.norm.weight", LAYER "ln_2.weight", false},
    {"blocks.{layer}.mlp.norm.bias", LAYER "ln_2.bias", false},
    {"blocks.{layer}.mlp.up.weight", LAYER "mlp.c_fc.weight", true},
    {"blocks.{layer}.mlp.up.bias", LAYER "mlp.c_fc.bias", false},
    {"blocks.{layer}.mlp.down.weight", LAYER "mlp.c_proj.weight", true},
    {"blocks.{layer}.mlp.down.bias", LAYER "mlp.c_proj.bias", false},
    {"norm.weight", "transformer.ln_f.weight", false},
    {"norm.bias", "transformer.ln_f.bias", false},
    {"head.weight", "lm_head.weight", false},
    {0},
};

static const char *const passed[] = {LAYER "attn.bias", LAYER "attn.masked_bias", NULL};

const struct hf_architecture hf_gpt2 = {
    .model_type = "gpt2",
    .causal = "GPT2LMHeadModel",
    .bare = "GPT2Model",
    .prefix = "transformer.",
    .fallback = {.family = MODEL_GPT2,
                 .layers = 12,
                 .hidden = 768,
                 .heads = 12,
                 .key_heads = ZI_AUTO,
                 .head_width = ZI_AUTO,
                 .inner = ZI_AUTO,
                 .context = 1024,
                 .vocabulary = 50257,
                 .tied = 1,
                 .norm_epsilon = 1e-5,
                 .rope_base = 10000,
                 HF_DEFAULTS},
    .keys = keys,
    .names = names,
    .passed = passed,
};
