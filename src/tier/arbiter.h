/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the tier room: how the ranks of a node share the disks of a run. */
#ifndef ZI_TIER_ARBITER_H
#define ZI_TIER_ARBITER_H

#include "tier/private.h"

struct arbiter;
struct arbiter_gate;

struct arbiter_options {
    /* The run's folder on the first path, for messages */
    const char *folder;
    /* The same, open */
    int directory;
    /* Ranks of the node */
    int paths, ranks;
    /* Bytes in flight per path and direction, of all ranks together */
    size_t budget;
};

/* Local, with the lock of the first path held. Opens the table of the node's ranks, or makes it. */
enum zi_status arbiter_open(const struct arbiter_options *options, struct arbiter **arbiter);

/* Local. Leaves the table. NULL does nothing. */
void arbiter_close(struct arbiter *arbiter);

/* Local. speeds[0..paths) as the first rank measured them, 0 before; with the path's lock held. */
double *arbiter_speeds(struct arbiter *arbiter);

/* Local. The way of one queue to the disks; closed after the queue. */
enum zi_status arbiter_gate_open(struct arbiter *arbiter, struct arbiter_gate **gate);

/* Local. Ends the way of a queue that has nothing in flight. NULL does nothing. */
void arbiter_gate_close(struct arbiter_gate *gate);

/* Local. What the queue asks before each block; good as long as the gate. */
struct disk_admission arbiter_admission(struct arbiter_gate *gate);

/* Local. Bytes in flight on a path now, of all ranks. */
int64_t arbiter_in_flight(const struct arbiter *arbiter, int path, bool write);

#endif
