/* SPDX-License-Identifier: Apache-2.0 */
/* Private to k_attention_tiles.c and k_attention_tiles_backward.c: attention of bf16 on tiles of AMX.
 *
 * Scores lie as they are spoken of, [query][key], with keys in vector lanes: what a query sees is one
 * range of lanes, maxima and shifts are one number per row, and rows of bf16 are factors as they are
 * written. Queries, keys and values are packed into strips of 32 (tiles.h), padded with zeros in the
 * width and past the end. */
#ifndef ZI_DEVICE_CPU_ATTENTION_TILES_H
#define ZI_DEVICE_CPU_ATTENTION_TILES_H

#include "device/cpu/attention.h"
#include "device/cpu/tiles.h"

#ifdef ZI_TILES

enum {
    /* Queries of a square of scores, a strip. */
    STRIP = TILES_BLOCK,
    /* Keys of a square of scores: 16 KiB of them. */
    SQUARE_KEYS = 128,
    SQUARE = STRIP * SQUARE_KEYS,
    SQUARE_STRIPS = SQUARE_KEYS / STRIP
};

_Static_assert((int)STRIP == (int)DEVICE_ATTENTION_QUERIES, "scratch has whole strips of queries");

/* The most keys, whole squares of them, whose rows of `width` numbers, padded to whole steps, are not
 * more than `numbers`. */
static inline int64_t keys_within(int64_t numbers, int64_t width)
{
    return numbers / (tiles_steps(width) * TILES_BLOCK) / SQUARE_KEYS * SQUARE_KEYS;
}

/* Rows of `base` of one head from a token of a sequence on, for tiles_pack by rows. */
static inline struct tiles_source rows_of(const struct device_attention *d, struct device_ptr base,
                                          int64_t ld,
                                          const int64_t at[3] /* sequence, token, head */)
{
    const uint16_t *from = cpu_half(base);
    return (struct tiles_source){.from = from + (at[0] * d->tokens + at[1]) * ld + at[2] * d->width,
                                 .ld = ld,
                                 .count = d->tokens - at[1],
                                 .depth = d->width};
}

/* The same as columns of the width, for tiles_pack by depth. */
static inline struct tiles_source columns_of(struct tiles_source rows)
{
    return (struct tiles_source){rows.from, rows.ld, rows.depth, rows.count};
}

/* 2^x for x that is not above 128: relative error below 1.5e-7, 2^0 is 1; 0 for -infinity and below
 * -150, NaN stays NaN. The power of two is that of the integer below x, which scalef finds. */
VEC_INLINE vec tiles_exp2(vec x)
{
    const int below = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
    vec f = (vec)_mm512_reduce_ps((__m512)x, below);
    vec p = vec_set(1.86713017e-3f);
    p = vec_fma(p, f, vec_set(9.01702978e-3f));
    p = vec_fma(p, f, vec_set(5.57999127e-2f));
    p = vec_fma(p, f, vec_set(2.40164444e-1f));
    p = vec_fma(p, f, vec_set(6.93151295e-1f));
    p = vec_fma(p, f, vec_set(1.0f));
    return (vec)_mm512_scalef_ps((__m512)p, (__m512)x);
}

/* Lanes of a vector of keys, of which the query sees those from `first` on and before `end`. */
VEC_INLINE __mmask16 lanes_seen(int64_t first, int64_t end)
{
    int64_t from = first < 0 ? 0 : first > VEC_LANES ? VEC_LANES : first;
    int64_t to = end < from ? from : end > VEC_LANES ? VEC_LANES : end;
    return (__mmask16)((1u << to) - (1u << from));
}

/* Whether each of the queries query .. query + STRIP - 1 sees all of the keys key .. key + keys - 1. */
static inline bool all_see_all(const struct device_attention *d, int64_t sequence, int64_t query,
                               const int64_t range[2] /* key, keys */)
{
    return query + 1 >= range[0] + range[1] &&
           first_key(d, sequence, query + STRIP - 1) <= range[0];
}

/* Rounds two vectors to bf16, nearest even; the first has the lower half. What is below 2^-126
 * becomes zero. */
VEC_INLINE __m512i halves_of(vec low, vec high)
{
    return (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
}

#endif
#endif
