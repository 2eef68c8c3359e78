/* SPDX-License-Identifier: Apache-2.0 */
/* Element types, the two roundings from fp32 to bf16, and NaN as it is shown. */
#ifndef ZI_BASE_DTYPE_H
#define ZI_BASE_DTYPE_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum zi_dtype { ZI_FP32, ZI_BF16, ZI_INT32, ZI_INT16 };

/* Bytes of one element. */
static inline size_t zi_dtype_bytes(enum zi_dtype type)
{
    return type == ZI_BF16 || type == ZI_INT16 ? 2 : 4;
}

/* "fp32", "bf16" and so on. */
static inline const char *zi_dtype_name(enum zi_dtype type)
{
    static const char *const names[] = {"fp32", "bf16", "int32", "int16"};
    return names[type];
}

/* The number of these bits. */
static inline float zi_fp32_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The bits of a number. */
static inline uint32_t zi_fp32_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Exact: bf16 is the upper half of fp32. */
static inline float zi_bf16_to_fp32(uint16_t value)
{
    return zi_fp32_from_bits((uint32_t)value << 16);
}

/* Rounds to nearest, ties to even: the rounding of activations and gradients. NaN stays NaN.
 * Without a branch, so that loops over it vectorise. */
static inline uint16_t zi_bf16_round_even(float value)
{
    uint32_t bits = zi_fp32_bits(value);
    uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    uint32_t quiet = bits >> 16 | 0x40u;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

/* Rounds to nearest, ties away from zero: the rounding of parameters. With it, the signed 16-bit
 * remainder bits - (upper << 16) gives back every bit of the fp32 master (doc/design.md, Numbers).
 * `value` is finite. */
static inline uint16_t zi_bf16_round_away(float value)
{
    return (uint16_t)((zi_fp32_bits(value) + 0x8000u) >> 16);
}

/* What zi_bf16_round_away leaves of a finite master. */
static inline int16_t zi_bf16_remainder(float value)
{
    return (int16_t)(uint16_t)zi_fp32_bits(value);
}

/* The master back from its parameter and that remainder. */
static inline float zi_bf16_join(uint16_t parameter, int16_t remainder)
{
    return zi_fp32_from_bits(((uint32_t)parameter << 16) + (uint32_t)(int32_t)remainder);
}

/* A number as it is printed: the sign of a NaN means nothing, and "-nan" only puzzles. */
static inline double zi_nan_plain(double value)
{
    return isnan(value) ? (double)NAN : value;
}

#endif
