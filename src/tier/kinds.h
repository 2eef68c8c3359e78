/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds of state: what a run keeps of a unit from step to step. A kind is a row (kinds.c): its
 * type, the key of the deck that places it, the ZeRO stage from which it is sharded, the units that
 * have it, and its name in checkpoints. Placement, homes, the optimizer's groups and checkpoints
 * loop over the rows. */
#ifndef ZI_TIER_KINDS_H
#define ZI_TIER_KINDS_H

#include <stdbool.h>
#include <stdio.h>

#include "base/dtype.h"
#include "base/memory.h"
#include "deck/settings.h"

/* What a deck places, by the keys of its placement section. Activations belong to no unit. */
enum tier_place {
    PLACE_PARAMETERS,
    PLACE_GRADIENTS,
    PLACE_OPTIMIZER,
    PLACE_ACTIVATIONS,
    PLACE_COUNT
};

/* In the order of checkpoints. */
enum tier_kind {
    TIER_PARAMETER,
    /* The fp32 master: the parameter itself, or its 16 bits and a remainder, which is what is kept.
     */
    TIER_MASTER,
    TIER_MOMENT1,
    TIER_MOMENT2,
    /* As kept for the optimizer. */
    TIER_GRADIENT,
    /* Of contributions to a gradient, where there are several. */
    TIER_SUM,
    /* Of frozen matrices, in place of their parameters. */
    TIER_PACKED,
    TIER_KIND_COUNT
};

/* The most states of its own that an optimizer has: kinds with a number among them. */
enum { TIER_MOMENTS = 2 };

enum tier_type {
    TIER_TYPE_COMPUTE,
    TIER_TYPE_FP32,
    TIER_TYPE_INT16,
    TIER_TYPE_GRADIENT,
    /* As optimizer.moments says: of numbers of either sign, and of such as are not negative. */
    TIER_TYPE_MOMENT,
    TIER_TYPE_SQUARE,
    /* As model.frozen says. */
    TIER_TYPE_PACKED,
    TIER_TYPE_COUNT
};

/* Which units have it. */
enum tier_owner {
    TIER_ALL_UNITS,
    TIER_TRAINABLE_UNITS,
    /* Trainable ones whose parameters have 16 bits. */
    TIER_SPLIT_UNITS,
    /* Trainable ones with several contributions: the compiler of programs knows. */
    TIER_SUMMED_UNITS,
    /* Of frozen matrices, which then have nothing else: the model knows. */
    TIER_PACKED_UNITS,
    TIER_OWNER_COUNT
};

struct tier_kind_row {
    /* Of its arrays and slots. */
    const char *name, *help;
    enum tier_place place;
    enum tier_type type;
    enum tier_owner owner;
    /* The first ZeRO stage in which each rank has a shard of it. */
    int stage;
    /* Number among the states that the optimizer itself has, or -1. */
    int optimizer;
    /* The optimizer takes it group by group, and so it is laid. */
    bool grouped;
    /* Its group in checkpoints and its type there; NULL: it is in none. */
    const char *saved;
    enum tier_type saved_type;
};

/* Local. The row of a kind. */
const struct tier_kind_row *tier_kind_row(enum tier_kind kind);

/* Local. As the table names a kind. */
const char *tier_kind_name(enum tier_kind kind);

/* Local. As the table names a type. */
const char *tier_type_name(enum tier_type type);

/* Local. The key of the deck that says where it lies. */
const char *tier_place_name(enum tier_place place);

/* Local. What the deck says of a place: enum zi_tier, or auto. */
int64_t tier_place_given(const struct settings_placement *placement, enum tier_place place);

/* Local. Says it in the deck's place. */
void tier_place_set(struct settings_placement *placement, enum tier_place place, int64_t tier);

/* Local. How many kinds checkpoints have. */
int tier_kinds_saved(void);

/* What rows leave open. */
struct tier_types {
    /* Of parameters and of kept gradients. */
    enum zi_dtype compute, gradient;
    /* Of frozen matrices. */
    enum zi_dtype packed;
    /* Moments are in blocks of 8-bit numbers. */
    bool blocks;
    /* States that the optimizer itself has. */
    int states;
};

/* Local. The type of elements. */
enum zi_dtype tier_type_of(enum tier_type type, const struct tier_types *types);

/* Local. Whether a unit has a home for this kind. */
bool tier_kind_exists(enum tier_kind kind, bool trainable, const struct tier_types *types);

/* Local. The table for people. */
void tier_kinds_print(FILE *out);

/* Local. The part of doc/design.md that is made of the table. */
void tier_kinds_write_markdown(FILE *out);

#endif
