/* SPDX-License-Identifier: Apache-2.0 */
/* Causal attention, backward, in blocks: the scores are recomputed tile by tile from q, k and the
 * logsumexp that forward kept. With P = exp(S / sqrt(D) - logsumexp), delta = rowsum(dO o O):
 *     dV = P^T dO,                  dP = dO V^T,            dS = P o (dP - delta),
 *     dK = dS^T Q / sqrt(D),        dQ = dS K / sqrt(D),
 * or with another scale in place of 1 / sqrt(D). Scores with a cap are c = cap tanh(S scale / cap):
 * P is that of c, and dS has 1 - (c / cap)^2 as a factor more.
 *
 * As in forward, queries lie in lanes of S and dP (and dS, P are tiles [key][query]); the three
 * products that sum over queries or keys have the width of the head in lanes. A task is one
 * (sequence, key head). Its outer loop runs over blocks of keys, whose dK and dV stay in the
 * task's buffers while all queries that see the block (to the end, or to that of its last key's
 * window or text) pass by, for each query head of the group in order; dQ is summed in fp32 in the scratch
 * buffer, [query head][token][width], and stored last. One thread does a task from beginning to
 * end, so sums have one order whatever the number of threads; the price is that no more than
 * sequences x key heads threads can help. A task's buffers, 0.5 MiB at the largest width, are on
 * the stack.
 *
 * Queries past the end have q, dO, delta and logsumexp zero, so that they add zeros; keys past the
 * end are above the diagonal of every query that is there. */
#include "device/cpu/attention_backward.h"
#include "device/cpu/tiles.h"

#include "base/log.h"

/* Buffers of a task; used from the start of each, with strides of the actual width. */
struct backward_space {
    /* [key][word of width]. */
    float k_rows[BLOCK_WORDS];
    /* [word of keys][width]. */
    float k_across[BLOCK_WORDS];
    /* [key][word of width]. */
    float v_rows[BLOCK_WORDS];
    /* [key][width], fp32. */
    float dk[BLOCK_WORDS];
    /* [key][width], fp32. */
    float dv[BLOCK_WORDS];
    /* [word of width][query]. */
    float q_columns[SPAN_WORDS];
    /* [word of width][query]. */
    float do_columns[SPAN_WORDS];
    /* [word of queries][width]. */
    float q_across[SPAN_WORDS];
    /* [word of queries][width]. */
    float do_across[SPAN_WORDS];
    /* [key][query], then P as [key][word of queries]. */
    float s[TILE_WORDS];
    /* [key][query], then dS as [key][word of queries]. */
    float dp[TILE_WORDS];
    /* [word of keys][query]; FORM_PAIRS only. */
    float ds_across[TILE_WORDS];
} __attribute__((aligned(64)));

/* P and dS of two keys and a lane vector of queries. */
struct pair_terms {
    vec p[2], ds[2];
};

/* Which lanes see a key: `hidden` of the first key, and one more of the second, lie above the
 * diagonal; where it is `bounded`, lanes from seen[i] on see key i no more. */
struct pair_lanes {
    int64_t hidden, seen[2];
    bool bounded;
};

VEC_INLINE struct pair_terms pair_compute(const float *s, const float *dp, vec f,
                                          const float *shift_delta[2],
                                          const struct pair_lanes *lanes)
{
    struct pair_terms terms;
    int64_t hidden = lanes->hidden;
    vec shift = vec_load(shift_delta[0]), delta = vec_load(shift_delta[1]);
    for (int i = 0; i < 2; i++) {
        vec score = vec_load(s + i * QUERIES);
        if (hidden + i > 0) score = vec_first(hidden + i, vec_set(-INFINITY), score);
        if (lanes->bounded) score = vec_first(lanes->seen[i], score, vec_set(-INFINITY));
        terms.p[i] = vec_exp2(vec_fma(score, f, -shift));
        terms.ds[i] = terms.p[i] * (vec_load(dp + i * QUERIES) - delta);
    }
    return terms;
}

VEC_INLINE void pair_store(struct backward_space *space, int64_t key, int64_t lane,
                           const struct pair_terms *terms)
{
    for (int i = 0; i < 2; i++) {
        vec_store(space->s + (key + i) * QUERIES + lane, terms->p[i]);
        vec_store(space->dp + (key + i) * QUERIES + lane, terms->ds[i]);
    }
}

/* Rounds the terms of two keys to bf16: P and dS with the queries of a key next to each other, dS
 * also with the two keys of a query next to each other. P and dS take half the bytes of what they
 * replace: once both keys are read whole, none of it lands on what is still to be read. */
VEC_INLINE void pair_store_rounded(struct backward_space *space, int64_t key, int64_t lane,
                                   const struct pair_terms *terms)
{
#ifdef __AVX512BF16__
    __m256i ds[2];
    for (int i = 0; i < 2; i++) {
        int64_t at = (key + i) * QUERIES + lane;
        ds[i] = word_halves(terms->ds[i]);
        _mm256_storeu_si256((void *)((uint16_t *)space->s + at), word_halves(terms->p[i]));
        _mm256_storeu_si256((void *)((uint16_t *)space->dp + at), ds[i]);
    }
    vec_store(space->ds_across + key / 2 * QUERIES + lane, word_join(ds[0], ds[1]));
#else
    pair_store(space, key, lane, terms);
#endif
}

/* Scores become P, and dP becomes dS. place: the first key, the first query. */
VEC_INLINE void tile_terms(enum attention_form form, struct backward_space *space, int64_t keys,
                           const int64_t place[2], const struct backward_task *task,
                           const float *shift_delta[2])
{
    const struct device_attention *d = task->desc;
    const int64_t diagonal = place[1] - place[0];
    const bool texts = !device_is_null(d->positions);
    int64_t seen[2] = {0, 0}; /* queries that do, of texts */
    vec f = vec_set(task->factor);
    for (int64_t key = 0; key < keys; key += 2) {
        struct pair_terms terms[QUERIES / VEC_LANES];
        for (int i = 0; i < 2 && texts; i++)
            seen[i] = queries_seeing(d, task->sequence, place[1], place[0] + key + i, seen[0]);
        for (int64_t lane = 0; lane < QUERIES; lane += VEC_LANES) {
            int64_t at = key * QUERIES + lane;
            const float *lanes[2] = {shift_delta[0] + lane, shift_delta[1] + lane};
            struct pair_lanes which = {.hidden = key - diagonal - lane, .bounded = is_bounded(d)};
            for (int i = 0; i < 2; i++)
                which.seen[i] = texts ? seen[i] - lane : which.hidden + i + d->window;
            terms[lane / VEC_LANES] = pair_compute(space->s + at, space->dp + at, f, lanes, &which);
        }
        for (int64_t lane = 0; lane < QUERIES; lane += VEC_LANES) {
            if (form == FORM_PAIRS)
                pair_store_rounded(space, key, lane, &terms[lane / VEC_LANES]);
            else
                pair_store(space, key, lane, &terms[lane / VEC_LANES]);
        }
    }
}

/* Scores become capped ones, and dP becomes (dP - delta) times the slope of the cap: what is left to
 * do is what is done without a cap where delta is 0. */
static void tile_cap(struct backward_space *space, int64_t keys, const struct backward_task *task,
                     const float *delta)
{
    const float cap = task->desc->cap, inner = scale_of(task->desc) / cap;
    for (int64_t i = 0; i < keys * QUERIES; i += VEC_LANES) {
        vec t = vec_tanh(vec_load(space->s + i) * inner);
        vec dp = vec_load(space->dp + i) - vec_load(delta + i % QUERIES);
        vec_store(space->s + i, t * cap);
        vec_store(space->dp + i, dp * vec_fma(-t, t, vec_set(1.0f)));
    }
}

/* Adds what `keys` keys of the packed block and one packed span of queries give to dV, dK and dQ.
 */
VEC_INLINE void tile_gradients(enum attention_form form, struct backward_space *space, int64_t keys,
                               const struct backward_task *task, float *dq)
{
    const struct product_kind by_rows = {form, true, true}, by_columns = {form, false, true};
    int64_t queries = form_words(form, QUERIES);
    const struct product values = {.a = space->s,
                                   .a_stride = queries,
                                   .b = space->do_across,
                                   .b_row = task->wide,
                                   .c = space->dv,
                                   .c_row = task->wide,
                                   .m = keys,
                                   .n = task->wide,
                                   .depth = queries};
    struct product scores = values;
    scores.a = space->dp;
    scores.b = space->q_across;
    scores.c = space->dk;
    const struct product query = {.a = form == FORM_PAIRS ? space->ds_across : space->dp,
                                  .a_stride = QUERIES,
                                  .b = form == FORM_PAIRS ? space->k_across : space->k_rows,
                                  .b_row = task->wide,
                                  .c = dq,
                                  .c_row = task->wide,
                                  .m = QUERIES,
                                  .n = task->wide,
                                  .depth = form_words(form, keys)};
    product(by_rows, &values);
    product(by_rows, &scores);
    product(by_columns, &query);
}

/* One block of keys against one span of queries of one query head. */
VEC_INLINE void span_backward(enum attention_form form, struct backward_space *space, int64_t key,
                              int64_t query, int64_t member, const struct backward_task *task)
{
    const struct device_attention *d = task->desc;
    int64_t head = query_head(task, member), diagonal = query - key;
    int64_t block = block_keys(d->width),
            keys = diagonal + QUERIES < block ? diagonal + QUERIES : block;
    struct pack_source q =
        rows_from(d, d->q, ld_of_qk(d), (int64_t[]){task->sequence, query, head});
    struct pack_source d_o =
        rows_from(d, d->d_o, d->ld_o, (int64_t[]){task->sequence, query, head});
    pack_columns(form, &q, space->q_columns);
    pack_columns(form, &d_o, space->do_columns);
    pack_across(form, &q, QUERIES, space->q_across, task->wide);
    pack_across(form, &d_o, QUERIES, space->do_across, task->wide);
    keys = round_up(keys, TILE_ROWS);
    const struct product scores = {.a = space->k_rows,
                                   .a_stride = task->row_words,
                                   .b = space->q_columns,
                                   .b_row = QUERIES,
                                   .c = space->s,
                                   .c_row = QUERIES,
                                   .m = keys,
                                   .n = QUERIES,
                                   .depth = task->words};
    struct product values = scores;
    values.a = space->v_rows;
    values.b = space->do_columns;
    values.c = space->dp;
    product((struct product_kind){form, true, false}, &scores);
    product((struct product_kind){form, true, false}, &values);
    int64_t at = member * task->padded + query;
    static const float zeros[QUERIES];
    const float *shift_delta[2] = {task->shift + at, task->delta + at};
    if (d->cap > 0) {
        tile_cap(space, keys, task, shift_delta[1]);
        shift_delta[1] = zeros;
    }
    tile_terms(form, space, keys, (const int64_t[]){key, query}, task, shift_delta);
    tile_gradients(form, space, keys, task, task->dq + at * task->wide);
}

VEC_INLINE void backward_task_run(enum attention_form form, const struct backward_task *task)
{
    struct backward_space space;
    const struct device_attention *d = task->desc;
    const enum zi_dtype type = form_type(form);
    const float scale = scale_of(d);
    const int64_t block = block_keys(d->width);
    task_begin(type, task);
    for (int64_t key = 0; key < d->tokens; key += block) {
        struct pack_source k =
            rows_from(d, d->k, ld_of_qk(d), (int64_t[]){task->sequence, key, task->key_head});
        struct pack_source v =
            rows_from(d, d->v, d->ld, (int64_t[]){task->sequence, key, task->key_head});
        pack_rows(form, &k, block, space.k_rows, task->row_words);
        pack_rows(form, &v, block, space.v_rows, task->row_words);
        if (form == FORM_PAIRS) pack_across(form, &k, block, space.k_across, task->wide);
        memset(space.dk, 0, (size_t)(block * task->wide) * sizeof(float));
        memset(space.dv, 0, (size_t)(block * task->wide) * sizeof(float));
        int64_t end = end_of_queries(task, key + block - 1);
        for (int64_t member = 0; member < task->group; member++)
            for (int64_t query = key / QUERIES * QUERIES; query < end; query += QUERIES)
                span_backward(form, &space, key, query, member, task);
        struct pack_source dk =
            rows_from(d, d->dk, d->ld, (int64_t[]){task->sequence, key, task->key_head});
        struct pack_source dv =
            rows_from(d, d->dv, d->ld, (int64_t[]){task->sequence, key, task->key_head});
        rows_store(type, &dk, space.dk, task->wide, block, scale);
        rows_store(type, &dv, space.dv, task->wide, block, 1.0f);
    }
    task_end(type, task);
}

static void backward_fp32(const struct backward_task *task)
{
    backward_task_run(FORM_FP32, task);
}

static void backward_bf16(const struct backward_task *task)
{
#ifdef ZI_TILES
    KERNEL(cpu_attention_tiles_backward)(task);
#else
#ifdef __AVX512BF16__
    if (form_of_bf16() == FORM_PAIRS) {
        backward_task_run(FORM_PAIRS, task);
        return;
    }
#endif
    backward_task_run(FORM_WIDENED, task);
#endif
}

static void backward_fp16(const struct backward_task *task)
{
    backward_task_run(FORM_FP16, task);
}

static enum attention_form form_of(enum zi_dtype type)
{
    return type == ZI_BF16 ? form_of_bf16() : type == ZI_FP16 ? FORM_FP16 : FORM_FP32;
}

enum zi_status KERNEL(cpu_attention_backward)(struct device_stream *stream,
                                              const struct device_attention *desc)
{
    ZI_TRY(KERNEL(cpu_attention_check)(desc));
    if (desc->tokens <= 0) return ZI_OK;
    const enum attention_form form = form_of(desc->type);
    int64_t tasks = desc->sequences * desc->key_heads, group = desc->heads / desc->key_heads;
    int64_t padded = padded_tokens(desc), wide = round_up(desc->width, VEC_LANES);
    int64_t words = form_words(form, desc->width);
    float *scratch = cpu_fp32(desc->scratch);
#pragma omp parallel for num_threads(stream->threads) schedule(dynamic, 1)
    for (int64_t i = 0; i < tasks; i++) {
        struct backward_task task = {.desc = desc,
                                     .sequence = i / desc->key_heads,
                                     .key_head = i % desc->key_heads,
                                     .group = group,
                                     .padded = padded,
                                     .words = words,
                                     .row_words = round_up(words, VEC_LANES),
                                     .wide = wide,
                                     .factor = factor_of(desc),
                                     .dq = scratch + i * task_floats(desc)};
        task.delta = task.dq + group * padded * wide;
        task.shift = task.delta + group * padded;
        if (form == FORM_FP32)
            backward_fp32(&task);
        else if (form == FORM_FP16)
            backward_fp16(&task);
        else
            backward_bf16(&task);
    }
    return ZI_OK;
}
