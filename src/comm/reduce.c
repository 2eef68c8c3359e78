/* SPDX-License-Identifier: Apache-2.0 */
/* Adding up what the ranks sent. Sums are made in rank order: the value of rank 0, plus that of
 * rank 1, and so on, in fp32. That order is a property of the result, so every place that needs the
 * sum of an element gets the same bits, and a run repeats.
 *
 * On a wire of 16 bits each contribution is rounded to nearest even before it is sent. The rank's own
 * contribution never crosses the wire but is rounded just the same: otherwise the sum would depend
 * on which rank owns the element.
 *
 * Work goes block by block through a buffer that stays in the first-level cache, so each
 * contribution is read once and the sum is written once. The loops over a block are plain, without
 * aliasing, and vectorise at -O2 with the simd pragma. */
#include "comm/reduce.h"

#include "base/half.h"
#include "comm/comm.h"

#include <string.h>

#define BLOCK        2048                 /* elements: 8 KiB of fp32 */
#define CHUNK_MOST   ((int64_t)256 << 10) /* elements: 1 MiB stays in the second-level cache */
#define CHUNK_LEAST  ((int64_t)4 << 10)
#define SCRATCH_MOST ((int64_t)16 << 20) /* elements; kept to while CHUNK_LEAST allows it */

/* Makes a function several times, for wider vectors too; the loader picks. None of them multiplies,
 * so no instruction set can fuse what another rounds: all give the same bits. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define WIDE_VECTORS __attribute__((target_clones("avx2", "default")))
#else
#define WIDE_VECTORS
#endif

int64_t comm_reduce_chunk(int ranks, int64_t count)
{
    int64_t chunk = SCRATCH_MOST / (2 * (int64_t)(ranks - 1));
    if (chunk > CHUNK_MOST) chunk = CHUNK_MOST;
    if (chunk < CHUNK_LEAST) chunk = CHUNK_LEAST;
    return count < chunk ? count : chunk;
}

size_t comm_reduce_scratch(int ranks, int64_t count)
{
    if (ranks < 2) return 0;
    int64_t chunk = comm_reduce_chunk(ranks, count);
    int64_t halves = count > chunk ? 2 : 1;
    return (size_t)(halves * (ranks - 1) * chunk) * sizeof(float);
}

/* The loops over numbers of one type of 16 bits: rounding; a contribution, and a rank's own, rounded
 * first, stored in a sum or added to it. */
#define HALF_LOOPS(half)                                                                           \
    WIDE_VECTORS static void round_##half(const float *restrict from, uint16_t *restrict to,       \
                                          int64_t count)                                           \
    {                                                                                              \
        _Pragma("omp simd") for (int64_t i = 0; i < count; i++) to[i] =                            \
            zi_##half##_round_even(from[i]);                                                       \
    }                                                                                              \
    WIDE_VECTORS static void set_##half(float *restrict sum, const uint16_t *restrict values,      \
                                        int64_t count)                                             \
    {                                                                                              \
        _Pragma("omp simd") for (int64_t i = 0; i < count; i++) sum[i] =                           \
            zi_##half##_to_fp32(values[i]);                                                        \
    }                                                                                              \
    WIDE_VECTORS static void add_##half(float *restrict sum, const uint16_t *restrict values,      \
                                        int64_t count)                                             \
    {                                                                                              \
        _Pragma("omp simd") for (int64_t i = 0; i < count; i++) sum[i] +=                          \
            zi_##half##_to_fp32(values[i]);                                                        \
    }                                                                                              \
    WIDE_VECTORS static void set_rounded_##half(float *restrict sum, const float *restrict values, \
                                                int64_t count)                                     \
    {                                                                                              \
        _Pragma("omp simd") for (int64_t i = 0; i < count; i++) sum[i] =                           \
            zi_##half##_to_fp32(zi_##half##_round_even(values[i]));                                \
    }                                                                                              \
    WIDE_VECTORS static void add_rounded_##half(float *restrict sum, const float *restrict values, \
                                                int64_t count)                                     \
    {                                                                                              \
        _Pragma("omp simd") for (int64_t i = 0; i < count; i++) sum[i] +=                          \
            zi_##half##_to_fp32(zi_##half##_round_even(values[i]));                                \
    }

HALF_LOOPS(bf16)
HALF_LOOPS(fp16)

void comm_round_in_place(enum zi_dtype type, void *values, int64_t count)
{
    uint16_t rounded[BLOCK];
    float block[BLOCK];
    char *memory = values;
    for (int64_t first = 0; first < count; first += BLOCK) {
        int64_t n = count - first < BLOCK ? count - first : BLOCK;
        memcpy(block, memory + first * 4, (size_t)n * 4);
        if (type == ZI_FP16)
            round_fp16(block, rounded, n);
        else
            round_bf16(block, rounded, n);
        memcpy(memory + first * 2, rounded, (size_t)n * 2);
    }
}

WIDE_VECTORS static void add_fp32(float *restrict sum, const float *restrict values, int64_t count)
{
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        sum[i] += values[i];
}

/* The first contribution is stored, not added to zero: -0 stays -0. */
static void take_fp32(float *sum, const float *values, int64_t count, int is_first)
{
    if (is_first)
        memcpy(sum, values, (size_t)count * sizeof *sum);
    else
        add_fp32(sum, values, count);
}

static void take_half(enum zi_dtype type, float *sum, const uint16_t *values, int64_t count,
                      int is_first)
{
    if (type == ZI_FP16)
        (is_first ? set_fp16 : add_fp16)(sum, values, count);
    else
        (is_first ? set_bf16 : add_bf16)(sum, values, count);
}

static void take_unrounded(float *sum, const float *values, int64_t count, int is_first,
                           enum zi_dtype wire)
{
    if (wire == ZI_FP32)
        take_fp32(sum, values, count, is_first);
    else if (wire == ZI_FP16)
        (is_first ? set_rounded_fp16 : add_rounded_fp16)(sum, values, count);
    else
        (is_first ? set_rounded_bf16 : add_rounded_bf16)(sum, values, count);
}

void comm_add_in_rank_order(const struct comm_contributions *contributions, float *sum)
{
    const struct comm_contributions *c = contributions;
    float block[BLOCK];
    for (int64_t first = 0; first < c->count; first += BLOCK) {
        int64_t n = c->count - first < BLOCK ? c->count - first : BLOCK;
        for (int rank = 0; rank < c->size; rank++) {
            int64_t place = (int64_t)(rank < c->rank ? rank : rank - 1) * c->stride + first;
            if (rank == c->rank)
                take_unrounded(block, c->own + first, n, rank == 0, c->wire);
            else if (c->others_type == ZI_FP32)
                take_unrounded(block, (const float *)c->others + place, n, rank == 0, c->wire);
            else
                take_half(c->wire, block, (const uint16_t *)c->others + place, n, rank == 0);
        }
        memcpy(sum + first, block, (size_t)n * sizeof *sum);
    }
}
