/* SPDX-License-Identifier: Apache-2.0 */
/* Learning-rate schedules and the checks of the deck's optimizer section.
 *
 * The problem: several conventions are in use that differ by one step at the corners (does the
 * first step train at rate zero? does the last one?). The convention here, with steps counted from
 * 0 to steps - 1:
 *
 *   - warm-up: step s < warmup has (s + 1) / warmup of the peak, so no step is wasted at rate zero
 *     and step warmup - 1 has the peak;
 *   - the fall starts from the last step at the peak and reaches minimum_ratio exactly at step
 *     steps - 1, whatever the schedule;
 *   - where there is no room for a fall (one step; warm-up as long as the run) the rate stays at
 *     what warm-up gives;
 *   - a step at or after `steps` has the rate of the last step.
 *
 * cosine: Loshchilov and Hutter 2017, one half period. wsd: warm-up, stable, decay (Hu et al.
 * 2024) with a linear fall (Haegele et al. 2024). The rate is a pure function of the step: there
 * is nothing to save in a checkpoint. */
#include "optimizer/optimizer.h"

#include <float.h>
#include <math.h>

static const double pi = 3.14159265358979323846;

/* Share of the fall that is behind step `step`: 0 at the last step at the peak, 1 at the last step
 * of the run. `peak_step` is the last step at the peak, which may be -1. */
static double schedule_progress(int64_t step, int64_t peak_step, int64_t steps)
{
    int64_t span = steps - 1 - peak_step;
    if (span <= 0 || step <= peak_step) return 0.0;
    return (double)(step - peak_step) / (double)span;
}

double optimizer_learning_rate(const struct settings_optimizer *settings, int64_t step,
                               int64_t steps)
{
    double peak = settings->learning_rate, low = settings->minimum_ratio;
    if (step >= steps) step = steps - 1;
    if (step < 0) step = 0;
    if (step < settings->warmup) return peak * (double)(step + 1) / (double)settings->warmup;

    int64_t peak_step = settings->warmup > 0 ? settings->warmup - 1 : 0;
    double progress = schedule_progress(step, peak_step, steps);
    switch (settings->schedule) {
    case SCHEDULE_LINEAR:
        return peak * (1.0 - (1.0 - low) * progress);
    case SCHEDULE_COSINE:
        return peak * (low + (1.0 - low) * 0.5 * (1.0 + cos(pi * progress)));
    case SCHEDULE_WSD:
        progress = schedule_progress(step, steps - settings->decay - 1, steps);
        return peak * (1.0 - (1.0 - low) * progress);
    default:
        return peak;
    }
}

/* A fifth of the run, rounded up, as far as warm-up and one step at the peak leave room. */
static int64_t schedule_decay_auto(int64_t steps, int64_t warmup)
{
    int64_t decay = steps / 5 + (steps % 5 != 0);
    int64_t room = steps - (warmup > 1 ? warmup : 1);
    if (decay > room) decay = room;
    return decay > 0 ? decay : 0;
}

void optimizer_check(struct deck *deck)
{
    struct settings *settings = deck_settings(deck);
    struct settings_optimizer *optimizer = &settings->optimizer;
    int64_t steps = settings->run.steps;

    if (optimizer->decay == ZI_AUTO) {
        optimizer->decay = schedule_decay_auto(steps, optimizer->warmup);
    } else if (optimizer->schedule == SCHEDULE_WSD &&
               optimizer->warmup + optimizer->decay > steps) {
        deck_complain(deck, "optimizer", "decay",
                      "warm-up of %lld and decay of %lld steps do not fit in a run of %lld steps; "
                      "use auto, or at most %lld",
                      (long long)optimizer->warmup, (long long)optimizer->decay, (long long)steps,
                      (long long)(steps > optimizer->warmup ? steps - optimizer->warmup : 0));
    }
    /* The ranges of the table are inclusive; these ends are not allowed, nor what becomes one of
     * them in the fp32 of the update. */
    if ((float)optimizer->beta1 == 1.0f)
        deck_complain(deck, "optimizer", "beta1", "must be below 1 in fp32, as in 0.9");
    if ((float)optimizer->beta2 == 1.0f)
        deck_complain(deck, "optimizer", "beta2", "must be below 1 in fp32, as in 0.95 or 0.999");
    if ((float)optimizer->epsilon < FLT_MIN)
        deck_complain(deck, "optimizer", "epsilon",
                      "must be above 0 in fp32, as in 1e-8: a weight without gradient divides by "
                      "it");
}
