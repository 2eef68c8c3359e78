/* SPDX-License-Identifier: Apache-2.0 */
/* Vectors of fp32 for the kernel files, as wide as the instruction set they are compiled for: 16
 * lanes with AVX-512, 8 with AVX2, else 4 (SSE2, or whatever the compiler makes of it). Plain
 * arithmetic is written with operators on GCC vectors; what needs an instruction of its own is
 * here: loads and stores of fp32, bf16 and fp16 (whole vectors, or the first n lanes), fused
 * multiply-add, maximum, conversion, exponentials, transposition.
 *
 * Memory is reached through memcpy or intrinsics, so that a buffer may be read as fp32 and written
 * as bf16. bf16 is rounded to nearest even, bit for bit like zi_bf16_round_even, except that the
 * instruction of AVX512-BF16 takes numbers below 2^-126 for zero; fp16 like zi_fp16_round_even.
 * Without an FMA instruction
 * (generic) vec_fma rounds twice. */
#ifndef ZI_DEVICE_CPU_VECTOR_H
#define ZI_DEVICE_CPU_VECTOR_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/half.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define VEC_AVX512 1
#define VEC_LANES  16
#elif defined(__AVX2__) && defined(__FMA__)
#define VEC_AVX2  1
#define VEC_LANES 8
#else
#define VEC_LANES 4
#endif

#if defined(VEC_AVX512) || defined(VEC_AVX2) || defined(__SSE2__)
#include <immintrin.h>
#endif

typedef float vec __attribute__((vector_size(VEC_LANES * 4)));
typedef int32_t vec_int __attribute__((vector_size(VEC_LANES * 4)));
typedef uint32_t vec_bits __attribute__((vector_size(VEC_LANES * 4)));

#define VEC_INLINE static inline __attribute__((always_inline, unused))

/* The same number in every lane; -0.0f stays -0.0f. */
VEC_INLINE vec vec_set(float x)
{
    return x - (vec){0};
}

/* VEC_LANES numbers from p on, which need not be aligned. */
VEC_INLINE vec vec_load(const float *p)
{
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* All lanes to p, which need not be aligned. */
VEC_INLINE void vec_store(float *p, vec v)
{
    memcpy(p, &v, sizeof v);
}

/* The first n lanes, 0 < n <= VEC_LANES; the others are 0. */
VEC_INLINE vec vec_load_part(const float *p, int64_t n)
{
#ifdef VEC_AVX512
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
    float lanes[VEC_LANES] = {0};
    memcpy(lanes, p, (size_t)n * sizeof *p);
    return vec_load(lanes);
#endif
}

/* The first n lanes, 0 < n <= VEC_LANES, to p. */
VEC_INLINE void vec_store_part(float *p, vec v, int64_t n)
{
#ifdef VEC_AVX512
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#else
    memcpy(p, &v, (size_t)n * sizeof *p);
#endif
}

/* a * b + c, rounded once where there is an FMA instruction. */
VEC_INLINE vec vec_fma(vec a, vec b, vec c)
{
#if defined(VEC_AVX512)
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(VEC_AVX2)
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

/* The larger of both; `b` where one of them is NaN. */
VEC_INLINE vec vec_max(vec a, vec b)
{
#if defined(VEC_AVX512)
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(VEC_AVX2)
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    vec_int greater = a > b;
    return (vec)((greater & (vec_int)a) | (~greater & (vec_int)b));
#endif
}

/* The smaller of both; `b` where one of them is NaN. */
VEC_INLINE vec vec_min(vec a, vec b)
{
#if defined(VEC_AVX512)
    return (vec)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(VEC_AVX2)
    return (vec)_mm256_min_ps((__m256)a, (__m256)b);
#else
    vec_int less = a < b;
    return (vec)((less & (vec_int)a) | (~less & (vec_int)b));
#endif
}

/* `a` in the lanes below n, `b` in the others; n may be anything. */
VEC_INLINE vec vec_first(int64_t n, vec a, vec b)
{
    int count = n < 0 ? 0 : n > VEC_LANES ? VEC_LANES : (int)n;
#ifdef VEC_AVX512
    return (vec)_mm512_mask_blend_ps((__mmask16)((1u << count) - 1), (__m512)b, (__m512)a);
#else
    vec_int lane;
    for (int i = 0; i < VEC_LANES; i++)
        lane[i] = i;
    vec_int below = lane < count;
    return (vec)((below & (vec_int)a) | (~below & (vec_int)b));
#endif
}

/* Sum of all lanes, in an order that is fixed for the instruction set. */
VEC_INLINE float vec_sum(vec v)
{
    float lanes[VEC_LANES];
    vec_store(lanes, v);
    for (int half = VEC_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lanes[i] += lanes[i + half];
    return lanes[0];
}

/* Maximum of all lanes, in the same order. */
VEC_INLINE float vec_largest(vec v)
{
    float lanes[VEC_LANES];
    vec_store(lanes, v);
    for (int half = VEC_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            if (!(lanes[i] >= lanes[i + half])) lanes[i] = lanes[i + half];
    return lanes[0];
}

/* VEC_LANES bf16 numbers from p on, widened. */
VEC_INLINE vec vec_load_bf16(const uint16_t *p)
{
#if defined(VEC_AVX512)
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p));
    return (vec)_mm512_slli_epi32(wide, 16);
#elif defined(VEC_AVX2)
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p));
    return (vec)_mm256_slli_epi32(wide, 16);
#elif defined(__SSE2__)
    return (vec)_mm_unpacklo_epi16(_mm_setzero_si128(), _mm_loadl_epi64((const void *)p));
#else
    uint16_t lanes[VEC_LANES];
    memcpy(lanes, p, sizeof lanes);
    vec_bits bits;
    for (int i = 0; i < VEC_LANES; i++)
        bits[i] = (uint32_t)lanes[i] << 16;
    return (vec)bits;
#endif
}

/* fp32 bits whose upper half is the bf16 nearest to v; the lower half is not zero. */
VEC_INLINE vec_bits vec_round_bf16(vec v)
{
    vec_bits bits = (vec_bits)v;
    vec_bits rounded = bits + (0x7fffu + ((bits >> 16) & 1u));
#if defined(VEC_AVX512)
    __mmask16 nan = _mm512_cmp_ps_mask((__m512)v, (__m512)v, _CMP_UNORD_Q);
    return (vec_bits)_mm512_mask_or_epi32((__m512i)rounded, nan, (__m512i)bits,
                                          _mm512_set1_epi32(0x400000));
#else
    vec_bits nan = (vec_bits)(v != v);
    return (nan & (bits | 0x400000u)) | (~nan & rounded);
#endif
}

/* All lanes to p, rounded to bf16. */
VEC_INLINE void vec_store_bf16(uint16_t *p, vec v)
{
#if defined(__AVX512BF16__) && defined(VEC_AVX512)
    _mm256_storeu_si256((void *)p, (__m256i)_mm512_cvtneps_pbh((__m512)v));
#elif defined(VEC_AVX512)
    vec_bits bits = vec_round_bf16(v) >> 16;
    _mm256_storeu_si256((void *)p, _mm512_cvtepi32_epi16((__m512i)bits));
#elif defined(VEC_AVX2)
    vec_bits bits = vec_round_bf16(v) >> 16;
    __m256i packed = _mm256_packus_epi32((__m256i)bits, (__m256i)bits);
    packed = _mm256_permute4x64_epi64(packed, 0x08);
    _mm_storeu_si128((void *)p, _mm256_castsi256_si128(packed));
#elif defined(__SSE2__)
    /* shifted with the sign, every upper half is a 16-bit integer, which packing leaves alone */
    __m128i halves = _mm_srai_epi32((__m128i)vec_round_bf16(v), 16);
    _mm_storel_epi64((void *)p, _mm_packs_epi32(halves, halves));
#else
    vec_bits bits = vec_round_bf16(v) >> 16;
    uint16_t lanes[VEC_LANES];
    for (int i = 0; i < VEC_LANES; i++)
        lanes[i] = (uint16_t)bits[i];
    memcpy(p, lanes, sizeof lanes);
#endif
}

/* VEC_LANES fp16 numbers from p on, widened. */
VEC_INLINE vec vec_load_fp16(const uint16_t *p)
{
#if defined(VEC_AVX512)
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
#elif defined(VEC_AVX2) && defined(__F16C__)
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const void *)p));
#else
    uint16_t halves[VEC_LANES];
    float lanes[VEC_LANES];
    memcpy(halves, p, sizeof halves);
    for (int i = 0; i < VEC_LANES; i++)
        lanes[i] = zi_fp16_to_fp32(halves[i]);
    return vec_load(lanes);
#endif
}

/* All lanes to p, rounded to fp16. */
VEC_INLINE void vec_store_fp16(uint16_t *p, vec v)
{
#if defined(VEC_AVX512)
    _mm256_storeu_si256((void *)p, _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(VEC_AVX2) && defined(__F16C__)
    _mm_storeu_si128((void *)p, _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
#else
    uint16_t halves[VEC_LANES];
    float lanes[VEC_LANES];
    vec_store(lanes, v);
    for (int i = 0; i < VEC_LANES; i++)
        halves[i] = zi_fp16_round_even(lanes[i]);
    memcpy(p, halves, sizeof halves);
#endif
}

/* VEC_LANES numbers of 16 bits of `type`, bf16 or fp16, from p on, widened. */
VEC_INLINE vec vec_load_half(enum zi_dtype type, const uint16_t *p)
{
    return type == ZI_FP16 ? vec_load_fp16(p) : vec_load_bf16(p);
}

/* The first n of them, 0 <= n <= VEC_LANES; the other lanes are 0. */
VEC_INLINE vec vec_load_half_part(enum zi_dtype type, const uint16_t *p, int64_t n)
{
    uint16_t lanes[VEC_LANES] = {0};
    memcpy(lanes, p, (size_t)n * sizeof *p);
    return vec_load_half(type, lanes);
}

/* All lanes to p, rounded to `type`, bf16 or fp16. */
VEC_INLINE void vec_store_half(enum zi_dtype type, uint16_t *p, vec v)
{
    if (type == ZI_FP16)
        vec_store_fp16(p, v);
    else
        vec_store_bf16(p, v);
}

/* The first n lanes, 0 <= n <= VEC_LANES. */
VEC_INLINE void vec_store_half_part(enum zi_dtype type, uint16_t *p, vec v, int64_t n)
{
    uint16_t lanes[VEC_LANES];
    vec_store_half(type, lanes, v);
    memcpy(p, lanes, (size_t)n * sizeof *p);
}

/* VEC_LANES elements of a buffer of `type`, from its element `index` on. `type` should be a
 * constant where it matters, here and below. */
VEC_INLINE vec vec_load_as(enum zi_dtype type, const void *base, int64_t index)
{
    if (type != ZI_FP32) return vec_load_half(type, (const uint16_t *)base + index);
    return vec_load((const float *)base + index);
}

/* All lanes to a buffer of `type`, from its element `index` on. */
VEC_INLINE void vec_store_as(enum zi_dtype type, void *base, int64_t index, vec v)
{
    if (type != ZI_FP32)
        vec_store_half(type, (uint16_t *)base + index, v);
    else
        vec_store((float *)base + index, v);
}

/* As vec_load_as, but at most the first n > 0 lanes; the others are 0. */
VEC_INLINE vec vec_load_as_part(enum zi_dtype type, const void *base, int64_t index, int64_t n)
{
    if (n >= VEC_LANES) return vec_load_as(type, base, index);
    if (type != ZI_FP32) return vec_load_half_part(type, (const uint16_t *)base + index, n);
    return vec_load_part((const float *)base + index, n);
}

/* As vec_store_as, but at most the first n > 0 lanes. */
VEC_INLINE void vec_store_as_part(enum zi_dtype type, void *base, int64_t index, vec v, int64_t n)
{
    if (n >= VEC_LANES)
        vec_store_as(type, base, index, v);
    else if (type != ZI_FP32)
        vec_store_half_part(type, (uint16_t *)base + index, v, n);
    else
        vec_store_part((float *)base + index, v, n);
}

/* The same, with bf16 as zi_bf16_round_even has it below 2^-126 too, where vec_store_bf16 may give
 * zero. */
VEC_INLINE void vec_store_even_part(enum zi_dtype type, void *base, int64_t index, vec v, int64_t n)
{
    typedef uint16_t vec_halves __attribute__((vector_size(VEC_LANES * 2)));
    if (type == ZI_BF16) {
        vec_halves halves = __builtin_convertvector(vec_round_bf16(v) >> 16, vec_halves);
        memcpy((uint16_t *)base + index, &halves, (size_t)(n < VEC_LANES ? n : VEC_LANES) * 2);
    } else {
        vec_store_as_part(type, base, index, v, n);
    }
}

/* 2^f on [-1/2, 1/2]: a minimax polynomial, relative error 1.9e-9 before rounding. */
VEC_INLINE vec vec_exp2_polynomial(vec f)
{
    vec p = vec_set(1.53458205e-4f);
    p = vec_fma(p, f, vec_set(1.339993126e-3f));
    p = vec_fma(p, f, vec_set(9.618488924e-3f));
    p = vec_fma(p, f, vec_set(5.550328777e-2f));
    p = vec_fma(p, f, vec_set(2.402264689e-1f));
    p = vec_fma(p, f, vec_set(6.931472057e-1f));
    return vec_fma(p, f, vec_set(1.0f));
}

/* The integer nearest to x, |x| < 2^22. */
VEC_INLINE vec vec_nearest(vec x)
{
#ifdef VEC_AVX512
    return (vec)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    vec magic = vec_set(12582912.0f); /* 1.5 * 2^23: the sum has no bits below 1 */
    return (x + magic) - magic;
#endif
}

/* p * 2^n, n whole. */
VEC_INLINE vec vec_scale(vec p, vec n)
{
#ifdef VEC_AVX512
    return (vec)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    vec_int exponent = __builtin_convertvector(n, vec_int) + 127;
    return p * (vec)(exponent << 23);
#endif
}

/* 2^VEC_EXPONENT_LEAST is 0 in vec_scale: scalef knows denormals, the shift does not. */
#ifdef VEC_AVX512
#define VEC_EXPONENT_LEAST -151
#else
#define VEC_EXPONENT_LEAST -127
#endif

/* 2^x: relative error below 1.5e-7 (a bit over 1 ulp). 0 below -151 (-inf included; without AVX-512
 * below -126.5), infinity above 128 (127.5), NaN stays NaN. */
VEC_INLINE vec vec_exp2(vec x)
{
    x = vec_min(vec_set(128.0f), vec_max(vec_set(VEC_EXPONENT_LEAST), x));
    vec n = vec_nearest(x);
    return vec_scale(vec_exp2_polynomial(x - n), n);
}

/* e^x: relative error below 2e-7; 0, infinity and NaN as in vec_exp2. */
VEC_INLINE vec vec_exp(vec x)
{
    const float ln2 = 0.693147181f;
    x = vec_min(vec_set(128.0f * ln2), vec_max(vec_set(VEC_EXPONENT_LEAST * ln2), x));
    vec log2_e = vec_set(1.44269504f);
    vec n = vec_nearest(x * log2_e);
    /* n ln 2 in two parts, the first with few enough bits that the product is exact */
    vec f = vec_fma(n, vec_set(-0.693359375f), x);
    f = vec_fma(n, vec_set(2.12194440e-4f), f);
    return vec_scale(vec_exp2_polynomial(f * log2_e), n);
}

/* 1 / (1 + 2^-x), the logistic function of x ln 2. */
VEC_INLINE vec vec_logistic2(vec x)
{
    vec one = vec_set(1.0f);
    return one / (one + vec_exp2(-x));
}

/* tanh x: relative error below 3e-7; NaN stays NaN. Near 0 by a minimax polynomial of x^2 (error 4.4e-9),
 * which keeps the digits that 1 - 2 / (1 + e^2x) loses there. */
VEC_INLINE vec vec_tanh(vec x)
{
    const float near = 0.625f;
    vec size = vec_max(x, -x), square = x * x;
    vec p = vec_set(-5.7049854659e-3f);
    p = vec_fma(p, square, vec_set(2.0639086142e-2f));
    p = vec_fma(p, square, vec_set(-5.3739715368e-2f));
    p = vec_fma(p, square, vec_set(1.3331441581e-1f));
    p = vec_fma(p, square, vec_set(-3.3333280683e-1f));
    p = vec_fma(p * square, x, x);
    vec far = vec_set(1.0f) - 2.0f * vec_logistic2(size * vec_set(-2.88539008f));
    vec_bits sign = (vec_bits)x & 0x80000000u;
    vec_bits is_near = (vec_bits)(size < near);
    return (vec)((is_near & (vec_bits)p) | (~is_near & ((vec_bits)far | sign)));
}

#if VEC_LANES == 16
#define VEC_ZIP_LOWER 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define VEC_ZIP_UPPER 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif VEC_LANES == 8
#define VEC_ZIP_LOWER 0, 8, 1, 9, 2, 10, 3, 11
#define VEC_ZIP_UPPER 4, 12, 5, 13, 6, 14, 7, 15
#else
#define VEC_ZIP_LOWER 0, 4, 1, 5
#define VEC_ZIP_UPPER 2, 6, 3, 7
#endif

#ifdef __clang__
#define VEC_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define VEC_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vec_int){__VA_ARGS__})
#endif

/* Transposes a square of VEC_LANES rows in place. A round of zips (the lower, or upper, halves of
 * two rows with their lanes taken in turn) of row i with row i + LANES / 2
 * moves one bit of the lane's number to the row's; log2(LANES) rounds exchange them. */
VEC_INLINE void vec_transpose(vec rows[VEC_LANES])
{
    vec next[VEC_LANES];
#pragma GCC unroll 4
    for (int round = 1; round < VEC_LANES; round *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < VEC_LANES / 2; i++) {
            vec a = rows[i], b = rows[i + VEC_LANES / 2];
            next[2 * i] = VEC_SHUFFLE(a, b, VEC_ZIP_LOWER);
            next[2 * i + 1] = VEC_SHUFFLE(a, b, VEC_ZIP_UPPER);
        }
#pragma GCC unroll 16
        for (int i = 0; i < VEC_LANES; i++)
            rows[i] = next[i];
    }
}

#endif
