/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: a tokenizer as the encoder of token files. */
#ifndef ZI_APP_ENCODING_H
#define ZI_APP_ENCODING_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "data/tokens.h"

struct tokenizer;
struct chat_template;

/* Stays where it was opened: the encoder points to it. */
struct encoding {
    /* Owned. */
    struct tokenizer *tokenizer;
    /* Of the folder that the tokenizer is in; NULL until a line has messages; under the mutex. */
    struct chat_template *chat;
    char folder[PATH_MAX];
    pthread_mutex_t mutex;
    /* Ends a document; -1: none. */
    int32_t end;
    /* What a token file says of the tokenizer: the name of its folder or file, and what it is. */
    char name[240];
    struct tokens_encoder encoder;
};

/* Local. The folder that a tokenizer's other files are in: `path` is the folder, or a file in it. */
void encoding_find_folder(const char *path, char folder[PATH_MAX]);

/* Local. Opens the tokenizer of a folder or file, for whole files, or for `lines` with a document
 * each. `separator` is the token that stands behind each file or document, or "eos"; NULL: behind
 * documents eos where there is one, behind files nothing. ZI_ERROR_USAGE, ZI_ERROR_IO. */
enum zi_status encoding_open(const char *path, const char *separator, bool lines,
                             struct encoding *encoding);

/* Local. */
void encoding_close(struct encoding *encoding);

#endif
