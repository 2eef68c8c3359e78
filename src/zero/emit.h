/* SPDX-License-Identifier: Apache-2.0 */
/* Private to zero: who writes which operations of a list. */
#ifndef ZI_ZERO_EMIT_H
#define ZI_ZERO_EMIT_H

#include "zero/compile.h"

/* A part of a slot. */
struct slice {
    int slot;
    size_t offset, bytes;
};

/* fetch.c. Units arrive (nvme to memory), are updated when an update is pending, and are delivered
 * (to the device, from shards to the whole) to where arithmetic reads them. `visit` is the visit
 * that needs the unit, `current` the one whose arithmetic is written next: places of earlier visits
 * may be taken. */
void fetch_reset(struct builder *b); /* at the start of a list */
void fetch_preload(
    struct builder *b); /* behind a training program: what the next one starts with */
void fetch_arrive(struct builder *b, int unit, int visit, int current);
int fetch_deliver(struct builder *b, int unit, int visit, int current);
void fetch_update(struct builder *b, int unit, int visit, int current);

/* update.c. Groups and their slots, once; the start of a list; the groups of a unit whose
 * parameters are in slot `workplace`; states loaded early, for an immediate update, and for the
 * next program's (a share of them that grows from 0 to 1); whether a list brings the update of the
 * step before; so many visits ahead of its use a unit is updated. */
enum zi_status update_lay(struct builder *b);
void update_begin(struct builder *b);
void update_unit(struct builder *b, int unit, int workplace);
void update_start(struct builder *b);
void update_preload(struct builder *b, double share);
bool list_is_pending(enum program_name name);
int update_ahead(const struct builder *b);

/* emit.c */
/* What a list starts with: tokens and targets enter. */
void emit_begin(struct builder *b);
void emit_visit(struct builder *b, int visit);
void emit_end(struct builder *b);
/* Copies a slice to another slot, by the lane that joins their tiers. */
void emit_move(struct builder *b, enum program_kind kind, int unit, const struct slice *from,
               const struct slice *to);
int ring_take(struct ring *ring);
/* Slices of the array whose first slot is `home`: group by group, on nvme one slot each. */
struct slice home_slice(const struct builder *b, int home, int64_t first, int64_t count,
                        size_t element);

#endif
