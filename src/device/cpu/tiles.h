/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels on the tiles of AMX: packed strips and their products. Of use only where
 * ZI_TILES is defined, that is in the instruction set amx.
 *
 * A tile register holds 16 rows of 64 bytes. An instruction adds to 16 x 16 fp32 numbers the product
 * of 16 rows of 32 bf16 numbers, which are neighbours in depth, and of 16 rows of 16 pairs: row p has
 * depths 2p and 2p + 1 of each column. A block is 2 x 2 such squares of C, so that each tile that is
 * loaded is used twice: 32 x 32 elements from a strip of 32 rows of A and one of 32 columns of B.
 *
 * Packed strips go by steps of 32 in depth: a step is two tiles behind each other, of the first 16
 * rows (columns) and of the other 16, 2 KiB in all. Packing pads with zeros to whole steps and whole
 * strips, so products have no other sizes.
 *
 * An element of C is a sum that starts with what C holds, or 0, and takes the pairs by depth, however
 * the depth is cut into calls: storing a sum and loading it again changes no bit. Numbers below
 * 2^-126 count as zero, in factors and sums. */
#ifndef ZI_DEVICE_CPU_TILES_H
#define ZI_DEVICE_CPU_TILES_H

#if defined(__AMX_TILE__) && defined(__AMX_BF16__)
#define ZI_TILES 1

#include "device/cpu/kernel.h"
#include "device/cpu/vector.h"

enum {
    /* Rows and columns of a tile of C, and rows of any tile. */
    TILES_SIDE = 16,
    /* Rows and columns of a block, and the depth of a step. */
    TILES_BLOCK = 32,
    /* bf16 numbers of a tile of a factor, and of a step of a strip. */
    TILES_TILE = 512,
    TILES_STEP = 2 * TILES_TILE,
    /* Lines that a step fetches ahead. */
    TILES_LINES = 3
};

/* Steps of a depth, the last of which may be padded; strips of rows or columns likewise. */
static inline int64_t tiles_steps(int64_t count)
{
    return (count + TILES_BLOCK - 1) / TILES_BLOCK;
}

/* Sets up the tiles of the calling thread, for all functions below; a thread does so once per
 * operation, since libraries do the same with shapes of their own. */
VEC_INLINE void tiles_begin(void)
{
    static const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shapes = {.palette = 1,
                .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&shapes);
}

/* Gives them back, after which a switch of threads saves no tiles. */
VEC_INLINE void tiles_end(void)
{
    _tile_release();
}

/* What is packed, and into what. */
struct tiles_source {
    /* [count, depth], or, with `by_depth`, [depth, count], rows ld elements apart. */
    const uint16_t *from;
    int64_t ld, count, depth;
};

/* A vector with n of 32 numbers, or fewer than none for 0; the others are 0. */
VEC_INLINE __m512i tiles_load_part(const uint16_t *from, int64_t n)
{
    if (n >= TILES_BLOCK) return _mm512_loadu_si512(from);
    return n > 0 ? _mm512_maskz_loadu_epi16((__mmask32)((1u << n) - 1), from)
                 : _mm512_setzero_si512();
}

/* Numbers of two rows in turn: columns 0 .. 15 in the first result, 16 .. 31 in the second. */
VEC_INLINE void tiles_interleave(__m512i even, __m512i odd, __m512i pairs[2])
{
    static const uint16_t order[2][32] = {
        {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
         8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47},
        {16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55,
         24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63}};
    for (int i = 0; i < 2; i++)
        pairs[i] = _mm512_permutex2var_epi16(even, _mm512_loadu_si512(order[i]), odd);
}

/* Stores 16 rows of a tile, or with `turned` its transpose, of words of 32 bits. */
VEC_INLINE void tiles_store(uint16_t *to, vec rows[TILES_SIDE], bool turned)
{
    if (turned) vec_transpose(rows);
#pragma GCC unroll 16
    for (int i = 0; i < TILES_SIDE; i++)
        vec_store((float *)(void *)to + i * TILES_SIDE, rows[i]);
}

/* One step of a strip: numbers (first, depth) on, of which `count` x `deep` exist. */
VEC_INLINE void tiles_pack_step(uint16_t *to, const struct tiles_source *s, bool by_depth,
                                bool turned, const int64_t at[4] /* first, depth, count, deep */)
{
    vec rows[2][TILES_SIDE];
    const uint16_t *from = s->from + (by_depth ? at[1] * s->ld + at[0] : at[0] * s->ld + at[1]);
    if (by_depth) {
#pragma GCC unroll 16
        for (int p = 0; p < TILES_SIDE; p++) {
            const uint16_t *even = from + 2 * p * s->ld;
            __m512i pairs[2];
            tiles_interleave(tiles_load_part(even, 2 * p < at[3] ? at[2] : 0),
                             tiles_load_part(even + s->ld, 2 * p + 1 < at[3] ? at[2] : 0), pairs);
            rows[0][p] = (vec)pairs[0];
            rows[1][p] = (vec)pairs[1];
        }
    } else {
#pragma GCC unroll 16
        for (int r = 0; r < TILES_SIDE; r++) {
            rows[0][r] = (vec)tiles_load_part(from + r * s->ld, r < at[2] ? at[3] : 0);
            rows[1][r] = (vec)tiles_load_part(from + (r + TILES_SIDE) * s->ld,
                                              r + TILES_SIDE < at[2] ? at[3] : 0);
        }
    }
    tiles_store(to, rows[0], turned);
    tiles_store(to + TILES_TILE, rows[1], turned);
}

/* Packs `strips` strips, the first of which begins with row (or column) `first`, of depths depth ..
 * depth + deep - 1 of the source: those of the numbers that exist, and zeros for the others, to whole
 * steps. `pairs`: for B, otherwise for A. Constants: by_depth, pairs. Writes TILES_STEP
 * tiles_steps(deep) numbers for each strip, reading along the rows of the source. */
VEC_INLINE void tiles_pack_strips(uint16_t *to, const struct tiles_source *s, bool by_depth,
                                  bool pairs, const int64_t at[4] /* first, depth, deep, strips */)
{
    int64_t strips = at[3], steps = tiles_steps(at[2]);
    int64_t last = at[1] + at[2] < s->depth ? at[1] + at[2] : s->depth;
    for (int64_t i = 0; i < strips * steps; i++) {
        int64_t strip = by_depth ? i % strips : i / steps, step = by_depth ? i / strips : i % steps;
        int64_t first = at[0] + strip * TILES_BLOCK, depth = at[1] + step * TILES_BLOCK;
        int64_t count = s->count - first, deep = last - depth;
        uint16_t *place = to + (strip * steps + step) * TILES_STEP;
        if (count >= TILES_BLOCK && deep >= TILES_BLOCK)
            tiles_pack_step(place, s, by_depth, by_depth != pairs,
                            (int64_t[]){first, depth, TILES_BLOCK, TILES_BLOCK});
        else
            tiles_pack_step(place, s, by_depth, by_depth != pairs,
                            (int64_t[]){first, depth, count, deep});
    }
}

/* The same with one strip. */
VEC_INLINE void tiles_pack(uint16_t *to, const struct tiles_source *s, bool by_depth, bool pairs,
                           const int64_t at[3] /* first, depth, deep */)
{
    tiles_pack_strips(to, s, by_depth, pairs, (int64_t[]){at[0], at[1], at[2], 1});
}

/* Lines of memory that will be needed soon: each step of a block fetches TILES_LINES of them to the
 * second-level cache, `line` bytes apart; those of the next step are `step` bytes on, of the next
 * block `block`. */
struct tiles_ahead {
    const char *from;
    int64_t line, step, block;
};

/* One block: c [32,32] fp32, rows c_row elements apart, (+)= a b over `steps` steps. */
struct tiles_block {
    float *c;
    int64_t c_row;
    /* a: 32 rows, a_row elements apart; the next step a_step elements on, the second 16 rows
     * a_second. Packed strips have 32, TILES_STEP and TILES_TILE; rows as they are stored ld, 32 and
     * 16 ld. b is packed. */
    const uint16_t *a, *b;
    int64_t a_row, a_step, a_second;
    int64_t steps;
    /* Of use where the product is streamed. */
    struct tiles_ahead ahead;
};

/* A block of packed strips. */
VEC_INLINE struct tiles_block tiles_block_of(float *c, int64_t c_row, const uint16_t *a,
                                             const uint16_t *b, int64_t steps)
{
    return (struct tiles_block){c,     c_row,          a, b, TILES_BLOCK, TILES_STEP, TILES_TILE,
                                steps, {NULL, 0, 0, 0}};
}

/* A tile of B into one of the tile registers; `streamed`: it will not be used again soon. */
#define TILES_LOAD_B(number, from)                                                                 \
    do {                                                                                           \
        if (streamed)                                                                              \
            _tile_stream_loadd(number, from, 64);                                                  \
        else                                                                                       \
            _tile_loadd(number, from, 64);                                                         \
    } while (0)

/* Four rows of a block to the first-level cache. */
VEC_INLINE void tiles_fetch(const float *c, int64_t c_row)
{
    for (int i = 0; i < 4; i++, c += c_row) {
        _mm_prefetch((const void *)c, _MM_HINT_T0);
        _mm_prefetch((const void *)(c + TILES_SIDE), _MM_HINT_T0);
    }
}

/* What is fetched in one step. */
VEC_INLINE void tiles_fetch_ahead(const struct tiles_ahead *ahead, int64_t step)
{
    const char *line = ahead->from + step * ahead->step;
    for (int i = 0; i < TILES_LINES; i++)
        _mm_prefetch(line + i * ahead->line, _MM_HINT_T1);
}

/* C = A B, or with `add` C += A B, of the squares of C of which there are `high` x `wide`, each 1 or
 * 2. `streamed`: B goes past the first-level cache, where A stays, and meanwhile what `ahead` says is
 * fetched, and with `add` the block of C that comes next, `next`. Constants: all but t and next. Tiles
 * 0 to 3 are C, 4 and 5 A, 6 and 7 B. */
VEC_INLINE void tiles_multiply_as(const struct tiles_block *t, const int high, const int wide,
                                  const bool add, const bool streamed, const float *next)
{
    float *low = t->c + TILES_SIDE * t->c_row;
    const int64_t c_bytes = t->c_row * (int64_t)sizeof(float), a_bytes = t->a_row * 2;
    const uint16_t *a = t->a, *b = t->b;
    __asm__ volatile("" ::: "memory"); /* loads of tiles see all that was stored before */
    if (add) {
        _tile_loadd(0, t->c, c_bytes);
        if (wide > 1) _tile_loadd(1, t->c + TILES_SIDE, c_bytes);
        if (high > 1) _tile_loadd(2, low, c_bytes);
        if (high > 1 && wide > 1) _tile_loadd(3, low + TILES_SIDE, c_bytes);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t step = 0; step < t->steps; step++, a += t->a_step, b += TILES_STEP) {
        if (streamed && add && step < TILES_BLOCK / 4)
            tiles_fetch(next + 4 * step * t->c_row, t->c_row);
        if (streamed) tiles_fetch_ahead(&t->ahead, step);
        TILES_LOAD_B(6, b);
        _tile_loadd(4, a, a_bytes);
        _tile_dpbf16ps(0, 4, 6);
        if (high > 1) {
            _tile_loadd(5, a + t->a_second, a_bytes);
            _tile_dpbf16ps(2, 5, 6);
        }
        if (wide > 1) {
            TILES_LOAD_B(7, b + TILES_TILE);
            _tile_dpbf16ps(1, 4, 7);
            if (high > 1) _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, t->c, c_bytes);
    if (wide > 1) _tile_stored(1, t->c + TILES_SIDE, c_bytes);
    if (high > 1) _tile_stored(2, low, c_bytes);
    if (high > 1 && wide > 1) _tile_stored(3, low + TILES_SIDE, c_bytes);
}

#undef TILES_LOAD_B

/* Where A and B are both in the first-level cache. */
VEC_INLINE void tiles_multiply(const struct tiles_block *t, const int high, const int wide,
                               const bool add)
{
    tiles_multiply_as(t, high, wide, add, false, NULL);
}

#endif
#endif
