/* SPDX-License-Identifier: Apache-2.0 */
/* The programs that move states and compute nothing with them: initial values, checkpoints.
 *
 * The problem: a state lies on the device, in host memory or on nvme, as this rank's shard or whole
 * on every rank; the fp32 master of a bf16 model lies nowhere, but in two parts; and files know
 * neither tiers nor shards.
 *
 * The idea: states take the way that they take in an update. What is on nvme passes through the
 * slots of fetched units and of the optimizer's groups, and one operation works on a unit or a
 * group there (or at home, where the host reaches it) in place of the optimizer: `draw` makes
 * initial values, `export` writes a state to a checkpoint, `import` reads it. All three join and
 * split masters on the way, tile by tile in a scratch slot, so that no fp32 copy of a group exists.
 * What is on a device apart is carried through host memory in slices.
 *
 * A rank walks all that it has of a state. Where every rank has all, an export writes its own part
 * only, and checksums count that alone: so each element is written and counted once.
 *
 * Frozen matrices of 8 or 4 bits are packed and unpacked by the operation: files have parameters.
 *
 * Parameters and remainders are made together where this rank has the same elements of both;
 * otherwise (stages 1 and 2) parameters are made whole first, and remainders for the shard. Moments
 * start as zero, which is what pools and claimed space of the store read as. */
#include "base/log.h"
#include "compiler/compile.h"
#include "compiler/home.h"

/* Elements of the slices that are carried, and of the fp32 tiles in which masters are joined. */
#define CARRIED ((int64_t)1 << 18)
#define TILE    ((int64_t)1 << 18)

enum { RING_NAME = 32 };

/* Elements of what this rank has of a state of a unit, in a group of the optimizer or in none (-1).
 */
struct part {
    int unit, group;
    int64_t first, count;
};

static bool has_home(const struct builder *b, int unit, enum tier_kind kind)
{
    return b->program->homes[unit].slots[kind] >= 0;
}

/* On a device whose memory the host does not reach. */
static bool is_carried(const struct builder *b, enum tier_kind kind)
{
    return !b->config->unified && zero_tier(b->config, kind) == ZI_TIER_DEVICE;
}

static bool on_disk(const struct builder *b, enum tier_kind kind)
{
    return zero_tier(b->config, kind) == ZI_TIER_NVME;
}

static bool is_moved(enum tier_kind kind)
{
    return tier_kind_row(kind)->saved || kind == TIER_PACKED;
}

/* Whether any unit has a kind of state. */
static bool is_anywhere(const struct builder *b, enum tier_kind kind)
{
    for (int u = 0; u < b->model->unit_count; u++)
        if (has_home(b, u, kind)) return true;
    return false;
}

/* Whether a rank has the same elements of parameters and of remainders. */
static bool same_elements(const struct builder *b)
{
    return zero_is_sharded(b->config, TIER_PARAMETER) == zero_is_sharded(b->config, TIER_MASTER);
}

void save_lay(struct builder *b)
{
    const struct zero_config *c = b->config;
    int64_t most = 0;
    for (int u = 0; u < b->model->unit_count; u++) {
        int64_t elements = b->partition->units[u].padded;
        if (elements > most) most = elements;
    }
    int64_t tile = most < TILE ? most : TILE, slice = most < CARRIED ? most : CARRIED;
    b->save.exported = builder_memory(b, (size_t)b->model->unit_count, sizeof *b->save.exported);
    b->save.tile =
        builder_slot(b, ZI_TIER_HOST, PURPOSE_WORK, (size_t)tile * sizeof(float), "tile");
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        enum tier_kind kind = (enum tier_kind)k;
        if (!is_moved(kind) || !is_carried(b, kind) || !is_anywhere(b, kind)) continue;
        char name[RING_NAME];
        snprintf(name, sizeof name, "carried %s", tier_kind_name(kind));
        ring_lay(b, &b->save.carried[k], c->prefetch > 0 ? 2 : 1,
                 &(struct ring_slot){
                     .tier = ZI_TIER_HOST,
                     .purpose = PURPOSE_WORK,
                     .bytes = program_state_bytes(b->program, kind, slice),
                     .name = name,
                 });
    }
}

/* A part of a state at home. */
static struct slice home_of(const struct builder *b, const struct part *part, enum tier_kind kind,
                            bool beside_master)
{
    struct slice at = home_slice(b, part->unit, kind, part->first, part->count);
    if (beside_master && !same_elements(b))
        at.per_rank = program_state_bytes(b->program, kind, b->partition->units[part->unit].shard);
    return at;
}

/* Where an operation of the host finds a part of a state, or puts it: at home, in the slots through
 * which it moves from and to nvme, or in a slot in which it is carried. */
static struct slice place_of(struct builder *b, const struct part *part, enum tier_kind kind,
                             bool beside_master)
{
    struct slice at = home_of(b, part, kind, beside_master);
    if (at.slot < 0) return at;
    if (is_carried(b, kind)) {
        at.slot = ring_take(&b->save.carried[kind]);
        at.offset = at.per_rank = 0;
    } else if (on_disk(b, kind) && tier_kind_row(kind)->place == PLACE_PARAMETERS) {
        at.slot = fetch_station(b, part->unit);
    } else if (on_disk(b, kind)) {
        at.slot = update_slot(b, part->group, kind);
    }
    return at;
}

/* What an operation works on. */
struct save_op {
    enum program_kind kind;
    /* What is walked, and what goes with it: of a master both its parts. */
    enum tier_kind state;
    bool parameter, sums;
};

static void set_operand(struct program_op *op, enum tier_kind kind, const struct slice *at)
{
    int operand = OPERAND_STATE + (int)kind;
    if (op->kind == OP_EXPORT)
        op_reads(op, operand, at->slot);
    else
        op_writes(op, operand, at->slot);
    op->offsets[operand] = at->offset;
    op->per_rank[operand] = at->per_rank;
}

/* One operation on a part that is not larger than what is carried at once. */
static void emit_slice(struct builder *b, const struct save_op *what, const struct part *part)
{
    struct program_op op = builder_op(what->kind);
    const enum tier_kind kinds[] = {what->state, TIER_PARAMETER};
    int count = what->parameter && what->state != TIER_PARAMETER ? 2 : 1;
    struct slice at[2], home[2];
    op.unit = part->unit;
    op.state = what->state;
    op.first = part->first;
    op.count = part->count;
    for (int i = 0; i < count; i++) {
        bool beside = kinds[i] == TIER_PARAMETER && what->state == TIER_MASTER;
        home[i] = home_of(b, part, kinds[i], beside);
        at[i] = place_of(b, part, kinds[i], beside);
        if (what->kind == OP_EXPORT && is_carried(b, kinds[i]))
            emit_move(b, OP_PULL, part->unit, &home[i], &at[i]);
        set_operand(&op, kinds[i], &at[i]);
    }
    op_writes(&op, OPERAND_SCRATCH, b->save.tile);
    if (what->sums) op_changes(&op, OPERAND_CHECKSUM, b->program->outside.checksum);
    builder_emit(b, &op);
    for (int i = 0; i < count && what->kind != OP_EXPORT; i++) {
        if (is_carried(b, kinds[i])) emit_move(b, OP_PUSH, part->unit, &at[i], &home[i]);
    }
}

/* A unit or a group, in slices where any of it is carried. */
static void emit_part(struct builder *b, const struct save_op *what, const struct part *part)
{
    bool cut = is_carried(b, what->state) || (what->parameter && is_carried(b, TIER_PARAMETER));
    struct part slice = *part;
    int64_t end = part->first + part->count;
    while (slice.first < end && b->status >= 0) {
        int64_t rest = end - slice.first;
        slice.count = cut && rest > CARRIED ? CARRIED : rest;
        emit_slice(b, what, &slice);
        slice.first += slice.count;
    }
}

/* Of a unit, or none. */
static int first_group(const struct builder *b, int unit)
{
    bool updated = b->config->training && b->model->units[unit].trainable;
    return updated ? b->update.unit_groups[unit] : b->update.group_count;
}

static struct part group_part(const struct builder *b, int group)
{
    const struct group *g = &b->update.groups[group];
    return (struct part){g->unit, group, g->first, g->count};
}

bool save_follows(const struct builder *b)
{
    const struct program_row *row = program_row(b->writer.name);
    return row->exports && row->updates;
}

void save_begin(struct builder *b)
{
    for (int u = 0; u < b->model->unit_count && b->status >= 0; u++) {
        b->save.exported[u] = false;
    }
}

/* The optimizer's states of a group; the parameters beside its masters are in place, and, unless
 * the list `loads` them, the states of an export too. */
static void emit_group(struct builder *b, enum program_kind kind, int group, bool loads)
{
    const struct part part = group_part(b, group);
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        enum tier_kind state = (enum tier_kind)k;
        bool master = state == TIER_MASTER;
        if (state == TIER_PARAMETER || !is_moved(state) || !has_home(b, part.unit, state)) continue;
        if (kind == OP_DRAW && !master) continue;
        struct save_op what = {.kind = kind, .state = state};
        what.parameter = master && (kind == OP_EXPORT || same_elements(b));
        what.sums = master && kind != OP_EXPORT;
        if (kind == OP_EXPORT && loads) update_load(b, group, state);
        emit_part(b, &what, &part);
        if (kind != OP_EXPORT) update_store(b, group, state);
    }
}

/* Whether the parameters of a unit are walked by themselves. Where they are split from masters of
 * the same elements, they are made with those. */
static bool walks_parameters(const struct builder *b, enum program_kind kind, int unit)
{
    return kind == OP_EXPORT || !has_home(b, unit, TIER_MASTER) || !same_elements(b);
}

/* Those of all groups of a unit. */
static void emit_groups(struct builder *b, enum program_kind kind, int unit)
{
    for (int g = first_group(b, unit);
         g < b->update.group_count && b->update.groups[g].unit == unit; g++) {
        emit_group(b, kind, g, true);
    }
}

static void emit_unit(struct builder *b, enum program_kind kind, int unit)
{
    bool disk = on_disk(b, TIER_PARAMETER), trained = b->model->units[unit].trainable;
    struct save_op what = {.kind = kind, .state = program_weights(b->program, unit)};
    struct part part = {unit, -1, 0, program_elements(b->program, unit, what.state)};
    what.sums =
        kind != OP_EXPORT && b->config->training && trained && !has_home(b, unit, TIER_MASTER);
    if (disk) fetch_take(b, unit);
    if (disk && kind == OP_EXPORT) fetch_load(b, unit);
    if (walks_parameters(b, kind, unit)) emit_part(b, &what, &part);
    emit_groups(b, kind, unit);
    if (disk && kind != OP_EXPORT) fetch_store(b, unit);
}

void save_group(struct builder *b, int group)
{
    emit_group(b, OP_EXPORT, group, false);
}

void save_parameters(struct builder *b, int unit)
{
    struct save_op what = {.kind = OP_EXPORT, .state = program_weights(b->program, unit)};
    struct part part = {unit, -1, 0, program_elements(b->program, unit, what.state)};
    if (b->status < 0) return;
    b->save.exported[unit] = true;
    emit_part(b, &what, &part);
}

void save_unit(struct builder *b, int unit)
{
    if (b->status < 0 || !program_row(b->writer.name)->exports || b->save.exported[unit]) return;
    save_parameters(b, unit);
    emit_groups(b, OP_EXPORT, unit);
}

void save_frozen(struct builder *b)
{
    for (int u = 0; u < b->model->unit_count; u++) {
        if (!b->model->units[u].trainable) emit_unit(b, OP_EXPORT, u);
    }
}

void save_emit(struct builder *b)
{
    enum program_kind kind = b->writer.name == PROGRAM_SAVE   ? OP_EXPORT
                             : b->writer.name == PROGRAM_LOAD ? OP_IMPORT
                                                              : OP_DRAW;
    if (kind != OP_EXPORT) {
        struct program_op clear = builder_op(OP_CLEAR);
        op_writes(&clear, OPERAND_TO, b->program->outside.checksum);
        builder_emit(b, &clear);
    }
    for (int u = 0; u < b->model->unit_count; u++) {
        emit_unit(b, kind, u);
    }
}
