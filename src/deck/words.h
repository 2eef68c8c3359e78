/* SPDX-License-Identifier: Apache-2.0 */
/* Private to deck: a list of words: names, or patterns of names. `list` is the field of a row of
 * DECK_WORDS: replaced when what is read has no error, else left as it was. */
#ifndef ZI_DECK_WORDS_H
#define ZI_DECK_WORDS_H

#include <stdbool.h>

#include "deck/errors.h"
#include "deck/expand.h"
#include "deck/list.h"
#include "deck/table.h"
#include "deck/tree.h"

/* Local. From text with commas between words. False, and what is wrong with the text. */
bool deck_words_read(const char *text, struct deck_list *list, char wrong[DECK_WRONG]);

/* Local. From the items of a sequence. Errors are added at the items' places, or, when the sequence
 * was given with --set, at that. */
void deck_words_take(const struct deck_row *row, const struct deck_node *sequence, bool set,
                     struct deck_errors *errors, struct deck_list *list);

#endif
