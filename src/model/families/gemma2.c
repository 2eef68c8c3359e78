/* SPDX-License-Identifier: Apache-2.0 */
/* Gemma 2 (Gemma Team 2024): Llama with norms before and behind attention and MLP, whose weights count
 * from 1, GELU as the gate of the MLP, rows of the token table times sqrt(hidden), scores and logits
 * with a cap, a scale of scores of its own, windows in some blocks, and a tied head. */
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
    {"output.weight", SIZE_HIDDEN, SIZE_QUERY, MODEL_MATRIX, MODEL_INIT_NORMAL, true, false, 0},
    {"output.bias", SIZE_HIDDEN, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, false,
     FAMILY_ATTENTION_BIAS},
    {"post_norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ZERO, false, false, 0},
    {0},
};
const struct family_row gemma_mlp[] = {
    {"norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ZERO, false, false, 0},
    {"gate.weight", SIZE_INNER, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, false, 0},
    {"up.weight", SIZE_INNER, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true, 0},
    {"down.weight", SIZE_HIDDEN, SIZE_INNER, MODEL_MATRIX, MODEL_INIT_NORMAL, true, false, 0},
    {"post_norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ZERO, false, false, 0},
    {0},
};
const struct family_row gemma_norm[] = {
    {"weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ZERO, false, false, 0},
    {0},
};

const struct family family_gemma2 = {
    .name = "gemma2",
    .rms = true,
    .rotary = true,
    .gated = true,
    .gated_by_gelu = true,
    .behind = true,
    .offset = true,
    .widened = true,
    .tied = true,
    .knows = FAMILY_WINDOW | FAMILY_ATTENTION_CAP | FAMILY_LOGIT_CAP | FAMILY_SCORE_WIDTH |
             FAMILY_ATTENTION_BIAS,
    .token = llama_token,
    .attention = attention,
    .mlp = gemma_mlp,
    .norm = gemma_norm,
    .head = llama_head,
};
