/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: texts that are continued: what they begin with, what has been added, and how it is
 * written. */
#ifndef ZI_APP_TEXTS_H
#define ZI_APP_TEXTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "app/options.h"
#include "app/turns.h"
#include "text/tokenizer.h"

/* What a prompt is given as. */
enum texts_form { TEXTS_BYTES, TEXTS_TOKENIZER, TEXTS_IDS };

struct text {
    /* As it was given, or a chat's messages as JSON; the texts' own. */
    char *prompt;
    int32_t *ids;
    /* Ids of the prompt; and of what was added. */
    int64_t prompt_count, count;
    bool ended;
    /* What can be said of them. */
    struct tokenizer_stream *stream;
    char *said;
    size_t bytes, capacity;
    /* Of `said`: the prompt's; what was written. */
    size_t prompt_bytes, written;
};

struct texts {
    enum texts_form form;
    /* With TEXTS_TOKENIZER; what else ends a text than the tokenizer's end. */
    struct tokenizer *tokenizer;
    struct turns_ends ends;
    /* Prompts are messages, rendered by the template; the answers alone are written. */
    bool is_chat;
    struct chat_template *chat;
    struct text *all;
    int64_t count;
    /* Of the longest prompt. */
    int64_t longest;
    /* Strings before which a text ends; not owned. */
    const char *const *stops;
    int stop_count;
    size_t longest_stop;
};

/* Local. Takes the prompts of --prompt, --prompts or --ids, with --chat as messages. On an error they
 * are to be freed as well. ZI_ERROR_USAGE, ZI_ERROR_IO. */
enum zi_status texts_collect(const struct options *options, struct texts *texts);

/* Local. Makes ids of the prompts, by the tokenizer of a folder or file, or of bytes where that is "",
 * and leaves room for `tokens` more of each. Errors as above. */
enum zi_status texts_encode(struct texts *texts, const char *tokenizer, int64_t tokens);

/* Local. Of texts that are all zero, nothing. */
void texts_free(struct texts *texts);

/* Local. The text begins: its prompt is said. */
enum zi_status texts_begin(const struct texts *texts, struct text *text);

/* Local. Adds an id; the text has ended where the id says so, or with it a stop string. */
enum zi_status texts_add(const struct texts *texts, struct text *text, int32_t id);

/* Local. The text ends; nothing is held back any more. */
enum zi_status texts_end(const struct texts *texts, struct text *text);

/* Local. Writes to stdout what is sure of a text and was not written: the only one of a command. */
void texts_write(const struct texts *texts, struct text *text);

/* Local. Writes a text of several, when it has ended: a line of JSON. */
void texts_write_line(const struct texts *texts, const struct text *text, int64_t number);

#endif
