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
#include "zero/emit.h"

/* Groups whose gradients are loaded first. Each update then loads those of two more, until as many
 * are there as there are sets: were all asked for at once, parameters of the first visits would
 * stand behind them; were it always a few, an update would wait for each. */
#define GRADIENTS_FIRST 8

static bool states_on_disk(const struct builder *b)
{
    return b->config->tier[TIER_MOMENT1] == ZI_TIER_NVME;
}

static bool gradient_on_disk(const struct builder *b)
{
    return b->config->tier[TIER_GRADIENT] == ZI_TIER_NVME;
}

/* Whether bytes in a tier's memory (nvme: its host slots) must move for the optimizer. */
static bool is_apart(const struct builder *b, enum zi_tier tier)
{
    if (b->config->unified) return false;
    return (tier == ZI_TIER_DEVICE) != (b->adam_tier == ZI_TIER_DEVICE);
}

static bool uses_groups(const struct builder *b)
{
    return states_on_disk(b) || gradient_on_disk(b) ||
           is_apart(b, b->config->tier[TIER_GRADIENT]) ||
           is_apart(b, b->config->tier[TIER_PARAMETER]);
}

static int64_t updated_elements(const struct builder *b, int unit)
{
    const struct partition_unit *part = &b->partition->units[unit];
    return b->sharded_optimizer ? part->shard : part->padded;
}

/* Units in the order in which forward first uses them. */
static void order_units(struct builder *b)
{
    int count = 0;
    for (int o = 0; o < b->model->op_count; o++) {
        const struct model_op *op = &b->model->ops[o];
        for (int i = 0; i < op->unit_count; i++) {
            if (b->updated[op->units[i]]) continue;
            b->updated[op->units[i]] = true;
            b->update_order[count++] = op->units[i];
        }
    }
    ZI_REQUIRE(count == b->model->unit_count);
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
    for (int i = 0; i < b->model->unit_count; i++) {
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

static int lay_state(struct builder *b, enum zi_tier tier, size_t bytes, const char *name, int set)
{
    return builder_slot(b, tier, PURPOSE_WORK, bytes, "%s %d", name, set);
}

static void lay_set(struct builder *b, int set, size_t elements)
{
    const struct zero_config *c = b->config;
    struct group_slots *s = &b->group_slots[set];
    *s = (struct group_slots){-1, -1, -1, -1, -1, -1};
    if (is_apart(b, c->tier[TIER_PARAMETER]))
        s->parameter = lay_state(b, b->adam_tier, elements * zi_dtype_bytes(c->compute),
                                 "group parameter", set);
    if (states_on_disk(b)) {
        if (c->compute == ZI_BF16)
            s->remainder = lay_state(b, ZI_TIER_HOST, elements * 2, "group remainder", set);
        s->moment1 = lay_state(b, ZI_TIER_HOST, elements * 4, "group moment1", set);
        s->moment2 = lay_state(b, ZI_TIER_HOST, elements * 4, "group moment2", set);
    }
    if (gradient_on_disk(b))
        s->gradient_host = lay_state(b, ZI_TIER_HOST, elements * zi_dtype_bytes(c->gradient),
                                     "group gradient from disk", set);
    if (is_apart(b, c->tier[TIER_GRADIENT]))
        s->gradient = lay_state(b, b->adam_tier, elements * zi_dtype_bytes(c->gradient),
                                "group gradient", set);
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
        const int kept[] = {s->remainder, s->moment1, s->moment2};
        for (int i = 0; i < 3; i++) {
            if (kept[i] >= 0) b->program->slots[kept[i]].lasting = true;
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

static void load_slice(struct builder *b, const struct group *g, int home, int slot, size_t element)
{
    if (slot < 0) return;
    struct slice from = home_slice(b, home, g->first, g->count, element);
    struct slice to = {slot, 0, from.bytes};
    emit_move(b, OP_LOAD, g->unit, &from, &to);
}

static void load_group(struct builder *b, int group)
{
    const struct group *g = &b->groups[group];
    const struct program_home *home = &b->program->homes[g->unit];
    const struct group_slots *s = set_of(b, group);
    if (!states_on_disk(b)) return;
    load_slice(b, g, home->remainder, s->remainder, 2);
    load_slice(b, g, home->moment1, s->moment1, 4);
    load_slice(b, g, home->moment2, s->moment2, 4);
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
        const struct group *g = &b->groups[b->gradients_loaded];
        if (!gradient_on_disk(b)) continue;
        load_slice(b, g, b->program->homes[g->unit].gradient,
                   set_of(b, b->gradients_loaded)->gradient_host,
                   zi_dtype_bytes(b->config->gradient));
    }
}

void update_begin(struct builder *b)
{
    b->pending = list_is_pending(b->name);
    b->states_loaded = b->gradients_loaded = b->preloaded = 0;
    if (!b->config->training) return;
    memset(b->updated, 0, (size_t)b->model->unit_count * sizeof *b->updated);
    for (int u = 0; u < b->model->unit_count; u++) {
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
    struct slice to = {slot, 0, from.bytes};
    emit_move(b, b->adam_tier == ZI_TIER_HOST ? OP_PULL : OP_PUSH, unit, &from, &to);
    return to;
}

static void put(struct program_op *op, int role, const struct slice *slice, bool changes)
{
    if (slice->slot < 0) return;
    op_reads(op, role, slice->slot);
    if (changes) op_writes(op, role, slice->slot);
    op->offsets[role] = slice->offset;
}

/* The states of a group where adam works on them: in its set, or at home. */
static struct slice state_slice(const struct builder *b, const struct group *g, int home, int slot,
                                size_t element)
{
    if (home < 0) return (struct slice){-1, 0, 0};
    if (slot >= 0) return (struct slice){slot, 0, (size_t)g->count * element};
    return home_slice(b, home, g->first, g->count, element);
}

static void emit_adam(struct builder *b, const struct group *g, const struct group_slots *s,
                      const struct slice places[2] /* parameter, gradient */)
{
    const struct program_home *home = &b->program->homes[g->unit];
    const struct zero_config *c = b->config;
    struct slice remainder = state_slice(b, g, home->remainder, s->remainder, 2);
    struct slice moment1 = state_slice(b, g, home->moment1, s->moment1, 4);
    struct slice moment2 = state_slice(b, g, home->moment2, s->moment2, 4);
    struct program_op adam = builder_op(OP_ADAM, b->adam_lane);
    adam.unit = g->unit;
    adam.first = g->first;
    adam.count = g->count;
    /* 12 bytes are read and written: moments, and the master, whole or split. */
    adam.bytes = (size_t)g->count * (24 + zi_dtype_bytes(c->gradient));
    put(&adam, ROLE_OUTPUT, &places[0], true);
    put(&adam, ROLE_GRADIENT, &places[1], false);
    put(&adam, ROLE_REMAINDER, &remainder, true);
    put(&adam, ROLE_MOMENT1, &moment1, true);
    put(&adam, ROLE_MOMENT2, &moment2, true);
    op_reads(&adam, ROLE_INPUT, b->program->inside.checksum);
    op_writes(&adam, ROLE_INPUT, b->program->inside.checksum);
    if (!c->deferred) op_reads(&adam, ROLE_RESULTS, b->program->outside.norm);
    builder_emit(b, &adam);
}

static void store_slice(struct builder *b, const struct group *g, int slot, int home,
                        size_t element)
{
    if (slot < 0) return;
    struct slice to = home_slice(b, home, g->first, g->count, element);
    struct slice from = {slot, 0, to.bytes};
    emit_move(b, OP_STORE, g->unit, &from, &to);
}

static void update_group(struct builder *b, int group, int workplace)
{
    static const struct group_slots at_home = {-1, -1, -1, -1, -1, -1};
    const struct group *g = &b->groups[group];
    const struct program_home *home = &b->program->homes[g->unit];
    const struct zero_config *c = b->config;
    const struct group_slots *s = uses_groups(b) ? set_of(b, group) : &at_home;
    size_t element = zi_dtype_bytes(c->compute);
    int64_t own = b->sharded_optimizer && !b->sharded_parameters
                      ? c->rank * b->partition->units[g->unit].shard
                      : 0;
    load_states(b, group + 1);
    int gradients = 2 * group + GRADIENTS_FIRST;
    load_gradients(b, gradients < group + c->groups ? gradients : group + c->groups);
    struct slice parameter = {workplace, (size_t)(own + g->first) * element,
                              (size_t)g->count * element};
    struct slice gradient =
        state_slice(b, g, home->gradient, s->gradient_host, zi_dtype_bytes(c->gradient));
    struct slice places[2] = {bring(b, g->unit, parameter, s->parameter),
                              bring(b, g->unit, gradient, s->gradient)};
    emit_adam(b, g, s, places);
    if (s->parameter >= 0)
        emit_move(b, b->adam_tier == ZI_TIER_HOST ? OP_PUSH : OP_PULL, g->unit, &places[0],
                  &parameter);
    store_slice(b, g, s->remainder, home->remainder, 2);
    store_slice(b, g, s->moment1, home->moment1, 4);
    store_slice(b, g, s->moment2, home->moment2, 4);
    load_states(b, group + 1 + c->groups);
}

/* All ranks' shares of a unit that every rank keeps whole (stages 1 and 2). */
static void emit_publish(struct builder *b, int unit, int workplace)
{
    struct program_op publish = builder_op(OP_PUBLISH, LANE_COMM);
    publish.unit = unit;
    publish.bytes = (size_t)b->partition->units[unit].padded * zi_dtype_bytes(b->config->compute);
    op_reads(&publish, ROLE_OUTPUT, workplace);
    op_writes(&publish, ROLE_OUTPUT, workplace);
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
