/* SPDX-License-Identifier: Apache-2.0 */
/* Multiply-adds that touch no memory: the peak that shares of a run are stated against. Independent
 * accumulators hide the latency of the unit, as many as registers hold beside the two factors; the
 * multiplier keeps every value finite. */
#include "device/cpu/passes.h"

#if defined __AVX2__
#include <immintrin.h>
#endif

#ifdef __AVX512F__
#define ACCUMULATORS 16
#else
#define ACCUMULATORS 12
#endif

#if defined __AVX512F__
typedef __m512 vector;
#define LANES        16
#define SET(value)   _mm512_set1_ps(value)
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#elif defined __AVX2__
typedef __m256 vector;
#define LANES        8
#define SET(value)   _mm256_set1_ps(value)
#define FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#else
typedef float vector __attribute__((vector_size(16)));
#define LANES        4
#define SET(value)   ((vector){value, value, value, value})
#define FMA(a, b, c) ((a) * (b) + (c))
#endif

static volatile float sink;

static double burn_fp32(int64_t rounds)
{
    vector sum[ACCUMULATORS], factor = SET(0.999f), addend = SET(0.001f);
    for (int i = 0; i < ACCUMULATORS; i++) {
        sum[i] = SET((float)i);
    }
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 16
        for (int i = 0; i < ACCUMULATORS; i++) {
            sum[i] = FMA(sum[i], factor, addend);
        }
    }
    for (int i = 0; i < ACCUMULATORS; i++) {
        sink = ((const float *)&sum[i])[0];
    }
    return 2.0 * ACCUMULATORS * LANES * (double)rounds;
}

#ifdef __AVX512BF16__
static double burn_bf16(int64_t rounds)
{
    __m512 sum[ACCUMULATORS];
    __m512bh pair = (__m512bh)_mm512_set1_epi16(0x3f80);
    for (int i = 0; i < ACCUMULATORS; i++) {
        sum[i] = _mm512_set1_ps((float)i);
    }
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 16
        for (int i = 0; i < ACCUMULATORS; i++) {
            sum[i] = _mm512_dpbf16_ps(sum[i], pair, pair);
        }
    }
    for (int i = 0; i < ACCUMULATORS; i++) {
        sink = ((const float *)&sum[i])[0];
    }
    return 4.0 * ACCUMULATORS * 16 * (double)rounds;
}
#endif

double KERNEL(cpu_burn)(enum zi_dtype type, int64_t rounds)
{
#ifdef __AVX512BF16__
    if (type == ZI_BF16) return burn_bf16(rounds);
#endif
    (void)type;
    return burn_fp32(rounds);
}
