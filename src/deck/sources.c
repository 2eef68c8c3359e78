/* SPDX-License-Identifier: Apache-2.0 */
/* Sources of data: what settings need of them. */
#include "deck/sources.h"

#include <stdlib.h>
#include <string.h>

bool deck_sources_weighted(const struct deck_sources *sources)
{
    return sources->count > 0 && sources->items[0].weight > 0;
}

bool deck_sources_same(const struct deck_sources *left, const struct deck_sources *right)
{
    bool same = left->count == right->count;
    for (int i = 0; same && i < left->count; i++)
        same = strcmp(left->items[i].path, right->items[i].path) == 0 &&
               left->items[i].weight == right->items[i].weight;
    return same;
}

void deck_sources_free(struct deck_sources *sources)
{
    for (int i = 0; i < sources->count; i++)
        free(sources->items[i].path);
    free(sources->items);
    *sources = (struct deck_sources){.count = 0};
}
