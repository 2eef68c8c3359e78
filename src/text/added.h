/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens that were added to a model's: found in a text before the model sees the rest. Private to
 * the room; all are Local. */
#ifndef ZI_TEXT_ADDED_H
#define ZI_TEXT_ADDED_H

#include "text/model.h"
#include "text/normalize.h"

struct added_token {
    int32_t id;
    /* Only where no word goes on at either side. */
    bool single_word;
    /* Takes the white space at that side with it. */
    bool left, right;
    /* Left out of a text on request. */
    bool special;
};

/* Begins as all zero. */
struct added {
    struct added_token *tokens;
    size_t count, capacity;
    /* Texts and ids of all. */
    struct vocabulary texts;
    /* Indices of those that are looked for before the normalizer, and after it in normal form. */
    struct trie plain, normalized;
};

/* Reads `added_tokens`; NULL is none. `model` has been read, and `normalizer` too. ZI_ERROR_USAGE. */
enum zi_status added_read(const struct zi_json_place *place, const json_t *list,
                          const struct model *model, const struct normalizer *normalizer,
                          struct added *added);

/* Frees what it has. */
void added_free(struct added *added);

/* A walk over the tokens in a text; what it begins with is set, the rest 0. */
struct added_walk {
    const struct added *added;
    const struct trie *trie;
    const char *text;
    size_t bytes;
    /* Where the search goes on, and the end of the last one with its white space. */
    size_t from, done;
};

/* The next token, which with its white space is *found; NULL: none. */
const struct added_token *added_next(struct added_walk *walk, struct text_range *found);

/* The text of an id of all: of added tokens, else of the model's; false: none. */
bool added_text(const struct added *added, const struct model *model, int64_t id, const char **text,
                size_t *bytes);

/* Whether an id is that of a special token. */
bool added_is_special(const struct added *added, int64_t id);

#endif
