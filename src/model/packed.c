/* SPDX-License-Identifier: Apache-2.0 */
/* Which frozen matrices are packed. */
#include "model/packed.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/packed.h"
#include "model/trainable.h"

enum { NAME_BYTES = 80 };

bool packed_has(const struct settings_model *settings, const char *layer,
                const struct family_row *rows)
{
    char name[2 * NAME_BYTES];
    if (settings->frozen == FROZEN_COMPUTE) return false;
    for (; rows->name; rows++) {
        if (rows->kind != MODEL_MATRIX || !family_has_row(settings, rows)) continue;
        snprintf(name, sizeof name, "%s.%s", layer, rows->name);
        if (trainable_matches(settings, name, false)) return false;
    }
    return true;
}

/* Columns of a matrix between which tiles are cut, in whole blocks. */
static bool cuts_blocks(const struct settings_model *settings, enum family_size columns)
{
    int64_t group = settings->heads / settings->key_heads * family_head_width(settings);
    if (columns == SIZE_QUERY) return group % ZI_PACK != 0;
    return columns == SIZE_INNER && settings->inner % ZI_PACK != 0;
}

bool packed_may_tile(const struct settings_model *settings, const struct family_row *rows)
{
    if (settings->frozen == FROZEN_COMPUTE) return true;
    for (; rows->name; rows++) {
        bool matrix = rows->kind == MODEL_MATRIX;
        if (!family_has_row(settings, rows)) continue;
        if (matrix && cuts_blocks(settings, rows->columns)) return false;
        if (!matrix &&
            (rows->rows == SIZE_QUERY || rows->rows == SIZE_KEY || rows->rows == SIZE_INNER))
            return false;
    }
    return true;
}

static bool any_is_packed(const struct settings_model *settings)
{
    const struct family *family = family_of(settings);
    char layer[NAME_BYTES];
    for (int64_t b = 0; b < settings->layers; b++) {
        snprintf(layer, sizeof layer, "blocks.%" PRId64 ".attention", b);
        if (packed_has(settings, layer, family->attention)) return true;
        snprintf(layer, sizeof layer, "blocks.%" PRId64 ".mlp", b);
        if (packed_has(settings, layer, family->mlp)) return true;
    }
    return false;
}

void packed_check(struct deck *deck)
{
    const struct settings_model *s = &deck_settings(deck)->model;
    if (s->frozen == FROZEN_COMPUTE) return;
    if (!any_is_packed(s))
        deck_complain(deck, "model", "frozen",
                      "no attention and no MLP of a block has all its matrices frozen; set "
                      "adapter.rank, or a model.trainable that leaves some, or leave this key out");
    if (s->hidden % ZI_PACK != 0)
        deck_complain(deck, "model", "frozen",
                      "rows of model.hidden %" PRId64 " are not whole blocks of %d weights; leave "
                      "this key out",
                      s->hidden, ZI_PACK);
}
