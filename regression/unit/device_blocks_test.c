/* SPDX-License-Identifier: Apache-2.0 */
/* Moments in blocks of 8-bit numbers: the maps against their definition in double, encoding against
 * a search for the nearest number, what has been decoded encodes to the same bits; every
 * instruction set gives the bits of encoding one by one. The rules of optimizers, with fp32 moments and in
 * blocks, in pieces and cut anywhere, against their definitions in double. */
#include "regression/unit/kernel_fixture.h"

#include "base/blocks.h"

enum { LONG = 40 * ZI_BLOCK, BYTES = LONG / ZI_BLOCK * ZI_BLOCK_BYTES };

static const double unit = 1.0 / 16777216.0; /* one rounding of fp32, relative: 2^-24 */

/* The numbers of a map in ascending order, by the words of Dettmers et al.: decades that end in
 * 10^-6 to 1, of which each has the middles of twice as many equal cells as the one below; 0 and 1. */
static int map_define(enum zi_dtype type, double values[256])
{
    bool has_sign = type == ZI_SIGNED8;
    int count = 0;
    for (int decade = 6; has_sign && decade >= 0; decade--)
        for (int cells = 1 << decade, c = cells - 1; c >= 0; c--)
            values[count++] = -pow(10, decade - 6) * (0.1 + 0.9 * (c + 0.5) / cells);
    values[count++] = 0;
    for (int decade = 0; decade < 7; decade++)
        for (int cells = (has_sign ? 1 : 2) << decade, c = 0; c < cells; c++)
            values[count++] = pow(10, decade - 6) * (0.1 + 0.9 * (c + 0.5) / cells);
    values[count++] = 1;
    return count;
}

/* All codes decode to all numbers of the map, each once. */
static void test_map(enum zi_dtype type)
{
    unsigned char block[ZI_BLOCK_BYTES];
    float values[ZI_BLOCK], scale = 1;
    double expected[256];
    bool found[256] = {false};
    for (int i = 0; i < 256; i++)
        block[i] = (unsigned char)i;
    memcpy(block + 256, &scale, sizeof scale);
    zi_blocks_decode(type, block, ZI_BLOCK, values);
    CHECK_INT(map_define(type, expected), 256);
    for (int i = 0; i < 256; i++)
        for (int j = 0; j < 256; j++)
            if (fabs((double)values[i] - expected[j]) <= 1e-6 * fabs(expected[j])) {
                CHECK(!found[j]);
                found[j] = true;
            }
    for (int j = 0; j < 256; j++)
        CHECK(found[j]);
}

/* Values over many orders of magnitude; block b has its own largest, which may be too small for a
 * block or too large for a scale; some are 0. */
static void values_make(enum zi_dtype type, float *values)
{
    static const float sizes[] = {1, 3e-5f, 7e20f, 1e-29f, 1e-33f, 3e38f, 0, 1e-42f};
    for (int64_t i = 0; i < LONG; i++) {
        uint64_t bits = zi_random_bits(5, (uint64_t)type, (uint64_t)i);
        double size = (double)sizes[i / ZI_BLOCK % 8] * pow(10, -(double)(bits % 900) / 100);
        if (i % 19 == 0) size = 0;
        values[i] = (float)(type == ZI_SIGNED8 && bits >> 40 & 1 ? -size : size);
    }
}

/* A value may become one of two numbers that are nearly as near. Of two that are largest, of either sign,
 * the scale is the positive one. */
static long encode_errors(enum zi_dtype type, const float *values, const float *decoded)
{
    double map[256];
    long wrong = 0;
    map_define(type, map);
    for (int64_t b = 0; b < LONG; b += ZI_BLOCK) {
        double largest = 0, nearest;
        for (int64_t i = b; i < b + ZI_BLOCK; i++)
            if (fabs((double)values[i]) > fabs(largest) || (double)values[i] == -largest)
                largest =
                    fabs((double)values[i]) > fabs(largest) ? (double)values[i] : fabs(largest);
        for (int64_t i = b; i < b + ZI_BLOCK; i++) {
            double scale = fabs(largest) > 0x1p120 ? copysign(0x1p120, largest) : largest;
            nearest = INFINITY;
            for (int j = 0; j < 256 && fabs(largest) >= 0x1p-100; j++) {
                if (type == ZI_UNSIGNED8 && values[i] > 0 && map[j] == 0) continue;
                double off = fabs(map[j] * scale - (double)values[i]);
                if (off < nearest) nearest = off;
            }
            if (fabs(largest) < 0x1p-100) nearest = fabs((double)values[i]);
            double off = fabs((double)decoded[i] - (double)values[i]);
            wrong += !(off <= nearest + 2e-6 * fabs((double)values[i]));
        }
    }
    return wrong;
}

static void test_encode(enum zi_dtype type)
{
    static float values[LONG], decoded[LONG];
    static unsigned char blocks[BYTES], again[BYTES];
    values_make(type, values);
    zi_blocks_encode(type, values, LONG, blocks);
    zi_blocks_decode(type, blocks, LONG, decoded);
    CHECK_INT(encode_errors(type, values, decoded), 0);
    zi_blocks_encode(type, decoded, LONG, again);
    CHECK(memcmp(blocks, again, BYTES) == 0);
}

/* Whatever codes a block has, and with every scale: decoded and encoded again they are the same bits,
 * if the block is one that encoding gives, with a code of 1. */
static void test_again(enum zi_dtype type)
{
    static const float scales[] = {1, 0x1p120f, 0x1p-100f, 1.9999999f, 3e-7f};
    unsigned char block[ZI_BLOCK_BYTES], again[ZI_BLOCK_BYTES];
    float values[ZI_BLOCK];
    for (int s = 0; s < 10; s++) {
        float scale = scales[s % 5];
        if (s >= 5 && type == ZI_SIGNED8) scale = -scale;
        for (int i = 0; i < 256; i++)
            block[i] = (unsigned char)(i * 7);
        memcpy(block + 256, &scale, sizeof scale);
        zi_blocks_decode(type, block, ZI_BLOCK, values);
        zi_blocks_encode(type, values, ZI_BLOCK, again);
        CHECK(memcmp(block, again, sizeof block) == 0);
    }
}

enum { PIECES = 4 };

/* Gaps, ends inside of blocks, several in one block, and one that does not decay. */
static const struct device_piece pieces[PIECES] = {
    {3, 100, true, {1, 0, 100, 100}},
    {103, 30, false, {2, 5, 10, 17}},
    {200, 5000, true, {3, 0, 5000, 5000}},
    {5201, LONG - 5300, true, {3, 5000, LONG, LONG}},
};

static struct device_adam step_make(enum device_rule rule)
{
    return (struct device_adam){
        .count = LONG,
        .rule = rule,
        .type = ZI_FP32,
        .gradient_type = ZI_FP32,
        .learning_rate = 0.01f,
        .beta1 = 0.9f,
        .beta2 = 0.95f,
        .epsilon = 1e-3f,
        .decay = 0.1f,
        .scale = 0.37f,
        .correction1 = rule == DEVICE_ADAMW ? 0.271f : 1.0f,
        .correction2 = rule == DEVICE_ADAMW ? 0.142625f : 1.0f,
        .place = {.seed = 3, .row = LONG, .stride = LONG},
    };
}

/* The definition of a rule for one element, in double; an error of fp32 that its result may have. */
static double rule_define(const struct device_adam *a, double g, double w, double *m, double *v)
{
    double rate = (double)a->learning_rate, decay = (double)a->decay, b1 = (double)a->beta1;
    double b2 = (double)a->beta2;
    g *= (double)a->scale;
    if (a->rule == DEVICE_LION) {
        double way = b1 * *m + (1 - b1) * g;
        *m = b2 * *m + (1 - b2) * g;
        return w - rate * ((way > 0) - (way < 0) + decay * w);
    }
    if (a->rule == DEVICE_SGD) {
        *m = b1 * *m + g + decay * w;
        return w - rate * *m;
    }
    *m = b1 * *m + (1 - b1) * g;
    *v = b2 * *v + (1 - b2) * g * g;
    double root = sqrt(*v / (double)a->correction2) + (double)a->epsilon;
    return w - rate * (*m / (double)a->correction1 / root + decay * w);
}

/* One step with fp32 moments. Where the sign of lion's sum is in doubt, the weight is not looked at. */
static void rule_check(struct kernels *k, enum device_rule rule)
{
    struct buffer w = buffer_random(ZI_FP32, LONG, "w", 0.5f), old = buffer_copy(&w);
    struct buffer m = buffer_random(ZI_FP32, LONG, "m", 0.3f), m_old = buffer_copy(&m);
    struct buffer v = buffer_random(ZI_FP32, LONG, "v", 0.3f);
    struct buffer g = buffer_random(k->type, LONG, "g", 1.0f);
    struct device_adam a = step_make(rule);
    long wrong = 0;
    for (int64_t i = 0; i < LONG; i++)
        buffer_set(&v, i, buffer_get(&v, i) * buffer_get(&v, i));
    struct buffer v_old = buffer_copy(&v);
    a.gradient_type = k->type;
    a.parameter = buffer_at(&w, 0);
    a.states[0] = buffer_at(&m, 0);
    if (rule == DEVICE_ADAMW) a.states[1] = buffer_at(&v, 0);
    a.gradient = buffer_at(&g, 0);
    CHECK_INT(k->operations.adam(&k->stream, &a), ZI_OK);
    for (int64_t i = 0; i < LONG; i++) {
        double mean = buffer_get(&m_old, i), square = buffer_get(&v_old, i);
        double gradient = buffer_get(&g, i) * (double)a.scale;
        double sum = 0.9 * mean + 0.1 * gradient;
        double expected = rule_define(&a, buffer_get(&g, i), buffer_get(&old, i), &mean, &square);
        double limit = 16 * unit * (fabs(expected) + 0.1);
        if (rule == DEVICE_LION && fabs(sum) < 1e-6) continue;
        wrong += !(fabs(buffer_get(&w, i) - expected) <= limit);
        wrong += !(fabs(buffer_get(&m, i) - mean) <= 8 * unit);
    }
    CHECK_INT(wrong, 0);
    kernels_digest(k, w.bytes, LONG * 4);
    struct buffer *all[] = {&w, &old, &m, &m_old, &v, &v_old, &g};
    for (int i = 0; i < 7; i++)
        buffer_destroy(all[i]);
}

/* What a step in blocks has to leave: fp32 moments decoded, updated piece by piece, encoded. */
static void blocks_check(struct kernels *k, enum device_rule rule)
{
    static float m[LONG], v[LONG];
    static unsigned char block1[BYTES], block2[BYTES], kept1[BYTES], kept2[BYTES];
    struct buffer w = buffer_random(ZI_FP32, LONG, "w", 0.5f), one = buffer_copy(&w);
    struct buffer g = buffer_random(k->type, LONG, "g", 1.0f);
    uint64_t sum = 7, sum_one = 7;
    struct device_adam a = step_make(rule);
    memset(block1, 0, BYTES);
    memset(block2, 0, BYTES);
    a.gradient_type = k->type;
    for (int step = 0; step < 3; step++) {
        zi_blocks_decode(ZI_SIGNED8, block1, LONG, m);
        zi_blocks_decode(ZI_UNSIGNED8, block2, LONG, v);
        for (int p = 0; p < PIECES; p++) {
            struct device_adam piece = a;
            int64_t first = pieces[p].first;
            piece.count = pieces[p].count;
            piece.place = pieces[p].place;
            if (!pieces[p].decays) piece.decay = 0;
            piece.parameter = buffer_at(&one, first);
            piece.states[0].address = (uintptr_t)(m + first);
            if (rule == DEVICE_ADAMW) piece.states[1].address = (uintptr_t)(v + first);
            piece.gradient = buffer_at(&g, first);
            piece.checksum.address = (uintptr_t)&sum_one;
            CHECK_INT(k->operations.adam(&k->stream, &piece), ZI_OK);
        }
        zi_blocks_encode(ZI_SIGNED8, m, LONG, kept1);
        zi_blocks_encode(ZI_UNSIGNED8, v, LONG, kept2);
        a.pieces = pieces;
        a.piece_count = PIECES;
        a.parameter = buffer_at(&w, 0);
        a.states[0].address = (uintptr_t)block1;
        if (rule == DEVICE_ADAMW) a.states[1].address = (uintptr_t)block2;
        a.gradient = buffer_at(&g, 0);
        a.checksum.address = (uintptr_t)&sum;
        CHECK_INT(k->operations.adam(&k->stream, &a), ZI_OK);
        a.pieces = NULL;
        CHECK(memcmp(w.bytes, one.bytes, LONG * 4) == 0);
        CHECK(memcmp(block1, kept1, BYTES) == 0);
        CHECK(rule != DEVICE_ADAMW || memcmp(block2, kept2, BYTES) == 0);
        CHECK(sum == sum_one);
        a.scale *= -1.7f;
    }
    kernels_digest(k, block1, BYTES);
    buffer_destroy(&w);
    buffer_destroy(&one);
    buffer_destroy(&g);
}

/* SGD without momentum has no state. */
static void test_plain(struct kernels *k)
{
    float w[3] = {1, -2, 0.5f}, g[3] = {0.5f, 0.25f, -8};
    struct device_adam a = step_make(DEVICE_SGD);
    a.count = 3;
    a.beta1 = 0;
    a.scale = 1;
    a.parameter.address = (uintptr_t)w;
    a.gradient.address = (uintptr_t)g;
    CHECK_INT(k->operations.adam(&k->stream, &a), ZI_OK);
    CHECK_NEAR((double)w[0], 1 - 0.01 * (0.5 + 0.1), 1e-7);
    CHECK_NEAR((double)w[1], -2 - 0.01 * (0.25 - 0.2), 2e-7);
    CHECK_NEAR((double)w[2], 0.5 - 0.01 * (-8 + 0.05), 1e-7);
}

static void test_kernels(struct kernels *k)
{
    for (int rule = DEVICE_ADAMW; rule <= DEVICE_SGD; rule++) {
        rule_check(k, (enum device_rule)rule);
        blocks_check(k, (enum device_rule)rule);
    }
    test_plain(k);
}

int main(void)
{
    static const enum zi_dtype types[] = {ZI_SIGNED8, ZI_UNSIGNED8};
    for (int i = 0; i < 2; i++) {
        test_map(types[i]);
        test_encode(types[i]);
        test_again(types[i]);
    }
    kernels_run_alike(test_kernels);
    return test_finish("device_blocks_test");
}
