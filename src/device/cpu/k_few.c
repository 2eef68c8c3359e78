/* SPDX-License-Identifier: Apache-2.0 */
/* Products of a few rows with a matrix that is stored by outputs, as generation has them: the matrix
 * is read once, as it is stored, at the speed of memory, where a library would pack it first. A result
 * is a dot product of two rows along vectors; those of WIDE rows of the matrix are made at once, so
 * that their partial sums are transposed and added up as vectors, and no row is summed across lanes by
 * itself. Further rows of the other operand find these in the cache. */
#include "device/cpu/passes.h"

#include "device/cpu/vector.h"

enum { WIDE = VEC_LANES };

/* c of one row and the columns [column, column + n), n at most WIDE, from their products. */
VEC_INLINE void few_store(enum zi_dtype type, enum zi_dtype type_c, const struct device_matmul *d,
                          vec value, const int64_t at[3] /* row, column, n */)
{
    int64_t column = at[1], n = at[2], place = at[0] * d->ldc + column;
    void *c = (void *)d->c.address;
    if (d->scale != 0) value *= vec_set(d->scale);
    if (!device_is_null(d->bias))
        value += vec_load_as_part(type, (const void *)d->bias.address, column, n);
    if (!device_is_null(d->residual))
        value += vec_load_as_part(type_c, (const void *)d->residual.address, place, n);
    if (d->accumulate && d->residual.address != d->c.address)
        value += vec_load_as_part(type_c, c, place, n);
    vec_store_as_part(type_c, c, place, value, n);
}

/* Bytes of a line of the caches. */
#define LINE 64

/* The products of a row with WIDE rows of the matrix, of which those behind its end are its last.
 * Meanwhile the lines `ahead` bytes behind them are asked for, 0: none. Rows are too short, and too
 * many at once, for the processor to see by itself where they go on. */
VEC_INLINE vec few_dots(enum zi_dtype type, const struct device_matmul *d, const char *a,
                        const char *const b[WIDE], size_t ahead)
{
    vec sums[WIDE];
    int64_t k = 0, line = (int64_t)(LINE / zi_dtype_bytes(type));
    for (int j = 0; j < WIDE; j++)
        sums[j] = vec_set(0.0f);
    for (; k + VEC_LANES <= d->k; k += VEC_LANES) {
        for (int j = 0; j < WIDE && ahead && k % line == 0; j++)
            __builtin_prefetch(b[j] + ahead + (size_t)k * zi_dtype_bytes(type));
        vec x = vec_load_as(type, a, k);
#pragma GCC unroll 16
        for (int j = 0; j < WIDE; j++)
            sums[j] = vec_fma(vec_load_as(type, b[j], k), x, sums[j]);
    }
    if (k < d->k) {
        vec x = vec_load_as_part(type, a, k, d->k - k);
#pragma GCC unroll 16
        for (int j = 0; j < WIDE; j++)
            sums[j] = vec_fma(vec_load_as_part(type, b[j], k, d->k - k), x, sums[j]);
    }
    vec_transpose(sums);
    for (int half = WIDE / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            sums[j] += sums[j + half];
    return sums[0];
}

VEC_INLINE void few_as(enum zi_dtype type, const struct device_matmul *d)
{
    size_t bytes = zi_dtype_bytes(type);
    const char *a = (const char *)d->a.address, *b = (const char *)d->b.address, *rows[WIDE];
    for (int64_t column = 0; column < d->n; column += WIDE) {
        int64_t n = d->n - column < WIDE ? d->n - column : WIDE;
        for (int64_t j = 0; j < WIDE; j++)
            rows[j] = b + (size_t)((column + (j < n ? j : n - 1)) * d->ldb) * bytes;
        for (int64_t row = 0; row < d->m; row++) {
            size_t ahead = row == 0 && n == WIDE ? (size_t)(WIDE * d->ldb) * bytes : 0;
            vec value = few_dots(type, d, a + (size_t)(row * d->lda) * bytes, rows, ahead);
            const int64_t place[3] = {row, column, n};
            if (d->type_c == ZI_FP32)
                few_store(type, ZI_FP32, d, value, place);
            else
                few_store(type, type, d, value, place);
        }
    }
}

static void few_fp32(const struct device_matmul *d)
{
    few_as(ZI_FP32, d);
}

static void few_bf16(const struct device_matmul *d)
{
    few_as(ZI_BF16, d);
}

static void few_fp16(const struct device_matmul *d)
{
    few_as(ZI_FP16, d);
}

void KERNEL(cpu_few)(const struct device_matmul *d)
{
    if (d->type == ZI_BF16)
        few_bf16(d);
    else if (d->type == ZI_FP16)
        few_fp16(d);
    else
        few_fp32(d);
}
