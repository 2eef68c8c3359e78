/* SPDX-License-Identifier: Apache-2.0 */
/* Filling, conversions and additions on a CUDA device have the bits of the cpu's: what is rounded does
 * not depend on where. */
#include "regression/unit/cuda_pair.h"

static const int64_t counts[] = {0, 1, 2, 7, 8, 9, 33, 2051, 9000};
enum { COUNTS = sizeof counts / sizeof *counts };

/* Numbers of all sizes: in the middle of two of a smaller type and beside it, denormal, too large. */
static struct buffer mixed(enum zi_dtype type, int64_t count, const char *name)
{
    struct buffer b = buffer_random(type, count, name, 1.0f);
    static const double special[] = {
        1 + 0x1p-8, 1 + 0x3p-8, 1 + 0x1p-11, 1 + 0x3p-11, 65504.0,  65519.996, 65520.0,  3.4e38,
        -1e-40,     0x1p-24,    0x1p-25,     0x3p-26,     0x1p-149, -0.0,      INFINITY, -INFINITY};
    int64_t specials = sizeof special / sizeof *special;
    for (int64_t i = 0; i < count; i += 2)
        buffer_set(&b, i,
                   i % 4 ? special[i / 4 % specials]
                         : ldexp(buffer_get(&b, i), (int)(i % 97) - 60));
    return b;
}

static void test_convert(struct pair *p)
{
    p->what = "convert";
    for (int to = 0; to < KERNELS_TYPES; to++) {
        for (int i = 0; i < 2 * COUNTS; i++) {
            int64_t count = counts[i / 2];
            p->shift = i % 2 * (i % 3 + 1);
            struct tensor x = tensor_of(p, mixed(p->type, count, "x"));
            p->shift = i % 2;
            struct tensor y = tensor_random(p, kernels_types[to], count, 1.0f);
            PAIR_CALL(p, convert, kernels_types[to], y.at[d], p->type, x.at[d], count);
            tensor_equal(p, &y);
            tensor_equal(p, &x);
            pair_clear(p);
        }
    }
}

static void test_add(struct pair *p)
{
    p->what = "add";
    for (int to = 0; to < KERNELS_TYPES; to++) {
        for (int i = 0; i < 2 * COUNTS; i++) {
            int64_t count = counts[i / 2];
            p->shift = i % 2;
            struct tensor x = tensor_of(p, mixed(p->type, count, "x"));
            p->shift = i % 2 * (i % 3 + 1);
            struct tensor y = tensor_of(p, mixed(kernels_types[to], count, "y"));
            PAIR_CALL(p, add, kernels_types[to], y.at[d], p->type, x.at[d], count);
            tensor_equal(p, &y);
            tensor_equal(p, &x);
            pair_clear(p);
        }
    }
}

/* In place: converting a type to itself leaves it, adding it to itself doubles it. */
static void test_in_place(struct pair *p)
{
    p->what = "in place";
    struct tensor x = tensor_of(p, mixed(p->type, 777, "x"));
    PAIR_CALL(p, convert, p->type, x.at[d], p->type, x.at[d], 777);
    tensor_equal(p, &x);
    PAIR_CALL(p, add, p->type, x.at[d], p->type, x.at[d], 777);
    tensor_equal(p, &x);
    pair_clear(p);
}

static void test_fill(struct pair *p)
{
    static const int bytes[] = {0, 0x80, 0xff};
    p->what = "fill";
    for (int i = 0; i < COUNTS; i++) {
        p->shift = i % 3;
        struct tensor x = tensor_random(p, p->type, counts[i], 1.0f);
        size_t size = (size_t)counts[i] * zi_dtype_bytes(p->type);
        PAIR_CALL(p, fill, x.at[d], size, bytes[i % 3]);
        tensor_equal(p, &x);
        pair_clear(p);
    }
}

static void test_all(struct pair *p)
{
    test_convert(p);
    test_add(p);
    test_in_place(p);
    test_fill(p);
}

int main(void)
{
    return pair_main("cuda_convert_test", test_all);
}
