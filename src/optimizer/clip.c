/* SPDX-License-Identifier: Apache-2.0 */
/* Clipping by the global gradient norm, and the decision to skip a step.
 *
 * The problem: gradients are spread over ranks and tiers, and an infinity or a NaN in any of them
 * (overflow in a product, a broken batch) would be written into every weight by one update, from
 * where nothing brings it back.
 *
 * The idea: each rank sums the squares of its finite elements in double and counts the others; the
 * two numbers are added up over ranks, and every rank decides the same from the same numbers before
 * a state has changed. The sum of squares of fp32 numbers cannot overflow a double, so clipping is
 * exact. Gradients come multiplied by the loss scale, a power of two, so that dividing by it loses
 * nothing.
 *
 * Invariants: a skipped step has norm NaN and scale 0; otherwise norm is finite and 0 < scale <= 1 /
 * loss_scale. `number`, `learning_rate` and `loss_scale` of the step are the caller's and stay as
 * they are. */
#include "optimizer/optimizer.h"

#include <math.h>

void optimizer_decide(const struct settings_optimizer *settings, double squares, uint64_t nonfinite,
                      double loss, struct optimizer_step *step)
{
    step->skip = nonfinite > 0 || !isfinite(loss) || !isfinite(squares);
    if (step->skip) {
        step->norm = NAN;
        step->scale = 0.0;
        return;
    }
    step->norm = sqrt(squares) / step->loss_scale;
    step->scale = 1.0 / step->loss_scale;
    if (settings->clip > 0.0 && step->norm > settings->clip)
        step->scale = settings->clip / step->norm / step->loss_scale;
}
