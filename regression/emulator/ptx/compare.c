/* SPDX-License-Identifier: Apache-2.0 */
/* Comparisons: setp to predicates, set to masks or numbers. */
#include "regression/emulator/ptx/control.h"
#include "regression/emulator/ptx/number.h"
#include "regression/emulator/ptx/steps.h"

static bool combine(bool holds, const struct ptx_instruction *i, bool other)
{
    switch (i->count) {
    case PTX_BOOLEAN_AND:
        return holds && other;
    case PTX_BOOLEAN_OR:
        return holds || other;
    case PTX_BOOLEAN_XOR:
        return holds != other;
    default:
        return holds;
    }
}

/* X(name, condition): orders of integers, and of floating-point numbers, which may be NaN. */
#define ORDERS(X)                                                                                  \
    X(eq, a == b)                                                                                  \
    X(ne, a != b)                                                                                  \
    X(lt, a < b)                                                                                   \
    X(le, a <= b)                                                                                  \
    X(gt, a > b)                                                                                   \
    X(ge, a >= b)
#define FLOAT_ORDERS(X)                                                                            \
    X(eq, a == b)                                                                                  \
    X(ne, (a < b || a > b))                                                                        \
    X(lt, a < b)                                                                                   \
    X(le, a <= b)                                                                                  \
    X(gt, a > b)                                                                                   \
    X(ge, a >= b)                                                                                  \
    X(equ, !(a < b || a > b))                                                                      \
    X(neu, a != b)                                                                                 \
    X(ltu, !(a >= b))                                                                              \
    X(leu, !(a > b))                                                                               \
    X(gtu, !(a <= b))                                                                              \
    X(geu, !(a < b))                                                                               \
    X(num, (a == a && b == b))                                                                     \
    X(nan, (a != a || b != b))

/* Sources of setp are operands 2 and 3, after its two results. */
#define SETP(name, type, first, second, condition)                                                 \
    PTX_STEP(name)                                                                                 \
    {                                                                                              \
        (void)t;                                                                                   \
        type a = first, b = second;                                                                \
        D.u64 = condition;                                                                         \
        return i + 1;                                                                              \
    }                                                                                              \
    PTX_STEP(name##_exact)                                                                         \
    {                                                                                              \
        (void)t;                                                                                   \
        type a = first, b = second;                                                                \
        bool holds = condition, other = r[i->o[4]].u8 & 1;                                         \
        D.u64 = combine(holds, i, other);                                                          \
        A.u64 = combine(!holds, i, other);                                                         \
        return i + 1;                                                                              \
    }
#define SETP_U16(o, c) SETP(setp_##o##_u16, uint16_t, B.u16, C.u16, c)
#define SETP_S16(o, c) SETP(setp_##o##_s16, int16_t, B.s16, C.s16, c)
#define SETP_U32(o, c) SETP(setp_##o##_u32, uint32_t, B.u32, C.u32, c)
#define SETP_S32(o, c) SETP(setp_##o##_s32, int32_t, B.s32, C.s32, c)
#define SETP_U64(o, c) SETP(setp_##o##_u64, uint64_t, B.u64, C.u64, c)
#define SETP_S64(o, c) SETP(setp_##o##_s64, int64_t, B.s64, C.s64, c)
#define SETP_F32(o, c)                                                                             \
    SETP(setp_##o##_f32, float, ptx_flush(B.f32, i->flags), ptx_flush(C.f32, i->flags), c)
#define SETP_F64(o, c) SETP(setp_##o##_f64, double, B.f64, C.f64, c)
#define SETP_F16(o, c)                                                                             \
    SETP(setp_##o##_f16, float, ptx_widen(B.u16, PTX_FP16_MANTISSA),                               \
         ptx_widen(C.u16, PTX_FP16_MANTISSA), c)
#define SETP_BF16(o, c)                                                                            \
    SETP(setp_##o##_bf16, float, ptx_widen(B.u16, PTX_BF16_MANTISSA),                              \
         ptx_widen(C.u16, PTX_BF16_MANTISSA), c)
ORDERS(SETP_U16)
ORDERS(SETP_S16)
ORDERS(SETP_U32)
ORDERS(SETP_S32)
ORDERS(SETP_U64)
ORDERS(SETP_S64)
FLOAT_ORDERS(SETP_F32)
FLOAT_ORDERS(SETP_F64)
FLOAT_ORDERS(SETP_F16)
FLOAT_ORDERS(SETP_BF16)

/* set: `yes` where the order holds, else 0. Its sources are operands 1 and 2. */
#define SET(name, type, first, second, condition, yes)                                             \
    PTX_STEP(name)                                                                                 \
    {                                                                                              \
        (void)t;                                                                                   \
        type a = first, b = second;                                                                \
        D.u64 = combine(condition, i, C.u8 & 1) ? yes : 0;                                         \
        return i + 1;                                                                              \
    }
/* Two numbers in 32 bits. */
#define SET_TWO(name, mantissa, condition, yes)                                                    \
    PTX_STEP(name)                                                                                 \
    {                                                                                              \
        (void)t;                                                                                   \
        uint32_t both = 0;                                                                         \
        for (int shift = 0; shift < 32; shift += 16) {                                             \
            float a = ptx_widen((uint16_t)(A.u32 >> shift), mantissa);                             \
            float b = ptx_widen((uint16_t)(B.u32 >> shift), mantissa);                             \
            if (combine(condition, i, C.u8 & 1)) both |= (uint32_t)yes << shift;                   \
        }                                                                                          \
        D.u64 = both;                                                                              \
        return i + 1;                                                                              \
    }
#define F32(x)  ptx_flush((x).f32, i->flags)
#define F16(x)  ptx_widen((x).u16, PTX_FP16_MANTISSA)
#define BF16(x) ptx_widen((x).u16, PTX_BF16_MANTISSA)
#define SET_INTEGERS(o, c)                                                                         \
    SET(set_##o##_u32_u32, uint32_t, A.u32, B.u32, c, UINT32_MAX)                                  \
    SET(set_##o##_u32_s32, int32_t, A.s32, B.s32, c, UINT32_MAX)                                   \
    SET(set_##o##_f32_u32, uint32_t, A.u32, B.u32, c, 0x3F800000)                                  \
    SET(set_##o##_f32_s32, int32_t, A.s32, B.s32, c, 0x3F800000)
#define SET_FLOATS(o, c)                                                                           \
    SET(set_##o##_u32_f32, float, F32(A), F32(B), c, UINT32_MAX)                                   \
    SET(set_##o##_f32_f32, float, F32(A), F32(B), c, 0x3F800000)                                   \
    SET(set_##o##_u32_f64, double, A.f64, B.f64, c, UINT32_MAX)                                    \
    SET(set_##o##_f32_f64, double, A.f64, B.f64, c, 0x3F800000)                                    \
    SET(set_##o##_f16_f16, float, F16(A), F16(B), c, 0x3C00)                                       \
    SET(set_##o##_bf16_bf16, float, BF16(A), BF16(B), c, 0x3F80)                                   \
    SET_TWO(set_##o##_f16x2_f16x2, PTX_FP16_MANTISSA, c, 0x3C00)                                   \
    SET_TWO(set_##o##_bf16x2_bf16x2, PTX_BF16_MANTISSA, c, 0x3F80)                                 \
    SET_TWO(set_##o##_u32_f16x2, PTX_FP16_MANTISSA, c, 0xFFFF)                                     \
    SET_TWO(set_##o##_u32_bf16x2, PTX_BF16_MANTISSA, c, 0xFFFF)
ORDERS(SET_INTEGERS)
FLOAT_ORDERS(SET_FLOATS)

#define SETP_ROW(o, T, S, modifiers)                                                               \
    {.name = "setp." #o "." #T,                                                                    \
     .run = setp_##o##_##S,                                                                        \
     .exact = setp_##o##_##S##_exact,                                                              \
     .flags = modifiers,                                                                           \
     .operands = 3,                                                                                \
     .pair = true},
#define SETP_ROWS(o, c)                                                                            \
    SETP_ROW(o, u16, u16, 0)                                                                       \
    SETP_ROW(o, s16, s16, 0)                                                                       \
    SETP_ROW(o, u32, u32, 0)                                                                       \
    SETP_ROW(o, s32, s32, 0)                                                                       \
    SETP_ROW(o, u64, u64, 0)                                                                       \
    SETP_ROW(o, s64, s64, 0)
#define SETP_FLOAT_ROWS(o, c)                                                                      \
    SETP_ROW(o, f32, f32, PTX_FTZ)                                                                 \
    SETP_ROW(o, f64, f64, 0)                                                                       \
    SETP_ROW(o, f16, f16, 0)                                                                       \
    SETP_ROW(o, bf16, bf16, 0)
/* lo, ls, hi and hs are the orders of numbers without signs. */
#define SETP_UNSIGNED_ROWS(T)                                                                      \
    {.name = "setp.lo." #T,                                                                        \
     .run = setp_lt_##T,                                                                           \
     .exact = setp_lt_##T##_exact,                                                                 \
     .operands = 3,                                                                                \
     .pair = true},                                                                                \
        {.name = "setp.ls." #T,                                                                    \
         .run = setp_le_##T,                                                                       \
         .exact = setp_le_##T##_exact,                                                             \
         .operands = 3,                                                                            \
         .pair = true},                                                                            \
        {.name = "setp.hi." #T,                                                                    \
         .run = setp_gt_##T,                                                                       \
         .exact = setp_gt_##T##_exact,                                                             \
         .operands = 3,                                                                            \
         .pair = true},                                                                            \
    {                                                                                              \
        .name = "setp.hs." #T, .run = setp_ge_##T, .exact = setp_ge_##T##_exact, .operands = 3,    \
        .pair = true                                                                               \
    }
#define SET_ROW(o, T, S, modifiers)                                                                \
    {.name = "set." #o "." #T "." #S,                                                              \
     .run = set_##o##_##T##_##S,                                                                   \
     .flags = modifiers,                                                                           \
     .operands = 3},
#define SET_ROWS(o, c)                                                                             \
    SET_ROW(o, u32, u32, 0)                                                                        \
    SET_ROW(o, u32, s32, 0)                                                                        \
    SET_ROW(o, f32, u32, 0)                                                                        \
    SET_ROW(o, f32, s32, 0)
#define SET_FLOAT_ROWS(o, c)                                                                       \
    SET_ROW(o, u32, f32, PTX_FTZ)                                                                  \
    SET_ROW(o, f32, f32, PTX_FTZ)                                                                  \
    SET_ROW(o, u32, f64, 0)                                                                        \
    SET_ROW(o, f32, f64, 0)                                                                        \
    SET_ROW(o, f16, f16, 0)                                                                        \
    SET_ROW(o, bf16, bf16, 0)                                                                      \
    SET_ROW(o, f16x2, f16x2, 0)                                                                    \
    SET_ROW(o, bf16x2, bf16x2, 0)                                                                  \
    SET_ROW(o, u32, f16x2, 0)                                                                      \
    SET_ROW(o, u32, bf16x2, 0)

const struct ptx_form ptx_compare_forms[] = {
    ORDERS(SETP_ROWS) SETP_ROW(eq, b16, u16, 0) SETP_ROW(ne, b16, u16, 0) SETP_ROW(eq, b32, u32, 0)
        SETP_ROW(ne, b32, u32, 0) SETP_ROW(eq, b64, u64, 0) SETP_ROW(ne, b64, u64, 0)
            FLOAT_ORDERS(SETP_FLOAT_ROWS) SETP_UNSIGNED_ROWS(u16),
    SETP_UNSIGNED_ROWS(u32),
    SETP_UNSIGNED_ROWS(u64),
    ORDERS(SET_ROWS) FLOAT_ORDERS(SET_FLOAT_ROWS){0},
};
