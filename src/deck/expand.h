/* SPDX-License-Identifier: Apache-2.0 */
/* Private to deck: shell notation in paths. */
#ifndef ZI_DECK_EXPAND_H
#define ZI_DECK_EXPAND_H

#include <stdbool.h>
#include <stddef.h>

#include "deck/table.h"
#include "deck/tree.h"

enum { DECK_WRONG = 96 }; /* enough for what is wrong with one path */

/* Local. A path with ~ and variables replaced; the caller frees *path with free(). False, and what
 * is wrong with it, which "found ..." can precede in parentheses. */
bool deck_path_expand(const char *written, size_t bytes, char **path, char wrong[DECK_WRONG]);

/* Local. A value as it was written, for the echo, where it is a path or a list of paths in shell
 * notation; NULL otherwise, and without memory. The caller frees it. */
char *deck_written(const struct deck_row *row, const struct deck_node *node);

/* Local. The same for a value that is one text, such as an override's. */
char *deck_written_text(const struct deck_row *row, const char *text);

#endif
