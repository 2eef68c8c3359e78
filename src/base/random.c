/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers by counter.
 *
 * Each value is a hash of (seed, stream, index), so that any rank or thread computes any value by
 * itself. Seed and stream make a 128-bit key, once; a value then costs two finalisers of the
 * splitmix64 kind (David Stafford's variant 13) over index * golden ratio, with one half of the key
 * added before the first and the other half before the second. One finaliser would do for one
 * stream, but two streams would then be the same sequence read from different places.
 *
 * Normal deviates are Box-Muller pairs: pair p takes one 64-bit value, its upper half for the
 * radius and its lower half for the angle, and gives the deviates of indices 2p and 2p+1. So a
 * range may start or end in the middle of a pair and still has the same values. 32 bits of radius
 * reach 6.6 standard deviations. Logarithm, sine and cosine are short polynomials in double
 * precision, relative error below 1e-10: far below the rounding to float, without calls, and from
 * additions, products, quotients and roots alone, which IEEE 754 rounds in the same way on every
 * machine (C11 mode keeps compilers from contracting them).
 *
 * Permutations are Feistel networks over the smallest even number of bits that holds the size,
 * walked until they land inside [0, size): fewer than four rounds on average, and a bijection
 * because the network is one. */
#include "base/random.h"

#include <math.h>
#include <string.h>

#define GOLDEN 0x9e3779b97f4a7c15u

enum { FEISTEL_ROUNDS = 6, PARALLEL_PAIRS = 1 << 15 };

struct key {
    uint64_t first, second;
};

static inline uint64_t finalise(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static struct key key_make(uint64_t seed, uint64_t stream)
{
    struct key key;
    key.first = finalise(finalise(seed + GOLDEN) + stream);
    key.second = finalise(key.first + GOLDEN) ^ finalise(stream + 0xd1342543de82ef95u);
    return key;
}

static inline uint64_t bits_at(struct key key, uint64_t index)
{
    return finalise(finalise(index * GOLDEN + key.first) + key.second);
}

uint64_t zi_random_bits(uint64_t seed, uint64_t stream, uint64_t index)
{
    return bits_at(key_make(seed, stream), index);
}

uint64_t zi_random_hash(const void *bytes, size_t count)
{
    const unsigned char *c = bytes;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ c[i]) * 0x100000001b3u;
    return hash;
}

uint64_t zi_random_stream(const char *name)
{
    return zi_random_hash(name, strlen(name));
}

double zi_random_uniform(uint64_t seed, uint64_t stream, uint64_t index)
{
    return (double)(zi_random_bits(seed, stream, index) >> 11) * 0x1p-53;
}

/* -2 ln u for u in (0, 1). u = m 2^e with m in [sqrt(1/2), sqrt(2)); ln m = 2 artanh s with s =
 * (m-1)/(m+1), |s| < 0.172, whose series is cut after s^13. */
static inline double minus_two_log(double u)
{
    uint64_t bits;
    __builtin_memcpy(&bits, &u, sizeof bits);
    /* Adding the distance from sqrt(1/2) to 1 makes the exponent change at sqrt(2) 2^e. */
    uint64_t shifted = bits + (0x3ff0000000000000u - 0x3fe6a09e667f3bcdu);
    double exponent = (double)((int)(shifted >> 52) - 1023);
    uint64_t mantissa = (shifted & 0x000fffffffffffffu) + 0x3fe6a09e667f3bcdu;
    double m;
    __builtin_memcpy(&m, &mantissa, sizeof m);
    double s = (m - 1.0) / (m + 1.0), z = s * s;
    double series = 1.0 / 11 + z * (1.0 / 13);
    series = 1.0 / 9 + z * series;
    series = 1.0 / 7 + z * series;
    series = 1.0 / 5 + z * series;
    series = 1.0 / 3 + z * series;
    double log_m = 2.0 * s * (1.0 + z * series);
    return -2.0 * (exponent * 0.6931471805599453 + log_m);
}

/* Deviates 2p and 2p+1 of mean 0 and deviation 1. */
static inline void pair_at(struct key key, uint64_t pair, double *even, double *odd)
{
    uint64_t bits = bits_at(key, pair);
    double u = ((double)(uint32_t)(bits >> 32) + 0.5) * 0x1p-32;
    double radius = sqrt(minus_two_log(u));
    /* The lowest 2 bits are the quadrant, the next 30 the angle x in [-pi/4, pi/4) around it. */
    double x = ((double)(uint32_t)(bits >> 2 & 0x3fffffffu) + 0.5) * 0x1p-30 - 0.5;
    x *= 1.5707963267948966;
    double z = x * x;
    double sine = 1.0 / 362880 - z * (1.0 / 39916800);
    sine = 1.0 / 5040 - z * sine;
    sine = 1.0 / 120 - z * sine;
    sine = 1.0 / 6 - z * sine;
    sine = x * (1.0 - z * sine);
    double cosine = 1.0 / 3628800 - z * (1.0 / 479001600);
    cosine = 1.0 / 40320 - z * cosine;
    cosine = 1.0 / 720 - z * cosine;
    cosine = 1.0 / 24 - z * cosine;
    cosine = 1.0 - z * (0.5 - z * cosine);
    /* A quarter turn swaps sine and cosine; which sign they take follows from the quadrant. */
    int swap = (int)(bits & 1u);
    double a = swap ? sine : cosine, b = swap ? cosine : sine;
    *even = radius * ((bits & 1u) != (bits >> 1 & 1u) ? -a : a);
    *odd = radius * (bits & 2u ? -b : b);
}

void zi_random_normal(uint64_t seed, uint64_t stream, int64_t first, int64_t count, float deviation,
                      float *values)
{
    struct key key = key_make(seed, stream);
    double even, odd;
    if (count <= 0) return;
    if (first & 1) {
        pair_at(key, (uint64_t)first >> 1, &even, &odd);
        *values++ = (float)(deviation * odd);
        first++, count--;
    }
    uint64_t pair = (uint64_t)first >> 1;
    int64_t pairs = count / 2;
#pragma omp parallel for schedule(static) private(even, odd) if (pairs >= PARALLEL_PAIRS)
    for (int64_t i = 0; i < pairs; i++) {
        pair_at(key, pair + (uint64_t)i, &even, &odd);
        values[2 * i] = (float)(deviation * even);
        values[2 * i + 1] = (float)(deviation * odd);
    }
    if (count & 1) {
        pair_at(key, pair + (uint64_t)pairs, &even, &odd);
        values[count - 1] = (float)(deviation * even);
    }
}

void zi_random_uniforms(uint64_t seed, uint64_t stream, int64_t first, int64_t count, float bound,
                        float *values)
{
    for (int64_t i = 0; i < count; i++) {
        double u = zi_random_uniform(seed, stream, (uint64_t)(first + i));
        values[i] = (float)((2 * u - 1) * bound);
    }
}

uint64_t zi_random_permute(uint64_t seed, uint64_t stream, uint64_t size, uint64_t index)
{
    struct key key = key_make(seed, stream);
    int half = 1;
    while (half < 32 && (uint64_t)1 << 2 * half < size)
        half++;
    const uint64_t mask = ((uint64_t)1 << half) - 1;
    if (size < 2) return 0;
    do {
        uint64_t left = index >> half, right = index & mask;
        for (uint64_t round = 0; round < FEISTEL_ROUNDS; round++) {
            uint64_t next = left ^ (bits_at(key, right | round << 32) & mask);
            left = right;
            right = next;
        }
        index = left << half | right;
    } while (index >= size);
    return index;
}
