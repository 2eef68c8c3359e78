/* SPDX-License-Identifier: Apache-2.0 */
/* Private to compiler: who writes which operations of a list. */
#ifndef ZI_COMPILER_EMIT_H
#define ZI_COMPILER_EMIT_H

#include "compiler/compile.h"

/* A part of a slot: on rank r from offset + r * per_rank on. */
struct slice {
    int slot;
    size_t offset, bytes, per_rank;
};

/* fetch.c. Units arrive (nvme to memory), are updated when an update is pending, and are delivered
 * (to the device, from shards to the whole) to where arithmetic reads them. `visit` is the visit
 * that needs the unit, `current` the one whose arithmetic is written next: places of earlier visits
 * may be taken. */

/* At the start of a list: no unit is anywhere. */
void fetch_reset(struct builder *b);

/* Behind a training program: reads what the next one starts with. */
void fetch_preload(struct builder *b);

/* The first stage of a fetch. */
void fetch_arrive(struct builder *b, int unit, int visit, int current);

/* All stages; gives the slot in which arithmetic finds the unit. */
int fetch_deliver(struct builder *b, int unit, int visit, int current);

/* The pending update of a unit, if it has one. */
void fetch_update(struct builder *b, int unit, int visit, int current);

/* update.c */

/* Lists the groups and lays their slots, once. */
enum zi_status update_lay(struct builder *b);

/* At the start of a list: what is updated, loaded and summed so far. */
void update_begin(struct builder *b);

/* The groups of a unit whose parameters are in slot `workplace`. */
void update_unit(struct builder *b, int unit, int workplace);

/* States loaded early, for an immediate update. */
void update_start(struct builder *b);

/* The same for the next program's update: a share of them that grows from 0 to 1. */
void update_preload(struct builder *b, double share);

/* Whether a list brings the update of the step before. */
bool list_is_pending(enum program_name name);

/* So many visits ahead of its use a unit is updated. */
int update_ahead(const struct builder *b);

/* update.c, for save.c. The slot of a group through which a state that is on nvme passes, and its
 * moves from and to there; nothing to do for others. */
int update_slot(struct builder *b, int group, enum tier_kind kind);
void update_load(struct builder *b, int group, enum tier_kind kind);
void update_store(struct builder *b, int group, enum tier_kind kind);

/* fetch.c, for save.c. Gives a unit whose parameters are on nvme a place, in turn; the slot of it
 * that they are read to; their moves from and to there. */
void fetch_take(struct builder *b, int unit);
int fetch_station(struct builder *b, int unit);
void fetch_load(struct builder *b, int unit);
void fetch_save(struct builder *b, int unit);

/* save.c */

/* Slots through which states pass, once. */
enum zi_status save_lay(struct builder *b);

/* The list of a program that moves states. */
void save_emit(struct builder *b);

/* emit.c */

/* The start of a list: sums that it adds to are 0; tokens and targets enter. */
void emit_begin(struct builder *b);

/* A visit, with the fetches of those behind it. */
void emit_visit(struct builder *b, int visit);

/* The end of a list: norm, checksum, and what is loaded for the next one. */
void emit_end(struct builder *b);

/* Copies a slice to another slot. */
void emit_move(struct builder *b, enum program_kind kind, int unit, const struct slice *from,
               const struct slice *to);

/* The next slot of a ring. */
int ring_take(struct ring *ring);

/* Slices of the array whose first slot is `home`: group by group, on nvme one slot each. */
struct slice home_slice(const struct builder *b, int home, int64_t first, int64_t count,
                        size_t element);

#endif
