/* SPDX-License-Identifier: Apache-2.0 */
/* Regular expressions of tokenizer.json, which the tokenizers package gives to Oniguruma in Ruby's
 * syntax, by PCRE2. Where the two differ the pattern is rewritten (\s, \w, \h, \v, (?m), scripts) or
 * refused by name (nested classes and their intersections, possessive intervals, classes of POSIX).
 * Private to the room; all are Local. */
#ifndef ZI_TEXT_REGEX_H
#define ZI_TEXT_REGEX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "json/json.h"

struct regex;

/* What matching needs of memory: one per thread. */
struct regex_matcher;

/* Compiles a pattern (UTF-8), from place for messages. ZI_ERROR_USAGE naming what is not done or
 * wrong, and where in it. */
enum zi_status regex_compile(const struct zi_json_place *place, const char *pattern,
                             struct regex **regex);

/* NULL does nothing. */
void regex_free(struct regex *regex);

/* ZI_ERROR_DEVICE. */
enum zi_status regex_matcher_create(struct regex_matcher **matcher);

/* NULL does nothing. */
void regex_matcher_free(struct regex_matcher *matcher);

/* A part of a text, in bytes; the end is not of it. */
struct text_range {
    size_t begin, end;
};

/* A walk over the matches of a text (valid UTF-8): what it begins with is set, the rest 0. */
struct regex_walk {
    const struct regex *regex;
    struct regex_matcher *matcher;
    const char *text;
    size_t bytes;
    /* Where the next search begins, and the end of the last match. */
    size_t from, last;
    bool has_last;
};

/* The next match is *found; *is_found: there is one. An empty match directly behind
 * another match is none. ZI_ERROR_USAGE when the match limit is passed. */
enum zi_status regex_next(struct regex_walk *walk, struct text_range *found, bool *is_found);

#endif
