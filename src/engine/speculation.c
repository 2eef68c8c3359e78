/* SPDX-License-Identifier: Apache-2.0 */
/* When a step is tried.
 *
 * The problem: a guess that does not hold has moved bytes for nothing, and whether the next one holds
 * is not known. Where steps are clipped now and then, one without after one with is the rule; where
 * half of them are, it says nothing, and trying after each would drop every second guess.
 *
 * The idea: so many steps in a row must have been plain (neither clipped nor skipped) before one is
 * tried. This patience doubles with every guess that is dropped and halves with every one that holds;
 * so tries die out where most fail, and a clipped step among many plain ones costs one or two. Once
 * a guess has held the next step is tried, which brings the rest of its update.
 *
 * It follows from norms alone, so all ranks decide alike. A run that goes on starts from nothing:
 * its first tries may be others than those of a run that was not interrupted, its numbers are not. */
#include "engine/speculation.h"

void speculation_start(struct speculation *speculation)
{
    *speculation = (struct speculation){.patience = 1};
}

bool speculation_tries(const struct speculation *speculation)
{
    return speculation->plain_steps >= speculation->patience;
}

void speculation_learn(struct speculation *speculation, bool tried, bool plain)
{
    speculation->plain_steps = plain ? speculation->plain_steps + 1 : 0;
    if (!tried) return;
    if (plain && speculation->patience > 1) speculation->patience /= 2;
    if (!plain && speculation->patience < SPECULATION_PATIENCE) speculation->patience *= 2;
}
