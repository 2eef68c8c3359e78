/* SPDX-License-Identifier: Apache-2.0 */
/* The update of contiguous ranges of tensors: translates a range and the decisions about its step into
 * one fused operation of the device, whose rules (device/operations.h) are AdamW (Loshchilov and
 * Hutter 2019), Lion (Chen et al. 2023), and SGD with momentum as PyTorch 2 has it without dampening:
 * its weight decay is a part of the gradient, and the first momentum is the first gradient, since it
 * starts from 0.
 *
 * The operation works in fp32, so its beta is the deck's rounded to fp32. AdamW's bias corrections are
 * powers of that rounded value, in double: the weights (1 - beta) beta^k of the running mean then
 * add up to c exactly. With the unrounded 0.999 the second moment would be off by 1e-5 of itself.
 *
 * A skipped step changes no state and adds no checksum: who keeps a record of checksums still has
 * that of the step before, which holds. */
#include "optimizer/optimizer.h"

#include "base/log.h"

#include <math.h>

static const enum device_rule rules[] = {
    [OPTIMIZER_ADAMW] = DEVICE_ADAMW,
    [OPTIMIZER_LION] = DEVICE_LION,
    [OPTIMIZER_SGD] = DEVICE_SGD,
};

int optimizer_states(const struct settings_optimizer *settings)
{
    if (settings->type == OPTIMIZER_SGD) return settings->beta1 > 0 ? 1 : 0;
    return settings->type == OPTIMIZER_LION ? 1 : 2;
}

bool optimizer_needs_host(const struct settings_optimizer *settings)
{
    return settings->type != OPTIMIZER_ADAMW || settings->moments == MOMENTS_BLOCKS;
}

static double correction(float beta, int64_t updates)
{
    return 1.0 - pow((double)beta, (double)updates);
}

enum zi_status optimizer_update(const struct settings_optimizer *settings,
                                const struct device *device, struct device_stream *stream,
                                const struct optimizer_step *step,
                                const struct optimizer_range *range)
{
    const struct device_operations *operations = device_get_operations(device);
    if (range->count == 0 || step->skip) return ZI_OK;
    if (!operations->adam)
        return zi_fail(ZI_ERROR_DEVICE, "optimizer",
                       "this device has no update; use device.type: cpu");

    struct device_adam adam = {
        .count = range->count,
        .rule = rules[settings->type],
        .type = range->type,
        .gradient_type = range->gradient_type,
        .learning_rate = (float)step->learning_rate,
        .beta1 = (float)settings->beta1,
        .beta2 = (float)settings->beta2,
        .epsilon = (float)settings->epsilon,
        .decay = range->decay || range->pieces ? (float)settings->weight_decay : 0.0f,
        .scale = (float)step->scale,
        .place = range->place,
        .pieces = range->pieces,
        .piece_count = range->piece_count,
        .correction1 = 1.0f,
        .correction2 = 1.0f,
        .parameter = range->parameter,
        .remainder = range->remainder,
        .states = {range->states[0], range->states[1]},
        .gradient = range->gradient,
        .checksum = range->checksum,
    };
    if (adam.rule != DEVICE_ADAMW) return operations->adam(stream, &adam);
    adam.correction1 = (float)correction(adam.beta1, step->number + 1);
    adam.correction2 = (float)correction(adam.beta2, step->number + 1);
    return operations->adam(stream, &adam);
}
