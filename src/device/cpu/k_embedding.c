/* SPDX-License-Identifier: Apache-2.0 */
/* Embedding rows, and the column sums that gradients of biases are.
 *
 * The backward pass adds rows of dy to rows of the table in token order. Tokens repeat, so threads
 * may not share tokens; they share columns instead: every thread walks all tokens over a slice of
 * the hidden width, and the result does not depend on how many slices there are. The sum over
 * sequences for the position table works the same way. */
#include "device/cpu/kernel.h"

#include <string.h>

#include "base/log.h"
#include "device/cpu/vector.h"

VEC_INLINE void add_rows(enum zi_dtype type, char *y, const char *a, const char *b, int64_t columns)
{
    for (int64_t c = 0; c < columns; c += VEC_LANES) {
        int64_t n = columns - c;
        vec sum = vec_load_as_part(type, a, c, n) + vec_load_as_part(type, b, c, n);
        vec_store_as_part(type, y, c, sum, n);
    }
}

/* y = a + b; b may be null, or y */
static void embed_row(enum zi_dtype type, char *y, const char *a, const char *b, int64_t columns)
{
    if (b)
        KERNEL_BY_TYPE(type, add_rows, y, a, b, columns);
    else
        memcpy(y, a, (size_t)columns * zi_dtype_bytes(type));
}

static bool holds(const struct device_embedding *e, int32_t id)
{
    return id >= e->first && id < e->first + e->ids;
}

/* Which row of the position table row r takes. */
static int64_t position_of(const struct device_embedding *e, int64_t r)
{
    if (device_is_null(e->positions)) return r % e->tokens;
    return ((const int32_t *)e->positions.address)[r];
}

static enum zi_status embed(struct device_stream *stream, const struct device_embedding *e)
{
    int64_t rows = e->sequences * e->tokens;
    size_t bytes = (size_t)e->columns * zi_dtype_bytes(e->type);
    const int32_t *ids = (const int32_t *)e->token_ids.address;
    bool positions = !device_is_null(e->position);
#pragma omp parallel for num_threads(stream->threads) if (rows > 64 && stream->threads > 1)
    for (int64_t r = 0; r < rows; r++) {
        char *y = (char *)e->y.address + (size_t)r * bytes;
        const char *below = e->add ? y : NULL;
        if (!e->add && positions)
            below = (const char *)e->position.address + (size_t)position_of(e, r) * bytes;
        if (holds(e, ids[r]))
            embed_row(e->type, y,
                      (const char *)e->table.address + (size_t)(ids[r] - e->first) * bytes, below,
                      e->columns);
        else if (!below)
            memset(y, 0, bytes);
        else if (!e->add)
            memcpy(y, below, bytes);
    }
    return ZI_OK;
}

VEC_INLINE void add_values(enum zi_dtype type, float *to, const char *from, int64_t first,
                           int64_t count)
{
    for (int64_t c = 0; c < count; c += VEC_LANES) {
        int64_t n = count - c;
        vec sum = vec_load_as_part(ZI_FP32, to, c, n) + vec_load_as_part(type, from, first + c, n);
        vec_store_as_part(ZI_FP32, to, c, sum, n);
    }
}

static void add_slice(enum zi_dtype type, float *to, const char *from, int64_t first, int64_t count)
{
    KERNEL_BY_TYPE(type, add_values, to, from, first, count);
}

static enum zi_status embed_backward(struct device_stream *stream, const struct device_embedding *e)
{
    int64_t rows = e->sequences * e->tokens, columns = e->columns;
    const int32_t *ids = (const int32_t *)e->token_ids.address;
    size_t bytes = (size_t)columns * zi_dtype_bytes(e->type);
    int slices = stream->threads;
#pragma omp parallel for num_threads(stream->threads) if (slices > 1) schedule(static, 1)
    for (int s = 0; s < slices; s++) {
        int64_t first = columns * s / slices, count = columns * (s + 1) / slices - first;
        for (int64_t r = 0; r < rows; r++) {
            const char *from = (const char *)e->y.address + (size_t)r * bytes;
            if (!device_is_null(e->table) && holds(e, ids[r]))
                add_slice(e->type, cpu_fp32(e->table) + (ids[r] - e->first) * columns + first, from,
                          first, count);
            if (!device_is_null(e->position))
                add_slice(e->type, cpu_fp32(e->position) + position_of(e, r) * columns + first,
                          from, first, count);
        }
    }
    return ZI_OK;
}

#define SLICE 1024 /* columns summed at once: 4 KiB of sums */

/* Sums of `count` columns from `first` on, four rows at a time; the order does not depend on where
 * a slice begins. */
VEC_INLINE void column_sums(enum zi_dtype type, const void *dy, const int64_t shape[3],
                            const int64_t slice[2], float *restrict sums)
{
    int64_t rows = shape[0], ld = shape[2], first = slice[0], count = slice[1], r = 0;
    for (; r + 4 <= rows; r += 4) {
        int64_t at = r * ld + first;
        for (int64_t c = 0; c < count; c += VEC_LANES) {
            int64_t n = count - c;
            vec a = vec_load_as_part(type, dy, at + c, n);
            vec b = vec_load_as_part(type, dy, at + ld + c, n);
            a += vec_load_as_part(type, dy, at + 2 * ld + c, n);
            b += vec_load_as_part(type, dy, at + 3 * ld + c, n);
            vec_store(sums + c, vec_load(sums + c) + (a + b));
        }
    }
    for (; r < rows; r++) {
        for (int64_t c = 0; c < count; c += VEC_LANES) {
            vec value = vec_load_as_part(type, dy, r * ld + first + c, count - c);
            vec_store(sums + c, vec_load(sums + c) + value);
        }
    }
}

static enum zi_status bias_backward(struct device_stream *stream, enum zi_dtype type,
                                    struct device_ptr dbias, struct device_ptr dy, int64_t rows,
                                    int64_t columns, int64_t ld, bool accumulate)
{
    int64_t share = (columns / stream->threads + VEC_LANES) / VEC_LANES * VEC_LANES;
    int64_t width = share < SLICE ? share : SLICE, slices = (columns + width - 1) / width;
    const int64_t shape[3] = {rows, columns, ld};
    const void *from = (const void *)dy.address;
#pragma omp parallel for num_threads(stream->threads) if (slices > 1 && stream->threads > 1)
    for (int64_t s = 0; s < slices; s++) {
        int64_t first = s * width, count = columns - first < width ? columns - first : width;
        float sums[SLICE] = {0};
        const int64_t slice[2] = {first, count};
        KERNEL_BY_TYPE(type, column_sums, from, shape, slice, sums);
        float *to = cpu_fp32(dbias) + first;
        for (int64_t c = 0; c < count; c++) {
            to[c] = accumulate ? to[c] + sums[c] : sums[c];
        }
    }
    return ZI_OK;
}

void KERNEL(cpu_embedding_register)(struct device_operations *operations)
{
    operations->embed = embed;
    operations->embed_backward = embed_backward;
    operations->bias_backward = bias_backward;
}
