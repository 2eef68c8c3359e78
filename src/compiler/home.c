/* SPDX-License-Identifier: Apache-2.0 */
/* The homes of states: slots in memory, and arrays of the store. */
#include "compiler/home.h"
#include "compiler/compile.h"

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
    if (tier != ZI_TIER_NVME)
        return builder_slot(b, tier, purpose, bytes, "%s %s", row->name, name);
    enum zi_dtype type = tier_type_of(row->type, c->compute, c->gradient);
    size_t group = (size_t)c->group * program_element_bytes(b->program, kind);
    size_t slice = row->grouped ? group : bytes;
    return builder_array(b, &(struct builder_array){row->name, name, purpose, type, bytes, slice});
}

void home_lay(struct builder *b)
{
    const struct zero_config *c = b->config;
    for (int u = 0; u < b->model->unit_count; u++) {
        struct program_home *home = &b->program->homes[u];
        bool trained = c->training && b->model->units[u].trainable;
        for (int k = 0; k < TIER_KIND_COUNT; k++) {
            enum tier_kind kind = (enum tier_kind)k;
            bool exists = tier_kind_exists(kind, trained, c->compute);
            home->slots[k] = exists ? lay_home(b, u, kind) : -1;
        }
        /* A deferred update finds the gradient of the step before. */
        int gradient = home->slots[TIER_GRADIENT];
        if (c->deferred && gradient >= 0) b->program->slots[gradient].lasting = true;
    }
}

size_t home_bytes(const struct builder *b, int unit, enum tier_kind kind)
{
    return (size_t)program_elements(b->program, unit, kind) *
           program_element_bytes(b->program, kind);
}

struct slice home_slice(const struct builder *b, int home, int64_t first, int64_t count,
                        size_t element)
{
    size_t bytes = (size_t)count * element;
    if (!slot_is_on_disk(b, home)) return (struct slice){home, (size_t)first * element, bytes, 0};
    return (struct slice){home + (int)(first / b->config->group), 0, bytes, 0};
}
