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
#include <string.h>

#include "base/log.h"
#include "device/cpu/vector.h"

#define BLOCK      4096            /* elements of a partial sum */
#define NORM_CHUNK (BLOCK * 1024L) /* elements whose partial sums are held at once */

#define HALF (VEC_LANES / 2) /* doubles of a vector register */
typedef double half_double __attribute__((vector_size(HALF * 8)));
typedef float half_float __attribute__((vector_size(HALF * 4)));
typedef uint32_t half_bits __attribute__((vector_size(HALF * 4)));

VEC_INLINE half_double squares(half_bits bits)
{
#if defined(VEC_AVX512)
    half_double value = (half_double)_mm512_cvtps_pd((__m256)bits);
#elif defined(VEC_AVX2)
    half_double value = (half_double)_mm256_cvtps_pd((__m128)bits);
#else
    half_double value = __builtin_convertvector((half_float)bits, half_double);
#endif
    return value * value;
}

/* Adds the squares of 2 HALF values from i on. Of bf16, two at a time lie in a word; which lane
 * takes which does not matter as long as it is always the same. */
VEC_INLINE void add_squares(enum zi_dtype type, const void *base, int64_t i, half_double sums[2])
{
    half_bits bits[2];
    if (type == ZI_BF16) {
        half_bits words;
        memcpy(&words, (const uint16_t *)base + i, sizeof words);
        bits[0] = words << 16;
        bits[1] = words & 0xffff0000u;
    } else {
        memcpy(bits, (const float *)base + i, sizeof bits);
    }
    sums[0] += squares(bits[0]);
    sums[1] += squares(bits[1]);
}

VEC_INLINE float load_one(enum zi_dtype type, const void *base, int64_t i)
{
    if (type == ZI_BF16) return zi_bf16_to_fp32(((const uint16_t *)base)[i]);
    return ((const float *)base)[i];
}

/* Squares of fp32 values are exact in double and neither vanish nor overflow there, nor does their
 * sum: it is finite only if all values are. */
VEC_INLINE double sum_squares(enum zi_dtype type, const void *base, int64_t first, int64_t count)
{
    half_double sums[4] = {{0}}, total;
    int64_t i = first, end = first + count;
    for (; i + 4 * HALF <= end; i += 4 * HALF) {
        add_squares(type, base, i, sums);
        add_squares(type, base, i + 2 * HALF, sums + 2);
    }
    total = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    double sum = 0;
    for (int lane = 0; lane < HALF; lane++) {
        sum += total[lane];
    }
    for (; i < end; i++) {
        double value = (double)load_one(type, base, i);
        sum += value * value;
    }
    return sum;
}

/* As above, of the finite values only, with a count of the others: the rare case. */
static double sum_finite_squares(enum zi_dtype type, const void *base, const int64_t range[2],
                                 uint64_t *nonfinite)
{
    double sum = 0;
    for (int64_t i = range[0]; i < range[0] + range[1]; i++) {
        float value = load_one(type, base, i);
        if (isfinite(value))
            sum += (double)value * (double)value;
        else
            *nonfinite += 1;
    }
    return sum;
}

static double block_squares(enum zi_dtype type, const void *base, const int64_t range[2],
                            uint64_t *nonfinite)
{
    double sum = type == ZI_BF16 ? sum_squares(ZI_BF16, base, range[0], range[1])
                                 : sum_squares(ZI_FP32, base, range[0], range[1]);
    return isfinite(sum) ? sum : sum_finite_squares(type, base, range, nonfinite);
}

static enum zi_status gradient_norm(struct device_stream *stream, enum zi_dtype type,
                                    struct device_ptr gradient, int64_t count,
                                    struct device_ptr sums)
{
    struct device_norm_sums *total = (struct device_norm_sums *)sums.address;
    const void *base = (const void *)gradient.address;
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
            partial[b] = block_squares(type, base, (int64_t[]){first, some}, &nonfinite);
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

VEC_INLINE vec square_root(vec x)
{
#if defined(VEC_AVX512)
    return (vec)_mm512_sqrt_ps((__m512)x);
#elif defined(VEC_AVX2)
    return (vec)_mm256_sqrt_ps((__m256)x);
#else
    for (int i = 0; i < VEC_LANES; i++) {
        x[i] = sqrtf(x[i]);
    }
    return x;
#endif
}

typedef uint16_t vec_bf16 __attribute__((vector_size(VEC_LANES * 2)));

/* A range of the step: arrays at their element 0, and the types of gradient and parameter. */
struct range {
    float *w, *m, *v;
    const void *g;
    uint16_t *p; /* or NULL */
    int64_t first, count;
};

/* n lanes from element i on; each element has the same operations wherever a range starts. */
VEC_INLINE void update_lanes(const struct factors *f, enum zi_dtype type, const struct range *r,
                             int64_t i, int64_t n)
{
    vec gradient = vec_load_as_part(type, r->g, i, n) * vec_set(f->scale);
    vec first = vec_set(f->beta1) * vec_load_as_part(ZI_FP32, r->m, i, n);
    vec second = vec_set(f->beta2) * vec_load_as_part(ZI_FP32, r->v, i, n);
    vec w = vec_load_as_part(ZI_FP32, r->w, i, n) * vec_set(f->keep);
    first += vec_set(f->rest1) * gradient;
    second += vec_set(f->rest2) * (gradient * gradient);
    w -= vec_set(f->rate) * first /
         (square_root(second * vec_set(f->inverse2)) + vec_set(f->epsilon));
    vec_store_as_part(ZI_FP32, r->m, i, first, n);
    vec_store_as_part(ZI_FP32, r->v, i, second, n);
    vec_store_as_part(ZI_FP32, r->w, i, w, n);
    if (r->p) {
        vec_bf16 away = __builtin_convertvector(((vec_bits)w + 0x8000u) >> 16, vec_bf16);
        memcpy(r->p + i, &away, (size_t)n * sizeof *r->p);
    }
}

VEC_INLINE void update_range(const struct factors *factors, enum zi_dtype type,
                             const struct range *range)
{
    const struct factors f = *factors;
    const struct range r = *range;
    int64_t i = r.first, end = r.first + r.count;
    for (; i + VEC_LANES <= end; i += VEC_LANES)
        update_lanes(&f, type, &r, i, VEC_LANES);
    if (i < end) update_lanes(&f, type, &r, i, end - i);
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
#pragma omp parallel for num_threads(stream->threads) reduction(+ : total) schedule(static)        \
    if (blocks > 8 && stream->threads > 1)
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = b * BLOCK, some = a->count - first < BLOCK ? a->count - first : BLOCK;
        const struct range range = {cpu_fp32(a->master),
                                    cpu_fp32(a->moment1),
                                    cpu_fp32(a->moment2),
                                    (const void *)a->gradient.address,
                                    cpu_bf16(a->parameter),
                                    first,
                                    some};
        if (a->gradient_type == ZI_BF16)
            update_range(&f, ZI_BF16, &range);
        else
            update_range(&f, ZI_FP32, &range);
        total += block_checksum(cpu_fp32(a->master) + first, some, a->checksum_seed,
                                a->checksum_first + (uint64_t)first);
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
