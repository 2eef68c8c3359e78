/* SPDX-License-Identifier: Apache-2.0 */
/* The step program: all operations of a step with their lanes, buffer slots and dependencies, fixed
 * before the first step. The executor replays it, the checker proves it sound, and it can be
 * printed and drawn.
 *
 * Operations are listed in program order, which is a valid serial order. A lane runs its operations
 * in that order; an operation also waits for at most one operation of each other lane (the latest
 * that it conflicts with over a slot), so all dependencies point backwards and no program can
 * deadlock. A slot is a buffer fixed at compile time; rings of slots make prefetching: an operation
 * that fills a slot waits until the slot's last reader is done, and runs ahead otherwise. A slot of
 * the nvme tier is a piece of an array of the store, so that the same rule orders reads and writes
 * of the disk. The disk lanes start their operations in order but have several in flight; there an
 * operation also waits for those of its own lane that it conflicts with. */
#ifndef ZI_PROGRAM_PROGRAM_H
#define ZI_PROGRAM_PROGRAM_H

#include <stdio.h>

#include "tier/store.h"
#include "program/kinds.h"
#include "program/config.h"

enum program_purpose {
    PURPOSE_PARAMETER,
    PURPOSE_GRADIENT,
    PURPOSE_OPTIMIZER,
    /* Kept for backward. */
    PURPOSE_ACTIVATION,
    /* Gathered units. */
    PURPOSE_FETCH,
    /* Gradients on their way. */
    PURPOSE_REDUCE,
    /* Streams, scratch, tokens, results. */
    PURPOSE_WORK,
    PURPOSE_COUNT
};

struct program_slot {
    char name[48];
    enum zi_tier tier;
    enum program_purpose purpose;
    /* Holds its bytes from step to step: filled before the program starts. */
    bool lasting;
    size_t bytes;
    /* Bytes into the tier's pool; on nvme, into the array. */
    size_t offset;
    /* Index of the store's array, or -1 in memory. */
    int array;
    /* Of a state that is stored in two generations: the slot of the other one, or -1. What programs
     * read is in the current one; `next` is the other, which speculative updates write. When those
     * hold, the two change places between two runs of programs. */
    int twin;
    bool next;
};

/* What is not said of an operation's kind is 0 or -1. */
struct program_op {
    enum program_kind kind;
    enum program_lane lane;
    /* Of the model; its unit; its micro-batch; or -1. */
    int op, unit, micro;
    /* Forward, recompute and logits. */
    enum model_mode mode;
    /* Per sequence, where they are not those of a step; else 0. */
    int64_t tokens;
    /* Backward: bit i = adds to accumulator i. */
    unsigned accumulate;
    /* Add: to what the sum holds; the last contribution, which makes the kept gradient. */
    bool adds, last;
    /* Adam: elements of what this rank updates of the unit. Draw, import, export: of what it has of
     * `state`, which is that of masters where parameters are drawn or split beside them. */
    int64_t first, count;
    enum tier_kind state;
    /* Part of a speculative update: of the step that the list makes gradients for. */
    bool speculative;
    /* Moves: bytes asked for. */
    size_t length;
    /* By operand: its slot, or -1; bytes into it, where an operation takes a slice. */
    int slots[OPERAND_COUNT];
    size_t offsets[OPERAND_COUNT];
    /* And bytes further on rank r: r times this. All else of a program is the same on all ranks. */
    size_t per_rank[OPERAND_COUNT];
    /* A bit per operand. */
    uint64_t reads, writes;
    /* Index of the operation of each other lane to wait for, or -1. */
    int after[LANE_COUNT];
    /* Moved, or gone through. */
    size_t bytes;
    double flops;
};

/* All programs in the order of their numbers, and the names that people see. */
#define PROGRAMS(PROGRAM)                                                                          \
    PROGRAM(PROGRAM_TRAIN, "train")                                                                \
    PROGRAM(PROGRAM_TRAIN_UPDATE, "train-update")                                                  \
    PROGRAM(PROGRAM_TRAIN_SPECULATE, "train-speculate")                                            \
    PROGRAM(PROGRAM_TRAIN_UPDATE_SPECULATE, "train-update-speculate")                              \
    PROGRAM(PROGRAM_TRAIN_REST_SPECULATE, "train-rest-speculate")                                  \
    PROGRAM(PROGRAM_TRAIN_SAVE, "train-save")                                                      \
    PROGRAM(PROGRAM_TRAIN_UPDATE_SAVE, "train-update-save")                                        \
    PROGRAM(PROGRAM_VALIDATE, "validate")                                                          \
    PROGRAM(PROGRAM_VALIDATE_UPDATE, "validate-update")                                            \
    PROGRAM(PROGRAM_VALIDATE_REST, "validate-rest")                                                \
    PROGRAM(PROGRAM_GENERATE, "generate")                                                          \
    PROGRAM(PROGRAM_PREFILL, "prefill")                                                            \
    PROGRAM(PROGRAM_DECODE, "decode")                                                              \
    PROGRAM(PROGRAM_EVALUATE, "evaluate")                                                          \
    PROGRAM(PROGRAM_FLUSH_UPDATE, "flush-update")                                                  \
    PROGRAM(PROGRAM_FLUSH_REST, "flush-rest")                                                      \
    PROGRAM(PROGRAM_FLUSH_SAVE, "flush-save")                                                      \
    PROGRAM(PROGRAM_INITIALIZE, "initialize")                                                      \
    PROGRAM(PROGRAM_SAVE, "save")                                                                  \
    PROGRAM(PROGRAM_LOAD, "load")

#define PROGRAM_CONSTANT(constant, name) constant,
enum program_name { PROGRAMS(PROGRAM_CONSTANT) PROGRAM_COUNT };
#undef PROGRAM_CONSTANT

struct program_row {
    const char *help;
    /* Makes gradients; passes sequences and sums their loss. */
    bool trains, losses;
    /* Each sequence's loss by itself. */
    bool each;
    /* Gives logits; extends the cache of keys and values. */
    bool logits, caches;
    /* First brings the update of the last step, which a deferred update leaves pending. */
    bool updates;
    /* Only of units that the step before has not updated speculatively. */
    bool rest;
    /* Updates units in backward already, as if the step were neither clipped nor skipped. */
    bool speculates;
    /* Brings that and nothing else. */
    bool flushes;
    /* Exports all states beside what else it does: as they are at its start, or as the update that it
     * brings first leaves them. */
    bool exports;
    /* Moves states and computes nothing with them. */
    bool states;
};

struct program_list {
    struct program_op *ops;
    int count, capacity;
};

/* Homes of one unit's states, by kind: slots, or -1 where it has none. On nvme, and where states of
 * the host stream to the device, it is the first of a row of slots, one per group of config.group
 * elements. */
struct program_home {
    int slots[TIER_KIND_COUNT];
    /* Of the next generation, where the unit is updated speculatively; else -1. */
    int next[TIER_KIND_COUNT];
};

/* Bytes into the checksum's slot at which speculative updates add up theirs. */
enum { PROGRAM_CHECKSUM_NEXT = 8 };

/* The small values that enter and leave a program, as slots. */
struct program_values {
    /* int32 ids of all micro-batches of a step. */
    int tokens, targets;
    /* int32, of these tokens where sequences are packed, and of those of generation with a cache; else
     * -1. */
    int positions;
    /* Sums of a step, which the program zeroes first. */
    int loss, norm, checksum;
    /* fp32, one per word of the vocabulary and, with a cache, per sequence. */
    int logits;
};

struct program {
    const struct model *model;
    const struct partition *partition;
    struct zero_config config;
    struct program_list lists[PROGRAM_COUNT];
    struct program_slot *slots;
    int slot_count, slot_capacity;
    /* Of the nvme store. */
    struct tier_array *arrays;
    int array_count, array_capacity;
    /* Per unit. */
    struct program_home *homes;
    /* Where the host writes and reads them, in host memory. */
    struct program_values outside;
    /* Where operations do: the same slots, or others on the device, with moves between. */
    struct program_values inside;
    size_t pool_bytes[ZI_TIER_COUNT];
    /* Of a kind: segments, those that keep their inner activations, and layers in any of these. */
    int segment_count[LAYER_KIND_COUNT], kept_segments[LAYER_KIND_COUNT],
        kept_layers[LAYER_KIND_COUNT];
};

/* Local. NULL is nothing to destroy. */
void program_destroy(struct program *program);

/* Local. Bytes that the pools of a tier pass its budget by, 0 when it fits. */
size_t program_excess(const struct program *program, enum zi_tier tier);

/* Local. Bytes of the slots of a tier that serve a purpose. */
size_t program_bytes(const struct program *program, enum zi_tier tier,
                     enum program_purpose purpose);

/* Local. Proves what the executor relies on: dependencies point backwards; any two operations that
 * conflict over a slot are ordered; nothing is read before it is filled; slots of a pool do not
 * overlap; pools fit. ZI_ERROR_BUG (or FIT) naming the operations. */
enum zi_status program_check(const struct program *program);

/* Local. A number that is equal on all ranks when their programs are (order of collectives
 * included). */
uint64_t program_hash(const struct program *program);

/* Local. Bytes that a run of a list moves or goes through in a lane. */
size_t program_traffic(const struct program_list *list, enum program_lane lane);

/* Local. Elements of a unit that this rank has of a kind of state. */
int64_t program_elements(const struct program *program, int unit, enum tier_kind kind);

/* Local. Bytes of so many elements of a kind of state, of whole blocks where they are in blocks. */
size_t program_state_bytes(const struct program *program, enum tier_kind kind, int64_t count);

/* Local. Name of what an operation is about: an operation of the model, a unit, or "". */
const char *program_op_subject(const struct program *program, const struct program_op *op);

/* Local. The row of a program. */
const struct program_row *program_row(enum program_name name);

/* Local. The name of a program, as people see it. */
const char *program_name_text(enum program_name name);

/* Local. Whether a configuration has a program of this name. */
bool program_exists(const struct zero_config *config, enum program_name name);

/* Local. The name of a purpose, as people see it. */
const char *program_purpose_name(enum program_purpose purpose);

/* Local. Prints the memory table. */
void program_print_memory(const struct program *program, FILE *out);

/* Local. Prints the operations of a program. */
void program_print(const struct program *program, enum program_name name, FILE *out);

#endif
