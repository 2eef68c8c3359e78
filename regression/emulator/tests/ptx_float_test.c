/* SPDX-License-Identifier: Apache-2.0 */
/* The interpreter of PTX: arithmetic of fp32, fp64, fp16 and bf16 to the bit, with rounding modes,
 * subnormal numbers, infinities and NaN. References round by themselves: from a result to nearest and
 * the sign of its error, or by the distances of neighbours. */
#include "regression/emulator/tests/ptx_calculation.h"

typedef __float128 wide;

#define F(x)   float_of(x)
#define G(x)   double_of(x)
#define U32(x) ((uint32_t)(x))
#define S32(x) ((int32_t)(uint32_t)(x))

enum mode { NEAREST, ZERO, DOWN, UP };

static uint64_t canonical(float x)
{
    return isnan(x) ? 0x7FFFFFFF : bits_of(x);
}

static float flush(float x)
{
    return isnan(x) || fabsf(x) >= 0x1p-126f ? x : copysignf(0, x);
}

/* The float on the side of a mode: x is the nearest one, `more` the sign of what is missing. */
static uint64_t directed(float x, double more, enum mode mode)
{
    if (!isnan(x) && more < 0 && (mode == DOWN || (mode == ZERO && x > 0)))
        x = nextafterf(x, -INFINITY);
    if (!isnan(x) && more > 0 && (mode == UP || (mode == ZERO && x < 0)))
        x = nextafterf(x, INFINITY);
    return canonical(x);
}

/* x + y in fp64, whose sum need not be exact, rounded to fp32. Sums that cancel are -0 when rounded
 * down. */
static uint64_t sum(double x, double y, enum mode mode)
{
    double s = x + y, part = s - x, error = (x - (s - part)) + (y - part);
    float rounded = (float)s;
    if (!isfinite(x) || !isfinite(y)) return canonical(rounded);
    if (s == 0 && mode == DOWN && !(x == 0 && y == 0 && !signbit(x) && !signbit(y)))
        return 0x80000000;
    double more = s - (double)rounded;
    /* A tie of the sum in fp64, which the error breaks. */
    if (more != 0 && error != 0) {
        float other = nextafterf(rounded, more > 0 ? INFINITY : -INFINITY);
        if (fabs((double)other - s) == fabs(more) && (error > 0) == (more > 0)) {
            rounded = other;
            more = s - (double)rounded;
        }
    }
    return directed(rounded, more != 0 ? more : error, mode);
}

static uint64_t product(float a, float b, enum mode mode)
{
    double exact = (double)a * (double)b;
    float rounded = a * b;
    return isfinite(exact) ? directed(rounded, exact - (double)rounded, mode) : canonical(rounded);
}

static uint64_t fused(float a, float b, float c, enum mode mode)
{
    return sum((double)a * (double)b, (double)c, mode);
}

/* The error of a quotient has the sign of a - q * b, or the other one where b is negative. */
static uint64_t quotient(float a, float b, enum mode mode)
{
    float q = a / b;
    if (!isfinite(a) || !isfinite(b) || b == 0) return canonical(q);
    wide rest = isinf(q) ? 0 - (wide)q : (wide)a - (wide)q * (wide)b;
    double more = rest > 0 ? 1 : rest < 0 ? -1 : 0;
    return directed(q, isinf(q) || b > 0 ? more : -more, mode);
}

static uint64_t root(float a, enum mode mode)
{
    float q = sqrtf(a);
    return isfinite(q) ? directed(q, (double)a - (double)q * (double)q, mode) : canonical(q);
}

static uint64_t saturated(uint64_t bits)
{
    float x = F(bits);
    return isnan(x) || x <= 0 ? 0 : x >= 1 ? bits_of(1) : bits;
}

static uint64_t smaller(float a, float b)
{
    if (isnan(a) || isnan(b)) return isnan(a) ? canonical(b) : canonical(a);
    return a < b || (a == b && signbit(a)) ? bits_of(a) : bits_of(b);
}

static uint64_t larger(float a, float b)
{
    if (isnan(a) || isnan(b)) return isnan(a) ? canonical(b) : canonical(a);
    return a > b || (a == b && !signbit(a)) ? bits_of(a) : bits_of(b);
}

/* The value of 16 bits: fp16 with 10 bits of mantissa, bf16 with 7. Infinity is the next power. */
static wide half_value(uint64_t bits, int mantissa)
{
    int exponent = (int)(bits >> mantissa) & (0x7FFF >> mantissa),
        bias = (1 << (14 - mantissa)) - 1;
    wide x = (wide)((int)bits & ((1 << mantissa) - 1)) + (exponent > 0 ? 1 << mantissa : 0);
    for (int k = (exponent > 0 ? exponent : 1) - bias - mantissa; k != 0; k += k > 0 ? -1 : 1)
        x = k > 0 ? x * 2 : x / 2;
    return bits >> 15 & 1 ? -x : x;
}

static bool half_is(uint64_t bits, int mantissa, bool nan)
{
    unsigned rest = (unsigned)bits & 0x7FFF, infinity = 0x7FFFu >> mantissa << mantissa;
    return nan ? rest > infinity : rest == infinity;
}

/* The nearest 16 bits to x, by bisection over magnitudes; ties as `more` says, the sign of what x does
 * not hold, or to even. The sign of zero is given. */
static uint64_t half_nearest(wide x, wide more, int mantissa, bool negative)
{
    uint64_t low = 0, high = 0x7FFFu >> mantissa << mantissa, infinity = high;
    wide magnitude = x < 0 ? -x : x;
    while (high - low > 1) {
        uint64_t middle = (low + high) / 2;
        if (half_value(middle, mantissa) <= magnitude)
            low = middle;
        else
            high = middle;
    }
    if (magnitude >= half_value(infinity, mantissa)) low = high;
    wide below = magnitude - half_value(low, mantissa),
         above = half_value(high, mantissa) - magnitude;
    if (x < 0) more = -more;
    bool tie_down = more < 0 || (more == 0 && !(low & 1));
    uint64_t best = below < above || (below == above && tie_down) ? low : high;
    return best | (uint64_t)(x < 0 || (x == 0 && negative)) << 15;
}

static wide half_float(uint64_t bits, int mantissa, float *special)
{
    *special = half_is(bits, mantissa, true)    ? NAN
               : half_is(bits, mantissa, false) ? (bits >> 15 & 1 ? -INFINITY : INFINITY)
                                                : (bits >> 15 & 1 ? -1.0f : 1.0f);
    return half_value(bits & 0xFFFF, mantissa);
}

/* a * b + c of 16 bits; what comes of infinities and NaN comes of fp32. */
static uint64_t half_fused(uint64_t a, uint64_t b, uint64_t c, int mantissa)
{
    float as, bs, cs;
    wide x = half_float(a & 0xFFFF, mantissa, &as), y = half_float(b & 0xFFFF, mantissa, &bs);
    wide z = half_float(c & 0xFFFF, mantissa, &cs);
    if (isnan(as) || isnan(bs) || isnan(cs)) return 0x7FFF;
    if (isinf(as) || isinf(bs) || isinf(cs)) {
        float r =
            (isinf(as) || x != 0 ? as : 0) * (isinf(bs) || y != 0 ? bs : 0) + (isinf(cs) ? cs : 0);
        uint64_t infinity = 0x7FFFu >> mantissa << mantissa;
        return isnan(r) ? 0x7FFF : infinity | (uint64_t)(r < 0) << 15;
    }
    bool negative = (as < 0) != (bs < 0) && cs < 0;
    if (x * y + z == 0 && (x != 0 && y != 0)) negative = false;
    wide exact = x * y, sum = exact + z, part = sum - exact;
    return half_nearest(sum, (exact - (sum - part)) + (z - part), mantissa, negative);
}

static uint64_t half_negative(uint64_t x)
{
    return (x ^ 0x8000) & 0xFFFF;
}

#define H_FMA(a, b, c) half_fused(a, b, c, 10)
#define B_FMA(a, b, c) half_fused(a, b, c, 7)
#define H_ADD(a, b)    half_fused(a, 0x3C00, b, 10)
#define B_ADD(a, b)    half_fused(a, 0x3F80, b, 7)
/* -0 leaves the sign of a product alone. */
#define H_MUL(a, b)           half_fused(a, b, half_sign(a, b), 10)
#define B_MUL(a, b)           half_fused(a, b, half_sign(a, b), 7)
#define BOTH(operation, a, b) (operation(a, b) | operation((a) >> 16, (b) >> 16) << 16)

static uint64_t half_sign(uint64_t a, uint64_t b)
{
    return (a ^ b) & 0x8000;
}

static uint64_t half_of(double x, int mantissa)
{
    if (isnan(x)) return 0x7FFF;
    if (isinf(x)) return (0x7FFFu >> mantissa << mantissa) | (uint64_t)(x < 0) << 15;
    return half_nearest((wide)x, 0, mantissa, signbit(x) != 0);
}

static uint64_t half_to_float(uint64_t bits, int mantissa)
{
    float special;
    wide x = half_float(bits & 0xFFFF, mantissa, &special);
    if (isnan(special)) return 0x7FFFFFFF;
    return isinf(special) ? bits_of(special) : bits_of(copysignf((float)x, special));
}

/* Floating-point to integers: NaN is 0, or of 64 bits and from fp64 the highest bit. */
static uint64_t whole(double x, double least, double most, uint64_t if_less, uint64_t if_more,
                      uint64_t if_nan)
{
    return isnan(x)     ? if_nan
           : x <= least ? if_less
           : x >= most  ? if_more
           : x < 0      ? (uint64_t)(int64_t)x
                        : (uint64_t)x;
}

#define TO_S32(x, nan) U32(whole(x, -0x1p31, 0x1p31, 0x80000000, 0x7FFFFFFF, nan))
#define TO_U32(x, nan) U32(whole(x, 0, 0x1p32, 0, 0xFFFFFFFF, nan))
#define TO_S64(x)      whole(x, -0x1p63, 0x1p63, UINT64_C(1) << 63, INT64_MAX, UINT64_C(1) << 63)
#define TO_U64(x)      whole(x, 0, 0x1p64, 0, UINT64_MAX, UINT64_C(1) << 63)

static uint64_t from_double(double x, enum mode mode)
{
    float rounded = (float)x;
    return isfinite(x) ? directed(rounded, x - (double)rounded, mode) : canonical(rounded);
}

#define FLOATS(X)                                                                                  \
    X(add, "add.f32 d32, a32, b32;", canonical(F(a) + F(b)))                                       \
    X(add_rn, "add.rn.f32 d32, a32, b32;", sum((double)F(a), (double)F(b), NEAREST))               \
    X(add_rz, "add.rz.f32 d32, a32, b32;", sum((double)F(a), (double)F(b), ZERO))                  \
    X(add_rm, "add.rm.f32 d32, a32, b32;", sum((double)F(a), (double)F(b), DOWN))                  \
    X(add_rp, "add.rp.f32 d32, a32, b32;", sum((double)F(a), (double)F(b), UP))                    \
    X(add_ftz, "add.ftz.f32 d32, a32, b32;",                                                       \
      bits_of(flush(F(canonical(flush(F(a)) + flush(F(b)))))))                                     \
    X(add_sat, "add.sat.f32 d32, a32, b32;", saturated(canonical(F(a) + F(b))))                    \
    X(sub, "sub.f32 d32, a32, b32;", canonical(F(a) - F(b)))                                       \
    X(sub_rz, "sub.rz.f32 d32, a32, b32;", sum((double)F(a), -(double)F(b), ZERO))                 \
    X(mul, "mul.f32 d32, a32, b32;", canonical(F(a) * F(b)))                                       \
    X(mul_rz, "mul.rz.f32 d32, a32, b32;", product(F(a), F(b), ZERO))                              \
    X(mul_rm, "mul.rm.f32 d32, a32, b32;", product(F(a), F(b), DOWN))                              \
    X(mul_rp, "mul.rp.f32 d32, a32, b32;", product(F(a), F(b), UP))                                \
    X(mul_ftz, "mul.ftz.f32 d32, a32, b32;",                                                       \
      bits_of(flush(F(canonical(flush(F(a)) * flush(F(b)))))))                                     \
    X(fma, "fma.rn.f32 d32, a32, b32, c32;", canonical(fmaf(F(a), F(b), F(c))))                    \
    X(fma_rn, "fma.rn.f32 d32, a32, b32, c32;", fused(F(a), F(b), F(c), NEAREST))                  \
    X(fma_rz, "fma.rz.f32 d32, a32, b32, c32;", fused(F(a), F(b), F(c), ZERO))                     \
    X(fma_rm, "fma.rm.f32 d32, a32, b32, c32;", fused(F(a), F(b), F(c), DOWN))                     \
    X(fma_rp, "fma.rp.f32 d32, a32, b32, c32;", fused(F(a), F(b), F(c), UP))                       \
    X(div_rn, "div.rn.f32 d32, a32, b32;", quotient(F(a), F(b), NEAREST))                          \
    X(div_rz, "div.rz.f32 d32, a32, b32;", quotient(F(a), F(b), ZERO))                             \
    X(div_rm, "div.rm.f32 d32, a32, b32;", quotient(F(a), F(b), DOWN))                             \
    X(div_rp, "div.rp.f32 d32, a32, b32;", quotient(F(a), F(b), UP))                               \
    X(rcp_rn, "rcp.rn.f32 d32, a32;", quotient(1, F(a), NEAREST))                                  \
    X(rcp_rp, "rcp.rp.f32 d32, a32;", quotient(1, F(a), UP))                                       \
    X(sqrt_rn, "sqrt.rn.f32 d32, a32;", root(F(a), NEAREST))                                       \
    X(sqrt_rz, "sqrt.rz.f32 d32, a32;", root(F(a), ZERO))                                          \
    X(sqrt_rp, "sqrt.rp.f32 d32, a32;", root(F(a), UP))                                            \
    X(min, "min.f32 d32, a32, b32;", smaller(F(a), F(b)))                                          \
    X(max, "max.f32 d32, a32, b32;", larger(F(a), F(b)))                                           \
    X(max_nan, "max.NaN.f32 d32, a32, b32;",                                                       \
      isnan(F(a)) || isnan(F(b)) ? 0x7FFFFFFF : larger(F(a), F(b)))                                \
    X(abs, "abs.f32 d32, a32;", U32(a) & 0x7FFFFFFF)                                               \
    X(neg, "neg.f32 d32, a32;", U32(a) ^ 0x80000000)                                               \
    X(copysign, "copysign.f32 d32, a32, b32;", bits_of(copysignf(F(b), F(a))))                     \
    X(setp_lt, "setp.lt.f32 pd, a32, b32;", F(a) < F(b))                                           \
    X(setp_ltu, "setp.ltu.f32 pd, a32, b32;", !(F(a) >= F(b)))                                     \
    X(setp_ne, "setp.ne.f32 pd, a32, b32;", F(a) < F(b) || F(a) > F(b))                            \
    X(setp_neu, "setp.neu.f32 pd, a32, b32;", F(a) != F(b))                                        \
    X(setp_equ, "setp.equ.f32 pd, a32, b32;", !(F(a) < F(b) || F(a) > F(b)))                       \
    X(setp_num, "setp.num.f32 pd, a32, b32;", !isnan(F(a)) && !isnan(F(b)))                        \
    X(setp_nan, "setp.nan.f32 pd, a32, b32;", isnan(F(a)) || isnan(F(b)))                          \
    X(setp_ftz, "setp.eq.ftz.f32 pd, a32, b32;", flush(F(a)) == flush(F(b)))                       \
    X(set_f32, "set.ge.f32.f32 d32, a32, b32;", F(a) >= F(b) ? 0x3F800000 : 0)                     \
    X(testp, "testp.subnormal.f32 pd, a32;", fpclassify(F(a)) == FP_SUBNORMAL)                     \
    X(testp_finite, "testp.finite.f32 pd, a32;", isfinite(F(a)) != 0)                              \
    X(cvt_rni, "cvt.rni.f32.f32 d32, a32;", canonical(nearbyintf(F(a))))                           \
    X(cvt_rmi, "cvt.rmi.f32.f32 d32, a32;", canonical(floorf(F(a))))                               \
    X(cvt_rzi, "cvt.rzi.f32.f32 d32, a32;", canonical(truncf(F(a))))                               \
    X(cvt_sat, "cvt.sat.f32.f32 d32, a32;", saturated(canonical(F(a))))                            \
    X(cvt_f64, "cvt.f64.f32 d64, a32;", bits_of_double((double)F(a)))                              \
    X(cvt_s32_rzi, "cvt.rzi.s32.f32 d32, a32;", TO_S32((double)truncf(F(a)), 0))                   \
    X(cvt_s32_rni, "cvt.rni.s32.f32 d32, a32;", TO_S32((double)nearbyintf(F(a)), 0))               \
    X(cvt_s32_rpi, "cvt.rpi.s32.f32 d32, a32;", TO_S32((double)ceilf(F(a)), 0))                    \
    X(cvt_u32_rmi, "cvt.rmi.u32.f32 d32, a32;", TO_U32((double)floorf(F(a)), 0))                   \
    X(cvt_s64_rzi, "cvt.rzi.s64.f32 d64, a32;", TO_S64((double)truncf(F(a))))                      \
    X(cvt_u64_rzi, "cvt.rzi.u64.f32 d64, a32;", TO_U64((double)truncf(F(a))))                      \
    X(cvt_f16, "cvt.rn.f16.f32 d16, a32;", half_of((double)F(a), 10))                              \
    X(cvt_bf16, "cvt.rn.bf16.f32 d16, a32;", half_of((double)F(a), 7))                             \
    X(cvt_bf16x2, "cvt.rn.bf16x2.f32 d32, a32, b32;",                                              \
      half_of((double)F(a), 7) << 16 | half_of((double)F(b), 7))                                   \
    X(cvt_f16x2, "cvt.rn.f16x2.f32 d32, a32, b32;",                                                \
      half_of((double)F(a), 10) << 16 | half_of((double)F(b), 10))

#define DOUBLES(X)                                                                                 \
    X(add_f64, "add.f64 d64, a64, b64;", bits_of_double(G(a) + G(b)))                              \
    X(mul_f64, "mul.rn.f64 d64, a64, b64;", bits_of_double(G(a) * G(b)))                           \
    X(fma_f64, "fma.rn.f64 d64, a64, b64, c64;", bits_of_double(fma(G(a), G(b), G(c))))            \
    X(div_f64, "div.rn.f64 d64, a64, b64;", bits_of_double(G(a) / G(b)))                           \
    X(sqrt_f64, "sqrt.rn.f64 d64, a64;", bits_of_double(sqrt(G(a))))                               \
    X(rcp_f64, "rcp.rn.f64 d64, a64;", bits_of_double(1 / G(a)))                                   \
    X(abs_f64, "abs.f64 d64, a64;", bits_of_double(fabs(G(a))))                                    \
    X(setp_f64, "setp.gtu.f64 pd, a64, b64;", !(G(a) <= G(b)))                                     \
    X(floor_f64, "cvt.rmi.f64.f64 d64, a64;", bits_of_double(floor(G(a))))                         \
    X(cvt_f32_rn, "cvt.rn.f32.f64 d32, a64;", from_double(G(a), NEAREST))                          \
    X(cvt_f32_rz, "cvt.rz.f32.f64 d32, a64;", from_double(G(a), ZERO))                             \
    X(cvt_f32_rm, "cvt.rm.f32.f64 d32, a64;", from_double(G(a), DOWN))                             \
    X(cvt_f32_rp, "cvt.rp.f32.f64 d32, a64;", from_double(G(a), UP))                               \
    X(cvt_s32_f64, "cvt.rzi.s32.f64 d32, a64;", TO_S32(trunc(G(a)), 0x80000000))                   \
    X(cvt_u32_f64, "cvt.rzi.u32.f64 d32, a64;", TO_U32(trunc(G(a)), 0x80000000))                   \
    X(cvt_s64_f64, "cvt.rzi.s64.f64 d64, a64;", TO_S64(trunc(G(a))))                               \
    X(cvt_f16_f64, "cvt.rn.f16.f64 d16, a64;", half_of(G(a), 10))

#define HALVES(X)                                                                                  \
    X(add_f16, "add.f16 d16, a16, b16;", H_ADD(a, b))                                              \
    X(sub_f16, "sub.rn.f16 d16, a16, b16;", H_ADD(a, half_negative(b)))                            \
    X(mul_f16, "mul.f16 d16, a16, b16;", H_MUL(a, b))                                              \
    X(fma_f16, "fma.rn.f16 d16, a16, b16, c16;", H_FMA(a, b, c))                                   \
    X(add_bf16, "add.bf16 d16, a16, b16;", B_ADD(a, b))                                            \
    X(mul_bf16, "mul.bf16 d16, a16, b16;", B_MUL(a, b))                                            \
    X(fma_bf16, "fma.rn.bf16 d16, a16, b16, c16;", B_FMA(a, b, c))                                 \
    X(add_f16x2, "add.f16x2 d32, a32, b32;", BOTH(H_ADD, a, b))                                    \
    X(mul_bf16x2, "mul.bf16x2 d32, a32, b32;", BOTH(B_MUL, a, b))                                  \
    X(neg_f16x2, "neg.f16x2 d32, a32;", U32(a) ^ 0x80008000)                                       \
    X(abs_bf16, "abs.bf16 d16, a16;", a & 0x7FFF)                                                  \
    X(cvt_f32_f16, "cvt.f32.f16 d32, a16;", half_to_float(a, 10))                                  \
    X(cvt_f32_bf16, "cvt.f32.bf16 d32, a16;", half_to_float(a, 7))                                 \
    X(setp_f16, "setp.lt.f16 pd, a16, b16;", F(half_to_float(a, 10)) < F(half_to_float(b, 10)))    \
    X(setp_bf16, "setp.geu.bf16 pd, a16, b16;", !(F(half_to_float(a, 7)) < F(half_to_float(b, 7))))

#define FROM_INTEGERS(X)                                                                           \
    X(cvt_f32_s32, "cvt.rn.f32.s32 d32, a32;", bits_of((float)S32(a)))                             \
    X(cvt_f32_u32, "cvt.rn.f32.u32 d32, a32;", bits_of((float)U32(a)))                             \
    X(cvt_f32_s32_rz, "cvt.rz.f32.s32 d32, a32;", from_double((double)S32(a), ZERO))               \
    X(cvt_f32_s32_rm, "cvt.rm.f32.s32 d32, a32;", from_double((double)S32(a), DOWN))               \
    X(cvt_f32_u64, "cvt.rn.f32.u64 d32, a64;", bits_of((float)a))                                  \
    X(cvt_f32_s64, "cvt.rn.f32.s64 d32, a64;", bits_of((float)(int64_t)a))                         \
    X(cvt_f64_s64, "cvt.rn.f64.s64 d64, a64;", bits_of_double((double)(int64_t)a))                 \
    X(cvt_f64_u32, "cvt.rn.f64.u32 d64, a32;", bits_of_double((double)U32(a)))                     \
    X(cvt_f16_s32, "cvt.rn.f16.s32 d16, a32;", half_of((double)S32(a), 10))                        \
    X(cvt_bf16_u32, "cvt.rn.bf16.u32 d16, a32;", half_of((double)U32(a), 7))

/* Where the bound of an approximation is not asked for, it is right to the last bit. */
#define APPROXIMATE(X)                                                                             \
    X(ex2, "ex2.approx.f32 d32, a32;", canonical((float)exp2((double)F(a))))                       \
    X(ex2_ftz, "ex2.approx.ftz.f32 d32, a32;", canonical(flush((float)exp2((double)flush(F(a)))))) \
    X(lg2, "lg2.approx.f32 d32, a32;", canonical((float)log2((double)F(a))))                       \
    X(sin, "sin.approx.f32 d32, a32;", canonical((float)sin((double)F(a))))                        \
    X(cos, "cos.approx.f32 d32, a32;", canonical((float)cos((double)F(a))))                        \
    X(tanh, "tanh.approx.f32 d32, a32;", canonical((float)tanh((double)F(a))))                     \
    X(rsqrt, "rsqrt.approx.f32 d32, a32;", canonical((float)(1 / sqrt((double)F(a)))))             \
    X(rcp, "rcp.approx.f32 d32, a32;", canonical((float)(1 / (double)F(a))))                       \
    X(sqrt_approx, "sqrt.approx.f32 d32, a32;", canonical((float)sqrt((double)F(a))))              \
    X(div_full, "div.full.f32 d32, a32, b32;", canonical((float)((double)F(a) / (double)F(b))))

#define FUNCTION(name, text, value)                                                                \
    static uint64_t expected_##name(uint64_t a, uint64_t b, uint64_t c)                            \
    {                                                                                              \
        (void)a, (void)b, (void)c;                                                                 \
        return (uint64_t)(value);                                                                  \
    }
FLOATS(FUNCTION)
DOUBLES(FUNCTION)
HALVES(FUNCTION)
FROM_INTEGERS(FUNCTION)
APPROXIMATE(FUNCTION)
#define ROW(name, text, value) {text, expected_##name},

static const struct calculation floats[] = {FLOATS(ROW)}, doubles[] = {DOUBLES(ROW)},
                                halves[] = {HALVES(ROW)}, from_integers[] = {FROM_INTEGERS(ROW)},
                                approximate[] = {APPROXIMATE(ROW)};

/* Of the third operand every fourth value does. */
static void calculate_all(const struct calculation *list, size_t count, const uint64_t *values,
                          int n)
{
    uint64_t fewer[16];
    int few = 0;
    for (int k = 0; k < n && few < 16; k += 4)
        fewer[few++] = values[k];
    struct operands operands = {values, n}, all[] = {operands, operands, {fewer, few}};
    for (size_t k = 0; k < count; k++)
        calculate(&list[k], all);
}
#define CALCULATE(list, values, n) calculate_all(list, sizeof list / sizeof *list, values, n)

/* Zeros, ones, the least and most of each kind, ties of roundings, infinities and NaN of fp32. */
static const uint64_t float_values[] = {
    0x00000000, 0x80000000, 0x3F800000, 0xBF800000, 0x3F000000, 0x00000001, 0x80000001, 0x007FFFFF,
    0x00800000, 0x80800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC12345,
    0x7FFFFFFF, 0x3F800001, 0x3F7FFFFF, 0x33800000, 0x40490FDB, 0xC2F6E979, 0x4B000001, 0x4F000000,
    0xCF000000, 0x5F000000, 0x3FC00000, 0x40200000, 0x3F808000, 0x3F818000, 0x3F801000, 0x3F803000,
    0x477FF000, 0x33000000, 0x387FE000, 0x38000001};

static void all_floats(void)
{
    enum { SPECIAL = sizeof float_values / sizeof *float_values, RANDOM = 12 };
    uint64_t values[SPECIAL + RANDOM], state = 5;
    memcpy(values, float_values, sizeof float_values);
    /* Of like exponents, so that sums and ratios are not trivial. */
    for (int k = 0; k < RANDOM; k++)
        values[SPECIAL + k] = (random_next(&state) & 0x80FFFFFF) | 0x3F000000;
    CALCULATE(floats, values, SPECIAL + RANDOM);
    CALCULATE(approximate, values, SPECIAL + RANDOM);
}

static void all_doubles(void)
{
    static const double numbers[] = {0,
                                     -0.0,
                                     1,
                                     -1,
                                     0.1,
                                     3.5,
                                     -2.5,
                                     1e300,
                                     -1e-300,
                                     5e-324,
                                     0x1p-1022,
                                     0x1.fffffffffffffp1023,
                                     0x1.000001p0,
                                     0x1.0000011p0,
                                     0x1p-150,
                                     65519.9,
                                     2147483647.9,
                                     -2147483648.5,
                                     4294967295.5,
                                     9.3e18,
                                     -9.3e18,
                                     1.9e19};
    enum { COUNT = sizeof numbers / sizeof *numbers };
    uint64_t values[COUNT + 2];
    for (int k = 0; k < COUNT; k++)
        values[k] = bits_of_double(numbers[k]);
    values[COUNT] = bits_of_double(INFINITY);
    values[COUNT + 1] = bits_of_double(-INFINITY);
    CALCULATE(doubles, values, COUNT + 2);
}

static void all_halves(void)
{
    uint64_t values[40] = {0,          0x8000,     0x00010001, 0x80018001, 0x3C003C00, 0xBC00BC00,
                           0x3F803F80, 0x7BFF7F7F, 0x7C007C00, 0xFC00FC00, 0x7E007FC0, 0x03FF03FF,
                           0x04000400, 0x3C013C01, 0x14001400, 0x0BFF0BFF, 0x7F807F80, 0xFF80FF80};
    uint64_t state = 9;
    for (int k = 18; k < 40; k++)
        values[k] = (random_next(&state) & 0x8FFF8FFF) | 0x30003000;
    CALCULATE(halves, values, 40);
}

static void all_integers(void)
{
    static const uint64_t values[] = {0,
                                      1,
                                      0xFFFFFFFFFFFFFFFF,
                                      0x7FFFFFFF,
                                      0x80000000,
                                      0x01000001,
                                      0x01000003,
                                      0x7FFFFFFFFFFFFFFF,
                                      0x8000000000000000,
                                      0x8000008000000001,
                                      0x20000000000001,
                                      2049,
                                      2051,
                                      65519,
                                      65520,
                                      0x10100,
                                      0xFFFFFF7F};
    CALCULATE(from_integers, values, (int)(sizeof values / sizeof *values));
}

int main(void)
{
    all_floats();
    all_doubles();
    all_halves();
    all_integers();
    memory_clear();
    return test_finish("ptx_float_test");
}
