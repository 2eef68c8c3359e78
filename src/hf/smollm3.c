/* SPDX-License-Identifier: Apache-2.0 */
/* SmolLM3 (SmolLM3ForCausalLM): the names of Llama; where there is no list of layer_types, blocks that do not
 * rotate have the window. */
#include "hf/rope_keys.h"

static const struct hf_key keys[] = {
    HF_SIZE_KEYS,
    HF_ROPE_KEYS(HF_ROPE_TYPES, HF_STRETCHED, HF_NEVER),
    {"no_rope_layers", HF_ROTATED, 0, NULL, HF_ALWAYS},
    {"no_rope_layer_interval", HF_UNROTATED, HF_FIELD(unrotated_every), NULL, HF_ALWAYS},
    {"use_sliding_window", HF_WINDOWED, 0, NULL, HF_ALWAYS},
    {"sliding_window", HF_WINDOW, HF_FIELD(window), NULL, HF_ALWAYS},
    {"layer_types", HF_WINDOWS, 0, NULL, HF_ALWAYS},
    {"tie_word_embeddings", HF_TIED, 0, NULL, HF_ALWAYS},
    {"hidden_act", HF_MUST, 0, "\"silu\"", HF_ALWAYS},
    {"attention_dropout", HF_DROPOUT, 0, NULL, HF_ALWAYS},
    {"attention_bias", HF_FLAG, HF_FIELD(attention_bias), NULL, HF_ALWAYS},
    {"mlp_bias", HF_FLAG, HF_FIELD(mlp_bias), NULL, HF_ALWAYS},
    /* Of other classes; the published file has them. */
    {"max_window_layers", HF_IDLE, 0, NULL, HF_NEVER},
    {"pretraining_tp", HF_IDLE, 0, NULL, HF_NEVER},
    {0},
};

const struct hf_architecture hf_smollm3 = {
    .model_type = "smollm3",
    .causal = "SmolLM3ForCausalLM",
    .bare = "SmolLM3Model",
    .prefix = "model.",
    .fallback = {.family = MODEL_SMOLLM3,
                 .layers = 36,
                 .hidden = 2048,
                 .heads = 16,
                 .key_heads = 4,
                 .head_width = ZI_AUTO,
                 .inner = 11008,
                 .context = 32768,
                 .vocabulary = 128256,
                 .tied = 1,
                 .norm_epsilon = 1e-6,
                 .rope_base = 2e6,
                 .unrotated_every = 4,
                 HF_DEFAULTS},
    .keys = keys,
    .names = hf_llama_names,
    .passed = hf_llama_passed,
};
