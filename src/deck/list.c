/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of texts: what settings need of them. */
#include "deck/list.h"

#include <stdlib.h>
#include <string.h>

bool deck_list_same(const struct deck_list *left, const struct deck_list *right)
{
    bool same = left->count == right->count;
    for (int i = 0; same && i < left->count; i++)
        same = strcmp(left->items[i], right->items[i]) == 0;
    return same;
}

bool deck_list_copy(struct deck_list *list, const struct deck_list *from)
{
    deck_list_free(list);
    for (int i = 0; i < from->count; i++) {
        if (!(list->items[i] = strdup(from->items[i]))) {
            deck_list_free(list);
            return false;
        }
        list->count++;
    }
    return true;
}

void deck_list_free(struct deck_list *list)
{
    for (int i = 0; i < list->count; i++)
        free(list->items[i]);
    list->count = 0;
}
