/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of words.
 *
 * A deck gives several words as a YAML list, or as one text with commas between them. Invariants of
 * a list: at least one word, and none is empty or has other characters than letters, digits and
 * those of names and of patterns of the shell; so none has to be quoted on a line of its own. */
#include "deck/words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Beside letters and digits. */
#define MARKS "._-*?[]!"

static bool is_of_word(char c)
{
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter || (c >= '0' && c <= '9') || (c && strchr(MARKS, c));
}

/* Adds a word, or gives false with `wrong` filled. */
static bool word_add(struct deck_list *list, const char *word, size_t bytes, char wrong[DECK_WRONG])
{
    size_t good = 0;
    wrong[0] = 0;
    while (good < bytes && is_of_word(word[good]))
        good++;
    if (!bytes)
        snprintf(wrong, DECK_WRONG, "an empty word");
    else if (good < bytes)
        snprintf(wrong, DECK_WRONG,
                 "a character that no name has; names have letters, digits and %s", MARKS);
    else if (list->count == DECK_LIST_MAX)
        snprintf(wrong, DECK_WRONG, "more than %d words", (int)DECK_LIST_MAX);
    else if (!(list->items[list->count] = strndup(word, bytes)))
        snprintf(wrong, DECK_WRONG, "more than memory holds");
    else
        list->count++;
    return !wrong[0];
}

/* The list that was read takes the place of `list`, if it is good. */
static void list_put(struct deck_list *made, bool good, struct deck_list *list)
{
    deck_list_free(good ? list : made);
    if (good) *list = *made;
}

bool deck_words_read(const char *text, struct deck_list *list, char wrong[DECK_WRONG])
{
    struct deck_list made = {.count = 0};
    bool good = true;
    for (const char *at = text; good; at++) {
        at += strspn(at, " ");
        size_t whole = strcspn(at, ","), bytes = whole;
        while (bytes && at[bytes - 1] == ' ')
            bytes--;
        good = word_add(&made, at, bytes, wrong);
        at += whole;
        if (!*at) break;
    }
    list_put(&made, good, list);
    return good;
}

void deck_words_take(const struct deck_row *row, const struct deck_node *sequence, bool set,
                     struct deck_errors *errors, struct deck_list *list)
{
    struct deck_list made = {.count = 0};
    char wrong[DECK_WRONG];
    bool good = sequence->count > 0;
    for (int i = 0; i < sequence->count; i++) {
        const struct deck_node *item = sequence->items[i];
        bool single = item->kind == NODE_SCALAR && item->length == strlen(item->text);
        if (single && word_add(&made, item->text, item->length, wrong)) continue;
        if (!single) snprintf(wrong, sizeof wrong, "what is no word");
        good = false;
        deck_errors_add(errors, set ? DECK_PLACE_SET : item->line, set ? 0 : item->column,
                        "%s.%s: item %d of the list: found %s", row->section, row->key, i + 1,
                        wrong);
    }
    if (!sequence->count)
        deck_errors_add(errors, set ? DECK_PLACE_SET : sequence->line, set ? 0 : sequence->column,
                        "%s.%s: found an empty list, expected at least one word", row->section,
                        row->key);
    list_put(&made, good, list);
}

bool deck_list_is_auto(const struct deck_list *list)
{
    return list->count == 0 || (list->count == 1 && strcmp(list->items[0], "auto") == 0);
}
