/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of state kinds, and of the places that a deck has for them.
 *
 * To add a kind (an adapter, the state of another optimizer): a constant in
 * tier/kinds.h, a row here, and the optimizer that uses it. */
#include "tier/kinds.h"

#include <inttypes.h>
#include <stddef.h>

static const struct {
    const char *name;
    size_t offset;
} places[PLACE_COUNT] = {
    [PLACE_PARAMETERS] = {"parameters", offsetof(struct settings_placement, parameters)},
    [PLACE_GRADIENTS] = {"gradients", offsetof(struct settings_placement, gradients)},
    [PLACE_OPTIMIZER] = {"optimizer", offsetof(struct settings_placement, optimizer)},
    [PLACE_ACTIVATIONS] = {"activations", offsetof(struct settings_placement, activations)},
};

static const struct tier_kind_row rows[TIER_KIND_COUNT] = {
    [TIER_PARAMETER] = {.name = "parameter",
                        .help = "what arithmetic reads; with fp32 the master as well",
                        .place = PLACE_PARAMETERS,
                        .type = TIER_TYPE_COMPUTE,
                        .owner = TIER_ALL_UNITS,
                        .stage = 3,
                        .optimizer = -1,
                        .saved = "parameter",
                        .saved_type = TIER_TYPE_COMPUTE},
    [TIER_MASTER] = {.name = "remainder",
                     .help = "what the fp32 master has beyond 16-bit parameters; saved joined",
                     .place = PLACE_OPTIMIZER,
                     .type = TIER_TYPE_INT16,
                     .owner = TIER_SPLIT_UNITS,
                     .stage = 1,
                     .optimizer = -1,
                     .grouped = true,
                     .saved = "master",
                     .saved_type = TIER_TYPE_FP32},
    [TIER_MOMENT1] = {.name = "moment1",
                      .help = "running mean of the gradient; of sgd its sum",
                      .place = PLACE_OPTIMIZER,
                      .type = TIER_TYPE_MOMENT,
                      .owner = TIER_TRAINABLE_UNITS,
                      .stage = 1,
                      .optimizer = 0,
                      .grouped = true,
                      .saved = "moment1",
                      .saved_type = TIER_TYPE_FP32},
    [TIER_MOMENT2] = {.name = "moment2",
                      .help = "running mean of its square, of adamw",
                      .place = PLACE_OPTIMIZER,
                      .type = TIER_TYPE_SQUARE,
                      .owner = TIER_TRAINABLE_UNITS,
                      .stage = 1,
                      .optimizer = 1,
                      .grouped = true,
                      .saved = "moment2",
                      .saved_type = TIER_TYPE_FP32},
    [TIER_GRADIENT] = {.name = "gradient",
                       .help = "of a step, as kept for the optimizer",
                       .place = PLACE_GRADIENTS,
                       .type = TIER_TYPE_GRADIENT,
                       .owner = TIER_TRAINABLE_UNITS,
                       .stage = 1,
                       .optimizer = -1,
                       .grouped = true},
    [TIER_SUM] = {.name = "sum",
                  .help = "of contributions to a gradient",
                  .place = PLACE_GRADIENTS,
                  .type = TIER_TYPE_FP32,
                  .owner = TIER_SUMMED_UNITS,
                  .stage = 2,
                  .optimizer = -1},
    [TIER_PACKED] = {.name = "packed",
                     .help =
                         "frozen matrices in 8 or 4 bits; saved as the parameters they stand for",
                     .place = PLACE_PARAMETERS,
                     .type = TIER_TYPE_PACKED,
                     .owner = TIER_PACKED_UNITS,
                     .stage = 3,
                     .optimizer = -1,
                     .saved_type = TIER_TYPE_COMPUTE},
};

static const char *const type_names[TIER_TYPE_COUNT] = {
    [TIER_TYPE_COMPUTE] = "compute",
    [TIER_TYPE_FP32] = "fp32",
    [TIER_TYPE_INT16] = "int16",
    [TIER_TYPE_GRADIENT] = "gradient",
    [TIER_TYPE_MOMENT] = "fp32, or signed 8-bit",
    [TIER_TYPE_SQUARE] = "fp32, or unsigned 8-bit",
    [TIER_TYPE_PACKED] = "8-bit weights, or nf4",
};

static const char *const owner_names[TIER_OWNER_COUNT] = {
    [TIER_ALL_UNITS] = "all",
    [TIER_TRAINABLE_UNITS] = "trainable",
    [TIER_SPLIT_UNITS] = "trainable, with bf16 or fp16",
    [TIER_SUMMED_UNITS] = "trainable, with several contributions",
    [TIER_PACKED_UNITS] = "frozen matrices, with model.frozen; in place of parameter",
};

const struct tier_kind_row *tier_kind_row(enum tier_kind kind)
{
    return &rows[kind];
}

const char *tier_kind_name(enum tier_kind kind)
{
    return rows[kind].name;
}

const char *tier_type_name(enum tier_type type)
{
    return type_names[type];
}

const char *tier_place_name(enum tier_place place)
{
    return places[place].name;
}

int64_t tier_place_given(const struct settings_placement *placement, enum tier_place place)
{
    return *(const int64_t *)((const char *)placement + places[place].offset);
}

void tier_place_set(struct settings_placement *placement, enum tier_place place, int64_t tier)
{
    *(int64_t *)((char *)placement + places[place].offset) = tier;
}

enum zi_dtype tier_type_of(enum tier_type type, const struct tier_types *types)
{
    switch (type) {
    case TIER_TYPE_COMPUTE:
        return types->compute;
    case TIER_TYPE_GRADIENT:
        return types->gradient;
    case TIER_TYPE_INT16:
        return ZI_INT16;
    case TIER_TYPE_MOMENT:
        return types->blocks ? ZI_SIGNED8 : ZI_FP32;
    case TIER_TYPE_SQUARE:
        return types->blocks ? ZI_UNSIGNED8 : ZI_FP32;
    case TIER_TYPE_PACKED:
        return types->packed;
    case TIER_TYPE_FP32:
    case TIER_TYPE_COUNT:
        break;
    }
    return ZI_FP32;
}

bool tier_kind_exists(enum tier_kind kind, bool trainable, const struct tier_types *types)
{
    if (rows[kind].optimizer >= types->states) return false;
    switch (rows[kind].owner) {
    case TIER_ALL_UNITS:
        return true;
    case TIER_TRAINABLE_UNITS:
        return trainable;
    case TIER_SPLIT_UNITS:
        return trainable && zi_dtype_is_half(types->compute);
    case TIER_SUMMED_UNITS:
    case TIER_PACKED_UNITS:
    case TIER_OWNER_COUNT:
        break;
    }
    return false;
}

int tier_kinds_saved(void)
{
    int count = 0;
    for (int kind = 0; kind < TIER_KIND_COUNT; kind++)
        if (rows[kind].saved) count++;
    return count;
}

void tier_kinds_print(FILE *out)
{
    fprintf(out, "States of the units of a model.\n");
    for (int kind = 0; kind < TIER_KIND_COUNT; kind++) {
        const struct tier_kind_row *row = &rows[kind];
        fprintf(out,
                "\n%s: %s\n  type      %s\n  placed by placement.%s\n  sharded   from stage %d\n"
                "  units     %s\n  saved as  %s\n",
                row->name, row->help, type_names[row->type], places[row->place].name, row->stage,
                owner_names[row->owner], row->saved ? row->saved : "-");
    }
}

void tier_kinds_write_markdown(FILE *out)
{
    fprintf(out, "| state | what it is | type | placed by | sharded from stage | units | in "
                 "checkpoints |\n|---|---|---|---|---|---|---|\n");
    for (int kind = 0; kind < TIER_KIND_COUNT; kind++) {
        const struct tier_kind_row *row = &rows[kind];
        fprintf(out, "| `%s` | %s | %s | `placement.%s` | %d | %s | ", row->name, row->help,
                type_names[row->type], places[row->place].name, row->stage,
                owner_names[row->owner]);
        if (row->saved)
            fprintf(out, "`%s`, %s |\n", row->saved, type_names[row->saved_type]);
        else
            fprintf(out, "- |\n");
    }
}
