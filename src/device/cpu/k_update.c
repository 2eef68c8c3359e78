/* SPDX-License-Identifier: Apache-2.0 */
/* The optimizer's kernels: norm of gradients, AdamW with the checksum of what it leaves, checksum.
 *
 * AdamW is bound by memory: 28 bytes move per parameter, so one pass does everything that is to be
 * done to them. Work goes in blocks of fixed size that stay in the first-level cache between the
 * update and the checksum; sums over blocks are made in order of blocks, so no result depends on
 * the number of threads. Loops are plain and free of aliasing (and of errno, see configure), so
 * that they vectorise for every instruction set. */
#include "device/cpu/kernel.h"

#include <math.h>
#include <stdlib.h>

#include "base/log.h"

#define BLOCK      4096            /* elements of a partial sum */
#define NORM_CHUNK (BLOCK * 1024L) /* elements whose partial sums are held at once */

/* Squares are summed in 16 columns of float within 256 elements, then in double: the error of a
 * block stays near that of one rounding, and the inner loop vectorises. */
static double block_squares(const float *restrict values, int64_t count, uint64_t *nonfinite)
{
    double sum = 0;
    uint32_t bad = 0;
    for (int64_t first = 0; first < count; first += 256) {
        int64_t end = first + 256 < count ? first + 256 : count, i = first;
        float columns[16] = {0};
        for (; i + 16 <= end; i += 16) {
            for (int c = 0; c < 16; c++) {
                float value = values[i + c];
                uint32_t infinite = (zi_fp32_bits(value) & 0x7f800000u) == 0x7f800000u;
                bad += infinite;
                value = infinite ? 0.0f : value;
                columns[c] += value * value;
            }
        }
        for (; i < end; i++) {
            uint32_t infinite = (zi_fp32_bits(values[i]) & 0x7f800000u) == 0x7f800000u;
            bad += infinite;
            sum += infinite ? 0.0 : (double)values[i] * values[i];
        }
        for (int c = 0; c < 16; c++) {
            sum += columns[c];
        }
    }
    *nonfinite += bad;
    /* Squares of large finite values may overflow fp32: such a block is summed again in double. */
    if (isfinite(sum)) return sum;
    sum = 0;
    for (int64_t i = 0; i < count; i++) {
        if (isfinite(values[i])) sum += (double)values[i] * values[i];
    }
    return sum;
}

static enum zi_status gradient_norm(struct device_stream *stream, enum zi_dtype type,
                                    struct device_ptr gradient, int64_t count,
                                    struct device_ptr sums)
{
    struct device_norm_sums *total = (struct device_norm_sums *)sums.address;
    double partial[NORM_CHUNK / BLOCK];
    for (int64_t begin = 0; begin < count; begin += NORM_CHUNK) {
        int64_t length = count - begin < NORM_CHUNK ? count - begin : NORM_CHUNK;
        int64_t blocks = (length + BLOCK - 1) / BLOCK;
        uint64_t nonfinite = 0;
#pragma omp parallel for num_threads(stream->threads) reduction(+ : nonfinite)                     \
    if (blocks > 8 && stream->threads > 1)
        for (int64_t b = 0; b < blocks; b++) {
            int64_t first = begin + b * BLOCK;
            int64_t some = count - first < BLOCK ? count - first : BLOCK;
            float wide[BLOCK];
            const float *values = cpu_fp32(gradient) + first;
            if (type == ZI_BF16) {
                const uint16_t *narrow = cpu_bf16(gradient) + first;
                for (int64_t i = 0; i < some; i++) {
                    wide[i] = zi_bf16_to_fp32(narrow[i]);
                }
                values = wide;
            }
            partial[b] = block_squares(values, some, &nonfinite);
        }
        for (int64_t b = 0; b < blocks; b++) {
            total->squares += partial[b];
        }
        total->nonfinite += nonfinite;
    }
    return ZI_OK;
}

/* The sum that device/operations.h states: bits times an odd 32-bit weight of (seed, index). */
static uint64_t block_checksum(const float *restrict values, int64_t count, uint64_t seed,
                               uint64_t first)
{
    uint64_t sum = 0;
    uint32_t start = (uint32_t)(first + seed) * 0x9e3779b1u;
    for (int64_t i = 0; i < count; i++) {
        uint32_t weight = (start + (uint32_t)i * 0x9e3779b1u) | 1u;
        sum += (uint64_t)zi_fp32_bits(values[i]) * weight;
    }
    return sum;
}

static enum zi_status checksum(struct device_stream *stream, struct device_ptr x, int64_t count,
                               uint64_t seed, uint64_t first, struct device_ptr sum)
{
    uint64_t total = 0;
    int64_t blocks = (count + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads(stream->threads) reduction(+ : total)                         \
    if (blocks > 8 && stream->threads > 1)
    for (int64_t b = 0; b < blocks; b++) {
        int64_t from = b * BLOCK, some = count - from < BLOCK ? count - from : BLOCK;
        total += block_checksum(cpu_fp32(x) + from, some, seed, first + (uint64_t)from);
    }
    *(uint64_t *)sum.address += total;
    return ZI_OK;
}

/* Factors of one step, in fp32. */
struct factors {
    float beta1, rest1, beta2, rest2, rate, inverse2, epsilon, keep, scale;
};

static inline void update_block(const struct factors *f, float *restrict w, float *restrict m,
                                float *restrict v, const float *restrict g, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        float gradient = g[i] * f->scale;
        float first = f->beta1 * m[i] + f->rest1 * gradient;
        float second = f->beta2 * v[i] + f->rest2 * (gradient * gradient);
        m[i] = first;
        v[i] = second;
        w[i] = w[i] * f->keep - f->rate * first / (sqrtf(second * f->inverse2) + f->epsilon);
    }
}

static inline void widen_block(float *restrict to, const uint16_t *restrict from, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        to[i] = zi_bf16_to_fp32(from[i]);
    }
}

static inline void round_block(uint16_t *restrict to, const float *restrict from, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        to[i] = zi_bf16_round_away(from[i]);
    }
}

static enum zi_status adam(struct device_stream *stream, const struct device_adam *a)
{
    struct factors f = {
        .beta1 = a->beta1,
        .rest1 = 1.0f - a->beta1,
        .beta2 = a->beta2,
        .rest2 = 1.0f - a->beta2,
        .rate = a->learning_rate / a->correction1,
        .inverse2 = 1.0f / a->correction2,
        .epsilon = a->epsilon,
        .keep = 1.0f - a->learning_rate * a->decay,
        .scale = a->scale,
    };
    uint64_t total = 0;
    int64_t blocks = (a->count + BLOCK - 1) / BLOCK;
    bool narrow = a->gradient_type == ZI_BF16, writes = !device_is_null(a->parameter);
#pragma omp parallel for num_threads(stream->threads) reduction(+ : total) schedule(static)        \
    if (blocks > 8 && stream->threads > 1)
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = b * BLOCK, some = a->count - first < BLOCK ? a->count - first : BLOCK;
        float wide[BLOCK];
        float *w = cpu_fp32(a->master) + first;
        const float *g = cpu_fp32(a->gradient) + first;
        if (narrow) {
            widen_block(wide, cpu_bf16(a->gradient) + first, some);
            g = wide;
        }
        update_block(&f, w, cpu_fp32(a->moment1) + first, cpu_fp32(a->moment2) + first, g, some);
        if (writes) round_block(cpu_bf16(a->parameter) + first, w, some);
        total += block_checksum(w, some, a->checksum_seed, a->checksum_first + (uint64_t)first);
    }
    *(uint64_t *)a->checksum.address += total;
    return ZI_OK;
}

void KERNEL(cpu_update_register)(struct device_operations *operations)
{
    operations->gradient_norm = gradient_norm;
    operations->adam = adam;
    operations->checksum = checksum;
}
