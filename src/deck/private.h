/* SPDX-License-Identifier: Apache-2.0 */
/* Private to deck: a deck in memory. */
#ifndef ZI_DECK_PRIVATE_H
#define ZI_DECK_PRIVATE_H

#include <stdbool.h>

#include "deck/deck.h"
#include "deck/errors.h"
#include "deck/table.h"
#include "deck/tree.h"

/* First characters of an echo, by which it is known when it is read again. */
#define DECK_ECHO_MARK "# zinf used deck"

enum deck_source { SOURCE_NONE, SOURCE_DEFAULT, SOURCE_DECK, SOURCE_SET, SOURCE_MODEL };

/* Where the value of a row came from. */
struct deck_origin {
    enum deck_source source;
    /* In the text that was read; 0 for defaults and overrides. */
    int line, column;
    /* In the deck that the echo was made of: what a new echo says. */
    int told_line;
    /* It was auto, whatever it has been resolved to. */
    bool was_auto;
    /* `source`, `told_line`, `was_auto` and `written` are what an echo tells. */
    bool told;
    /* As it was written, where that is shell notation; owned, or NULL. */
    char *written;
};

struct deck {
    /* `defaults` holds zeros and "" for required keys. */
    struct settings settings, defaults;
    /* One per row. */
    struct deck_origin *origins;
    /* `remarks` are warnings. */
    struct deck_errors errors, remarks;
    /* Those that are asked for, up to NULL; NULL: all. */
    const char *const *sections;
    char *name;
    bool rules_checked;
};

/* Local. Whether the field of a row is a char * that the settings own. */
bool deck_row_is_text(const struct deck_row *row);

/* Local. Whether the field of a row is a list, which a deck may give as a sequence. */
bool deck_row_is_list(const struct deck_row *row);

/* Local. Whether a section was asked for. Of others nothing is known. */
bool deck_needs(const struct deck *deck, const char *section);

/* Local. Whether a row is of the model, and not the one that names where that comes from. */
bool deck_row_is_of_model(const struct deck_row *row);

/* Local. Index of a row. */
int deck_row_index(const struct deck_row *row);

/* Local. Replaces the origins of a deck that was read from an echo by those that the comments of
 * its lines tell. Without memory, what was written in shell notation is not told. */
void deck_origins_restore(struct deck *deck, const char *text, size_t bytes);

/* Local. Fills settings with the defaults of all rows; text fields are allocated. False when memory
 * ran out. */
bool deck_settings_fill(struct settings *settings);

/* Local. Frees the texts and lists of settings. */
void deck_settings_free(struct settings *settings);

/* Local. Adds complaints about rules that join several keys, and resolves those values that need
 * nothing but the deck. */
void deck_check_rules(struct deck *deck);

/* Local. Adds to errors or remarks what the deck states and cannot use. */
void deck_check_uses(struct deck *deck);

/* Local. The terms of a row in words: "optimizer.schedule: wsd"; nothing where it has none. */
void deck_uses_write(const struct deck_row *row, FILE *out);

/* Local. Whether the value of a row asks for something, and settings cannot use it. */
bool deck_row_is_idle(const struct deck_row *row, const struct settings *settings);

/* Local. Adds "section.key" and `text` to a list, at the place where the key's value came from. */
void deck_place(const struct deck *deck, const struct deck_row *row, struct deck_errors *list,
                const char *text);

enum { DECK_NAMES_MAX = 64 };

/* Local. Puts the names of all sections into names; gives their number. */
int deck_section_names(const char *names[DECK_NAMES_MAX]);

/* Local. Puts the names of the keys of a section into names; gives their number. */
int deck_key_names(const char *section, const char *names[DECK_NAMES_MAX]);

#endif
