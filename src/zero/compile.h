/* SPDX-License-Identifier: Apache-2.0 */
/* Private to zero: the state of a compilation. compile.c lays out slots, visits.c lists visits
 * and keeps fetched units in rings, emit.c writes the operations of a visit. */
#ifndef ZI_ZERO_COMPILE_H
#define ZI_ZERO_COMPILE_H

#include "zero/program.h"

/* A visit is a stretch of compute operations for which the same units are on the device. */
enum visit_phase {
    VISIT_FORWARD,  /* one operation, forward */
    VISIT_LOSS,     /* head: loss only */
    VISIT_LOGITS,   /* head: logits of the last token */
    VISIT_BACKWARD, /* operations [first, first + count) recomputed where needed and differentiated
                     */
    VISIT_GRADIENT  /* backward that needs no weights (embed) */
};

struct visit {
    enum visit_phase phase;
    int first, count;       /* model operations */
    int micro, micro_count; /* micro-batches [micro, micro + micro_count) */
};

/* A ring of equal slots for units of one size class. */
#define RING_MAX 64
struct ring {
    int count;
    int slots[RING_MAX];
    int unit[RING_MAX];       /* what it holds, or -1 */
    int last_visit[RING_MAX]; /* latest visit that it was handed to; -1 = none */
    int next;                 /* round robin, for slots that are not looked up again */
};

/* Units no larger than a block's share one class, larger ones (embedding, head) the other. */
enum size_class { CLASS_BLOCK, CLASS_LARGE, CLASS_COUNT };

/* How the gradient of a unit comes together (doc/design.md, "Gradients"). */
struct unit_gradient {
    int uses;          /* operations that use the unit */
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
    int *last_write;           /* per slot: operation of the list, or -1 */
    int (*last_read)[LANE_COUNT];

    bool sharded_parameters, sharded_optimizer, sharded_gradients;
    bool fetches;        /* weights are fetched into a ring; otherwise used where they live */
    bool local_gradient; /* the gradient's home can be reached by the device */
    bool local_optimizer, local_parameters;
    bool offload_inputs; /* kept inputs are copied to the host */
    int copies;          /* A: micro-batches whose streams exist at once */

    int64_t class_elements[CLASS_COUNT]; /* padded elements of the largest unit of a class */
    struct ring fetch[CLASS_COUNT], shard_fetch, accumulator[CLASS_COUNT], reduced[CLASS_COUNT],
        pulled[CLASS_COUNT], recalled, update_in, update_out;

    int *kept;                      /* [op * copies + m]: slot of the kept input, or -1 */
    int *transient;                 /* [2 * copies]: slots of inputs that are not kept, or -1 */
    int *saved;                     /* [op * copies + m] of kept segments, or -1 */
    int *local_saved, *local_input; /* [interval]: of the segment that is being recomputed */
    int *stream_gradient;           /* [copies] */
    int scratch, reduce_scratch;
    struct unit_gradient *gradients; /* per unit */
    int *use; /* [op * MODEL_MAX_UNITS + i]: number of this use of the unit */

    struct visit *visits;
    int visit_count;
};

/* program.c */
int builder_slot(struct builder *b, enum zi_tier tier, enum program_purpose purpose, size_t bytes,
                 const char *format, ...) __attribute__((format(printf, 5, 6)));
struct program_op builder_op(enum program_kind kind, enum program_lane lane);
void builder_emit(struct builder *b, const struct program_op *op);
void builder_begin(struct builder *b, enum program_name name);

/* Marks a slot as read or written (or both) by an operation, in a role. */
void op_reads(struct program_op *op, int role, int slot);
void op_writes(struct program_op *op, int role, int slot);

/* visits.c */
enum zi_status schedule_visits(struct builder *b, enum program_name name);
int schedule_window(const struct builder *b, int class);
int schedule_weight(struct builder *b, int unit, int visit, int current);
void schedule_reset(struct builder *b);
enum size_class unit_class(const struct builder *b, int unit);
int ring_take(struct ring *ring);
int segment_first(const struct builder *b, int op);
bool segment_is_kept(const struct builder *b, int op);
bool input_is_kept(const struct builder *b, int op);

/* emit.c */
void emit_visit(struct builder *b, int visit);
void emit_update(struct builder *b);

#endif
