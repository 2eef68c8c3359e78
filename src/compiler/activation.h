/* SPDX-License-Identifier: Apache-2.0 */
/* Private to compiler: what passes between operations of the model, and what is kept of it. */
#ifndef ZI_COMPILER_ACTIVATION_H
#define ZI_COMPILER_ACTIVATION_H

#include "compiler/ring.h"

/* Where kept activations come back to, and of which operation or layer and micro-batch are there, or
 * -1. */
struct recalled {
    struct ring ring;
    int64_t keys[RING_MAX];
};

/* Slots. Those of one micro-batch m of several are at [m % copies], or behind another index. */
struct activations {
    /* Streams of successive layers that exist at once. */
    int depth;
    /* [depth * copies]: inputs that are not kept where they are made. */
    int *streams;
    /* [layer * copies]: the layer's kept input, or -1. */
    int *kept;
    /* [op * copies]: inner activations of kept segments, or -1. */
    int *saved;
    /* [interval]: inner activations and inputs of the segment that is being recomputed. */
    int *recomputed_saved, *recomputed_inputs;
    /* [copies]: gradients of streams, and what tiles of a layer hand to each other. */
    int *stream_gradients, *carries;
    /* What operations work in. */
    int scratch;
    /* Kept inputs, and inner activations that have been on the host. */
    struct recalled recalled, recalled_inside;
    /* What forward writes inner activations to that go to the host. */
    struct ring leaving;
    /* In host memory, between the device and nvme. */
    struct ring staging;
};

struct visit;

/* Local. Lays streams, scratch, and what one segment needs while it is recomputed. */
void activation_lay_work(struct builder *b);

/* Local. Lays kept inputs, and the inner activations of kept segments. */
void activation_lay_kept(struct builder *b);

/* Local. Lays what kept inputs and inner activations pass on their way to and from another tier. */
void activation_lay_rings(struct builder *b);

/* Local. At the start of a list: nothing has been recalled. */
void activation_begin(struct builder *b);

/* Local. Slot of the stream that enters a layer, in forward. */
int activation_forward_input(const struct builder *b, int layer, int micro);

/* Local. Slot of the input of the first operation of a visit, in backward; recalls it, and ahead
 * that of the next micro-batch or visit, and their inner activations. */
int activation_backward_input(struct builder *b, int visit, int micro);

/* Local. Whether the forward of an operation saves its inner activations for backward: in training,
 * where its segment is kept. */
bool activation_is_saved(const struct builder *b, int op);

/* Local. Slot of what an operation saves in forward: its own, one from which it goes to the host, or
 * one that nothing reads. */
int activation_forward_saved(struct builder *b, int op, int micro);

/* Local. Writes what an operation has just saved to the host, if that is where it is kept. */
void activation_keep_saved(struct builder *b, int op, int micro, int saved);

/* Local. Slot of what an operation has saved, in backward; recalls it from the host. */
int activation_backward_saved(struct builder *b, int op, int micro);

/* Local. Writes the kept input of an operation of the model, just made, to another tier, if that is
 * where it is kept. */
void activation_keep(struct builder *b, int op, int micro);

/* Local. Gives an operation of a tiled layer what its tiles hand on; the first one overwrites it.
 */
void activation_set_carry(struct builder *b, struct program_op *op, bool first);

#endif
