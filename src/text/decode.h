/* SPDX-License-Identifier: Apache-2.0 */
/* The decoder of a tokenizer.json: from texts of tokens to a text. Private to the room; all are
 * Local. */
#ifndef ZI_TEXT_DECODE_H
#define ZI_TEXT_DECODE_H

#include "text/buffer.h"
#include "text/pattern.h"

/* Texts one behind the other, and where each ends. Begins as all zero. */
struct pieces {
    struct buffer text;
    size_t *ends;
    size_t count, capacity;
};

/* Ends a piece of what was added to the text since the last. ZI_ERROR_DEVICE. */
enum zi_status pieces_end(struct pieces *pieces);

/* Frees what it has. */
void pieces_free(struct pieces *pieces);

struct decode_step;

/* Steps in the order in which they are taken; begins as all zero. */
struct decoder {
    struct decode_step *steps;
    size_t count, capacity;
    /* There is none: tokens are put side by side with a space between. */
    bool is_none;
};

/* Reads an object of the file; NULL is none. ZI_ERROR_USAGE naming what is not done. */
enum zi_status decoder_read(const struct zi_json_place *place, const json_t *object,
                            struct decoder *decoder);

/* Frees what it has. */
void decoder_free(struct decoder *decoder);

/* Turns the texts of tokens into those of a text, which is all of them together. ZI_ERROR_USAGE when
 * a pattern passes its limit; ZI_ERROR_DEVICE. */
enum zi_status decoder_run(const struct decoder *decoder, struct pieces *pieces);

#endif
