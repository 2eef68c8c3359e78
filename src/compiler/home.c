/* SPDX-License-Identifier: Apache-2.0 */
/* The homes of states: slots in memory, and arrays of the store. */
#include "compiler/home.h"
#include "compiler/compile.h"
#include "compiler/resolve.h"

/* Whether a kind of state has a slot for each group of the optimizer: on nvme, and where states in host
 * memory stream to the device. There groups go both ways at once, which they could not if they were
 * parts of one slot: a group would be taken before another one has come back. */
static bool is_cut(const struct builder *b, enum tier_kind kind)
{
    const struct tier_kind_row *row = tier_kind_row(kind);
    if (zero_tier(b->config, kind) == ZI_TIER_NVME) return row->grouped;
    return row->place == PLACE_OPTIMIZER &&
           update_brings(b->config, b->derived.optimizer_tier, kind);
}

/* A slot in memory, or one for each group; gives the first. */
static int lay_slots(struct builder *b, int unit, enum tier_kind kind, enum program_purpose purpose)
{
    const struct tier_kind_row *row = tier_kind_row(kind);
    size_t bytes = home_bytes(b, unit, kind), piece = bytes;
    int first = -1;
    if (is_cut(b, kind)) piece = program_state_bytes(b->program, kind, b->config->group);
    for (size_t at = 0; at < bytes; at += piece) {
        size_t rest = bytes - at;
        int slot =
            builder_slot(b, b->config->tier[row->place], purpose, rest < piece ? rest : piece,
                         "%s %s", row->name, b->model->units[unit].name);
        if (at == 0) first = slot;
    }
    return first;
}

/* The home of one kind of state of a unit, in memory or as an array of the store in slices. */
static int lay_home(struct builder *b, int unit, enum tier_kind kind)
{
    static const enum program_purpose purposes[PLACE_COUNT] = {
        [PLACE_PARAMETERS] = PURPOSE_PARAMETER,
        [PLACE_GRADIENTS] = PURPOSE_GRADIENT,
        [PLACE_OPTIMIZER] = PURPOSE_OPTIMIZER,
        [PLACE_ACTIVATIONS] = PURPOSE_ACTIVATION,
    };
    const struct zero_config *c = b->config;
    const struct tier_kind_row *row = tier_kind_row(kind);
    const char *name = b->model->units[unit].name;
    enum program_purpose purpose = purposes[row->place];
    enum zi_tier tier = c->tier[row->place];
    size_t bytes = home_bytes(b, unit, kind);
    if (tier != ZI_TIER_NVME) return lay_slots(b, unit, kind, purpose);
    enum zi_dtype type = zero_type(c, kind);
    size_t slice = bytes;
    if (is_cut(b, kind)) {
        /* Direct I/O begins at whole blocks of the disk; groups of 8-bit numbers end anywhere. */
        size_t group = program_state_bytes(b->program, kind, c->group);
        slice = (group + TIER_STORE_BLOCK - 1) / TIER_STORE_BLOCK * TIER_STORE_BLOCK;
        bytes += bytes / group * (slice - group);
    }
    return builder_array(b, &(struct builder_array){row->name, name, purpose, type, bytes, slice});
}

/* The next generation of a state that lies in the slots from `current` on, in an array of its own. */
static int lay_next(struct builder *b, int unit, enum tier_kind kind, int current)
{
    const struct program_slot *slot = &b->program->slots[current];
    struct tier_array array = b->program->arrays[slot->array];
    size_t bytes = array.bytes, slice = slot->bytes;
    char name[32];
    snprintf(name, sizeof name, "next/%s", tier_kind_name(kind));
    int next = builder_array(b, &(struct builder_array){name, b->model->units[unit].name,
                                                        slot->purpose, array.type, bytes, slice});
    for (int s = 0; b->status >= 0 && next + s < b->program->slot_count; s++) {
        b->program->slots[current + s].twin = next + s;
        b->program->slots[next + s].twin = current + s;
        b->program->slots[next + s].next = true;
        b->program->slots[next + s].lasting = false;
    }
    return next;
}

static bool has_next(const struct builder *b, int unit, enum tier_kind kind)
{
    enum tier_place place = tier_kind_row(kind)->place;
    return unit_is_speculated(b, unit) && (place == PLACE_PARAMETERS || place == PLACE_OPTIMIZER);
}

void home_lay(struct builder *b)
{
    const struct zero_config *c = b->config;
    for (int u = 0; u < b->model->unit_count; u++) {
        struct program_home *home = &b->program->homes[u];
        bool trained = c->training && b->model->units[u].trainable;
        for (int k = 0; k < TIER_KIND_COUNT; k++) {
            enum tier_kind kind = (enum tier_kind)k;
            bool exists =
                b->model->units[u].packed ? kind == TIER_PACKED : zero_has(c, kind, trained);
            home->slots[k] = exists ? lay_home(b, u, kind) : -1;
            home->next[k] = -1;
            if (home->slots[k] >= 0 && has_next(b, u, kind))
                home->next[k] = lay_next(b, u, kind, home->slots[k]);
        }
        /* A deferred update finds the gradient of the step before. */
        int gradient = home->slots[TIER_GRADIENT];
        if (c->deferred && gradient >= 0) b->program->slots[gradient].lasting = true;
    }
}

size_t home_bytes(const struct builder *b, int unit, enum tier_kind kind)
{
    return program_state_bytes(b->program, kind, program_elements(b->program, unit, kind));
}

/* Elements of a state whose slots are the one given and those behind it. */
static struct slice slice_of(const struct builder *b, int home, enum tier_kind kind, int64_t first,
                             int64_t count)
{
    if (home >= 0 && is_cut(b, kind)) {
        home += (int)(first / b->config->group);
        first %= b->config->group;
    }
    return (struct slice){home, program_state_bytes(b->program, kind, first),
                          program_state_bytes(b->program, kind, count), 0};
}

struct slice home_slice(const struct builder *b, int unit, enum tier_kind kind, int64_t first,
                        int64_t count)
{
    return slice_of(b, b->program->homes[unit].slots[kind], kind, first, count);
}

struct slice home_stored(const struct builder *b, int unit, enum tier_kind kind, int64_t first,
                         int64_t count)
{
    int next = b->program->homes[unit].next[kind];
    if (!b->writer.speculates || next < 0) return home_slice(b, unit, kind, first, count);
    return slice_of(b, next, kind, first, count);
}
