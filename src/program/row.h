/* SPDX-License-Identifier: Apache-2.0 */
/* Private to program: what a row of the table of operation kinds says, shared by kinds.c (the
 * rows), check.c (which holds operations to them) and kinds_text.c (which prints them). */
#ifndef ZI_PROGRAM_ROW_H
#define ZI_PROGRAM_ROW_H

#include "program/program.h"

#define ROW_OPERANDS 12

/* Where an operation of a kind runs; the text names all its lanes and says when which. */
struct lane_rule {
    enum program_lane (*of)(const struct program *program, const struct program_op *op);
    const char *text;
};

/* What it moves or goes through, and computes. */
struct cost_rule {
    void (*set)(const struct program *program, struct program_op *op);
    const char *bytes, *flops;
};

/* What an operation does with an operand, and whether it must have it. */
enum operand_access {
    ACCESS_READ = 1,
    ACCESS_WRITE = 2,
    ACCESS_CHANGE = 3,
    /* Writes; where it adds, it reads as well. */
    ACCESS_ADD = 4,
    ACCESS_ANY = 5,
    ACCESS_MASK = 7,
    OPTIONAL = 8,
    /* One per unit of the model's operation: this operand and those behind it. */
    SEVERAL = 16,
    /* One per kind of state that lies with the optimizer's. */
    STATES = 32
};

enum operand_type {
    TYPE_BYTES,
    TYPE_COMPUTE,
    /* As the row of the state's kind says. */
    TYPE_STATE,
    /* As the unit's weights are kept. */
    TYPE_WEIGHTS,
    TYPE_FP32,
    TYPE_INT32,
    TYPE_SUMS,
    TYPE_COUNT
};

/* How much of its slot an operand is, from its offset on. */
enum operand_extent {
    EXTENT_SLOT,
    EXTENT_MOVED,
    EXTENT_GROUP,
    EXTENT_SHARD,
    EXTENT_UNIT,
    /* What this rank updates of the unit; what it sums. */
    EXTENT_OWN,
    EXTENT_SUMMED,
    EXTENT_COUNT
};

/* Where its slot may be: a bit per tier, or the memory that the lane reaches. */
enum operand_tiers { IN_DEVICE = 1, IN_HOST = 2, IN_MEMORY = 3, IN_STORE = 4, IN_REACH = 8 };

struct operand_row {
    enum program_operand operand;
    unsigned access;
    enum operand_type type;
    enum operand_extent extent;
    unsigned tiers;
};

struct kind_row {
    const char *help, *colour;
    const struct lane_rule *lane;
    const struct cost_rule *cost;
    /* Up to the first without access. */
    struct operand_row operands[ROW_OPERANDS];
};

/* Local. Whether an operand that is one per STATES has this kind. */
static inline bool row_has_state(enum tier_kind kind)
{
    return tier_kind_row(kind)->place == PLACE_OPTIMIZER;
}

/* Local. The row of a kind. */
const struct kind_row *program_kind_row(enum program_kind kind);

#endif
