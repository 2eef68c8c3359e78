/* SPDX-License-Identifier: Apache-2.0 */
/* Moves, logic, shifts and other operations on bits; addresses of one space in another. */
#include "regression/emulator/ptx/control.h"
#include "regression/emulator/ptx/steps.h"

#include <string.h>

/* Shifts by more than the width give zeros, or copies of the sign. */
#define SHIFT(X, bits, u, s, unsigned_type)                                                        \
    X(shl_b##bits, B.u32 >= bits ? 0 : (unsigned_type)((uint64_t)A.u << B.u32))                    \
    X(shr_u##bits, B.u32 >= bits ? 0 : A.u >> B.u32)                                               \
    X(shr_s##bits, (unsigned_type)(A.s >> (B.u32 >= bits ? bits - 1 : B.u32)))

#define LOGIC(X, bits, u, unsigned_type)                                                           \
    X(and_b##bits, (unsigned_type)(A.u & B.u))                                                     \
    X(or_b##bits, (unsigned_type)(A.u | B.u))                                                      \
    X(xor_b##bits, (unsigned_type)(A.u ^ B.u))                                                     \
    X(not_b##bits, (unsigned_type)~A.u)                                                            \
    X(cnot_b##bits, A.u == 0)                                                                      \
    X(mov_b##bits, A.u)                                                                            \
    X(selp_b##bits, (C.u8 & 1) ? A.u : B.u)

static uint64_t reverse(uint64_t x, int bits)
{
    uint64_t y = 0;
    for (int k = 0; k < bits; k++)
        y |= (x >> k & 1) << (bits - 1 - k);
    return y;
}

static uint32_t logic3(uint32_t a, uint32_t b, uint32_t c, uint32_t table)
{
    uint32_t d = 0;
    for (unsigned k = 0; k < 8; k++)
        if (table >> k & 1) d |= (k & 4 ? a : ~a) & (k & 2 ? b : ~b) & (k & 1 ? c : ~c);
    return d;
}

/* Each nibble of the selector picks a byte of b:a, or copies of its sign bit. */
static uint32_t permute(uint32_t a, uint32_t b, uint32_t selector)
{
    uint64_t both = (uint64_t)b << 32 | a;
    uint32_t d = 0;
    for (int k = 0; k < 4; k++) {
        uint32_t pick = selector >> 4 * k;
        uint8_t byte = (uint8_t)(both >> 8 * (pick & 7));
        if (pick & 8) byte = byte & 0x80 ? 0xFF : 0;
        d |= (uint32_t)byte << 8 * k;
    }
    return d;
}

/* Position and length come in their low 8 bits. */
static uint64_t insert(uint64_t a, uint64_t b, uint32_t position, uint32_t length, unsigned bits)
{
    position &= 0xFF;
    length &= 0xFF;
    if (position >= bits || length == 0) return b;
    uint64_t mask = length >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << length) - 1;
    return (b & ~(mask << position)) | ((a & mask) << position);
}

/* Beyond the width come zeros, or the sign: that of the field's last bit that exists. */
static uint64_t extract(uint64_t a, uint32_t position, uint32_t length, unsigned bits, bool sign)
{
    position &= 0xFF;
    length &= 0xFF;
    if (length == 0) return 0;
    unsigned last = position + length - 1 < bits - 1 ? position + length - 1 : bits - 1;
    uint64_t value = position >= bits ? 0 : a >> position, mask, ones;
    unsigned there = position >= bits ? 0 : last - position + 1;
    mask = there >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << there) - 1;
    ones = sign && a >> last & 1 ? ~UINT64_C(0) : 0;
    return (value & mask) | (ones & ~mask);
}

static uint64_t field_mask(uint64_t position, uint64_t length)
{
    return length == 0 || position > 31 ? 0
           : length > 31                ? UINT32_MAX << position
                                        : ((UINT64_C(1) << length) - 1) << position;
}

/* The highest bit that differs from the sign; all ones when there is none. */
static uint32_t find(uint64_t x, bool shift, int bits)
{
    if (x == 0) return UINT32_MAX;
    int at = 63 - __builtin_clzll(x);
    return (uint32_t)(shift ? bits - 1 - at : at);
}

#define LEFT(amount)  (uint32_t)((((uint64_t)B.u32 << 32 | A.u32) << (amount)) >> 32)
#define RIGHT(amount) (uint32_t)(((uint64_t)B.u32 << 32 | A.u32) >> (amount))
#define CLAMP         (C.u32 < 32 ? C.u32 : 32)

#define OPERATIONS(X)                                                                              \
    LOGIC(X, 16, u16, uint16_t)                                                                    \
    LOGIC(X, 32, u32, uint32_t)                                                                    \
    LOGIC(X, 64, u64, uint64_t)                                                                    \
    SHIFT(X, 16, u16, s16, uint16_t)                                                               \
    SHIFT(X, 32, u32, s32, uint32_t)                                                               \
    SHIFT(X, 64, u64, s64, uint64_t)                                                               \
    X(and_pred, A.u8 &B.u8 & 1)                                                                    \
    X(or_pred, (A.u8 | B.u8) & 1)                                                                  \
    X(xor_pred, (A.u8 ^ B.u8) & 1)                                                                 \
    X(mov_pred, A.u8 & 1)                                                                          \
    X(popc_b32, (uint32_t)__builtin_popcount(A.u32))                                               \
    X(popc_b64, (uint32_t)__builtin_popcountll(A.u64))                                             \
    X(clz_b32, (uint32_t)(A.u32 ? __builtin_clz(A.u32) : 32))                                      \
    X(clz_b64, (uint32_t)(A.u64 ? __builtin_clzll(A.u64) : 64))                                    \
    X(brev_b32, reverse(A.u32, 32))                                                                \
    X(brev_b64, reverse(A.u64, 64))                                                                \
    X(lop3_b32, logic3(A.u32, B.u32, C.u32, r[i->o[4]].u32))                                       \
    X(prmt_b32, permute(A.u32, B.u32, C.u32))                                                      \
    X(bfi_b32, (uint32_t)insert(A.u32, B.u32, C.u32, r[i->o[4]].u32, 32))                          \
    X(bfi_b64, insert(A.u64, B.u64, C.u32, r[i->o[4]].u32, 64))                                    \
    X(bfe_u32, (uint32_t)extract(A.u32, B.u32, C.u32, 32, false))                                  \
    X(bfe_s32, (uint32_t)extract(A.u32, B.u32, C.u32, 32, true))                                   \
    X(bfe_u64, extract(A.u64, B.u32, C.u32, 64, false))                                            \
    X(bfe_s64, extract(A.u64, B.u32, C.u32, 64, true))                                             \
    X(bmsk_clamp_b32, (uint32_t)field_mask(A.u32, B.u32))                                          \
    X(bmsk_wrap_b32, (uint32_t)field_mask(A.u32 & 31, B.u32 & 31))                                 \
    X(bfind_u32, find(A.u32, false, 32))                                                           \
    X(bfind_s32, find(A.s32 < 0 ? ~A.u32 : A.u32, false, 32))                                      \
    X(bfind_u64, find(A.u64, false, 64))                                                           \
    X(bfind_s64, find(A.s64 < 0 ? ~A.u64 : A.u64, false, 64))                                      \
    X(bfind_shift_u32, find(A.u32, true, 32))                                                      \
    X(bfind_shift_s32, find(A.s32 < 0 ? ~A.u32 : A.u32, true, 32))                                 \
    X(bfind_shift_u64, find(A.u64, true, 64))                                                      \
    X(bfind_shift_s64, find(A.s64 < 0 ? ~A.u64 : A.u64, true, 64))                                 \
    X(shf_l_wrap, LEFT(C.u32 & 31))                                                                \
    X(shf_l_clamp, LEFT(CLAMP))                                                                    \
    X(shf_r_wrap, RIGHT(C.u32 & 31))                                                               \
    X(shf_r_clamp, RIGHT(CLAMP))                                                                   \
    X(slct_b32_s32, C.s32 >= 0 ? A.u32 : B.u32)                                                    \
    X(slct_b64_s32, C.s32 >= 0 ? A.u64 : B.u64)                                                    \
    X(slct_b32_f32, C.f32 >= 0 ? A.u32 : B.u32)                                                    \
    X(slct_b64_f32, C.f32 >= 0 ? A.u64 : B.u64)                                                    \
    X(cvta_shared, A.u64 + PTX_WINDOW_SHARED)                                                      \
    X(cvta_local, A.u64 + PTX_WINDOW_LOCAL)                                                        \
    X(cvta_param, A.u64 + PTX_WINDOW_PARAM)                                                        \
    X(cvta_to_shared, A.u64 - PTX_WINDOW_SHARED)                                                   \
    X(cvta_to_local, A.u64 - PTX_WINDOW_LOCAL)                                                     \
    X(cvta_to_param, A.u64 - PTX_WINDOW_PARAM)                                                     \
    X(isspacep_shared, A.u64 >> PTX_WINDOW_BITS == 0xE10000)                                       \
    X(isspacep_local, A.u64 >> PTX_WINDOW_BITS == 0xE20000)                                        \
    X(isspacep_global, A.u64 >> (PTX_WINDOW_BITS + 20) == 0)

#define DEFINE(name, value) PTX_SIMPLE(name, D.u64 = (value))
OPERATIONS(DEFINE)

const struct ptx_instruction *ptx_step_not(const struct ptx_instruction *i, union ptx_value *r,
                                           struct ptx_thread *t)
{
    (void)t;
    D.u64 = !(A.u8 & 1);
    return i + 1;
}

const struct ptx_instruction *ptx_step_unpack(const struct ptx_instruction *i, union ptx_value *r,
                                              struct ptx_thread *t)
{
    (void)t;
    uint64_t whole = r[i->o[PTX_ADDRESS]].u64, mask = (UINT64_C(1) << 8 * i->offset) - 1;
    for (int k = 0; k < i->count; k++)
        r[i->o[k]].u64 = whole >> 8 * i->offset * k & mask;
    return i + 1;
}

const struct ptx_instruction *ptx_step_pack(const struct ptx_instruction *i, union ptx_value *r,
                                            struct ptx_thread *t)
{
    (void)t;
    uint64_t whole = 0, mask = (UINT64_C(1) << 8 * i->offset) - 1;
    for (int k = 0; k < i->count; k++)
        whole |= (r[i->o[k]].u64 & mask) << 8 * i->offset * k;
    r[i->o[PTX_ADDRESS]].u64 = whole;
    return i + 1;
}

#define ROW(text, function, count)                                                                 \
    {                                                                                              \
        .name = text, .run = function, .operands = count                                           \
    }
#define ROWS_LOGIC(b)                                                                              \
    ROW("and.b" #b, and_b##b, 3), ROW("or.b" #b, or_b##b, 3), ROW("xor.b" #b, xor_b##b, 3),        \
        ROW("not.b" #b, not_b##b, 2), ROW("cnot.b" #b, cnot_b##b, 2),                              \
        ROW("shl.b" #b, shl_b##b, 3), ROW("shr.u" #b, shr_u##b, 3), ROW("shr.b" #b, shr_u##b, 3),  \
        ROW("shr.s" #b, shr_s##b, 3), ROW("mov.b" #b, mov_b##b, 2), ROW("mov.u" #b, mov_b##b, 2),  \
        ROW("mov.s" #b, mov_b##b, 2), ROW("selp.b" #b, selp_b##b, 4),                              \
        ROW("selp.u" #b, selp_b##b, 4), ROW("selp.s" #b, selp_b##b, 4)
#define ROWS_FIND(T) ROW("bfind." #T, bfind_##T, 2), ROW("bfind.shiftamt." #T, bfind_shift_##T, 2)
#define ROWS_SELECT(T, b)                                                                          \
    ROW("slct." #T #b ".s32", slct_b##b##_s32, 4),                                                 \
    {                                                                                              \
        .name = "slct." #T #b ".f32", .run = slct_b##b##_f32, .flags = PTX_FTZ, .operands = 4      \
    }
#define ROWS_SPACE(space)                                                                          \
    ROW("cvta." #space ".u64", cvta_##space, 2), ROW("cvta.to." #space ".u64", cvta_to_##space, 2)

const struct ptx_form ptx_bit_forms[] = {
    ROWS_LOGIC(16),
    ROWS_LOGIC(32),
    ROWS_LOGIC(64),
    ROW("mov.f32", mov_b32, 2),
    ROW("mov.f64", mov_b64, 2),
    ROW("mov.f16", mov_b16, 2),
    ROW("mov.bf16", mov_b16, 2),
    ROW("mov.pred", mov_pred, 2),
    ROW("selp.f32", selp_b32, 4),
    ROW("selp.f64", selp_b64, 4),
    ROW("selp.f16", selp_b16, 4),
    ROW("and.pred", and_pred, 3),
    ROW("or.pred", or_pred, 3),
    ROW("xor.pred", xor_pred, 3),
    ROW("not.pred", ptx_step_not, 2),
    ROW("popc.b32", popc_b32, 2),
    ROW("popc.b64", popc_b64, 2),
    ROW("clz.b32", clz_b32, 2),
    ROW("clz.b64", clz_b64, 2),
    ROW("brev.b32", brev_b32, 2),
    ROW("brev.b64", brev_b64, 2),
    ROW("lop3.b32", lop3_b32, 5),
    ROW("prmt.b32", prmt_b32, 4),
    ROW("bfi.b32", bfi_b32, 5),
    ROW("bfi.b64", bfi_b64, 5),
    ROW("bfe.u32", bfe_u32, 4),
    ROW("bfe.s32", bfe_s32, 4),
    ROW("bfe.u64", bfe_u64, 4),
    ROW("bfe.s64", bfe_s64, 4),
    ROW("bmsk.clamp.b32", bmsk_clamp_b32, 3),
    ROW("bmsk.wrap.b32", bmsk_wrap_b32, 3),
    ROWS_FIND(u32),
    ROWS_FIND(s32),
    ROWS_FIND(u64),
    ROWS_FIND(s64),
    ROW("shf.l.wrap.b32", shf_l_wrap, 4),
    ROW("shf.l.clamp.b32", shf_l_clamp, 4),
    ROW("shf.r.wrap.b32", shf_r_wrap, 4),
    ROW("shf.r.clamp.b32", shf_r_clamp, 4),
    ROWS_SELECT(b, 32),
    ROWS_SELECT(u, 32),
    ROWS_SELECT(s, 32),
    ROWS_SELECT(f, 32),
    ROWS_SELECT(b, 64),
    ROWS_SELECT(f, 64),
    ROWS_SPACE(shared),
    ROWS_SPACE(local),
    ROWS_SPACE(param),
    /* Global and constant memory have their generic addresses. */
    ROW("cvta.global.u64", mov_b64, 2),
    ROW("cvta.to.global.u64", mov_b64, 2),
    ROW("cvta.const.u64", mov_b64, 2),
    ROW("cvta.to.const.u64", mov_b64, 2),
    ROW("isspacep.shared", isspacep_shared, 2),
    ROW("isspacep.local", isspacep_local, 2),
    ROW("isspacep.global", isspacep_global, 2),
    {0},
};
