/* SPDX-License-Identifier: Apache-2.0 */
/* The normalizer of a tokenizer.json: what becomes of a text before it is cut. Private to the room;
 * all are Local. */
#ifndef ZI_TEXT_NORMALIZE_H
#define ZI_TEXT_NORMALIZE_H

#include "text/buffer.h"
#include "text/pattern.h"

struct normal_step;

/* Steps in the order in which they are taken; begins as all zero, which changes nothing. */
struct normalizer {
    struct normal_step *steps;
    size_t count, capacity;
};

/* Reads an object of the file, a sequence as its steps; NULL is none. ZI_ERROR_USAGE naming what is
 * not done. */
enum zi_status normalizer_read(const struct zi_json_place *place, const json_t *object,
                               struct normalizer *normalizer);

/* Frees what it has. */
void normalizer_free(struct normalizer *normalizer);

/* Memory of one caller; begins as all zero. */
struct normal_work {
    /* Borrowed. */
    struct regex_matcher *matcher;
    struct buffer texts[2];
    /* The character that the text began with was taken away. */
    bool lost;
};

/* The text after all steps: of the work area until its next use, or `text` itself where nothing
 * changed. ZI_ERROR_USAGE when a pattern passes its limit; ZI_ERROR_DEVICE. */
enum zi_status normalizer_apply(const struct normalizer *normalizer, struct normal_work *work,
                                const char **text, size_t *bytes);

#endif
