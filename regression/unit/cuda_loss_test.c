/* SPDX-License-Identifier: Apache-2.0 */
/* Cross-entropy on a CUDA device against the cpu, whole and in parts of the columns. p->type is that of
 * the gradient. */
#include "regression/unit/cuda_pair.h"

/* R, V, ld. */
static const int64_t shapes[][3] = {{0, 5, 5},    {1, 1, 1},          {4, 7, 9},
                                    {9, 64, 64},  {3, 257, 260},      {5, 1030, 1030},
                                    {40, 33, 36}, {300, 50257, 50260}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* A sum that held something before, as bits. */
static struct tensor loss_create(struct pair *p, double before)
{
    struct buffer b = buffer_create(ZI_INT32, 2);
    memcpy(b.bytes, &before, sizeof before);
    return tensor_of(p, b);
}

/* The sum of exponentials is fp32, of up to V terms in another order, and its logarithm takes over the
 * relative error; likewise the exponent, whose argument is up to 40. */
static void loss_near(struct pair *p, const struct tensor *loss, int64_t rows, int64_t columns)
{
    double values[PAIR_DEVICES];
    for (int d = 0; d < PAIR_DEVICES; d++) {
        struct buffer b = tensor_get(p, loss, d);
        memcpy(&values[d], b.bytes, sizeof values[d]);
        buffer_destroy(&b);
    }
    CHECK_NEAR(values[ON_CUDA], values[ON_CPU],
               (double)rows * (64 + 2 * sqrt((double)columns)) * 0x1p-24);
}

static struct tensor targets_create(struct pair *p, int64_t rows, int64_t columns)
{
    struct buffer b = buffer_create(ZI_INT32, rows);
    for (int64_t i = 0; i < rows; i++)
        ((int32_t *)b.bytes)[i] = i % 3 == 2 ? -1 : (int32_t)((i * i * 31 + columns - 1) % columns);
    return tensor_of(p, b);
}

/* Gradients are at the start of each row of ld fp32, and have the size of `scale` at most; a
 * probability is off as the loss. */
static void gradients_near(struct pair *p, const struct tensor *logits, int64_t columns, int64_t ld)
{
    struct buffer found[PAIR_DEVICES];
    int64_t row = ld * 4 / (int64_t)zi_dtype_bytes(p->type);
    struct tensor t = *logits;
    t.type = p->type;
    t.count = logits->count / ld * row;
    for (int d = 0; d < PAIR_DEVICES; d++) {
        found[d] = tensor_get(p, &t, d);
        for (int64_t i = 0; i < t.count; i++)
            if (i % row >= columns) buffer_set(&found[d], i, 0.0); /* the rest of the logits */
    }
    pair_near(p, found, 64 + 2 * sqrt((double)columns), 0.5);
    for (int d = 0; d < PAIR_DEVICES; d++)
        buffer_destroy(&found[d]);
}

static void entropy_check(struct pair *p, const int64_t *shape, float deviation, float cap)
{
    p->what = "cross_entropy";
    p->shift = 0;
    struct tensor x = tensor_random(p, ZI_FP32, shape[0] * shape[2], deviation);
    struct tensor targets = targets_create(p, shape[0], shape[1]);
    struct tensor loss = loss_create(p, 0.7), only = loss_create(p, 0.0);
    struct device_softmax s[PAIR_DEVICES];
    for (int d = 0; d < PAIR_DEVICES; d++)
        s[d] = (struct device_softmax){.rows = shape[0],
                                       .columns = shape[1],
                                       .ld = shape[2],
                                       .gradient_type = ZI_INT32,
                                       .scale = 0.5f,
                                       .cap = cap,
                                       .logits = x.at[d],
                                       .targets = targets.at[d]};
    if (cap > 0) PAIR_CALL(p, cap, x.at[d], shape[0], shape[1], shape[2], cap);
    tensor_near(p, &x, 8, (double)cap);
    PAIR_CALL(p, cross_entropy, &s[d], only.at[d]);
    loss_near(p, &only, shape[0], shape[1]);
    tensor_near(p, &x, 8, (double)cap);
    s[0].gradient_type = s[1].gradient_type = p->type;
    PAIR_CALL(p, cross_entropy, &s[d], loss.at[d]);
    loss_near(p, &loss, shape[0], shape[1]);
    gradients_near(p, &x, shape[1], shape[2]);
    pair_clear(p);
}

/* Of the columns in three parts, each with logits of its own. */
static void parts_check(struct pair *p, const int64_t *shape, float deviation, float cap)
{
    struct device_softmax parts[3][PAIR_DEVICES];
    struct tensor x[3];
    p->what = "softmax of parts";
    p->shift = 0;
    struct tensor targets = targets_create(p, shape[0], shape[1]);
    struct tensor statistics = tensor_zeros(p, ZI_FP32, 3 * shape[0]), loss = loss_create(p, 0.7);
    for (int i = 0; i < 3; i++) {
        int64_t first = shape[1] * i / 3, columns = shape[1] * (i + 1) / 3 - first;
        x[i] = tensor_random(p, ZI_FP32, shape[0] * (columns + i), deviation);
        for (int d = 0; d < PAIR_DEVICES; d++)
            parts[i][d] = (struct device_softmax){.rows = shape[0],
                                                  .first = first,
                                                  .columns = columns,
                                                  .ld = columns + i,
                                                  .begin = i == 0,
                                                  .gradient_type = p->type,
                                                  .scale = 0.5f,
                                                  .cap = cap,
                                                  .logits = x[i].at[d],
                                                  .targets = targets.at[d],
                                                  .statistics = statistics.at[d]};
        if (cap > 0) PAIR_CALL(p, cap, x[i].at[d], shape[0], columns, columns + i, cap);
        PAIR_CALL(p, softmax_statistics, &parts[i][d]);
    }
    tensor_near(p, &statistics, 64 + 2 * sqrt((double)shape[1]), sqrt((double)shape[1]));
    PAIR_CALL(p, softmax_loss, &parts[2][d], loss.at[d]);
    loss_near(p, &loss, shape[0], shape[1]);
    for (int i = 0; i < 3; i++) {
        PAIR_CALL(p, softmax_gradient, &parts[i][d]);
        gradients_near(p, &x[i], parts[i][0].columns, parts[i][0].ld);
    }
    pair_clear(p);
}

static void test_loss(struct pair *p)
{
    for (int i = 0; i < SHAPES - (p->emulated ? 1 : 0); i++) {
        entropy_check(p, shapes[i], i % 2 ? 1.0f : 8.0f, 0.0f);
        entropy_check(p, shapes[i], i % 2 ? 1.0f : 8.0f, 3.0f);
        if (shapes[i][1] < 3) continue;
        parts_check(p, shapes[i], i % 2 ? 8.0f : 1.0f, 0.0f);
        parts_check(p, shapes[i], i % 2 ? 8.0f : 1.0f, 3.0f);
    }
}

int main(void)
{
    return pair_main("cuda_loss_test", test_loss);
}
