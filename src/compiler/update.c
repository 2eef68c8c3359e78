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
 * set before. What is in another memory than the optimizer's is brought there and taken back, through
 * sets of their own: where the device updates states of the host, all but gradients that are there
 * already. With a deferred update the first loads of the next program stand between the visits
 * of backward, where the disk is nearly idle: a pending update finds its first groups in memory.
 * Gradients on nvme cannot be early: the first groups' are the last that backward makes.
 *
 * Speculative updates (speculate.c) go through the groups from the last one down, in backward, whose
 * order that is. Their states are loaded from the end of the pending update on, a share after each
 * visit, so that parameters of forward do not stand behind them all.
 *
 * Invariant: groups are taken in turn, those of a speculative update behind those of a pending one;
 * the one at place p uses set p modulo their number, of what is loaded and of what is brought; its
 * loads are written after the stores of the group that had its set before. */
#include "base/log.h"
#include "compiler/compile.h"
#include "compiler/home.h"
#include "compiler/resolve.h"
#include "compiler/value.h"

/* Groups whose gradients are loaded first. Each update then loads those of two more, until as many
 * are there as there are sets: were all asked for at once, parameters of the first visits would
 * stand behind them; were it always a few, an update would wait for each. */
#define GRADIENTS_FIRST 8

/* Sets in device memory. So far may states be pushed ahead of their update, which is about what a rank
 * has of a unit of a large model; more would take memory from activations. */
#define DEVICE_SETS 16

/* Whether a kind of state passes through the slots of groups: what is on nvme is loaded, what is in
 * another memory than the optimizer's is brought. */
static bool is_loaded(const struct builder *b, enum tier_kind kind)
{
    return tier_kind_row(kind)->grouped && zero_has(b->config, kind, true) &&
           zero_tier(b->config, kind) == ZI_TIER_NVME;
}

static bool is_brought(const struct builder *b, enum tier_kind kind)
{
    if (kind == TIER_PARAMETER && b->derived.updates_fetched) return false;
    return update_brings(b->config, b->derived.optimizer_tier, kind);
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

/* Units in the order in which forward first uses them; of an operation's the last ones first, which are
 * the smaller: as long as it is not stored, behind the states of those before it, a unit has its place. */
static void order_units(struct builder *b)
{
    struct update *u = &b->update;
    for (int o = 0; o < b->model->op_count; o++) {
        const struct model_op *op = &b->model->ops[o];
        for (int i = op->unit_count - 1; i >= 0; i--) {
            int unit = op->units[i];
            if (u->updated[unit] || !b->model->units[unit].trainable) continue;
            u->updated[unit] = true;
            u->units[u->unit_count++] = unit;
        }
    }
}

static void list_groups(struct builder *b)
{
    struct update *u = &b->update;
    int64_t size = b->config->group, count = 0;
    bool cut = uses_groups(b);
    for (int unit = 0; unit < b->model->unit_count; unit++) {
        count += cut ? (updated_elements(b, unit) + size - 1) / size : 1;
    }
    u->groups = builder_memory(b, (size_t)count, sizeof *u->groups);
    if (!u->groups) return;
    for (int i = 0; i < u->unit_count; i++) {
        int unit = u->units[i];
        int64_t elements = updated_elements(b, unit);
        u->unit_groups[unit] = u->group_count;
        for (int64_t first = 0; first < elements; first += cut ? size : elements) {
            int64_t rest = elements - first;
            u->groups[u->group_count++] =
                (struct group){unit, first, cut && rest > size ? size : rest};
        }
        if (!unit_is_speculated(b, unit)) u->deferred_count = u->group_count;
    }
}

static int set_count(const struct builder *b)
{
    return b->config->groups < b->update.group_count ? b->config->groups : b->update.group_count;
}

static void lay_set(struct builder *b, int set, int64_t elements)
{
    struct group_slots *s = &b->update.sets[set];
    bool brings = set < b->update.brought_count;
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        enum tier_kind kind = (enum tier_kind)k;
        const char *name = tier_kind_name(kind);
        size_t bytes = program_state_bytes(b->program, kind, elements);
        s->loaded[k] = s->brought[k] = -1;
        if (is_loaded(b, kind))
            s->loaded[k] =
                builder_slot(b, ZI_TIER_HOST, PURPOSE_WORK, bytes, "loaded %s %d", name, set);
        if (brings && is_brought(b, kind))
            s->brought[k] = builder_slot(b, b->derived.optimizer_tier, PURPOSE_WORK, bytes,
                                         "brought %s %d", name, set);
    }
}

/* The slots of all groups, and which of them last. */
static void lay_sets(struct builder *b)
{
    struct update *u = &b->update;
    int64_t largest = 0;
    for (int g = 0; g < u->group_count; g++) {
        if (u->groups[g].count > largest) largest = u->groups[g].count;
    }
    int sets = set_count(b);
    ZI_REQUIRE(b->config->groups <= GROUPS_MAX);
    u->brought_count =
        b->derived.optimizer_tier == ZI_TIER_DEVICE && sets > DEVICE_SETS ? DEVICE_SETS : sets;
    for (int set = 0; set < sets; set++) {
        lay_set(b, set, largest);
    }
    /* States that are loaded ahead for the next program last from one to the other. */
    for (int set = 0; set < sets && b->config->deferred && b->status >= 0; set++) {
        const struct group_slots *s = &u->sets[set];
        for (int k = 0; k < TIER_KIND_COUNT; k++) {
            if (is_optimizers((enum tier_kind)k) && s->loaded[k] >= 0)
                b->program->slots[s->loaded[k]].lasting = true;
        }
    }
}

void update_lay(struct builder *b)
{
    struct update *u = &b->update;
    u->units = builder_numbers(b, b->model->unit_count);
    u->unit_groups = builder_numbers(b, b->model->unit_count);
    u->updated = builder_memory(b, (size_t)b->model->unit_count, sizeof *u->updated);
    if (b->status < 0) return;
    order_units(b);
    list_groups(b);
    if (uses_groups(b)) lay_sets(b);
}

/* Groups whose states a list finds loaded when it brings an update first. */
static int preload_count(const struct builder *b)
{
    int deferred = b->update.deferred_count;
    return set_count(b) < deferred ? set_count(b) : deferred;
}

/* The place of a group among all that a list takes in turn: those of speculative updates follow those
 * of the update that it brings first. */
static int place_of(const struct builder *b, int group)
{
    const struct update *u = &b->update;
    int first = u->pending ? u->pending_count : 0;
    return b->writer.speculates ? first + u->group_count - 1 - group : group;
}

static const struct group_slots *set_of(const struct builder *b, int group)
{
    return &b->update.sets[place_of(b, group) % set_count(b)];
}

int update_slot(const struct builder *b, int group, enum tier_kind kind)
{
    return set_of(b, group)->loaded[kind];
}

void update_load(struct builder *b, int group, enum tier_kind kind)
{
    const struct group *g = &b->update.groups[group];
    if (!is_loaded(b, kind)) return;
    struct slice from = home_slice(b, g->unit, kind, g->first, g->count);
    struct slice to = {update_slot(b, group, kind), 0, from.bytes, 0};
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
    struct update *u = &b->update;
    if (end > u->pending_count) end = u->pending_count;
    for (; u->states_loaded < end; u->states_loaded++) {
        load_group(b, u->states_loaded);
    }
}

static void load_gradients(struct builder *b, int end)
{
    struct update *u = &b->update;
    if (end > u->pending_count) end = u->pending_count;
    for (; u->gradients_loaded < end; u->gradients_loaded++) {
        if (uses_groups(b)) update_load(b, u->gradients_loaded, TIER_GRADIENT);
    }
}

void update_begin(struct builder *b)
{
    struct update *u = &b->update;
    const struct program_row *row = program_row(b->writer.name);
    u->pending = row->updates;
    u->pending_count = row->rest ? u->deferred_count : u->group_count;
    u->states_loaded = u->pending ? preload_count(b) : 0;
    u->gradients_loaded = u->preloaded = 0;
    u->guesses_loaded = u->guesses_made = u->group_count;
    u->guesses_start = u->guesses_end = -1;
    for (int unit = 0; unit < b->model->unit_count && b->config->training; unit++) {
        u->updated[unit] =
            !b->model->units[unit].trainable || (row->rest && unit_is_speculated(b, unit));
    }
}

bool update_is_pending(const struct builder *b, int unit)
{
    return b->update.pending && !b->update.updated[unit];
}

void update_start(struct builder *b)
{
    load_states(b, set_count(b));
}

/* Whether the list has brought all of the update that it brings first. */
static bool is_brought_first(const struct builder *b)
{
    for (int unit = 0; unit < b->model->unit_count; unit++) {
        if (update_is_pending(b, unit)) return false;
    }
    return true;
}

/* Whether a group's set holds states that a speculative update has still to work on. */
static bool waits_for_guess(struct builder *b, int group)
{
    const struct update *u = &b->update;
    const struct group_slots *set = set_of(b, group);
    bool waits = false;
    b->writer.speculates = true;
    for (int g = u->guesses_loaded; g < u->guesses_made; g++)
        waits = waits || set_of(b, g) == set;
    b->writer.speculates = false;
    return waits;
}

/* Loads for the next program. */
static void preload(struct builder *b, double share)
{
    struct update *u = &b->update;
    int end = (int)(share * preload_count(b));
    while (u->preloaded < end && !waits_for_guess(b, u->preloaded))
        load_group(b, u->preloaded++);
}

void update_end(struct builder *b)
{
    const struct update *u = &b->update;
    if (!list_is_training(b) || !b->config->deferred || b->status < 0) return;
    preload(b, 1.0);
    ZI_REQUIRE(u->preloaded == preload_count(b));
    ZI_REQUIRE(!program_row(b->writer.name)->speculates || u->guesses_made == u->deferred_count);
}

int update_ahead(const struct builder *b)
{
    bool delivers = b->derived.sharded_parameters || !b->config->unified;
    if (b->config->prefetch == 0) return 0;
    return b->derived.optimizer_lane == LANE_HOST ? b->config->prefetch : delivers;
}

/* Where the optimizer works on a kind of state of a group that is at `at`: there, or where it is
 * brought. */
static struct slice bring(struct builder *b, int group, enum tier_kind kind, const struct slice *at)
{
    const struct update *u = &b->update;
    if (at->slot < 0 || !is_brought(b, kind)) return *at;
    int set = place_of(b, group) % u->brought_count;
    struct slice to = {u->sets[set].brought[kind], 0, at->bytes, 0};
    emit_move(b, b->derived.optimizer_tier == ZI_TIER_HOST ? OP_PULL : OP_PUSH,
              u->groups[group].unit, at, &to);
    return to;
}

/* And back. */
static void take_back(struct builder *b, int unit, const struct slice *from, const struct slice *to)
{
    if (from->slot == to->slot) return;
    emit_move(b, b->derived.optimizer_tier == ZI_TIER_HOST ? OP_PUSH : OP_PULL, unit, from, to);
}

/* A kind of state of a group: where it was loaded to, or at home. */
static struct slice state_slice(const struct builder *b, const struct group *g, enum tier_kind kind,
                                int slot)
{
    struct slice home = home_slice(b, g->unit, kind, g->first, g->count);
    if (home.slot < 0) return (struct slice){-1, 0, 0, 0};
    return slot >= 0 ? (struct slice){slot, 0, home.bytes, 0} : home;
}

/* The same of its gradient: in a speculative update where it has left for nvme from. */
static struct slice gradient_slice(const struct builder *b, const struct group *g, int slot)
{
    int left = b->writer.speculates ? gradient_at_hand(b, g->unit) : -1;
    struct slice at = state_slice(b, g, TIER_GRADIENT, slot);
    if (left < 0) return at;
    size_t first = program_state_bytes(b->program, TIER_GRADIENT, g->first);
    return (struct slice){left, first, at.bytes, 0};
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
    if (b->writer.speculates) adam.offsets[OPERAND_CHECKSUM] = PROGRAM_CHECKSUM_NEXT;
    if (!b->config->deferred) op_reads(&adam, OPERAND_NORM, b->program->outside.norm);
    builder_emit(b, &adam);
}

/* This rank's part of the parameters of a group in the slot that has them. */
static struct slice parameter_slice(const struct builder *b, const struct group *g, int slot)
{
    size_t element = program_state_bytes(b->program, TIER_PARAMETER, 1);
    bool part = b->derived.sharded_optimizer && !b->derived.sharded_parameters;
    return (struct slice){
        .slot = slot,
        .offset = (size_t)g->first * element,
        .bytes = (size_t)g->count * element,
        .per_rank = part ? (size_t)b->partition->units[g->unit].shard * element : 0,
    };
}

void update_store(struct builder *b, int group, enum tier_kind kind)
{
    const struct group *g = &b->update.groups[group];
    if (!is_loaded(b, kind)) return;
    struct slice to = home_stored(b, g->unit, kind, g->first, g->count);
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

/* Whether every rank keeps the whole unit, of which each has updated its share (stages 1 and 2). */
static bool publishes(const struct builder *b)
{
    return b->derived.sharded_optimizer && !b->derived.sharded_parameters;
}

/* What has been changed goes back. Parameters that were fetched go with the last group of their unit,
 * whole: an update would wait for those of the group before it, which lie in the same slot. Here they
 * go only if the group is exported from there. */
static void return_group(struct builder *b, int group, const struct workplace *work,
                         const struct workplace *home)
{
    bool later = b->derived.updates_fetched && !save_follows(b);
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        if (k == TIER_GRADIENT || (k == TIER_PARAMETER && later)) continue;
        take_back(b, b->update.groups[group].unit, &work->at[k], &home->at[k]);
    }
}

/* The update of a group whose states have been loaded. */
static void update_loaded(struct builder *b, int group, const struct update_place *place)
{
    const struct group *g = &b->update.groups[group];
    const struct group_slots *s = uses_groups(b) ? set_of(b, group) : NULL;
    struct workplace home, work;
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        enum tier_kind kind = (enum tier_kind)k;
        home.at[k] = k == TIER_PARAMETER ? parameter_slice(b, g, place->home)
                                         : state_slice(b, g, kind, s ? s->loaded[k] : -1);
        if (kind == TIER_GRADIENT) home.at[k] = gradient_slice(b, g, s ? s->loaded[k] : -1);
        work.at[k] = bring(b, group, kind, &home.at[k]);
    }
    if (place->work != place->home) work.at[TIER_PARAMETER].slot = place->work;
    emit_adam(b, g, &work);
    return_group(b, group, &work, &home);
    if (s) store_group(b, group);
    if (save_follows(b)) save_group(b, group);
}

static void update_group(struct builder *b, int group, const struct update_place *place)
{
    int groups = b->config->groups, gradients = 2 * group + GRADIENTS_FIRST;
    load_states(b, group + 1);
    load_gradients(b, gradients < group + groups ? gradients : group + groups);
    update_loaded(b, group, place);
    load_states(b, group + 1 + groups);
}

/* Loads states for speculative updates, down to a group. */
static void load_guesses(struct builder *b, int end)
{
    struct update *u = &b->update;
    if (end < u->deferred_count) end = u->deferred_count;
    b->writer.speculates = true;
    while (u->guesses_loaded > end)
        load_group(b, --u->guesses_loaded);
    b->writer.speculates = false;
}

/* The speculative update of the group that is next. */
static void guess_group(struct builder *b, const struct update_place *place)
{
    struct update *u = &b->update;
    int group = u->guesses_made - 1;
    load_guesses(b, group);
    b->writer.speculates = true;
    if (gradient_at_hand(b, u->groups[group].unit) < 0) update_load(b, group, TIER_GRADIENT);
    update_loaded(b, group, place);
    b->writer.speculates = false;
    u->guesses_made = group;
    load_guesses(b, group - set_count(b));
}

/* All ranks' shares of a unit that every rank keeps whole. */
static void emit_publish(struct builder *b, int unit, int slot)
{
    struct program_op publish = builder_op(OP_PUBLISH);
    publish.unit = unit;
    op_changes(&publish, OPERAND_UNIT, slot);
    builder_emit(b, &publish);
}

void update_unit(struct builder *b, int unit, const struct update_place *place)
{
    int first = b->update.unit_groups[unit];
    size_t bytes = home_bytes(b, unit, TIER_PARAMETER);
    struct slice work = {place->work, 0, bytes, 0}, home = {place->home, 0, bytes, 0};
    b->update.updated[unit] = true;
    for (int g = first; g < b->update.group_count && b->update.groups[g].unit == unit; g++) {
        update_group(b, g, place);
    }
    if (publishes(b)) emit_publish(b, unit, place->work);
    if (publishes(b) || !save_follows(b)) take_back(b, unit, &work, &home);
}

void update_guess(struct builder *b, int unit, const struct update_place *place)
{
    struct update *u = &b->update;
    size_t bytes = home_bytes(b, unit, TIER_PARAMETER);
    struct slice work = {place->work, 0, bytes, 0}, home = {place->home, 0, bytes, 0};
    while (u->guesses_made > u->deferred_count && u->groups[u->guesses_made - 1].unit == unit)
        guess_group(b, place);
    b->writer.speculates = true;
    if (publishes(b)) emit_publish(b, unit, place->work);
    take_back(b, unit, &work, &home);
    b->writer.speculates = false;
}

/* Whether a later visit needs the parameters of a unit. */
static bool is_needed_after(const struct builder *b, int unit, int visit)
{
    for (int v = visit + 1; v < b->schedule.count; v++) {
        const struct visit *later = &b->schedule.visits[v];
        for (int o = later->first; o < later->first + later->count; o++) {
            const struct model_op *op = &b->model->ops[o];
            for (int i = 0; i < op->unit_count; i++) {
                if (op->units[i] == unit) return true;
            }
        }
    }
    return false;
}

/* After a visit of a list that speculates. */
static void guess_after(struct builder *b, int visit)
{
    struct update *u = &b->update;
    int first = b->schedule.first_backward, sets = set_count(b);
    if (u->guesses_start < 0) u->guesses_start = visit;
    while (u->guesses_made > u->deferred_count) {
        int unit = u->groups[u->guesses_made - 1].unit;
        if (!gradient_is_final(b, unit) || is_needed_after(b, unit, visit)) break;
        fetch_guess(b, unit, visit);
    }
    double share = visit < first ? schedule_share(b, u->guesses_start, first + 1, visit) : 1.0;
    load_guesses(b, u->guesses_made - (int)(share * sets));
    if (u->guesses_loaded == u->deferred_count && u->guesses_end < 0) u->guesses_end = visit;
}

/* Loads for the next program: a share after each visit of backward, as large as the visit's of the
 * arithmetic, so that they do not stand in the lane's queue behind the last parameters of backward,
 * nor before the first. */
void update_after(struct builder *b, int visit)
{
    const struct update *u = &b->update;
    int first = b->schedule.first_backward;
    if (!list_is_training(b) || !b->config->deferred || b->status < 0) return;
    if (!is_brought_first(b)) return;
    if (program_row(b->writer.name)->speculates) {
        guess_after(b, visit);
        if (u->guesses_end < 0) return;
        if (first < u->guesses_end) first = u->guesses_end;
    }
    if (visit >= first) preload(b, schedule_share(b, first, b->schedule.count, visit));
}

void update_visit(struct builder *b, int visit)
{
    if (!b->config->deferred && !b->update.pending) {
        value_norm(b);
        b->update.pending = true;
    }
    fetch_update(b, b->schedule.visits[visit].first, visit, visit);
}
