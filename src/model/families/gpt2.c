/* SPDX-License-Identifier: Apache-2.0 */
/* GPT-2 (Radford et al. 2019): learned positions, LayerNorm before each branch, GELU, biases
 * everywhere, head tied to the token embedding. Branches end in projections whose initial values
 * are scaled down by the square root of the number of branches. */
#include "model/family.h"

static const struct family_row token[] = {
    {"weight", SIZE_VOCABULARY, SIZE_HIDDEN, MODEL_EMBEDDING, MODEL_INIT_NORMAL, false, false, 0},
    {0},
};
static const struct family_row position[] = {
    {"weight", SIZE_CONTEXT, SIZE_HIDDEN, MODEL_EMBEDDING, MODEL_INIT_NORMAL, false, false, 0},
    {0},
};
static const struct family_row attention[] = {
    {"norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false, 0},
    {"norm.bias", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ZERO, false, false, 0},
    {"query.weight", SIZE_QUERY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, false, 0},
    {"key.weight", SIZE_KEY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true, 0},
    {"value.weight", SIZE_KEY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true, 0},
    {"query.bias", SIZE_QUERY, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, false, 0},
    {"key.bias", SIZE_KEY, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, true, 0},
    {"value.bias", SIZE_KEY, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, true, 0},
    {"output.weight", SIZE_HIDDEN, SIZE_QUERY, MODEL_MATRIX, MODEL_INIT_NORMAL, true, false, 0},
    {"output.bias", SIZE_HIDDEN, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, false, 0},
    {0},
};
static const struct family_row mlp[] = {
    {"norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false, 0},
    {"norm.bias", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ZERO, false, false, 0},
    {"up.weight", SIZE_INNER, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, false, 0},
    {"up.bias", SIZE_INNER, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, false, 0},
    {"down.weight", SIZE_HIDDEN, SIZE_INNER, MODEL_MATRIX, MODEL_INIT_NORMAL, true, false, 0},
    {"down.bias", SIZE_HIDDEN, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, false, 0},
    {0},
};
static const struct family_row norm[] = {
    {"weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false, 0},
    {"bias", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ZERO, false, false, 0},
    {0},
};

static const struct family_row head[] = {
    {"weight", SIZE_VOCABULARY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, false, 0},
    {0},
};

const struct family family_gpt2 = {
    .name = "gpt2",
    .tied = true,
    .token = token,
    .position = position,
    .attention = attention,
    .mlp = mlp,
    .norm = norm,
    .head = head,
};
