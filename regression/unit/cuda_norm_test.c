/* SPDX-License-Identifier: Apache-2.0 */
/* LayerNorm and RMSNorm on a CUDA device against the cpu. */
#include "regression/unit/cuda_pair.h"

/* R, C. */
static const int64_t shapes[][2] = {{0, 8},   {1, 1},    {3, 7},    {2, 64},      {65, 33},
                                    {5, 129}, {130, 16}, {2, 1028}, {1000, 8192}, {3, 20000}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

struct operands {
    struct tensor x, weight, bias, y, mean, rstd, dy, dx, dweight, dbias;
};

static void operands_create(struct pair *p, int64_t rows, int64_t columns, struct operands *o)
{
    p->shift = rows % 2; /* rows need not be aligned */
    o->x = tensor_random(p, p->type, rows * columns, 2.0f);
    o->y = tensor_zeros(p, p->type, rows * columns);
    o->dy = tensor_random(p, p->type, rows * columns, 1.0f);
    o->dx = tensor_random(p, p->type, rows * columns, 1.0f);
    p->shift = 0;
    o->weight = tensor_random(p, p->type, columns, 1.0f);
    o->bias = tensor_random(p, p->type, columns, 1.0f);
    o->mean = tensor_zeros(p, ZI_FP32, rows);
    o->rstd = tensor_zeros(p, ZI_FP32, rows);
    o->dweight = tensor_random(p, ZI_FP32, columns, 1.0f);
    o->dbias = tensor_random(p, ZI_FP32, columns, 1.0f);
}

static struct device_norm norm_of(struct pair *p, const struct operands *o, bool rms, int d)
{
    struct device_norm n = {.type = p->type,
                            .rms = rms,
                            .columns = o->weight.count,
                            .rows = o->mean.count,
                            .epsilon = 1e-5f,
                            .offset = rms ? 1.0f : 0.0f,
                            .x = o->x.at[d],
                            .weight = o->weight.at[d],
                            .y = o->y.at[d],
                            .rstd = o->rstd.at[d],
                            .dy = o->dy.at[d],
                            .dx = o->dx.at[d],
                            .dweight = o->dweight.at[d]};
    if (rms) return n;
    n.mean = o->mean.at[d];
    n.bias = o->bias.at[d];
    n.dbias = o->dbias.at[d];
    return n;
}

/* Normalised elements are up to 5, products of them with weights and gradients up to 50; the mean and
 * the variance are sums of `columns` numbers in different orders, whose roundings grow as the square
 * root at most here, times the reciprocal of the deviation, which a row of one or few columns makes as
 * large as 1 / sqrt(epsilon) = 300. Sums over rows: a rounding at their size for each. */
static void norm_check(struct pair *p, int64_t rows, int64_t columns, bool rms)
{
    struct operands o;
    struct device_norm norms[PAIR_DEVICES];
    double sums = 8 + 2 * sqrt((double)columns), large = columns < 16 ? 1500 : 50;
    operands_create(p, rows, columns, &o);
    int64_t numbers = (int64_t)(device_norm_backward_scratch(rows, columns) / sizeof(float));
    struct tensor scratch = tensor_zeros(p, ZI_FP32, numbers);
    for (int d = 0; d < PAIR_DEVICES; d++) {
        norms[d] = norm_of(p, &o, rms, d);
        norms[d].scratch = scratch.at[d];
    }
    p->what = rms ? "rmsnorm" : "norm";
    PAIR_CALL(p, norm, &norms[d]);
    tensor_near(p, &o.mean, sums, 2.0);
    tensor_near(p, &o.rstd, sums, columns < 16 ? 300 : 1);
    tensor_near(p, &o.y, sums, large);
    p->what = rms ? "rmsnorm backward" : "norm backward";
    PAIR_CALL(p, norm_backward, &norms[d]);
    tensor_near(p, &o.dx, sums, large);
    tensor_near(p, &o.dweight, sums + (double)rows, 4 * sqrt((double)rows + 1));
    tensor_near(p, &o.dbias, sums + (double)rows, 4 * sqrt((double)rows + 1));
    tensor_equal(p, &o.x);
    tensor_equal(p, &o.dy);
    pair_clear(p);
}

/* Vectors of groups within rows; the gradient takes the place of that of the output. */
static void groups_check(struct pair *p, int64_t rows, int64_t groups, int64_t columns)
{
    struct device_norm norms[PAIR_DEVICES];
    int64_t n = rows * groups, ld = groups * columns + columns, ld_y = ld + columns;
    double sums = 8 + 2 * sqrt((double)columns);
    struct tensor x = tensor_random(p, p->type, rows * ld, 2.0f);
    struct tensor y = tensor_random(p, p->type, rows * ld_y, 1.0f);
    struct tensor dy = tensor_random(p, p->type, rows * ld_y, 1.0f);
    struct tensor weight = tensor_random(p, p->type, columns, 1.0f);
    struct tensor rstd = tensor_zeros(p, ZI_FP32, n);
    struct tensor dweight = tensor_random(p, ZI_FP32, columns, 1.0f);
    int64_t numbers = (int64_t)(device_norm_backward_scratch(n, columns) / sizeof(float));
    struct tensor scratch = tensor_zeros(p, ZI_FP32, numbers);
    for (int d = 0; d < PAIR_DEVICES; d++)
        norms[d] = (struct device_norm){.type = p->type,
                                        .rms = true,
                                        .rows = rows,
                                        .columns = columns,
                                        .groups = groups,
                                        .ld = ld,
                                        .ld_y = ld_y,
                                        .epsilon = 1e-5f,
                                        .x = x.at[d],
                                        .weight = weight.at[d],
                                        .y = y.at[d],
                                        .rstd = rstd.at[d],
                                        .replace = true,
                                        .dy = dy.at[d],
                                        .dx = dy.at[d],
                                        .dweight = dweight.at[d],
                                        .scratch = scratch.at[d]};
    p->what = "norm of groups";
    PAIR_CALL(p, norm, &norms[d]);
    tensor_near(p, &rstd, sums, 1);
    tensor_near(p, &y, sums, 50);
    PAIR_CALL(p, norm_backward, &norms[d]);
    tensor_near(p, &dy, sums, 50);
    tensor_near(p, &dweight, sums + (double)n, 4 * sqrt((double)n + 1));
    tensor_equal(p, &x);
    pair_clear(p);
}

static void test_norm(struct pair *p)
{
    groups_check(p, 3, 2, 32);
    groups_check(p, 37, 3, 17);
    groups_check(p, 2, 4, 128);

    for (int i = 0; i < SHAPES - (p->emulated ? 2 : 0); i++) {
        norm_check(p, shapes[i][0], shapes[i][1], false);
        norm_check(p, shapes[i][0], shapes[i][1], true);
    }
}

int main(void)
{
    return pair_main("cuda_norm_test", test_norm);
}
