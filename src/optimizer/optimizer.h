/* SPDX-License-Identifier: Apache-2.0 */
/* AdamW, Lion and SGD on flat ranges, the learning-rate schedules, clipping by the global norm, the decision to
 * skip a step, and the scale of the loss. */
#ifndef ZI_OPTIMIZER_OPTIMIZER_H
#define ZI_OPTIMIZER_OPTIMIZER_H

#include "deck/deck.h"
#include "device/operations.h"

/* Local. Adds what is wrong with the deck's optimizer section to its complaints and resolves `auto`
 * (decay). */
void optimizer_check(struct deck *deck);

/* Local. Learning rate of step `step` (first is 0) of `steps`: linear warm-up over warmup steps
 * ((step+1)/warmup of the peak), then the schedule down to minimum_ratio of the peak at the last
 * step. wsd holds the peak until steps - decay. */
double optimizer_learning_rate(const struct settings_optimizer *settings, int64_t step,
                               int64_t steps);

/* What is known about a step before its update. */
struct optimizer_step {
    /* Updates made before it: bias corrections use number + 1. */
    int64_t number;
    double learning_rate;
    /* What its loss was multiplied with before the gradient was taken; 1: nothing. */
    double loss_scale;
    /* Global gradient norm, of the loss itself; NaN when an element is not finite. */
    double norm;
    /* What gradients are multiplied with: 1, or clip / norm where the norm is larger; and divided
     * by the scale of the loss. */
    double scale;
    /* A gradient or the loss is not finite: no state may change. */
    bool skip;
};

/* Local. Decides from the global sum of squares, the number of non-finite elements and the loss. */
void optimizer_decide(const struct settings_optimizer *settings, double squares, uint64_t nonfinite,
                      double loss, struct optimizer_step *step);

/* The scale of the loss, and how many finite steps it has seen since it was changed. */
struct optimizer_scaling {
    int64_t scale, steps;
};

/* Local. That of a first step; 1 where the arithmetic needs none. */
struct optimizer_scaling optimizer_scaling_start(const struct settings_precision *settings);

/* Local. That of a run which goes on from `saved`. */
struct optimizer_scaling optimizer_scaling_resume(const struct settings_precision *settings,
                                                  struct optimizer_scaling saved);

/* Local. Moves it past a decided step. Gives whether the step was skipped for this scale alone: a
 * gradient has overflowed, the loss is finite, and the scale is now half of what it was. */
bool optimizer_scaling_next(const struct settings_precision *settings,
                            const struct optimizer_step *step, double loss,
                            struct optimizer_scaling *scaling);

/* The most states of its own that an optimizer has per element. */
enum { OPTIMIZER_STATES = 2 };

/* Local. How many the deck's has. */
int optimizer_states(const struct settings_optimizer *settings);

/* Local. Whether only the host has its update, not a device whose memory is apart. */
bool optimizer_needs_host(const struct settings_optimizer *settings);

/* What an update call works on: one contiguous piece of one tensor, or, where moments are in blocks, a
 * slice of a unit, in the pieces that tensors have in it. Buffers as in struct device_adam. */
struct optimizer_range {
    int64_t count;
    /* Weight decay applies. */
    bool decay;
    /* In the tensor. */
    struct device_place place;
    /* Of the slice, or NULL; then decay and place are those of each. */
    const struct device_piece *pieces;
    int piece_count;
    enum zi_dtype type, gradient_type;
    struct device_ptr parameter, remainder, gradient, checksum;
    /* The optimizer's own, as far as it has them: running means of the gradient and of its square. */
    struct device_ptr states[OPTIMIZER_STATES];
};

/* Local. Enqueues the update of one range; nothing when step->skip. */
enum zi_status optimizer_update(const struct settings_optimizer *settings,
                                const struct device *device, struct device_stream *stream,
                                const struct optimizer_step *step,
                                const struct optimizer_range *range);

#endif
