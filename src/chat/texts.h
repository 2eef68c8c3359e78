/* SPDX-License-Identifier: Apache-2.0 */
/* What filters and methods of texts share. Private to the room; all are Local. */
#ifndef ZI_CHAT_TEXTS_H
#define ZI_CHAT_TEXTS_H

#include "chat/render.h"

enum text_case {
    CASE_LOWER,
    CASE_UPPER,
    /* The first letter, and no other. */
    CASE_CAPITALIZE,
    /* Each letter behind no letter, as str.title; behind a blank, - or an opening bracket, as the
     * filter title. */
    CASE_TITLE,
    CASE_TITLE_FILTER
};

/* The letters of a text made large or small. ZI_ERROR_USAGE of a text beyond ASCII. */
enum zi_status text_in_case(struct render *render, struct text text, enum text_case how,
                            struct value *value);

/* Replaces a part of a text, `most` times at most, without limit where that is negative. */
enum zi_status text_replace(struct render *render, struct text text, const struct text parts[2],
                            int64_t most, struct value *value);

/* The lines of a text, with what ends them or without. */
enum zi_status text_lines(struct render *render, struct text text, bool ends, struct value *value);

/* The texts of items, with `between` between them. `strict`: they have to be texts. */
enum zi_status text_join(struct render *render, struct text between, const struct list *items,
                         bool strict, struct value *value);

#endif
