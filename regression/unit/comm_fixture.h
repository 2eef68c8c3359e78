/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by tests of collectives: what ranks contribute, and the right results, from formulas, so
 * that no check relies on communication being right. */
#ifndef ZI_REGRESSION_COMM_FIXTURE_H
#define ZI_REGRESSION_COMM_FIXTURE_H

#include <stdint.h>

#include "base/half.h"

/* Bits that look like chance. */
static inline uint32_t mix(uint32_t rank, uint64_t i)
{
    uint32_t x = (uint32_t)(i * 2654435761u) ^ (uint32_t)(i >> 32) ^ rank * 0x9e3779b9u;
    x ^= x >> 15;
    x *= 0x85ebca6bu;
    return x ^ x >> 13;
}

/* What contributions are made of. */
enum values { INTEGERS, ROUNDING };

/* Element i of the contribution of a rank. ROUNDING values differ in size by 2^20, so the order of
 * a sum shows in its bits; the lowest bits of many do not fit bf16. */
static inline float contribution(enum values kind, int rank, int64_t i)
{
    uint32_t x = mix((uint32_t)rank + 1, (uint64_t)i);
    if (kind == INTEGERS) return (float)((int)(x % 17) - 8);
    float scale = x & 64 ? 1048576.0f : 1.0f;
    return ((float)(x >> 8) / 16777216.0f - 0.5f) * scale;
}

/* The sum of all ranks' elements i, in rank order, each rounded to the wire type. */
static inline float expected_sum(enum values kind, int ranks, enum zi_dtype wire, int64_t i)
{
    float sum = 0;
    for (int rank = 0; rank < ranks; rank++) {
        float value = contribution(kind, rank, i);
        if (wire != ZI_FP32) value = zi_half_to_fp32(wire, zi_half_round_even(wire, value));
        sum = rank == 0 ? value : sum + value;
    }
    return sum;
}

/* Byte i of what a rank gives to an all_gather. */
static inline unsigned char gather_byte(int rank, int64_t i)
{
    return (unsigned char)mix((uint32_t)rank, (uint64_t)i);
}

#endif
