/* SPDX-License-Identifier: Apache-2.0 */
/* Private to compiler: what follows from model and configuration, and is asked for by several
 * parts. */
#ifndef ZI_COMPILER_DERIVE_H
#define ZI_COMPILER_DERIVE_H

#include "compiler/build.h"

/* Units no larger than a block's share one class, larger ones (embedding, head) another; adapters,
 * which are small and many, have theirs, and so have packed matrices. */
enum size_class { CLASS_BLOCK, CLASS_LARGE, CLASS_ADAPTER, CLASS_PACKED, CLASS_COUNT };

struct derived {
    /* Each rank has only a shard: of parameters; of the optimizer's states and the kept gradient;
     * of the sums of contributions to gradients. */
    bool sharded_parameters, sharded_optimizer, sharded_gradients;
    /* Parameters are on nvme. */
    bool parameters_on_disk;
    /* Weights pass through fetch places; otherwise they are used where they live, or packed ones unpacked
     * from there. */
    bool fetches;
    /* The device updates parameters that live elsewhere, where they are fetched to. */
    bool updates_fetched;
    /* Accumulators are added to where the device reaches. */
    bool local_gradient;
    /* Kept inputs go to another tier and come back. */
    bool offload_inputs;
    /* Micro-batches whose streams exist at once. */
    int copies;
    /* Operations between embedding and head: [first_body, end_body). */
    int first_body, end_body;
    /* The memory in which the optimizer works, and its lane. */
    enum zi_tier optimizer_tier;
    enum program_lane optimizer_lane;
    /* Padded elements of the largest unit of a class, and of the largest that is trainable (0: none
     * is). */
    int64_t class_elements[CLASS_COUNT], trained_elements[CLASS_COUNT];
    /* The first operation that backward differentiates; those below it have nothing to train. */
    int lowest;
    /* Units that no operation before this one uses are updated speculatively; op_count: none are. */
    int speculated_from;
    /* Per unit: the first operation that uses it. */
    int *first_ops;
};

/* Local. What is updated speculatively; by builder_derive, last. */
void speculate_derive(struct builder *b);

/* Local. Whether a unit is. */
bool unit_is_speculated(const struct builder *b, int unit);

/* Local. Finds all of it, and how many segments keep their inner activations. */
void builder_derive(struct builder *b);

/* Local. What the slots of a class are called, before their number. */
const char *class_name(enum size_class class);

/* Local. The size class of a unit. */
enum size_class unit_class(const struct builder *b, int unit);

/* Local. Whether its weights pass through fetch places. */
bool unit_is_fetched(const struct builder *b, int unit);

/* Local. Whether an operation is between embedding and head. */
bool op_is_body(const struct builder *b, int op);

/* Local. First operation of the segment of a body operation; with tiles, the operation itself. */
int segment_first(const struct builder *b, int op);

/* Local. Whether the inner activations of an operation's segment are kept. */
bool segment_is_kept(const struct builder *b, int op);

/* Local. Whether the input of a layer is kept. */
bool layer_is_kept(const struct builder *b, int layer);

#endif
