/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions between types. Floating-point numbers go through fp64, which holds all narrower ones. */
#include "regression/emulator/ptx/number.h"
#include "regression/emulator/ptx/steps.h"

/* Integers to integers: cut off or extended by the sign of the source; or limited with .sat. X is told
 * type, field and C type, T the destination's limits. */
#define INTEGERS(X, S, s_type)                                                                     \
    X(u8, uint8_t, 0, UINT8_MAX, S, s_type)                                                        \
    X(s8, int8_t, INT8_MIN, INT8_MAX, S, s_type)                                                   \
    X(u16, uint16_t, 0, UINT16_MAX, S, s_type)                                                     \
    X(s16, int16_t, INT16_MIN, INT16_MAX, S, s_type)                                               \
    X(u32, uint32_t, 0, UINT32_MAX, S, s_type)                                                     \
    X(s32, int32_t, INT32_MIN, INT32_MAX, S, s_type)                                               \
    X(u64, uint64_t, 0, UINT64_MAX, S, s_type)                                                     \
    X(s64, int64_t, INT64_MIN, INT64_MAX, S, s_type)
#define PAIRS(X)                                                                                   \
    INTEGERS(X, u8, uint8_t)                                                                       \
    INTEGERS(X, s8, int8_t)                                                                        \
    INTEGERS(X, u16, uint16_t)                                                                     \
    INTEGERS(X, s16, int16_t)                                                                      \
    INTEGERS(X, u32, uint32_t)                                                                     \
    INTEGERS(X, s32, int32_t)                                                                      \
    INTEGERS(X, u64, uint64_t)                                                                     \
    INTEGERS(X, s64, int64_t)

typedef __int128 wide;

#define INTEGER_STEPS(T, t_type, least, most, S, s_type)                                           \
    PTX_SIMPLE(cvt_##T##_##S, D.u64 = (uint64_t)(int64_t)(t_type)A.S)                              \
    PTX_STEP(cvt_sat_##T##_##S)                                                                    \
    {                                                                                              \
        (void)t;                                                                                   \
        wide x = (wide)A.S;                                                                        \
        x = x < (wide)least ? (wide)least : x > (wide)most ? (wide)most : x;                       \
        D.u64 = (uint64_t)(int64_t)(t_type)x;                                                      \
        return i + 1;                                                                              \
    }
PAIRS(INTEGER_STEPS)

static double source_f32(union ptx_value x, unsigned flags)
{
    return (double)ptx_flush(x.f32, flags);
}

static double source_f64(union ptx_value x, unsigned flags)
{
    (void)flags;
    return x.f64;
}

static double source_f16(union ptx_value x, unsigned flags)
{
    (void)flags;
    return (double)ptx_widen(x.u16, PTX_FP16_MANTISSA);
}

static double source_bf16(union ptx_value x, unsigned flags)
{
    (void)flags;
    return (double)ptx_widen(x.u16, PTX_BF16_MANTISSA);
}

/* .rni and the like: to an integer, still a floating-point number. */
static double integral(double x, unsigned flags)
{
    if (flags & PTX_RNI) return rint(x);
    if (flags & PTX_RZI) return trunc(x);
    if (flags & PTX_RMI) return floor(x);
    if (flags & PTX_RPI) return ceil(x);
    return x;
}

/* fp32 by the flags; what was integral already is not rounded again, as it is exact. */
static uint64_t result_f32(double x, unsigned flags)
{
    volatile double from = x;
    int before = ptx_rounding_begin(flags);
    volatile float to = (float)from;
    ptx_rounding_end(before);
    return ptx_result(ptx_saturate(ptx_flush(to, flags), flags));
}

static uint64_t result_f64(double x, unsigned flags)
{
    union ptx_value value = {.f64 = x};
    if (flags & PTX_SAT) value.f64 = x > 0 ? (x < 1 ? x : 1) : 0;
    return value.u64;
}

static uint64_t result_f16(double x, unsigned flags)
{
    return ptx_narrow(x, PTX_FP16_MANTISSA, flags);
}

static uint64_t result_bf16(double x, unsigned flags)
{
    return ptx_narrow(x, PTX_BF16_MANTISSA, flags);
}

#define FLOATS(X, S)                                                                               \
    X(f32, S)                                                                                      \
    X(f64, S)                                                                                      \
    X(f16, S)                                                                                      \
    X(bf16, S)
#define FLOAT_STEP(T, S)                                                                           \
    PTX_SIMPLE(cvt_##T##_##S,                                                                      \
               D.u64 = result_##T(integral(source_##S(A, i->flags), i->flags), i->flags))
FLOATS(FLOAT_STEP, f32)
FLOATS(FLOAT_STEP, f64)
FLOATS(FLOAT_STEP, f16)
FLOATS(FLOAT_STEP, bf16)

/* Floating-point numbers to integers, limited to what the integer holds. NaN is 0, but in 64 bits or
 * from fp64, where it is the highest bit alone. */
static uint64_t to_integer(double x, unsigned bits, bool sign, bool from_f64)
{
    double limit = ldexp(1, (int)bits - sign);
    uint64_t most = bits - sign == 64 ? UINT64_MAX : (UINT64_C(1) << (bits - sign)) - 1;
    if (x != x) return bits == 64 || from_f64 ? UINT64_C(1) << (bits - 1) : 0;
    if (x >= limit) return most;
    if (!sign) return x <= 0 ? 0 : (uint64_t)x;
    return x <= -limit ? 0 - (uint64_t)ldexp(1, (int)bits - 1) : (uint64_t)(int64_t)x;
}

#define TO_INTEGERS(X, S)                                                                          \
    X(u8, 8, false, S)                                                                             \
    X(s8, 8, true, S)                                                                              \
    X(u16, 16, false, S)                                                                           \
    X(s16, 16, true, S)                                                                            \
    X(u32, 32, false, S)                                                                           \
    X(s32, 32, true, S)                                                                            \
    X(u64, 64, false, S)                                                                           \
    X(s64, 64, true, S)
#define IS_F64_f32  false
#define IS_F64_f64  true
#define IS_F64_f16  false
#define IS_F64_bf16 false
#define TO_INTEGER_STEP(T, bits, sign, S)                                                          \
    PTX_SIMPLE(cvt_##T##_##S, D.u64 = to_integer(integral(source_##S(A, i->flags), i->flags),      \
                                                 bits, sign, IS_F64_##S))
TO_INTEGERS(TO_INTEGER_STEP, f32)
TO_INTEGERS(TO_INTEGER_STEP, f64)
TO_INTEGERS(TO_INTEGER_STEP, f16)
TO_INTEGERS(TO_INTEGER_STEP, bf16)

/* Integers to fp32 and fp64 in one rounding; to 16 bits by way of fp64 rounded towards zero and made
 * odd, of which integers up to 2^53 have no need. */
static double odd_of(wide x)
{
    uint64_t magnitude = (uint64_t)(x < 0 ? -x : x);
    if (magnitude >> 53) magnitude = (magnitude >> 11 | ((magnitude & 0x7FF) != 0)) << 11;
    return x < 0 ? -(double)magnitude : (double)magnitude;
}

#define FROM_INTEGER_STEPS(S, s_type)                                                              \
    PTX_STEP(cvt_f32_##S)                                                                          \
    {                                                                                              \
        (void)t;                                                                                   \
        volatile s_type from = A.S;                                                                \
        int before = ptx_rounding_begin(i->flags);                                                 \
        volatile float to = (float)from;                                                           \
        ptx_rounding_end(before);                                                                  \
        D.u64 = ptx_bits(ptx_saturate(to, i->flags));                                              \
        return i + 1;                                                                              \
    }                                                                                              \
    PTX_STEP(cvt_f64_##S)                                                                          \
    {                                                                                              \
        (void)t;                                                                                   \
        volatile s_type from = A.S;                                                                \
        int before = ptx_rounding_begin(i->flags);                                                 \
        volatile double to = (double)from;                                                         \
        ptx_rounding_end(before);                                                                  \
        D.f64 = to;                                                                                \
        return i + 1;                                                                              \
    }                                                                                              \
    PTX_SIMPLE(cvt_f16_##S, D.u64 = ptx_narrow(odd_of((wide)A.S), PTX_FP16_MANTISSA, i->flags))    \
    PTX_SIMPLE(cvt_bf16_##S, D.u64 = ptx_narrow(odd_of((wide)A.S), PTX_BF16_MANTISSA, i->flags))
FROM_INTEGER_STEPS(u8, uint8_t)
FROM_INTEGER_STEPS(s8, int8_t)
FROM_INTEGER_STEPS(u16, uint16_t)
FROM_INTEGER_STEPS(s16, int16_t)
FROM_INTEGER_STEPS(u32, uint32_t)
FROM_INTEGER_STEPS(s32, int32_t)
FROM_INTEGER_STEPS(u64, uint64_t)
FROM_INTEGER_STEPS(s64, int64_t)

/* Two numbers of fp32 into 32 bits, the first one above. */
PTX_SIMPLE(cvt_f16x2, D.u64 = (uint32_t)ptx_narrow((double)A.f32, PTX_FP16_MANTISSA, i->flags)
                                  << 16 |
                              ptx_narrow((double)B.f32, PTX_FP16_MANTISSA, i->flags))
PTX_SIMPLE(cvt_bf16x2, D.u64 = (uint32_t)ptx_narrow((double)A.f32, PTX_BF16_MANTISSA, i->flags)
                                   << 16 |
                               ptx_narrow((double)B.f32, PTX_BF16_MANTISSA, i->flags))

#define ROW(text, function, modifiers, count)                                                      \
    {                                                                                              \
        .name = text, .run = function, .flags = modifiers, .operands = count                       \
    }
#define INTEGER_ROW(T, t_type, least, most, S, s_type)                                             \
    {.name = "cvt." #T "." #S,                                                                     \
     .run = cvt_##T##_##S,                                                                         \
     .exact = cvt_sat_##T##_##S,                                                                   \
     .flags = PTX_SAT,                                                                             \
     .operands = 2},
#define ALL             (PTX_ROUNDING | PTX_INTEGRAL | PTX_FTZ | PTX_SAT | PTX_RELU)
#define FLOAT_ROW(T, S) ROW("cvt." #T "." #S, cvt_##T##_##S, ALL & ~KNOWN_NOT_##T, 2),
#define KNOWN_NOT_f32   PTX_RELU
#define KNOWN_NOT_f64   (PTX_RELU | PTX_FTZ)
#define KNOWN_NOT_f16   0
#define KNOWN_NOT_bf16  PTX_FTZ
#define TO_INTEGER_ROW(T, bits, sign, S)                                                           \
    ROW("cvt." #T "." #S, cvt_##T##_##S, PTX_INTEGRAL | PTX_FTZ | PTX_SAT, 2),
#define FROM_INTEGER_ROWS(S)                                                                       \
    ROW("cvt.f32." #S, cvt_f32_##S, PTX_ROUNDING | PTX_FTZ | PTX_SAT, 2),                          \
        ROW("cvt.f64." #S, cvt_f64_##S, PTX_ROUNDING, 2),                                          \
        ROW("cvt.f16." #S, cvt_f16_##S, PTX_ROUNDING, 2),                                          \
        ROW("cvt.bf16." #S, cvt_bf16_##S, PTX_ROUNDING, 2)

const struct ptx_form ptx_convert_forms[] = {
    PAIRS(INTEGER_ROW) FLOATS(FLOAT_ROW, f32) FLOATS(FLOAT_ROW, f64) FLOATS(FLOAT_ROW, f16)
        FLOATS(FLOAT_ROW, bf16) TO_INTEGERS(TO_INTEGER_ROW, f32) TO_INTEGERS(TO_INTEGER_ROW, f64)
            TO_INTEGERS(TO_INTEGER_ROW, f16) TO_INTEGERS(TO_INTEGER_ROW, bf16)
                FROM_INTEGER_ROWS(u8),
    FROM_INTEGER_ROWS(s8),
    FROM_INTEGER_ROWS(u16),
    FROM_INTEGER_ROWS(s16),
    FROM_INTEGER_ROWS(u32),
    FROM_INTEGER_ROWS(s32),
    FROM_INTEGER_ROWS(u64),
    FROM_INTEGER_ROWS(s64),
    ROW("cvt.f16x2.f32", cvt_f16x2, PTX_RN | PTX_RZ | PTX_RELU, 3),
    ROW("cvt.bf16x2.f32", cvt_bf16x2, PTX_RN | PTX_RZ | PTX_RELU, 3),
    {0},
};
