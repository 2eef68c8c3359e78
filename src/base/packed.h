/* SPDX-License-Identifier: Apache-2.0 */
/* Frozen weights in 8 or 4 bits: blocks of 64 that lie behind each other in their tensor, each with an
 * fp32 scale, its largest magnitude s. A weight w has a code, and stands for what that says times s:
 *
 * - ZI_PACKED8: an int8 q from -127 to 127, the integer nearest to 127 w / s, ties to even. It stands for
 *   q / 127.
 * - ZI_PACKED4: the nearest of the 16 numbers of NF4 (Dettmers et al. 2023, "QLoRA", appendix E), ties
 *   to the smaller one. They are quantiles of a normal distribution, with -1, 0 and 1 among them.
 *
 * A block is its codes, then its scale. Codes of 4 bits: byte i has that of element i in its lower half,
 * that of element 32 + i in the upper.
 *
 * The scale stays fp32: 2 bytes less (bf16) would save 3 % of 8 bits and 5 % of 4, and lose that the
 * largest weight of a block stays what it is. It does, and so what has been decoded, also when it is
 * rounded to bf16 or fp16, is encoded and decoded to the same numbers again. That is why a checkpoint may
 * have the decoded weights in place of blocks.
 *
 * Blocks whose largest is below 2^-100 are 0; one with a number that is not finite decodes to NaN.
 *
 * Whoever decodes has to use these operations in this order, each rounded by itself: then the bits are
 * the same everywhere. */
#ifndef ZI_BASE_PACKED_H
#define ZI_BASE_PACKED_H

#include "base/dtype.h"

/* The smallest scale but 0. */
#define ZI_PACK_SMALLEST 0x1p-100f

/* What codes of 8 bits are multiplied with. The product with 127 is 1. */
#define ZI_PACK8_UNIT (1.0f / 127.0f)

/* The numbers of NF4, by code. */
#define ZI_NF4_NUMBERS                                                                             \
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,                      \
        -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,                 \
        0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,    \
        0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f

/* Local. Weights of whole blocks into them; `count` is a multiple of ZI_PACK. */
void zi_packed_encode(enum zi_dtype type, const float *values, int64_t count, void *blocks);

/* Local. And back. */
void zi_packed_decode(enum zi_dtype type, const void *blocks, int64_t count, float *values);

#endif
