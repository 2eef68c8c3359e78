/* SPDX-License-Identifier: Apache-2.0 */
/* OLMo 2 (Team OLMo 2024): Llama with RMSNorms of the whole query and of the whole key, and with the
 * norms of a block behind attention and MLP instead of before them. */
#include "model/family.h"

static const struct family_row attention[] = {
    {"query.weight", SIZE_QUERY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, false},
    {"key.weight", SIZE_KEY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true},
    {"value.weight", SIZE_KEY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true},
    {"query_norm.weight", SIZE_QUERY, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false},
    {"key_norm.weight", SIZE_KEY, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false},
    {"output.weight", SIZE_HIDDEN, SIZE_QUERY, MODEL_MATRIX, MODEL_INIT_NORMAL, true, false},
    {"post_norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false},
    {0},
};
static const struct family_row mlp[] = {
    {"gate.weight", SIZE_INNER, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, false},
    {"up.weight", SIZE_INNER, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true},
    {"down.weight", SIZE_HIDDEN, SIZE_INNER, MODEL_MATRIX, MODEL_INIT_NORMAL, true, false},
    {"post_norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false},
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
    .token = llama_token,
    .attention = attention,
    .mlp = mlp,
    .norm = llama_norm,
    .head = llama_head,
};
