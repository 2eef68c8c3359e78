/* SPDX-License-Identifier: Apache-2.0 */
/* Private to compiler: how gradients come together. */
#ifndef ZI_COMPILER_GRADIENT_H
#define ZI_COMPILER_GRADIENT_H

#include "compiler/derive.h"
#include "compiler/ring.h"

/* How the gradient of a unit comes together (doc/design.md, "Gradients"). */
struct unit_gradient {
    /* Operations that make a gradient of the unit. */
    int uses;
    /* Reductions per step, and those that the list has so far. */
    int contributions, seen;
    /* Slot from which the finished one leaves for nvme, until another takes it; or -1. */
    int left;
    /* Slot of the fp32 sum, or -1: one contribution goes straight home. */
    int sum;
};

struct gradients {
    /* Per unit. */
    struct unit_gradient *units;
    /* [op * MODEL_MAX_UNITS + i]: number of this use of the unit, and the accumulator of this use that
     * lasts the step, -1: one of the ring. */
    int *uses, *dedicated;
    /* Where backward accumulates; where a reduction leaves this rank's shard. */
    struct ring accumulators[CLASS_COUNT], reduced[CLASS_COUNT];
    /* In host memory: contributions from the device, sums from nvme, gradients on their way there.
     */
    struct ring pulled[CLASS_COUNT], sums[CLASS_COUNT], leaving[CLASS_COUNT];
    /* What reductions work in, or -1. */
    int reduce_scratch;
};

/* Accumulators of the operations of one visit, by operation and unit; -1: no gradient. */
struct visit_gradients {
    int slots[RING_MAX][MODEL_MAX_UNITS];
};

struct visit;

/* Local. Lays accumulators, sums, and the rings between them. */
void gradient_lay(struct builder *b);

/* Local. At the start of a list: nothing has been contributed. */
void gradient_begin(struct builder *b);

/* Local. Takes the accumulators of a visit. */
void gradient_take(struct builder *b, const struct visit *visit, struct visit_gradients *taken);

/* Local. Takes a complete use of a unit, in accumulator `from`, to where it is added, and adds it.
 */
void gradient_contribute(struct builder *b, int unit, int from);

/* Local. The slot of host memory from which the finished gradient of a unit has left for nvme, while it
 * is still there; else -1. */
int gradient_at_hand(const struct builder *b, int unit);

/* Local. Whether the list has finished the gradient of a unit. */
bool gradient_is_final(const struct builder *b, int unit);

#endif
