/* SPDX-License-Identifier: Apache-2.0 */
/* Mistral (MistralForCausalLM): the names of Llama; every block has the window. */
#include "hf/rope_keys.h"

static const struct hf_key keys[] = {
    HF_SIZE_KEYS,
    HF_ROPE_KEYS(HF_ROPE_TYPES, HF_STRETCHED, HF_NEVER),
    {"sliding_window", HF_WINDOW, HF_FIELD(window), NULL, HF_ALWAYS},
    {"tie_word_embeddings", HF_TIED, 0, NULL, HF_ALWAYS},
    {"hidden_act", HF_MUST, 0, "\"silu\"", HF_ALWAYS},
    {"attention_dropout", HF_DROPOUT, 0, NULL, HF_ALWAYS},
    {0},
};

const struct hf_architecture hf_mistral = {
    .model_type = "mistral",
    .causal = "MistralForCausalLM",
    .bare = "MistralModel",
    .prefix = "model.",
    .fallback = {.family = MODEL_MISTRAL,
                 .layers = 32,
                 .hidden = 4096,
                 .heads = 32,
                 .key_heads = 8,
                 .head_width = ZI_AUTO,
                 .inner = 14336,
                 .context = 131072,
                 .vocabulary = 32000,
                 .tied = 0,
                 .norm_epsilon = 1e-6,
                 .rope_base = 10000,
                 .window = 4096,
                 HF_DEFAULTS},
    .keys = keys,
    .names = hf_llama_names,
    .passed = hf_llama_passed,
};
