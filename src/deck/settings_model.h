/* SPDX-License-Identifier: Apache-2.0 */
/* What is trained and how. Included through deck/settings.h. */
#ifndef ZI_DECK_SETTINGS_MODEL_H
#define ZI_DECK_SETTINGS_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "deck/settings_adapter.h"

enum model_family {
    MODEL_GPT2,
    MODEL_LLAMA,
    MODEL_MISTRAL,
    MODEL_QWEN2,
    MODEL_QWEN3,
    MODEL_SMOLLM3,
    MODEL_OLMO2,
    MODEL_GEMMA2,
    MODEL_GEMMA3,
    MODEL_FAMILIES
};
enum rope_scaling { ROPE_PLAIN, ROPE_LINEAR, ROPE_DYNAMIC, ROPE_LLAMA3, ROPE_YARN };
enum optimizer_schedule { SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE, SCHEDULE_WSD };

struct settings_model {
    /* Where the weights and the other keys come from: "" for none. */
    char *from;
    /* enum model_family. */
    int family;
    /* Transformer blocks L. */
    int64_t layers;
    /* Width of the residual stream C. */
    int64_t hidden;
    /* Query heads; divide hidden where head_width is auto. */
    int64_t heads;
    /* Key and value heads (grouped-query attention); auto: heads. */
    int64_t key_heads;
    /* Auto, or 0: hidden / heads. */
    int64_t head_width;
    /* Width inside the MLP; auto: 4 or 8/3 times hidden. */
    int64_t inner;
    /* Longest sequence: rows of the position table, limit of RoPE. */
    int64_t context;
    /* Token ids are 0 .. vocabulary-1. */
    int64_t vocabulary;
    /* Head shares the token embedding: 0, 1; auto: gpt2 yes, llama no. */
    int64_t tied;
    /* Added to the variance. */
    double norm_epsilon;
    /* Scores of attention are divided by sqrt(score_width); auto, or 0: the width of a head. */
    int64_t score_width;
    /* Scores, and logits, are cap tanh(x / cap); 0: they are x. */
    double attention_cap, logit_cap;
    /* Query, key, value and output have biases; all of the MLP have. Families with biases of their own
     * have those without being asked. */
    bool attention_bias, mlp_bias;
    /* Tokens that a query of a block with a window sees, itself included; 0: no block has one. */
    int64_t window;
    /* Blocks from this on have the window, but for every full_every-th of all; 0: for none. */
    int64_t window_from, full_every;
    /* Theta of rotary positions; of blocks with a window, which then know no scaling, where
     * rope_window_base is not 0. */
    double rope_base, rope_window_base;
    /* Every so many-th block has no rotary positions; 0: none. */
    int64_t unrotated_every;
    /* enum rope_scaling: how frequencies are made fit for more tokens than a model was first trained
     * with, which are rope_original (auto, or 0: context). */
    int rope_scaling;
    double rope_factor;
    int64_t rope_original;
    /* llama3: periods of an original context below which a frequency is divided by the factor, and
     * above which it is kept. */
    double rope_low, rope_high;
    /* yarn: periods of an original context above which a frequency is kept, and below which it is
     * divided; whether the pairs in between begin and end at whole numbers; what sines and cosines
     * are multiplied with, 0: 1 + ln(factor) / 10. */
    double rope_fast, rope_slow;
    bool rope_truncate;
    double rope_attention;
    /* Standard deviation of initial matrices. */
    double init_deviation;
    /* Patterns of the names of tensors that training changes; auto: all, with an adapter its own. */
    struct deck_list trainable;
    /* enum model_frozen: how matrices of blocks are kept that training does not change. */
    int frozen;
    /* A section of its own. */
    struct settings_adapter adapter;
};

/* In the compute type, or in 8 or 4 bits (base/packed.h). */
enum model_frozen { FROZEN_COMPUTE, FROZEN_BYTES, FROZEN_NF4 };

enum optimizer_type { OPTIMIZER_ADAMW, OPTIMIZER_LION, OPTIMIZER_SGD };
enum optimizer_moments { MOMENTS_FP32, MOMENTS_BLOCKS };

struct settings_optimizer {
    /* enum optimizer_type. */
    int type;
    /* enum optimizer_moments: how its states are kept. */
    int moments;
    /* Peak; the schedule ends at their product. */
    double learning_rate, minimum_ratio;
    double beta1, beta2, epsilon, weight_decay;
    /* Matrices always decay. */
    bool decay_embeddings, decay_norms, decay_biases;
    /* Largest global gradient norm; 0 = no clipping. */
    double clip;
    /* enum optimizer_schedule. */
    int schedule;
    /* Steps of linear rise. */
    int64_t warmup;
    /* wsd: steps of the final fall; auto: a fifth of run.steps. */
    int64_t decay;
};

/* Who adds the gradients of ranks on devices that need a library for it: zinf in rank order, or the
 * library. */
enum sum_order { SUM_ORDERED, SUM_LIBRARY };

struct settings_precision {
    /* enum zi_dtype of parameters and activations: fp32, bf16, fp16. */
    int compute;
    /* enum zi_dtype in which gradients cross the network; sums are fp32. */
    int reduce;
    /* enum sum_order of these sums. */
    int order;
    /* enum zi_dtype of the kept gradient; auto: compute. */
    int64_t gradient;
    /* fp16: what the loss is multiplied with, a power of two; auto: found while training. */
    int64_t loss_scale;
    /* Where it is found: its first value, and finite steps until it is doubled. */
    int64_t loss_scale_initial, loss_scale_growth;
};

#endif
