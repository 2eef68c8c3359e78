/* SPDX-License-Identifier: Apache-2.0 */
/* A deck: the YAML file that is the only input language of zinf, read into typed settings.
 *
 * Reading collects every error of the deck before it gives up; each names file:line:column, what
 * was expected and the nearest known name. Values may be overridden with section.key=value
 * (`--set`). Every value remembers where it came from, and deck_echo writes them all so that
 * reading the echo gives the same echo, byte for byte.
 *
 * In paths a leading ~ and $NAME are expanded, by the process that reads. */
#ifndef ZI_DECK_DECK_H
#define ZI_DECK_DECK_H

#include <stdio.h>

#include "base/status.h"
#include "deck/settings.h"

struct deck;

/* Local. Reads the file, applies `set_count` overrides "section.key=value", checks every key
 * against its row. On success *deck belongs to the caller until deck_destroy. ZI_ERROR_USAGE after
 * logging all errors at once. */
enum zi_status deck_read(const char *path, const char *const *sets, int set_count,
                         struct deck **deck);

/* Local. The same from text in memory; `name` stands for the file in messages. */
enum zi_status deck_parse(const char *text, size_t bytes, const char *name, const char *const *sets,
                          int set_count, struct deck **deck);

/* Local. Reads a part of a deck, for a command that needs no whole one: `sections`, which end in
 * NULL and outlive the deck. Of other sections the text is skipped unread, and nothing is required
 * or checked: their keys have their defaults, or 0 and "" where they have none. Overrides may be of
 * any section. `text` NULL: there are overrides only. deck_echo is not for such a deck. */
enum zi_status deck_parse_part(const char *text, const char *name, const char *const *sections,
                               const char *const *sets, int set_count, struct deck **deck);

/* Local. Frees a deck; NULL is nothing to destroy. */
void deck_destroy(struct deck *deck);

/* Local. The settings; owned by the deck, changed only by rooms that resolve `auto` before the run
 * starts. */
struct settings *deck_settings(struct deck *deck);

/* Local. The keys of the model section that the deck does not give become those of `given`, which has
 * no auto; those that it gives have to be the same, of which deck_check complains, naming `where` it
 * is from. The same of the adapter section where `given` has adapters. To be called before rooms look at the model. */
void deck_take_model(struct deck *deck, const struct settings_model *given, const char *where);

/* Local. Adds an error about section.key to those of the deck, placed at the key's line (or its
 * default): for rules that join several keys. deck_check then returns ZI_ERROR_USAGE. The message
 * says what is wrong and which values work. */
void deck_complain(struct deck *deck, const char *section, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Local. The same as a warning: for a value that works, but not as whoever gave it may think. A
 * value from a default or from the echo of a run is not remarked on. */
void deck_remark(struct deck *deck, const char *section, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Local. Resolves what needs nothing but the deck, logs the complaints made so far and gives
 * ZI_ERROR_USAGE when there is one, else ZI_OK. */
enum zi_status deck_check(struct deck *deck);

/* Local. After deck_check: logs the remarks, and the keys that the deck gives and cannot use, each
 * once. One rank does it for all. */
void deck_warn(struct deck *deck);

/* Local. The used deck as text: every section and key, each with a comment that says where its
 * value came from. The caller frees *text with free(). */
enum zi_status deck_echo(const struct deck *deck, char **text);

/* Local. The name among `names` that is nearest to `word`, for messages about unknown words; NULL
 * when none is near. */
const char *deck_nearest(const char *word, const char *const *names, int count);

/* Local. Help, from the rows alone. `what` is NULL, "section" or "section.key". ZI_ERROR_USAGE with
 * the nearest name when there is no such thing. */
enum zi_status deck_describe(const char *what, FILE *out);

/* Local. Writes inputs/reference.yaml, from the rows alone. */
void deck_write_reference(FILE *out);

/* Local. Writes doc/deck.md, from the rows alone. */
void deck_write_markdown(FILE *out);

/* Local. Writes inputs/zinf.schema.json, from the rows alone. */
void deck_write_schema(FILE *out);

#endif
