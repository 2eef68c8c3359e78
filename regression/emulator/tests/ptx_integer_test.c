/* SPDX-License-Identifier: Apache-2.0 */
/* The interpreter of PTX: each instruction on integers and bits gives what the manual says, written
 * here in C once more. */
#include "regression/emulator/tests/ptx_calculation.h"

#define U32(x) ((uint32_t)(x))
#define S32(x) ((int32_t)(uint32_t)(x))
#define S64(x) ((int64_t)(x))
#define S16(x) ((int16_t)(uint16_t)(x))
#define U16(x) ((uint16_t)(x))

static int bit(uint64_t x, int k)
{
    return (int)(x >> k & 1);
}

/* By the manual's loop over bits. */
static uint64_t reference_bfe(uint64_t a, uint64_t b, uint64_t c, int bits, bool sign)
{
    int position = (int)(b & 255), length = (int)(c & 255), last = position + length - 1;
    uint64_t d = 0;
    if (last > bits - 1) last = bits - 1;
    int fill = sign && length > 0 ? bit(a, last) : 0;
    for (int k = 0; k < bits; k++) {
        int from = k < length && position + k < bits ? bit(a, position + k) : fill;
        d |= (uint64_t)from << k;
    }
    return d;
}

static uint64_t reference_bfi(uint64_t a, uint64_t b, uint64_t position, uint64_t length, int bits)
{
    uint64_t f = b;
    position &= 255;
    length &= 255;
    for (int k = 0; k < (int)length && (int)position + k < bits; k++) {
        f &= ~(UINT64_C(1) << ((int)position + k));
        f |= (uint64_t)bit(a, k) << ((int)position + k);
    }
    return f;
}

static uint64_t reference_reverse(uint64_t a, int bits)
{
    uint64_t d = 0;
    for (int k = 0; k < bits; k++)
        d |= (uint64_t)bit(a, k) << (bits - 1 - k);
    return d;
}

static uint64_t reference_permute(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t both = U32(a) | (uint64_t)U32(b) << 32, d = 0;
    for (int k = 0; k < 4; k++) {
        unsigned control = (unsigned)(c >> 4 * k) & 15;
        uint64_t byte = both >> 8 * (control & 7) & 255;
        if (control & 8) byte = byte >> 7 ? 255 : 0;
        d |= byte << 8 * k;
    }
    return d;
}

static uint64_t reference_shift(uint64_t a, uint64_t amount, int bits, int kind)
{
    uint64_t mask = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1, x = a & mask;
    for (uint32_t k = 0; k < U32(amount) && k < 64; k++) {
        uint64_t sign = x & (UINT64_C(1) << (bits - 1));
        x = kind == 0 ? x << 1 & mask : kind == 1 ? x >> 1 : x >> 1 | sign;
    }
    return x;
}

static uint64_t reference_high(uint64_t a, uint64_t b)
{
    return (uint64_t)((unsigned __int128)a * b >> 64);
}

static uint64_t reference_high_signed(uint64_t a, uint64_t b)
{
    return reference_high(a, b) - (S64(a) < 0 ? b : 0) - (S64(b) < 0 ? a : 0);
}

static uint64_t reference_find(uint64_t a, int bits)
{
    for (int k = bits - 1; k >= 0; k--)
        if (bit(a, k)) return (uint64_t)k;
    return UINT32_MAX;
}

static uint64_t reference_count(uint64_t a, int bits)
{
    uint64_t n = 0;
    for (int k = 0; k < bits; k++)
        n += (uint64_t)bit(a, k);
    return n;
}

static uint64_t reference_funnel(uint64_t a, uint64_t b, uint64_t amount, bool left)
{
    uint64_t both = U32(a) | (uint64_t)U32(b) << 32;
    return U32(left ? both << amount >> 32 : both >> amount);
}

static uint64_t reference_dp4a(uint64_t a, uint64_t b, uint64_t c, bool sign)
{
    uint32_t d = U32(c);
    for (int k = 0; k < 32; k += 8)
        d += sign ? (uint32_t)((int8_t)(a >> k) * (int8_t)(b >> k))
                  : (uint32_t)((uint8_t)(a >> k) * (uint8_t)(b >> k));
    return d;
}

static uint64_t clamp(int64_t x, int64_t least, int64_t most)
{
    return (uint64_t)(x < least ? least : x > most ? most : x);
}

/* X(name, text, value of a, b and c). */
#define CALCULATIONS(X)                                                                            \
    X(add_u32, "add.u32 d32, a32, b32;", U32(a + b))                                               \
    X(add_s32, "add.s32 d32, a32, b32;", U32(a + b))                                               \
    X(add_sat, "add.sat.s32 d32, a32, b32;",                                                       \
      U32(clamp((int64_t)S32(a) + S32(b), INT32_MIN, INT32_MAX)))                                  \
    X(sub_sat, "sub.sat.s32 d32, a32, b32;",                                                       \
      U32(clamp((int64_t)S32(a) - S32(b), INT32_MIN, INT32_MAX)))                                  \
    X(add_s64, "add.s64 d64, a64, b64;", a + b)                                                    \
    X(add_s16, "add.s16 d16, a16, b16;", U16(a + b))                                               \
    X(sub_s32, "sub.s32 d32, a32, b32;", U32(a - b))                                               \
    X(sub_s64, "sub.s64 d64, a64, b64;", a - b)                                                    \
    X(mul_lo_s32, "mul.lo.s32 d32, a32, b32;", U32(a *b))                                          \
    X(mul_lo_s64, "mul.lo.s64 d64, a64, b64;", a *b)                                               \
    X(mul_lo_s16, "mul.lo.s16 d16, a16, b16;", U16(a *b))                                          \
    X(mul_hi_s32, "mul.hi.s32 d32, a32, b32;", U32((uint64_t)((int64_t)S32(a) * S32(b)) >> 32))    \
    X(mul_hi_u32, "mul.hi.u32 d32, a32, b32;", (uint64_t)U32(a) * U32(b) >> 32)                    \
    X(mul_hi_u64, "mul.hi.u64 d64, a64, b64;", reference_high(a, b))                               \
    X(mul_hi_s64, "mul.hi.s64 d64, a64, b64;", reference_high_signed(a, b))                        \
    X(mul_wide_s32, "mul.wide.s32 d64, a32, b32;", (uint64_t)((int64_t)S32(a) * S32(b)))           \
    X(mul_wide_u32, "mul.wide.u32 d64, a32, b32;", (uint64_t)U32(a) * U32(b))                      \
    X(mul_wide_s16, "mul.wide.s16 d32, a16, b16;", U32(S16(a) * S16(b)))                           \
    X(mul_wide_u16, "mul.wide.u16 d32, a16, b16;", U32(U16(a)) * U32(U16(b)))                      \
    X(mul24, "mul24.lo.u32 d32, a32, b32;", U32((a & 0xFFFFFF) * (b & 0xFFFFFF)))                  \
    X(mad_lo_s32, "mad.lo.s32 d32, a32, b32, c32;", U32(a *b + c))                                 \
    X(mad_lo_u64, "mad.lo.u64 d64, a64, b64, c64;", a *b + c)                                      \
    X(mad_hi_u32, "mad.hi.u32 d32, a32, b32, c32;", U32(((uint64_t)U32(a) * U32(b) >> 32) + c))    \
    X(mad_wide_u32, "mad.wide.u32 d64, a32, b32, c64;", (uint64_t)U32(a) * U32(b) + c)             \
    X(mad_wide_s32, "mad.wide.s32 d64, a32, b32, c64;", (uint64_t)((int64_t)S32(a) * S32(b)) + c)  \
    X(sad_u32, "sad.u32 d32, a32, b32, c32;",                                                      \
      U32(c + (U32(a) < U32(b) ? U32(b) - U32(a) : U32(a) - U32(b))))                              \
    X(min_s32, "min.s32 d32, a32, b32;", U32(S32(a) < S32(b) ? a : b))                             \
    X(max_s32, "max.s32 d32, a32, b32;", U32(S32(a) > S32(b) ? a : b))                             \
    X(min_u32, "min.u32 d32, a32, b32;", U32(a) < U32(b) ? U32(a) : U32(b))                        \
    X(max_u64, "max.u64 d64, a64, b64;", a > b ? a : b)                                            \
    X(min_s64, "min.s64 d64, a64, b64;", S64(a) < S64(b) ? a : b)                                  \
    X(max_s16, "max.s16 d16, a16, b16;", U16(S16(a) > S16(b) ? a : b))                             \
    X(abs_s32, "abs.s32 d32, a32;", S32(a) < 0 ? U32(0 - a) : U32(a))                              \
    X(neg_s64, "neg.s64 d64, a64;", 0 - a)                                                         \
    X(neg_s16, "neg.s16 d16, a16;", U16(0 - a))                                                    \
    X(dp4a_u, "dp4a.u32.u32 d32, a32, b32, c32;", reference_dp4a(a, b, c, false))                  \
    X(dp4a_s, "dp4a.s32.s32 d32, a32, b32, c32;", reference_dp4a(a, b, c, true))                   \
    X(and_b32, "and.b32 d32, a32, b32;", U32(a &b))                                                \
    X(or_b64, "or.b64 d64, a64, b64;", a | b)                                                      \
    X(xor_b16, "xor.b16 d16, a16, b16;", U16(a ^ b))                                               \
    X(not_b32, "not.b32 d32, a32;", U32(~a))                                                       \
    X(cnot_b32, "cnot.b32 d32, a32;", U32(a) == 0)                                                 \
    X(and_pred, "and.pred pd, pa, pc;", a &c & 1)                                                  \
    X(or_pred, "or.pred pd, pa, !pc;", (a | ~c) & 1)                                               \
    X(xor_pred, "xor.pred pd, pa, pc;", (a ^ c) & 1)                                               \
    X(not_pred, "not.pred pd, pa;", ~a & 1)                                                        \
    X(shl_b32, "shl.b32 d32, a32, b32;", reference_shift(a, b, 32, 0))                             \
    X(shl_b64, "shl.b64 d64, a64, b32;", reference_shift(a, b, 64, 0))                             \
    X(shl_b16, "shl.b16 d16, a16, b32;", reference_shift(a, b, 16, 0))                             \
    X(shr_u32, "shr.u32 d32, a32, b32;", reference_shift(a, b, 32, 1))                             \
    X(shr_s32, "shr.s32 d32, a32, b32;", reference_shift(a, b, 32, 2))                             \
    X(shr_u64, "shr.u64 d64, a64, b32;", reference_shift(a, b, 64, 1))                             \
    X(shr_s64, "shr.s64 d64, a64, b32;", reference_shift(a, b, 64, 2))                             \
    X(shr_s16, "shr.s16 d16, a16, b32;", reference_shift(a, b, 16, 2))                             \
    X(shf_l_wrap, "shf.l.wrap.b32 d32, a32, b32, c32;", reference_funnel(a, b, c & 31, true))      \
    X(shf_r_wrap, "shf.r.wrap.b32 d32, a32, b32, c32;", reference_funnel(a, b, c & 31, false))     \
    X(shf_l_clamp, "shf.l.clamp.b32 d32, a32, b32, c32;",                                          \
      reference_funnel(a, b, U32(c) > 32 ? 32 : U32(c), true))                                     \
    X(shf_r_clamp, "shf.r.clamp.b32 d32, a32, b32, c32;",                                          \
      reference_funnel(a, b, U32(c) > 32 ? 32 : U32(c), false))                                    \
    X(popc_b32, "popc.b32 d32, a32;", reference_count(a, 32))                                      \
    X(popc_b64, "popc.b64 d32, a64;", reference_count(a, 64))                                      \
    X(clz_b32, "clz.b32 d32, a32;", U32(a) ? 31 - reference_find(U32(a), 32) : 32)                 \
    X(clz_b64, "clz.b64 d32, a64;", a ? 63 - reference_find(a, 64) : 64)                           \
    X(brev_b32, "brev.b32 d32, a32;", reference_reverse(a, 32))                                    \
    X(brev_b64, "brev.b64 d64, a64;", reference_reverse(a, 64))                                    \
    X(prmt, "prmt.b32 d32, a32, b32, c32;", reference_permute(a, b, c))                            \
    X(lop3, "lop3.b32 d32, a32, b32, c32, 0xE2;", U32((a & b) | (~b & c)))                         \
    X(lop3_parity, "lop3.b32 d32, a32, b32, c32, e32;", U32(a ^ b ^ c))                            \
    X(bfi_b32, "bfi.b32 d32, a32, b32, c32, 7;", U32(reference_bfi(a, U32(b), c, 7, 32)))          \
    X(bfi_b64, "bfi.b64 d64, a64, b64, 5, c32;", reference_bfi(a, b, 5, c, 64))                    \
    X(bfe_u32, "bfe.u32 d32, a32, b32, c32;", reference_bfe(a, b, c, 32, false))                   \
    X(bfe_s32, "bfe.s32 d32, a32, b32, c32;", reference_bfe(a, b, c, 32, true))                    \
    X(bfe_u64, "bfe.u64 d64, a64, b32, c32;", reference_bfe(a, b, c, 64, false))                   \
    X(bfe_s64, "bfe.s64 d64, a64, b32, c32;", reference_bfe(a, b, c, 64, true))                    \
    X(bfind_u32, "bfind.u32 d32, a32;", reference_find(U32(a), 32))                                \
    X(bfind_s32, "bfind.s32 d32, a32;", reference_find(U32(S32(a) < 0 ? ~a : a), 32))              \
    X(bfind_shift, "bfind.shiftamt.u32 d32, a32;",                                                 \
      U32(a) ? 31 - reference_find(U32(a), 32) : UINT32_MAX)                                       \
    X(selp, "selp.b32 d32, a32, b32, pc;", c & 1 ? U32(a) : U32(b))                                \
    X(selp_not, "selp.b64 d64, a64, b64, !pc;", c & 1 ? b : a)                                     \
    X(slct, "slct.s32.s32 d32, a32, b32, c32;", S32(c) >= 0 ? U32(a) : U32(b))                     \
    X(unpack, "mov.b32 {d16, h16}, a32;", U16(a))                                                  \
    X(unpack_high, "mov.b32 {_, d16}, a32;", U16(a >> 16))                                         \
    X(pack, "mov.b64 d64, {a32, b32};", U32(a) | b << 32)                                          \
    X(pack4, "mov.b64 d64, {a16, b16, a16, b16};",                                                 \
      (uint64_t)(U16(a) | U32(U16(b)) << 16) * UINT64_C(0x100000001))                              \
    X(cvt_s64_s32, "cvt.s64.s32 d64, a32;", (uint64_t)(int64_t)S32(a))                             \
    X(cvt_u64_u32, "cvt.u64.u32 d64, a32;", U32(a))                                                \
    X(cvt_s32_s8, "cvt.s32.s8 d32, a32;", U32((int8_t)a))                                          \
    X(cvt_u16_u8, "cvt.u16.u8 d16, a16;", a & 255)                                                 \
    X(cvt_s16_s8, "cvt.s16.s8 d16, a16;", U16((int8_t)a))                                          \
    X(cvt_sat_u8, "cvt.sat.u8.s32 d32, a32;", clamp(S32(a), 0, 255))                               \
    X(cvt_sat_s16, "cvt.sat.s16.s64 d16, a64;", U16(clamp(S64(a), INT16_MIN, INT16_MAX)))          \
    X(setp_lt_s32, "setp.lt.s32 pd, a32, b32;", S32(a) < S32(b))                                   \
    X(setp_lt_u32, "setp.lt.u32 pd, a32, b32;", U32(a) < U32(b))                                   \
    X(setp_hi_u64, "setp.hi.u64 pd, a64, b64;", a > b)                                             \
    X(setp_ge_s64, "setp.ge.s64 pd, a64, b64;", S64(a) >= S64(b))                                  \
    X(setp_le_s16, "setp.le.s16 pd, a16, b16;", S16(a) <= S16(b))                                  \
    X(setp_eq_b16, "setp.eq.b16 pd, a16, b16;", U16(a) == U16(b))                                  \
    X(setp_and, "setp.lt.and.s32 pd, a32, b32, pc;", S32(a) < S32(b) && (c & 1))                   \
    X(setp_or, "setp.ne.or.s32 pd, a32, b32, !pc;", S32(a) != S32(b) || !(c & 1))                  \
    X(setp_xor, "setp.gt.xor.u32 pd, a32, b32, pc;", (U32(a) > U32(b)) ^ (c & 1))                  \
    X(setp_pair, "setp.lt.and.s32 pq|pd, a32, b32, pc;", S32(a) >= S32(b) && (c & 1))              \
    X(set_u32, "set.lt.u32.s32 d32, a32, b32;", S32(a) < S32(b) ? UINT32_MAX : 0)

#define FUNCTION(name, text, value)                                                                \
    static uint64_t expected_##name(uint64_t a, uint64_t b, uint64_t c)                            \
    {                                                                                              \
        (void)a, (void)b, (void)c;                                                                 \
        return (uint64_t)(value);                                                                  \
    }
CALCULATIONS(FUNCTION)

/* Operands that are no zeros. */
#define DIVISIONS(X)                                                                               \
    X(div_s32, "div.s32 d32, a32, b32;", S32(b) == -1 ? U32(0 - a) : U32(S32(a) / S32(b)))         \
    X(rem_s32, "rem.s32 d32, a32, b32;", S32(b) == -1 ? 0 : U32(S32(a) % S32(b)))                  \
    X(div_u32, "div.u32 d32, a32, b32;", U32(a) / U32(b))                                          \
    X(rem_u32, "rem.u32 d32, a32, b32;", U32(a) % U32(b))                                          \
    X(div_s64, "div.s64 d64, a64, b64;", S64(b) == -1 ? 0 - a : (uint64_t)(S64(a) / S64(b)))       \
    X(rem_s64, "rem.s64 d64, a64, b64;", S64(b) == -1 ? 0 : (uint64_t)(S64(a) % S64(b)))           \
    X(div_u64, "div.u64 d64, a64, b64;", a / b)                                                    \
    X(rem_u64, "rem.u64 d64, a64, b64;", a % b)                                                    \
    X(div_s16, "div.s16 d16, a16, b16;", U16(S16(a) / S16(b)))
DIVISIONS(FUNCTION)

#define ROW(name, text, value) {text, expected_##name},

int main(void)
{
    static const struct calculation calculations[] = {CALCULATIONS(ROW)};
    static const struct calculation divisions[] = {DIVISIONS(ROW)};
    static const uint64_t values[] = {0,
                                      1,
                                      2,
                                      7,
                                      31,
                                      32,
                                      33,
                                      63,
                                      64,
                                      0x7FFF,
                                      0x8000,
                                      0xFFFF,
                                      0x7FFFFFFF,
                                      0x80000000,
                                      0xFFFFFFFF,
                                      0x123456789ABCDEF0,
                                      0x7FFFFFFFFFFFFFFF,
                                      0x8000000000000000,
                                      0xFFFFFFFFFFFFFFFF,
                                      0xFEDCBA9876543219,
                                      0x0000800100407253};
    static const uint64_t divisors[] = {
        1, 2, 7, 10, 0x7FFF, 0xFFFFFFFFFFFFFFFF, 0x1234567800000001};
    int count = (int)(sizeof values / sizeof *values);
    const struct operands all = {values, count}, several[] = {all, all, all};
    const struct operands divided[] = {all, {divisors, 7}, all};
    for (size_t k = 0; k < sizeof calculations / sizeof *calculations; k++)
        calculate(&calculations[k], several);
    for (size_t k = 0; k < sizeof divisions / sizeof *divisions; k++)
        calculate(&divisions[k], divided);
    memory_clear();
    return test_finish("ptx_integer_test");
}
