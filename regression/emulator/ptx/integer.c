/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic of integers. Results are stored extended by zeros to 64 bits. */
#include "regression/emulator/ptx/steps.h"

#include <stdlib.h>

/* X(name, C type of the result, value) for a type's field f, its signed field s and unsigned u.
 * Sums and products are taken without signs, as C leaves overflow of signed ones undefined. */
#define ANY(X, T, f, unsigned_type)                                                                \
    X(add_##T, unsigned_type, (uint64_t)A.f + (uint64_t)B.f)                                       \
    X(sub_##T, unsigned_type, (uint64_t)A.f - (uint64_t)B.f)                                       \
    X(mul_lo_##T, unsigned_type, (uint64_t)A.f *(uint64_t)B.f)                                     \
    X(mad_lo_##T, unsigned_type, (uint64_t)A.f *(uint64_t)B.f + (uint64_t)C.f)                     \
    X(min_##T, unsigned_type, A.f < B.f ? A.f : B.f)                                               \
    X(max_##T, unsigned_type, A.f > B.f ? A.f : B.f)

#define SIGNED(X, T, f, unsigned_type)                                                             \
    X(neg_##T, unsigned_type, 0 - (uint64_t)A.f)                                                   \
    X(abs_##T, unsigned_type, A.f < 0 ? 0 - (uint64_t)A.f : (uint64_t)A.f)

/* Of types with a C type twice as wide. */
#define HIGH(X, T, f, unsigned_type, wide, bits)                                                   \
    X(mul_hi_##T, unsigned_type, (wide)A.f *(wide)B.f >> bits)                                     \
    X(mad_hi_##T, unsigned_type, ((wide)A.f * (wide)B.f >> bits) + (wide)C.f)

typedef unsigned __int128 wide_u64;
typedef __int128 wide_s64;

#define SAD(X, T, f, unsigned_type)                                                                \
    X(sad_##T, unsigned_type,                                                                      \
      (uint64_t)C.f + (A.f < B.f ? (uint64_t)B.f - (uint64_t)A.f : (uint64_t)A.f - (uint64_t)B.f))

/* The smaller and the larger 32-bit number that fits. */
static uint32_t saturate(int64_t x)
{
    return (uint32_t)(x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : x);
}

#define OPERATIONS(X)                                                                              \
    ANY(X, u16, u16, uint16_t)                                                                     \
    ANY(X, s16, s16, uint16_t)                                                                     \
    ANY(X, u32, u32, uint32_t)                                                                     \
    ANY(X, s32, s32, uint32_t)                                                                     \
    ANY(X, u64, u64, uint64_t)                                                                     \
    ANY(X, s64, s64, uint64_t)                                                                     \
    SIGNED(X, s16, s16, uint16_t)                                                                  \
    SIGNED(X, s32, s32, uint32_t)                                                                  \
    SIGNED(X, s64, s64, uint64_t)                                                                  \
    HIGH(X, u16, u16, uint16_t, uint32_t, 16)                                                      \
    HIGH(X, s16, s16, uint16_t, int32_t, 16)                                                       \
    HIGH(X, u32, u32, uint32_t, uint64_t, 32)                                                      \
    HIGH(X, s32, s32, uint32_t, int64_t, 32)                                                       \
    HIGH(X, u64, u64, uint64_t, wide_u64, 64)                                                      \
    HIGH(X, s64, s64, uint64_t, wide_s64, 64)                                                      \
    SAD(X, u32, u32, uint32_t)                                                                     \
    SAD(X, s32, s32, uint32_t)                                                                     \
    SAD(X, u64, u64, uint64_t)                                                                     \
    SAD(X, s64, s64, uint64_t)                                                                     \
    X(mul_wide_u16, uint32_t, (uint32_t)A.u16 *(uint32_t)B.u16)                                    \
    X(mul_wide_s16, uint32_t, (int32_t)A.s16 *(int32_t)B.s16)                                      \
    X(mul_wide_u32, uint64_t, (uint64_t)A.u32 *(uint64_t)B.u32)                                    \
    X(mul_wide_s32, uint64_t, (int64_t)A.s32 *(int64_t)B.s32)                                      \
    X(mad_wide_u16, uint32_t, (uint32_t)A.u16 *(uint32_t)B.u16 + C.u32)                            \
    X(mad_wide_s16, uint32_t, (uint32_t)((int32_t)A.s16 * (int32_t)B.s16) + C.u32)                 \
    X(mad_wide_u32, uint64_t, (uint64_t)A.u32 *(uint64_t)B.u32 + C.u64)                            \
    X(mad_wide_s32, uint64_t, (uint64_t)((int64_t)A.s32 * (int64_t)B.s32) + C.u64)                 \
    X(mul24_lo_u32, uint32_t, (uint64_t)(A.u32 & 0xFFFFFF) * (B.u32 & 0xFFFFFF))                   \
    X(mul24_lo_s32, uint32_t,                                                                      \
      (uint64_t)((int64_t)((int32_t)(A.u32 << 8) >> 8) * ((int32_t)(B.u32 << 8) >> 8)))            \
    X(add_sat_s32, uint32_t, saturate((int64_t)A.s32 + B.s32))                                     \
    X(sub_sat_s32, uint32_t, saturate((int64_t)A.s32 - B.s32))

#define DEFINE(name, type, value) PTX_SIMPLE(name, D.u64 = (type)(value))
OPERATIONS(DEFINE)

/* Division: by zero is a fault, though hardware gives some number. */
#define DIVIDE(T, f, unsigned_type, minus_one)                                                     \
    PTX_STEP(div_##T)                                                                              \
    {                                                                                              \
        if (B.f == 0) return ptx_fault(t, i, "division of an integer by zero");                    \
        D.u64 = (unsigned_type)(minus_one ? 0 - (uint64_t)A.f : (uint64_t)(A.f / B.f));            \
        return i + 1;                                                                              \
    }                                                                                              \
    PTX_STEP(rem_##T)                                                                              \
    {                                                                                              \
        if (B.f == 0) return ptx_fault(t, i, "remainder of an integer by zero");                   \
        D.u64 = minus_one ? 0 : (unsigned_type)(A.f % B.f);                                        \
        return i + 1;                                                                              \
    }
DIVIDE(u16, u16, uint16_t, false)
DIVIDE(u32, u32, uint32_t, false)
DIVIDE(u64, u64, uint64_t, false)
DIVIDE(s16, s16, uint16_t, B.s16 == -1)
DIVIDE(s32, s32, uint32_t, B.s32 == -1)
DIVIDE(s64, s64, uint64_t, B.s64 == -1)

/* Sums of products of four bytes; the types are of a and b. */
#define DP4A(name, a_type, b_type)                                                                 \
    PTX_STEP(name)                                                                                 \
    {                                                                                              \
        (void)t;                                                                                   \
        uint32_t sum = C.u32;                                                                      \
        for (int k = 0; k < 32; k += 8)                                                            \
            sum += (uint32_t)((int32_t)(a_type)(A.u32 >> k) * (int32_t)(b_type)(B.u32 >> k));      \
        D.u64 = sum;                                                                               \
        return i + 1;                                                                              \
    }
DP4A(dp4a_u32_u32, uint8_t, uint8_t)
DP4A(dp4a_s32_s32, int8_t, int8_t)
DP4A(dp4a_u32_s32, uint8_t, int8_t)
DP4A(dp4a_s32_u32, int8_t, uint8_t)

#define ROW(text, function, count)                                                                 \
    {                                                                                              \
        .name = text, .run = function, .operands = count                                           \
    }
#define ROWS_ANY(T)                                                                                \
    ROW("mul.lo." #T, mul_lo_##T, 3), ROW("mad.lo." #T, mad_lo_##T, 4),                            \
        ROW("min." #T, min_##T, 3), ROW("max." #T, max_##T, 3), ROW("div." #T, div_##T, 3),        \
        ROW("rem." #T, rem_##T, 3), ROW("mul.hi." #T, mul_hi_##T, 3),                              \
        ROW("mad.hi." #T, mad_hi_##T, 4)
#define ROWS_SUM(T)    ROW("add." #T, add_##T, 3), ROW("sub." #T, sub_##T, 3)
#define ROWS_SIGNED(T) ROW("neg." #T, neg_##T, 2), ROW("abs." #T, abs_##T, 2)
#define ROWS_WIDE(T)   ROW("mul.wide." #T, mul_wide_##T, 3), ROW("mad.wide." #T, mad_wide_##T, 4)
#define ROW_SATURATED(text, function, other)                                                       \
    {                                                                                              \
        .name = text, .run = function, .exact = other, .flags = PTX_SAT, .operands = 3             \
    }

const struct ptx_form ptx_integer_forms[] = {
    ROWS_ANY(u16),
    ROWS_ANY(s16),
    ROWS_ANY(u32),
    ROWS_ANY(s32),
    ROWS_ANY(u64),
    ROWS_ANY(s64),
    ROWS_SUM(u16),
    ROWS_SUM(s16),
    ROWS_SUM(u32),
    ROWS_SUM(u64),
    ROWS_SUM(s64),
    ROW_SATURATED("add.s32", add_s32, add_sat_s32),
    ROW_SATURATED("sub.s32", sub_s32, sub_sat_s32),
    ROWS_SIGNED(s16),
    ROWS_SIGNED(s32),
    ROWS_SIGNED(s64),
    ROWS_WIDE(u16),
    ROWS_WIDE(s16),
    ROWS_WIDE(u32),
    ROWS_WIDE(s32),
    ROW("sad.u32", sad_u32, 4),
    ROW("sad.s32", sad_s32, 4),
    ROW("sad.u64", sad_u64, 4),
    ROW("sad.s64", sad_s64, 4),
    ROW("mul24.lo.u32", mul24_lo_u32, 3),
    ROW("mul24.lo.s32", mul24_lo_s32, 3),
    ROW("dp4a.u32.u32", dp4a_u32_u32, 4),
    ROW("dp4a.s32.s32", dp4a_s32_s32, 4),
    ROW("dp4a.u32.s32", dp4a_u32_s32, 4),
    ROW("dp4a.s32.u32", dp4a_s32_u32, 4),
    {0},
};
