/* SPDX-License-Identifier: Apache-2.0 */
/* Loss scaling (Micikevicius et al. 2018), for gradients in fp16.
 *
 * The problem: fp16 has nothing below 2^-24 and half its precision is gone at 2^-19, where many
 * gradients are. The largest are far below 65504.
 *
 * The idea: the gradient of the loss is multiplied by a power of two where it begins, so that all
 * others are, and divided by it in fp32 where they are used. The largest scale that works is not
 * known and changes while a model learns, so it is found: when a gradient overflows the step is
 * skipped and the scale halved, after so many finite steps it is doubled. A power of two costs no
 * rounding: as long as nothing under- or overflows, any scale gives the same bits.
 *
 * A loss that is not finite has nothing to do with its scale, and leaves it alone; so does a gradient
 * that overflows even at the scale 1. Such steps count as failures of the run. That several ranks
 * have the same scale follows from their having the same sums (clip.c).
 *
 * There is no hysteresis: one that waits for a second overflow only loses one more step. */
#include "optimizer/optimizer.h"

#include <math.h>

#define SCALE_MOST ((int64_t)1 << 24)

static bool is_found(const struct settings_precision *settings)
{
    return settings->compute == ZI_FP16 && settings->loss_scale == ZI_AUTO;
}

struct optimizer_scaling optimizer_scaling_start(const struct settings_precision *settings)
{
    struct optimizer_scaling scaling = {.scale = 1};
    if (settings->compute == ZI_FP16) scaling.scale = settings->loss_scale;
    if (is_found(settings)) scaling.scale = settings->loss_scale_initial;
    return scaling;
}

struct optimizer_scaling optimizer_scaling_resume(const struct settings_precision *settings,
                                                  struct optimizer_scaling saved)
{
    return is_found(settings) ? saved : optimizer_scaling_start(settings);
}

bool optimizer_scaling_next(const struct settings_precision *settings,
                            const struct optimizer_step *step, double loss,
                            struct optimizer_scaling *scaling)
{
    if (!is_found(settings)) return false;
    scaling->steps = step->skip ? 0 : scaling->steps + 1;
    if (step->skip) {
        bool overflowed = isfinite(loss) && scaling->scale > 1;
        if (overflowed) scaling->scale /= 2;
        return overflowed;
    }
    if (scaling->steps >= settings->loss_scale_growth) {
        scaling->steps = 0;
        if (scaling->scale < SCALE_MOST) scaling->scale *= 2;
    }
    return false;
}
