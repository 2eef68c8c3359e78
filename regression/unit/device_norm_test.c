/* SPDX-License-Identifier: Apache-2.0 */
/* LayerNorm and RMSNorm against their definition in double. The reference of backward is the
 * central difference of the forward definition, h = 1e-4: errors near h^2 and 1e-16 / h, both under
 * 1e-7, far below the tolerances. */
#include "regression/unit/kernel_fixture.h"

struct norm_case {
    bool rms;
    int64_t rows, columns;
    double epsilon, offset;
};

/* y of one row of x; gives mean and reciprocal deviation. */
static void row_define(const struct norm_case *c, const double *x, const double *weight,
                       const double *bias, double *y, double statistics[2])
{
    double mean = 0.0, square = 0.0;
    for (int64_t i = 0; i < c->columns && !c->rms; i++)
        mean += x[i] / (double)c->columns;
    for (int64_t i = 0; i < c->columns; i++)
        square += (x[i] - mean) * (x[i] - mean) / (double)c->columns;
    statistics[0] = mean;
    statistics[1] = 1.0 / sqrt(square + c->epsilon);
    for (int64_t i = 0; i < c->columns; i++)
        y[i] = (x[i] - mean) * statistics[1] * (weight[i] + c->offset) + (bias ? bias[i] : 0.0);
}

/* sum of dy y of a row */
static double row_dot(const struct norm_case *c, const double *x, const double *weight,
                      const double *dy)
{
    double *y = doubles_create(c->columns), statistics[2], sum = 0.0;
    row_define(c, x, weight, NULL, y, statistics);
    for (int64_t i = 0; i < c->columns; i++)
        sum += dy[i] * y[i];
    free(y);
    return sum;
}

static void forward_case(struct kernels *k, const struct norm_case *c)
{
    int64_t count = c->rows * c->columns;
    struct buffer x = buffer_random(k->type, count, "x", 2.0f);
    for (int64_t i = 0; i < count; i++)
        buffer_set(&x, i, buffer_get(&x, i) + 1.0);
    struct buffer weight = buffer_random(k->type, c->columns, "weight", 1.0f);
    struct buffer bias = buffer_random(k->type, c->columns, "bias", 1.0f);
    struct buffer y = buffer_create(k->type, count);
    struct buffer mean = buffer_create(ZI_FP32, c->rows), rstd = buffer_create(ZI_FP32, c->rows);
    struct device_norm desc = {.type = k->type,
                               .rms = c->rms,
                               .rows = c->rows,
                               .columns = c->columns,
                               .epsilon = (float)c->epsilon,
                               .offset = (float)c->offset,
                               .x = buffer_at(&x, 0),
                               .weight = buffer_at(&weight, 0),
                               .y = buffer_at(&y, 0),
                               .rstd = buffer_at(&rstd, 0)};
    if (!c->rms) {
        desc.bias = buffer_at(&bias, 0);
        desc.mean = buffer_at(&mean, 0);
    }
    CHECK_INT(k->operations.norm(&k->stream, &desc), ZI_OK);

    double *xs = doubles_of(&x), *ws = doubles_of(&weight), *bs = doubles_of(&bias);
    double *ys = doubles_create(count), *means = doubles_create(c->rows);
    double *rstds = doubles_create(c->rows);
    for (int64_t r = 0; r < c->rows; r++) {
        double statistics[2];
        row_define(c, xs + r * c->columns, ws, c->rms ? NULL : bs, ys + r * c->columns, statistics);
        means[r] = statistics[0];
        rstds[r] = statistics[1];
    }
    /* fp32: sums of values of size 3 in up to 50 additions a lane, 50 x 6e-8 x 3 at worst, and
     * typically the root of that; divided by a deviation near 2. */
    kernels_compare(k, "norm y", &y, ys, kernels_rounding(k->type), 4e-6);
    kernels_compare(k, "norm rstd", &rstd, rstds, 2e-6, 0.0);
    if (!c->rms) kernels_compare(k, "norm mean", &mean, means, 0.0, 2e-6);
    double *doubles[] = {xs, ws, bs, ys, means, rstds};
    for (int i = 0; i < 6; i++)
        free(doubles[i]);
    struct buffer *buffers[] = {&x, &weight, &bias, &y, &mean, &rstd};
    for (int i = 0; i < 6; i++)
        buffer_destroy(buffers[i]);
}

/* References by differences: added to what dx, dweight, dbias hold. */
static void backward_define(const struct norm_case *c, double *x, double *weight, const double *dy,
                            double *gradients[3])
{
    const double h = 1e-4;
    for (int64_t r = 0; r < c->rows; r++) {
        double *row = x + r * c->columns;
        const double *dy_row = dy + r * c->columns;
        for (int64_t i = 0; i < c->columns; i++) {
            double kept = row[i], kept_weight = weight[i], plus, minus;
            row[i] = kept + h, plus = row_dot(c, row, weight, dy_row);
            row[i] = kept - h, minus = row_dot(c, row, weight, dy_row);
            row[i] = kept;
            gradients[0][r * c->columns + i] += (plus - minus) / (2.0 * h);
            weight[i] = kept_weight + h, plus = row_dot(c, row, weight, dy_row);
            weight[i] = kept_weight - h, minus = row_dot(c, row, weight, dy_row);
            weight[i] = kept_weight;
            gradients[1][i] += (plus - minus) / (2.0 * h);
            gradients[2][i] += dy_row[i]; /* y is linear in the bias with slope 1 */
        }
    }
}

static void backward_case(struct kernels *k, const struct norm_case *c)
{
    int64_t count = c->rows * c->columns;
    struct buffer x = buffer_random(k->type, count, "x", 2.0f);
    struct buffer weight = buffer_random(k->type, c->columns, "weight", 1.0f);
    struct buffer dy = buffer_random(k->type, count, "dy", 1.0f);
    struct buffer dx = buffer_random(k->type, count, "dx", 1.0f);
    struct buffer dweight = buffer_random(ZI_FP32, c->columns, "dweight", 1.0f);
    struct buffer dbias = buffer_random(ZI_FP32, c->columns, "dbias", 1.0f);
    struct buffer mean = buffer_create(ZI_FP32, c->rows), rstd = buffer_create(ZI_FP32, c->rows);
    int64_t floats = (int64_t)(device_norm_backward_scratch(c->rows, c->columns) / 4);
    struct buffer scratch = buffer_random(ZI_FP32, floats, "scratch", 1.0f); /* old contents */
    double *xs = doubles_of(&x), *ws = doubles_of(&weight), *dys = doubles_of(&dy);
    double *gradients[3] = {doubles_of(&dx), doubles_of(&dweight), doubles_of(&dbias)};
    double *row = doubles_create(c->columns);
    for (int64_t r = 0; r < c->rows; r++) {
        double statistics[2];
        row_define(c, xs + r * c->columns, ws, NULL, row, statistics);
        buffer_set(&mean, r, statistics[0]);
        buffer_set(&rstd, r, statistics[1]);
    }
    struct device_norm desc = {.type = k->type,
                               .rms = c->rms,
                               .rows = c->rows,
                               .columns = c->columns,
                               .epsilon = (float)c->epsilon,
                               .offset = (float)c->offset,
                               .x = buffer_at(&x, 0),
                               .weight = buffer_at(&weight, 0),
                               .rstd = buffer_at(&rstd, 0),
                               .dy = buffer_at(&dy, 0),
                               .dx = buffer_at(&dx, 0),
                               .dweight = buffer_at(&dweight, 0),
                               .scratch = buffer_at(&scratch, 0)};
    if (!c->rms) {
        desc.mean = buffer_at(&mean, 0);
        desc.dbias = buffer_at(&dbias, 0);
    }
    CHECK_INT(k->operations.norm_backward(&k->stream, &desc), ZI_OK);

    backward_define(c, xs, ws, dys, gradients);
    /* dx is a difference of terms of size 1 to 10, each with a few roundings of 6e-8 */
    kernels_compare(k, "norm dx", &dx, gradients[0], kernels_rounding(k->type), 5e-6);
    /* sums of `rows` products of size 1 to 10 */
    kernels_compare(k, "norm dweight", &dweight, gradients[1], 1e-6, 1e-6 * (double)c->rows);
    if (!c->rms)
        kernels_compare(k, "norm dbias", &dbias, gradients[2], 1e-6, 1e-6 * (double)c->rows);
    double *doubles[] = {xs, ws, dys, row, gradients[0], gradients[1], gradients[2]};
    for (int i = 0; i < 7; i++)
        free(doubles[i]);
    struct buffer *buffers[] = {&x, &weight, &dy, &dx, &dweight, &dbias, &mean, &rstd, &scratch};
    for (int i = 0; i < 9; i++)
        buffer_destroy(buffers[i]);
}

/* Vectors of groups in rows, and a gradient in the place of that of the output, have the bits of the
 * same vectors as rows. */
static void groups_case(struct kernels *k, int64_t rows, int64_t groups, int64_t columns)
{
    int64_t n = rows * groups, count = n * columns, ld = groups * columns + 5, ld_y = ld + 2;
    struct buffer x = buffer_random(k->type, count, "x", 2.0f), y = buffer_create(k->type, count);
    struct buffer dy = buffer_random(k->type, count, "dy", 1.0f),
                  dx = buffer_create(k->type, count);
    struct buffer wide = buffer_create(k->type, rows * ld),
                  to = buffer_create(k->type, rows * ld_y);
    struct buffer weight = buffer_random(k->type, columns, "weight", 1.0f);
    struct buffer dweight = buffer_create(ZI_FP32, columns), sums = buffer_create(ZI_FP32, columns);
    struct buffer rstd = buffer_create(ZI_FP32, n), own = buffer_create(ZI_FP32, n);
    int64_t floats = (int64_t)(device_norm_backward_scratch(n, columns) / 4);
    struct buffer scratch = buffer_create(ZI_FP32, floats);
    struct device_norm desc = {.type = k->type,
                               .rms = true,
                               .rows = n,
                               .columns = columns,
                               .epsilon = 1e-5f,
                               .x = buffer_at(&x, 0),
                               .weight = buffer_at(&weight, 0),
                               .y = buffer_at(&y, 0),
                               .rstd = buffer_at(&rstd, 0),
                               .dy = buffer_at(&dy, 0),
                               .dx = buffer_at(&dx, 0),
                               .dweight = buffer_at(&dweight, 0),
                               .scratch = buffer_at(&scratch, 0)};
    CHECK_INT(k->operations.norm(&k->stream, &desc), ZI_OK);
    CHECK_INT(k->operations.norm_backward(&k->stream, &desc), ZI_OK);
    for (int64_t i = 0; i < count; i++)
        buffer_set(&wide, i / (groups * columns) * ld + i % (groups * columns), buffer_get(&x, i));
    desc.rows = rows;
    desc.groups = groups;
    desc.ld = ld;
    desc.ld_y = ld_y;
    desc.replace = true;
    desc.x = buffer_at(&wide, 0);
    desc.y = desc.dy = desc.dx = buffer_at(&to, 0);
    desc.rstd = buffer_at(&own, 0);
    desc.dweight = buffer_at(&sums, 0);
    CHECK_INT(k->operations.norm(&k->stream, &desc), ZI_OK);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = i / (groups * columns) * ld_y + i % (groups * columns);
        CHECK(buffer_get(&to, at) == buffer_get(&y, i));
        buffer_set(&to, at, buffer_get(&dy, i));
    }
    CHECK_INT(k->operations.norm_backward(&k->stream, &desc), ZI_OK);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = i / (groups * columns) * ld_y + i % (groups * columns);
        CHECK(buffer_get(&to, at) == buffer_get(&dx, i));
    }
    for (int64_t i = 0; i < columns; i++)
        CHECK(buffer_get(&sums, i) == buffer_get(&dweight, i));
    for (int64_t i = 0; i < n; i++)
        CHECK(buffer_get(&own, i) == buffer_get(&rstd, i));
    struct buffer *buffers[] = {&x,      &y,       &dy,   &dx,   &wide, &to,
                                &weight, &dweight, &sums, &rstd, &own,  &scratch};
    for (int i = 0; i < 12; i++)
        buffer_destroy(buffers[i]);
}

static void test_norm(struct kernels *k)
{
    groups_case(k, 3, 2, 16);
    groups_case(k, 37, 5, 9);
    groups_case(k, 4, 3, 128);

    const int64_t shapes[][2] = {{1, 1}, {3, 37}, {5, 768}, {130, 5}, {2, 64}, {0, 8}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        for (int rms = 0; rms < 2; rms++) {
            struct norm_case c = {rms != 0, shapes[i][0], shapes[i][1], 1e-5, (double)(i % 2)};
            if (c.columns == 1 && !rms) continue; /* y is the bias and rstd 1/sqrt(epsilon) */
            forward_case(k, &c);
        }
    }
    const int64_t backward_shapes[][2] = {{3, 37}, {130, 5}, {2, 64}, {1, 200}, {0, 8}};
    for (size_t i = 0; i < sizeof backward_shapes / sizeof backward_shapes[0]; i++) {
        for (int rms = 0; rms < 2; rms++) {
            struct norm_case c = {rms != 0, backward_shapes[i][0], backward_shapes[i][1], 1e-5,
                                  (double)(i % 2)};
            backward_case(k, &c);
        }
    }
}

int main(void)
{
    kernels_run(test_norm);
    return test_finish("device_norm_test");
}
