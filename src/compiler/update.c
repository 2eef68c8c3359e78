/* SPDX-License-Identifier: Apache-2.0 */
/* The optimizer as a pipeline over groups.
 *
 * A group is a slice of what this rank updates of a unit. Where states move between tiers it is
 * `zero.group` elements long: `load` brings its states from nvme into one of `config.groups` sets
 * of slots, `adam` works on them, `store` sends them back while later groups are loaded. Where all
 * states can be reached in place, a unit is one group without slots.
 *
 * Groups are updated in the order of forward, so loads need no choice: they are written in that
 * order, as far ahead as there are sets, and a load waits for the store of the group that had its
 * set before. With a deferred update the first loads of the next program stand between the visits
 * of backward, where the disk is nearly idle: a pending update finds its first groups in memory.
 * Gradients on nvme cannot be early: the first groups' are the last that backward makes.
 *
 * Invariant: group g uses set g % groups; loads of group g + groups are written after the store of
 * group g. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "compiler/emit.h"

/* Groups whose gradients are loaded first. Each update then loads those of two more, until as many
 * are there as there are sets: were all asked for at once, parameters of the first visits would
 * stand behind them; were it always a few, an update would wait for each. */
#define GRADIENTS_FIRST 8

/* Whether a kind of state passes through the slots of groups: what is on nvme is loaded, what is in
 * another memory than the optimizer's is brought. */
static bool is_loaded(const struct builder *b, enum tier_kind kind)
{
    return tier_kind_row(kind)->grouped && tier_kind_exists(kind, true, b->config->compute) &&
           zero_tier(b->config, kind) == ZI_TIER_NVME;
}

static bool is_brought(const struct builder *b, enum tier_kind kind)
{
    if (b->config->unified || !tier_kind_exists(kind, true, b->config->compute)) return false;
    return (zero_tier(b->config, kind) == ZI_TIER_DEVICE) != (b->adam_tier == ZI_TIER_DEVICE);
}

static bool uses_groups(const struct builder *b)
{
    for (int kind = 0; kind < TIER_KIND_COUNT; kind++) {
        if (is_loaded(b, (enum tier_kind)kind) || is_brought(b, (enum tier_kind)kind)) return true;
    }
    return false;
}

static bool is_optimizers(enum tier_kind kind)
{
    return tier_kind_row(kind)->place == PLACE_OPTIMIZER;
}

static int64_t updated_elements(const struct builder *b, int unit)
{
    return program_elements(b->program, unit, TIER_GRADIENT);
}

/* Units in the order in which forward first uses them. */
static void order_units(struct builder *b)
{
    for (int o = 0; o < b->model->op_count; o++) {
        const struct model_op *op = &b->model->ops[o];
        for (int i = 0; i < op->unit_count; i++) {
            int unit = op->units[i];
            if (b->updated[unit] || !b->model->units[unit].trainable) continue;
            b->updated[unit] = true;
            b->update_order[b->update_count++] = unit;
        }
    }
}

static enum zi_status list_groups(struct builder *b)
{
    int64_t size = b->config->group, count = 0;
    bool cut = uses_groups(b);
    for (int u = 0; u < b->model->unit_count; u++) {
        count += cut ? (updated_elements(b, u) + size - 1) / size : 1;
    }
    b->groups = malloc((size_t)(count + 1) * sizeof *b->groups);
    if (!b->groups)
        return zi_fail(ZI_ERROR_DEVICE, "zero", "no memory for the groups of the optimizer");
    for (int i = 0; i < b->update_count; i++) {
        int unit = b->update_order[i];
        int64_t elements = updated_elements(b, unit);
        b->unit_groups[unit] = b->group_count;
        for (int64_t first = 0; first < elements; first += cut ? size : elements) {
            int64_t rest = elements - first;
            b->groups[b->group_count++] =
                (struct group){unit, first, cut && rest > size ? size : rest};
        }
    }
    return ZI_OK;
}

static int set_count(const struct builder *b)
{
    return b->config->groups < b->group_count ? b->config->groups : b->group_count;
}

static void lay_set(struct builder *b, int set, size_t elements)
{
    struct group_slots *s = &b->group_slots[set];
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        enum tier_kind kind = (enum tier_kind)k;
        const char *name = tier_kind_name(kind);
        size_t bytes = elements * program_element_bytes(b->program, kind);
        s->loaded[k] = s->brought[k] = -1;
        if (is_loaded(b, kind))
            s->loaded[k] =
                builder_slot(b, ZI_TIER_HOST, PURPOSE_WORK, bytes, "loaded %s %d", name, set);
        if (is_brought(b, kind))
            s->brought[k] =
                builder_slot(b, b->adam_tier, PURPOSE_WORK, bytes, "brought %s %d", name, set);
    }
}

enum zi_status update_lay(struct builder *b)
{
    order_units(b);
    ZI_TRY(list_groups(b));
    if (!uses_groups(b)) return ZI_OK;
    int64_t largest = 0;
    for (int g = 0; g < b->group_count; g++) {
        if (b->groups[g].count > largest) largest = b->groups[g].count;
    }
    int sets = set_count(b);
    ZI_REQUIRE(b->config->groups <= GROUPS_MAX);
    for (int set = 0; set < sets; set++) {
        lay_set(b, set, (size_t)largest);
    }
    /* States that are loaded ahead for the next program last from one to the other. */
    for (int set = 0; set < sets && b->config->deferred && b->status >= 0; set++) {
        const struct group_slots *s = &b->group_slots[set];
        for (int k = 0; k < TIER_KIND_COUNT; k++) {
            if (is_optimizers((enum tier_kind)k) && s->loaded[k] >= 0)
                b->program->slots[s->loaded[k]].lasting = true;
        }
    }
    return b->status;
}

bool list_is_pending(enum program_name name)
{
    return name == PROGRAM_TRAIN_UPDATE || name == PROGRAM_VALIDATE_UPDATE ||
           name == PROGRAM_FLUSH_UPDATE;
}

static struct group_slots *set_of(struct builder *b, int group)
{
    return &b->group_slots[group % b->config->groups];
}

int update_slot(struct builder *b, int group, enum tier_kind kind)
{
    return set_of(b, group)->loaded[kind];
}

void update_load(struct builder *b, int group, enum tier_kind kind)
{
    const struct group *g = &b->groups[group];
    if (!is_loaded(b, kind)) return;
    int home = b->program->homes[g->unit].slots[kind], slot = update_slot(b, group, kind);
    struct slice from =
        home_slice(b, home, g->first, g->count, program_element_bytes(b->program, kind));
    struct slice to = {slot, 0, from.bytes, 0};
    emit_move(b, OP_LOAD, g->unit, &from, &to);
}

static void load_group(struct builder *b, int group)
{
    for (int k = 0; k < TIER_KIND_COUNT && uses_groups(b); k++) {
        if (is_optimizers((enum tier_kind)k)) update_load(b, group, (enum tier_kind)k);
    }
}

static void load_states(struct builder *b, int end)
{
    if (end > b->group_count) end = b->group_count;
    for (; b->states_loaded < end; b->states_loaded++) {
        load_group(b, b->states_loaded);
    }
}

static void load_gradients(struct builder *b, int end)
{
    if (end > b->group_count) end = b->group_count;
    for (; b->gradients_loaded < end; b->gradients_loaded++) {
        if (uses_groups(b)) update_load(b, b->gradients_loaded, TIER_GRADIENT);
    }
}

void update_begin(struct builder *b)
{
    b->pending = list_is_pending(b->name);
    b->states_loaded = b->gradients_loaded = b->preloaded = 0;
    if (!b->config->training) return;
    for (int u = 0; u < b->model->unit_count; u++) {
        b->updated[u] = !b->model->units[u].trainable;
        b->gradients[u].seen = 0;
    }
    if (!b->pending) return;
    b->states_loaded = set_count(b);
}

/* Before an immediate update: the states of as many groups as there are sets. */
void update_start(struct builder *b)
{
    load_states(b, set_count(b));
}

/* During backward, for the next program's update: the same, a share after each visit, so that loads
 * do not stand in the lane's queue behind the last parameters of backward, nor before the first. */
void update_preload(struct builder *b, double share)
{
    int end = (int)(share * set_count(b));
    for (int u = 0; u < b->model->unit_count && b->pending; u++) {
        if (!b->updated[u]) return;
    }
    for (; b->preloaded < end; b->preloaded++) {
        load_group(b, b->preloaded);
    }
}

int update_ahead(const struct builder *b)
{
    bool delivers = b->sharded_parameters || !b->config->unified;
    if (b->config->prefetch == 0) return 0;
    return b->adam_lane == LANE_HOST ? b->config->prefetch : delivers;
}

/* Brings a slice to the optimizer's memory through `slot`; where that is -1 it is used in place. */
static struct slice bring(struct builder *b, int unit, struct slice from, int slot)
{
    if (slot < 0) return from;
    struct slice to = {slot, 0, from.bytes, 0};
    emit_move(b, b->adam_tier == ZI_TIER_HOST ? OP_PULL : OP_PUSH, unit, &from, &to);
    return to;
}

/* A kind of state of a group where the optimizer finds it: in its set, or at home. */
static struct slice state_slice(const struct builder *b, const struct group *g, enum tier_kind kind,
                                int slot)
{
    size_t element = program_element_bytes(b->program, kind);
    int home = b->program->homes[g->unit].slots[kind];
    if (home < 0) return (struct slice){-1, 0, 0, 0};
    if (slot >= 0) return (struct slice){slot, 0, (size_t)g->count * element, 0};
    return home_slice(b, home, g->first, g->count, element);
}

/* What the optimizer works on, by kind of state. */
struct workplace {
    struct slice at[TIER_KIND_COUNT];
};

static void emit_adam(struct builder *b, const struct group *g, const struct workplace *work)
{
    struct program_op adam = builder_op(OP_ADAM);
    adam.unit = g->unit;
    adam.first = g->first;
    adam.count = g->count;
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        int operand = OPERAND_STATE + k;
        op_reads(&adam, operand, work->at[k].slot);
        if (k != TIER_GRADIENT) op_writes(&adam, operand, work->at[k].slot);
        adam.offsets[operand] = work->at[k].offset;
        adam.per_rank[operand] = work->at[k].per_rank;
    }
    op_changes(&adam, OPERAND_CHECKSUM, b->program->inside.checksum);
    if (!b->config->deferred) op_reads(&adam, OPERAND_NORM, b->program->outside.norm);
    builder_emit(b, &adam);
}

/* This rank's part of the parameters of a group in the slot that has them. */
static struct slice parameter_slice(const struct builder *b, const struct group *g, int slot)
{
    size_t element = program_element_bytes(b->program, TIER_PARAMETER);
    bool part = b->sharded_optimizer && !b->sharded_parameters;
    return (struct slice){
        .slot = slot,
        .offset = (size_t)g->first * element,
        .bytes = (size_t)g->count * element,
        .per_rank = part ? (size_t)b->partition->units[g->unit].shard * element : 0,
    };
}

void update_store(struct builder *b, int group, enum tier_kind kind)
{
    const struct group *g = &b->groups[group];
    if (!is_loaded(b, kind)) return;
    struct slice to = home_slice(b, b->program->homes[g->unit].slots[kind], g->first, g->count,
                                 program_element_bytes(b->program, kind));
    struct slice from = {update_slot(b, group, kind), 0, to.bytes, 0};
    emit_move(b, OP_STORE, g->unit, &from, &to);
}

/* Writes the optimizer's states of a group that were loaded. */
static void store_group(struct builder *b, int group)
{
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        if (is_optimizers((enum tier_kind)k)) update_store(b, group, (enum tier_kind)k);
    }
}

static void update_group(struct builder *b, int group, int workplace)
{
    const struct group *g = &b->groups[group];
    const struct zero_config *c = b->config;
    const struct group_slots *s = uses_groups(b) ? set_of(b, group) : NULL;
    struct slice parameter = parameter_slice(b, g, workplace);
    struct workplace work;
    load_states(b, group + 1);
    int gradients = 2 * group + GRADIENTS_FIRST;
    load_gradients(b, gradients < group + c->groups ? gradients : group + c->groups);
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        struct slice at = k == TIER_PARAMETER
                              ? parameter
                              : state_slice(b, g, (enum tier_kind)k, s ? s->loaded[k] : -1);
        work.at[k] = bring(b, g->unit, at, s ? s->brought[k] : -1);
    }
    emit_adam(b, g, &work);
    if (s && s->brought[TIER_PARAMETER] >= 0)
        emit_move(b, b->adam_tier == ZI_TIER_HOST ? OP_PUSH : OP_PULL, g->unit,
                  &work.at[TIER_PARAMETER], &parameter);
    if (s) store_group(b, group);
    load_states(b, group + 1 + c->groups);
}

/* All ranks' shares of a unit that every rank keeps whole (stages 1 and 2). */
static void emit_publish(struct builder *b, int unit, int workplace)
{
    struct program_op publish = builder_op(OP_PUBLISH);
    publish.unit = unit;
    op_changes(&publish, OPERAND_UNIT, workplace);
    builder_emit(b, &publish);
}

void update_unit(struct builder *b, int unit, int workplace)
{
    int first = b->unit_groups[unit];
    for (int g = first; g < b->group_count && b->groups[g].unit == unit; g++) {
        update_group(b, g, workplace);
    }
    if (b->sharded_optimizer && !b->sharded_parameters) emit_publish(b, unit, workplace);
}
