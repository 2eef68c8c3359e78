/* SPDX-License-Identifier: Apache-2.0 */
/* A list of texts among the settings, in the order of the deck. */
#ifndef ZI_DECK_LIST_H
#define ZI_DECK_LIST_H

#include <stdbool.h>

/* The most that any list holds, here and in the rooms that keep something for each of them. */
enum { DECK_LIST_MAX = 16 };

struct deck_list {
    /* The first `count`; owned by whoever owns the list. */
    char *items[DECK_LIST_MAX];
    int count;
};

/* Local. Whether two lists hold the same texts in the same order. */
bool deck_list_same(const struct deck_list *left, const struct deck_list *right);

/* Local. Makes a list hold copies of another's texts; false when memory ran out: it is empty then. */
bool deck_list_copy(struct deck_list *list, const struct deck_list *from);

/* Local. Frees the texts; the list is empty then. */
void deck_list_free(struct deck_list *list);

/* Local. Whether a list of words says auto, or nothing. */
bool deck_list_is_auto(const struct deck_list *list);

#endif
