/* SPDX-License-Identifier: Apache-2.0 */
/* Private to compiler: units on their way to where they are used. They arrive (nvme to memory), are
 * updated when an update is pending, and are delivered (to the device, from shards to the whole) to
 * where arithmetic reads them. In all calls `visit` is the visit that needs the unit, `current` the
 * one whose arithmetic is written next: places of earlier visits may be taken. */
#ifndef ZI_COMPILER_FETCH_H
#define ZI_COMPILER_FETCH_H

#include "compiler/ring.h"

/* Parameters that do not live where they are used pass through stations: host buffer, shard on the
 * device, whole unit. Packed ones have one more, the unit as arithmetic reads it. */
struct fetch_place {
    /* That it is given to, or -1. */
    int unit;
    /* The latest that needs it, or -1. */
    int last_visit;
    /* The first station, the one on the device, the whole one, the last one holds the unit. */
    bool arrived, pushed, gathered, delivered;
    /* Slots of the stations, or -1. */
    int staging, shard, whole;
    /* What arithmetic reads: the last station. */
    int full;
};

/* Places for fetched units of one class. */
struct fetch_ring {
    int count;
    struct fetch_place places[RING_MAX];
};

/* Local. Lays the places: as many as any window of visits of any program needs. */
void fetch_lay(struct builder *b);

/* Local. At the start of a list: no unit is anywhere, but those that the list before has read. */
void fetch_begin(struct builder *b);

/* Local. Before a visit: arrivals of its units and those of the next `prefetch` visits, and
 * deliveries of those that are updated ahead. */
void fetch_ahead(struct builder *b, int visit);

/* Local. All stages; gives the slot in which arithmetic finds the unit. */
int fetch_deliver(struct builder *b, int unit, int visit, int current);

/* Local. The pending update of a unit, if it has one. */
void fetch_update(struct builder *b, int unit, int visit, int current);

/* Local. The speculative update of a unit that no visit after this one needs. */
void fetch_guess(struct builder *b, int unit, int visit);

/* Local. For parameters on nvme, in programs that move states: gives a unit a place, in turn. */
void fetch_take(struct builder *b, int unit);

/* Local. The slot of it that they are read to. */
int fetch_station(struct builder *b, int unit);

/* Local. Reads them to there. */
void fetch_load(struct builder *b, int unit);

/* Local. And stores them. */
void fetch_store(struct builder *b, int unit);

/* Local. At the end of a training program with a deferred update: reads what the next one starts
 * with. */
void fetch_end(struct builder *b);

#endif
