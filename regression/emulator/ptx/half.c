/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic of fp16 and bf16, one number or two in 32 bits. Each result is rounded once: it is
 * computed in fp64, where products are exact, and sums that are not are made odd, which leaves the
 * second rounding right. */
#include "regression/emulator/ptx/number.h"
#include "regression/emulator/ptx/steps.h"

/* x + y, rounded to odd: a last bit of 1 says that there is more. */
static double odd_sum(double x, double y)
{
    double sum = x + y, part = sum - x, error = (x - (sum - part)) + (y - part);
    uint64_t bits;
    if (!isfinite(sum) || error == 0) return sum;
    memcpy(&bits, &sum, sizeof bits);
    /* The neighbour of an even one on the side of the error is odd. */
    if (!(bits & 1)) bits += (error > 0) == (sum > 0) ? 1 : UINT64_MAX;
    memcpy(&sum, &bits, sizeof sum);
    return sum;
}

/* Smaller or larger, of numbers before NaN unless all must be numbers, of -0 before 0. */
static double extreme(double a, double b, bool smaller, bool all)
{
    if (all && (a != a || b != b)) return NAN;
    if (a != a) return b;
    if (b != b) return a;
    if (a == b) return !!signbit(a) == smaller ? a : b;
    return (a < b) == smaller ? a : b;
}

/* Off by a bound when the launch asks for it. */
static double moved(struct ptx_thread *t, double exact, double bound)
{
    if (!isfinite(exact) || exact == 0) return exact;
    return exact + ptx_direction(t, (uint64_t)(int64_t)(exact * 0x1p16)) * bound;
}

/* X(name, fp16 value, bf16 value): of a, b and c. */
#define OPERATIONS(X)                                                                              \
    X(add, odd_sum(a, b), odd_sum(a, b))                                                           \
    X(sub, odd_sum(a, -b), odd_sum(a, -b))                                                         \
    X(mul, a *b, a *b)                                                                             \
    X(fma, odd_sum(a *b, c), odd_sum(a *b, c))                                                     \
    X(min, extreme(a, b, true, i->flags &PTX_NAN), extreme(a, b, true, i->flags &PTX_NAN))         \
    X(max, extreme(a, b, false, i->flags &PTX_NAN), extreme(a, b, false, i->flags &PTX_NAN))       \
    X(ex2, moved(t, exp2(a), exp2(a) * 0x1.12p-10), moved(t, exp2(a), exp2(a) * 0x1p-7))           \
    X(tanh, moved(t, tanh(a), 0x1.02p-11), moved(t, tanh(a), 0x1p-8))

static double operand(uint16_t bits, int mantissa, unsigned flags)
{
    float x = ptx_widen(bits, mantissa);
    if (flags & PTX_FTZ && fabsf(x) < (mantissa == PTX_FP16_MANTISSA ? 0x1p-14f : 0x1p-126f))
        x = copysignf(0, x);
    return (double)x;
}

/* One number of each operand, `shift` bits up. */
#define HALF(name, value, mantissa)                                                                \
    static uint32_t name(const struct ptx_instruction *i, union ptx_value *r,                      \
                         struct ptx_thread *t, int shift)                                          \
    {                                                                                              \
        double a = operand((uint16_t)(A.u32 >> shift), mantissa, i->flags);                        \
        double b = operand((uint16_t)(B.u32 >> shift), mantissa, i->flags);                        \
        double c = operand((uint16_t)(C.u32 >> shift), mantissa, i->flags);                        \
        (void)t, (void)b, (void)c;                                                                 \
        return (uint32_t)ptx_narrow(value, mantissa, i->flags) << shift;                           \
    }
#define STEPS(name)                                                                                \
    PTX_STEP(name##_one)                                                                           \
    {                                                                                              \
        D.u64 = name(i, r, t, 0);                                                                  \
        return i + 1;                                                                              \
    }                                                                                              \
    PTX_STEP(name##_two)                                                                           \
    {                                                                                              \
        uint32_t low = name(i, r, t, 0);                                                           \
        D.u64 = low | name(i, r, t, 16);                                                           \
        return i + 1;                                                                              \
    }
#define DEFINE(name, fp16_value, bf16_value)                                                       \
    HALF(name##_f16, fp16_value, PTX_FP16_MANTISSA)                                                \
    HALF(name##_bf16, bf16_value, PTX_BF16_MANTISSA)                                               \
    STEPS(name##_f16)                                                                              \
    STEPS(name##_bf16)
OPERATIONS(DEFINE)

PTX_SIMPLE(neg_one, D.u64 = (uint16_t)(A.u16 ^ 0x8000))
PTX_SIMPLE(neg_two, D.u64 = A.u32 ^ 0x80008000)
PTX_SIMPLE(abs_one, D.u64 = A.u16 & 0x7FFF)
PTX_SIMPLE(abs_two, D.u64 = A.u32 & 0x7FFF7FFF)

#define ROW(text, function, modifiers, count)                                                      \
    {                                                                                              \
        .name = text, .run = function, .flags = modifiers, .operands = count                       \
    }
#define ROWS(name, modifiers, count)                                                               \
    ROW(#name ".f16", name##_f16_one, modifiers, count),                                           \
        ROW(#name ".f16x2", name##_f16_two, modifiers, count),                                     \
        ROW(#name ".bf16", name##_bf16_one, (modifiers) & ~(PTX_FTZ | PTX_SAT), count),            \
        ROW(#name ".bf16x2", name##_bf16_two, (modifiers) & ~(PTX_FTZ | PTX_SAT), count)
#define ROWS_SIGN(name)                                                                            \
    ROW(#name ".f16", name##_one, 0, 2), ROW(#name ".f16x2", name##_two, 0, 2),                    \
        ROW(#name ".bf16", name##_one, 0, 2), ROW(#name ".bf16x2", name##_two, 0, 2)

const struct ptx_form ptx_half_forms[] = {
    ROWS(add, PTX_RN | PTX_FTZ | PTX_SAT, 3),
    ROWS(sub, PTX_RN | PTX_FTZ | PTX_SAT, 3),
    ROWS(mul, PTX_RN | PTX_FTZ | PTX_SAT, 3),
    ROWS(fma, PTX_RN | PTX_FTZ | PTX_SAT | PTX_RELU, 4),
    ROWS(min, PTX_FTZ | PTX_NAN, 3),
    ROWS(max, PTX_FTZ | PTX_NAN, 3),
    ROW("ex2.f16", ex2_f16_one, PTX_APPROX, 2),
    ROW("ex2.f16x2", ex2_f16_two, PTX_APPROX, 2),
    ROW("ex2.bf16", ex2_bf16_one, PTX_APPROX | PTX_FTZ, 2),
    ROW("ex2.bf16x2", ex2_bf16_two, PTX_APPROX | PTX_FTZ, 2),
    ROWS(tanh, PTX_APPROX, 2),
    ROWS_SIGN(neg),
    ROWS_SIGN(abs),
    {0},
};
