/* SPDX-License-Identifier: Apache-2.0 */
/* Causal attention of bf16, backward, on tiles of AMX: one task of k_attention_backward.c, with scores as
 * in k_attention_tiles.c. For a strip of 32 queries and a square of 128 keys S = Q K^T and dP = dO V^T;
 * P and dS, rounded to bf16, are factors of
 *     dV^T = dO^T P,     dK^T = Q^T dS,     dQ = dS K,
 * the first two with keys in lanes, so that P and dS are packed by pairs of rows as they come, and only
 * dO and Q are transposed, once for all keys of a block. Those two products take PASS queries at a
 * time: a sum that is loaded and stored has two steps to be added, not one.
 *
 * A block is as many keys as have room, 512 of width 64. The transposed sums of a block stay in the second
 * cache, and are transposed back when they are stored. Buffers, 0.7 MiB, are on the stack. */
#include "device/cpu/attention_backward.h"
#include "device/cpu/attention_tiles.h"

#ifdef ZI_TILES

enum {
    /* Numbers of the keys of a block. */
    BLOCK_NUMBERS = 32768,
    /* Queries that pass at once. */
    PASS = 64,
    PASS_NUMBERS = PASS * WIDTH_MAX,
    PASS_STEPS = PASS / TILES_BLOCK
};

struct backward_space {
    /* Strips of keys, of the width in depth. */
    uint16_t k[BLOCK_NUMBERS], v[BLOCK_NUMBERS];
    /* Strips of the width, of all keys of the block in depth. */
    uint16_t k_across[BLOCK_NUMBERS];
    /* Strips of queries, of the width in depth. */
    uint16_t q[PASS_NUMBERS], d_o[PASS_NUMBERS];
    /* Strips of the width, of PASS queries in depth. */
    uint16_t q_across[PASS_NUMBERS], do_across[PASS_NUMBERS];
    /* Squares [width][key] of 32 x 32, those of 32 columns of the width behind each other. */
    float dk[BLOCK_NUMBERS], dv[BLOCK_NUMBERS];
    /* [query][key]. */
    float s[SQUARE], dp[SQUARE];
    /* Strips of keys, of PASS queries in depth. */
    uint16_t p[PASS * SQUARE_KEYS], ds[PASS * SQUARE_KEYS];
    /* Strips of queries, of keys in depth. */
    uint16_t ds_rows[PASS * SQUARE_KEYS];
} __attribute__((aligned(64)));

/* Where work is: some queries, a multiple of 32, of one query head, and keys of a square. */
struct backward_place {
    int64_t member, query, queries, key, keys;
    /* The first key of the block, and the keys that it has room for. */
    int64_t begin, block;
};

/* P and dS of a query and 32 keys. */
struct row_terms {
    vec p[2], ds[2];
};

/* What is done to a square; constants at each call. */
struct terms_kind {
    /* Queries do not see all keys. */
    bool masked;
    bool capped;
};

/* The terms of row `row` of a square, keys `lane` on; seen: the first key and the end of what the query
 * sees, of the square. */
VEC_INLINE struct row_terms terms_compute(struct terms_kind kind,
                                          const struct backward_space *space,
                                          const struct backward_task *task, int64_t at,
                                          const float shift_delta[2], const int64_t seen[2])
{
    struct row_terms terms;
    const float cap = task->desc->cap;
    for (int i = 0; i < 2; i++, at += VEC_LANES) {
        vec s = vec_load(space->s + at);
        vec dp = vec_load(space->dp + at) - vec_set(shift_delta[1]);
        if (kind.capped) {
            vec t = vec_tanh(s * (scale_of(task->desc) / cap));
            s = t * cap;
            dp *= vec_fma(-t, t, vec_set(1.0f));
        }
        vec p = tiles_exp2(vec_fma(s, vec_set(task->factor), -vec_set(shift_delta[0])));
        vec ds = p * dp;
        if (kind.masked) {
            int64_t lane = at % SQUARE_KEYS;
            __mmask16 lanes = lanes_seen(seen[0] - lane, seen[1] - lane);
            p = (vec)_mm512_maskz_mov_ps(lanes, (__m512)p);
            ds = (vec)_mm512_maskz_mov_ps(lanes, (__m512)ds);
        }
        terms.p[i] = p;
        terms.ds[i] = ds;
    }
    return terms;
}

/* Rounds the terms of two queries and 32 keys to bf16. p, ds: a pair of queries next to each other, of
 * each key; rows: as they are. */
VEC_INLINE void terms_store(const struct row_terms terms[2], uint16_t *p, uint16_t *ds,
                            uint16_t *rows)
{
    /* halves of the two rows in turn */
    static const uint16_t order[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                       21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                       11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512i turn = _mm512_loadu_si512(order);
    __m512i both[2];
    for (int i = 0; i < 2; i++) {
        __m512i of_p = halves_of(terms[0].p[i], terms[1].p[i]);
        both[i] = halves_of(terms[0].ds[i], terms[1].ds[i]);
        _mm512_storeu_si512(p + i * TILES_TILE, _mm512_permutexvar_epi16(turn, of_p));
        _mm512_storeu_si512(ds + i * TILES_TILE, _mm512_permutexvar_epi16(turn, both[i]));
    }
    _mm512_storeu_si512(rows, _mm512_shuffle_i64x2(both[0], both[1], 0x44));
    _mm512_storeu_si512(rows + STRIP, _mm512_shuffle_i64x2(both[0], both[1], 0xee));
}

/* P and dS of strip `strip` of the queries, of which s and dp are there. */
VEC_INLINE void square_terms(struct terms_kind kind, struct backward_space *space,
                             const struct backward_task *task, const struct backward_place *at,
                             int64_t strip)
{
    const int64_t query = at->query + strip * STRIP, first = at->member * task->padded + query;
    const float *shift = task->shift + first, *delta = task->delta + first;
    for (int64_t row = 0; row < STRIP; row += 2) {
        int64_t seen[2][2] = {{0}};
        for (int i = 0; i < 2 && kind.masked; i++) {
            seen[i][0] = first_key(task->desc, task->sequence, query + row + i) - at->key;
            seen[i][1] = query + row + i + 1 - at->key;
        }
        for (int64_t lane = 0; lane < at->keys; lane += STRIP) {
            struct row_terms terms[2];
            int64_t place = lane / STRIP * PASS_STEPS * TILES_STEP + strip * TILES_STEP + row * 16;
            for (int i = 0; i < 2; i++)
                terms[i] = terms_compute(kind, space, task, (row + i) * SQUARE_KEYS + lane,
                                         (float[]){shift[row + i], delta[row + i]}, seen[i]);
            terms_store(terms, space->p + place, space->ds + place,
                        space->ds_rows + strip * SQUARE + lane * STRIP + row * STRIP);
        }
    }
}

static void square_terms_plain(struct backward_space *space, const struct backward_task *task,
                               const struct backward_place *at, int64_t strip)
{
    square_terms((struct terms_kind){false, false}, space, task, at, strip);
}

static void square_terms_masked(struct backward_space *space, const struct backward_task *task,
                                const struct backward_place *at, int64_t strip)
{
    square_terms((struct terms_kind){true, false}, space, task, at, strip);
}

static void square_terms_capped(struct backward_space *space, const struct backward_task *task,
                                const struct backward_place *at, int64_t strip)
{
    square_terms((struct terms_kind){true, true}, space, task, at, strip);
}

/* S and dP, then P and dS, of strip `strip` of the queries. */
static void square_backward(struct backward_space *space, const struct backward_task *task,
                            const struct backward_place *at, int64_t strip)
{
    const struct device_attention *d = task->desc;
    const int64_t steps = tiles_steps(d->width), query = at->query + strip * STRIP;
    const uint16_t *q = space->q + strip * steps * TILES_STEP;
    const uint16_t *d_o = space->d_o + strip * steps * TILES_STEP;
    for (int64_t i = 0; i < at->keys; i += STRIP) {
        const int64_t keys = (at->key - at->begin + i) * steps * TILES_BLOCK;
        const struct tiles_block s =
            tiles_block_of(space->s + i, SQUARE_KEYS, q, space->k + keys, steps);
        const struct tiles_block dp =
            tiles_block_of(space->dp + i, SQUARE_KEYS, d_o, space->v + keys, steps);
        tiles_multiply(&s, 2, 2, false);
        tiles_multiply(&dp, 2, 2, false);
    }
    if (d->cap > 0)
        square_terms_capped(space, task, at, strip);
    else if (all_see_all(d, task->sequence, query, (int64_t[]){at->key, at->keys}))
        square_terms_plain(space, task, at, strip);
    else
        square_terms_masked(space, task, at, strip);
}

/* Adds to dv and dk what the queries give them. */
static void square_sums(struct backward_space *space, const struct backward_task *task,
                        const struct backward_place *at)
{
    const int64_t steps = at->queries / TILES_BLOCK;
    for (int64_t c = 0; c < task->wide; c += TILES_BLOCK) {
        const uint16_t *d_o = space->do_across + c * PASS, *q = space->q_across + c * PASS;
        for (int64_t i = 0; i < at->keys; i += STRIP) {
            const int64_t to = c * at->block + (at->key - at->begin + i) * TILES_BLOCK;
            const struct tiles_block dv =
                tiles_block_of(space->dv + to, TILES_BLOCK, d_o, space->p + i * PASS, steps);
            const struct tiles_block dk =
                tiles_block_of(space->dk + to, TILES_BLOCK, q, space->ds + i * PASS, steps);
            tiles_multiply(&dv, 2, 2, true);
            tiles_multiply(&dk, 2, 2, true);
        }
    }
}

/* Adds to dQ what the keys give it. */
static void square_queries(const struct backward_space *space, const struct backward_task *task,
                           const struct backward_place *at)
{
    const int64_t wide = task->wide, steps = at->keys / TILES_BLOCK;
    float *dq = task->dq + (at->member * task->padded + at->query) * wide;
    for (int64_t strip = 0; strip < at->queries / STRIP; strip++, dq += STRIP * wide) {
        for (int64_t c = 0; c < wide; c += TILES_BLOCK) {
            const uint16_t *k =
                space->k_across + c * at->block + (at->key - at->begin) * TILES_BLOCK;
            const struct tiles_block t =
                tiles_block_of(dq + c, wide, space->ds_rows + strip * SQUARE, k, steps);
            if (wide - c >= TILES_BLOCK)
                tiles_multiply(&t, 2, 2, true);
            else
                tiles_multiply(&t, 2, 1, true);
        }
    }
}

/* Packs the queries of a place and their dO. */
static void queries_pack(struct backward_space *space, const struct backward_task *task,
                         const struct backward_place *at)
{
    const struct device_attention *d = task->desc;
    const int64_t from[3] = {task->sequence, at->query, query_head(task, at->member)};
    const struct tiles_source q = rows_of(d, d->q, ld_of_qk(d), from), q_across = columns_of(q);
    const struct tiles_source d_o = rows_of(d, d->d_o, d->ld_o, from), do_across = columns_of(d_o);
    for (int64_t i = 0; i < at->queries; i += STRIP) {
        const int64_t strip[3] = {i, 0, d->width}, to = i * tiles_steps(d->width) * TILES_BLOCK;
        tiles_pack(space->q + to, &q, false, false, strip);
        tiles_pack(space->d_o + to, &d_o, false, false, strip);
    }
    for (int64_t c = 0; c < d->width; c += TILES_BLOCK) {
        const int64_t strip[3] = {c, 0, at->queries};
        tiles_pack(space->q_across + c * PASS, &q_across, true, false, strip);
        tiles_pack(space->do_across + c * PASS, &do_across, true, false, strip);
    }
}

/* The keys of a block, the first being at->begin, and the queries of a place. */
static void queries_pass(struct backward_space *space, const struct backward_task *task,
                         struct backward_place *at)
{
    const int64_t end = at->query + at->queries, last = at->begin + at->block;
    const int64_t seen =
        first_key(task->desc, task->sequence, at->query) / SQUARE_KEYS * SQUARE_KEYS;
    queries_pack(space, task, at);
    at->key = at->begin > seen ? at->begin : seen;
    for (; at->key < last && at->key < end && at->key < task->desc->tokens;
         at->key += SQUARE_KEYS) {
        at->keys = end - at->key < SQUARE_KEYS ? end - at->key : SQUARE_KEYS;
        for (int64_t strip = 0; strip < at->queries / STRIP; strip++)
            square_backward(space, task, at, strip);
        square_sums(space, task, at);
        square_queries(space, task, at);
    }
}

/* Packs `keys` keys and values of a block that begins with `begin`. */
static void block_pack(struct backward_space *space, const struct backward_task *task,
                       const struct backward_place *at, int64_t keys)
{
    const struct device_attention *d = task->desc;
    const int64_t from[3] = {task->sequence, at->begin, task->key_head};
    const struct tiles_source k = rows_of(d, d->k, ld_of_qk(d), from), k_across = columns_of(k);
    const struct tiles_source v = rows_of(d, d->v, d->ld, from);
    for (int64_t key = 0; key < keys; key += STRIP) {
        const int64_t strip[3] = {key, 0, d->width}, to = key * tiles_steps(d->width) * TILES_BLOCK;
        tiles_pack(space->k + to, &k, false, true, strip);
        tiles_pack(space->v + to, &v, false, true, strip);
    }
    for (int64_t c = 0; c < d->width; c += TILES_BLOCK)
        tiles_pack(space->k_across + c * at->block, &k_across, true, true, (int64_t[]){c, 0, keys});
}

/* Stores sums of `keys` keys, squares as dk has them, times `scale` as rows of a gradient. */
static void columns_store(const struct pack_source *to, const float *from, int64_t block,
                          const int64_t keys, float scale)
{
    for (int64_t key = 0; key < keys && key < to->rows; key += VEC_LANES) {
        for (int64_t c = 0; c < to->width; c += VEC_LANES) {
            vec square[VEC_LANES];
            const float *of = from + c / STRIP * STRIP * block + key / STRIP * STRIP * STRIP +
                              c % STRIP * STRIP + key % STRIP;
            for (int i = 0; i < VEC_LANES; i++)
                square[i] = vec_load(of + i * STRIP) * scale;
            vec_transpose(square);
            for (int i = 0; i < VEC_LANES && key + i < to->rows; i++)
                vec_store_as_part(ZI_BF16, (void *)(uintptr_t)to->base,
                                  to->first + (key + i) * to->ld + c, square[i], to->width - c);
        }
    }
}

void KERNEL(cpu_attention_tiles_backward)(const struct backward_task *task)
{
    struct backward_space space;
    const struct device_attention *d = task->desc;
    const int64_t most = keys_within(BLOCK_NUMBERS, d->width);
    const int64_t all = round_up(d->tokens, SQUARE_KEYS);
    struct backward_place at = {.block = all < most ? all : most};
    const size_t sums = (size_t)(tiles_steps(d->width) * TILES_BLOCK * at.block) * sizeof(float);
    task_begin(ZI_BF16, task);
    tiles_begin();
    for (; at.begin < d->tokens; at.begin += at.block) {
        int64_t left = round_up(d->tokens - at.begin, STRIP),
                keys = left < at.block ? left : at.block;
        int64_t end = end_of_queries(task, at.begin + keys - 1);
        block_pack(&space, task, &at, keys);
        memset(space.dk, 0, sums);
        memset(space.dv, 0, sums);
        for (at.member = 0; at.member < task->group; at.member++) {
            for (at.query = at.begin; at.query < end; at.query += PASS) {
                at.queries = task->padded - at.query < PASS ? task->padded - at.query : PASS;
                queries_pass(&space, task, &at);
            }
        }
        struct pack_source dk =
            rows_from(d, d->dk, d->ld, (int64_t[]){task->sequence, at.begin, task->key_head});
        struct pack_source dv =
            rows_from(d, d->dv, d->ld, (int64_t[]){task->sequence, at.begin, task->key_head});
        columns_store(&dk, space.dk, at.block, keys, scale_of(d));
        columns_store(&dv, space.dv, at.block, keys, 1.0f);
    }
    tiles_end();
    task_end(ZI_BF16, task);
}

#else
typedef int attention_backward_has_no_tiles;
#endif
