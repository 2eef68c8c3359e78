/* SPDX-License-Identifier: Apache-2.0 */
/* Cross-entropy against its definition in double, and its gradient against central differences of
 * the definition (h = 1e-4: errors under 1e-7). */
#include "regression/unit/kernel_fixture.h"

static double loss_define(const double *x, int64_t columns, int32_t target)
{
    double largest = x[0], sum = 0.0;
    if (target < 0) return 0.0;
    for (int64_t i = 1; i < columns; i++)
        largest = x[i] > largest ? x[i] : largest;
    for (int64_t i = 0; i < columns; i++)
        sum += exp(x[i] - largest);
    return log(sum) + largest - x[target];
}

/* What a cap makes of a logit; 0: nothing. */
static double cap_define(double x, double cap)
{
    return cap > 0 ? cap * tanh(x / cap) : x;
}

/* Caps the logits where there is a cap; `expected` is what comes of it. Padding stays. */
static void cap_apply(struct kernels *k, struct buffer *x, const int64_t shape[3], float cap,
                      const double *expected)
{
    if (cap > 0)
        CHECK_INT(k->operations.cap(&k->stream, buffer_at(x, 0), shape[0], shape[1], shape[2], cap),
                  ZI_OK);
    for (int64_t i = 0; i < shape[0] * shape[2]; i++)
        CHECK_NEAR(buffer_get(x, i), expected[i], 4e-7 * fabs(expected[i]));
}

/* The loss alone of all columns. */
static struct device_softmax describe(const int64_t shape[3], const struct buffer *x,
                                      const int32_t *targets)
{
    return (struct device_softmax){.rows = shape[0],
                                   .columns = shape[1],
                                   .ld = shape[2],
                                   .gradient_type = ZI_INT32,
                                   .scale = 1.0f,
                                   .logits = buffer_at(x, 0),
                                   .targets = {(uintptr_t)targets}};
}

/* Targets: every third row is not counted. */
static int32_t *targets_make(int64_t rows, int64_t columns)
{
    int32_t *targets = calloc((size_t)rows + 1, sizeof *targets);
    ZI_REQUIRE(targets);
    for (int64_t r = 0; r < rows; r++)
        targets[r] = r % 3 == 2 ? -1 : (int32_t)((r * 7 + columns - 1) % columns);
    return targets;
}

static void loss_case(struct kernels *k, const int64_t shape[3], float deviation, float cap)
{
    const double h = 1e-4, scale = 0.75;
    int64_t rows = shape[0], columns = shape[1], ld = shape[2];
    struct buffer x = buffer_random(ZI_FP32, rows * ld, "logits", deviation);
    struct buffer found = buffer_create(k->type, rows * columns);
    int32_t *targets = targets_make(rows, columns);
    double *xs = doubles_of(&x), *expected = doubles_create(rows * columns);
    double loss = 1.5, loss_only = 0.0, reference = 0.0;
    for (int64_t r = 0; r < rows; r++) {
        double *row = xs + r * ld;
        for (int64_t c = 0; c < columns; c++)
            row[c] = cap_define(row[c], cap);
        reference += loss_define(row, columns, targets[r]);
        for (int64_t c = 0; c < columns; c++) {
            double kept_logit = row[c], value = buffer_get(&x, r * ld + c), plus, minus;
            row[c] = cap_define(value + h, cap), plus = loss_define(row, columns, targets[r]);
            row[c] = cap_define(value - h, cap), minus = loss_define(row, columns, targets[r]);
            row[c] = kept_logit;
            expected[r * columns + c] = scale * (plus - minus) / (2.0 * h);
        }
    }
    cap_apply(k, &x, shape, cap, xs);
    struct buffer kept = buffer_copy(&x);
    struct device_ptr to = {(uintptr_t)&loss}, to_only = {(uintptr_t)&loss_only};
    struct device_softmax d = describe(shape, &x, targets);
    CHECK_INT(k->operations.cross_entropy(&k->stream, &d, to_only), ZI_OK);
    CHECK(memcmp(x.bytes, kept.bytes, (size_t)(rows * ld) * 4) == 0);
    d.gradient_type = k->type;
    d.scale = (float)scale;
    d.cap = cap;
    CHECK_INT(k->operations.cross_entropy(&k->stream, &d, to), ZI_OK);
    /* the sum of exponentials is in fp32: relative error 1e-6, which the logarithm makes absolute
     * per row */
    CHECK_NEAR(loss_only, reference, 1e-6 * (double)rows);
    CHECK_NEAR(loss - 1.5, loss_only, 1e-12 * (double)rows); /* added to what was there */
    for (int64_t r = 0; r < rows; r++) {
        memcpy(found.bytes + (size_t)(r * columns) * zi_dtype_bytes(k->type),
               x.bytes + (size_t)(r * ld) * 4, (size_t)columns * zi_dtype_bytes(k->type));
        for (int64_t c = columns; c < ld; c++) /* padding stays */
            CHECK(buffer_get(&x, r * ld + c) == buffer_get(&kept, r * ld + c));
    }
    /* probabilities have relative error 1e-6; differences err by 1e-7, more with the third
     * derivative of a wide softmax */
    kernels_compare(k, "cross_entropy gradient", &found, expected, kernels_rounding(k->type) + 2e-6,
                    4e-7);
    kernels_digest(k, &loss, sizeof loss);
    free(targets);
    free(xs);
    free(expected);
    struct buffer *buffers[] = {&x, &kept, &found};
    for (int i = 0; i < 3; i++)
        buffer_destroy(buffers[i]);
}

/* A softmax of two logits, 0 and -d, has the probability exp(-d) / (1 + exp(-d)): shows the error
 * of the kernels' exponential over its whole range. */
static void exponential_case(struct kernels *k)
{
    const int64_t shape[3] = {600, 2, 2};
    struct buffer x = buffer_create(ZI_FP32, 1200);
    int32_t targets[600];
    double loss = 0.0;
    for (int64_t r = 0; r < 600; r++) {
        buffer_set(&x, 2 * r + 1, -(double)r / 7.0);
        targets[r] = 0;
    }
    struct buffer kept = buffer_copy(&x);
    struct device_softmax d = describe(shape, &x, targets);
    d.gradient_type = ZI_FP32;
    CHECK_INT(k->operations.cross_entropy(&k->stream, &d, (struct device_ptr){(uintptr_t)&loss}),
              ZI_OK);
    for (int64_t r = 0; r < 600; r++) {
        double e = exp(buffer_get(&kept, 2 * r + 1));
        CHECK_NEAR(buffer_get(&x, 2 * r + 1), e / (1.0 + e), 5e-7 * e);
    }
    buffer_destroy(&x);
    buffer_destroy(&kept);
}

/* Columns in parts, one of them a single column: statistics, loss and gradients are those of all
 * columns at once, up to the rounding of one more product per part. Statistics start as NaN. */
static void parts_case(struct kernels *k, const int64_t shape[3], float deviation, float cap)
{
    int64_t rows = shape[0], columns = shape[1], ld = shape[2];
    const int64_t ends[] = {0, columns / 3, columns / 3 + 1, columns};
    struct buffer whole = buffer_random(ZI_FP32, rows * ld, "logits", deviation);
    struct buffer logits = buffer_copy(&whole), statistics = buffer_create(ZI_FP32, 3 * rows);
    struct buffer found = buffer_create(k->type, rows * columns);
    double *expected = doubles_create(rows * columns), loss = 2.5, loss_whole = 0;
    int32_t *targets = targets_make(rows, columns);
    struct device_softmax d = describe(shape, &whole, targets);
    d.gradient_type = ZI_FP32;
    d.scale = 0.75f;
    d.cap = cap;
    d.statistics = buffer_at(&statistics, 0);
    CHECK_INT(
        k->operations.cross_entropy(&k->stream, &d, (struct device_ptr){(uintptr_t)&loss_whole}),
        ZI_OK);
    d.gradient_type = k->type;
    for (int64_t i = 0; i < rows * columns; i++)
        expected[i] = buffer_get(&whole, i / columns * ld + i % columns);
    for (int64_t i = 0; i < 3 * rows; i++)
        buffer_set(&statistics, i, (double)NAN);
    for (int part = 0; part < 3; part++) {
        d.first = ends[part];
        d.columns = ends[part + 1] - ends[part];
        d.begin = part == 0;
        d.logits = buffer_at(&logits, d.first);
        CHECK_INT(k->operations.softmax_statistics(&k->stream, &d), ZI_OK);
    }
    CHECK_INT(k->operations.softmax_loss(&k->stream, &d, (struct device_ptr){(uintptr_t)&loss}),
              ZI_OK);
    CHECK_NEAR(loss - 2.5, loss_whole, 1e-6 * (double)rows);
    for (int part = 2; part >= 0; part--) {
        d.first = ends[part];
        d.columns = ends[part + 1] - ends[part];
        d.logits = buffer_at(&logits, d.first);
        CHECK_INT(k->operations.softmax_gradient(&k->stream, &d), ZI_OK);
        for (int64_t r = 0; r < rows; r++) {
            size_t element = zi_dtype_bytes(k->type);
            memcpy(found.bytes + (size_t)(r * columns + d.first) * element,
                   logits.bytes + (size_t)(r * ld + d.first) * 4, (size_t)d.columns * element);
        }
    }
    kernels_compare(k, "softmax gradient", &found, expected, kernels_rounding(k->type) + 2e-6,
                    4e-7);
    kernels_digest(k, &loss, sizeof loss);
    struct buffer *buffers[] = {&whole, &logits, &statistics, &found};
    for (int i = 0; i < 4; i++)
        buffer_destroy(buffers[i]);
    free(targets);
    free(expected);
}

/* NaN in a row shows in the loss; an infinite negative logit is a probability of 0. */
static void extremes_case(struct kernels *k)
{
    const int64_t shape[3] = {1, 37, 37};
    struct buffer x = buffer_random(ZI_FP32, 37, "logits", 1.0f);
    int32_t target = 3;
    double loss = 0.0;
    struct device_ptr to = {(uintptr_t)&loss};
    struct device_softmax d = describe(shape, &x, &target);
    d.gradient_type = ZI_FP32;
    for (int64_t i = 0; i < 37; i++)
        if (i != 3) buffer_set(&x, i, -INFINITY);
    CHECK_INT(k->operations.cross_entropy(&k->stream, &d, to), ZI_OK);
    CHECK_NEAR(loss, 0.0, 0.0);
    for (int64_t i = 0; i < 37; i++)
        CHECK_NEAR(buffer_get(&x, i), 0.0, 0.0);
    buffer_set(&x, 36, NAN);
    CHECK_INT(k->operations.cross_entropy(&k->stream, &d, to), ZI_OK);
    CHECK(isnan(loss));
    CHECK(isnan(buffer_get(&x, 0)));
    buffer_destroy(&x);
}

static void test_loss(struct kernels *k)
{
    const int64_t shapes[][3] = {{1, 1, 1},     {5, 131, 131}, {4, 131, 144}, {3, 16, 16},
                                 {3, 400, 401}, {1500, 3, 5},  {0, 131, 131}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        loss_case(k, shapes[i], 1.0f, 0.0f);
        loss_case(k, shapes[i], 8.0f, 0.0f);
        loss_case(k, shapes[i], 8.0f, 5.0f);
        if (shapes[i][1] <= 2) continue;
        parts_case(k, shapes[i], 8.0f, 0.0f);
        parts_case(k, shapes[i], 8.0f, 50.0f);
    }
    exponential_case(k);
    extremes_case(k);
}

static void test_refusal(void)
{
    struct device_operations operations;
    struct device_stream stream = {.threads = 1};
    float x[6] = {0};
    int32_t targets[2] = {2, 3};
    double loss = 0.0;
    struct device_softmax whole = {.rows = 2, .columns = 3, .ld = 3, .gradient_type = ZI_FP32};
    whole.logits = (struct device_ptr){(uintptr_t)x};
    whole.targets = (struct device_ptr){(uintptr_t)targets};
    cpu_isa_register(CPU_GENERIC, &operations);
    CHECK_INT(operations.cross_entropy(&stream, &whole, (struct device_ptr){(uintptr_t)&loss}),
              ZI_ERROR_DEVICE);
    float statistics[6] = {0};
    struct device_softmax softmax = {.rows = 2, .first = 1, .columns = 2, .ld = 3};
    softmax.targets = (struct device_ptr){(uintptr_t)targets};
    softmax.statistics = (struct device_ptr){(uintptr_t)statistics};
    CHECK_INT(operations.softmax_loss(&stream, &softmax, (struct device_ptr){(uintptr_t)&loss}),
              ZI_ERROR_DEVICE);
}

int main(void)
{
    kernels_run(test_loss);
    test_refusal();
    return test_finish("device_loss_test");
}
