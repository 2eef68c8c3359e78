/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers of 16 bits: bf16 and fp16, their roundings from fp32, and how an fp32 master is kept as a
 * parameter of 16 bits and a remainder of 16 more. */
#ifndef ZI_BASE_HALF_H
#define ZI_BASE_HALF_H

#include "base/dtype.h"

/* Exact: bf16 is the upper half of fp32. */
ZI_ANYWHERE static inline float zi_bf16_to_fp32(uint16_t value)
{
    return zi_fp32_from_bits((uint32_t)value << 16);
}

/* Rounds to nearest, ties to even: the rounding of activations and gradients. NaN stays NaN.
 * Without a branch, so that loops over it vectorise. */
ZI_ANYWHERE static inline uint16_t zi_bf16_round_even(float value)
{
    uint32_t bits = zi_fp32_bits(value);
    uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    uint32_t quiet = bits >> 16 | 0x40u;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

/* Rounds to nearest, ties away from zero: the rounding of parameters. With it, the signed 16-bit
 * remainder bits - (upper << 16) gives back every bit of the fp32 master (doc/design.md, Numbers).
 * `value` is finite. */
ZI_ANYWHERE static inline uint16_t zi_bf16_round_away(float value)
{
    return (uint16_t)((zi_fp32_bits(value) + 0x8000u) >> 16);
}

/* What zi_bf16_round_away leaves of a finite master. */
ZI_ANYWHERE static inline int16_t zi_bf16_remainder(float value)
{
    return (int16_t)(uint16_t)zi_fp32_bits(value);
}

/* The master back from its parameter and that remainder. */
ZI_ANYWHERE static inline float zi_bf16_join(uint16_t parameter, int16_t remainder)
{
    return zi_fp32_from_bits(((uint32_t)parameter << 16) + (uint32_t)(int32_t)remainder);
}

/* Exact: IEEE binary16, 5 bits of exponent and 10 of mantissa. Without a branch or a product, here
 * and below, so that loops vectorise and nothing can be fused. */
ZI_ANYWHERE static inline float zi_fp16_to_fp32(uint16_t value)
{
    uint32_t magnitude = value & 0x7fffu, sign = (uint32_t)(value & 0x8000u) << 16;
    uint32_t bits = (magnitude << 13) + (112u << 23);
    /* below 2^-14 a multiple of 2^-24, the last place of what is added and taken away again */
    uint32_t small = zi_fp32_bits(zi_fp32_from_bits(0x3f000000u + magnitude) - 0.5f);
    bits += magnitude >= 0x7c00u ? 112u << 23 : 0u;
    return zi_fp32_from_bits((magnitude < 0x400u ? small : bits) | sign);
}

/* Rounds to nearest, ties to even; 65520 and more become infinite. NaN stays NaN. */
ZI_ANYWHERE static inline uint16_t zi_fp16_round_even(float value)
{
    uint32_t bits = zi_fp32_bits(value), magnitude = bits & 0x7fffffffu;
    uint32_t bounded = magnitude < 0x47800000u ? magnitude : 0x47800000u;
    uint32_t rounded = (bounded - (112u << 23) + 0xfffu + (bounded >> 13 & 1u)) >> 13;
    uint32_t small = zi_fp32_bits(zi_fp32_from_bits(bounded) + 0.5f) - 0x3f000000u;
    uint32_t nan = 0x7e00u | (magnitude >> 13 & 0x3ffu);
    uint32_t half = bounded < 0x38800000u ? small : rounded;
    return (uint16_t)((magnitude > 0x7f800000u ? nan : half) | (bits >> 16 & 0x8000u));
}

/* A master of an fp16 parameter as 32 bits: those of binary16 with 16 more of mantissa, which hold
 * every fp32 number from 2^-17 on, and below that multiples of 2^-40, to which it is rounded. Its
 * upper half after rounding half away from zero is the parameter, the rest the remainder, as with
 * bf16. What is 65536 or more, or NaN, becomes 65536: its parameter is infinite, which shows. */
ZI_ANYWHERE static inline uint32_t zi_fp16_master_bits(float value)
{
    uint32_t bits = zi_fp32_bits(value), magnitude = bits & 0x7fffffffu;
    uint32_t bounded = magnitude < 0x47800000u ? magnitude : 0x47800000u;
    uint32_t is_small = bounded < 0x38800000u;
    float scaled = zi_fp32_from_bits(is_small ? bounded : 0u) * 0x1p40f;
    float whole = scaled < 0x1p23f ? (scaled + 0x1p23f) - 0x1p23f : scaled;
    return (is_small ? (uint32_t)(int32_t)whole : (bounded - (112u << 23)) << 3) |
           (bits & 0x80000000u);
}

/* The fp32 number of these bits. */
ZI_ANYWHERE static inline float zi_fp16_master_from_bits(uint32_t bits)
{
    uint32_t magnitude = bits & 0x7fffffffu, is_small = magnitude < 0x04000000u;
    float small = (float)(int32_t)(is_small ? magnitude : 0u) * 0x1p-40f;
    uint32_t wide = is_small ? zi_fp32_bits(small) : (magnitude >> 3) + (112u << 23);
    return zi_fp32_from_bits(wide | (bits & 0x80000000u));
}

/* The number of 16 bits of `type`, bf16 or fp16, here and below. */
ZI_ANYWHERE static inline float zi_half_to_fp32(enum zi_dtype type, uint16_t value)
{
    return type == ZI_FP16 ? zi_fp16_to_fp32(value) : zi_bf16_to_fp32(value);
}

/* Rounds to nearest, ties to even: the rounding of activations and gradients. */
ZI_ANYWHERE static inline uint16_t zi_half_round_even(enum zi_dtype type, float value)
{
    return type == ZI_FP16 ? zi_fp16_round_even(value) : zi_bf16_round_even(value);
}

/* The parameter of a master. */
ZI_ANYWHERE static inline uint16_t zi_half_parameter(enum zi_dtype type, float master)
{
    if (type == ZI_FP16) return (uint16_t)((zi_fp16_master_bits(master) + 0x8000u) >> 16);
    return zi_bf16_round_away(master);
}

/* The remainder of a master. */
ZI_ANYWHERE static inline int16_t zi_half_remainder(enum zi_dtype type, float master)
{
    if (type == ZI_FP16) return (int16_t)(uint16_t)zi_fp16_master_bits(master);
    return zi_bf16_remainder(master);
}

/* The master back from both. */
ZI_ANYWHERE static inline float zi_half_join(enum zi_dtype type, uint16_t parameter,
                                             int16_t remainder)
{
    if (type != ZI_FP16) return zi_bf16_join(parameter, remainder);
    return zi_fp16_master_from_bits(((uint32_t)parameter << 16) + (uint32_t)(int32_t)remainder);
}

#endif
