/* SPDX-License-Identifier: Apache-2.0 */
/* The states of the units on this rank: initial values, and the walk that checkpoints make.
 *
 * The problem: a state lies in memory or on nvme, as this rank's shard or whole on every rank; the
 * fp32 master of a bf16 model lies nowhere, but in two parts; and neither a unit nor all of a state
 * may be asked for at once, because they may be larger than memory.
 *
 * The idea: a state is walked in chunks of at most PROGRAM_STAGING elements. A chunk that the host
 * reaches is handed out in place, one of a device apart or on nvme passes through the staging
 * buffer, and a chunk of masters is joined there, and taken apart again. Saving, each rank is asked
 * for the ranges of its own shard, so that all ranks write side by side; loading, for every range
 * that it holds. Initial values come from (seed, tensor, element), so no rank ever sees more of the
 * model than it keeps; the moments' are zero, which is what claimed space of the store reads as. A
 * walk that writes looks for a request to stop at every chunk: nothing is lost with states that are
 * not complete. One that saves goes on, since a stop is what it may be made for. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/random.h"
#include "base/stop.h"
#include "engine/execute.h"

/* An array of one unit as it lies on this rank. */
struct state {
    int slot; /* first slot of its home, or -1 */
    size_t element;
    int64_t first; /* element of the unit at its start */
    int64_t count;
};

static bool sharded(const struct engine *engine, enum tier_kind kind)
{
    return zero_is_sharded(&engine->program->config, kind);
}

static struct state state_of(const struct engine *engine, int unit, enum tier_kind kind)
{
    const struct program *p = engine->program;
    int64_t shard = p->partition->units[unit].shard;
    return (struct state){
        .slot = p->homes[unit].slots[kind],
        .element = program_element_bytes(p, kind),
        .first = sharded(engine, kind) ? engine->rank * shard : 0,
        .count = program_elements(p, unit, kind),
    };
}

static enum zi_tier tier_of(const struct engine *engine, const struct state *state)
{
    return engine->program->slots[state->slot].tier;
}

/* What is walked: a state of a unit, and who is called for each run of a tensor in it. */
struct walk {
    struct engine *engine;
    int unit;
    enum tier_kind kind;
    bool own;   /* only this rank's shard */
    bool fresh; /* the states have not been written yet */
    engine_visit *visit;
    void *context;
};

/* Elements [first, first + count) of a state, in host memory: `values` points at the first. Those
 * of a device apart are copied to `buffer`; on nvme they are whole blocks around, there. */
struct chunk {
    const struct state *state;
    int64_t first, count; /* of the state */
    char *values;
    char *buffer;         /* NULL: the host reaches the state where it is */
    size_t offset, bytes; /* of the state's slots that the buffer holds */
};

static enum zi_status copy_chunk(struct engine *engine, const struct chunk *chunk, bool write)
{
    struct device_stream *stream = engine->lanes[LANE_COMPUTE].stream;
    const struct program *p = engine->program;
    struct device_ptr home = device_at(engine_slot(engine, chunk->state->slot), chunk->offset);
    char *start = engine_host_slot(engine, p->staging_slot);
    struct device_ptr staging =
        device_at(engine_slot(engine, p->staging_slot), (size_t)(chunk->buffer - start));
    ZI_TRY(device_copy(stream, write ? home : staging, write ? staging : home, chunk->bytes));
    return device_stream_synchronize(stream);
}

static enum zi_status move_chunk(struct engine *engine, const struct chunk *chunk, bool write)
{
    if (tier_of(engine, chunk->state) == ZI_TIER_DEVICE) return copy_chunk(engine, chunk, write);
    struct tier_transfer transfer = {
        .array = engine->program->slots[chunk->state->slot].array,
        .offset = chunk->offset,
        .bytes = chunk->bytes,
        .buffer = chunk->buffer,
        .write = write,
    };
    return tier_channel_move(engine->channel, &transfer);
}

/* Where in memory a chunk is, or will be. `buffer` has room for it and two blocks. */
static struct chunk place_chunk(struct engine *engine, const struct state *state, int64_t first,
                                int64_t count, char *buffer)
{
    enum zi_tier tier = tier_of(engine, state);
    const size_t block = tier == ZI_TIER_NVME ? TIER_STORE_BLOCK : 1;
    struct chunk chunk = {.state = state, .first = first, .count = count};
    size_t begin = (size_t)first * state->element, end = begin + (size_t)count * state->element;
    char *home = engine_slot_on_host(engine, state->slot);
    if (home) {
        chunk.values = home + begin;
        return chunk;
    }
    chunk.offset = begin / block * block;
    chunk.bytes = (end + block - 1) / block * block - chunk.offset;
    chunk.buffer = buffer;
    chunk.values = buffer + (begin - chunk.offset);
    return chunk;
}

/* Brings elements [span[0], span[1]) of a state to memory. A `fresh` state is zero, which need not
 * be read where the chunk starts at a block: what follows it in its last block is zero too. */
static enum zi_status fetch_chunk(const struct walk *w, const struct state *state,
                                  const int64_t span[2], char *buffer, struct chunk *chunk)
{
    *chunk = place_chunk(w->engine, state, span[0], span[1] - span[0], buffer);
    if (!chunk->buffer) return ZI_OK;
    if (!w->fresh || chunk->values != chunk->buffer) return move_chunk(w->engine, chunk, false);
    memset(chunk->buffer, 0, chunk->bytes);
    return ZI_OK;
}

static enum zi_status put_chunk(struct engine *engine, const struct chunk *chunk)
{
    return chunk->buffer ? move_chunk(engine, chunk, true) : ZI_OK;
}

/* Parts of the staging slot. */
struct staging {
    char *parameter, *remainder, *wide;
};

static struct staging staging_of(const struct engine *engine)
{
    char *base = engine_host_slot(engine, engine->program->staging_slot);
    size_t part = (size_t)PROGRAM_STAGING * 4 + 2 * TIER_STORE_BLOCK;
    return (struct staging){base, base + part, base + 2 * part};
}

static enum zi_status visit_runs(const struct walk *w, const struct partition_range *range,
                                 char *values, size_t element)
{
    for (int64_t done = 0; done < range->count; done += range->place.row) {
        int64_t rest = range->count - done;
        int64_t count = rest < range->place.row ? rest : range->place.row;
        int64_t first = (int64_t)range->place.first + done / range->place.row * range->place.stride;
        ZI_TRY(w->visit(w->context, w->kind, range->tensor, first, count,
                        values + (size_t)done * element));
    }
    return ZI_OK;
}

/* Elements [span[0], span[1]) of the unit, whose first one is at `values`. */
static enum zi_status visit_span(const struct walk *w, const int64_t span[2], char *values,
                                 size_t element)
{
    const struct partition *partition = w->engine->program->partition;
    const struct partition_unit *part = &partition->units[w->unit];
    const struct partition_range *ranges = &partition->ranges[part->range_first];
    int count = part->range_count;
    for (int i = 0; i < count; i++) {
        struct partition_range cut[3];
        int parts = partition_cut(&ranges[i], span[0], span[1], cut);
        for (int p = 0; p < parts; p++) {
            ZI_TRY(visit_runs(w, &cut[p], values + (size_t)(cut[p].unit_first - span[0]) * element,
                              element));
        }
    }
    return ZI_OK;
}

/* Next chunk of a state, clipped to what is walked: span is in elements of the unit. */
static bool next_span(const struct walk *w, const struct state *state, int64_t span[2])
{
    const struct partition_unit *part = &w->engine->program->partition->units[w->unit];
    int64_t begin = state->first, end = state->first + state->count;
    if (w->own) {
        int64_t shard = w->engine->rank * part->shard;
        if (begin < shard) begin = shard;
        if (end > shard + part->shard) end = shard + part->shard;
    }
    span[0] = span[1] < begin ? begin : span[1];
    span[1] = span[0] + PROGRAM_STAGING < end ? span[0] + PROGRAM_STAGING : end;
    return span[0] < span[1];
}

static enum zi_status walk_state(const struct walk *w, bool writes)
{
    struct state state = state_of(w->engine, w->unit, w->kind);
    struct staging staging = staging_of(w->engine);
    int64_t span[2] = {-1, -1};
    if (state.slot < 0) return ZI_OK;
    while (next_span(w, &state, span)) {
        struct chunk chunk;
        if (writes) ZI_TRY(zi_stop_check());
        int64_t within[2] = {span[0] - state.first, span[1] - state.first};
        ZI_TRY(fetch_chunk(w, &state, within, staging.parameter, &chunk));
        ZI_TRY(visit_span(w, span, chunk.values, state.element));
        if (writes) ZI_TRY(put_chunk(w->engine, &chunk));
    }
    return ZI_OK;
}

static void join(const struct chunk *parameter, const struct chunk *remainder, float *wide)
{
    const uint16_t *upper = (const uint16_t *)parameter->values;
    const int16_t *lower = (const int16_t *)remainder->values;
    for (int64_t i = 0; i < parameter->count; i++) {
        wide[i] = zi_bf16_join(upper[i], lower[i]);
    }
}

static void split(const float *wide, const struct chunk *parameter, const struct chunk *remainder)
{
    uint16_t *upper = (uint16_t *)parameter->values;
    int16_t *lower = (int16_t *)remainder->values;
    for (int64_t i = 0; i < parameter->count; i++) {
        upper[i] = zi_bf16_round_away(wide[i]);
        lower[i] = zi_bf16_remainder(wide[i]);
    }
}

/* The master of a bf16 model: parameter and remainder of what this rank updates. */
static enum zi_status walk_master(const struct walk *w, bool writes)
{
    struct state remainder = state_of(w->engine, w->unit, TIER_MASTER);
    struct state parameter = state_of(w->engine, w->unit, TIER_PARAMETER);
    struct staging staging = staging_of(w->engine);
    int64_t span[2] = {-1, -1};
    if (remainder.slot < 0) return ZI_OK;
    while (next_span(w, &remainder, span)) {
        struct chunk upper, lower;
        if (writes) ZI_TRY(zi_stop_check());
        ZI_TRY(fetch_chunk(w, &parameter,
                           (int64_t[]){span[0] - parameter.first, span[1] - parameter.first},
                           staging.parameter, &upper));
        ZI_TRY(fetch_chunk(w, &remainder,
                           (int64_t[]){span[0] - remainder.first, span[1] - remainder.first},
                           staging.remainder, &lower));
        join(&upper, &lower, (float *)staging.wide);
        ZI_TRY(visit_span(w, span, staging.wide, sizeof(float)));
        if (!writes) continue;
        split((const float *)staging.wide, &upper, &lower);
        ZI_TRY(put_chunk(w->engine, &upper));
        ZI_TRY(put_chunk(w->engine, &lower));
    }
    return ZI_OK;
}

static enum zi_status walk_all(struct engine *engine, engine_visit *visit, void *context,
                               bool writes)
{
    for (int u = 0; u < engine->program->partition->unit_count; u++) {
        for (int k = 0; k < TIER_KIND_COUNT; k++) {
            enum tier_kind kind = (enum tier_kind)k;
            if (!tier_kind_row(kind)->saved) continue;
            bool own = !writes || sharded(engine, kind);
            struct walk walk = {engine, u, kind, own, false, visit, context};
            ZI_TRY(kind == TIER_MASTER ? walk_master(&walk, writes) : walk_state(&walk, writes));
        }
    }
    return ZI_OK;
}

/* Visitor that fills a run with initial values; moments stay zero, as they were allocated. */
static enum zi_status initialize_run(void *context, enum tier_kind kind, int index, int64_t first,
                                     int64_t count, void *values)
{
    struct engine *engine = context;
    const struct model_tensor *tensor = &engine->program->model->tensors[index];
    uint64_t seed = (uint64_t)engine->settings->run.seed;
    if (kind == TIER_MASTER || engine->program->config.compute == ZI_FP32) {
        model_initialize(tensor, seed, first, count, values);
        return ZI_OK;
    }
    float *wide = (float *)staging_of(engine).wide;
    model_initialize(tensor, seed, first, count, wide);
    for (int64_t i = 0; i < count; i++) {
        ((uint16_t *)values)[i] = zi_bf16_round_away(wide[i]);
    }
    return ZI_OK;
}

/* Visitor that adds the checksum of a run of fp32 weights. */
static enum zi_status checksum_run(void *context, enum tier_kind kind, int index, int64_t first,
                                   int64_t count, void *values)
{
    struct engine *engine = context;
    (void)kind;
    struct device_place place = {
        .seed = zi_random_stream(engine->program->model->tensors[index].name),
        .first = (uint64_t)first,
        .row = count,
        .stride = count,
    };
    struct device_ptr sum = engine_slot(engine, engine->program->outside.checksum);
    return device_get_operations(engine->host)
        ->checksum(engine->host_stream, (struct device_ptr){(uintptr_t)values},
                   (struct device_ptr){0}, count, &place, sum);
}

static uint64_t *sum_of(struct engine *engine)
{
    return engine_host_slot(engine, engine->program->outside.checksum);
}

/* Collective. The sum over ranks of what checksum_run has added up. */
static enum zi_status take_sum(struct engine *engine)
{
    ZI_TRY(device_stream_synchronize(engine->host_stream));
    engine->checksum = *sum_of(engine);
    return comm_sum_uint64(engine->comm, &engine->checksum, 1);
}

/* Collective. Of the trainable parameters as they are, from their masters. */
static enum zi_status sum_parameters(struct engine *engine)
{
    const struct program *p = engine->program;
    if (!p->config.training) return ZI_OK;
    *sum_of(engine) = 0;
    for (int u = 0; u < p->partition->unit_count; u++) {
        struct walk walk = {engine, u, TIER_PARAMETER, true, false, checksum_run, engine};
        if (!p->model->units[u].trainable) continue;
        bool whole = p->homes[u].slots[TIER_MASTER] < 0;
        if (!whole) walk.kind = TIER_MASTER;
        ZI_TRY(whole ? walk_state(&walk, false) : walk_master(&walk, false));
    }
    return take_sum(engine);
}

/* Visitor that fills a run, and adds to the checksum where each element is visited once. */
static enum zi_status initialize_and_sum(void *context, enum tier_kind kind, int index,
                                         int64_t first, int64_t count, void *values)
{
    ZI_TRY(initialize_run(context, kind, index, first, count, values));
    return checksum_run(context, kind, index, first, count, values);
}

/* Gaps between tensors and what pads a unit are zero from the start, in memory and in the store.
 * Masters that are whole units, or their shards, make the parameters as well. */
static enum zi_status initialize_unit(struct engine *engine, int unit)
{
    bool split_master = engine->program->homes[unit].slots[TIER_MASTER] >= 0;
    bool same = sharded(engine, TIER_PARAMETER) || !sharded(engine, TIER_MASTER);
    struct walk walk = {engine, unit,           TIER_PARAMETER, sharded(engine, TIER_PARAMETER),
                        true,   initialize_run, engine};
    bool summed = same && engine->program->model->units[unit].trainable;
    if (!split_master) walk.visit = summed ? initialize_and_sum : initialize_run;
    if (!split_master || !same) ZI_TRY(walk_state(&walk, true));
    if (!split_master) return ZI_OK;
    walk.kind = TIER_MASTER;
    walk.own = sharded(engine, TIER_MASTER);
    walk.fresh = same;
    walk.visit = initialize_and_sum;
    return walk_master(&walk, true);
}

enum zi_status engine_initialize(struct engine *engine)
{
    const struct program *p = engine->program;
    bool training = p->config.training;
    enum zi_status status = ZI_OK;
    *sum_of(engine) = 0;
    for (int u = 0; u < p->partition->unit_count && status >= 0; u++) {
        /* one rank may know of a stop, or fail, before the others */
        status = comm_agree(engine->comm, initialize_unit(engine, u));
    }
    engine_say_stopped(engine, status);
    ZI_TRY(comm_agree(engine->comm, status));
    if (!training) return ZI_OK;
    /* Where shards overlap or every rank has all, the sum over ranks counts more than once. */
    if (p->config.ranks > 1 && !sharded(engine, TIER_PARAMETER)) return sum_parameters(engine);
    return take_sum(engine);
}

enum zi_status engine_save(struct engine *engine, engine_visit *visit, void *context)
{
    return walk_all(engine, visit, context, false);
}

enum zi_status engine_load(struct engine *engine, engine_visit *visit, void *context)
{
    ZI_REQUIRE(!engine->is_pending);
    enum zi_status status = comm_agree(engine->comm, walk_all(engine, visit, context, true));
    engine_say_stopped(engine, status);
    ZI_TRY(status);
    return sum_parameters(engine);
}
