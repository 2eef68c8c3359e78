/* SPDX-License-Identifier: Apache-2.0 */
/* GELU, SwiGLU and rotary embedding on a CUDA device against the cpu. */
#include "regression/unit/cuda_pair.h"

/* The argument of the logistic, the exponential, the quotient and the products around them are rounded
 * a dozen times on either device. What is rounded in the argument u goes into x s(u) as x s (1 - s) u,
 * which is below 1: where u is large, s is 0 or 1. Gradients are that times dy, which is up to 4. A GPU's
 * exponential and reciprocal are off by two places and one of their own (PTX ISA, ex2.approx and
 * rcp.approx), and the exponential's argument by a place, which grows with it: twenty were seen. */
enum { LOGISTIC_ROUNDINGS = 64 };

static void test_gelu(struct pair *p)
{
    static const int64_t counts[] = {0, 1, 7, 8, 1029, 5000, 1 << 22};
    p->what = "gelu";
    for (int i = 0; i < (p->emulated ? 6 : 7); i++) {
        p->shift = i % 2;
        struct tensor x = tensor_random(p, p->type, counts[i], 3.0f);
        struct tensor dy = tensor_random(p, p->type, counts[i], 1.0f);
        struct tensor y = tensor_zeros(p, p->type, counts[i]);
        struct tensor dx = tensor_zeros(p, p->type, counts[i]);
        PAIR_CALL(p, gelu, p->type, y.at[d], x.at[d], counts[i]);
        PAIR_CALL(p, gelu_backward, p->type, dx.at[d], dy.at[d], x.at[d], counts[i]);
        tensor_near(p, &y, LOGISTIC_ROUNDINGS, 1.0);
        tensor_near(p, &dx, LOGISTIC_ROUNDINGS, 4.0);
        /* in the place of either */
        PAIR_CALL(p, gelu_backward, p->type, dy.at[d], dy.at[d], x.at[d], counts[i]);
        tensor_near(p, &dy, LOGISTIC_ROUNDINGS, 4.0);
        PAIR_CALL(p, gelu_backward, p->type, x.at[d], dx.at[d], x.at[d], counts[i]);
        tensor_near(p, &x, 4 * LOGISTIC_ROUNDINGS, 1.0 + 4 * pair_unit(p->type) / 0x1p-23);
        pair_clear(p);
    }
}

/* Where the logistic is 0 or 1, infinite arguments included. */
static void test_gelu_ends(struct pair *p)
{
    static const double ends[] = {30, -30, 300, -300, 60000, -60000, 0, -0.0, 1e-5, -1e-5};
    struct buffer values = buffer_create(p->type, 20);
    p->what = "gelu, large and small";
    p->shift = 0;
    for (int i = 0; i < 20; i++)
        buffer_set(&values, i, ends[i % 10]);
    struct buffer ones = buffer_create(p->type, 20);
    for (int i = 0; i < 20; i++)
        buffer_set(&ones, i, 1.0);
    struct tensor x = tensor_of(p, values), dy = tensor_of(p, ones);
    struct tensor y = tensor_zeros(p, p->type, 20), dx = tensor_zeros(p, p->type, 20);
    PAIR_CALL(p, gelu, p->type, y.at[d], x.at[d], 20);
    PAIR_CALL(p, gelu_backward, p->type, dx.at[d], dy.at[d], x.at[d], 20);
    tensor_near(p, &y, 4, 1.0);
    tensor_near(p, &dx, 4, 1.0);
    pair_clear(p);
}

static void test_glu(struct pair *p, bool gelu)
{
    static const int64_t shapes[][2] = {{0, 8}, {1, 1}, {3, 7}, {2, 16}, {5, 129}, {2048, 2731}};
    p->what = gelu ? "geglu" : "swiglu";
    for (int i = 0; i < (p->emulated ? 5 : 6); i++) {
        int64_t rows = shapes[i][0], inner = shapes[i][1];
        p->shift = i % 2;
        struct tensor x = tensor_random(p, p->type, 2 * rows * inner, 2.0f);
        struct tensor dy = tensor_random(p, p->type, rows * inner, 1.0f);
        struct tensor y = tensor_zeros(p, p->type, rows * inner);
        struct tensor dx = tensor_zeros(p, p->type, 2 * rows * inner);
        struct device_glu glu[PAIR_DEVICES];
        for (int d = 0; d < PAIR_DEVICES; d++)
            glu[d] = (struct device_glu){.type = p->type,
                                         .gelu = gelu,
                                         .rows = rows,
                                         .inner = inner,
                                         .gate_up = x.at[d],
                                         .y = y.at[d],
                                         .dy = dy.at[d],
                                         .d_gate_up = dx.at[d]};
        PAIR_CALL(p, glu, &glu[d]);
        tensor_near(p, &y, LOGISTIC_ROUNDINGS, 4.0);
        PAIR_CALL(p, glu_backward, &glu[d]);
        tensor_near(p, &dx, LOGISTIC_ROUNDINGS, 4.0);
        for (int d = 0; d < PAIR_DEVICES; d++)
            glu[d].d_gate_up = x.at[d];
        PAIR_CALL(p, glu_backward, &glu[d]);
        tensor_near(p, &x, LOGISTIC_ROUNDINGS, 4.0);
        pair_clear(p);
    }
}

/* The same elements are dropped; added to others as well. */
static void test_dropout(struct pair *p)
{
    static const int64_t shapes[][2] = {{0, 8}, {1, 1}, {3, 7}, {2, 16}, {5, 129}, {2048, 2731}};
    p->what = "dropout";
    for (int i = 0; i < (p->emulated ? 5 : 6); i++) {
        int64_t rows = shapes[i][0], columns = shapes[i][1];
        p->shift = i % 2;
        struct tensor x = tensor_random(p, p->type, rows * columns, 2.0f);
        struct tensor y = tensor_random(p, p->type, rows * columns, 2.0f);
        struct device_dropout dropout[PAIR_DEVICES];
        for (int d = 0; d < PAIR_DEVICES; d++)
            dropout[d] = (struct device_dropout){.type = p->type,
                                                 .rows = rows,
                                                 .columns = columns,
                                                 .seed = 0x8123456789abcdefu,
                                                 .first = 1001,
                                                 .stride = columns + 3,
                                                 .share = 0.3,
                                                 .add = i != 2,
                                                 .from = x.at[d],
                                                 .to = y.at[d]};
        PAIR_CALL(p, dropout, &dropout[d]);
        tensor_near(p, &y, 2, 4.0);
        pair_clear(p);
    }
}

/* B, T, heads, D, ld. */
static struct device_rope rope_of(struct pair *p, const int64_t shape[5], double base)
{
    struct device_rope rope = {.type = p->type,
                               .sequences = shape[0],
                               .tokens = shape[1],
                               .heads = shape[2],
                               .width = shape[3],
                               .ld = shape[4],
                               .scale = base > 1e5 ? 1.25f : 1.0f};
    for (int64_t i = 0; i < shape[3] / 2; i++)
        rope.frequencies[i] = pow(base, -2.0 * (double)i / (double)shape[3]);
    return rope;
}

/* Of rows: texts that begin in the middle, and places that jump. */
static struct tensor positions_create(struct pair *p, int64_t rows)
{
    struct buffer b = buffer_create(ZI_INT32, rows);
    int64_t shift = p->shift;
    for (int64_t r = 0; r < rows; r++)
        ((int32_t *)b.bytes)[r] = (int32_t)(r % 5 ? r % 41 : r * 1009 % 30000);
    p->shift = 0;
    struct tensor positions = tensor_of(p, b);
    p->shift = shift;
    return positions;
}

/* Cosine and sine are from double on the cpu; those of the device may be off by a few roundings at any
 * token. Backward is forward with the other sign. What lies between the heads of a row stays. */
static void test_rope(struct pair *p)
{
    /* B, T, heads, D, ld */
    static const int64_t shapes[][5] = {{1, 1, 1, 2, 2},     {2, 5, 3, 8, 24},
                                        {1, 70, 2, 16, 51},  {2, 33, 1, 64, 64},
                                        {1, 3, 2, 128, 300}, {1, 40000, 1, 128, 128}};
    p->what = "rope";
    for (int i = 0; i < 2 * (p->emulated ? 5 : 6); i++) {
        const int64_t *shape = shapes[i / 2];
        int64_t count = shape[0] * shape[1] * shape[4];
        struct device_rope ropes[PAIR_DEVICES];
        p->shift = i % 2;
        struct tensor x = tensor_random(p, p->type, count, 1.0f);
        struct tensor positions = positions_create(p, shape[0] * shape[1]);
        for (int d = 0; d < PAIR_DEVICES; d++) {
            ropes[d] = rope_of(p, shape, i % 4 ? 10000.0 : 500000.0);
            if (i / 2 % 2) ropes[d].positions = positions.at[d];
            ropes[d].reverse = i % 2;
            ropes[d].x = x.at[d];
        }
        PAIR_CALL(p, rope, &ropes[d]);
        tensor_near(p, &x, 8, 5.0);
        pair_clear(p);
    }
}

static void test_elementwise(struct pair *p)
{
    test_gelu(p);
    test_gelu_ends(p);
    test_glu(p, false);
    test_glu(p, true);
    test_dropout(p);
    test_rope(p);
}

int main(void)
{
    return pair_main("cuda_elementwise_test", test_elementwise);
}
