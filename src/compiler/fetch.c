/* SPDX-License-Identifier: Apache-2.0 */
/* How a unit's parameters come to where arithmetic reads them.
 *
 * The problem: parameters live in any tier, whole or as shards, on devices with or without a memory
 * of their own, and may have an update pending.
 *
 * The idea: a fetch has three stages, each of which is empty where it has nothing to do. Arrive:
 * `read` brings the shard (or the unit, where it is not sharded) from nvme to memory. Update: the
 * optimizer works on it there, if the update of the last step is pending (update.c). Deliver:
 * `push` takes it to the device, `gather` joins the shards of all ranks. A place of the ring has a
 * slot per station on this way; a station that coincides with the next has none.
 *
 * Arrivals are written as early as the window of visits allows, so that reads run ahead. An update
 * is written at the visit that needs the unit, or one visit before when a delivery follows: the
 * optimizer's work must not stand in front of arithmetic that could already run.
 *
 * Invariant: a place is given to another unit only when no visit of the window needs its unit. */
#include <string.h>

#include "base/log.h"
#include "compiler/emit.h"

/* The first station: where parameters are read to from nvme. */
static int first_station(const struct fetch_place *place)
{
    if (place->staging >= 0) return place->staging;
    return place->shard >= 0 ? place->shard : place->full;
}

/* The units of the first visit, which a pending update finds in memory: the training program before
 * has read them behind its own, each into a place that follows from its class alone. */
static void each_first_unit(struct builder *b,
                            void (*what)(struct builder *, int unit, struct fetch_place *place))
{
    const struct model_op *op = &b->model->ops[0];
    int taken[CLASS_COUNT] = {0, 0};
    if (!b->config->deferred || b->config->tier[PLACE_PARAMETERS] != ZI_TIER_NVME) return;
    for (int i = 0; i < op->unit_count; i++) {
        struct fetch_ring *ring = &b->fetch[unit_class(b, op->units[i])];
        int place = taken[unit_class(b, op->units[i])]++;
        if (place < ring->count) what(b, op->units[i], &ring->places[place]);
    }
}

static void mark_arrived(struct builder *b, int unit, struct fetch_place *place)
{
    (void)b;
    place->unit = unit;
    place->arrived = true;
    place->delivered = place->staging < 0 && place->shard < 0;
}

void fetch_reset(struct builder *b)
{
    for (int class = 0; class < CLASS_COUNT; class ++) {
        for (int i = 0; i < RING_MAX; i++) {
            struct fetch_place *place = &b->fetch[class].places[i];
            place->unit = place->last_visit = -1;
            place->arrived = place->delivered = false;
        }
    }
    memset(b->recalled.holds, 0xff, sizeof b->recalled.holds);
    if (list_is_pending(b->name)) each_first_unit(b, mark_arrived);
}

static bool on_disk(const struct builder *b)
{
    return b->config->tier[PLACE_PARAMETERS] == ZI_TIER_NVME;
}

static struct fetch_place *find_place(struct builder *b, int unit)
{
    struct fetch_ring *ring = &b->fetch[unit_class(b, unit)];
    for (int i = 0; i < ring->count; i++) {
        if (ring->places[i].unit == unit) return &ring->places[i];
    }
    return NULL;
}

/* The place of a unit; a new one takes that of the unit that was needed longest ago. */
static struct fetch_place *take_place(struct builder *b, int unit, int visit, int current)
{
    struct fetch_place *place = find_place(b, unit);
    struct fetch_ring *ring = &b->fetch[unit_class(b, unit)];
    for (int i = 0; i < ring->count && (!place || place->unit != unit); i++) {
        struct fetch_place *p = &ring->places[i];
        if (p->last_visit < current && (!place || p->last_visit < place->last_visit)) place = p;
    }
    ZI_REQUIRE(place);
    if (place->unit != unit) {
        place->unit = unit;
        place->arrived = place->delivered = false;
        place->last_visit = visit;
    }
    if (place->last_visit < visit) place->last_visit = visit;
    return place;
}

/* Where the optimizer finds the parameters of a unit that has arrived. */
static int workplace(struct builder *b, int unit)
{
    if (!on_disk(b)) return b->program->homes[unit].slots[TIER_PARAMETER];
    struct fetch_place *place = find_place(b, unit);
    ZI_REQUIRE(place && place->arrived);
    return first_station(place);
}

static size_t kept_bytes(const struct builder *b, int unit)
{
    const struct partition_unit *part = &b->partition->units[unit];
    return (size_t)(b->sharded_parameters ? part->shard : part->padded) *
           zi_dtype_bytes(b->config->compute);
}

static void read_unit(struct builder *b, int unit, struct fetch_place *place)
{
    size_t bytes = kept_bytes(b, unit);
    struct slice home = {b->program->homes[unit].slots[TIER_PARAMETER], 0, bytes, 0};
    struct slice station = {first_station(place), 0, bytes, 0};
    emit_move(b, OP_READ, unit, &home, &station);
}

static void preload_unit(struct builder *b, int unit, struct fetch_place *place)
{
    read_unit(b, unit, place);
    if (b->status >= 0) b->program->slots[first_station(place)].lasting = true;
}

/* Behind the parameters of a training program: the first of the next one. */
void fetch_preload(struct builder *b)
{
    each_first_unit(b, preload_unit);
}

void fetch_arrive(struct builder *b, int unit, int visit, int current)
{
    if (!b->fetches || b->status < 0) return;
    struct fetch_place *place = take_place(b, unit, visit, current);
    if (place->arrived || !on_disk(b)) {
        place->arrived = true;
        return;
    }
    read_unit(b, unit, place);
    mark_arrived(b, unit, place);
}

void fetch_take(struct builder *b, int unit)
{
    if (b->status >= 0) take_place(b, unit, unit, unit);
}

int fetch_station(struct builder *b, int unit)
{
    return b->status >= 0 ? first_station(find_place(b, unit)) : -1;
}

void fetch_load(struct builder *b, int unit)
{
    if (b->status >= 0) read_unit(b, unit, find_place(b, unit));
}

void fetch_save(struct builder *b, int unit)
{
    size_t bytes = kept_bytes(b, unit);
    struct slice from = {fetch_station(b, unit), 0, bytes, 0};
    struct slice home = {b->program->homes[unit].slots[TIER_PARAMETER], 0, bytes, 0};
    emit_move(b, OP_STORE, unit, &from, &home);
}

void fetch_update(struct builder *b, int unit, int visit, int current)
{
    if (!b->pending || b->updated[unit] || b->status < 0) return;
    if (on_disk(b)) fetch_arrive(b, unit, visit, current);
    b->updated[unit] = true;
    int at = workplace(b, unit);
    update_unit(b, unit, at);
    struct fetch_place *place = b->fetches ? find_place(b, unit) : NULL;
    if (place) place->delivered = on_disk(b) && place->staging < 0 && place->shard < 0;
    if (!on_disk(b)) return;
    fetch_save(b, unit);
}

static void emit_gather(struct builder *b, int unit, int from, int to)
{
    struct program_op gather = builder_op(OP_GATHER);
    gather.unit = unit;
    op_reads(&gather, OPERAND_SHARD, from);
    op_writes(&gather, OPERAND_UNIT, to);
    builder_emit(b, &gather);
}

int fetch_deliver(struct builder *b, int unit, int visit, int current)
{
    if (b->status < 0) return -1;
    fetch_update(b, unit, visit, current);
    if (!b->fetches) return b->program->homes[unit].slots[TIER_PARAMETER];
    fetch_arrive(b, unit, visit, current);
    struct fetch_place *place = take_place(b, unit, visit, current);
    if (place->delivered) return place->full;
    int from = on_disk(b) ? first_station(place) : b->program->homes[unit].slots[TIER_PARAMETER];
    enum zi_tier tier = on_disk(b) && place->staging >= 0 ? ZI_TIER_HOST
                        : on_disk(b)                      ? ZI_TIER_DEVICE
                                                          : b->config->tier[PLACE_PARAMETERS];
    if (!b->config->unified && tier == ZI_TIER_HOST) {
        size_t bytes = kept_bytes(b, unit);
        struct slice host = {from, 0, bytes, 0};
        struct slice device = {place->shard >= 0 ? place->shard : place->full, 0, bytes, 0};
        emit_move(b, OP_PUSH, unit, &host, &device);
        from = device.slot;
    }
    if (from != place->full) emit_gather(b, unit, from, place->full);
    place->delivered = true;
    return place->full;
}
