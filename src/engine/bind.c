/* SPDX-License-Identifier: Apache-2.0 */
/* Binding: from slots, offsets and elements of units to addresses, places on the disk, and ranges
 * of tensors, for this rank. */
#include "engine/bind.h"

#include <stdlib.h>

#include "base/log.h"
#include "engine/execute.h"

/* The parts of one piece that a cut may leave (partition_cut). */
enum { CUT_MOST = 3 };

struct device_ptr engine_slot(const struct engine *engine, int slot)
{
    if (slot < 0) return (struct device_ptr){0};
    const struct program_slot *s = &engine->program->slots[slot];
    if (s->tier == ZI_TIER_NVME) return (struct device_ptr){0};
    return device_at(engine->bases[s->tier], s->offset);
}

char *engine_slot_on_host(const struct engine *engine, int slot)
{
    const struct program_slot *s = &engine->program->slots[slot];
    return engine->hosts[s->tier] ? engine->hosts[s->tier] + s->offset : NULL;
}

void *engine_host_slot(const struct engine *engine, int slot)
{
    ZI_REQUIRE(engine->program->slots[slot].tier == ZI_TIER_HOST);
    return engine_slot_on_host(engine, slot);
}

/* Bytes into its slot at which an operand is, on this rank. */
static size_t offset_of(const struct engine *engine, const struct program_op *op, int operand)
{
    return op->offsets[operand] + (size_t)engine->rank * op->per_rank[operand];
}

static void bind_operands(const struct engine *engine, struct bound_op *b)
{
    for (int operand = 0; operand < OPERAND_COUNT; operand++) {
        struct device_ptr slot = engine_slot(engine, b->op->slots[operand]);
        if (device_is_null(slot)) continue;
        b->at[operand] = device_at(slot, offset_of(engine, b->op, operand));
    }
}

/* Tokens or targets of the micro-batch of an operation. */
static struct device_ptr ids_at(const struct engine *engine, const struct bound_op *b, int operand)
{
    const struct zero_config *c = &engine->program->config;
    size_t before = (size_t)(b->op->micro * c->micro * c->tokens) * sizeof(int32_t);
    return device_is_null(b->at[operand]) ? b->at[operand] : device_at(b->at[operand], before);
}

static enum zi_status bind_pass(const struct engine *engine, enum program_name name,
                                struct bound_op *b)
{
    const struct zero_config *c = &engine->program->config;
    const struct program_op *op = b->op;
    const struct model_op *model_op = &engine->program->model->ops[op->op];
    const struct lane *lane = &engine->lanes[op->lane];
    int64_t first, sequences = zero_sequences(c, engine->rank, op->micro, &first);
    b->pass = calloc(1, sizeof *b->pass);
    if (!b->pass) return zi_fail(ZI_ERROR_DEVICE, "engine", "no memory to bind a program");
    const struct program_row *row = program_row(name);
    bool alone = name == PROGRAM_GENERATE, batch = row->caches || row->each;
    *b->pass = (struct model_pass){
        .operations = lane->operations,
        .stream = lane->stream,
        .sequences = alone   ? 1
                     : batch ? c->micro
                             : sequences,
        .first = first,
        .tokens = c->tokens,
        .input = b->at[OPERAND_INPUT],
        .output = b->at[OPERAND_OUTPUT],
        .gradient = b->at[OPERAND_STREAM_GRADIENT],
        .saved = b->at[OPERAND_SAVED],
        .scratch = b->at[OPERAND_SCRATCH],
        .carry = b->at[OPERAND_CARRY],
        .token_ids = ids_at(engine, b, OPERAND_TOKENS),
        .targets = ids_at(engine, b, OPERAND_TARGETS),
        .positions = ids_at(engine, b, OPERAND_POSITIONS),
        .cache = b->at[OPERAND_CACHE],
        .capacity = c->cache,
        .loss = b->at[OPERAND_LOSS],
        .each = row->each,
    };
    for (int i = 0; i < model_op->unit_count; i++) {
        b->pass->weights[i] = b->at[OPERAND_WEIGHT + i];
        b->pass->gradients[i] = b->at[OPERAND_ACCUMULATOR + i];
        b->pass->accumulate[i] = op->accumulate >> i & 1u;
    }
    return ZI_OK;
}

/* A kind of state in an update of a group, `at` elements into it; null where it does not exist. */
static struct device_ptr state_at(const struct engine *engine, const struct bound_op *b,
                                  enum tier_kind kind, int64_t at)
{
    struct device_ptr group = b->at[OPERAND_STATE + (int)kind];
    if (device_is_null(group)) return group;
    return device_at(group, program_state_bytes(engine->program, kind, at));
}

/* What is updated together, `at` elements into its group. */
static struct optimizer_range range_at(const struct engine *engine, const struct bound_op *b,
                                       int64_t at, int64_t count)
{
    struct optimizer_range update = {
        .count = count,
        .type = engine->program->config.compute,
        .gradient_type = engine->program->config.gradient,
        .parameter = state_at(engine, b, TIER_PARAMETER, at),
        .remainder = state_at(engine, b, TIER_MASTER, at),
        .gradient = state_at(engine, b, TIER_GRADIENT, at),
        .checksum = b->at[OPERAND_CHECKSUM],
    };
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        int own = tier_kind_row((enum tier_kind)k)->optimizer;
        if (own >= 0) update.states[own] = state_at(engine, b, (enum tier_kind)k, at);
    }
    return update;
}

/* Appends what the ranges of a unit have of a group which starts at its element `first`: ranges of
 * their own, or pieces of the one range, since a block may be of several tensors. */
static void add_range(const struct engine *engine, struct bound_op *b,
                      const struct partition_range *cut, int64_t first)
{
    int64_t at = cut->unit_first - first;
    if (b->pieces) {
        b->pieces[b->ranges->piece_count++] =
            (struct device_piece){at, cut->count, cut->decay, cut->place};
        return;
    }
    struct optimizer_range *range = &b->ranges[b->range_count++];
    *range = range_at(engine, b, at, cut->count);
    range->decay = cut->decay;
    range->place = cut->place;
}

static enum zi_status bind_update(const struct engine *engine, struct bound_op *b)
{
    const struct partition *partition = engine->program->partition;
    const struct partition_unit *unit = &partition->units[b->op->unit];
    bool own = zero_is_sharded(&engine->program->config, TIER_GRADIENT);
    bool blocks = engine->program->config.blocks;
    int64_t first = b->op->first + (own ? engine->rank * unit->shard : 0);
    size_t most = (size_t)(CUT_MOST * unit->range_count);
    b->ranges = calloc(blocks ? 1 : most, sizeof *b->ranges);
    if (blocks) b->pieces = calloc(most, sizeof *b->pieces);
    if (!b->ranges || (blocks && !b->pieces))
        return zi_fail(ZI_ERROR_DEVICE, "engine", "no memory to bind a program");
    if (blocks) {
        b->ranges[b->range_count++] = range_at(engine, b, 0, b->op->count);
        b->ranges->pieces = b->pieces;
    }
    for (int i = 0; i < unit->range_count; i++) {
        struct partition_range cut[CUT_MOST];
        int tensor = partition->ranges[unit->range_first + i].tensor;
        if (!engine->program->model->tensors[tensor].trainable) continue;
        int parts = partition_cut(&partition->ranges[unit->range_first + i], first,
                                  first + b->op->count, cut);
        for (int p = 0; p < parts; p++)
            add_range(engine, b, &cut[p], first);
    }
    return ZI_OK;
}

static char *host_operand(const struct engine *engine, const struct program_op *op, int operand)
{
    int slot = op->slots[operand];
    return slot < 0 ? NULL : engine_slot_on_host(engine, slot) + offset_of(engine, op, operand);
}

/* The ranges of a unit's tensors in a span. */
static void cut_span(const struct engine *engine, int unit, struct bound_span span,
                     struct bound_states *s)
{
    const struct partition *partition = engine->program->partition;
    const struct partition_unit *part = &partition->units[unit];
    for (int i = 0; i < part->range_count; i++) {
        s->cut_count += partition_cut(&partition->ranges[part->range_first + i], span.first,
                                      span.end, &s->cuts[s->cut_count]);
    }
}

static enum zi_status bind_states(const struct engine *engine, struct bound_op *b)
{
    const struct program_op *op = b->op;
    const struct partition_unit *part = &engine->program->partition->units[op->unit];
    int64_t own = engine->rank * part->shard;
    b->states = calloc(1, sizeof *b->states);
    struct bound_states *s = b->states;
    if (s) s->cuts = calloc((size_t)(CUT_MOST * part->range_count), sizeof *s->cuts);
    if (!s || !s->cuts) return zi_fail(ZI_ERROR_DEVICE, "engine", "no memory to bind a program");
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        enum tier_kind kind = (enum tier_kind)k;
        bool disk = zero_tier(&engine->program->config, kind) == ZI_TIER_NVME;
        size_t block = disk ? TIER_STORE_BLOCK : 1;
        size_t bytes = program_state_bytes(engine->program, kind, op->count);
        s->at[k] = host_operand(engine, op, OPERAND_STATE + k);
        s->bytes[k] = (bytes + block - 1) / block * block;
    }
    s->tile = engine_host_slot(engine, op->slots[OPERAND_SCRATCH]);
    s->tile_elements =
        (int64_t)(engine->program->slots[op->slots[OPERAND_SCRATCH]].bytes / sizeof(float));
    s->first = op->first + (zero_is_sharded(&engine->program->config, op->state) ? own : 0);
    s->own = (struct bound_span){own, own + part->shard};
    struct bound_span span = {s->first, s->first + op->count};
    if (op->kind == OP_EXPORT && span.first < s->own.first) span.first = s->own.first;
    if (op->kind == OP_EXPORT && span.end > s->own.end) span.end = s->own.end;
    cut_span(engine, op->unit, span, s);
    return ZI_OK;
}

static void bind_transfer(const struct engine *engine, struct bound_op *b)
{
    const struct program_op *op = b->op;
    bool writes = op->lane == LANE_DISK_WRITE;
    int memory = writes ? OPERAND_FROM : OPERAND_TO, disk = writes ? OPERAND_TO : OPERAND_FROM;
    char *at = engine_slot_on_host(engine, op->slots[memory]);
    const struct program_slot *slot = &engine->program->slots[op->slots[disk]];
    ZI_REQUIRE(at); /* device memory only where it is the host's as well */
    for (int generation = 0; generation < 2; generation++) {
        b->transfers[generation] = (struct tier_transfer){
            .array = slot->array,
            .offset = slot->offset + offset_of(engine, op, disk),
            .bytes = op->bytes,
            .buffer = at + offset_of(engine, op, memory),
            .write = writes,
        };
        if (slot->twin >= 0) slot = &engine->program->slots[slot->twin];
    }
}

static enum zi_status bind_op(const struct engine *engine, enum program_name name,
                              struct bound_op *b)
{
    bind_operands(engine, b);
    if (b->op->kind == OP_UNPACK && !engine->lanes[b->op->lane].operations->unpack)
        return zi_fail(ZI_ERROR_DEVICE, "engine",
                       "this device does not unpack frozen weights of %s; leave out model.frozen",
                       zi_dtype_name(engine->program->config.frozen));
    if (program_lane_is_disk(b->op->lane)) bind_transfer(engine, b);
    if (b->op->op >= 0 && b->op->lane == LANE_COMPUTE) ZI_TRY(bind_pass(engine, name, b));
    switch (b->op->kind) {
    case OP_ADAM:
        return bind_update(engine, b);
    case OP_DRAW:
    case OP_IMPORT:
    case OP_EXPORT:
        return bind_states(engine, b);
    default:
        return ZI_OK;
    }
}

enum zi_status engine_bind(struct engine *engine)
{
    for (int name = 0; name < PROGRAM_COUNT; name++) {
        const struct program_list *list = &engine->program->lists[name];
        struct bound_list *bound = &engine->bound[name];
        bound->ops = calloc((size_t)list->count + 1, sizeof *bound->ops);
        if (!bound->ops)
            return zi_fail(ZI_ERROR_DEVICE, "engine",
                           "no memory to bind a program of %d operations", list->count);
        for (; bound->count < list->count; bound->count++) {
            struct bound_op *b = &bound->ops[bound->count];
            b->op = &list->ops[bound->count];
            bound->uses[b->op->lane] = true;
            if (b->op->kind == OP_EXPORT) bound->last_export = b;
            enum zi_status status = bind_op(engine, (enum program_name)name, b);
            if (status >= 0) continue;
            bound->count++;
            return status;
        }
    }
    return ZI_OK;
}

void engine_unbind(struct engine *engine)
{
    for (int name = 0; name < PROGRAM_COUNT; name++) {
        struct bound_list *bound = &engine->bound[name];
        for (int i = 0; i < bound->count; i++) {
            free(bound->ops[i].pass);
            free(bound->ops[i].ranges);
            free(bound->ops[i].pieces);
            if (bound->ops[i].states) free(bound->ops[i].states->cuts);
            free(bound->ops[i].states);
        }
        free(bound->ops);
    }
}
