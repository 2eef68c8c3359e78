/* SPDX-License-Identifier: Apache-2.0 */
/* Private to deck: sources of data, read. `sources` is the field of a row of DECK_SOURCES: replaced
 * when what is read has no error, else left as it was. */
#ifndef ZI_DECK_WEIGHTS_H
#define ZI_DECK_WEIGHTS_H

#include <stdbool.h>

#include "deck/errors.h"
#include "deck/expand.h"
#include "deck/sources.h"
#include "deck/table.h"
#include "deck/tree.h"

/* Local. From text, which is one path; "" is none. False, and what is wrong with it. */
bool deck_sources_read(const char *text, struct deck_sources *sources, char wrong[DECK_WRONG]);

/* Local. From the items of a sequence: paths, or maps of path and weight. Errors are added at the
 * items' places, or, when the sequence was given with --set, at that. */
void deck_sources_take(const struct deck_row *row, const struct deck_node *sequence, bool set,
                       struct deck_errors *errors, struct deck_sources *sources);

#endif
