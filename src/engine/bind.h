/* SPDX-License-Identifier: Apache-2.0 */
/* Private to engine: programs bound to a rank and its memory. A program is the same on all ranks
 * and knows no addresses; binding finds, once, where every operand of every operation is here, and
 * which elements of which tensors an update goes through. A step looks nothing up. */
#ifndef ZI_ENGINE_BIND_H
#define ZI_ENGINE_BIND_H

#include "model/model.h"
#include "optimizer/optimizer.h"
#include "program/program.h"
#include "tier/store.h"

struct engine;

/* Elements of a unit. */
struct bound_span {
    int64_t first, end;
};

/* What draws, imports and exports work on. */
struct bound_states {
    /* The host's addresses of the slice, by kind of state; NULL where it is not of it. */
    char *at[TIER_KIND_COUNT];
    /* Its bytes, by kind; of what goes to nvme whole blocks, as moves of disk lanes are. */
    size_t bytes[TIER_KIND_COUNT];
    float *tile;
    int64_t tile_elements;
    /* The element of the unit at the start of the slice; those that are this rank's own. */
    int64_t first;
    struct bound_span own;
    /* What tensors have of the slice; of an export, of what is this rank's own. */
    struct partition_range *cuts;
    int cut_count;
};

/* An operation with what its run function works on. What a kind has no use for is NULL. */
struct bound_op {
    const struct program_op *op;
    /* By operand; null where it has none, and on nvme. */
    struct device_ptr at[OPERAND_COUNT];
    /* Operations of the model; the number of tokens is the run's. */
    struct model_pass *pass;
    /* Updates: [range_count], all elements of the group that belong to tensors. */
    struct optimizer_range *ranges;
    int range_count;
    /* Of the one range of an update of moments in blocks. */
    struct device_piece *pieces;
    struct bound_states *states;
    /* Moves of disk lanes, by the generation that is the current one. */
    struct tier_transfer transfers[2];
};

struct bound_list {
    struct bound_op *ops;
    int count;
    /* It has operations of the lane. */
    bool uses[LANE_COUNT];
    /* Its last export; NULL where it has none. */
    const struct bound_op *last_export;
};

/* Local. Binds all programs, when pools, lanes and store are there. ZI_ERROR_DEVICE without memory.
 */
enum zi_status engine_bind(struct engine *engine);

/* Local. Frees what engine_bind has made, all of it or a part. */
void engine_unbind(struct engine *engine);

/* Local. Where a slot is, for operations; null on nvme and for -1. */
struct device_ptr engine_slot(const struct engine *engine, int slot);

/* Local. Where a slot is for the host: NULL on nvme, and in device memory that is not the host's.
 */
char *engine_slot_on_host(const struct engine *engine, int slot);

/* Local. The host's address of a slot of host memory. */
void *engine_host_slot(const struct engine *engine, int slot);

#endif
