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

static void embed_row(enum zi_dtype type, char *y, const char *token, const char *position,
                      int64_t columns)
{
    size_t bytes = (size_t)columns * zi_dtype_bytes(type);
    if (!position) {
        memcpy(y, token, bytes);
    } else if (type == ZI_FP32) {
        float *restrict to = (float *)y;
        const float *restrict a = (const float *)token, *restrict b = (const float *)position;
        for (int64_t c = 0; c < columns; c++) {
            to[c] = a[c] + b[c];
        }
    } else {
        uint16_t *restrict to = (uint16_t *)y;
        const uint16_t *restrict a = (const uint16_t *)token;
        const uint16_t *restrict b = (const uint16_t *)position;
        for (int64_t c = 0; c < columns; c++) {
            to[c] = zi_bf16_round_even(zi_bf16_to_fp32(a[c]) + zi_bf16_to_fp32(b[c]));
        }
    }
}

static enum zi_status embed(struct device_stream *stream, enum zi_dtype type, struct device_ptr y,
                            struct device_ptr tokens, struct device_ptr token_table,
                            struct device_ptr position_table, const int64_t shape[3])
{
    int64_t rows = shape[0] * shape[1], length = shape[1], columns = shape[2];
    size_t bytes = (size_t)columns * zi_dtype_bytes(type);
    const int32_t *ids = (const int32_t *)tokens.address;
    bool positions = !device_is_null(position_table);
#pragma omp parallel for num_threads(stream->threads) if (rows > 64 && stream->threads > 1)
    for (int64_t r = 0; r < rows; r++) {
        const char *position = (const char *)position_table.address + (size_t)(r % length) * bytes;
        embed_row(type, (char *)y.address + (size_t)r * bytes,
                  (const char *)token_table.address + (size_t)ids[r] * bytes,
                  positions ? position : NULL, columns);
    }
    return ZI_OK;
}

static void add_slice(enum zi_dtype type, float *restrict to, const char *from, int64_t first,
                      int64_t count)
{
    if (type == ZI_FP32) {
        const float *restrict values = (const float *)from + first;
        for (int64_t c = 0; c < count; c++) {
            to[c] += values[c];
        }
    } else {
        const uint16_t *restrict values = (const uint16_t *)from + first;
        for (int64_t c = 0; c < count; c++) {
            to[c] += zi_bf16_to_fp32(values[c]);
        }
    }
}

static enum zi_status embed_backward(struct device_stream *stream, enum zi_dtype type,
                                     struct device_ptr dy, struct device_ptr tokens,
                                     struct device_ptr dtable, struct device_ptr dposition,
                                     const int64_t shape[3])
{
    int64_t rows = shape[0] * shape[1], length = shape[1], columns = shape[2];
    const int32_t *ids = (const int32_t *)tokens.address;
    size_t bytes = (size_t)columns * zi_dtype_bytes(type);
    int slices = stream->threads;
#pragma omp parallel for num_threads(stream->threads) if (slices > 1) schedule(static, 1)
    for (int s = 0; s < slices; s++) {
        int64_t first = columns * s / slices, count = columns * (s + 1) / slices - first;
        for (int64_t r = 0; r < rows; r++) {
            const char *from = (const char *)dy.address + (size_t)r * bytes;
            add_slice(type, cpu_fp32(dtable) + ids[r] * columns + first, from, first, count);
            if (!device_is_null(dposition))
                add_slice(type, cpu_fp32(dposition) + r % length * columns + first, from, first,
                          count);
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
        if (type == ZI_BF16)
            column_sums(ZI_BF16, from, shape, (int64_t[]){first, count}, sums);
        else
            column_sums(ZI_FP32, from, shape, (int64_t[]){first, count}, sums);
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
