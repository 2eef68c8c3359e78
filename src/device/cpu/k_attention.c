/* SPDX-License-Identifier: Apache-2.0 */
/* Causal attention, forward, in blocks (Dao et al. 2022): the scores exist only as a tile of keys x
 * queries, and of the softmax only the logsumexp of each query is kept for backward.
 *
 * Layout: queries lie in vector lanes. With k a row of K and v a row of V,
 *     S[key][lane] = sum_d k[d] Q^T[d][lane],     O^T[d][lane] += sum_key v[d] P[key][lane],
 * so both products broadcast words of K and V as they are stored, the maximum and the sum of the
 * softmax run down the rows of a tile without crossing lanes, and only Q is transposed on entry and
 * O on exit, once per span of queries.
 *
 * A task is SPANS spans of one (sequence, head): keys and values are packed once per task and block
 * (to whole tiles, 16 bits widened or paired), and blocks above the diagonal, or before the windows
 * of all queries, are skipped. Scores stay unscaled; the exponent is S f - max f with f = log2(e) /
 * sqrt(D), or the scale that is asked for. A cap is put on the scaled scores before all else, tile by
 * tile; f is then log2(e). Without a window and texts key 0 is visible to all, so after the first block every
 * maximum is finite; with them, a maximum starts at LOWEST, and what was summed up before a query's first key
 * comes to nothing beside it. Queries past the end are zero rows, never stored.
 *
 * Tasks write disjoint results and each is done by one thread in one order, so the result does not
 * depend on the number of threads. A task's buffers, 0.4 MiB at the largest width, are on the
 * stack. */
#include "device/cpu/attention.h"
#include "device/cpu/tiles.h"

#include "base/log.h"

enum { SPANS = 4 }; /* of queries in a task */

int KERNEL(cpu_attention_pairs);

#define LN_2   0.693147181f
#define LOWEST (-1e30f) /* below scores */

/* Buffers of a task; used from the start of each, with strides of the actual width. */
struct forward_space {
    /* [word of width][lane]. */
    float q[SPANS][SPAN_WORDS];
    /* [width][lane]. */
    float o[SPANS][SPAN_WORDS];
    /* [key][word of width]. */
    float k[BLOCK_WORDS];
    /* [word of keys][width]. */
    float v[BLOCK_WORDS];
    /* [key][lane], then P as [word of keys][lane]. */
    float s[TILE_WORDS];
    float largest[SPANS][QUERIES];
    float sum[SPANS][QUERIES];
} __attribute__((aligned(64)));

struct forward_task {
    const struct device_attention *desc;
    int64_t sequence, head, first_query;
    /* log2(e) times the scale, or log2(e) where scores are capped. */
    float factor;
};

enum zi_status KERNEL(cpu_attention_check)(const struct device_attention *desc)
{
    if (!cpu_type_is_known(desc->type))
        return zi_fail(ZI_ERROR_DEVICE, "device",
                       "attention: type %s is not known; use fp32, bf16 or fp16",
                       zi_dtype_name(desc->type));
    if (desc->width < 1 || desc->width > WIDTH_MAX)
        return zi_fail(
            ZI_ERROR_DEVICE, "device",
            "attention: heads of width %lld are not possible, at most %d; use more heads",
            (long long)desc->width, WIDTH_MAX);
    if (desc->key_heads < 1 || desc->heads % desc->key_heads)
        return zi_fail(ZI_ERROR_DEVICE, "device",
                       "attention: %lld key heads do not divide %lld heads",
                       (long long)desc->key_heads, (long long)desc->heads);
    return ZI_OK;
}

/* Sets to -infinity the scores of lane vector `lane` whose keys, of `keys` of a tile, lie before the
 * windows of the queries. `diagonal` is the first query less the first key. */
VEC_INLINE void tile_mask_window(float *s, int64_t keys, int64_t lane, int64_t diagonal,
                                 int64_t window)
{
    int64_t seen = diagonal + lane + VEC_LANES - window; /* the first key that all lanes may see */
    for (int64_t key = 0; key < keys && key < seen; key++) {
        float *row = s + key * QUERIES + lane;
        vec_store(row,
                  vec_first(key + window - diagonal - lane, vec_load(row), vec_set(-INFINITY)));
    }
}

/* The same for all lanes, of keys that lie before the texts, or the windows, of the queries. */
VEC_INLINE void tile_mask_texts(float *s, int64_t keys, int64_t query, int64_t diagonal,
                                const struct forward_task *task)
{
    int64_t seen = 0;
    for (int64_t key = 0; key < keys && seen < QUERIES; key++) {
        seen = queries_seeing(task->desc, task->sequence, query, query - diagonal + key, seen);
        for (int64_t lane = seen / VEC_LANES * VEC_LANES; lane < QUERIES; lane += VEC_LANES) {
            float *row = s + key * QUERIES + lane;
            vec_store(row, vec_first(seen - lane, vec_load(row), vec_set(-INFINITY)));
        }
    }
}

/* Sets to -infinity the scores of lane vector `lane` that lie above the diagonal, among the keys of
 * a tile, and gives the maximum of the rest and of `largest`. `diagonal` is the first query less
 * the first key. */
VEC_INLINE vec tile_mask_and_max(float *s, int64_t keys, int64_t lane, int64_t diagonal,
                                 vec largest)
{
    int64_t whole = diagonal + lane + 1; /* keys that all lanes see */
    whole = whole < 0 ? 0 : whole > keys ? keys : whole;
    vec other = largest;
    int64_t key = 0;
    for (; key + 2 <= whole; key += 2) {
        largest = vec_max(vec_load(s + key * QUERIES + lane), largest);
        other = vec_max(vec_load(s + (key + 1) * QUERIES + lane), other);
    }
    for (; key < keys; key++) {
        float *row = s + key * QUERIES + lane;
        vec masked = vec_first(key - diagonal - lane, vec_set(-INFINITY), vec_load(row));
        vec_store(row, masked);
        largest = vec_max(masked, largest);
    }
    return vec_max(other, largest);
}

/* Replaces scores of a lane vector by P = 2^(s f - shift), as words, and gives their sums. */
VEC_INLINE vec tile_exponentials(enum attention_form form, float *s, int64_t keys, float factor,
                                 vec shift)
{
    vec even = vec_set(0.0f), odd = vec_set(0.0f), f = vec_set(factor);
    for (int64_t key = 0; key < keys; key += 2) {
        vec a = vec_exp2(vec_fma(vec_load(s + key * QUERIES), f, -shift));
        vec b = vec_exp2(vec_fma(vec_load(s + (key + 1) * QUERIES), f, -shift));
        even += a;
        odd += b;
#ifdef __AVX512BF16__
        if (form == FORM_PAIRS) {
            vec_store(s + key / 2 * QUERIES, word_join(word_halves(a), word_halves(b)));
            continue;
        }
#endif
        vec_store(s + key * QUERIES, a);
        vec_store(s + (key + 1) * QUERIES, b);
    }
    (void)form;
    return even + odd;
}

/* One tile of the softmax: scores become P, and what earlier tiles left in largest, sum and o is
 * brought to the new maximum. `first` is set for the first tile of a span. */
VEC_INLINE void span_softmax(enum attention_form form, struct forward_space *space, int span,
                             int64_t keys, int64_t diagonal, const struct forward_task *task)
{
    int64_t query = task->first_query + span * QUERIES, window = task->desc->window;
    bool first = query - diagonal <= first_key(task->desc, task->sequence, query);
    bool texts = !device_is_null(task->desc->positions);
    float *o = space->o[span];
    if (texts) tile_mask_texts(space->s, keys, query, diagonal, task);
    for (int64_t lane = 0; lane < QUERIES; lane += VEC_LANES) {
        vec before = vec_set(is_bounded(task->desc) ? LOWEST : -INFINITY);
        if (!first) before = vec_load(space->largest[span] + lane);
        if (window > 0 && !texts) tile_mask_window(space->s, keys, lane, diagonal, window);
        vec largest = tile_mask_and_max(space->s, keys, lane, diagonal, before);
        vec f = vec_set(task->factor);
        vec sum = tile_exponentials(form, space->s + lane, keys, task->factor, largest * f);
        if (!first) {
            vec rescale = vec_exp2((before - largest) * f);
            sum = vec_fma(rescale, vec_load(space->sum[span] + lane), sum);
            if (memcmp(&before, &largest, sizeof before) != 0)
                for (int64_t d = 0; d < task->desc->width; d++)
                    vec_store(o + d * QUERIES + lane, vec_load(o + d * QUERIES + lane) * rescale);
        }
        vec_store(space->sum[span] + lane, sum);
        vec_store(space->largest[span] + lane, largest);
    }
}

/* Scores of `keys` keys become capped ones. */
static void tile_cap(float *s, int64_t keys, const struct device_attention *desc)
{
    float inner = scale_of(desc) / desc->cap;
    for (int64_t i = 0; i < keys * QUERIES; i += VEC_LANES)
        vec_store(s + i, vec_tanh(vec_load(s + i) * inner) * desc->cap);
}

/* Takes a packed block of keys, the first being `key`, into one span of queries. */
VEC_INLINE void span_block(enum attention_form form, struct forward_space *space, int span,
                           int64_t key, const struct forward_task *task)
{
    int64_t width = task->desc->width, diagonal = task->first_query + span * QUERIES - key;
    int64_t block = block_keys(width),
            keys = diagonal + QUERIES < block ? diagonal + QUERIES : block;
    int64_t seen =
        first_key(task->desc, task->sequence, key + diagonal); /* of the span's first query */
    if (keys <= 0 || key + block <= seen) return;
    int64_t words = form_words(form, width), wide = round_up(width, VEC_LANES);
    const struct product scores = {.a = space->k,
                                   .a_stride = round_up(words, VEC_LANES),
                                   .b = space->q[span],
                                   .b_row = QUERIES,
                                   .c = space->s,
                                   .c_row = QUERIES,
                                   .m = round_up(keys, TILE_ROWS),
                                   .n = QUERIES,
                                   .depth = words};
    product((struct product_kind){form, true, false}, &scores);
    if (task->desc->cap > 0) tile_cap(space->s, scores.m, task->desc);
    span_softmax(form, space, span, scores.m, diagonal, task);
    const struct product values = {.a = space->v,
                                   .a_stride = wide,
                                   .b = space->s,
                                   .b_row = QUERIES,
                                   .c = space->o[span],
                                   .c_row = QUERIES,
                                   .m = round_up(width, TILE_ROWS),
                                   .n = QUERIES,
                                   .depth = form_words(form, scores.m)};
    if (key <= seen)
        product((struct product_kind){form, false, false}, &values);
    else
        product((struct product_kind){form, false, true}, &values);
}

/* Divides by the sum, transposes back, and stores a span of queries and their logsumexp. */
VEC_INLINE void span_store(enum zi_dtype type, struct forward_space *space, int span,
                           const struct forward_task *task)
{
    const struct device_attention *d = task->desc;
    int64_t query = task->first_query + span * QUERIES, rows = d->tokens - query;
    float *logsumexp =
        cpu_fp32(d->logsumexp) + (task->sequence * d->heads + task->head) * d->tokens + query;
    for (int64_t row = 0; row < QUERIES && row < rows; row++)
        logsumexp[row] =
            (space->largest[span][row] * task->factor + log2f(space->sum[span][row])) * LN_2;
    for (int64_t row = 0; row < QUERIES; row += VEC_LANES) {
        vec inverse = 1.0f / vec_load(space->sum[span] + row);
        for (int64_t c = 0; c < d->width; c += VEC_LANES) {
            vec square[VEC_LANES];
            for (int64_t i = 0; i < VEC_LANES; i++)
                square[i] = c + i < d->width
                                ? vec_load(space->o[span] + (c + i) * QUERIES + row) * inverse
                                : vec_set(0.0f);
            vec_transpose(square);
            int64_t at =
                (task->sequence * d->tokens + query + row) * d->ld_o + task->head * d->width + c;
            for (int64_t i = 0; i < VEC_LANES && row + i < rows; i++)
                vec_store_as_part(type, (void *)d->o.address, at + i * d->ld_o, square[i],
                                  d->width - c);
        }
    }
}

VEC_INLINE void forward_task_run(enum attention_form form, const struct forward_task *task)
{
    struct forward_space space;
    const struct device_attention *d = task->desc;
    int64_t key_head = task->head / (d->heads / d->key_heads);
    int64_t end = task->first_query + SPANS * QUERIES;
    if (end > round_up(d->tokens, QUERIES)) end = round_up(d->tokens, QUERIES);
    int spans = (int)((end - task->first_query) / QUERIES);
    for (int span = 0; span < spans; span++) {
        struct pack_source q =
            rows_from(d, d->q, ld_of_qk(d),
                      (int64_t[]){task->sequence, task->first_query + span * QUERIES, task->head});
        pack_columns(form, &q, space.q[span]);
    }
    int64_t k_row = round_up(form_words(form, d->width), VEC_LANES);
    int64_t block = block_keys(d->width);
    int64_t key = first_key(d, task->sequence, task->first_query) / block * block;
    for (; key < end && key < d->tokens; key += block) {
        struct pack_source k =
            rows_from(d, d->k, ld_of_qk(d), (int64_t[]){task->sequence, key, key_head});
        struct pack_source v =
            rows_from(d, d->v, d->ld, (int64_t[]){task->sequence, key, key_head});
        pack_rows(form, &k, block, space.k, k_row);
        pack_across(form, &v, block, space.v, round_up(d->width, VEC_LANES));
        for (int span = 0; span < spans; span++)
            span_block(form, &space, span, key, task);
    }
    for (int span = 0; span < spans; span++)
        span_store(form_type(form), &space, span, task);
}

static void forward_fp32(const struct forward_task *task)
{
    forward_task_run(FORM_FP32, task);
}

static void forward_bf16(const struct forward_task *task)
{
#ifdef __AVX512BF16__
    if (form_of_bf16() == FORM_PAIRS) {
        forward_task_run(FORM_PAIRS, task);
        return;
    }
#endif
    forward_task_run(FORM_WIDENED, task);
}

static void forward_fp16(const struct forward_task *task)
{
    forward_task_run(FORM_FP16, task);
}

static enum zi_status attention(struct device_stream *stream, const struct device_attention *desc)
{
    ZI_TRY(KERNEL(cpu_attention_check)(desc));
    if (desc->tokens <= 0) return ZI_OK;
#ifdef ZI_TILES
    if (desc->type == ZI_BF16) return KERNEL(cpu_attention_tiles)(stream, desc);
#endif
    int64_t tasks_per_head = (desc->tokens + SPANS * QUERIES - 1) / (SPANS * QUERIES);
    int64_t tasks = desc->sequences * desc->heads * tasks_per_head;
    float factor = factor_of(desc);
#pragma omp parallel for num_threads(stream->threads) schedule(dynamic, 1)
    for (int64_t i = 0; i < tasks; i++) {
        int64_t pair = i / tasks_per_head, chunk = tasks_per_head - 1 - i % tasks_per_head;
        const struct forward_task task = {.desc = desc,
                                          .sequence = pair / desc->heads,
                                          .head = pair % desc->heads,
                                          .first_query = chunk * SPANS * QUERIES,
                                          .factor = factor};
        if (desc->type == ZI_BF16)
            forward_bf16(&task);
        else if (desc->type == ZI_FP16)
            forward_fp16(&task);
        else
            forward_fp32(&task);
    }
    return ZI_OK;
}

void KERNEL(cpu_attention_register)(struct device_operations *operations)
{
    operations->attention = attention;
    operations->attention_backward = KERNEL(cpu_attention_backward);
}
