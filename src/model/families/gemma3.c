/* SPDX-License-Identifier: Apache-2.0 */
/* Gemma 3, its text model (Gemma Team 2025): Gemma 2 with norms of query and key heads instead of the
 * cap on scores, and with a rotary base of their own for blocks with a window. */
#include "model/family.h"

static const struct family_row attention[] = {
    {"norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ZERO, false, false, 0},
    {"query.weight", SIZE_QUERY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, false, 0},
    {"key.weight", SIZE_KEY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true, 0},
    {"value.weight", SIZE_KEY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true, 0},
    {"query.bias", SIZE_QUERY, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, false,
     FAMILY_ATTENTION_BIAS},
    {"key.bias", SIZE_KEY, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, true,
     FAMILY_ATTENTION_BIAS},
    {"value.bias", SIZE_KEY, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, true,
     FAMILY_ATTENTION_BIAS},
    {"query_norm.weight", SIZE_HEAD, SIZE_NONE, MODEL_NORM, MODEL_INIT_ZERO, false, false, 0},
    {"key_norm.weight", SIZE_HEAD, SIZE_NONE, MODEL_NORM, MODEL_INIT_ZERO, false, false, 0},
    {"output.weight", SIZE_HIDDEN, SIZE_QUERY, MODEL_MATRIX, MODEL_INIT_NORMAL, true, false, 0},
    {"output.bias", SIZE_HIDDEN, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, false,
     FAMILY_ATTENTION_BIAS},
    {"post_norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ZERO, false, false, 0},
    {0},
};

const struct family family_gemma3 = {
    .name = "gemma3",
    .rms = true,
    .rotary = true,
    .gated = true,
    .gated_by_gelu = true,
    .head_norms = true,
    .behind = true,
    .offset = true,
    .widened = true,
    .tied = true,
    .knows = FAMILY_WINDOW | FAMILY_TWO_BASES | FAMILY_LOGIT_CAP | FAMILY_SCORE_WIDTH |
             FAMILY_ATTENTION_BIAS,
    .token = llama_token,
    .attention = attention,
    .mlp = gemma_mlp,
    .norm = gemma_norm,
    .head = llama_head,
};
