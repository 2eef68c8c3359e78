/* SPDX-License-Identifier: Apache-2.0 */
/* SmolLM3 (Hugging Face, 2025): Llama in which some blocks, every fourth in the published model, do
 * not rotate (Yang et al. 2025). */
#include "model/family.h"

const struct family family_smollm3 = {
    .name = "smollm3",
    .rms = true,
    .rotary = true,
    .gated = true,
    .tied = true,
    .knows = FAMILY_WINDOW | FAMILY_UNROTATED | FAMILY_ATTENTION_BIAS | FAMILY_MLP_BIAS,
    .token = llama_token,
    .attention = llama_attention,
    .mlp = llama_mlp,
    .norm = llama_norm,
    .head = llama_head,
};
