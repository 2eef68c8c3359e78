/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers: the same for any split, everywhere; as uniform and normal as their number allows
 * to see; permutations that are bijections. Statistical bounds are 5 standard deviations of the
 * statistic, and the numbers are fixed, so a check either always passes or always fails. */
#include "base/random.h"
#include "regression/unit/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = 1 << 18 };

static float *values_new(int64_t count)
{
    float *values = malloc((size_t)count * sizeof *values);
    if (!values) exit(1);
    return values;
}

/* Values that other machines, compilers and versions must give too: computed once with exact
 * integers in another language. FNV-1a of "" and "a" are those of its authors. */
static void test_known(void)
{
    CHECK(zi_random_stream("") == 0xcbf29ce484222325u);
    CHECK(zi_random_stream("a") == 0xaf63dc4c8601ec8cu);
    CHECK(zi_random_bits(0, 0, 0) == 0x1f2bfd5e832dec5bu);
    CHECK(zi_random_bits(1337, 42, 7) == 0x90b669133777b12bu);
    CHECK(zi_random_bits(UINT64_MAX, UINT64_MAX, UINT64_MAX) == 0x1e5537827c0d0ec3u);
    uint64_t bits = zi_random_bits(1337, 42, 7);
    CHECK(zi_random_uniform(1337, 42, 7) == (double)(bits >> 11) / 9007199254740992.0);
}

/* Each bit is set half of the time, and changes half of the time when the seed, the stream or the
 * index changes by one. */
static void test_bits(void)
{
    static const uint64_t steps[4][3] = {{0, 0, 0}, {1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
    const double bound = 5 * sqrt(MANY / 4.0);
    for (int s = 0; s < 4; s++) {
        int set[64] = {0}, worst = 0;
        for (uint64_t i = 0; i < MANY; i++) {
            uint64_t bits = zi_random_bits(1, 2, i);
            if (s) bits ^= zi_random_bits(1 + steps[s][0], 2 + steps[s][1], i + steps[s][2]);
            for (int b = 0; b < 64; b++)
                set[b] += (int)(bits >> b & 1);
        }
        for (int b = 0; b < 64; b++)
            if (abs(set[b] - MANY / 2) > worst) worst = abs(set[b] - MANY / 2);
        CHECK(worst < bound);
    }
}

static void test_uniform(void)
{
    double sum = 0, least = 1, most = 0;
    int cells[64] = {0};
    for (uint64_t i = 0; i < MANY; i++) {
        double u = zi_random_uniform(3, 4, i);
        sum += u;
        if (u < least) least = u;
        if (u > most) most = u;
        cells[(int)(u * 64) & 63]++;
    }
    CHECK(least >= 0 && least < 1e-4 && most < 1 && most > 1 - 1e-4);
    CHECK(fabs(sum / MANY - 0.5) < 5 * sqrt(1.0 / 12 / MANY));
    double chi2 = 0, expected = MANY / 64.0;
    for (int c = 0; c < 64; c++)
        chi2 += (cells[c] - expected) * (cells[c] - expected) / expected;
    CHECK(fabs(chi2 - 63) < 5 * sqrt(2 * 63.0)); /* 63 degrees of freedom */
}

/* Against Box and Muller in double precision by the library. The bound is the rounding to float,
 * 2^-24 relative, and 1e-9 for the short polynomials, of radius at most 6.7. */
static void test_normal_reference(void)
{
    enum { COUNT = 20000 };
    float *values = values_new(COUNT);
    double worst = 0;
    zi_random_normal(5, 6, 0, COUNT, 1.0f, values);
    for (int i = 0; i < COUNT; i += 2) {
        uint64_t bits = zi_random_bits(5, 6, (uint64_t)i / 2);
        double radius = sqrt(-2 * log(((double)(bits >> 32) + 0.5) / 4294967296.0));
        double turns = ((double)(bits >> 2 & 0x3fffffff) + 0.5) / 4294967296.0 - 0.125;
        double angle = 6.283185307179586 * (turns + 0.25 * (double)(bits & 3));
        double e = fabs(values[i] - radius * cos(angle)) / (1e-9 + fabs(values[i]) * 6e-8);
        double o = fabs(values[i + 1] - radius * sin(angle)) / (1e-9 + fabs(values[i + 1]) * 6e-8);
        if (e > worst) worst = e;
        if (o > worst) worst = o;
    }
    CHECK(worst <= 1.0);
    free(values);
}

static void test_normal_moments(void)
{
    float *values = values_new(MANY);
    double sum[5] = {0}, product = 0;
    int beyond = 0;
    zi_random_normal(7, 8, 0, MANY, 2.0f, values);
    for (int i = 0; i < MANY; i++) {
        double x = values[i] / 2.0, power = x;
        for (int k = 1; k <= 4; k++, power *= x)
            sum[k] += power;
        if (i) product += x * values[i - 1] / 2.0;
        beyond += fabs(x) > 3;
    }
    /* Variances of the mean powers of a normal deviate: 1, 2, 15, 96. */
    CHECK(fabs(sum[1] / MANY) < 5 * sqrt(1.0 / MANY));
    CHECK(fabs(sum[2] / MANY - 1) < 5 * sqrt(2.0 / MANY));
    CHECK(fabs(sum[3] / MANY) < 5 * sqrt(15.0 / MANY));
    CHECK(fabs(sum[4] / MANY - 3) < 5 * sqrt(96.0 / MANY));
    CHECK(fabs(product / MANY) < 5 * sqrt(1.0 / MANY)); /* neighbours are independent */
    CHECK(fabs(beyond - 0.0026998 * MANY) < 5 * sqrt(0.0026998 * MANY));
    free(values);
}

static void test_normal_splits(void)
{
    enum { COUNT = 100001 };
    float *whole = values_new(COUNT), *parts = values_new(COUNT);
    static const int64_t sizes[] = {1, 2, 3, 7, 64, 1000, 33333, 70001};
    zi_random_normal(9, 10, 5, COUNT, 0.02f, whole);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        memset(parts, 0xff, COUNT * sizeof *parts);
        for (int64_t at = 0; at < COUNT; at += sizes[s]) {
            int64_t count = at + sizes[s] < COUNT ? sizes[s] : COUNT - at;
            zi_random_normal(9, 10, 5 + at, count, 0.02f, parts + at);
        }
        CHECK(memcmp(whole, parts, COUNT * sizeof *parts) == 0);
    }
    /* Nothing is written for nothing. */
    parts[0] = 1;
    zi_random_normal(9, 10, 0, 0, 1, parts);
    CHECK(parts[0] == 1);
    /* Another stream, another sequence. */
    zi_random_normal(9, 11, 5, COUNT, 0.02f, parts);
    CHECK(memcmp(whole, parts, 64) != 0);
    free(whole);
    free(parts);
}

static void test_permute(void)
{
    static const uint64_t sizes[] = {1,  2,  3,  4,   5,   7,   8,    9,
                                     15, 16, 17, 100, 255, 257, 1000, 65537};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        unsigned char *hit = calloc(sizes[s], 1);
        if (!hit) exit(1);
        uint64_t fixed = 0, good = 0;
        for (uint64_t i = 0; i < sizes[s]; i++) {
            uint64_t to = zi_random_permute(11, 12, sizes[s], i);
            if (to < sizes[s] && !hit[to]++) good++;
            fixed += to == i;
        }
        CHECK_INT(good, sizes[s]);
        /* A random permutation has 1 fixed point on average, with variance 1. */
        CHECK(sizes[s] < 100 || fixed <= 6);
        free(hit);
    }
    uint64_t huge = UINT64_MAX;
    CHECK(zi_random_permute(11, 12, huge, huge - 1) < huge);
    CHECK(zi_random_permute(11, 12, huge, 0) != zi_random_permute(11, 12, huge, 1));
    CHECK(zi_random_permute(11, 12, 1000, 1) != zi_random_permute(11, 13, 1000, 1) ||
          zi_random_permute(11, 12, 1000, 2) != zi_random_permute(11, 13, 1000, 2));
}

/* All orders of three things, equally often over streams; and neighbours do not stay neighbours. */
static void test_permute_fair(void)
{
    enum { STREAMS = 60000 };
    int seen[27] = {0};
    for (uint64_t stream = 0; stream < STREAMS; stream++) {
        int order = 0;
        for (uint64_t i = 0; i < 3; i++)
            order = 3 * order + (int)zi_random_permute(13, stream, 3, i);
        seen[order]++;
    }
    static const int orders[] = {5, 7, 11, 15, 19, 21};
    for (int o = 0; o < 6; o++)
        CHECK(abs(seen[orders[o]] - STREAMS / 6) < 5 * sqrt(STREAMS * 5.0 / 36));
    double sum = 0;
    for (uint64_t i = 0; i + 1 < 10000; i++)
        sum += fabs((double)zi_random_permute(14, 15, 10000, i) -
                    (double)zi_random_permute(14, 15, 10000, i + 1));
    /* Two random places of [0, n) are n/3 apart on average, with deviation n/sqrt(18). */
    CHECK(fabs(sum / 9999 - 10000 / 3.0) < 5 * 10000 / sqrt(18.0 * 9999) * 1.5);
}

int main(void)
{
    test_known();
    test_bits();
    test_uniform();
    test_normal_reference();
    test_normal_moments();
    test_normal_splits();
    test_permute();
    test_permute_fair();
    return test_finish("base_random_test");
}
