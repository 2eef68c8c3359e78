/* SPDX-License-Identifier: Apache-2.0 */
/* Llama (Touvron et al. 2023): rotary positions, RMSNorm before each branch, SwiGLU, no biases,
 * grouped-query attention where the deck gives fewer key heads, head of its own unless tied. */
#include "model/family.h"

static const struct family_row token[] = {
    {"weight", SIZE_VOCABULARY, SIZE_HIDDEN, MODEL_EMBEDDING, MODEL_INIT_NORMAL, false, false},
    {0},
};
static const struct family_row attention[] = {
    {"norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false},
    {"query.weight", SIZE_QUERY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, false},
    {"key.weight", SIZE_KEY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true},
    {"value.weight", SIZE_KEY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true},
    {"output.weight", SIZE_HIDDEN, SIZE_QUERY, MODEL_MATRIX, MODEL_INIT_NORMAL, true, false},
    {0},
};
static const struct family_row mlp[] = {
    {"norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false},
    {"gate.weight", SIZE_INNER, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, false},
    {"up.weight", SIZE_INNER, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true},
    {"down.weight", SIZE_HIDDEN, SIZE_INNER, MODEL_MATRIX, MODEL_INIT_NORMAL, true, false},
    {0},
};
static const struct family_row norm[] = {
    {"weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false},
    {0},
};
static const struct family_row head[] = {
    {"weight", SIZE_VOCABULARY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, false},
    {0},
};

const struct family family_llama = {
    .name = "llama",
    .rms = true,
    .rotary = true,
    .gated = true,
    .token = token,
    .attention = attention,
    .mlp = mlp,
    .norm = norm,
    .head = head,
};
