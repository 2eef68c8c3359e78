/* SPDX-License-Identifier: Apache-2.0 */
/* Private to hf: keys that Llama and its kin share, as rows: sizes, and rotary positions.
 * transformers 4 writes rope_theta and rope_scaling, 5 an object rope_parameters of both; 4 takes
 * its default base where there is no rope_theta, and 5 takes rope_scaling before rope_parameters,
 * with the base of rope_theta: so all are written. */
#ifndef ZI_HF_ROPE_KEYS_H
#define ZI_HF_ROPE_KEYS_H

#include "hf/architecture.h"

/* Sizes of a model. */
#define HF_SIZE_KEYS                                                                               \
    {"vocab_size", HF_INTEGER, HF_FIELD(vocabulary), NULL, HF_ALWAYS},                             \
        {"max_position_embeddings", HF_INTEGER, HF_FIELD(context), NULL, HF_ALWAYS},               \
        {"hidden_size", HF_INTEGER, HF_FIELD(hidden), NULL, HF_ALWAYS},                            \
        {"intermediate_size", HF_INTEGER, HF_FIELD(inner), NULL, HF_ALWAYS},                       \
        {"num_hidden_layers", HF_INTEGER, HF_FIELD(layers), NULL, HF_ALWAYS},                      \
        {"num_attention_heads", HF_INTEGER, HF_FIELD(heads), NULL, HF_ALWAYS},                     \
        {"num_key_value_heads", HF_INTEGER, HF_FIELD(key_heads), NULL, HF_ALWAYS},                 \
        {"head_dim", HF_WIDTH, HF_FIELD(head_width), NULL, HF_ALWAYS},                             \
        {"rms_norm_eps", HF_REAL, HF_FIELD(norm_epsilon), NULL, HF_ALWAYS},                        \
    {                                                                                              \
        "initializer_range", HF_REAL, HF_FIELD(init_deviation), NULL, HF_ALWAYS                    \
    }

/* How far an object stretches a context, and of what. */
#define HF_STRETCH_KEYS(object)                                                                    \
    {object ".factor", HF_REAL, HF_FIELD(rope_factor), NULL, HF_STRETCHED},                        \
        {object ".original_max_position_embeddings", HF_INTEGER, HF_FIELD(rope_original), NULL,    \
         HF_LLAMA3 | HF_YARN},                                                                     \
        {object ".low_freq_factor", HF_REAL, HF_FIELD(rope_low), NULL, HF_LLAMA3},                 \
        {object ".high_freq_factor", HF_REAL, HF_FIELD(rope_high), NULL, HF_LLAMA3},               \
        {object ".beta_fast", HF_REAL, HF_FIELD(rope_fast), NULL, HF_YARN},                        \
        {object ".beta_slow", HF_REAL, HF_FIELD(rope_slow), NULL, HF_YARN},                        \
        {object ".truncate", HF_FLAG, HF_FIELD(rope_truncate), NULL, HF_YARN},                     \
    {                                                                                              \
        object ".attention_factor", HF_POSITIVE, HF_FIELD(rope_attention), NULL, HF_YARN           \
    }

/* All, of a class that takes `types` (the first of HF_ROPE_TYPES), and of which 4 reads one of the
 * names rope_type and type: both are bits of `written`. */
#define HF_ROPE_KEYS(types, rope_type, type)                                                       \
    {"rope_theta", HF_REAL, HF_FIELD(rope_base), NULL, HF_ALWAYS},                                 \
        {"rope_parameters.rope_theta", HF_REAL, HF_FIELD(rope_base), NULL, HF_ALWAYS},             \
        {"rope_parameters.rope_type", HF_WORD, HF_FIELD(rope_scaling), types, HF_ALWAYS},          \
        {"rope_parameters.type", HF_WORD, HF_FIELD(rope_scaling), types, HF_NEVER},                \
        {"rope_parameters.partial_rotary_factor", HF_MUST, 0, "1.0|1", HF_NEVER},                  \
        HF_STRETCH_KEYS("rope_parameters"),                                                        \
        {"rope_scaling.rope_theta", HF_REAL, HF_FIELD(rope_base), NULL, HF_NEVER},                 \
        {"rope_scaling.rope_type", HF_WORD, HF_FIELD(rope_scaling), types, rope_type},             \
        {"rope_scaling.type", HF_WORD, HF_FIELD(rope_scaling), types, type},                       \
        HF_STRETCH_KEYS("rope_scaling")

#endif
