/* SPDX-License-Identifier: Apache-2.0 */
/* Private to k_attention_backward.c and k_attention_tiles_backward.c: a task of attention_backward, and
 * how it begins and ends, whatever its products are made of. */
#ifndef ZI_DEVICE_CPU_ATTENTION_BACKWARD_H
#define ZI_DEVICE_CPU_ATTENTION_BACKWARD_H

#include "device/cpu/attention.h"

#define LOG2_E 1.44269504f

struct backward_task {
    const struct device_attention *desc;
    /* Query heads of the key head. */
    int64_t sequence, key_head, group;
    /* Tokens, rounded up to whole spans. */
    int64_t padded;
    /* Of a row: words, padded words, padded width. */
    int64_t words, row_words, wide;
    /* log2(e) times the scale, or log2(e) where scores are capped. */
    float factor;
    /* [group][padded][wide]. */
    float *dq;
    /* [group][padded]: rowsum(dO o O), logsumexp log2(e). */
    float *delta, *shift;
};

/* Tokens of a sequence up to whole blocks of queries. */
static inline int64_t padded_tokens(const struct device_attention *desc)
{
    return round_up(desc->tokens, QUERIES);
}

/* Floats of the scratch buffer that one task uses, a multiple of 16. */
static inline int64_t task_floats(const struct device_attention *desc)
{
    int64_t wide = round_up(desc->width, VEC_LANES);
    return round_up(desc->heads / desc->key_heads * padded_tokens(desc) * (wide + 2), 16);
}

_Static_assert(DEVICE_ATTENTION_LANES % VEC_LANES == 0,
               "all tasks have room in device_attention_backward_scratch");

/* The number of a query head by its place among those that share the key head. */
static inline int64_t query_head(const struct backward_task *task, int64_t member)
{
    return task->key_head * task->group + member;
}

/* delta and shift of the task's query heads, and dq set to zero. */
VEC_INLINE void task_begin(enum zi_dtype type, const struct backward_task *task)
{
    const struct device_attention *d = task->desc;
    memset(task->dq, 0, (size_t)task_floats(d) * sizeof(float));
    for (int64_t member = 0; member < task->group; member++) {
        int64_t head = query_head(task, member);
        const float *logsumexp =
            cpu_fp32(d->logsumexp) + (task->sequence * d->heads + head) * d->tokens;
        for (int64_t t = 0; t < d->tokens; t++) {
            int64_t at = (task->sequence * d->tokens + t) * d->ld_o + head * d->width;
            vec sum = vec_set(0.0f);
            for (int64_t c = 0; c < d->width; c += VEC_LANES) {
                int64_t n = d->width - c;
                sum = vec_fma(vec_load_as_part(type, (const void *)d->o.address, at + c, n),
                              vec_load_as_part(type, (const void *)d->d_o.address, at + c, n), sum);
            }
            task->delta[member * task->padded + t] = vec_sum(sum);
            task->shift[member * task->padded + t] = logsumexp[t] * LOG2_E;
        }
    }
}

/* Stores `rows` rows of fp32 sums, `wide` apart, times `scale`, as rows of a gradient. */
VEC_INLINE void rows_store(enum zi_dtype type, const struct pack_source *to, const float *from,
                           int64_t wide, int64_t rows, float scale)
{
    for (int64_t row = 0; row < rows && row < to->rows; row++)
        for (int64_t c = 0; c < to->width; c += VEC_LANES)
            vec_store_as_part(type, (void *)(uintptr_t)to->base, to->first + row * to->ld + c,
                              vec_load(from + row * wide + c) * scale, to->width - c);
}

/* Stores dQ, the sum of which is done. */
VEC_INLINE void task_end(enum zi_dtype type, const struct backward_task *task)
{
    const struct device_attention *d = task->desc;
    for (int64_t member = 0; member < task->group; member++) {
        struct pack_source dq =
            rows_from(d, d->dq, d->ld, (int64_t[]){task->sequence, 0, query_head(task, member)});
        rows_store(type, &dq, task->dq + member * task->padded * task->wide, task->wide, d->tokens,
                   scale_of(d));
    }
}

/* The end of the queries that see key `last` or, in their order, one before it. */
static inline int64_t end_of_queries(const struct backward_task *task, int64_t last)
{
    const struct device_attention *d = task->desc;
    int64_t end = last + 1;
    if (device_is_null(d->positions))
        end = d->window > 0 && d->window < d->tokens ? last + d->window : d->tokens;
    else
        while (end < d->tokens && first_key(d, task->sequence, end) <= last)
            end++;
    return end < d->tokens ? end : d->tokens;
}

/* Local. A task of bf16 on tiles: in k_attention_tiles_backward.c, of the instruction set amx alone. */
void KERNEL(cpu_attention_tiles_backward)(const struct backward_task *task);

#endif
