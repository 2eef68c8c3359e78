/* SPDX-License-Identifier: Apache-2.0 */
/* Qwen 3 (Yang et al. 2025): Llama with an RMSNorm over every head of query and key before they are
 * rotated; the width of a head is often not that of the stream over the heads. */
#include "model/family.h"

static const struct family_row attention[] = {
    {"norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false, 0},
    {"query.weight", SIZE_QUERY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, false, 0},
    {"key.weight", SIZE_KEY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true, 0},
    {"value.weight", SIZE_KEY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true, 0},
    {"query.bias", SIZE_QUERY, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, false,
     FAMILY_ATTENTION_BIAS},
    {"key.bias", SIZE_KEY, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, true,
     FAMILY_ATTENTION_BIAS},
    {"value.bias", SIZE_KEY, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, true,
     FAMILY_ATTENTION_BIAS},
    {"query_norm.weight", SIZE_HEAD, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false, 0},
    {"key_norm.weight", SIZE_HEAD, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false, 0},
    {"output.weight", SIZE_HIDDEN, SIZE_QUERY, MODEL_MATRIX, MODEL_INIT_NORMAL, true, false, 0},
    {"output.bias", SIZE_HIDDEN, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, false,
     FAMILY_ATTENTION_BIAS},
    {0},
};

const struct family family_qwen3 = {
    .name = "qwen3",
    .rms = true,
    .rotary = true,
    .gated = true,
    .head_norms = true,
    .knows = FAMILY_WINDOW | FAMILY_ATTENTION_BIAS,
    .token = llama_token,
    .attention = attention,
    .mlp = llama_mlp,
    .norm = llama_norm,
    .head = llama_head,
};
