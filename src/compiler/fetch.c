/* SPDX-License-Identifier: Apache-2.0 */
/* How a unit's parameters come to where arithmetic reads them.
 *
 * The problem: parameters live in any tier, whole or as shards, on devices with or without a memory
 * of their own, and may have an update pending.
 *
 * The idea: a fetch has three stages, each of which is empty where it has nothing to do. Arrive:
 * `read` brings the shard (or the unit, where it is not sharded) from nvme to memory. Update: the
 * optimizer works on it there, if the update of the last step is pending (update.c). Deliver:
 * `push` takes it to the device, `gather` joins the shards of all ranks, `unpack` makes frozen matrices
 * of 8 or 4 bits to numbers of the compute type, so that all before it moves few bytes. Where the device updates, the
 * push comes first, and what it has changed goes back to where the unit arrived. A place of the ring
 * has a slot per station on this way; a station that coincides with the next has none.
 *
 * Arrivals are written as early as the window of visits allows, so that reads run ahead. An update
 * is written at the visit that needs the unit, or one visit before when a delivery follows: the
 * optimizer's work must not stand in front of arithmetic that could already run. Nor must `unpack`, which
 * is written at the visit that needs it.
 *
 * Invariant: a place is given to another unit only when no visit of the window needs its unit. */
#include "base/log.h"
#include "compiler/compile.h"
#include "compiler/home.h"

/* The first station: where parameters are read to from nvme. */
static int first_station(const struct fetch_place *place)
{
    if (place->staging >= 0) return place->staging;
    return place->shard >= 0 ? place->shard : place->whole;
}

/* The stations of the fetch places of a class. */
static void lay_ring(struct builder *b, enum size_class class, int count)
{
    const struct zero_config *c = b->config;
    struct fetch_ring *ring = &b->fetch[class];
    int64_t elements = b->derived.class_elements[class];
    enum tier_kind kind = class == CLASS_PACKED ? TIER_PACKED : TIER_PARAMETER;
    size_t whole = program_state_bytes(b->program, kind, elements);
    size_t full = program_state_bytes(b->program, TIER_PARAMETER, elements);
    size_t shard = whole / (size_t)c->ranks;
    const char *name = class_name(class);
    bool disk = b->derived.parameters_on_disk, host = disk && !c->unified;
    bool apart = b->derived.sharded_parameters &&
                 (disk || (!c->unified && c->tier[PLACE_PARAMETERS] == ZI_TIER_HOST));
    if (!ring_fits(b, count, "fetched units")) return;
    ring->count = count;
    for (int i = 0; i < count; i++) {
        struct fetch_place *place = &ring->places[i];
        place->staging = place->shard = place->whole = -1;
        place->full = builder_slot(b, ZI_TIER_DEVICE, PURPOSE_FETCH, full, "%sunit %d", name, i);
        if (class != CLASS_PACKED)
            place->whole = place->full;
        else if (b->derived.fetches)
            place->whole =
                builder_slot(b, ZI_TIER_DEVICE, PURPOSE_FETCH, whole, "packed unit %d", i);
        if (apart)
            place->shard = builder_slot(b, ZI_TIER_DEVICE, PURPOSE_FETCH, shard,
                                        "shard of %sunit %d", name, i);
        if (host)
            place->staging = builder_slot(b, ZI_TIER_HOST, PURPOSE_FETCH,
                                          b->derived.sharded_parameters ? shard : whole,
                                          "staged %sunit %d", name, i);
    }
}

/* The places of a class: those that its window needs, and those in which units stay. */
static int place_count(const struct builder *b, enum size_class class, int window)
{
    int units = 0, count = window + b->config->resident;
    for (int u = 0; u < b->model->unit_count; u++) {
        units += unit_class(b, u) == class;
    }
    if (count > RING_MAX) count = RING_MAX;
    if (count > units) count = units;
    return count > window ? count : window;
}

void fetch_lay(struct builder *b)
{
    int window[CLASS_COUNT] = {0};
    for (int name = 0; name < PROGRAM_COUNT; name++) {
        if (!program_exists(b->config, (enum program_name)name)) continue;
        if (program_row((enum program_name)name)->states) continue;
        schedule_begin(b, (enum program_name)name);
        for (int class = 0; class < CLASS_COUNT; class ++) {
            if (!b->derived.fetches && class != CLASS_PACKED) continue;
            int count = schedule_window(b, (enum size_class) class);
            if (count > window[class]) window[class] = count;
        }
    }
    for (int class = 0; class < CLASS_COUNT; class ++) {
        if (!b->derived.fetches && class != CLASS_PACKED) continue;
        lay_ring(b, (enum size_class) class,
                 place_count(b, (enum size_class) class, window[class]));
    }
}

/* The units of the first visit, which a pending update finds in memory: the training program before
 * has read them behind its own, each into a place that follows from its class alone. */
static void each_first_unit(struct builder *b,
                            void (*what)(struct builder *, int unit, struct fetch_place *place))
{
    const struct model_op *op = &b->model->ops[0];
    int taken[CLASS_COUNT] = {0};
    if (!b->config->deferred || !b->derived.parameters_on_disk) return;
    for (int i = 0; i < op->unit_count; i++) {
        struct fetch_ring *ring = &b->fetch[unit_class(b, op->units[i])];
        int place = taken[unit_class(b, op->units[i])]++;
        if (place < ring->count) what(b, op->units[i], &ring->places[place]);
    }
}

/* The rest of the way has nothing to do. */
static bool has_one_station(const struct fetch_place *place)
{
    return place->staging < 0 && place->shard < 0 && place->whole == place->full;
}

static void mark_arrived(struct builder *b, int unit, struct fetch_place *place)
{
    (void)b;
    place->unit = unit;
    place->arrived = true;
    place->pushed = place->gathered = false;
    place->delivered = has_one_station(place);
}

void fetch_begin(struct builder *b)
{
    for (int class = 0; class < CLASS_COUNT; class ++) {
        for (int i = 0; i < RING_MAX; i++) {
            struct fetch_place *place = &b->fetch[class].places[i];
            place->unit = place->last_visit = -1;
            place->arrived = place->pushed = place->gathered = place->delivered = false;
        }
    }
    if (b->update.pending) each_first_unit(b, mark_arrived);
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
        place->arrived = place->pushed = place->gathered = place->delivered = false;
        place->last_visit = visit;
    }
    if (place->last_visit < visit) place->last_visit = visit;
    return place;
}

/* The slot of a unit's weights at home. */
static int weights_home(const struct builder *b, int unit)
{
    return b->program->homes[unit].slots[program_weights(b->program, unit)];
}

static size_t weights_bytes(const struct builder *b, int unit)
{
    return home_bytes(b, unit, program_weights(b->program, unit));
}

/* Where the parameters of a unit that has arrived are. */
static int arrived_at(struct builder *b, int unit)
{
    if (!b->derived.parameters_on_disk) return weights_home(b, unit);
    struct fetch_place *place = find_place(b, unit);
    ZI_REQUIRE(place && place->arrived);
    return first_station(place);
}

static void read_unit(struct builder *b, int unit, struct fetch_place *place)
{
    size_t bytes = weights_bytes(b, unit);
    struct slice home = {weights_home(b, unit), 0, bytes, 0};
    struct slice station = {first_station(place), 0, bytes, 0};
    emit_move(b, OP_READ, unit, &home, &station);
}

static void preload_unit(struct builder *b, int unit, struct fetch_place *place)
{
    read_unit(b, unit, place);
    if (b->status >= 0) b->program->slots[first_station(place)].lasting = true;
}

/* The first stage. */
static void arrive(struct builder *b, int unit, int visit, int current)
{
    if (!unit_is_fetched(b, unit) || b->status < 0) return;
    struct fetch_place *place = take_place(b, unit, visit, current);
    if (place->arrived || !b->derived.parameters_on_disk) {
        place->arrived = true;
        return;
    }
    read_unit(b, unit, place);
    mark_arrived(b, unit, place);
}

void fetch_take(struct builder *b, int unit)
{
    if (b->status >= 0) take_place(b, unit, b->schedule.count + unit, b->schedule.count + unit);
}

int fetch_station(struct builder *b, int unit)
{
    return b->status >= 0 ? first_station(find_place(b, unit)) : -1;
}

void fetch_load(struct builder *b, int unit)
{
    if (b->status >= 0) read_unit(b, unit, find_place(b, unit));
}

void fetch_store(struct builder *b, int unit)
{
    size_t bytes = weights_bytes(b, unit);
    struct slice from = {fetch_station(b, unit), 0, bytes, 0};
    const struct program_home *homes = &b->program->homes[unit];
    const int *slots = b->writer.speculates ? homes->next : homes->slots;
    struct slice home = {slots[program_weights(b->program, unit)], 0, bytes, 0};
    emit_move(b, OP_STORE, unit, &from, &home);
}

/* Takes a unit to the device, unless it is there; gives the slot. */
static int push_unit(struct builder *b, int unit, struct fetch_place *place)
{
    size_t bytes = weights_bytes(b, unit);
    struct slice host = {arrived_at(b, unit), 0, bytes, 0};
    struct slice device = {place->shard >= 0 ? place->shard : place->whole, 0, bytes, 0};
    if (!place->pushed) emit_move(b, OP_PUSH, unit, &host, &device);
    place->pushed = true;
    return device.slot;
}

void fetch_update(struct builder *b, int unit, int visit, int current)
{
    const struct derived *d = &b->derived;
    if (!update_is_pending(b, unit) || b->status < 0) return;
    if (d->parameters_on_disk || d->updates_fetched) arrive(b, unit, visit, current);
    struct fetch_place *place = d->fetches ? find_place(b, unit) : NULL;
    if (b->status < 0) return;
    struct update_place at = {arrived_at(b, unit), arrived_at(b, unit)};
    if (d->updates_fetched) at.work = push_unit(b, unit, place);
    update_unit(b, unit, &at);
    if (save_follows(b)) save_parameters(b, unit);
    if (place) {
        place->pushed = d->updates_fetched;
        place->delivered =
            place->pushed ? place->shard < 0 : d->parameters_on_disk && has_one_station(place);
    }
    if (d->parameters_on_disk) fetch_store(b, unit);
}

/* It is still where backward has found it, and is changed there. */
void fetch_guess(struct builder *b, int unit, int visit)
{
    if (b->status < 0) return;
    arrive(b, unit, visit, visit);
    struct fetch_place *place = find_place(b, unit);
    if (b->status < 0) return;
    struct update_place at = {arrived_at(b, unit), arrived_at(b, unit)};
    if (b->derived.updates_fetched) at.work = push_unit(b, unit, place);
    update_guess(b, unit, &at);
    b->writer.speculates = true;
    fetch_store(b, unit);
    b->writer.speculates = false;
}

static void emit_gather(struct builder *b, int unit, int from, int to)
{
    struct program_op gather = builder_op(OP_GATHER);
    gather.unit = unit;
    op_reads(&gather, OPERAND_SHARD, from);
    op_writes(&gather, OPERAND_UNIT, to);
    builder_emit(b, &gather);
}

static void emit_unpack(struct builder *b, int unit, int from, int to)
{
    struct program_op unpack = builder_op(OP_UNPACK);
    unpack.unit = unit;
    op_reads(&unpack, OPERAND_STATE + TIER_PACKED, from);
    op_writes(&unpack, OPERAND_UNIT, to);
    builder_emit(b, &unpack);
}

int fetch_deliver(struct builder *b, int unit, int visit, int current)
{
    if (b->status < 0) return -1;
    fetch_update(b, unit, visit, current);
    arrive(b, unit, visit, current);
    save_unit(b, unit);
    if (b->status < 0) return -1;
    if (!unit_is_fetched(b, unit)) return weights_home(b, unit);
    struct fetch_place *place = take_place(b, unit, visit, current);
    if (place->delivered) return place->full;
    if (!place->gathered) {
        int from = arrived_at(b, unit);
        if (!b->config->unified && b->program->slots[from].tier == ZI_TIER_HOST)
            from = push_unit(b, unit, place);
        if (place->whole >= 0 && from != place->whole) emit_gather(b, unit, from, place->whole);
        place->gathered = true;
    }
    if (place->whole == place->full) {
        place->delivered = true;
    } else if (visit == current) {
        int from = place->whole >= 0 ? place->whole : weights_home(b, unit);
        emit_unpack(b, unit, from, place->full);
        place->delivered = true;
    }
    return place->full;
}

/* Calls `what` for each unit whose parameters a visit needs, in the order of updates. */
static void each_unit(struct builder *b, int visit, int current,
                      void (*what)(struct builder *, int unit, int visit, int current))
{
    const struct visit *v = &b->schedule.visits[visit];
    if (v->phase == VISIT_GRADIENT || v->phase == VISIT_UPDATE) return;
    for (int j = 0; j < v->count; j++) {
        const struct model_op *op = &b->model->ops[v->first + j];
        for (int i = op->unit_count - 1; i >= 0; i--) {
            what(b, op->units[i], visit, current);
        }
    }
}

/* What nothing holds back goes all the way at once. */
static void start(struct builder *b, int unit, int visit, int current)
{
    if (update_is_pending(b, unit))
        arrive(b, unit, visit, current);
    else
        fetch_deliver(b, unit, visit, current);
}

static void deliver(struct builder *b, int unit, int visit, int current)
{
    fetch_deliver(b, unit, visit, current);
}

void fetch_ahead(struct builder *b, int visit)
{
    int ahead = update_ahead(b);
    for (int w = visit; w <= visit + b->config->prefetch && w < b->schedule.count; w++) {
        each_unit(b, w, visit, start);
        if (b->schedule.visits[w].phase != VISIT_UPDATE) continue;
        if (b->derived.parameters_on_disk || b->derived.updates_fetched)
            arrive(b, b->schedule.visits[w].first, w, visit);
        if (!b->config->deferred) update_start(b);
    }
    for (int w = visit; w <= visit + ahead && w < b->schedule.count && b->update.pending; w++) {
        each_unit(b, w, visit, deliver);
    }
}

void fetch_end(struct builder *b)
{
    if (list_is_training(b)) each_first_unit(b, preload_unit);
}
