/* SPDX-License-Identifier: Apache-2.0 */
/* What a step of tokenizer.json looks for: {"String": "..."} or {"Regex": "..."}. Private to the
 * room; all are Local. */
#ifndef ZI_TEXT_PATTERN_H
#define ZI_TEXT_PATTERN_H

#include "text/regex.h"
#include "text/scan.h"

struct pattern {
    /* One of them is set: a text of bytes > 0, an expression, or its scanner. */
    char *literal;
    size_t literal_bytes;
    struct regex *regex;
    struct scanner *scanner;
};

/* Reads object.pattern. ZI_ERROR_USAGE. */
enum zi_status pattern_read(const struct zi_json_place *place, const json_t *object,
                            struct pattern *pattern);

/* Makes one of an expression. ZI_ERROR_USAGE. */
enum zi_status pattern_compile(const struct zi_json_place *place, const char *expression,
                               struct pattern *pattern);

/* Frees what it has. */
void pattern_free(struct pattern *pattern);

/* A walk over the matches of a text; what it begins with is set, the rest 0. */
struct pattern_walk {
    const struct pattern *pattern;
    struct regex_walk walk;
};

/* As regex_next. */
enum zi_status pattern_next(struct pattern_walk *walk, struct text_range *found, bool *is_found);

/* ZI_ERROR_USAGE naming a key of the object that is not one of `keys`, which are separated by spaces
 * ("type" is always one): what it asks for is not done. */
enum zi_status text_check_keys(const struct zi_json_place *place, const json_t *object,
                               const char *keys);

/* A copy of a text of the file that ends in a zero. ZI_ERROR_DEVICE. */
enum zi_status text_copy(const char *text, char **copy);

/* A string that must be one character. ZI_ERROR_USAGE. */
enum zi_status text_character(const struct zi_json_place *place, const json_t *object,
                              const char *key, uint32_t *character);

#endif
