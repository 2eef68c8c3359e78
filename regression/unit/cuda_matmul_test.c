/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products on a CUDA device against the cpu: every form, odd sizes, rows longer than what is
 * multiplied. */
#include "regression/unit/cuda_pair.h"

/* m, n, k. */
static const int64_t sizes[][3] = {{1, 1, 1},   {3, 5, 7},    {16, 8, 32},     {33, 17, 65},
                                   {64, 48, 1}, {1, 130, 70}, {700, 1025, 513}};
enum { SIZES = sizeof sizes / sizeof *sizes, FORMS = 64 };

/* A form by number: which operands are transposed, what is added, the type of the result. A residual
 * that is accumulated is c itself. */
struct form {
    bool transpose_a, transpose_b, accumulate, bias, residual, wide;
};

static struct form form_of(int number)
{
    return (struct form){number & 1, number & 2, number & 4, number & 8, number & 16, number & 32};
}

static struct device_matmul product_of(struct pair *p, const int64_t *size, struct form form,
                                       int64_t pad)
{
    return (struct device_matmul){.type = p->type,
                                  .type_c = form.wide ? ZI_FP32 : p->type,
                                  .m = size[0],
                                  .n = size[1],
                                  .k = size[2],
                                  .lda = (form.transpose_a ? size[0] : size[2]) + pad,
                                  .ldb = (form.transpose_b ? size[2] : size[1]) + pad,
                                  .ldc = size[1] + 2 * pad,
                                  .transpose_a = form.transpose_a,
                                  .transpose_b = form.transpose_b,
                                  .accumulate = form.accumulate && !form.residual};
}

/* Sums of k products of size 1 in another order: a rounding each at the size of the sum, which is
 * 4 sqrt(k) at most. */
static void matmul_check(struct pair *p, const int64_t *size, struct form form, int64_t pad)
{
    struct device_matmul products[PAIR_DEVICES];
    struct device_matmul m = product_of(p, size, form, pad);
    p->shift = 0;
    struct tensor a = tensor_random(p, p->type, (form.transpose_a ? m.k : m.m) * m.lda, 1.0f);
    struct tensor b = tensor_random(p, p->type, (form.transpose_b ? m.n : m.k) * m.ldb, 1.0f);
    struct tensor c = tensor_random(p, m.type_c, m.m * m.ldc, 1.0f);
    struct tensor bias = tensor_random(p, p->type, m.n, 1.0f);
    struct tensor residual = tensor_random(p, m.type_c, m.m * m.ldc, 1.0f);
    for (int d = 0; d < PAIR_DEVICES; d++) {
        products[d] = m;
        products[d].a = a.at[d];
        products[d].b = b.at[d];
        products[d].c = c.at[d];
        if (form.bias) products[d].bias = bias.at[d];
        if (form.residual) products[d].residual = form.accumulate ? c.at[d] : residual.at[d];
    }
    p->what = "matmul";
    long before = test_failures();
    PAIR_CALL(p, matmul, &products[d]);
    tensor_near(p, &c, 4 + 2 * sqrt((double)m.k), 4 * sqrt((double)m.k) + 4);
    if (test_failures() > before)
        fprintf(stderr, "m %d, n %d, k %d, form %d%d%d%d%d%d, %d more in a row\n", (int)m.m,
                (int)m.n, (int)m.k, form.transpose_a, form.transpose_b, form.accumulate, form.bias,
                form.residual, form.wide, (int)pad);
    tensor_equal(p, &a);
    tensor_equal(p, &b);
    pair_clear(p);
}

/* A product that ends with GELU or its gradient. What GELU is taken of is rounded to the type where the
 * device has it in a pass of its own, and so is what is multiplied by its gradient: two more numbers of
 * the type, at the size of the product, with a slope of 1.2 at most. */
static void end_check(struct pair *p, const int64_t *size, enum device_end end, bool bias)
{
    struct device_matmul products[PAIR_DEVICES];
    struct device_matmul m = product_of(p, size, (struct form){.transpose_b = bias}, 0);
    p->shift = 0;
    struct tensor a = tensor_random(p, p->type, m.m * m.lda, 1.0f);
    struct tensor b = tensor_random(p, p->type, (bias ? m.n : m.k) * m.ldb, 0.5f);
    struct tensor c = tensor_zeros(p, p->type, m.m * m.n);
    struct tensor inner = tensor_random(p, p->type, m.m * m.n, 1.0f);
    struct tensor biases = tensor_random(p, p->type, m.n, 1.0f);
    for (int d = 0; d < PAIR_DEVICES; d++) {
        products[d] = m;
        products[d].a = a.at[d];
        products[d].b = b.at[d];
        products[d].c = c.at[d];
        products[d].end = end;
        products[d].inner = inner.at[d];
        if (bias) products[d].bias = biases.at[d];
    }
    p->what = end == DEVICE_END_GELU ? "matmul with gelu" : "matmul with gelu_backward";
    PAIR_CALL(p, matmul, &products[d]);
    double size_of = 4 * sqrt((double)m.k) + 4, type = 3 * pair_unit(p->type) / 0x1p-24;
    tensor_near(p, &c, 100 + 2 * sqrt((double)m.k) + type, size_of);
    tensor_near(p, &inner, 4 + 2 * sqrt((double)m.k), size_of);
    pair_clear(p);
}

static void test_ends(struct pair *p)
{
    for (int i = 0; i < SIZES - (p->emulated ? 1 : 0); i++) {
        end_check(p, sizes[i], DEVICE_END_GELU, true);
        end_check(p, sizes[i], DEVICE_END_GELU, false);
        end_check(p, sizes[i], DEVICE_END_GELU_BACKWARD, false);
    }
}

/* cuBLAS adds no bias of 16 bits to a result of fp32; no model asks for that. */
static void test_matmul(struct pair *p)
{
    for (int i = 0; i < SIZES - (p->emulated ? 1 : 0); i++) {
        for (int number = 0; number < FORMS; number++) {
            struct form form = form_of(number);
            if (form.wide && (form.bias || p->type == ZI_FP32)) continue;
            matmul_check(p, sizes[i], form, number % 3 == 0 ? i : 0);
        }
    }
    test_ends(p);
}

int main(void)
{
    return pair_main("cuda_matmul_test", test_matmul);
}
