/* SPDX-License-Identifier: Apache-2.0 */
/* AdamW through the cpu device against a reference in double that is written from the paper, over
 * 20 steps with decay, clipping, both gradient types and both forms of weights; the checksum of the
 * weights; and a skipped step, which must change nothing.
 *
 * Tolerances. An update is learning_rate * ratio, |ratio| of order 1. In fp32 the two moments carry
 * a relative error of about 2^-23 each per step, averaged over the memory of the moments, and the
 * quotient a few more: 2e-6 * learning_rate per step covers them. Subtracting the update rounds the
 * weight: 2^-24 * |w| per step, |w| <= 0.05 + STEPS * 1.1 * learning_rate. Gradients keep their
 * sign from step to step, so that errors of one direction add up: a bias correction that did not
 * belong to the rounded beta2 would be off by 6e-6 * learning_rate per step, and fails. */
#include "base/half.h"
#include "optimizer/optimizer.h"

#include "device/device.h"
#include "regression/unit/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 1003, STEPS = 20 };

static const double learning_rate = 0.01;

static float random_value(uint32_t stream, uint32_t i)
{
    uint32_t x = (i + 1) * 2654435761u ^ stream * 0x9e3779b9u;
    x ^= x >> 15;
    x *= 0x85ebca6bu;
    x ^= x >> 13;
    x *= 0xc2b2ae35u;
    x ^= x >> 16;
    return (float)(x >> 8) / 8388608.0f - 1.0f;
}

struct state {
    /* Parameter is bf16 and there is a remainder. */
    bool split;
    struct device_ptr parameter, remainder, moment1, moment2, gradient, checksum;
};

static struct device *device;
static struct device_stream *stream;

static struct device_ptr allocate(size_t bytes)
{
    struct device_ptr memory = {0};
    if (device_allocate(device, ZI_TIER_HOST, bytes, "test", &memory) < 0) exit(1);
    return memory;
}

static void *host(struct device_ptr pointer)
{
    return (void *)pointer.address; /* the cpu device's memory is the host's */
}

/* Weights are 0.05 random_value(1, i). */
static struct state state_create(bool split)
{
    struct state state = {
        .split = split,
        .parameter = allocate(COUNT * 4),
        .moment1 = allocate(COUNT * 4),
        .moment2 = allocate(COUNT * 4),
        .gradient = allocate(COUNT * 4),
        .checksum = allocate(8),
    };
    if (split) state.remainder = allocate(COUNT * 2);
    for (uint32_t i = 0; i < COUNT; i++) {
        float weight = 0.05f * random_value(1, i);
        if (split) {
            uint16_t upper = zi_bf16_round_away(weight);
            ((uint16_t *)host(state.parameter))[i] = upper;
            ((int16_t *)host(state.remainder))[i] =
                (int16_t)((int64_t)zi_fp32_bits(weight) - (int64_t)upper * 65536);
        } else {
            ((float *)host(state.parameter))[i] = weight;
        }
    }
    return state;
}

static void state_destroy(struct state *state)
{
    device_free(device, ZI_TIER_HOST, state->parameter);
    device_free(device, ZI_TIER_HOST, state->remainder);
    device_free(device, ZI_TIER_HOST, state->moment1);
    device_free(device, ZI_TIER_HOST, state->moment2);
    device_free(device, ZI_TIER_HOST, state->gradient);
    device_free(device, ZI_TIER_HOST, state->checksum);
}

static float weight_of(const struct state *state, uint32_t i)
{
    if (!state->split) return ((const float *)host(state->parameter))[i];
    int64_t upper = ((const uint16_t *)host(state->parameter))[i];
    return zi_fp32_from_bits(
        (uint32_t)(upper * 65536 + ((const int16_t *)host(state->remainder))[i]));
}

static struct optimizer_range range_of(const struct state *state, enum zi_dtype type, bool decay)
{
    return (struct optimizer_range){
        .count = COUNT,
        .decay = decay,
        .place = {.seed = 12345678901234567u, .first = 77, .row = 100, .stride = 1234},
        .type = state->split ? ZI_BF16 : ZI_FP32,
        .gradient_type = type,
        .parameter = state->parameter,
        .remainder = state->remainder,
        .states = {state->moment1, state->moment2},
        .gradient = state->gradient,
        .checksum = state->checksum,
    };
}

static uint64_t checksum_of(const struct state *state)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        uint64_t element = 77 + i / 100 * 1234 + i % 100;
        uint64_t factor = (uint32_t)((element + 12345678901234567u) * 0x9e3779b1u) | 1u;
        sum += zi_fp32_bits(weight_of(state, i)) * factor;
    }
    return sum;
}

/* One step of the paper's Algorithm 2 in double. */
static void reference_step(const struct settings_optimizer *settings,
                           const struct optimizer_step *step, double decay, const float *gradient,
                           double *weight, double *first, double *second)
{
    double c1 = 1.0 - pow(settings->beta1, (double)step->number + 1.0);
    double c2 = 1.0 - pow(settings->beta2, (double)step->number + 1.0);
    for (int i = 0; i < COUNT; i++) {
        double g = step->scale * (double)gradient[i];
        first[i] = settings->beta1 * first[i] + (1.0 - settings->beta1) * g;
        second[i] = settings->beta2 * second[i] + (1.0 - settings->beta2) * g * g;
        weight[i] -=
            step->learning_rate *
            (first[i] / c1 / (sqrt(second[i] / c2) + settings->epsilon) + decay * weight[i]);
    }
}

/* Fills the gradient in its type, and what it is worth as fp32. The first elements have no gradient
 * at all. */
static void gradient_fill(const struct optimizer_range *range, uint32_t step, float *values)
{
    for (uint32_t i = 0; i < COUNT; i++) {
        float noise = 1.0f + 0.2f * random_value(100 + step, i);
        float value = i < 3 ? 0.0f : 3.0f * random_value(2, i) * noise;
        if (range->gradient_type == ZI_BF16) {
            uint16_t narrow = zi_bf16_round_even(value);
            ((uint16_t *)host(range->gradient))[i] = narrow;
            value = zi_bf16_to_fp32(narrow);
        } else {
            ((float *)host(range->gradient))[i] = value;
        }
        values[i] = value;
    }
}

static void test_against_reference(enum zi_dtype type, bool split, bool decay, double beta2)
{
    struct settings_optimizer settings = {
        .beta1 = 0.9, .beta2 = beta2, .epsilon = 1e-8, .weight_decay = 0.1, .clip = 1.0};
    struct state state = state_create(split);
    struct optimizer_range range = range_of(&state, type, decay);
    double *weight = calloc(COUNT, 8), *first = calloc(COUNT, 8), *second = calloc(COUNT, 8);
    float *gradient = calloc(COUNT, 4);
    if (!weight || !first || !second || !gradient) exit(1);
    for (uint32_t i = 0; i < COUNT; i++)
        weight[i] = (double)weight_of(&state, i);

    struct optimizer_step step = {.learning_rate = learning_rate, .loss_scale = 1.0};
    for (step.number = 0; step.number < STEPS; step.number++) {
        gradient_fill(&range, (uint32_t)step.number, gradient);
        optimizer_decide(&settings, step.number % 2 ? 0.25 : 1.7, 0, 1.0, &step);
        *(uint64_t *)host(state.checksum) = 5;
        CHECK(optimizer_update(&settings, device, stream, &step, &range) == ZI_OK);
        CHECK(device_stream_synchronize(stream) == ZI_OK);
        reference_step(&settings, &step, decay ? 0.1 : 0.0, gradient, weight, first, second);
        CHECK(*(uint64_t *)host(state.checksum) == 5 + checksum_of(&state));
    }
    double worst = 0.0;
    int wrong_parameters = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        float updated = weight_of(&state, i);
        worst = fmax(worst, fabs((double)updated - weight[i]));
        if (split)
            wrong_parameters +=
                ((uint16_t *)host(state.parameter))[i] != zi_bf16_round_away(updated);
    }
    double largest = 0.05 + STEPS * 1.1 * learning_rate;
    double tolerance = STEPS * (2e-6 * learning_rate + largest / 16777216.0);
    if (worst > tolerance) fprintf(stderr, "worst %g, tolerance %g\n", worst, tolerance);
    CHECK(worst <= tolerance);
    CHECK(wrong_parameters == 0);
    free(weight);
    free(first);
    free(second);
    free(gradient);
    state_destroy(&state);
}

/* No rate means no change but the moments; and without a place for it there is no checksum. */
static void test_without_rate(bool split)
{
    struct settings_optimizer settings = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8};
    struct state state = state_create(split);
    struct optimizer_range range = range_of(&state, ZI_FP32, true);
    float gradient[COUNT];
    gradient_fill(&range, 3, gradient);
    range.checksum = (struct device_ptr){0};
    struct optimizer_step step = {.learning_rate = 0.0, .scale = 0.5};
    CHECK(optimizer_update(&settings, device, stream, &step, &range) == ZI_OK);
    CHECK(device_stream_synchronize(stream) == ZI_OK);
    const float *first = host(state.moment1);
    int wrong = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        wrong += weight_of(&state, i) != 0.05f * random_value(1, i);
        /* 0.1 * 0.5 g in fp32, two roundings and that of 0.1 */
        wrong += fabsf(first[i] - 0.05f * gradient[i]) > 4e-7f * fabsf(gradient[i]);
    }
    CHECK(wrong == 0);
    state_destroy(&state);
}

static void test_skip(void)
{
    struct settings_optimizer settings = {
        .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1, .clip = 1.0};
    struct state state = state_create(true);
    struct optimizer_range range = range_of(&state, ZI_FP32, true);
    float gradient[COUNT], before[2][COUNT];
    uint16_t parameter[COUNT];
    int16_t remainder[COUNT];
    gradient_fill(&range, 1, gradient);
    struct optimizer_step step = {.learning_rate = learning_rate, .loss_scale = 1.0, .scale = 1.0};
    CHECK(optimizer_update(&settings, device, stream, &step, &range) == ZI_OK);
    CHECK(device_stream_synchronize(stream) == ZI_OK);
    memcpy(before[0], host(state.moment1), sizeof before[0]);
    memcpy(before[1], host(state.moment2), sizeof before[1]);
    memcpy(parameter, host(state.parameter), sizeof parameter);
    memcpy(remainder, host(state.remainder), sizeof remainder);

    ((float *)host(state.gradient))[500] = NAN;
    step.number = 1;
    optimizer_decide(&settings, 3.0, 1, 2.0, &step);
    *(uint64_t *)host(state.checksum) = 1000;
    CHECK(optimizer_update(&settings, device, stream, &step, &range) == ZI_OK);
    CHECK(device_stream_synchronize(stream) == ZI_OK);
    CHECK(memcmp(before[0], host(state.moment1), sizeof before[0]) == 0);
    CHECK(memcmp(before[1], host(state.moment2), sizeof before[1]) == 0);
    CHECK(memcmp(parameter, host(state.parameter), sizeof parameter) == 0);
    CHECK(memcmp(remainder, host(state.remainder), sizeof remainder) == 0);
    CHECK(*(uint64_t *)host(state.checksum) == 1000);

    range.count = 0; /* an empty range touches nothing, not even null buffers */
    range.parameter = range.remainder = range.checksum = (struct device_ptr){0};
    CHECK(optimizer_update(&settings, device, stream, &step, &range) == ZI_OK);
    step.skip = false;
    CHECK(optimizer_update(&settings, device, stream, &step, &range) == ZI_OK);
    state_destroy(&state);
}

int main(void)
{
    struct settings_device settings = {.type = DEVICE_CPU, .threads = 1, .isa = ZI_AUTO};
    if (device_open(&settings, DEVICE_ALONE, &device) < 0) return 1;
    if (device_stream_create(device, 1, &stream) < 0) return 1;
    test_against_reference(ZI_FP32, false, true, 0.999);
    test_against_reference(ZI_FP32, true, false, 0.95);
    test_against_reference(ZI_BF16, true, true, 0.95);
    test_without_rate(false);
    test_without_rate(true);
    test_skip();
    device_stream_destroy(stream);
    device_close(device);
    return test_finish("optimizer_adamw_test");
}
