/* SPDX-License-Identifier: Apache-2.0 */
/* The update on a CUDA device has the bits of the cpu's: a group may be updated on either. */
#include "regression/unit/cuda_pair.h"

/* Around the numbers that a thread takes at once, a block, a chunk of the norm. On a real device also
 * more than a span. */
static const int64_t counts[] = {
    0, 1, 3, 4, 31, 1023, 4097, 12301, 4096 * 32 + 4099, 3 * 4096 * 1024 + 17};
enum { COUNTS = 9 };

/* Sums that held something before, as bits: integers and doubles alike. */
static struct tensor sums_create(struct pair *p, double squares, uint64_t number)
{
    struct buffer sums = buffer_create(ZI_INT32, 4);
    memcpy(sums.bytes, &squares, sizeof squares);
    memcpy(sums.bytes + 8, &number, sizeof number);
    p->shift = 0;
    return tensor_of(p, sums);
}

static void norm_check(struct pair *p, struct buffer values, int64_t shift)
{
    int64_t count = values.count;
    p->shift = shift;
    struct tensor g = tensor_of(p, values), sums = sums_create(p, 0.37, 5);
    PAIR_CALL(p, gradient_norm, p->type, g.at[d], count, sums.at[d]);
    tensor_equal(p, &sums);
    pair_clear(p);
}

static void test_norm(struct pair *p)
{
    p->what = "gradient_norm";
    for (int i = 0; i < COUNTS + (p->emulated ? 0 : 1); i++) {
        int64_t count = counts[i];
        struct buffer g = buffer_random(p->type, count, "gradient", 1e-3f);
        norm_check(p, buffer_copy(&g), i % 3);
        if (count > 8) { /* squares of some overflow fp32 */
            buffer_set(&g, count - 1, (double)INFINITY);
            buffer_set(&g, count / 2, (double)NAN);
            buffer_set(&g, count / 3, (double)-INFINITY);
            buffer_set(&g, 1, p->type == ZI_FP16 ? 60000.0 : -3e38);
            buffer_set(&g, 2, p->type == ZI_FP16 ? 0x1p-24 : 1e-40);
            norm_check(p, buffer_copy(&g), 1);
        }
        buffer_destroy(&g);
    }
}

/* More than the partial sums of a stream have room for. */
static void test_norm_long(struct pair *p)
{
    struct buffer g = buffer_create(p->type, (int64_t)2048 * 32 * 4096 + 131073);
    for (int64_t i = 0; i < g.count; i++)
        ((uint16_t *)g.bytes)[i] = (uint16_t)(0x3000 + (i * 40503 >> 5 & 0xfff));
    p->what = "gradient_norm, long";
    norm_check(p, g, 0);
}

/* A step of `count` weights; p->type is that of the gradient. */
struct step {
    enum zi_dtype type;
    int64_t count, shift, row;
    float scale;
    bool summed;
};

/* Weights, whole or split; from the smallest to the largest that have a place in the type. */
static void weights_create(struct pair *p, const struct step *s, struct tensor *parameter,
                           struct tensor *remainder)
{
    struct buffer w = buffer_random(ZI_FP32, s->count, "weights", 0.05f);
    for (int64_t i = 0; i < s->count; i += 5)
        buffer_set(&w, i, ldexp(buffer_get(&w, i), (int)(i % 61) - 45));
    if (s->type == ZI_FP32) {
        *parameter = tensor_of(p, w);
        return;
    }
    struct buffer upper = buffer_create(s->type, s->count),
                  lower = buffer_create(ZI_INT16, s->count);
    for (int64_t i = 0; i < s->count; i++) {
        float value = (float)buffer_get(&w, i);
        ((uint16_t *)upper.bytes)[i] = zi_half_parameter(s->type, value);
        ((int16_t *)lower.bytes)[i] = zi_half_remainder(s->type, value);
    }
    *parameter = tensor_of(p, upper);
    *remainder = tensor_of(p, lower);
    buffer_destroy(&w);
}

static struct tensor moment2_create(struct pair *p, int64_t count)
{
    struct buffer v = buffer_random(ZI_FP32, count, "moment2", 0.1f);
    for (int64_t i = 0; i < count; i++)
        buffer_set(&v, i, buffer_get(&v, i) * buffer_get(&v, i));
    return tensor_of(p, v);
}

static void adam_check(struct pair *p, const struct step *s)
{
    struct tensor parameter, remainder = {0};
    p->shift = s->shift;
    weights_create(p, s, &parameter, &remainder);
    struct tensor m = tensor_random(p, ZI_FP32, s->count, 0.1f), v = moment2_create(p, s->count);
    struct tensor g = tensor_random(p, p->type, s->count, 1.0f), sums = sums_create(p, 0, 77);
    struct device_adam adams[PAIR_DEVICES];
    for (int d = 0; d < PAIR_DEVICES; d++) {
        adams[d] =
            (struct device_adam){.count = s->count,
                                 .type = s->type,
                                 .gradient_type = p->type,
                                 .learning_rate = 0.01f,
                                 .beta1 = 0.9f,
                                 .beta2 = 0.95f,
                                 .epsilon = 1e-8f,
                                 .decay = 0.1f,
                                 .scale = s->scale,
                                 .correction1 = 0.271f,
                                 .correction2 = 0.142625f,
                                 .place = {0xfedcba9876543210u, 0xfffffff0u, s->row, 3 * s->row},
                                 .parameter = parameter.at[d],
                                 .remainder = remainder.at[d],
                                 .states[0] = m.at[d],
                                 .states[1] = v.at[d],
                                 .gradient = g.at[d]};
        if (s->summed) adams[d].checksum = device_at(sums.at[d], 8);
    }
    for (int step = 0; step < 2; step++)
        PAIR_CALL(p, adam, &adams[d]);
    tensor_equal(p, &parameter);
    if (s->type != ZI_FP32) tensor_equal(p, &remainder);
    tensor_equal(p, &m);
    tensor_equal(p, &v);
    tensor_equal(p, &g);
    tensor_equal(p, &sums);
    pair_clear(p);
}

/* Aligned and not; a run, and rows shorter than what a thread takes; a scale that makes the squares
 * denormal. */
static void test_adam(struct pair *p)
{
    static const int64_t rows[] = {INT64_MAX, 1, 3, 1000};
    p->what = "adam";
    for (int type = 0; type < KERNELS_TYPES; type++) {
        for (int i = 0; i < (p->emulated ? COUNTS - 1 : COUNTS + 1); i++) {
            struct step s = {kernels_types[type], counts[i], i % 2, rows[i % 4], 0.37f, i != 4};
            adam_check(p, &s);
            if (i != 5) continue;
            s.shift = 4;
            s.scale = 1e-21f;
            adam_check(p, &s);
        }
    }
}

static void test_checksum(struct pair *p)
{
    static const int64_t rows[] = {INT64_MAX, 1, 2, 7, 4096};
    p->what = "checksum";
    for (int i = 0; i < 5 * (COUNTS - 1); i++) {
        int64_t count = counts[i % (COUNTS - 1)], row = rows[i / (COUNTS - 1)];
        struct device_place place = {7u << i % 8, (uint64_t)i << 30, row, row + i};
        p->shift = i % 5;
        struct tensor w = tensor_random(p, ZI_FP32, count, 0.05f), sums = sums_create(p, 0, 99);
        PAIR_CALL(p, checksum, w.at[d], count, &place, device_at(sums.at[d], 8));
        tensor_equal(p, &sums);
        pair_clear(p);
    }
}

static void test_update(struct pair *p)
{
    test_norm(p);
    if (p->type == ZI_BF16 && !p->emulated) test_norm_long(p);
    test_adam(p);
    if (p->type == ZI_FP32) test_checksum(p);
}

int main(void)
{
    return pair_main("cuda_update_test", test_update);
}
