/* SPDX-License-Identifier: Apache-2.0 */
/* Gemma 2 (Gemma Team 2024): Llama with norms before and behind attention and MLP, whose weights count
 * from 1, GELU as the gate of the MLP, rows of the token table times sqrt(hidden), scores and logits
 * with a cap, a scale of scores of its own, windows in some blocks, and a tied head. */
#include "model/family.h"

static const struct family_row attention[] = {
    {"norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ZERO, false, false},
    {"query.weight", SIZE_QUERY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, false},
    {"key.weight", SIZE_KEY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true},
    {"value.weight", SIZE_KEY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true},
    {"output.weight", SIZE_HIDDEN, SIZE_QUERY, MODEL_MATRIX, MODEL_INIT_NORMAL, true, false},
    {"post_norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ZERO, false, false},
    {0},
};
const struct family_row gemma_mlp[] = {
    {"norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ZERO, false, false},
    {"gate.weight", SIZE_INNER, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, false},
    {"up.weight", SIZE_INNER, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true},
    {"down.weight", SIZE_HIDDEN, SIZE_INNER, MODEL_MATRIX, MODEL_INIT_NORMAL, true, false},
    {"post_norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ZERO, false, false},
    {0},
};
const struct family_row gemma_norm[] = {
    {"weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ZERO, false, false},
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
    .knows = FAMILY_WINDOW | FAMILY_ATTENTION_CAP | FAMILY_LOGIT_CAP | FAMILY_SCORE_WIDTH,
    .token = llama_token,
    .attention = attention,
    .mlp = gemma_mlp,
    .norm = gemma_norm,
    .head = llama_head,
};
