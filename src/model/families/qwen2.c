/* SPDX-License-Identifier: Apache-2.0 */
/* Qwen 2 and 2.5 (Yang et al. 2024): Llama with biases of query, key and value; blocks from some
 * depth on may have a window. */
#include "model/family.h"

static const struct family_row attention[] = {
    {"norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false, 0},
    {"query.weight", SIZE_QUERY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, false, 0},
    {"key.weight", SIZE_KEY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true, 0},
    {"value.weight", SIZE_KEY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true, 0},
    {"query.bias", SIZE_QUERY, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, false, 0},
    {"key.bias", SIZE_KEY, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, true, 0},
    {"value.bias", SIZE_KEY, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, true, 0},
    {"output.weight", SIZE_HIDDEN, SIZE_QUERY, MODEL_MATRIX, MODEL_INIT_NORMAL, true, false, 0},
    {0},
};

const struct family family_qwen2 = {
    .name = "qwen2",
    .rms = true,
    .rotary = true,
    .gated = true,
    .knows = FAMILY_WINDOW,
    .token = llama_token,
    .attention = attention,
    .mlp = llama_mlp,
    .norm = llama_norm,
    .head = llama_head,
};
