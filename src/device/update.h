/* SPDX-License-Identifier: Apache-2.0 */
/* Private to device: what all devices do alike to the bit when they update, so that a group of
 * parameters may be updated on any of them. The checksum is a sum of integers, and AdamW is written
 * in operations that are rounded one by one: no compiler may fuse a product with a sum
 * (-ffp-contract=off, -fmad=false). What is left are the factors of a step, and the order of the sum of
 * squares. NaN has other bits on other devices. */
#ifndef ZI_DEVICE_UPDATE_H
#define ZI_DEVICE_UPDATE_H

#include "device/operations.h"

/* Squares are exact in double. A block has 32 partial sums, of its elements 32 i + p in order of i,
 * to which what is not finite adds nothing. 32 numbers are folded: of n the second half is added to
 * the first, number by number, until one is left. So the partial sums of a block, the blocks of a chunk
 * and the chunks of a span, where those behind the last element are 0; spans are added in order to
 * what the sum held. Each is of elements, from the first of the gradient on. */
enum {
    NORM_FOLD = 32,
    NORM_BLOCK = 4096,
    NORM_CHUNK = NORM_FOLD * NORM_BLOCK,
    NORM_SPAN = NORM_FOLD * NORM_CHUNK
};

/* Factors of one step, in fp32. */
struct update_factors {
    float beta1, rest1, beta2, rest2, rate, inverse2, epsilon, keep, decay, scale;
};

/* Local. Those of a step. */
static inline struct update_factors update_factors(const struct device_adam *a)
{
    struct update_factors f;
    f.beta1 = a->beta1;
    f.rest1 = 1.0f - a->beta1;
    f.beta2 = a->beta2;
    f.rest2 = 1.0f - a->beta2;
    f.rate = a->learning_rate / a->correction1;
    f.inverse2 = 1.0f / a->correction2;
    f.epsilon = a->epsilon;
    f.keep = 1.0f - a->learning_rate * a->decay;
    f.decay = a->decay;
    f.scale = a->scale;
    return f;
}

#endif
