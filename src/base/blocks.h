/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers in 8 bits: blocks of 256 that share a scale, by which each is a code of the dynamic map of
 * Dettmers et al. 2022 ("8-bit Optimizers via Block-wise Quantization").
 *
 * The map is that of a number of zero bits, a bit that ends them, and a fraction with all bits that are
 * left: every decade below 1 has twice as many numbers as the one below it, at the middles of equal
 * cells of (0.1, 1]. In decade e, which has 2^e of them, the code is n = 2^e + cell, and so the
 * exponent of n as a floating-point number is e, its fraction t the place in the decade:
 *
 *     value(n) = slope[e] t + base[e],   1 <= t = n / 2^e < 2
 *
 * Signed numbers have 7 decades of 1 to 64 numbers, from 1e-7 on, and a bit of sign; others 7 decades
 * of 2 to 128. Each map has 0 (code 0) and 1 (128, or 1 where there is no sign). The scale is the
 * number of the block that is largest in magnitude, with its sign, of which the code is then that of
 * 1: so what has been decoded is encoded to the same bits again. That is why a file may have fp32 numbers
 * in place of blocks and lose nothing.
 *
 * A code is the nearest, but that a number without sign that is not 0 never becomes 0: an update divides
 * by its root. Blocks whose largest is below 2^-100 are 0, scales end at 2^120.
 *
 * Whoever encodes has to use these operations in this order, each rounded by itself: then the bits are
 * the same everywhere. */
#ifndef ZI_BASE_BLOCKS_H
#define ZI_BASE_BLOCKS_H

#include "base/dtype.h"

enum { ZI_BLOCK_DECADES = 8 };

/* By decade e, of which a map without sign lacks 0 and one with a sign 7. */
struct zi_block_map {
    /* Decoding. */
    float slope[ZI_BLOCK_DECADES], base[ZI_BLOCK_DECADES];
    /* Encoding a magnitude a, the number times 1 / scale: it is in the last decade of which `least` is
     * not above it, in none it is 0; and has the code a cells[e] + shift[e] without its fraction, at
     * most last[e], at least `lowest`. From `one` on it is 1, where the sign is the scale's. */
    float least[ZI_BLOCK_DECADES], cells[ZI_BLOCK_DECADES], shift[ZI_BLOCK_DECADES],
        last[ZI_BLOCK_DECADES];
    float one;
    /* The code of the first number, and that of 1. */
    int lowest, one_code;
};

/* Largest and smallest scales but 0. */
#define ZI_BLOCK_LARGEST  0x1p120f
#define ZI_BLOCK_SMALLEST 0x1p-100f

/* The factors are products with powers of ten and of two that the compiler rounds once to fp32: a
 * decade e is (0.1, 1] times P, its first number P (0.1 + 0.45 / 2^e), its last P (1 - 0.45 / 2^e);
 * between the last of one and the first of the next lies the limit 0.1 P (1 + 1.8 / 2^e), P and e
 * being those of the next. */
#define ZI_BLOCK_SLOPE(power, cells) (float)(0.9 * (power))
#define ZI_BLOCK_BASE(power, cells)  (float)((power) * (0.45 / (cells)-0.8))
#define ZI_BLOCK_LEAST(power, cells) (float)(0.1 * (power) * (1 + 1.8 / (cells)))
#define ZI_BLOCK_CELLS(power, cells) (float)((cells) / (0.9 * (power)))
#define ZI_BLOCK_SHIFT(power, cells) (float)((cells)*8 / 9.0)
#define ZI_BLOCK_LAST(power, cells)  (float)(2 * (cells)-1)

/* Seven decades that end in 1e-6 to 1; those of a map without sign have twice as many numbers. */
#define ZI_BLOCK_LATER(what, times)                                                                \
    what(1e-5, 2.0 * (times)), what(1e-4, 4.0 * (times)), what(1e-3, 8.0 * (times)),               \
        what(1e-2, 16.0 * (times)), what(1e-1, 32.0 * (times)), what(1.0, 64.0 * (times))
#define ZI_BLOCK_ALL(what, times) what(1e-6, 1.0 * (times)), ZI_BLOCK_LATER(what, times)

/* What is below half of the first number is 0. */
static const struct zi_block_map zi_block_signed = {
    .slope = {ZI_BLOCK_ALL(ZI_BLOCK_SLOPE, 1), 0},
    .base = {ZI_BLOCK_ALL(ZI_BLOCK_BASE, 1), 0},
    .least = {(float)(0.275e-6), ZI_BLOCK_LATER(ZI_BLOCK_LEAST, 1), INFINITY},
    .cells = {ZI_BLOCK_ALL(ZI_BLOCK_CELLS, 1), 0},
    .shift = {ZI_BLOCK_ALL(ZI_BLOCK_SHIFT, 1), 0},
    .last = {ZI_BLOCK_ALL(ZI_BLOCK_LAST, 1), 0},
    .one = (float)(1 - 0.225 / 64),
    .lowest = 1,
    .one_code = 128,
};

/* What is not 0 is in the second decade at least. Code 1 would be the only one of the first, and is
 * 1. */
static const struct zi_block_map zi_block_unsigned = {
    .slope = {0, ZI_BLOCK_ALL(ZI_BLOCK_SLOPE, 2)},
    .base = {1, ZI_BLOCK_ALL(ZI_BLOCK_BASE, 2)},
    .least = {0, 0, ZI_BLOCK_LATER(ZI_BLOCK_LEAST, 2)},
    .cells = {0, ZI_BLOCK_ALL(ZI_BLOCK_CELLS, 2)},
    .shift = {0, ZI_BLOCK_ALL(ZI_BLOCK_SHIFT, 2)},
    .last = {0, ZI_BLOCK_ALL(ZI_BLOCK_LAST, 2)},
    .one = (float)(1 - 0.225 / 128),
    .lowest = 2,
    .one_code = 1,
};

/* Local. The map of a type in blocks. */
static inline const struct zi_block_map *zi_block_map(enum zi_dtype type)
{
    return type == ZI_SIGNED8 ? &zi_block_signed : &zi_block_unsigned;
}

/* Local. The scale of a block with this largest and this smallest number. */
static inline float zi_block_scale(float largest, float smallest)
{
    float scale = largest >= -smallest ? largest : smallest;
    if (scale > ZI_BLOCK_LARGEST) scale = ZI_BLOCK_LARGEST;
    if (scale < -ZI_BLOCK_LARGEST) scale = -ZI_BLOCK_LARGEST;
    return scale < ZI_BLOCK_SMALLEST && scale > -ZI_BLOCK_SMALLEST ? 0.0f : scale;
}

/* Local. Numbers of whole blocks into them; `count` is a multiple of ZI_BLOCK. */
void zi_blocks_encode(enum zi_dtype type, const float *values, int64_t count, void *blocks);

/* Local. And back. */
void zi_blocks_decode(enum zi_dtype type, const void *blocks, int64_t count, float *values);

#endif
