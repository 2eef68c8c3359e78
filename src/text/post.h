/* SPDX-License-Identifier: Apache-2.0 */
/* The post-processor of a tokenizer.json: what is put around a text. Private to the room; all are
 * Local. */
#ifndef ZI_TEXT_POST_H
#define ZI_TEXT_POST_H

#include "json/json.h"
#include "text/tokenizer.h"

/* Ids before and behind a text; begins as all zero. */
struct post {
    struct tokenizer_ids before, after;
};

/* Reads an object of the file; NULL is none. Of a sequence each puts its ids around what the one
 * before has made. ZI_ERROR_USAGE naming what is not done. */
enum zi_status post_read(const struct zi_json_place *place, const json_t *object,
                         struct post *post);

/* Frees what it has. */
void post_free(struct post *post);

#endif
