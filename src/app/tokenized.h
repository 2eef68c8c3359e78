/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: the token files of files of JSON lines that a run names. */
#ifndef ZI_APP_TOKENIZED_H
#define ZI_APP_TOKENIZED_H

#include "app/encoding.h"
#include "data/corpus.h"
#include "deck/deck.h"

/* Begins with `settings` and `makes` alone. */
struct tokenized {
    const struct settings *settings;
    /* Makes what is missing; others wait for a moment until they see it. */
    bool makes;
    /* Once a file of lines was asked for. */
    bool open;
    /* Of the files of the tokenizer's folder that say how messages are rendered and texts end. */
    uint64_t rendering;
    struct encoding encoding;
};

/* Local. The token file of a file of lines, made where it is missing: in the folder `data` of
 * run.directory, under a name by the file's path, size and time, and by the tokenizer. `context` is a
 * struct tokenized: corpus_lines.find. ZI_ERROR_USAGE, ZI_ERROR_IO; ZI_STOPPED. */
enum zi_status tokenized_find(void *context, const char *path, char *tokens, size_t size);

/* Local. Frees what was opened. */
void tokenized_close(struct tokenized *tokenized);

#endif
