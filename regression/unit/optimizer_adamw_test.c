/* SPDX-License-Identifier: Apache-2.0 */
/* AdamW through the cpu device against a reference in double that is written from the paper, over
 * 20 steps with decay, clipping and both gradient types; the checksum of the masters; and a skipped
 * step, which must change nothing.
 *
 * Tolerances. An update is learning_rate * ratio, |ratio| of order 1. In fp32 the two moments carry
 * a relative error of about 2^-23 each per step, averaged over the memory of the moments, and the
 * quotient a few more: 2e-6 * learning_rate per step covers them. Subtracting the update rounds the
 * weight: 2^-24 * |w| per step, |w| <= 0.05 + STEPS * 1.1 * learning_rate. Gradients keep their
 * sign from step to step, so that errors of one direction add up: a bias correction that did not
 * belong to the rounded beta2 would be off by 6e-6 * learning_rate per step, and fails. */
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
    struct device_ptr master, moment1, moment2, gradient, parameter, checksum;
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

static struct state state_create(void)
{
    struct state state = {
        .master = allocate(COUNT * 4),
        .moment1 = allocate(COUNT * 4),
        .moment2 = allocate(COUNT * 4),
        .gradient = allocate(COUNT * 4),
        .parameter = allocate(COUNT * 2),
        .checksum = allocate(8),
    };
    float *master = host(state.master);
    for (uint32_t i = 0; i < COUNT; i++)
        master[i] = 0.05f * random_value(1, i);
    return state;
}

static void state_destroy(struct state *state)
{
    device_free(device, ZI_TIER_HOST, state->master);
    device_free(device, ZI_TIER_HOST, state->moment1);
    device_free(device, ZI_TIER_HOST, state->moment2);
    device_free(device, ZI_TIER_HOST, state->gradient);
    device_free(device, ZI_TIER_HOST, state->parameter);
    device_free(device, ZI_TIER_HOST, state->checksum);
}

static struct optimizer_range range_of(const struct state *state, enum zi_dtype type, bool decay)
{
    return (struct optimizer_range){
        .count = COUNT,
        .decay = decay,
        .checksum_seed = 12345678901234567u,
        .checksum_first = 77,
        .gradient_type = type,
        .master = state->master,
        .moment1 = state->moment1,
        .moment2 = state->moment2,
        .gradient = state->gradient,
        .parameter = state->parameter,
        .checksum = state->checksum,
    };
}

static uint64_t checksum_of(const struct optimizer_range *range)
{
    const float *master = host(range->master);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < (uint64_t)range->count; i++) {
        uint64_t weight =
            (uint32_t)((range->checksum_first + i + range->checksum_seed) * 0x9e3779b1u) | 1u;
        sum += zi_fp32_bits(master[i]) * weight;
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

static void test_against_reference(enum zi_dtype type, bool decay, double beta2)
{
    struct settings_optimizer settings = {
        .beta1 = 0.9, .beta2 = beta2, .epsilon = 1e-8, .weight_decay = 0.1, .clip = 1.0};
    struct state state = state_create();
    struct optimizer_range range = range_of(&state, type, decay);
    double *weight = calloc(COUNT, 8), *first = calloc(COUNT, 8), *second = calloc(COUNT, 8);
    float *gradient = calloc(COUNT, 4);
    if (weight == NULL || first == NULL || second == NULL || gradient == NULL) exit(1);
    const float *master = host(state.master);
    for (int i = 0; i < COUNT; i++)
        weight[i] = master[i];

    struct optimizer_step step = {.learning_rate = learning_rate};
    for (step.number = 0; step.number < STEPS; step.number++) {
        gradient_fill(&range, (uint32_t)step.number, gradient);
        optimizer_decide(&settings, step.number % 2 ? 0.25 : 1.7, 0, 1.0, &step);
        *(uint64_t *)host(state.checksum) = 5;
        CHECK(optimizer_update(&settings, device, stream, &step, &range) == ZI_OK);
        CHECK(device_stream_synchronize(stream) == ZI_OK);
        reference_step(&settings, &step, decay ? 0.1 : 0.0, gradient, weight, first, second);
        CHECK(*(uint64_t *)host(state.checksum) == 5 + checksum_of(&range));
    }
    double worst = 0.0;
    int wrong_parameters = 0;
    for (int i = 0; i < COUNT; i++) {
        worst = fmax(worst, fabs((double)master[i] - weight[i]));
        wrong_parameters += ((uint16_t *)host(state.parameter))[i] != zi_bf16_round_away(master[i]);
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

/* With fp32 there is no second copy of the parameter, and no rate means no change but the moments.
 */
static void test_without_parameter(void)
{
    struct settings_optimizer settings = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8};
    struct state state = state_create();
    struct optimizer_range range = range_of(&state, ZI_FP32, true);
    float gradient[COUNT];
    gradient_fill(&range, 3, gradient);
    range.parameter = (struct device_ptr){0};
    struct optimizer_step step = {.learning_rate = 0.0, .scale = 0.5};
    CHECK(optimizer_update(&settings, device, stream, &step, &range) == ZI_OK);
    CHECK(device_stream_synchronize(stream) == ZI_OK);
    const float *master = host(state.master), *first = host(state.moment1);
    int wrong = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        wrong += master[i] != 0.05f * random_value(1, i);
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
    struct state state = state_create();
    struct optimizer_range range = range_of(&state, ZI_FP32, true);
    float gradient[COUNT], before[3][COUNT];
    uint16_t parameter[COUNT];
    gradient_fill(&range, 1, gradient);
    struct optimizer_step step = {.learning_rate = learning_rate, .scale = 1.0};
    CHECK(optimizer_update(&settings, device, stream, &step, &range) == ZI_OK);
    CHECK(device_stream_synchronize(stream) == ZI_OK);
    memcpy(before[0], host(state.master), sizeof before[0]);
    memcpy(before[1], host(state.moment1), sizeof before[1]);
    memcpy(before[2], host(state.moment2), sizeof before[2]);
    memcpy(parameter, host(state.parameter), sizeof parameter);

    ((float *)host(state.gradient))[500] = NAN;
    step.number = 1;
    optimizer_decide(&settings, 3.0, 1, 2.0, &step);
    *(uint64_t *)host(state.checksum) = 1000;
    CHECK(optimizer_update(&settings, device, stream, &step, &range) == ZI_OK);
    CHECK(device_stream_synchronize(stream) == ZI_OK);
    CHECK(memcmp(before[0], host(state.master), sizeof before[0]) == 0);
    CHECK(memcmp(before[1], host(state.moment1), sizeof before[1]) == 0);
    CHECK(memcmp(before[2], host(state.moment2), sizeof before[2]) == 0);
    CHECK(memcmp(parameter, host(state.parameter), sizeof parameter) == 0);
    CHECK(*(uint64_t *)host(state.checksum) == 1000 + checksum_of(&range));

    range.count = 0; /* an empty range touches nothing, not even null buffers */
    range.master = range.checksum = (struct device_ptr){0};
    CHECK(optimizer_update(&settings, device, stream, &step, &range) == ZI_OK);
    step.skip = false;
    CHECK(optimizer_update(&settings, device, stream, &step, &range) == ZI_OK);
    state_destroy(&state);
}

int main(void)
{
    struct settings_device settings = {.type = DEVICE_CPU, .threads = 1, .isa = ZI_AUTO};
    if (device_open(&settings, 1, &device) < 0) return 1;
    if (device_stream_create(device, 1, &stream) < 0) return 1;
    test_against_reference(ZI_FP32, true, 0.999);
    test_against_reference(ZI_FP32, false, 0.95);
    test_against_reference(ZI_BF16, true, 0.95);
    test_without_parameter();
    test_skip();
    device_stream_destroy(stream);
    device_close(device);
    return test_finish("optimizer_adamw_test");
}
