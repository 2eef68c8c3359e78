/* SPDX-License-Identifier: Apache-2.0 */
/* Private to compiler: the state of a compilation. build.h writes lists, compile.c lays out slots,
 * visits.c lists visits, fetch.c brings units to where they are used, update.c writes the
 * optimizer's groups, emit.c writes the arithmetic of a visit and what becomes of its gradients. */
#ifndef ZI_COMPILER_COMPILE_H
#define ZI_COMPILER_COMPILE_H

#include "compiler/build.h"

/* A visit is a stretch of compute operations for which the same units are on the device. */
enum visit_phase {
    VISIT_FORWARD,  /* one operation, forward; of a tiled head: its statistics */
    VISIT_LOSS,     /* head: loss only */
    VISIT_LOGITS,   /* head: logits of the last token */
    VISIT_BACKWARD, /* operations [first, first + count), recomputed and differentiated */
    VISIT_GRADIENT, /* backward that needs no weights (embed) */
    VISIT_UPDATE    /* the optimizer on unit `first` */
};

struct visit {
    enum visit_phase phase;
    int first, count;       /* model operations */
    int micro, micro_count; /* micro-batches [micro, micro + micro_count) */
};

/* A ring of equal slots, taken in turn. */
#define RING_MAX 64
struct ring {
    int count, next;
    int slots[RING_MAX];
    int64_t holds[RING_MAX]; /* what a slot holds, for those that are looked up again; or -1 */
};

/* Units no larger than a block's share one class, larger ones (embedding, head) the other. */
enum size_class { CLASS_BLOCK, CLASS_LARGE, CLASS_COUNT };

/* Places for fetched units of one class. Parameters that do not live where they are used pass
 * through stations: host buffer, shard on the device, whole unit. */
struct fetch_ring {
    int count;
    struct fetch_place {
        int unit;                 /* that it is given to, or -1 */
        int last_visit;           /* latest visit that needs it; -1 = none */
        bool arrived, delivered;  /* the first station, the last one holds it */
        int staging, shard, full; /* slots of the stations, or -1 */
    } places[RING_MAX];
};

/* A group: the slice of what this rank updates of a unit that the optimizer takes at once. */
struct group {
    int unit;
    int64_t first, count; /* elements */
};

/* Slots through which the states of a group pass; -1 where they are used at home. */
#define GROUPS_MAX 256
struct group_slots {
    /* By kind of state: in host memory, for what is on nvme. */
    int loaded[TIER_KIND_COUNT];
    /* Where the optimizer works, for what is in another memory. */
    int brought[TIER_KIND_COUNT];
};

/* How the gradient of a unit comes together (doc/design.md, "Gradients"). */
struct unit_gradient {
    int uses;          /* operations that make a gradient of the unit */
    int contributions; /* reductions per step */
    int seen;
    int sum;          /* slot of the fp32 sum, or -1: one contribution goes straight home */
    int dedicated[8]; /* per use: accumulator that lasts the step, or -1: one of the ring */
};

struct builder {
    struct program *program;
    const struct model *model;
    const struct partition *partition;
    const struct zero_config *config;
    enum zi_status status; /* first error; later calls do nothing */

    struct program_list *list; /* being written */
    enum program_name name;
    int *last_write; /* per slot: operation of the list, or -1 */
    int (*last_read)[LANE_COUNT];

    bool sharded_parameters, sharded_optimizer, sharded_gradients;
    bool fetches;        /* weights pass through fetch places; otherwise used where they live */
    bool local_gradient; /* accumulators are added to where the device reaches */
    bool offload_inputs; /* kept inputs go to another tier and come back */
    int copies;          /* micro-batches whose streams exist at once */
    int depth;           /* streams of successive layers */
    int first_body, end_body; /* operations between embedding and head */
    enum zi_tier adam_tier;   /* the memory in which the optimizer works */
    enum program_lane adam_lane;

    int64_t class_elements[CLASS_COUNT]; /* padded elements of the largest unit of a class */
    struct fetch_ring fetch[CLASS_COUNT];
    struct ring accumulator[CLASS_COUNT], reduced[CLASS_COUNT], pulled[CLASS_COUNT],
        leaving[CLASS_COUNT], summed[CLASS_COUNT], recalled, input_staging;

    bool pending;  /* the list brings the update of the step before */
    bool *updated; /* per unit: it has been brought in this list */
    struct group *groups;
    int *unit_groups;                    /* per unit: its first group; one more at the end */
    int group_count;                     /* in the order in which they are updated */
    int *update_order, update_count;     /* trainable units */
    int states_loaded, gradients_loaded; /* groups whose loads have been written */
    int preloaded, first_backward;       /* the same for the next program; visit */
    struct group_slots group_slots[GROUPS_MAX];

    int *kept;      /* [layer * copies + m]: slot of the layer's kept input, or -1 */
    int *transient; /* [depth * copies]: slots of inputs that are not kept */
    int *saved;     /* [op * copies + m] of kept segments, or -1 */
    int *local_saved, *local_input; /* [interval]: of the segment that is being recomputed */
    int *stream_gradient, *carry;   /* [copies] */
    int scratch, reduce_scratch;
    struct unit_gradient *gradients; /* per unit */
    int *use; /* [op * MODEL_MAX_UNITS + i]: number of this use of the unit */

    struct visit *visits;
    int visit_count;

    int tile;                             /* slot in which masters are joined and split */
    struct ring carried[TIER_KIND_COUNT]; /* host memory, for states on a device apart */
};

/* visits.c */

/* Lists the visits of a program. */
enum zi_status schedule_visits(struct builder *b, enum program_name name);

/* The most units of a class that any window of the listed visits needs. */
int schedule_window(const struct builder *b, int class);

enum size_class unit_class(const struct builder *b, int unit);

/* First operation of the segment of a body operation; with tiles, the operation itself. */
int segment_first(const struct builder *b, int op);

/* Whether the inner activations of an operation's segment are kept. */
bool segment_is_kept(const struct builder *b, int op);

/* Whether the input of a layer is kept. */
bool layer_is_kept(const struct builder *b, int layer);

/* Whether an operation is between embedding and head. */
bool op_is_body(const struct builder *b, int op);

#endif
