/* SPDX-License-Identifier: Apache-2.0 */
/* Causal attention of bf16, forward, on tiles of AMX: blocks, online softmax and what is kept as in
 * k_attention.c. For a strip of 32 queries and a square of 128 keys
 *     S = Q K^T,     P = 2^(S f - largest f),     O = O 2^((before - largest) f) + P V,
 * where P is rounded to bf16 and its sum is not. What a query does not see is -infinity in S.
 *
 * A task is some strips of the query heads that share a key head. It packs keys and values once, as
 * many as stay in the second cache (a chunk), and goes with each strip through all of them. Squares
 * begin at multiples of 128 keys whatever the tasks are, so that tasks can be cut by the number of
 * threads and the result be the same. A task's buffers, 0.7 MiB, are on the stack. */
#include "device/cpu/attention_tiles.h"

#ifdef ZI_TILES

#define LN_2   0.693147181f
#define LOWEST (-1e30f) /* below scores */

enum {
    /* Numbers of the keys of a chunk, and of its values: 1024 keys of width 64. */
    CHUNK_NUMBERS = 65536,
    /* Of the sums of a task: 1024 queries of width 64. */
    OUT_NUMBERS = 65536,
    STRIPS_MOST = 32
};

struct forward_space {
    /* Strips of keys, of the width in depth; strips of the width, of all keys of the chunk in depth. */
    uint16_t k[CHUNK_NUMBERS], v[CHUNK_NUMBERS];
    uint16_t q[STRIP * WIDTH_MAX];
    /* [query][key]. */
    float s[SQUARE];
    uint16_t p[SQUARE];
    /* [strip][query][width]. */
    float o[OUT_NUMBERS];
    float largest[STRIPS_MOST][STRIP];
    /* Lanes are still to be added. */
    vec sum[STRIPS_MOST][STRIP];
} __attribute__((aligned(64)));

/* Strips first .. first + count - 1 of a sequence and key head; strips are counted query head by query
 * head, `per_head` of each. */
struct forward_task {
    const struct device_attention *desc;
    int64_t sequence, key_head, first, count, per_head;
    /* log2(e) times the scale, or log2(e) where scores are capped. */
    float factor;
    /* Keys of a chunk; the width in whole vectors. */
    int64_t chunk, wide;
};

/* One strip of a task and one square of keys. */
struct forward_place {
    int64_t strip, query, key, keys;
    /* Before it the strip has seen no key. */
    bool first;
};

static int64_t query_of(const struct forward_task *task, int64_t strip)
{
    return (task->first + strip) % task->per_head * STRIP;
}

static int64_t head_of(const struct forward_task *task, int64_t strip)
{
    int64_t group = task->desc->heads / task->desc->key_heads;
    return task->key_head * group + (task->first + strip) / task->per_head;
}

/* Scores become capped ones. */
static void square_cap(float *s, int64_t keys, const struct device_attention *desc)
{
    float inner = scale_of(desc) / desc->cap;
    for (int64_t row = 0; row < STRIP; row++)
        for (int64_t i = row * SQUARE_KEYS; i < row * SQUARE_KEYS + keys; i += VEC_LANES)
            vec_store(s + i, vec_tanh(vec_load(s + i) * inner) * desc->cap);
}

/* Sets to -infinity what the queries do not see. */
static void square_mask(float *s, const struct forward_place *at, const struct forward_task *task)
{
    for (int64_t row = 0; row < STRIP; row++) {
        int64_t end = at->query + row + 1 - at->key;
        int64_t seen = first_key(task->desc, task->sequence, at->query + row) - at->key;
        for (int64_t lane = 0; lane < at->keys; lane += VEC_LANES) {
            float *p = s + row * SQUARE_KEYS + lane;
            __mmask16 lanes = lanes_seen(seen - lane, end - lane);
            vec_store(p, (vec)_mm512_mask_blend_ps(lanes, (__m512)vec_set(-INFINITY),
                                                   (__m512)vec_load(p)));
        }
    }
}

/* Brings `largest` of the queries up to the scores. */
VEC_INLINE void square_maxima(const float *s, int64_t keys, float *largest)
{
    for (int64_t row = 0; row < STRIP; row++, s += SQUARE_KEYS) {
        vec even = vec_set(LOWEST), odd = even;
        for (int64_t lane = 0; lane < keys; lane += 2 * VEC_LANES) {
            even = vec_max(vec_load(s + lane), even);
            odd = vec_max(vec_load(s + lane + VEC_LANES), odd);
        }
        float most = _mm512_reduce_max_ps((__m512)vec_max(even, odd));
        if (most > largest[row]) largest[row] = most;
    }
}

/* P of one query, as a row of a factor, and its sums by lanes. */
VEC_INLINE vec row_exponentials(const float *s, uint16_t *p, int64_t keys, vec f, vec shift)
{
    vec even = vec_set(0.0f), odd = even;
    for (int64_t lane = 0; lane < keys; lane += STRIP, p += TILES_STEP) {
        vec a = tiles_exp2(vec_fma(vec_load(s + lane), f, -shift));
        vec b = tiles_exp2(vec_fma(vec_load(s + lane + VEC_LANES), f, -shift));
        even += a;
        odd += b;
        _mm512_storeu_si512(p, halves_of(a, b));
    }
    return even + odd;
}

/* Scores become P, and what earlier squares left in largest, sum and o is brought to the new maximum. */
VEC_INLINE void square_softmax(struct forward_space *space, const struct forward_place *at,
                               const struct forward_task *task)
{
    float before[STRIP], rescale[STRIP], *largest = space->largest[at->strip];
    float *o = space->o + at->strip * STRIP * task->wide;
    vec f = vec_set(task->factor), *sums = space->sum[at->strip];
    memcpy(before, largest, sizeof before);
    square_maxima(space->s, at->keys, largest);
    for (int64_t row = 0; row < STRIP; row += VEC_LANES)
        vec_store(rescale + row,
                  tiles_exp2((vec_load(before + row) - vec_load(largest + row)) * f));
    for (int64_t row = 0; row < STRIP; row++, o += task->wide) {
        vec sum = row_exponentials(space->s + row * SQUARE_KEYS, space->p + row * STRIP, at->keys,
                                   f, vec_set(largest[row]) * f);
        vec factor = vec_set(rescale[row]);
        sums[row] = at->first ? sum : vec_fma(factor, sums[row], sum);
        if (at->first || before[row] == largest[row]) continue;
        for (int64_t c = 0; c < task->wide; c += VEC_LANES)
            vec_store(o + c, vec_load(o + c) * factor);
    }
}

/* o (+)= P V of a square; v: the strips of values from the first key of the square on. */
VEC_INLINE void square_values(struct forward_space *space, const struct forward_place *at,
                              const struct forward_task *task, const uint16_t *v)
{
    const int64_t wide = task->wide, steps = at->keys / TILES_BLOCK;
    float *o = space->o + at->strip * STRIP * wide;
    for (int64_t c = 0; c < wide; c += TILES_BLOCK, v += task->chunk * TILES_BLOCK) {
        const struct tiles_block t = tiles_block_of(o + c, wide, space->p, v, steps);
        bool whole = wide - c >= TILES_BLOCK;
        if (whole && at->first)
            tiles_multiply(&t, 2, 2, false);
        else if (whole)
            tiles_multiply(&t, 2, 2, true);
        else if (at->first)
            tiles_multiply(&t, 2, 1, false);
        else
            tiles_multiply(&t, 2, 1, true);
    }
}

/* Takes the keys of a chunk, the first being `begin`, into a strip of queries. */
static void strip_chunk(struct forward_space *space, int64_t strip, int64_t begin,
                        const struct forward_task *task)
{
    const struct device_attention *d = task->desc;
    const int64_t query = query_of(task, strip), steps = tiles_steps(d->width);
    const int64_t seen = first_key(d, task->sequence, query) / SQUARE_KEYS * SQUARE_KEYS;
    const int64_t last = begin + task->chunk < query + STRIP ? begin + task->chunk : query + STRIP;
    if (begin >= last || begin + task->chunk <= seen) return;
    const struct tiles_source q =
        rows_of(d, d->q, ld_of_qk(d), (int64_t[]){task->sequence, query, head_of(task, strip)});
    tiles_pack(space->q, &q, false, false, (int64_t[]){0, 0, d->width});
    for (int64_t key = begin > seen ? begin : seen; key < last && key < d->tokens;
         key += SQUARE_KEYS) {
        const int64_t left = last - key;
        const struct forward_place at = {strip, query, key, left < SQUARE_KEYS ? left : SQUARE_KEYS,
                                         key == seen};
        const uint16_t *k = space->k + (key - begin) * steps * TILES_BLOCK;
        for (int64_t i = 0; i < at.keys; i += STRIP, k += steps * TILES_STEP) {
            const struct tiles_block t =
                tiles_block_of(space->s + i, SQUARE_KEYS, space->q, k, steps);
            tiles_multiply(&t, 2, 2, false);
        }
        if (d->cap > 0) square_cap(space->s, at.keys, d);
        if (!all_see_all(d, task->sequence, query, (int64_t[]){key, at.keys}))
            square_mask(space->s, &at, task);
        square_softmax(space, &at, task);
        square_values(space, &at, task, space->v + (key - begin) * TILES_BLOCK);
    }
}

/* Divides by the sum, and stores a strip of queries and their logsumexp. */
static void strip_store(const struct forward_space *space, int64_t strip,
                        const struct forward_task *task)
{
    const struct device_attention *d = task->desc;
    const int64_t query = query_of(task, strip), head = head_of(task, strip);
    const float *o = space->o + strip * STRIP * task->wide;
    float *logsumexp =
        cpu_fp32(d->logsumexp) + (task->sequence * d->heads + head) * d->tokens + query;
    uint16_t *to =
        cpu_half(d->o) + (task->sequence * d->tokens + query) * d->ld_o + head * d->width;
    for (int64_t row = 0; row < STRIP && query + row < d->tokens; row++, o += task->wide) {
        float sum = vec_sum(space->sum[strip][row]);
        logsumexp[row] = (space->largest[strip][row] * task->factor + log2f(sum)) * LN_2;
        for (int64_t c = 0; c < d->width; c += VEC_LANES)
            vec_store_as_part(ZI_BF16, to + row * d->ld_o, c, vec_load(o + c) * (1.0f / sum),
                              d->width - c);
    }
}

/* Packs the keys and values of a chunk that lie before `end`. */
static void chunk_pack(struct forward_space *space, int64_t begin, int64_t end,
                       const struct forward_task *task)
{
    const struct device_attention *d = task->desc;
    const int64_t at[3] = {task->sequence, begin, task->key_head};
    const int64_t keys = end - begin < task->chunk ? end - begin : task->chunk;
    const struct tiles_source k = rows_of(d, d->k, ld_of_qk(d), at);
    const struct tiles_source v = columns_of(rows_of(d, d->v, d->ld, at));
    for (int64_t key = 0; key < keys; key += STRIP)
        tiles_pack(space->k + key * tiles_steps(d->width) * TILES_BLOCK, &k, false, true,
                   (int64_t[]){key, 0, d->width});
    for (int64_t c = 0; c < d->width; c += TILES_BLOCK)
        tiles_pack(space->v + c * task->chunk, &v, true, true, (int64_t[]){c, 0, keys});
}

static void forward_task_run(const struct forward_task *task)
{
    struct forward_space space;
    int64_t begin = INT64_MAX, end = 0;
    for (int64_t strip = 0; strip < task->count; strip++) {
        int64_t query = query_of(task, strip);
        int64_t seen = first_key(task->desc, task->sequence, query);
        if (seen < begin) begin = seen;
        if (query + STRIP > end) end = query + STRIP;
        for (int64_t row = 0; row < STRIP; row++)
            space.largest[strip][row] = LOWEST;
    }
    tiles_begin();
    for (begin = begin / task->chunk * task->chunk; begin < end; begin += task->chunk) {
        chunk_pack(&space, begin, end, task);
        for (int64_t strip = 0; strip < task->count; strip++)
            strip_chunk(&space, strip, begin, task);
    }
    tiles_end();
    for (int64_t strip = 0; strip < task->count; strip++)
        strip_store(&space, strip, task);
}

/* Strips of a task: as many as its buffers hold, fewer where threads would have none, but enough to
 * pay for packing. */
static int64_t strips_of_task(int64_t strips, int64_t heads, int64_t wide, int threads)
{
    enum { TASKS_OF_THREAD = 4, FEWEST = 4 };
    int64_t most = OUT_NUMBERS / (STRIP * wide),
            fair = strips * heads / (TASKS_OF_THREAD * threads);
    if (most > STRIPS_MOST) most = STRIPS_MOST;
    if (fair < FEWEST) fair = FEWEST;
    return fair < most ? fair : most;
}

enum zi_status KERNEL(cpu_attention_tiles)(struct device_stream *stream,
                                           const struct device_attention *desc)
{
    const int64_t per_head = tiles_steps(desc->tokens), wide = round_up(desc->width, VEC_LANES);
    const int64_t strips = desc->heads / desc->key_heads * per_head;
    const int64_t heads = desc->sequences * desc->key_heads;
    const int64_t some = strips_of_task(strips, heads, wide, stream->threads);
    const int64_t tasks = (strips + some - 1) / some;
#pragma omp parallel for num_threads(stream->threads) schedule(dynamic, 1)
    for (int64_t i = 0; i < heads * tasks; i++) {
        int64_t first = (tasks - 1 - i % tasks) * some, left = strips - first;
        const struct forward_task task = {.desc = desc,
                                          .sequence = i / tasks / desc->key_heads,
                                          .key_head = i / tasks % desc->key_heads,
                                          .first = first,
                                          .count = left < some ? left : some,
                                          .per_head = per_head,
                                          .factor = factor_of(desc),
                                          .chunk = keys_within(CHUNK_NUMBERS, desc->width),
                                          .wide = wide};
        forward_task_run(&task);
    }
    return ZI_OK;
}

#else
typedef int attention_has_no_tiles;
#endif
