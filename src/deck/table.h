/* SPDX-License-Identifier: Apache-2.0 */
/* The table of deck keys: one row per key, and the only place where a key is described. The parser,
 * the error messages, `zinf help deck`, doc/deck.md, inputs/reference.yaml and
 * inputs/zinf.schema.json all come from these rows. */
#ifndef ZI_DECK_TABLE_H
#define ZI_DECK_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct settings;

enum deck_type {
    /* int64_t; takes k, M, G and a `steps` or `sequences` unit where the row has one. */
    DECK_INTEGER,
    /* double. */
    DECK_REAL,
    /* int64_t; takes B, KiB .. TiB, kB .. TB; a bare number is an error. */
    DECK_BYTES,
    /* bool; yes, no, true, false. */
    DECK_BOOLEAN,
    /* int64_t; a boolean or auto. */
    DECK_TRISTATE,
    /* int, or int64_t where auto is allowed; one of the row's words. */
    DECK_CHOICE,
    /* char *. */
    DECK_TEXT,
    /* char *; relative to the working directory. */
    DECK_PATH,
    /* struct deck_list; a list of paths, or text with commas between them. */
    DECK_PATHS,
    /* struct deck_list; the same of words, which are no paths. */
    DECK_WORDS,
    /* struct deck_sources; a path, or a list of paths or of maps of path and weight. */
    DECK_SOURCES
};

struct deck_choice {
    const char *word;
    int value;
};

/* How the value of one key stands to another value. */
enum deck_relation { DECK_IS, DECK_IS_NOT, DECK_BELOW, DECK_AT_MOST, DECK_ABOVE };

/* A condition on one key. A key that holds auto may come to hold anything, and fulfils each. */
struct deck_term {
    /* NULL: the end of a list. */
    const char *section, *key;
    enum deck_relation relation;
    /* As a deck would write it, or section.key: what that key holds. */
    const char *value;
    /* This or the next term; otherwise this and the next. */
    bool or_next;
};

struct deck_row {
    const char *section, *key;
    enum deck_type type;
    /* Of the field in struct settings. */
    size_t offset;
    /* Shown and accepted after a number: "steps", "tokens"; NULL for none. */
    const char *unit;
    /* The default as a deck would write it; NULL: the key is required. */
    const char *fallback;
    /* `auto` is accepted and stored as ZI_AUTO. */
    bool may_be_auto;
    /* Of numbers; inclusive. */
    double minimum, maximum;
    /* Ends with {NULL, 0}. */
    const struct deck_choice *choices;
    /* 0 means never, and is written so. */
    bool may_be_never;
    /* A value to show where there is no default. */
    const char *example;
    /* May differ when a run is continued. */
    bool changeable;
    /* Where else it has no effect; NULL: always of use. */
    const struct deck_term *uses;
    /* It is an error, not only a warning, to give it where it has no effect. */
    bool must_be_used;
    /* One line, no full stop. */
    const char *help;
};

/* Local. All rows, grouped by section in the order of the reference deck; *count is their number.
 */
const struct deck_row *deck_rows(int *count);

/* Local. One line about a section, or NULL when there is no such section. */
const char *deck_section_help(const char *section);

/* Local. The row of section.key, or NULL. */
const struct deck_row *deck_find(const char *section, const char *key);

/* Local. Writes the value of a row as a deck would have it, so that reading it gives the same bits.
 */
void deck_value_write(const struct deck_row *row, const struct settings *settings, FILE *out);

#endif
