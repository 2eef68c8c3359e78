/* SPDX-License-Identifier: Apache-2.0 */
/* The pre-tokenizer of a tokenizer.json: where a text is cut into words, each of which is encoded by
 * itself. A step gives its pieces to the next one as it finds them, so no list of pieces is made.
 * Private to the room; all are Local. */
#ifndef ZI_TEXT_SPLIT_H
#define ZI_TEXT_SPLIT_H

#include "text/buffer.h"
#include "text/pattern.h"

/* Steps of a pre-tokenizer, at most. */
enum { SPLIT_MOST = 16 };

struct split_step;

/* Steps in the order in which they are taken; begins as all zero: a text is a word. */
struct splitter {
    struct split_step *steps;
    size_t count;
};

/* Reads an object of the file, a sequence as its steps; NULL is none. ZI_ERROR_USAGE naming what is
 * not done. */
enum zi_status splitter_read(const struct zi_json_place *place, const json_t *object,
                             struct splitter *splitter);

/* Frees what it has. */
void splitter_free(struct splitter *splitter);

/* Whether the last step writes bytes as printable characters; it is taken away then, for a model
 * that knows bytes. */
bool splitter_take_bytes(struct splitter *splitter);

/* Memory of one caller: what is not a buffer is set by it, the buffers begin as all zero. */
struct split_work {
    /* Borrowed. */
    struct regex_matcher *matcher;
    /* Takes a word of bytes > 0, which is not the callee's after it. */
    enum zi_status (*word)(void *context, const char *word, size_t bytes);
    void *context;
    /* Texts that steps have changed, one for each. */
    struct buffer texts[SPLIT_MOST];
};

/* Cuts a text of bytes > 0. `first`: it begins where the whole text does. ZI_ERROR_USAGE when a
 * pattern passes its limit; ZI_ERROR_DEVICE; what `word` gives. */
enum zi_status splitter_run(const struct splitter *splitter, struct split_work *work,
                            const char *text, size_t bytes, bool first);

#endif
