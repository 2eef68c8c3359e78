/* SPDX-License-Identifier: Apache-2.0 */
/* The optimizer's kernels on every instruction set, gradients of both types, 1 to 3 threads: AdamW
 * against its definition in double, the rounding of bf16 parameters and the checksum to the bit,
 * the norm of gradients against a sum in double. */
#include "regression/unit/kernel_fixture.h"

/* More than eight blocks of 4096 elements, so that threads are used, and an odd rest. */
enum { LONG = 70001 };

static const double unit = 1.0 / 16777216.0; /* one rounding of fp32, relative: 2^-24 */

/* The words of device/operations.h, w(s, j) = low 32 bits of ((j + s) * 0x9e3779b1) | 1. */
static uint64_t checksum_define(const float *x, int64_t count, uint64_t seed, uint64_t first)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < count; i++) {
        uint64_t product = (first + (uint64_t)i + seed) * (uint64_t)0x9e3779b1u;
        sum += (uint64_t)zi_fp32_bits(x[i]) * ((product & 0xffffffffu) | 1u);
    }
    return sum;
}

/* The bf16 nearest to a finite value, of two equally near ones the larger in magnitude. */
static uint16_t nearest_away(float value)
{
    uint16_t low = (uint16_t)(zi_fp32_bits(value) >> 16), high = (uint16_t)(low + 1);
    double to_low = fabs((double)value - (double)zi_bf16_to_fp32(low));
    double to_high = fabs((double)zi_bf16_to_fp32(high) - (double)value);
    return to_low < to_high ? low : high;
}

struct state {
    struct buffer master, moment1, moment2, gradient, parameter;
    uint64_t checksum;
};

static struct state state_create(enum zi_dtype gradient_type, int64_t count)
{
    struct state s = {
        .master = buffer_random(ZI_FP32, count, "master", 0.05f),
        .moment1 = buffer_random(ZI_FP32, count, "moment1", 0.1f),
        .moment2 = buffer_random(ZI_FP32, count, "moment2", 0.1f),
        .gradient = buffer_random(gradient_type, count, "gradient", 1.0f),
        .parameter = buffer_create(ZI_BF16, count),
        .checksum = 12345,
    };
    for (int64_t i = 0; i < count; i++) /* second moments are squares */
        buffer_set(&s.moment2, i, buffer_get(&s.moment2, i) * buffer_get(&s.moment2, i));
    return s;
}

static void state_destroy(struct state *s)
{
    struct buffer *buffers[] = {&s->master, &s->moment1, &s->moment2, &s->gradient, &s->parameter};
    for (int i = 0; i < 5; i++)
        buffer_destroy(buffers[i]);
}

/* The step of elements [first, first + count). */
static struct device_adam step_of(struct state *s, const struct device_adam *settings,
                                  int64_t first, int64_t count)
{
    struct device_adam a = *settings;
    a.count = count;
    a.checksum_first += (uint64_t)first;
    a.gradient_type = s->gradient.type;
    a.master = buffer_at(&s->master, first);
    a.moment1 = buffer_at(&s->moment1, first);
    a.moment2 = buffer_at(&s->moment2, first);
    a.gradient = buffer_at(&s->gradient, first);
    a.parameter = buffer_at(&s->parameter, first);
    a.checksum.address = (uintptr_t)&s->checksum;
    return a;
}

static struct device_adam settings_make(void)
{
    return (struct device_adam){.learning_rate = 0.01f,
                                .beta1 = 0.9f,
                                .beta2 = 0.95f,
                                .epsilon = 1e-3f,
                                .decay = 0.1f,
                                .scale = 0.37f,
                                .correction1 = 0.271f,
                                .correction2 = 0.142625f,
                                .checksum_seed = 0x123456789abcdefu,
                                .checksum_first = 0xfffffff0u};
}

/* One step from the state `before`, element by element. With u = 2^-24, and every input the exact
 * number that the kernel reads: a moment is two products and a sum, 3 u of the magnitudes (4 u for
 * the squares); the quotient of the update takes over the error of the first moment, and adds at
 * most 8 u of its own (rate, product, half the error of the second moment and its product, root,
 * sum, quotient); keep, its product and the difference round w three times. Second order terms and
 * the rounding of 1 / correction2 are covered by counting one more each. */
static long step_errors(const struct state *before, const struct state *after,
                        const struct device_adam *a)
{
    long wrong = 0;
    double beta1 = (double)a->beta1, beta2 = (double)a->beta2;
    double rate = (double)a->learning_rate, decay = (double)a->decay;
    for (int64_t i = 0; i < before->master.count; i++) {
        double w = buffer_get(&before->master, i), m = buffer_get(&before->moment1, i);
        double v = buffer_get(&before->moment2, i);
        double g = (double)a->scale * buffer_get(&before->gradient, i);
        double m_error = 4 * unit * (fabs(beta1 * m) + fabs((1 - beta1) * g));
        m = beta1 * m + (1 - beta1) * g;
        v = beta2 * v + (1 - beta2) * g * g;
        double divisor = sqrt(v / (double)a->correction2) + (double)a->epsilon;
        double update = rate * (m / (double)a->correction1) / divisor;
        double update_error =
            rate * m_error / (double)a->correction1 / divisor + 9 * unit * fabs(update);
        double expected = w - update - rate * decay * w;
        double limit = update_error + 4 * unit * (fabs(w) + fabs(update));
        wrong += !(fabs(buffer_get(&after->moment1, i) - m) <= m_error);
        wrong += !(fabs(buffer_get(&after->moment2, i) - v) <= 5 * unit * v);
        wrong += !(fabs(buffer_get(&after->master, i) - expected) <= limit);
    }
    return wrong;
}

static void test_adam(struct kernels *k)
{
    static const int64_t counts[] = {0, 1, 17, 4097, LONG};
    for (int i = 0; i < 5; i++) {
        int64_t count = counts[i];
        struct state s = state_create(k->type, count), before = state_create(k->type, count);
        struct device_adam settings = settings_make();
        struct device_adam a = step_of(&s, &settings, 0, count);
        CHECK_INT(k->operations.adam(&k->stream, &a), ZI_OK);
        CHECK_INT(step_errors(&before, &s, &settings), 0);
        const float *master = (const float *)s.master.bytes;
        long wrong = 0;
        for (int64_t j = 0; j < count; j++)
            wrong += ((const uint16_t *)s.parameter.bytes)[j] != nearest_away(master[j]);
        CHECK_INT(wrong, 0);
        CHECK(memcmp(s.gradient.bytes, before.gradient.bytes,
                     (size_t)count * zi_dtype_bytes(k->type)) == 0);
        /* added to what was there */
        CHECK(s.checksum == 12345 + checksum_define(master, count, settings.checksum_seed,
                                                    settings.checksum_first));
        kernels_digest(k, s.master.bytes, (size_t)count * 4);
        kernels_digest(k, s.moment1.bytes, (size_t)count * 4);
        kernels_digest(k, s.moment2.bytes, (size_t)count * 4);
        kernels_digest(k, &s.checksum, sizeof s.checksum);
        state_destroy(&s);
        state_destroy(&before);
    }
}

/* Cut anywhere, a range leaves the same bits and checksum: a tensor's shard may lie in pieces. And
 * without a parameter the master is the same. */
static void test_adam_cut(struct kernels *k)
{
    static const int64_t cuts[] = {0, 1, 2, 18, 4099, 4100, 50003, LONG};
    struct state whole = state_create(k->type, LONG), cut = state_create(k->type, LONG);
    struct device_adam settings = settings_make();
    struct device_adam a = step_of(&whole, &settings, 0, LONG);
    a.parameter.address = 0;
    CHECK_INT(k->operations.adam(&k->stream, &a), ZI_OK);
    for (int i = 0; i < 7; i++) {
        a = step_of(&cut, &settings, cuts[i], cuts[i + 1] - cuts[i]);
        CHECK_INT(k->operations.adam(&k->stream, &a), ZI_OK);
    }
    CHECK(memcmp(whole.master.bytes, cut.master.bytes, LONG * 4) == 0);
    CHECK(memcmp(whole.moment1.bytes, cut.moment1.bytes, LONG * 4) == 0);
    CHECK(memcmp(whole.moment2.bytes, cut.moment2.bytes, LONG * 4) == 0);
    CHECK(whole.checksum == cut.checksum);
    for (int64_t i = 0; i < LONG; i++) {
        if (buffer_get(&whole.parameter, i) == 0.0) continue;
        CHECK(!"a parameter that was not asked for");
        break;
    }
    state_destroy(&whole);
    state_destroy(&cut);
}

/* With no gradient, moments or decay a step leaves the master, so the parameter is its rounding:
 * ties go away from zero. */
static void test_parameter_ties(struct kernels *k)
{
    static const uint32_t masters[] = {0x3f808000u, 0x3f818000u, 0xbf808000u, 0xbf818000u,
                                       0x3f807fffu, 0x3f808001u, 0x80007fffu, 0x00008000u,
                                       0x80008000u, 0x3fffffffu, 0x00000000u};
    static const uint16_t parameters[] = {0x3f81, 0x3f82, 0xbf81, 0xbf82, 0x3f80, 0x3f81,
                                          0x8000, 0x0001, 0x8001, 0x4000, 0x0000};
    enum { COUNT = 11 * 7 };
    struct state s = state_create(k->type, COUNT);
    struct device_adam settings = settings_make();
    settings.decay = 0;
    for (int i = 0; i < COUNT; i++) {
        ((uint32_t *)s.master.bytes)[i] = masters[i % 11];
        buffer_set(&s.moment1, i, 0.0);
        buffer_set(&s.gradient, i, 0.0);
    }
    struct device_adam a = step_of(&s, &settings, 0, COUNT);
    CHECK_INT(k->operations.adam(&k->stream, &a), ZI_OK);
    for (int i = 0; i < COUNT; i++) {
        CHECK_INT(((const uint32_t *)s.master.bytes)[i], masters[i % 11]);
        CHECK_INT(((const uint16_t *)s.parameter.bytes)[i], parameters[i % 11]);
    }
    state_destroy(&s);
}

static void test_checksum(struct kernels *k)
{
    static const int64_t counts[] = {0, 1, 17, 4097, LONG};
    static const uint64_t seeds[] = {0, 7, (uint64_t)1 << 40, UINT64_MAX - 3};
    for (int i = 0; i < 20; i++) {
        int64_t count = counts[i % 5], half = count / 2;
        uint64_t seed = seeds[i / 5], first = seeds[(i + 1) % 4], whole = 99, parts = 0;
        struct buffer x = buffer_random(ZI_FP32, count, "x", 1.0f);
        struct device_ptr to_whole = {(uintptr_t)&whole}, to_parts = {(uintptr_t)&parts};
        CHECK_INT(
            k->operations.checksum(&k->stream, buffer_at(&x, 0), count, seed, first, to_whole),
            ZI_OK);
        CHECK(whole == 99 + checksum_define((const float *)x.bytes, count, seed, first));
        /* the second part first: the order does not count either */
        CHECK_INT(k->operations.checksum(&k->stream, buffer_at(&x, half), count - half, seed,
                                         first + (uint64_t)half, to_parts),
                  ZI_OK);
        CHECK_INT(k->operations.checksum(&k->stream, buffer_at(&x, 0), half, seed, first, to_parts),
                  ZI_OK);
        CHECK(parts == whole - 99);
        if (count > 1) { /* one bit, or two elements exchanged, and it is another */
            uint64_t other = 99;
            ((uint32_t *)x.bytes)[count - 1] ^= 1u;
            CHECK_INT(k->operations.checksum(&k->stream, buffer_at(&x, 0), count, seed, first,
                                             (struct device_ptr){(uintptr_t)&other}),
                      ZI_OK);
            CHECK(other != whole);
        }
        buffer_destroy(&x);
    }
}

/* Sum of squares of the finite elements, and how many are not. */
static double norm_define(const struct buffer *g, uint64_t *nonfinite)
{
    double sum = 0.0;
    *nonfinite = 0;
    for (int64_t i = 0; i < g->count; i++) {
        double value = buffer_get(g, i);
        if (isfinite(value))
            sum += value * value;
        else
            (*nonfinite)++;
    }
    return sum;
}

/* Squares of fp32 are exact in double. Of `count` positive terms and the start, added in any order,
 * both sums are off by at most count + 1 roundings of 2^-53. */
static void norm_check_from(struct kernels *k, const struct buffer *g, double start)
{
    struct device_norm_sums sums = {start, 3}, again = {start, 3};
    uint64_t nonfinite;
    double expected = start + norm_define(g, &nonfinite);
    CHECK_INT(k->operations.gradient_norm(&k->stream, g->type, buffer_at(g, 0), g->count,
                                          (struct device_ptr){(uintptr_t)&sums}),
              ZI_OK);
    CHECK_NEAR(sums.squares, expected, 2 * (double)(g->count + 1) * ldexp(expected, -53));
    CHECK_INT(sums.nonfinite, 3 + nonfinite);
    CHECK_INT(k->operations.gradient_norm(&k->stream, g->type, buffer_at(g, 0), g->count,
                                          (struct device_ptr){(uintptr_t)&again}),
              ZI_OK);
    CHECK(memcmp(&sums, &again, sizeof sums) == 0);
    kernels_digest(k, &sums, sizeof sums);
}

static void norm_check(struct kernels *k, const struct buffer *g)
{
    norm_check_from(k, g, 0.5);
}

static void test_gradient_norm(struct kernels *k)
{
    static const int64_t counts[] = {0, 1, 17, 255, 257, 4097, LONG};
    for (int i = 0; i < 7; i++) {
        struct buffer g = buffer_random(k->type, counts[i], "gradient", 1.0f);
        int64_t last = counts[i] - 1;
        norm_check(k, &g);
        if (last >= 0) { /* in the rest behind whole vectors */
            buffer_set(&g, last, (double)INFINITY);
            norm_check(k, &g);
        }
        if (last > 16) { /* in a vector */
            buffer_set(&g, 3, (double)NAN);
            buffer_set(&g, last / 2, (double)-INFINITY);
            norm_check(k, &g);
            /* squares of both overflow fp32, and count */
            buffer_set(&g, 5, 1e30);
            buffer_set(&g, last - 1, -3e38);
            norm_check(k, &g);
        }
        buffer_destroy(&g);
    }
}

/* Squares that vanish in fp32 count too: gradients may be scaled down. */
static void test_gradient_norm_tiny(struct kernels *k)
{
    struct buffer g = buffer_random(k->type, LONG, "gradient", 1.0f);
    for (int64_t i = 0; i < LONG; i++)
        buffer_set(&g, i, ldexp(buffer_get(&g, i), -90));
    norm_check_from(k, &g, 0.0);
    buffer_destroy(&g);
}

/* More than what partial sums are held of at once: 1024 blocks of 4096. */
static void test_gradient_norm_long(struct kernels *k)
{
    const int64_t count = 1024 * 4096 + 4096 * 9 + 5;
    struct buffer g = buffer_create(k->type, count);
    for (int64_t i = 0; i < count; i++)
        buffer_set(&g, i, (double)(int)(i * 2654435761u >> 20 & 1023u) - 400.0);
    norm_check(k, &g);
    buffer_destroy(&g);
}

static void test_update(struct kernels *k)
{
    test_adam(k);
    test_adam_cut(k);
    test_parameter_ties(k);
    if (k->type == ZI_FP32) test_checksum(k);
    test_gradient_norm(k);
    test_gradient_norm_tiny(k);
    if (k->isa == cpu_isa_best()) test_gradient_norm_long(k);
}

int main(void)
{
    kernels_run(test_update);
    return test_finish("device_update_test");
}
