/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic of fp32 and fp64. Operands of other roundings than to nearest are volatile, so that the
 * compiler leaves the operation between the two changes of the rounding. */
#include "regression/emulator/ptx/number.h"
#include "regression/emulator/ptx/steps.h"

#include <fenv.h>

int ptx_rounding_begin(unsigned flags)
{
    int before = fegetround();
    unsigned rounding = flags & (PTX_RZ | PTX_RM | PTX_RP);
    if (rounding)
        fesetround(rounding == PTX_RZ   ? FE_TOWARDZERO
                   : rounding == PTX_RM ? FE_DOWNWARD
                                        : FE_UPWARD);
    return before;
}

void ptx_rounding_end(int before)
{
    fesetround(before);
}

/* Whether what is cut off (rest of 2^shift) makes the number one larger. */
static bool rounds_up(uint64_t kept, uint64_t rest, int shift, bool negative, unsigned flags)
{
    uint64_t half = UINT64_C(1) << (shift - 1);
    if (flags & PTX_RZ) return false;
    if (flags & PTX_RM) return negative && rest;
    if (flags & PTX_RP) return !negative && rest;
    return rest > half || (rest == half && kept & 1);
}

uint16_t ptx_narrow(double x, int mantissa, unsigned flags)
{
    if (x != x) return flags & PTX_SAT ? 0 : 0x7FFF;
    if (flags & PTX_SAT) x = x > 0 ? (x < 1 ? x : 1) : 0;
    if (flags & PTX_RELU && x < 0) x = 0;
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    bool negative = bits >> 63;
    uint16_t sign = (uint16_t)(negative << 15),
             infinity = (uint16_t)(0x7FFF >> mantissa << mantissa);
    int bias = (1 << (14 - mantissa)) - 1, exponent = (int)(bits >> 52 & 0x7FF) - 1023;
    if (exponent == 1024) return sign | infinity;
    /* What fp64 has as a subnormal is next to nothing here. */
    uint64_t whole = (bits & 0xFFFFFFFFFFFFF) | (exponent > -1023 ? UINT64_C(1) << 52 : 0);
    int smallest = 1 - bias,
        shift = 52 - mantissa + (exponent < smallest ? smallest - exponent : 0);
    if (shift > 60) shift = 60;
    uint64_t kept = whole >> shift, rest = whole & ((UINT64_C(1) << shift) - 1);
    kept += rounds_up(kept, rest, shift, negative, flags);
    uint64_t result =
        exponent > smallest ? kept + ((uint64_t)(exponent - smallest) << mantissa) : kept;
    if (result >= infinity) {
        bool less = flags & PTX_RZ || (flags & PTX_RM && !negative) || (flags & PTX_RP && negative);
        return (uint16_t)(sign | (infinity - less));
    }
    if (flags & PTX_FTZ && result < (UINT64_C(1) << mantissa)) result = 0;
    return (uint16_t)(sign | result);
}

/* Operations of fp32 with all modifiers: x is a result before .ftz and .sat. */
static uint32_t finish(float x, unsigned flags)
{
    return ptx_result(ptx_saturate(ptx_flush(x, flags), flags));
}

/* X(name, value by a, b, c) in both types; `fused` is fmaf or fma. */
#define ROUNDED(X)                                                                                 \
    X(add, a + b)                                                                                  \
    X(sub, a - b)                                                                                  \
    X(mul, a *b)                                                                                   \
    X(fma, FUSED(a, b, c))

#define FAST32(name, value)                                                                        \
    PTX_STEP(name##_f32)                                                                           \
    {                                                                                              \
        (void)t;                                                                                   \
        float a = A.f32, b = B.f32, c = C.f32;                                                     \
        (void)c;                                                                                   \
        D.u64 = ptx_result(value);                                                                 \
        return i + 1;                                                                              \
    }
#define EXACT32(name, value)                                                                       \
    PTX_STEP(name##_exact_f32)                                                                     \
    {                                                                                              \
        (void)t;                                                                                   \
        volatile float a = ptx_flush(A.f32, i->flags), b = ptx_flush(B.f32, i->flags);             \
        volatile float c = ptx_flush(C.f32, i->flags), x;                                          \
        (void)c;                                                                                   \
        int before = ptx_rounding_begin(i->flags);                                                 \
        x = value;                                                                                 \
        ptx_rounding_end(before);                                                                  \
        D.u64 = finish(x, i->flags);                                                               \
        return i + 1;                                                                              \
    }
#define FAST64(name, value)                                                                        \
    PTX_STEP(name##_f64)                                                                           \
    {                                                                                              \
        (void)t;                                                                                   \
        double a = A.f64, b = B.f64, c = C.f64;                                                    \
        (void)c;                                                                                   \
        D.f64 = value;                                                                             \
        return i + 1;                                                                              \
    }
#define EXACT64(name, value)                                                                       \
    PTX_STEP(name##_exact_f64)                                                                     \
    {                                                                                              \
        (void)t;                                                                                   \
        volatile double a = A.f64, b = B.f64, c = C.f64, x;                                        \
        (void)c;                                                                                   \
        int before = ptx_rounding_begin(i->flags);                                                 \
        x = value;                                                                                 \
        ptx_rounding_end(before);                                                                  \
        D.f64 = x;                                                                                 \
        return i + 1;                                                                              \
    }

#define FUSED fmaf
ROUNDED(FAST32)
ROUNDED(EXACT32)
#undef FUSED
#define FUSED fma
ROUNDED(FAST64)
ROUNDED(EXACT64)
#undef FUSED

/* An approximate result: the exact one, off by up to a relative and an absolute bound when the launch
 * asks for it. What the manual promises as it is (infinities, zeros, NaN) stays. */
static uint32_t approximate(struct ptx_thread *t, const struct ptx_instruction *i, double exact,
                            double bound)
{
    int direction = ptx_direction(t, ptx_bits((float)exact) + (uint64_t)i->line * 0x9E3779B9);
    if (direction != 0 && isfinite(exact) && exact != 0) exact += direction * bound;
    return finish((float)exact, i->flags);
}

/* Bounds of the PTX manual, relative but where it says otherwise. */
#define DIVISION_BOUND   0x1p-22
#define RECIPROCAL_BOUND 0x1p-23
#define ROOT_BOUND       0x1p-23
#define RSQRT_BOUND      0x1.13p-23
#define EX2_BOUND        0x1p-22
#define LG2_BOUND        0x1p-22
#define SINE_BOUND       0x1.6Ap-21
#define SINE_FAR_BOUND   0x1.3Bp-15
#define TANH_BOUND       0x1p-11

PTX_STEP(div_f32)
{
    volatile float a = ptx_flush(A.f32, i->flags), b = ptx_flush(B.f32, i->flags), x;
    if (i->flags & (PTX_APPROX | PTX_FULL)) {
        double exact = (double)a / (double)b;
        /* a * (1 / b), whose second factor is flushed to zero for the largest b. */
        if (i->flags & PTX_APPROX && fabsf(b) > 0x1p126f && isfinite(b))
            exact = (double)a * copysign(0, (double)b);
        D.u64 = approximate(t, i, exact, fabs(exact) * DIVISION_BOUND);
        return i + 1;
    }
    int before = ptx_rounding_begin(i->flags);
    x = a / b;
    ptx_rounding_end(before);
    D.u64 = finish(x, i->flags);
    return i + 1;
}

PTX_STEP(rcp_f32)
{
    volatile float a = ptx_flush(A.f32, i->flags), x;
    if (i->flags & PTX_APPROX) {
        double exact = 1 / (double)a;
        D.u64 = approximate(t, i, exact, fabs(exact) * RECIPROCAL_BOUND);
        return i + 1;
    }
    int before = ptx_rounding_begin(i->flags);
    x = 1 / a;
    ptx_rounding_end(before);
    D.u64 = finish(x, i->flags);
    return i + 1;
}

PTX_STEP(sqrt_f32)
{
    volatile float a = ptx_flush(A.f32, i->flags), x;
    if (i->flags & PTX_APPROX) {
        double exact = sqrt((double)a);
        D.u64 = approximate(t, i, exact, exact * ROOT_BOUND);
        return i + 1;
    }
    int before = ptx_rounding_begin(i->flags);
    x = sqrtf(a);
    ptx_rounding_end(before);
    D.u64 = finish(x, i->flags);
    return i + 1;
}

#define APPROXIMATE(name, value, bound)                                                            \
    PTX_STEP(name)                                                                                 \
    {                                                                                              \
        double x = (double)ptx_flush(A.f32, i->flags), y = value;                                  \
        D.u64 = approximate(t, i, y, bound);                                                       \
        return i + 1;                                                                              \
    }
APPROXIMATE(ex2_f32, exp2(x), x == 0 ? 0 : y * EX2_BOUND)
APPROXIMATE(lg2_f32, log2(x), (x > 0.5 && x < 2 ? 1 : fabs(y)) * LG2_BOUND)
APPROXIMATE(sin_f32, sin(x), fabs(x) > 6.3 ? SINE_FAR_BOUND : SINE_BOUND)
APPROXIMATE(cos_f32, cos(x), fabs(x) > 6.3 ? SINE_FAR_BOUND : SINE_BOUND)
APPROXIMATE(rsqrt_f32, 1 / sqrt(x), y *RSQRT_BOUND)
APPROXIMATE(tanh_f32, tanh(x), fabs(y) * TANH_BOUND)

#define DIVISION64(name, value)                                                                    \
    PTX_STEP(name##_f64)                                                                           \
    {                                                                                              \
        (void)t;                                                                                   \
        volatile double a = A.f64, b = B.f64, x;                                                   \
        (void)b;                                                                                   \
        int before = ptx_rounding_begin(i->flags);                                                 \
        x = value;                                                                                 \
        ptx_rounding_end(before);                                                                  \
        D.f64 = x;                                                                                 \
        return i + 1;                                                                              \
    }
DIVISION64(div, a / b)
DIVISION64(sqrt, sqrt(a))
DIVISION64(rcp_rounded, 1 / a)

/* Gross approximations of fp64: the upper half of the number alone counts and comes out. */
static uint64_t upper(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (x != x) return UINT64_C(0x7FFFFFFF) << 32;
    if (fabs(x) < 0x1p-1022) return bits >> 63 << 63;
    return bits >> 32 << 32;
}

static double upper_of(double x)
{
    uint64_t bits = upper(x);
    memcpy(&x, &bits, sizeof x);
    return x;
}

PTX_STEP(rcp_f64)
{
    if (!(i->flags & PTX_APPROX)) return rcp_rounded_f64(i, r, t);
    double x = 1 / upper_of(A.f64);
    D.u64 = upper(x * (1 + ptx_direction(t, A.u64) * (isfinite(x) ? 0x1p-20 : 0)));
    return i + 1;
}

PTX_STEP(rsqrt_f64)
{
    double x = 1 / sqrt(upper_of(A.f64));
    D.u64 = upper(x * (1 + ptx_direction(t, A.u64) * (isfinite(x) ? 0x1p-20 : 0)));
    return i + 1;
}

/* Smaller or larger one: of numbers before NaN (unless .NaN), of -0 before 0. */
#define EXTREME(name, type, field, smaller, canonical, store)                                      \
    PTX_STEP(name)                                                                                 \
    {                                                                                              \
        (void)t;                                                                                   \
        type a = A.field, b = B.field;                                                             \
        bool a_nan = a != a, b_nan = b != b;                                                       \
        if (i->flags & PTX_FTZ) a = fabs((double)a) < 0x1p-126 ? copysignf(0, (float)a) : a;       \
        if (i->flags & PTX_FTZ) b = fabs((double)b) < 0x1p-126 ? copysignf(0, (float)b) : b;       \
        if ((a_nan && b_nan) || (i->flags & PTX_NAN && (a_nan || b_nan))) {                        \
            D.u64 = canonical;                                                                     \
            return i + 1;                                                                          \
        }                                                                                          \
        bool first = b_nan || (!a_nan && (a == b ? !!signbit(a) == smaller : (a < b) == smaller)); \
        D.store = first ? a : b;                                                                   \
        return i + 1;                                                                              \
    }
EXTREME(min_f32, float, f32, true, 0x7FFFFFFF, f32)
EXTREME(max_f32, float, f32, false, 0x7FFFFFFF, f32)
EXTREME(min_f64, double, f64, true, UINT64_C(0x7FFFFFFF) << 32, f64)
EXTREME(max_f64, double, f64, false, UINT64_C(0x7FFFFFFF) << 32, f64)

#define SIGN32 UINT32_C(0x80000000)
#define SIGN64 (UINT64_C(1) << 63)
PTX_SIMPLE(abs_f32, D.u64 = ptx_bits(ptx_flush(A.f32, i->flags)) & ~SIGN32)
PTX_SIMPLE(neg_f32, D.u64 = ptx_bits(ptx_flush(A.f32, i->flags)) ^ SIGN32)
PTX_SIMPLE(abs_f64, D.u64 = A.u64 & ~SIGN64)
PTX_SIMPLE(neg_f64, D.u64 = A.u64 ^ SIGN64)
/* The sign of the first, the rest of the second. */
PTX_SIMPLE(copysign_f32, D.u64 = (A.u32 & SIGN32) | (B.u32 & ~SIGN32))
PTX_SIMPLE(copysign_f64, D.u64 = (A.u64 & SIGN64) | (B.u64 & ~SIGN64))

#define TEST(kind, T, condition) PTX_SIMPLE(testp_##kind##_##T, D.u64 = (condition))
#define TESTS(T, least)                                                                            \
    TEST(finite, T, isfinite(A.T) != 0)                                                            \
    TEST(infinite, T, isinf(A.T) != 0)                                                             \
    TEST(number, T, A.T == A.T)                                                                    \
    TEST(notanumber, T, A.T != A.T)                                                                \
    TEST(normal, T, isnormal(A.T) != 0)                                                            \
    TEST(subnormal, T, A.T != 0 && fabs((double)A.T) < least)
TESTS(f32, 0x1p-126)
TESTS(f64, 0x1p-1022)

#define MODIFIERS32 (PTX_ROUNDING | PTX_FTZ | PTX_SAT)
#define ROWS_ROUNDED(what, count)                                                                  \
    {.name = #what ".f32",                                                                         \
     .run = what##_f32,                                                                            \
     .exact = what##_exact_f32,                                                                    \
     .flags = MODIFIERS32,                                                                         \
     .operands = count},                                                                           \
    {                                                                                              \
        .name = #what ".f64", .run = what##_f64, .exact = what##_exact_f64, .flags = PTX_ROUNDING, \
        .operands = count                                                                          \
    }
#define ROW(text, function, modifiers, count)                                                      \
    {                                                                                              \
        .name = text, .run = function, .flags = modifiers, .operands = count                       \
    }
#define ROWS_TEST(kind)                                                                            \
    ROW("testp." #kind ".f32", testp_##kind##_f32, 0, 2),                                          \
        ROW("testp." #kind ".f64", testp_##kind##_f64, 0, 2)

const struct ptx_form ptx_float_forms[] = {
    ROWS_ROUNDED(add, 3),
    ROWS_ROUNDED(sub, 3),
    ROWS_ROUNDED(mul, 3),
    ROWS_ROUNDED(fma, 4),
    {.name = "mad.f32",
     .run = fma_f32,
     .exact = fma_exact_f32,
     .flags = MODIFIERS32,
     .operands = 4},
    {.name = "mad.f64",
     .run = fma_f64,
     .exact = fma_exact_f64,
     .flags = PTX_ROUNDING,
     .operands = 4},
    ROW("div.f32", div_f32, PTX_ROUNDING | PTX_FTZ | PTX_APPROX | PTX_FULL, 3),
    ROW("rcp.f32", rcp_f32, PTX_ROUNDING | PTX_FTZ | PTX_APPROX, 2),
    ROW("sqrt.f32", sqrt_f32, PTX_ROUNDING | PTX_FTZ | PTX_APPROX, 2),
    ROW("div.f64", div_f64, PTX_ROUNDING, 3),
    ROW("sqrt.f64", sqrt_f64, PTX_ROUNDING, 2),
    ROW("rcp.f64", rcp_f64, PTX_ROUNDING | PTX_FTZ | PTX_APPROX, 2),
    ROW("rsqrt.f64", rsqrt_f64, PTX_FTZ | PTX_APPROX, 2),
    ROW("ex2.f32", ex2_f32, PTX_FTZ | PTX_APPROX, 2),
    ROW("lg2.f32", lg2_f32, PTX_FTZ | PTX_APPROX, 2),
    ROW("sin.f32", sin_f32, PTX_FTZ | PTX_APPROX, 2),
    ROW("cos.f32", cos_f32, PTX_FTZ | PTX_APPROX, 2),
    ROW("rsqrt.f32", rsqrt_f32, PTX_FTZ | PTX_APPROX, 2),
    ROW("tanh.f32", tanh_f32, PTX_APPROX, 2),
    ROW("min.f32", min_f32, PTX_FTZ | PTX_NAN, 3),
    ROW("max.f32", max_f32, PTX_FTZ | PTX_NAN, 3),
    ROW("min.f64", min_f64, 0, 3),
    ROW("max.f64", max_f64, 0, 3),
    ROW("abs.f32", abs_f32, PTX_FTZ, 2),
    ROW("neg.f32", neg_f32, PTX_FTZ, 2),
    ROW("abs.f64", abs_f64, 0, 2),
    ROW("neg.f64", neg_f64, 0, 2),
    ROW("copysign.f32", copysign_f32, 0, 3),
    ROW("copysign.f64", copysign_f64, 0, 3),
    ROWS_TEST(finite),
    ROWS_TEST(infinite),
    ROWS_TEST(number),
    ROWS_TEST(notanumber),
    ROWS_TEST(normal),
    ROWS_TEST(subnormal),
    {0},
};
