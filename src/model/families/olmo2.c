/* SPDX-License-Identifier: Apache-2.0 */
/* OLMo 2 (Team OLMo 2024): Llama with RMSNorms of the whole query and of the whole key, and with the
 * norms of a block behind attention and MLP instead of before them. */
#include "model/family.h"

static const struct family_row attention[] = {
    {"query.weight", SIZE_QUERY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, false, 0},
    {"key.weight", SIZE_KEY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true, 0},
    {"value.weight", SIZE_KEY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true, 0},
    {"query.bias", SIZE_QUERY, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, false,
     FAMILY_ATTENTION_BIAS},
    {"key.bias", SIZE_KEY, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, true,
     FAMILY_ATTENTION_BIAS},
    {"value.bias", SIZE_KEY, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, true,
     FAMILY_ATTENTION_BIAS},
    {"query_norm.weight", SIZE_QUERY, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false, 0},
    {"key_norm.weight", SIZE_KEY, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false, 0},
    {"output.weight", SIZE_HIDDEN, SIZE_QUERY, MODEL_MATRIX, MODEL_INIT_NORMAL, true, false, 0},
    {"output.bias", SIZE_HIDDEN, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, false,
     FAMILY_ATTENTION_BIAS},
    {"post_norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false, 0},
    {0},
};
static const struct family_row mlp[] = {
    {"gate.weight", SIZE_INNER, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, false, 0},
    {"up.weight", SIZE_INNER, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true, 0},
    {"down.weight", SIZE_HIDDEN, SIZE_INNER, MODEL_MATRIX, MODEL_INIT_NORMAL, true, false, 0},
    {"post_norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false, 0},
    {0},
};

const struct family family_olmo2 = {
    .name = "olmo2",
    .rms = true,
    .rotary = true,
    .gated = true,
    .head_norms = true,
    .across = true,
    .bare = true,
    .behind = true,
    .knows = FAMILY_ATTENTION_BIAS,
    .token = llama_token,
    .attention = attention,
    .mlp = mlp,
    .norm = llama_norm,
    .head = llama_head,
};
