/* SPDX-License-Identifier: Apache-2.0 */
/* Mistral (Jiang et al. 2023): Llama whose attention may see a window of the latest tokens only. */
#include "model/family.h"

const struct family family_mistral = {
    .name = "mistral",
    .rms = true,
    .rotary = true,
    .gated = true,
    .knows = FAMILY_WINDOW,
    .token = llama_token,
    .attention = llama_attention,
    .mlp = llama_mlp,
    .norm = llama_norm,
    .head = llama_head,
};
