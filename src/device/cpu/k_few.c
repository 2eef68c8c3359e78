/* SPDX-License-Identifier: Apache-2.0 */
/* Products of a few rows with a matrix that is stored by outputs, as generation has them: the matrix
 * is read once, as it is stored, at the speed of memory, where a library would pack it first. Each
 * result is a dot product of two rows along vectors; WIDE rows of the matrix stream at once, and
 * TALL rows of the other operand share what is read of them. */
#include "device/cpu/passes.h"

#include "device/cpu/vector.h"

enum { TALL = 4, WIDE = 4 };

/* c of one row and the columns [column, column + n), n at most WIDE, from their products. */
VEC_INLINE void few_store(enum zi_dtype type, enum zi_dtype type_c, const struct device_matmul *d,
                          const float *sums, const int64_t at[3] /* row, column, n */)
{
    int64_t column = at[1], n = at[2], place = at[0] * d->ldc + column;
    void *c = (void *)d->c.address;
    for (int64_t done = 0; done < n; done += VEC_LANES) {
        int64_t j = column + done, left = n - done;
        vec value = vec_load_part(sums + done, left < VEC_LANES ? left : VEC_LANES);
        if (!device_is_null(d->bias))
            value += vec_load_as_part(type, (const void *)d->bias.address, j, left);
        if (!device_is_null(d->residual))
            value +=
                vec_load_as_part(type_c, (const void *)d->residual.address, place + done, left);
        if (d->accumulate && d->residual.address != d->c.address)
            value += vec_load_as_part(type_c, c, place + done, left);
        vec_store_as_part(type_c, c, place + done, value, left);
    }
}

/* The products of `tall` rows with `wide` rows of the matrix. */
VEC_INLINE void few_tile(enum zi_dtype type, const struct device_matmul *d,
                         const int64_t at[2] /* row, column */, const int tall, const int wide)
{
    const void *a = (const void *)d->a.address, *b = (const void *)d->b.address;
    vec sums[TALL][WIDE];
    float results[TALL][WIDE];
    for (int i = 0; i < tall; i++)
        for (int j = 0; j < wide; j++)
            sums[i][j] = vec_set(0.0f);
    for (int64_t k = 0; k < d->k; k += VEC_LANES) {
        int64_t left = d->k - k;
        vec y[WIDE];
        for (int j = 0; j < wide; j++)
            y[j] = vec_load_as_part(type, b, (at[1] + j) * d->ldb + k, left);
        for (int i = 0; i < tall; i++) {
            vec x = vec_load_as_part(type, a, (at[0] + i) * d->lda + k, left);
            for (int j = 0; j < wide; j++)
                sums[i][j] = vec_fma(x, y[j], sums[i][j]);
        }
    }
    for (int i = 0; i < tall; i++) {
        for (int j = 0; j < wide; j++)
            results[i][j] = vec_sum(sums[i][j]);
        const int64_t place[3] = {at[0] + i, at[1], wide};
        if (d->type_c == ZI_FP32)
            few_store(type, ZI_FP32, d, results[i], place);
        else
            few_store(type, type, d, results[i], place);
    }
}

VEC_INLINE void few_rows(enum zi_dtype type, const struct device_matmul *d, int64_t column,
                         const int wide)
{
    for (int64_t row = 0; row < d->m;) {
        const int64_t at[2] = {row, column}, left = d->m - row;
        if (left >= TALL)
            few_tile(type, d, at, TALL, wide);
        else if (left >= 2)
            few_tile(type, d, at, 2, wide);
        else
            few_tile(type, d, at, 1, wide);
        row += left >= TALL ? TALL : left >= 2 ? 2 : 1;
    }
}

VEC_INLINE void few_as(enum zi_dtype type, const struct device_matmul *d)
{
    int64_t column = 0;
    for (; column + WIDE <= d->n; column += WIDE)
        few_rows(type, d, column, WIDE);
    for (; column < d->n; column++)
        few_rows(type, d, column, 1);
}

void KERNEL(cpu_few)(const struct device_matmul *d)
{
    if (d->type == ZI_BF16)
        few_as(ZI_BF16, d);
    else if (d->type == ZI_FP16)
        few_as(ZI_FP16, d);
    else
        few_as(ZI_FP32, d);
}
