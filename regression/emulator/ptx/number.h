/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the interpreter of PTX: numbers of fp32, fp16 and bf16 as NVIDIA's hardware has them: a
 * NaN that an operation makes is the canonical one. */
#ifndef ZI_REGRESSION_PTX_NUMBER_H
#define ZI_REGRESSION_PTX_NUMBER_H

#include <math.h>
#include <string.h>

#include "regression/emulator/ptx/program.h"

enum { PTX_FP16_MANTISSA = 10, PTX_BF16_MANTISSA = 7 };

static inline uint32_t ptx_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float ptx_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Bits of a result in fp32. */
static inline uint32_t ptx_result(float x)
{
    return x != x ? 0x7FFFFFFF : ptx_bits(x);
}

/* .ftz: subnormal numbers are zeros of their sign. */
static inline float ptx_flush(float x, unsigned flags)
{
    return flags & PTX_FTZ && fabsf(x) < 0x1p-126f ? copysignf(0, x) : x;
}

/* .sat: within [0, 1], NaN becomes 0. */
static inline float ptx_saturate(float x, unsigned flags)
{
    if (!(flags & PTX_SAT)) return x;
    return x > 0 ? (x < 1 ? x : 1) : 0;
}

/* A number of 16 bits with that mantissa: fp16 (10) or bf16 (7). */
static inline float ptx_widen(uint16_t bits, int mantissa)
{
    if (mantissa == PTX_BF16_MANTISSA) return ptx_float((uint32_t)bits << 16);
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 31, rest = bits & 1023;
    if (exponent == 0) return copysignf((float)rest * 0x1p-24f, ptx_float(sign));
    if (exponent == 31) return ptx_float(sign | 0x7F800000 | rest << 13);
    return ptx_float(sign | (exponent + 112) << 23 | rest << 13);
}

/* Local (float.c). Rounds to 16 bits as the flags say: rounding, .ftz, .sat, .relu. */
uint16_t ptx_narrow(double x, int mantissa, unsigned flags);
/* Local (float.c). Sets the host's rounding of floating-point numbers; gives what it was. */
int ptx_rounding_begin(unsigned flags);
void ptx_rounding_end(int before);

#endif
