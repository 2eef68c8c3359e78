/* SPDX-License-Identifier: Apache-2.0 */
/* The optimizer's kernels: norm of gradients, AdamW with the checksum of what it leaves, checksum.
 *
 * AdamW is bound by memory: 26 to 28 bytes move per parameter, so one pass does everything that is
 * to be done to them, in place: a line that is written has been read just before. Work goes in
 * blocks of fixed size; the weights of a block stay in the first-level cache between the update and
 * the checksum. Sums over blocks are made in order of blocks, and checksums do not depend on order,
 * so no result depends on the number of threads.
 *
 * A split weight is put together in a register, updated with the instructions of a whole one, and
 * cut again: both forms give the same bits (with fp16 from 2^-17 on). The lower half is the
 * remainder as it is; rounding half away from zero carries exactly where the remainder, as a signed
 * number, is negative.
 *
 * Moments of 8 bits are decoded for a pass, updated as any other, and encoded again; they stay in the
 * first-level cache meanwhile. */
#include "device/cpu/kernel.h"

#include <math.h>
#include <string.h>

#include "base/log.h"
#include "device/cpu/blocks.h"
#include "device/cpu/passes.h"
#include "device/cpu/vector.h"
#include "device/update.h"

#define PASS 1024 /* elements between an update and its checksum */

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

/* Vector registers of the partial sums of a block. */
enum { REGISTERS = NORM_FOLD / HALF };

/* Adds the squares of NORM_FOLD values from i on. Of bf16, two at a time lie in a word: of a pair of
 * registers the first takes the even elements, the other the odd ones. */
VEC_INLINE void add_squares(enum zi_dtype type, const void *base, int64_t i,
                            half_double sums[REGISTERS])
{
#pragma GCC unroll 16
    for (int r = 0; r < REGISTERS; r += 2) {
        half_bits bits[2];
        if (type == ZI_BF16) {
            half_bits words;
            memcpy(&words, (const uint16_t *)base + i + r * HALF, sizeof words);
            bits[0] = words << 16;
            bits[1] = words & 0xffff0000u;
        } else {
            vec values = vec_load_as(type, base, i + r * HALF);
            memcpy(bits, &values, sizeof bits);
        }
        sums[r] += squares(bits[0]);
        sums[r + 1] += squares(bits[1]);
    }
}

/* The partial sums in the order of their elements. */
VEC_INLINE void sums_store(enum zi_dtype type, const half_double sums[REGISTERS],
                           double partial[NORM_FOLD])
{
    for (int r = 0; r < REGISTERS; r += 2) {
        for (int lane = 0; lane < HALF; lane++) {
            int first = r * HALF + (type == ZI_BF16 ? 2 * lane : lane);
            partial[first] = sums[r][lane];
            partial[first + (type == ZI_BF16 ? 1 : HALF)] = sums[r + 1][lane];
        }
    }
}

/* The sum in the order that device/update.h states; the numbers are used up. */
static double fold(double numbers[NORM_FOLD])
{
    for (int half = NORM_FOLD / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            numbers[i] += numbers[i + half];
    return numbers[0];
}

VEC_INLINE float load_one(enum zi_dtype type, const void *base, int64_t i)
{
    if (type != ZI_FP32) return zi_half_to_fp32(type, ((const uint16_t *)base)[i]);
    return ((const float *)base)[i];
}

/* Squares of fp32 values are exact in double and neither vanish nor overflow there, nor does their
 * sum: it is finite only if all values are. */
VEC_INLINE double sum_squares(enum zi_dtype type, const void *base, int64_t first, int64_t count)
{
    half_double sums[REGISTERS] = {{0}};
    double partial[NORM_FOLD];
    int64_t i = 0;
    for (; i + NORM_FOLD <= count; i += NORM_FOLD)
        add_squares(type, base, first + i, sums);
    sums_store(type, sums, partial);
    for (; i < count; i++) {
        double value = (double)load_one(type, base, first + i);
        partial[i % NORM_FOLD] += value * value;
    }
    return fold(partial);
}

/* As above, of the finite values only, with a count of the others: the rare case. */
static double sum_finite_squares(enum zi_dtype type, const void *base, const int64_t range[2],
                                 uint64_t *nonfinite)
{
    double partial[NORM_FOLD] = {0};
    for (int64_t i = 0; i < range[1]; i++) {
        float value = load_one(type, base, range[0] + i);
        if (isfinite(value))
            partial[i % NORM_FOLD] += (double)value * (double)value;
        else
            *nonfinite += 1;
    }
    return fold(partial);
}

static double block_squares(enum zi_dtype type, const void *base, const int64_t range[2],
                            uint64_t *nonfinite)
{
    double sum = type == ZI_BF16   ? sum_squares(ZI_BF16, base, range[0], range[1])
                 : type == ZI_FP16 ? sum_squares(ZI_FP16, base, range[0], range[1])
                                   : sum_squares(ZI_FP32, base, range[0], range[1]);
    return isfinite(sum) ? sum : sum_finite_squares(type, base, range, nonfinite);
}

/* Elements of a gradient that no cache of a core holds: what is rounded goes past the caches. */
#define ROUND_FAR ((int64_t)1 << 20)

/* A gradient whose norm is taken, and what it is rounded from first. */
struct gradient {
    enum zi_dtype type;
    char *at;
    /* May be NULL: it is there already. */
    const float *from;
    int64_t count;
};

VEC_INLINE void round_lanes(enum zi_dtype type, void *to, const float *from, int64_t count)
{
    for (int64_t i = 0; i < count; i += VEC_LANES)
        vec_store_even_part(type, to, i, vec_load_as_part(ZI_FP32, from, i, count - i), count - i);
}

/* Rounds `count` elements from `first` on, NORM_BLOCK at most, and gives their squares while the
 * first-level cache has them. */
static double block_round(const struct gradient *g, const int64_t range[2], uint64_t *nonfinite)
{
    _Alignas(64) char block[NORM_BLOCK * sizeof(float)];
    size_t bytes = zi_dtype_bytes(g->type);
    char *home = g->at + (size_t)range[0] * bytes, *to = g->count < ROUND_FAR ? home : block;
    KERNEL_BY_TYPE(g->type, round_lanes, to, g->from + range[0], range[1]);
    if (to == block) KERNEL(cpu_passes_get)()->copy(home, block, (size_t)range[1] * bytes);
    return block_squares(g->type, to, (const int64_t[]){0, range[1]}, nonfinite);
}

static void norm_add(struct device_stream *stream, const struct gradient *g,
                     struct device_norm_sums *total)
{
    for (int64_t begin = 0; begin < g->count; begin += NORM_SPAN) {
        int64_t length = g->count - begin < NORM_SPAN ? g->count - begin : NORM_SPAN;
        int64_t blocks = (length + NORM_BLOCK - 1) / NORM_BLOCK;
        int64_t chunks = (length + NORM_CHUNK - 1) / NORM_CHUNK;
        double partial[NORM_SPAN / NORM_BLOCK], sum[NORM_FOLD] = {0};
        uint64_t nonfinite = 0;
#pragma omp parallel for num_threads(stream->threads) reduction(+ : nonfinite)                     \
    if (blocks > 8 && stream->threads > 1)
        for (int64_t b = 0; b < blocks; b++) {
            int64_t first = begin + b * NORM_BLOCK, rest = g->count - first;
            const int64_t range[2] = {first, rest < NORM_BLOCK ? rest : NORM_BLOCK};
            partial[b] = g->from ? block_round(g, range, &nonfinite)
                                 : block_squares(g->type, g->at, range, &nonfinite);
        }
        for (int64_t b = blocks; b < chunks * NORM_FOLD; b++)
            partial[b] = 0;
        for (int64_t c = 0; c < chunks; c++)
            sum[c] = fold(partial + c * NORM_FOLD);
        total->squares += fold(sum);
        total->nonfinite += nonfinite;
    }
}

static enum zi_status gradient_norm(struct device_stream *stream, enum zi_dtype type,
                                    struct device_ptr gradient, int64_t count,
                                    struct device_ptr sums)
{
    const struct gradient g = {type, (char *)gradient.address, NULL, count};
    norm_add(stream, &g, (struct device_norm_sums *)sums.address);
    return ZI_OK;
}

static enum zi_status gradient_round(struct device_stream *stream, enum zi_dtype type,
                                     struct device_ptr gradient, struct device_ptr from,
                                     int64_t count, struct device_ptr sums)
{
    const struct gradient g = {type, (char *)gradient.address, cpu_fp32(from), count};
    norm_add(stream, &g, (struct device_norm_sums *)sums.address);
    return ZI_OK;
}

/* The fp32 weights of a range: whole, or split into parameters of 16 bits and remainders. */
struct weights {
    void *parameter;
    int16_t *remainder;
};

typedef uint16_t vec_upper __attribute__((vector_size(VEC_LANES * 2)));
typedef int16_t vec_lower __attribute__((vector_size(VEC_LANES * 2)));

/* The lanes of `then` where a mask is all ones, of `other` where it is 0. */
VEC_INLINE vec_bits choose(vec_bits mask, vec_bits then, vec_bits other)
{
    return (mask & then) | (~mask & other);
}

/* The bits that are cut in two: of bf16 those of the weight, of fp16 as zi_fp16_master_bits. */
VEC_INLINE vec_bits master_bits(enum zi_dtype type, vec value)
{
    vec_bits bits = (vec_bits)value, magnitude = bits & 0x7fffffffu;
    if (type == ZI_BF16) return bits;
    vec_bits bounded =
        choose((vec_bits)(magnitude < 0x47800000u), magnitude, (vec_bits){0} + 0x47800000u);
    vec_bits is_small = (vec_bits)(bounded < 0x38800000u);
    vec scaled = (vec)(is_small & bounded) * 0x1p40f;
    vec_bits near = (vec_bits)((scaled + 0x1p23f) - 0x1p23f);
    vec whole = (vec)choose((vec_bits)(scaled < 0x1p23f), near, (vec_bits)scaled);
    vec_bits small = (vec_bits) __builtin_convertvector(whole, vec_int);
    return choose(is_small, small, (bounded - (112u << 23)) << 3) | (bits & 0x80000000u);
}

/* The weight of these bits. */
VEC_INLINE vec from_master_bits(enum zi_dtype type, vec_bits bits)
{
    vec_bits magnitude = bits & 0x7fffffffu, is_small = (vec_bits)(magnitude < 0x04000000u);
    if (type == ZI_BF16) return (vec)bits;
    vec small = __builtin_convertvector((vec_int)(is_small & magnitude), vec) * 0x1p-40f;
    vec_bits wide = choose(is_small, (vec_bits)small, (magnitude >> 3) + (112u << 23));
    return (vec)(wide | (bits & 0x80000000u));
}

/* n lanes from element i on; `type` is a constant. */
VEC_INLINE vec load_weights(enum zi_dtype type, const struct weights *w, int64_t i, int64_t n)
{
    if (type == ZI_FP32) return vec_load_as_part(ZI_FP32, w->parameter, i, n);
    vec_lower lower = {0};
    vec_upper upper = {0};
    memcpy(&lower, w->remainder + i, (size_t)n * sizeof *w->remainder);
    memcpy(&upper, (const uint16_t *)w->parameter + i, (size_t)n * sizeof(uint16_t));
    vec_bits high = __builtin_convertvector(upper, vec_bits) << 16;
    return from_master_bits(type, high + (vec_bits) __builtin_convertvector(lower, vec_int));
}

/* Gives the weights as they are kept: of fp16 tiny ones are rounded. */
VEC_INLINE vec store_weights(enum zi_dtype type, const struct weights *w, int64_t i, vec value,
                             int64_t n)
{
    if (type == ZI_FP32) {
        vec_store_as_part(ZI_FP32, w->parameter, i, value, n);
        return value;
    }
    vec_bits bits = master_bits(type, value);
    vec_upper upper = __builtin_convertvector((bits + 0x8000u) >> 16, vec_upper);
    vec_upper lower = __builtin_convertvector(bits & 0xffffu, vec_upper);
    memcpy((uint16_t *)w->parameter + i, &upper, (size_t)n * sizeof(uint16_t));
    memcpy(w->remainder + i, &lower, (size_t)n * sizeof(int16_t));
    return type == ZI_FP16 ? from_master_bits(type, bits) : value;
}

typedef uint64_t vec_wide __attribute__((vector_size(VEC_LANES * 4)));

/* 64-bit products of the lower halves of the 64-bit lanes: one instruction, which compilers do not
 * find in a product of widened lanes. */
VEC_INLINE vec_wide lower_products(vec_wide a, vec_wide b)
{
#if defined(VEC_AVX512)
    return (vec_wide)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(VEC_AVX2)
    return (vec_wide)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (vec_wide)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
    return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

#define CHECKSUM_FACTOR 0x9e3779b1u

/* The sum that device/operations.h states, of elements that follow each other in the tensor: bits
 * times an odd 32-bit factor; `start` is seed + index of the first. The sum is of integers, so lanes
 * may be summed apart. */
static uint64_t run_checksum(const float *restrict values, int64_t count, uint64_t start)
{
    vec_wide sums = {0};
    vec_bits place;
    int64_t i = 0;
    for (int lane = 0; lane < VEC_LANES; lane++)
        place[lane] = ((uint32_t)start + (uint32_t)lane) * CHECKSUM_FACTOR;
    for (; i + VEC_LANES <= count; i += VEC_LANES, place += VEC_LANES * CHECKSUM_FACTOR) {
        vec_wide bits = (vec_wide)vec_load(values + i), factors = (vec_wide)(place | 1u);
        sums += lower_products(bits, factors);
        sums += lower_products(bits >> 32, factors >> 32);
    }
    uint64_t sum = 0;
    for (int lane = 0; lane < VEC_LANES / 2; lane++)
        sum += sums[lane];
    for (; i < count; i++) {
        uint32_t factor = ((uint32_t)start + (uint32_t)i) * CHECKSUM_FACTOR | 1u;
        sum += (uint64_t)zi_fp32_bits(values[i]) * factor;
    }
    return sum;
}

/* Of elements [first, first + count) of a piece, run by run. */
static uint64_t place_checksum(const struct device_place *place, int64_t first, int64_t count,
                               const float *values)
{
    uint64_t sum = 0;
    int64_t row = first / place->row, column = first % place->row;
    for (int64_t i = 0; i < count; row++, column = 0) {
        int64_t rest = place->row - column, run = count - i < rest ? count - i : rest;
        uint64_t start = place->first + (uint64_t)row * (uint64_t)place->stride + (uint64_t)column;
        sum += run_checksum(values + i, run, place->seed + start);
        i += run;
    }
    return sum;
}

static enum zi_status checksum(struct device_stream *stream, struct device_ptr weights,
                               int64_t count, const struct device_place *place,
                               struct device_ptr sum)
{
    const float *values = cpu_fp32(weights);
    uint64_t total = 0;
    int64_t passes = (count + PASS - 1) / PASS;
    ZI_REQUIRE(count == 0 || place->row > 0);
#pragma omp parallel for num_threads(stream->threads) reduction(+ : total) schedule(static)        \
    if (passes > 32 && stream->threads > 1)
    for (int64_t p = 0; p < passes; p++) {
        int64_t first = p * PASS, some = count - first < PASS ? count - first : PASS;
        total += place_checksum(place, first, some, values + first);
    }
    *(uint64_t *)sum.address += total;
    return ZI_OK;
}

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

/* What an update works on: arrays at element 0 of the piece, and the range of one pass. */
struct range {
    struct weights weights;
    /* NULL where the rule has none. */
    float *m, *v;
    const void *g;
    int64_t first, count;
};

/* Rule and types of an update; constants at each call. */
struct types {
    enum device_rule rule;
    enum zi_dtype weight, gradient;
};

/* 1 with the sign of x; 0 where that is 0. */
VEC_INLINE vec sign_of(vec x)
{
    vec_bits one = (vec_bits)vec_set(1.0f) | ((vec_bits)x & 0x80000000u);
    return (vec)((vec_bits)(x != 0.0f) & one);
}

/* The weights w after a step with gradients g of n lanes from element i on; moments in place. */
VEC_INLINE vec lion_lanes(const struct update_factors *f, const struct range *r, int64_t i,
                          int64_t n, vec g, vec w)
{
    vec mean = vec_load_as_part(ZI_FP32, r->m, i, n);
    vec way = sign_of(vec_set(f->beta1) * mean + vec_set(f->rest1) * g);
    vec_store_as_part(ZI_FP32, r->m, i, vec_set(f->beta2) * mean + vec_set(f->rest2) * g, n);
    return w * vec_set(f->keep) - vec_set(f->rate) * way;
}

VEC_INLINE vec sgd_lanes(const struct update_factors *f, const struct range *r, int64_t i,
                         int64_t n, vec g, vec w)
{
    g += vec_set(f->decay) * w;
    if (r->m) {
        g += vec_set(f->beta1) * vec_load_as_part(ZI_FP32, r->m, i, n);
        vec_store_as_part(ZI_FP32, r->m, i, g, n);
    }
    return w - vec_set(f->rate) * g;
}

VEC_INLINE vec adamw_lanes(const struct update_factors *f, const struct range *r, int64_t i,
                           int64_t n, vec g, vec w)
{
    vec first = vec_set(f->beta1) * vec_load_as_part(ZI_FP32, r->m, i, n);
    vec second = vec_set(f->beta2) * vec_load_as_part(ZI_FP32, r->v, i, n);
    w *= vec_set(f->keep);
    first += vec_set(f->rest1) * g;
    second += vec_set(f->rest2) * (g * g);
    w -= vec_set(f->rate) * first /
         (square_root(second * vec_set(f->inverse2)) + vec_set(f->epsilon));
    vec_store_as_part(ZI_FP32, r->m, i, first, n);
    vec_store_as_part(ZI_FP32, r->v, i, second, n);
    return w;
}

/* n lanes from element i on; gives the new weights. Each element has the same operations wherever a
 * range starts. */
VEC_INLINE vec update_lanes(const struct update_factors *f, struct types types,
                            const struct range *r, const int64_t at[2] /* i, n */)
{
    int64_t i = at[0], n = at[1];
    vec g = vec_load_as_part(types.gradient, r->g, i, n) * vec_set(f->scale);
    vec w = load_weights(types.weight, &r->weights, i, n);
    if (types.rule == DEVICE_ADAMW)
        w = adamw_lanes(f, r, i, n, g, w);
    else if (types.rule == DEVICE_LION)
        w = lion_lanes(f, r, i, n, g, w);
    else
        w = sgd_lanes(f, r, i, n, g, w);
    return store_weights(types.weight, &r->weights, i, w, n);
}

/* copy: the new weights of a split range once more, as fp32 (room for whole vectors). */
VEC_INLINE void update_range(enum zi_dtype gradient, enum zi_dtype weight, enum device_rule rule,
                             const struct update_factors *factors, const struct range *range,
                             float *restrict copy)
{
    const struct types types = {rule, weight, gradient};
    const struct update_factors f = *factors;
    const struct range r = *range;
    int64_t end = r.first + r.count;
    for (int64_t i = r.first; i + VEC_LANES <= end; i += VEC_LANES) {
        vec w = update_lanes(&f, types, &r, (const int64_t[]){i, VEC_LANES});
        if (weight != ZI_FP32) vec_store(copy + (i - r.first), w);
    }
    int64_t rest = r.count % VEC_LANES;
    if (rest > 0) {
        vec w = update_lanes(&f, types, &r, (const int64_t[]){end - rest, rest});
        if (weight != ZI_FP32) vec_store(copy + (r.count - rest), w);
    }
}

/* One function per rule, each with loops for every pair of types. */
#define UPDATE_BY(rule)                                                                            \
    if (a->type == ZI_FP32)                                                                        \
        KERNEL_BY_TYPE(a->gradient_type, update_range, ZI_FP32, rule, f, range, copy);             \
    else if (a->type == ZI_FP16)                                                                   \
        KERNEL_BY_TYPE(a->gradient_type, update_range, ZI_FP16, rule, f, range, copy);             \
    else                                                                                           \
        KERNEL_BY_TYPE(a->gradient_type, update_range, ZI_BF16, rule, f, range, copy)

static void update_adamw(const struct update_factors *f, const struct device_adam *a,
                         const struct range *range, float *copy)
{
    UPDATE_BY(DEVICE_ADAMW);
}

static void update_lion(const struct update_factors *f, const struct device_adam *a,
                        const struct range *range, float *copy)
{
    UPDATE_BY(DEVICE_LION);
}

static void update_sgd(const struct update_factors *f, const struct device_adam *a,
                       const struct range *range, float *copy)
{
    UPDATE_BY(DEVICE_SGD);
}

/* Updates a range of at most PASS elements; gives where its weights are as fp32: `copy`, or they
 * themselves. */
static const float *update_weights(const struct update_factors *f, const struct device_adam *a,
                                   const struct range *range, float copy[PASS])
{
    if (a->rule == DEVICE_ADAMW)
        update_adamw(f, a, range, copy);
    else if (a->rule == DEVICE_LION)
        update_lion(f, a, range, copy);
    else
        update_sgd(f, a, range, copy);
    return a->type == ZI_FP32 ? (const float *)range->weights.parameter + range->first : copy;
}

/* Updates elements [first, first + count), count <= PASS; gives the checksum, 0 if not wanted. */
static uint64_t update_pass(const struct update_factors *f, const struct device_adam *a,
                            int64_t first, int64_t count)
{
    float copy[PASS];
    const struct range range = {
        .weights = {(void *)a->parameter.address, (int16_t *)a->remainder.address},
        .m = cpu_fp32(a->states[0]),
        .v = cpu_fp32(a->states[1]),
        .g = (const void *)a->gradient.address,
        .first = first,
        .count = count};
    const float *weights = update_weights(f, a, &range, copy);
    return device_is_null(a->checksum) ? 0 : place_checksum(&a->place, first, count, weights);
}

/* The arrays of an update from element `first` on, with moments at their own element 0. */
static struct range range_from(const struct device_adam *a, int64_t first, float *m, float *v)
{
    size_t weight = zi_dtype_bytes(a->type), gradient = zi_dtype_bytes(a->gradient_type);
    struct range range = {
        .weights = {(char *)a->parameter.address + (size_t)first * weight, NULL},
        .m = device_is_null(a->states[0]) ? NULL : m,
        .v = v,
        .g = (const char *)a->gradient.address + (size_t)first * gradient,
    };
    if (a->type != ZI_FP32) range.weights.remainder = (int16_t *)a->remainder.address + first;
    return range;
}

/* The same of what pieces have of a pass of whole blocks. */
static uint64_t update_pieces(const struct update_factors *factors, const struct device_adam *a,
                              int64_t first, int64_t count)
{
    float m[PASS], v[PASS], copy[PASS];
    unsigned char *block1 = (unsigned char *)a->states[0].address;
    unsigned char *block2 = (unsigned char *)a->states[1].address;
    int64_t bytes = first / ZI_BLOCK * ZI_BLOCK_BYTES;
    uint64_t sum = 0;
    struct range range = range_from(a, first, m, v);
    if (block1) decode_blocks(ZI_SIGNED8, block1 + bytes, count, m);
    if (block2) decode_blocks(ZI_UNSIGNED8, block2 + bytes, count, v);
    for (int p = 0; p < a->piece_count && a->pieces[p].first < first + count; p++) {
        const struct device_piece *piece = &a->pieces[p];
        struct update_factors f = *factors;
        int64_t begin = piece->first > first ? piece->first : first;
        int64_t end = piece->first + piece->count;
        if (end > first + count) end = first + count;
        if (begin >= end) continue;
        if (!piece->decays) f.keep = 1.0f;
        if (!piece->decays) f.decay = 0.0f;
        range.first = begin - first;
        range.count = end - begin;
        const float *weights = update_weights(&f, a, &range, copy);
        if (!device_is_null(a->checksum))
            sum += place_checksum(&piece->place, begin - piece->first, end - begin, weights);
    }
    if (block1) encode_blocks(ZI_SIGNED8, m, count, block1 + bytes);
    if (block2) encode_blocks(ZI_UNSIGNED8, v, count, block2 + bytes);
    return sum;
}

static enum zi_status adam(struct device_stream *stream, const struct device_adam *a)
{
    struct update_factors f = update_factors(a);
    uint64_t total = 0;
    int64_t passes = (a->count + PASS - 1) / PASS;
    bool summed = !device_is_null(a->checksum);
    ZI_REQUIRE(a->count == 0 || !summed || a->pieces || a->place.row > 0);
    ZI_REQUIRE(a->count == 0 || (a->type == ZI_FP32) == device_is_null(a->remainder));
    ZI_REQUIRE(!a->pieces || a->count % ZI_BLOCK == 0);
#pragma omp parallel for num_threads(stream->threads) reduction(+ : total) schedule(static)        \
    if (passes > 32 && stream->threads > 1)
    for (int64_t p = 0; p < passes; p++) {
        int64_t first = p * PASS, some = a->count - first < PASS ? a->count - first : PASS;
        total += a->pieces ? update_pieces(&f, a, first, some) : update_pass(&f, a, first, some);
    }
    if (summed) *(uint64_t *)a->checksum.address += total;
    return ZI_OK;
}

void KERNEL(cpu_update_register)(struct device_operations *operations)
{
    operations->gradient_norm = gradient_norm;
    operations->gradient_round = gradient_round;
    operations->adam = adam;
    operations->checksum = checksum;
}
