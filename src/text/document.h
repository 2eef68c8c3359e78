/* SPDX-License-Identifier: Apache-2.0 */
/* Documents for fine-tuning, one a line of JSON:
 *
 *     {"text": "..."}                            every token counts
 *     {"prompt": "...", "completion": "..."}     the completion and the end of text count
 *     {"messages": [{"role": ..., "content": ...}, ...]}
 *                                                what the assistant wrote counts (chat/chat.h)
 *
 * Other keys of a line mean nothing. A text begins as the tokenizer's post-processor begins one (bos),
 * and ends with the end-of-text token once. A prompt and its completion are one text: of its tokens
 * those that the prompt alone has too, from the first on, do not count, so that a token across the
 * boundary does. Messages are the text that the chat template makes of them and no more; it is encoded
 * in pieces that end where the assistant begins or ends, as it is when it answers. */
#ifndef ZI_TEXT_DOCUMENT_H
#define ZI_TEXT_DOCUMENT_H

#include "text/tokenizer.h"

struct chat_template;

/* A line of a file; all borrowed. */
struct document_line {
    const char *text;
    size_t bytes;
    /* For messages. */
    const char *file;
    int64_t line;
    /* The id that ends a document without messages; -1: none. */
    int32_t end;
    /* Gives the chat template, which is asked for by lines of messages alone; from any thread. */
    enum zi_status (*find_chat)(void *context, const struct chat_template **chat);
    void *context;
};

/* Local. Appends the ids of a line's document to `out`; ~id is one whose prediction does not count.
 * ZI_ERROR_USAGE naming file, line and remedy where the line is none of the above, or not encoded;
 * ZI_ERROR_DEVICE without memory. `out` is the caller's in any case. */
enum zi_status document_encode(struct tokenizer_work *work, const struct document_line *line,
                               struct tokenizer_ids *out);

#endif
