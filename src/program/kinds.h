/* SPDX-License-Identifier: Apache-2.0 */
/* The vocabulary of the step program: lanes, kinds of operations, and their operands.
 *
 * A kind of operation is a row (kinds.c), of which the compiler fills in lane and cost, to which the
 * checker holds operands, and of which listings, traces, pictures and tables are made. */
#ifndef ZI_PROGRAM_KINDS_H
#define ZI_PROGRAM_KINDS_H

#include <stdbool.h>
#include <stdio.h>

#include "model/model.h"
#include "tier/kinds.h"

struct program;
struct program_op;
struct zero_config;

/* All lanes in the order of their numbers, and the names that people see. */
#define PROGRAM_LANES(LANE)                                                                        \
    LANE(LANE_COMPUTE, compute)                                                                    \
    LANE(LANE_COMM, comm)                                                                          \
    LANE(LANE_LINK_IN, link_in)                                                                    \
    LANE(LANE_LINK_OUT, link_out)                                                                  \
    LANE(LANE_DISK_READ, disk_read)                                                                \
    LANE(LANE_DISK_WRITE, disk_write)                                                              \
    LANE(LANE_HOST, host)                                                                          \
    LANE(LANE_FILE, file)

#define PROGRAM_CONSTANT(constant, name) constant,
enum program_lane { PROGRAM_LANES(PROGRAM_CONSTANT) LANE_COUNT };

/* What a lane's bytes go through (memory: the host's); a described machine has a rate for each. */
enum program_medium {
    MEDIUM_DEVICE,
    MEDIUM_MEMORY,
    MEDIUM_NETWORK,
    MEDIUM_LINK,
    MEDIUM_DISK_READ,
    MEDIUM_DISK_WRITE,
    MEDIUM_FILE,
    MEDIUM_COUNT
};

struct program_lane_row {
    enum program_medium medium;
    /* Of waits for it, in pictures. */
    const char *colour;
};

/* All kinds, in run.h5's order; the second name is the row's, run_NAME's (execute.c) and people's. */
#define PROGRAM_KINDS(KIND)                                                                        \
    KIND(OP_READ, read)                                                                            \
    KIND(OP_PUSH, push)                                                                            \
    KIND(OP_GATHER, gather)                                                                        \
    KIND(OP_FORWARD, forward)                                                                      \
    KIND(OP_KEEP, keep)                                                                            \
    KIND(OP_RECALL, recall)                                                                        \
    KIND(OP_RECOMPUTE, recompute)                                                                  \
    KIND(OP_BACKWARD, backward)                                                                    \
    KIND(OP_REDUCE, reduce)                                                                        \
    KIND(OP_PULL, pull)                                                                            \
    KIND(OP_ADD, add)                                                                              \
    KIND(OP_NORM, norm)                                                                            \
    KIND(OP_LOAD, load)                                                                            \
    KIND(OP_ADAM, adam)                                                                            \
    KIND(OP_STORE, store)                                                                          \
    KIND(OP_PUBLISH, publish)                                                                      \
    KIND(OP_FINISH, finish)                                                                        \
    KIND(OP_LOGITS, logits)                                                                        \
    KIND(OP_CLEAR, clear)                                                                          \
    KIND(OP_DRAW, draw)                                                                            \
    KIND(OP_IMPORT, import)                                                                        \
    KIND(OP_EXPORT, export)                                                                        \
    KIND(OP_UNPACK, unpack)

enum program_kind { PROGRAM_KINDS(PROGRAM_CONSTANT) OP_KIND_COUNT };
#undef PROGRAM_CONSTANT

/* What an operation does with a slot. A name means the same in every kind that has it. */
enum program_operand {
    OPERAND_FROM,
    OPERAND_TO,
    OPERAND_INPUT,
    OPERAND_OUTPUT,
    OPERAND_SAVED,
    OPERAND_SCRATCH,
    OPERAND_STREAM_GRADIENT,
    OPERAND_CARRY,
    OPERAND_TOKENS,
    OPERAND_TARGETS,
    OPERAND_POSITIONS,
    OPERAND_CACHE,
    OPERAND_LOGITS,
    OPERAND_LOSS,
    OPERAND_NORM,
    OPERAND_CHECKSUM,
    OPERAND_CONTRIBUTION,
    OPERAND_SHARD,
    OPERAND_UNIT,
    /* A kind of state: OPERAND_STATE + enum tier_kind. */
    OPERAND_STATE,
    OPERAND_PARAMETER = OPERAND_STATE + TIER_PARAMETER,
    OPERAND_GRADIENT = OPERAND_STATE + TIER_GRADIENT,
    OPERAND_SUM = OPERAND_STATE + TIER_SUM,
    /* Of the first unit of the model's operation, and of the next MODEL_MAX_UNITS - 1. */
    OPERAND_WEIGHT = OPERAND_STATE + TIER_KIND_COUNT,
    OPERAND_ACCUMULATOR = OPERAND_WEIGHT + MODEL_MAX_UNITS,
    OPERAND_COUNT = OPERAND_ACCUMULATOR + MODEL_MAX_UNITS
};
_Static_assert(OPERAND_COUNT <= 64, "a bit per operand");

/* Local. The row of a lane. */
const struct program_lane_row *program_lane_row(enum program_lane lane);

/* Local. The name of a lane, as people see it. */
const char *program_lane_name(enum program_lane lane);

/* Local. The name of a kind, as people see it. */
const char *program_kind_name(enum program_kind kind);

/* Local. The colour of a kind in pictures. */
const char *program_kind_colour(enum program_kind kind);

/* Local. The name of an operand, as people see it. */
const char *program_operand_name(enum program_operand operand);

/* Local. Whether a lane has several operations in flight. */
bool program_lane_is_disk(enum program_lane lane);

/* Local. Whether a lane works in host memory, where that is not the device's as well. */
bool program_lane_is_hosts(enum program_lane lane);

/* Local. The lane whose arithmetic works in the memory of a tier. */
enum program_lane program_lane_near(const struct zero_config *config, enum zi_tier tier);

/* Local. Sets lane, bytes and flops of an operation whose other fields are set, as its row says. */
void program_op_complete(const struct program *program, struct program_op *op);

/* Local. Holds operation `index` of a list to its row. ZI_ERROR_BUG naming it and what differs. */
enum zi_status program_op_check(const struct program *program, const struct program_op *op,
                                int index);

/* Local. Prints the table of kinds for people. */
void program_kinds_print(FILE *out);

/* Local. Writes the table of doc/design.md. */
void program_kinds_write_markdown(FILE *out);

#endif
