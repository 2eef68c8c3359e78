/* SPDX-License-Identifier: Apache-2.0 */
/* Documents for fine-tuning, one a line of JSON:
 *
 *     {"text": "..."}                            every token counts
 *     {"prompt": "...", "completion": "..."}     the completion and the end of text count
 *     {"messages": [{"role": ..., "content": ...}, ...]}
 *                                                refused: a chat template would have to render them
 *
 * Other keys of a line mean nothing. A text begins as the tokenizer's post-processor begins one (bos),
 * and ends with the end-of-text token once. A prompt and its completion are one text: of its tokens
 * those that the prompt alone has too, from the first on, do not count, so that a token across the
 * boundary does. */
#ifndef ZI_TEXT_DOCUMENT_H
#define ZI_TEXT_DOCUMENT_H

#include "text/tokenizer.h"

/* A line of a file; all borrowed. */
struct document_line {
    const char *text;
    size_t bytes;
    /* For messages. */
    const char *file;
    int64_t line;
    /* The id that ends a document; -1: none. */
    int32_t end;
};

/* Local. Appends the ids of a line's document to `out`; ~id is one whose prediction does not count.
 * ZI_ERROR_USAGE naming file, line and remedy where the line is none of the above, or not encoded;
 * ZI_ERROR_DEVICE without memory. `out` is the caller's in any case. */
enum zi_status document_encode(struct tokenizer_work *work, const struct document_line *line,
                               struct tokenizer_ids *out);

#endif
