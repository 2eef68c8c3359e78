/* SPDX-License-Identifier: Apache-2.0 */
/* Attention of new tokens to those that a cache has, for generation.
 *
 * First the keys and values of all new tokens go into the cache, then each query passes over what it
 * sees of it, KEYS at a time, with a running maximum and sum (Milakov and Gimelshein 2018). Queries
 * that share a key head, several heads of a token or several tokens, are taken ROWS at a time, so
 * that keys and values come from memory once for them. Scores are made VEC_LANES keys at a time: a
 * vector of partial sums per key, transposed and added up; so that no key is summed across lanes by
 * itself. A row's result depends on neither the other rows nor the number of threads. */
#include "device/cpu/kernel.h"

#include <math.h>

#include "base/log.h"
#include "device/cpu/vector.h"

enum {
    ROWS = 4,
    KEYS = 64,
    WIDTH_MAX = 256,
    VECTORS = 4 /* of values that are added up at once */
};

#define LOG2_E 1.44269504f

/* A task: `count` rows, at most ROWS, of one sequence and key head. */
struct cache_rows {
    const struct device_attention_cached *desc;
    int64_t sequence, key_head, count;
    /* Elements of the cache before the keys and the values of the head. */
    int64_t keys, values;
    /* Of each row: its place in q, in o, the keys that it sees. */
    int64_t q[ROWS], o[ROWS], first[ROWS], last[ROWS];
    float scale;
};

struct cache_space {
    float q[ROWS][WIDTH_MAX], o[ROWS][WIDTH_MAX], s[ROWS][KEYS];
    float largest[ROWS], sum[ROWS];
} __attribute__((aligned(64)));

static int64_t cache_at(const struct device_attention_cached *d, int64_t sequence, int64_t part,
                        int64_t key_head)
{
    return ((sequence * 2 + part) * d->key_heads + key_head) * d->capacity * d->width;
}

static int64_t ld_of_qk(const struct device_attention_cached *d)
{
    return d->ld_qk > 0 ? d->ld_qk : d->ld;
}

static int32_t position_of(const struct device_attention_cached *d, int64_t row)
{
    return ((const int32_t *)d->positions.address)[row];
}

/* The keys and values of one new token. */
static void cache_put(const struct device_attention_cached *d, int64_t row)
{
    size_t type = zi_dtype_bytes(d->type), bytes = (size_t)d->width * type;
    int64_t sequence = row / d->tokens, position = position_of(d, row);
    for (int64_t part = 0; part < 2; part++) {
        struct device_ptr from = part ? d->v : d->k;
        int64_t ld = part ? d->ld : ld_of_qk(d);
        for (int64_t g = 0; g < d->key_heads; g++) {
            int64_t to = cache_at(d, sequence, part, g) + position * d->width;
            memcpy((char *)d->cache.address + (size_t)to * type,
                   (const char *)from.address + (size_t)(row * ld + g * d->width) * type, bytes);
        }
    }
}

/* Scores of VEC_LANES keys from `key` on, which end at `end`: those behind are the last one's. */
VEC_INLINE vec cache_scores(enum zi_dtype type, const struct cache_rows *r, const float *q,
                            int64_t key, int64_t end)
{
    const void *cache = (const void *)r->desc->cache.address;
    int64_t width = r->desc->width, at[VEC_LANES];
    vec sums[VEC_LANES];
    for (int64_t j = 0; j < VEC_LANES; j++) {
        at[j] = r->keys + (key + j < end ? key + j : end - 1) * width;
        sums[j] = vec_set(0.0f);
    }
    for (int64_t d = 0; d < width; d += VEC_LANES) {
        vec x = vec_load(q + d);
#pragma GCC unroll 16
        for (int64_t j = 0; j < VEC_LANES; j++)
            sums[j] = vec_fma(vec_load_as_part(type, cache, at[j] + d, width - d), x, sums[j]);
    }
    vec_transpose(sums);
    for (int64_t half = VEC_LANES / 2; half > 0; half /= 2)
        for (int64_t j = 0; j < half; j++)
            sums[j] += sums[j + half];
    return sums[0];
}

/* The scores of a row with KEYS keys from `key` on, -infinity where it does not see them, and their
 * exponentials in their place. What earlier keys have left is brought to the new maximum. */
VEC_INLINE void cache_softmax(enum zi_dtype type, const struct cache_rows *r,
                              struct cache_space *space, int row, const int64_t span[2])
{
    float cap = r->desc->cap, *s = space->s[row];
    vec none = vec_set(-INFINITY), most = none, sum = vec_set(0.0f);
    for (int64_t key = span[0]; key < span[1]; key += VEC_LANES) {
        vec x = cache_scores(type, r, space->q[row], key, span[1]) * vec_set(r->scale);
        if (cap > 0) /* cap tanh(x / cap) */
            x = vec_set(cap) *
                (vec_set(2.0f) * vec_logistic2(x * vec_set(2 * LOG2_E / cap)) - vec_set(1.0f));
        x = vec_first(r->last[row] + 1 - key, x, none);
        x = vec_first(r->first[row] - key, none, x);
        vec_store(s + key - span[0], x);
        most = vec_max(most, x);
    }
    float largest = vec_largest(most), before = space->largest[row];
    if (largest < before) largest = before;
    float rescale = before > -INFINITY ? exp2f((before - largest) * LOG2_E) : 0.0f;
    bool sees = largest > -INFINITY;
    for (int64_t j = 0; j < span[1] - span[0]; j += VEC_LANES) {
        vec p = vec_exp2((vec_load(s + j) - vec_set(largest)) * vec_set(LOG2_E));
        if (!sees) p = vec_set(0.0f);
        vec_store(s + j, p);
        sum += p;
    }
    space->largest[row] = largest;
    space->sum[row] = space->sum[row] * rescale + vec_sum(sum);
    for (int64_t d = 0; d < r->desc->width && rescale != 1.0f; d += VEC_LANES)
        vec_store(space->o[row] + d, vec_load(space->o[row] + d) * vec_set(rescale));
}

/* o += p v for the keys of a span, in columns [column, column + VECTORS vectors). */
VEC_INLINE void cache_add(enum zi_dtype type, const struct cache_rows *r, float *o, const float *p,
                          const int64_t at[3] /* first key, end, column */)
{
    const void *cache = (const void *)r->desc->cache.address;
    int64_t width = r->desc->width, column = at[2];
    vec sums[VECTORS];
    for (int i = 0; i < VECTORS; i++)
        sums[i] = vec_load(o + column + i * VEC_LANES);
    for (int64_t key = at[0]; key < at[1]; key++) {
        vec factor = vec_set(p[key - at[0]]);
        int64_t from = r->values + key * width + column;
        for (int i = 0; i < VECTORS; i++) {
            int64_t n = width - column - i * VEC_LANES;
            if (n > 0)
                sums[i] = vec_fma(vec_load_as_part(type, cache, from + i * VEC_LANES, n), factor,
                                  sums[i]);
        }
    }
    for (int i = 0; i < VECTORS; i++)
        vec_store(o + column + i * VEC_LANES, sums[i]);
}

VEC_INLINE void cache_rows_run(enum zi_dtype type, const struct cache_rows *r)
{
    struct cache_space space = {.sum = {0}};
    int64_t width = r->desc->width, first = r->first[0], end = r->last[0] + 1;
    for (int i = 0; i < r->count; i++) {
        for (int64_t d = 0; d < width; d += VEC_LANES)
            vec_store(space.q[i] + d, vec_load_as_part(type, (const void *)r->desc->q.address,
                                                       r->q[i] + d, width - d));
        space.largest[i] = -INFINITY;
        if (r->first[i] < first) first = r->first[i];
        if (r->last[i] >= end) end = r->last[i] + 1;
    }
    for (int64_t key = first; key < end; key += KEYS) {
        const int64_t span[2] = {key, key + KEYS < end ? key + KEYS : end};
        for (int i = 0; i < r->count; i++) {
            cache_softmax(type, r, &space, i, span);
            for (int64_t d = 0; d < width; d += (int64_t)VECTORS * VEC_LANES)
                cache_add(type, r, space.o[i], space.s[i], (int64_t[]){span[0], span[1], d});
        }
    }
    for (int i = 0; i < r->count; i++) {
        vec inverse = vec_set(1.0f / space.sum[i]);
        for (int64_t d = 0; d < width; d += VEC_LANES)
            vec_store_as_part(type, (void *)r->desc->o.address, r->o[i] + d,
                              vec_load(space.o[i] + d) * inverse, width - d);
    }
}

static void rows_fp32(const struct cache_rows *r)
{
    cache_rows_run(ZI_FP32, r);
}

static void rows_bf16(const struct cache_rows *r)
{
    cache_rows_run(ZI_BF16, r);
}

static void rows_fp16(const struct cache_rows *r)
{
    cache_rows_run(ZI_FP16, r);
}

/* Task number `task` of `per_head` of each sequence and key head. */
static void cache_task(const struct device_attention_cached *d, int64_t task, int64_t per_head)
{
    int64_t pair = task / per_head, repeat = d->heads / d->key_heads;
    struct cache_rows r = {
        .desc = d, .sequence = pair / d->key_heads, .key_head = pair % d->key_heads};
    r.keys = cache_at(d, r.sequence, 0, r.key_head);
    r.values = cache_at(d, r.sequence, 1, r.key_head);
    r.scale = d->scale > 0 ? d->scale : 1.0f / sqrtf((float)d->width);
    for (int64_t i = task % per_head * ROWS; i < d->tokens * repeat && r.count < ROWS; i++) {
        int64_t row = r.sequence * d->tokens + i / repeat;
        int64_t head = r.key_head * repeat + i % repeat, last = position_of(d, row);
        r.q[r.count] = row * ld_of_qk(d) + head * d->width;
        r.o[r.count] = row * d->ld_o + head * d->width;
        r.last[r.count] = last;
        r.first[r.count++] = d->window > 0 && last >= d->window ? last - d->window + 1 : 0;
    }
    if (d->type == ZI_BF16)
        rows_bf16(&r);
    else if (d->type == ZI_FP16)
        rows_fp16(&r);
    else
        rows_fp32(&r);
}

static enum zi_status attention_cached(struct device_stream *stream,
                                       const struct device_attention_cached *desc)
{
    if (!cpu_type_is_known(desc->type) || desc->width < 1 || desc->width > WIDTH_MAX ||
        desc->key_heads < 1 || desc->heads % desc->key_heads)
        return zi_fail(ZI_ERROR_DEVICE, "device",
                       "attention_cached: %lld heads on %lld key heads of width %lld in %s are not "
                       "possible; widths are at most %d, and key heads divide heads",
                       (long long)desc->heads, (long long)desc->key_heads, (long long)desc->width,
                       zi_dtype_name(desc->type), WIDTH_MAX);
    int64_t rows = desc->sequences * desc->tokens;
    int64_t per_head = (desc->tokens * (desc->heads / desc->key_heads) + ROWS - 1) / ROWS;
    int64_t tasks = desc->sequences * desc->key_heads * per_head;
#pragma omp parallel num_threads(stream->threads) if (tasks > 1)
    {
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row++)
            cache_put(desc, row);
#pragma omp for schedule(dynamic, 1)
        for (int64_t task = 0; task < tasks; task++)
            cache_task(desc, task, per_head);
    }
    return ZI_OK;
}

void KERNEL(cpu_cache_register)(struct device_operations *operations)
{
    operations->attention_cached = attention_cached;
}
