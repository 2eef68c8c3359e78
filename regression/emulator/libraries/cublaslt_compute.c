/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of a product. Operands are widened to fp32 and packed into panels, so that the
 * innermost loop runs over neighbouring rows of D: each element of D has a sum of its own, made from
 * the first term to the last whatever the alignment and the vector width. Products of two numbers of
 * 16 bits are exact in fp32. */
#include "regression/emulator/libraries/cublaslt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"

/* Rows and columns of D that are summed together, in registers. */
enum { ROWS = 16, COLUMNS = 4 };

/* The compiler may not fuse multiply and add (EMULATOR_CFLAGS), so both versions have the same bits. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define WIDE_VECTORS __attribute__((target_clones("avx2", "default")))
#else
#define WIDE_VECTORS
#endif

static float load(cudaDataType_t type, const void *matrix, int64_t index)
{
    if (type == CUDA_R_32F) return ((const float *)matrix)[index];
    uint16_t bits = ((const uint16_t *)matrix)[index];
    return type == CUDA_R_16F ? zi_fp16_to_fp32(bits) : zi_bf16_to_fp32(bits);
}

static void store(cudaDataType_t type, void *matrix, int64_t index, float value)
{
    if (type == CUDA_R_32F)
        ((float *)matrix)[index] = value;
    else
        ((uint16_t *)matrix)[index] =
            type == CUDA_R_16F ? zi_fp16_round_even(value) : zi_bf16_round_even(value);
}

/* Nearest number of 10 bits of mantissa, ties to even. */
static float round_tf32(float value)
{
    uint32_t bits = zi_fp32_bits(value);
    if (!isfinite(value)) return value;
    bits += 0xfffu + (bits >> 13 & 1u);
    return zi_fp32_from_bits(bits & ~0x1fffu);
}

/* An operand as its packing sees it: element (i, l), l over k, is at i * step_i + l * step_l. */
struct operand {
    const void *matrix;
    cudaDataType_t type;
    bool tf32;
    int64_t count, k, step_i, step_l;
};

/* Panels of `width` rows: panel, then l, then row; rows beyond the last are zero. */
static float *pack(const struct operand *from, int width)
{
    int64_t panels = (from->count + width - 1) / width;
    float *packed = calloc((size_t)(panels * width * from->k), sizeof *packed);
    for (int64_t i = 0; packed && i < from->count; i++) {
        float *to = packed + (i / width) * width * from->k + i % width;
        for (int64_t l = 0; l < from->k; l++) {
            float value = load(from->type, from->matrix, i * from->step_i + l * from->step_l);
            to[l * width] = from->tf32 ? round_tf32(value) : value;
        }
    }
    return packed;
}

/* As many numbers as a panel of A has rows. */
typedef float rows_t __attribute__((vector_size(ROWS * sizeof(float))));

WIDE_VECTORS static void sum_block(const float *restrict a, const float *restrict b, int64_t k,
                                   float sums[COLUMNS][ROWS])
{
    rows_t sum0 = {0}, sum1 = {0}, sum2 = {0}, sum3 = {0}, row;
    for (int64_t l = 0; l < k; l++, b += COLUMNS) {
        memcpy(&row, a + l * ROWS, sizeof row);
        sum0 += row * b[0];
        sum1 += row * b[1];
        sum2 += row * b[2];
        sum3 += row * b[3];
    }
    memcpy(sums[0], &sum0, sizeof sum0);
    memcpy(sums[1], &sum1, sizeof sum1);
    memcpy(sums[2], &sum2, sizeof sum2);
    memcpy(sums[3], &sum3, sizeof sum3);
}

/* The approximation by tanh, with its factor sqrt(2 / pi). */
#define GELU_FACTOR 0.7978845608028654f
#define GELU_CUBIC  0.044715f

static float gelu(float x)
{
    return 0.5f * x * (1.0f + tanhf(GELU_FACTOR * (x + GELU_CUBIC * x * x * x)));
}

static float gelu_gradient(float x)
{
    float t = tanhf(GELU_FACTOR * (x + GELU_CUBIC * x * x * x));
    return 0.5f * (1.0f + t) +
           0.5f * x * (1.0f - t * t) * GELU_FACTOR * (1.0f + 3.0f * GELU_CUBIC * x * x);
}

/* Finishes element (i, j) of D, whose sum of products is given. */
static void finish(const struct lt_product *p, int64_t i, int64_t j, float sum)
{
    const struct lt_epilogue *e = &p->epilogue;
    float value = p->alpha * sum;
    if (p->beta != 0) value += p->beta * load(p->type_c, p->c, j * p->ldc + i);
    if (e->bias) value += load(p->type_c, p->bias, i);
    if (e->gelu && e->aux) store(p->type_aux, p->aux, j * p->ld_aux + i, value);
    if (e->gelu) value = gelu(value);
    if (e->gelu_gradient) value *= gelu_gradient(load(p->type_aux, p->aux, j * p->ld_aux + i));
    store(p->type_c, p->d, j * p->ldd + i, value);
}

static void multiply(const struct lt_product *p, const float *a, const float *b)
{
    float sums[COLUMNS][ROWS];
    for (int64_t j0 = 0; j0 < p->n; j0 += COLUMNS)
        for (int64_t i0 = 0; i0 < p->m; i0 += ROWS) {
            sum_block(a + i0 * p->k, b + j0 * p->k, p->k, sums);
            for (int64_t j = j0; j < p->n && j < j0 + COLUMNS; j++)
                for (int64_t i = i0; i < p->m && i < i0 + ROWS; i++)
                    finish(p, i, j, sums[j - j0][i - i0]);
        }
}

/* The sums over k of an operand, one for each row of its panels. */
static void sum_operand(const struct lt_product *p, const struct operand *of)
{
    for (int64_t i = 0; i < of->count; i++) {
        float sum = 0;
        for (int64_t l = 0; l < of->k; l++)
            sum += load(of->type, of->matrix, i * of->step_i + l * of->step_l);
        store(p->type_c, p->bias, i, sum);
    }
}

cudaError_t lt_compute(const struct lt_product *p)
{
    struct operand a = {p->a,
                        p->type,
                        p->tf32,
                        p->m,
                        p->k,
                        p->transpose_a ? p->lda : 1,
                        p->transpose_a ? 1 : p->lda};
    struct operand b = {p->b,
                        p->type,
                        p->tf32,
                        p->n,
                        p->k,
                        p->transpose_b ? 1 : p->ldb,
                        p->transpose_b ? p->ldb : 1};
    float *packed_a = pack(&a, ROWS), *packed_b = pack(&b, COLUMNS);
    if (packed_a && packed_b) multiply(p, packed_a, packed_b);
    bool packed = packed_a && packed_b;
    free(packed_a);
    free(packed_b);
    if (!packed) return cudaErrorMemoryAllocation;
    struct operand d = {p->d, p->type_c, false, p->m, p->n, 1, p->ldd};
    if (p->epilogue.sum_a) sum_operand(p, &a);
    if (p->epilogue.sum_b) sum_operand(p, &b);
    if (p->epilogue.sum_rows) sum_operand(p, &d);
    return cudaSuccess;
}
