/* SPDX-License-Identifier: Apache-2.0 */
/* Llama 1 to 3 (Touvron et al. 2023, Grattafiori et al. 2024) and SmolLM2: rotary positions, RMSNorm
 * before each branch, SwiGLU, biases only where the deck asks for them, grouped-query attention where
 * it gives fewer key heads, head of its own unless tied. */
#include "model/family.h"

const struct family_row llama_token[] = {
    {"weight", SIZE_VOCABULARY, SIZE_HIDDEN, MODEL_EMBEDDING, MODEL_INIT_NORMAL, false, false, 0},
    {0},
};
const struct family_row llama_attention[] = {
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
    {"output.weight", SIZE_HIDDEN, SIZE_QUERY, MODEL_MATRIX, MODEL_INIT_NORMAL, true, false, 0},
    {"output.bias", SIZE_HIDDEN, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, false,
     FAMILY_ATTENTION_BIAS},
    {0},
};
const struct family_row llama_mlp[] = {
    {"norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false, 0},
    {"gate.weight", SIZE_INNER, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, false, 0},
    {"up.weight", SIZE_INNER, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true, 0},
    {"gate.bias", SIZE_INNER, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, false,
     FAMILY_MLP_BIAS},
    {"up.bias", SIZE_INNER, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, true, FAMILY_MLP_BIAS},
    {"down.weight", SIZE_HIDDEN, SIZE_INNER, MODEL_MATRIX, MODEL_INIT_NORMAL, true, false, 0},
    {"down.bias", SIZE_HIDDEN, SIZE_NONE, MODEL_BIAS, MODEL_INIT_ZERO, false, false,
     FAMILY_MLP_BIAS},
    {0},
};
const struct family_row llama_norm[] = {
    {"weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false, 0},
    {0},
};
const struct family_row llama_head[] = {
    {"weight", SIZE_VOCABULARY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, false, 0},
    {0},
};

const struct family family_llama = {
    .name = "llama",
    .rms = true,
    .rotary = true,
    .gated = true,
    .knows = FAMILY_ATTENTION_BIAS | FAMILY_MLP_BIAS,
    .token = llama_token,
    .attention = llama_attention,
    .mlp = llama_mlp,
    .norm = llama_norm,
    .head = llama_head,
};
