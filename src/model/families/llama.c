/* SPDX-License-Identifier: Apache-2.0 */
/* Llama 1 to 3 (Touvron et al. 2023, Grattafiori et al. 2024) and SmolLM2: rotary positions, RMSNorm
 * before each branch, SwiGLU, no biases, grouped-query attention where the deck gives fewer key
 * heads, head of its own unless tied. */
#include "model/family.h"

const struct family_row llama_token[] = {
    {"weight", SIZE_VOCABULARY, SIZE_HIDDEN, MODEL_EMBEDDING, MODEL_INIT_NORMAL, false, false},
    {0},
};
const struct family_row llama_attention[] = {
    {"norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false},
    {"query.weight", SIZE_QUERY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, false},
    {"key.weight", SIZE_KEY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true},
    {"value.weight", SIZE_KEY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true},
    {"output.weight", SIZE_HIDDEN, SIZE_QUERY, MODEL_MATRIX, MODEL_INIT_NORMAL, true, false},
    {0},
};
const struct family_row llama_mlp[] = {
    {"norm.weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false},
    {"gate.weight", SIZE_INNER, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, false},
    {"up.weight", SIZE_INNER, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, true},
    {"down.weight", SIZE_HIDDEN, SIZE_INNER, MODEL_MATRIX, MODEL_INIT_NORMAL, true, false},
    {0},
};
const struct family_row llama_norm[] = {
    {"weight", SIZE_HIDDEN, SIZE_NONE, MODEL_NORM, MODEL_INIT_ONE, false, false},
    {0},
};
const struct family_row llama_head[] = {
    {"weight", SIZE_VOCABULARY, SIZE_HIDDEN, MODEL_MATRIX, MODEL_INIT_NORMAL, false, false},
    {0},
};

const struct family family_llama = {
    .name = "llama",
    .rms = true,
    .rotary = true,
    .gated = true,
    .token = llama_token,
    .attention = llama_attention,
    .mlp = llama_mlp,
    .norm = llama_norm,
    .head = llama_head,
};
