/* SPDX-License-Identifier: Apache-2.0 */
/* Ten updates by SGD, Lion and AdamW against PyTorch and the paper of Lion: regression/goldens/
 * make_update_goldens.py. Weights after every update and moments after the last one, with a rate that
 * changes, decay, clipping, and elements without a gradient; every type of weights, gradients in fp32
 * and bf16. That instruction sets give the same bits is device_update_test's. */
#include "regression/unit/golden_fixture.h"

#include "device/device.h"
#include "optimizer/optimizer.h"

enum { STEPS = 10 };

static struct device *device;
static struct device_stream *stream;

/* A case of the file, which is compared. */
struct test_case {
    const char *name;
    struct golden golden;
    struct settings_optimizer settings;
    struct golden_array weight, gradient, rate;
    int64_t count;
};

static const char *const types[] = {
    [OPTIMIZER_ADAMW] = "adamw", [OPTIMIZER_LION] = "lion", [OPTIMIZER_SGD] = "sgd", NULL};

static void open_case(struct test_case *c, const char *name)
{
    const char *top = getenv("abs_top_srcdir");
    char path[4096];
    snprintf(path, sizeof path, "%s/regression/goldens/golden_updates.h5", top ? top : ".");
    *c = (struct test_case){.name = name};
    hid_t file = c->golden.file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0) fprintf(stderr, "cannot open %s\n", path);
    ZI_REQUIRE(file >= 0);
    hid_t group = H5Gopen2(file, name, H5P_DEFAULT);
    ZI_REQUIRE(group >= 0);
    c->golden.factor = golden_attribute(file, "factor");
    c->settings = (struct settings_optimizer){
        .type = golden_choice(group, "type", types),
        .beta1 = golden_attribute(group, "beta1"),
        .beta2 = golden_attribute(group, "beta2"),
        .epsilon = golden_attribute(group, "epsilon"),
        .weight_decay = golden_attribute(group, "weight_decay"),
        .clip = golden_attribute(group, "clip"),
    };
    H5Gclose(group);
    c->weight = golden_read(&c->golden, "weight", NULL);
    c->gradient = golden_read(&c->golden, "gradient", NULL);
    c->rate = golden_read(&c->golden, "learning_rate", NULL);
    c->count = c->weight.count;
    ZI_REQUIRE(c->rate.count == STEPS && c->gradient.count == STEPS * c->count);
}

static void close_case(struct test_case *c)
{
    free(c->weight.values);
    free(c->gradient.values);
    free(c->rate.values);
    golden_close(&c->golden);
}

static struct device_ptr allocate(int64_t bytes)
{
    struct device_ptr memory = {0};
    ZI_REQUIRE(device_allocate(device, ZI_TIER_HOST, (size_t)bytes, "test", &memory) >= 0);
    return memory;
}

static void *host(struct device_ptr pointer)
{
    return (void *)pointer.address; /* the cpu device's memory is the host's */
}

static void set_weights(const struct test_case *c, const struct optimizer_range *range)
{
    for (int64_t i = 0; i < c->count; i++) {
        float value = (float)c->weight.values[i];
        if (range->type == ZI_FP32) {
            ((float *)host(range->parameter))[i] = value;
            continue;
        }
        ((uint16_t *)host(range->parameter))[i] = zi_half_parameter(range->type, value);
        ((int16_t *)host(range->remainder))[i] = zi_half_remainder(range->type, value);
    }
}

static double weight_of(const struct optimizer_range *range, int64_t i)
{
    if (range->type == ZI_FP32) return (double)((const float *)host(range->parameter))[i];
    return (double)zi_half_join(range->type, ((const uint16_t *)host(range->parameter))[i],
                                ((const int16_t *)host(range->remainder))[i]);
}

/* The gradient of a step, and what is known of it. */
static void set_gradient(const struct test_case *c, const struct optimizer_range *range,
                         struct optimizer_step *step)
{
    const double *values = c->gradient.values + step->number * c->count;
    double squares = 0;
    for (int64_t i = 0; i < c->count; i++) {
        float value = (float)values[i];
        if (range->gradient_type == ZI_FP32)
            ((float *)host(range->gradient))[i] = value;
        else
            ((uint16_t *)host(range->gradient))[i] = zi_bf16_round_even(value);
        squares += values[i] * values[i];
    }
    step->learning_rate = c->rate.values[step->number];
    optimizer_decide(&c->settings, squares, 0, 1.0, step);
}

static void check_moments(struct test_case *c, const struct optimizer_range *range)
{
    for (int m = 0; m < optimizer_states(&c->settings); m++) {
        char name[64];
        double *found = calloc((size_t)c->count, sizeof *found);
        ZI_REQUIRE(found);
        snprintf(name, sizeof name, "%s/moment%d", c->name, m + 1);
        struct golden_array moment = golden_read(&c->golden, name, "deviation");
        CHECK_INT(moment.count, c->count);
        for (int64_t i = 0; i < c->count; i++)
            found[i] = (double)((const float *)host(range->states[m]))[i];
        golden_compare(&c->golden, &moment, found);
        free(moment.values);
        free(found);
    }
}

static void run(struct test_case *c, struct optimizer_range *range)
{
    char name[64];
    snprintf(name, sizeof name, "%s/weight", c->name);
    struct golden_array weights = golden_read(&c->golden, name, "deviation");
    double *found = calloc((size_t)weights.count, sizeof *found);
    struct optimizer_step step = {.loss_scale = 1.0};
    ZI_REQUIRE(found && weights.count == STEPS * c->count);
    for (step.number = 0; step.number < STEPS; step.number++) {
        set_gradient(c, range, &step);
        CHECK_INT(optimizer_update(&c->settings, device, stream, &step, range), ZI_OK);
        CHECK_INT(device_stream_synchronize(stream), ZI_OK);
        for (int64_t i = 0; i < c->count; i++)
            found[step.number * c->count + i] = weight_of(range, i);
    }
    golden_compare(&c->golden, &weights, found);
    check_moments(c, range);
    free(weights.values);
    free(found);
}

static void test_case(const char *name, enum zi_dtype type, enum zi_dtype gradient_type)
{
    struct test_case c;
    open_case(&c, name);
    snprintf(c.golden.label, sizeof c.golden.label, "%s, weights %s, gradients %s", name,
             zi_dtype_name(type), zi_dtype_name(gradient_type));
    struct optimizer_range range = {
        .count = c.count,
        .decay = true,
        .type = type,
        .gradient_type = gradient_type,
        .parameter = allocate(c.count * 4),
        .gradient = allocate(c.count * 4),
    };
    if (type != ZI_FP32) range.remainder = allocate(c.count * 2);
    for (int m = 0; m < optimizer_states(&c.settings); m++) {
        range.states[m] = allocate(c.count * 4);
        memset(host(range.states[m]), 0, (size_t)c.count * 4);
    }
    set_weights(&c, &range);
    run(&c, &range);
    device_free(device, ZI_TIER_HOST, range.parameter);
    device_free(device, ZI_TIER_HOST, range.remainder);
    device_free(device, ZI_TIER_HOST, range.gradient);
    for (int m = 0; m < optimizer_states(&c.settings); m++)
        device_free(device, ZI_TIER_HOST, range.states[m]);
    close_case(&c);
}

int main(void)
{
    static const char *const cases[] = {"sgd",  "sgd_clipped",  "sgd_plain",
                                        "lion", "lion_clipped", "adamw"};
    struct settings_device settings = {.type = DEVICE_CPU, .threads = 1, .isa = ZI_AUTO};
    if (device_open(&settings, DEVICE_ALONE, &device) < 0) return 1;
    if (device_stream_create(device, 1, &stream) < 0) return 1;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_case(cases[i], ZI_FP32, ZI_FP32);
        test_case(cases[i], ZI_BF16, ZI_BF16);
        test_case(cases[i], ZI_FP16, ZI_FP32);
    }
    device_stream_destroy(stream);
    device_close(device);
    return test_finish("optimizer_golden_test");
}
