/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: what people read of a run, on stdout of rank 0. */
#ifndef ZI_APP_PROGRESS_H
#define ZI_APP_PROGRESS_H

#include "app/report.h"

/* Sums of the steps since the last line, and of the whole run. */
struct progress {
    /* Steps of the run, and between lines. */
    int64_t steps, report_every;
    /* The step after which this job begins. */
    int64_t begins;
    /* Lines say the loss scale. */
    bool scales;
    double flops_per_token;
    /* FLOP/s of all ranks together, 0 when not measured. */
    double peak;
    /* When the run began, and its first step. */
    double begun_s, start_s;
    /* Parts of what was between the two. */
    double layout_s, initial_s;
    int64_t line_steps;
    double line_s, line_tokens, line_wait_s[LANE_COUNT], line_disk_s;
    /* Of steps alone, without validations and checkpoints; of that the store was busy. */
    double total_s, disk_s;
    /* Added to by whoever validates. */
    double validation_s;
    /* Added to by whoever saves. */
    double checkpoint_s;
    int64_t total_steps, total_tokens, skipped, in_a_row;
    /* Steps that were updated speculatively; of these, those whose updates did not hold. */
    int64_t speculated, dropped;
    /* Last loss; NaN before the first. */
    double loss, best_validation;
    int64_t best_step;
};

/* Local. Everything zero, the clock started; what was before may be filled in afterwards. */
void progress_start(struct progress *progress, int64_t steps, int64_t report_every);

/* Local. Takes a step in, and prints a line when it is due: each report_every steps, at the first
 * and last step, and whenever something is to be said (a skipped step, a validation). */
void progress_step(struct progress *progress, const struct report_row *row,
                   const struct engine_result *result, FILE *out);

/* Local. Prints what a checkpoint took. */
void progress_checkpoint(const struct report_checkpoint *row, FILE *out);

/* Local. Steps, tokens, loss, and where the time went by operation (of this rank). */
void progress_summary(const struct progress *progress, struct engine *engine, FILE *out);

#endif
