/* SPDX-License-Identifier: Apache-2.0 */
/* Cross-entropy of logits against targets, and its gradient in the place of the logits.
 *
 * A row is read twice: once for its maximum m and the sum of exp(x - m), kept up to date as larger
 * values turn up (Milakov and Gimelshein 2018), once more to replace x by scale (exp(x - m) / sum -
 * onehot). The second reading finds a row of usual length in the level-2 cache.
 *
 * A gradient of 16 bits takes the first half of its row's bytes. Lanes are written in ascending order,
 * and each vector is read before it is written, so element i (bytes 2i) never lands on a logit that
 * is still to be read (bytes 4j, j > i).
 *
 * Where logits are capped, x = cap tanh(l / cap) and the gradient is that of l: times 1 - (x / cap)^2.
 *
 * Losses of rows go to a buffer of LOSS_ROWS doubles, which is added to the total in the order of
 * rows: the result does not depend on which thread did which row.
 *
 * Where the columns come in parts, maximum and sum of a row are joined part after part in the same
 * way (softmax_*). */
#include "device/cpu/kernel.h"

#include "base/log.h"
#include "device/cpu/vector.h"

enum {
    LOSS_ROWS = 1024, /* rows between two additions to the total */
    LOSS_STRIDE = 8   /* vectors between two looks at the maximum */
};

/* Running maximum and sum of exp(x - maximum) of each lane. */
struct softmax_lanes {
    vec largest, sum;
};

/* Takes in `count` whole vectors, at most LOSS_STRIDE. */
VEC_INLINE void softmax_take(struct softmax_lanes *state, const float *x, int count)
{
    vec largest = state->largest;
    for (int i = 0; i < count; i++)
        largest = vec_max(vec_load(x + i * VEC_LANES), largest);
    vec sum = state->sum * vec_exp(state->largest - largest);
    for (int i = 0; i < count; i++)
        sum += vec_exp(vec_load(x + i * VEC_LANES) - largest);
    state->largest = largest;
    state->sum = sum;
}

/* The maximum of a row, and the sum of exp(x - maximum). */
static void row_softmax(const float *x, int64_t columns, float *largest, float *sum)
{
    /* -FLT_MAX, not -infinity: a lane that holds nothing must not turn into infinity - infinity */
    struct softmax_lanes state = {vec_set(-3.4028235e38f), vec_set(0.0f)};
    int64_t c = 0;
    for (; c + LOSS_STRIDE * VEC_LANES <= columns; c += LOSS_STRIDE * VEC_LANES)
        softmax_take(&state, x + c, LOSS_STRIDE);
    for (; c + VEC_LANES <= columns; c += VEC_LANES)
        softmax_take(&state, x + c, 1);
    if (c < columns) {
        float rest[VEC_LANES];
        vec lanes = vec_load_part(x + c, columns - c);
        vec_store(rest, vec_first(columns - c, lanes, vec_set(-INFINITY)));
        softmax_take(&state, rest, 1);
    }
    *largest = vec_largest(state.largest);
    *sum = vec_sum(state.sum * vec_exp(state.largest - *largest));
}

/* The slope of a cap where its result is x: 1 - (x / cap)^2. */
VEC_INLINE vec cap_slope(vec x, float inverse)
{
    vec share = x * inverse;
    return vec_fma(-share, share, vec_set(1.0f));
}

VEC_INLINE void row_gradient(enum zi_dtype type, float *x, int64_t columns,
                             const float of_row[3] /* maximum, factor, 1 / cap or 0 */)
{
    vec s = vec_set(of_row[0]), f = vec_set(of_row[1]);
    const float inverse = of_row[2];
    int64_t c = 0;
    for (; c + VEC_LANES <= columns && inverse == 0; c += VEC_LANES)
        vec_store_as(type, x, c, vec_exp(vec_load(x + c) - s) * f);
    for (; c < columns; c += VEC_LANES) {
        vec logits = vec_load_as_part(ZI_FP32, x, c, columns - c);
        vec gradient = vec_exp(logits - s) * f;
        if (inverse > 0) gradient *= cap_slope(logits, inverse);
        vec_store_as_part(type, x, c, gradient, columns - c);
    }
}

/* Replaces the logits of a counted row by its gradient. */
static void row_replace(enum zi_dtype type, float *x, int64_t columns, int32_t target,
                        const float softmax[4] /* maximum, sum, scale, 1 / cap or 0 */)
{
    float probability = expf(x[target] - softmax[0]) / softmax[1], share = x[target] * softmax[3];
    float at_target = softmax[2] * (probability - 1.0f) * (1.0f - share * share);
    const float of_row[3] = {softmax[0], softmax[2] / softmax[1], softmax[3]};
    KERNEL_BY_TYPE(type, row_gradient, x, columns, of_row);
    if (type == ZI_FP32) {
        x[target] = at_target;
    } else {
        uint16_t rounded = zi_half_round_even(type, at_target);
        memcpy((uint16_t *)x + target, &rounded, sizeof rounded);
    }
}

static float inverse_cap(const struct device_softmax *d)
{
    return d->cap > 0 ? 1.0f / d->cap : 0.0f;
}

/* The loss of a row; its logits become the gradient where one is wanted. */
static double row_loss(const struct device_softmax *d, float *x, int32_t target)
{
    enum zi_dtype type = d->gradient_type;
    if (target < 0) {
        if (type != ZI_INT32) memset(x, 0, (size_t)d->columns * zi_dtype_bytes(type));
        return 0.0;
    }
    float softmax[4] = {0.0f, 0.0f, d->scale, inverse_cap(d)};
    row_softmax(x, d->columns, &softmax[0], &softmax[1]);
    double loss = log((double)softmax[1]) + ((double)softmax[0] - (double)x[target]);
    if (type != ZI_INT32) row_replace(type, x, d->columns, target, softmax);
    return loss;
}

static enum zi_status targets_check(const int32_t *targets, int64_t rows, int64_t columns)
{
    for (int64_t row = 0; row < rows; row++) {
        if (targets[row] >= columns)
            return zi_fail(ZI_ERROR_DEVICE, "device",
                           "cross_entropy: target %d of row %lld is outside the vocabulary of "
                           "%lld; check the token file against model.vocabulary",
                           targets[row], (long long)row, (long long)columns);
    }
    return ZI_OK;
}

static enum zi_status cap(struct device_stream *stream, struct device_ptr logits, int64_t rows,
                          int64_t columns, int64_t ld, float cap)
{
    float inverse = 1.0f / cap;
#pragma omp parallel for num_threads(stream->threads) schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        float *x = cpu_fp32(logits) + r * ld;
        for (int64_t c = 0; c < columns; c += VEC_LANES) {
            vec share = vec_load_as_part(ZI_FP32, x, c, columns - c) * inverse;
            vec_store_as_part(ZI_FP32, x, c, vec_tanh(share) * cap, columns - c);
        }
    }
    return ZI_OK;
}

static enum zi_status cross_entropy(struct device_stream *stream, const struct device_softmax *d,
                                    struct device_ptr loss)
{
    float *x = cpu_fp32(d->logits);
    const int32_t *target = (const int32_t *)d->targets.address;
    double *total = (double *)loss.address;
    ZI_TRY(targets_check(target, d->rows, d->columns));
    for (int64_t first = 0; first < d->rows; first += LOSS_ROWS) {
        double losses[LOSS_ROWS];
        int64_t count = d->rows - first < LOSS_ROWS ? d->rows - first : LOSS_ROWS;
#pragma omp parallel for num_threads(stream->threads) schedule(static)
        for (int64_t i = 0; i < count; i++)
            losses[i] = row_loss(d, x + (first + i) * d->ld, target[first + i]);
        for (int64_t i = 0; i < count; i++)
            *total += losses[i];
    }
    return ZI_OK;
}

/* Joins the statistics of a row with those of more of its columns. */
static void row_join(const struct device_softmax *d, const float *x, int32_t target, float *of_row)
{
    float largest, sum;
    row_softmax(x, d->columns, &largest, &sum);
    if (!d->begin) {
        float both = of_row[0] > largest ? of_row[0] : largest;
        sum = sum * expf(largest - both) + of_row[1] * expf(of_row[0] - both);
        largest = both;
    }
    of_row[0] = largest;
    of_row[1] = sum;
    if (target >= d->first && target < d->first + d->columns)
        of_row[2] = x[target - d->first];
    else if (d->begin)
        of_row[2] = 0.0f;
}

static enum zi_status softmax_statistics(struct device_stream *stream,
                                         const struct device_softmax *d)
{
    const int32_t *target = (const int32_t *)d->targets.address;
    float *statistics = cpu_fp32(d->statistics);
#pragma omp parallel for num_threads(stream->threads) schedule(static)
    for (int64_t r = 0; r < d->rows; r++)
        row_join(d, cpu_fp32(d->logits) + r * d->ld, target[r], statistics + 3 * r);
    return ZI_OK;
}

static enum zi_status softmax_loss(struct device_stream *stream, const struct device_softmax *d,
                                   struct device_ptr loss)
{
    (void)stream; /* rows are few numbers each: one thread adds them, in order */
    const int32_t *target = (const int32_t *)d->targets.address;
    double *total = (double *)loss.address;
    ZI_TRY(targets_check(target, d->rows, d->first + d->columns));
    for (int64_t r = 0; r < d->rows; r++) {
        const float *of_row = cpu_fp32(d->statistics) + 3 * r;
        if (target[r] < 0) continue;
        *total += log((double)of_row[1]) + ((double)of_row[0] - (double)of_row[2]);
    }
    return ZI_OK;
}

static enum zi_status softmax_gradient(struct device_stream *stream, const struct device_softmax *d)
{
    const int32_t *targets = (const int32_t *)d->targets.address;
#pragma omp parallel for num_threads(stream->threads) schedule(static)
    for (int64_t r = 0; r < d->rows; r++) {
        float *x = cpu_fp32(d->logits) + r * d->ld;
        const float *of_row = cpu_fp32(d->statistics) + 3 * r;
        int64_t target = targets[r] - d->first;
        const float factors[3] = {of_row[0], d->scale / of_row[1], inverse_cap(d)};
        if (targets[r] < 0)
            memset(x, 0, (size_t)d->columns * zi_dtype_bytes(d->gradient_type));
        else if (target >= 0 && target < d->columns)
            row_replace(d->gradient_type, x, d->columns, (int32_t)target,
                        (float[]){of_row[0], of_row[1], d->scale, factors[2]});
        else
            KERNEL_BY_TYPE(d->gradient_type, row_gradient, x, d->columns, factors);
    }
    return ZI_OK;
}

void KERNEL(cpu_loss_register)(struct device_operations *operations)
{
    operations->cap = cap;
    operations->cross_entropy = cross_entropy;
    operations->softmax_statistics = softmax_statistics;
    operations->softmax_loss = softmax_loss;
    operations->softmax_gradient = softmax_gradient;
}
