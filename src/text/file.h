/* SPDX-License-Identifier: Apache-2.0 */
/* A tokenizer as it was read from its file. Private to the room; all are Local. */
#ifndef ZI_TEXT_FILE_H
#define ZI_TEXT_FILE_H

#include "text/added.h"
#include "text/decode.h"
#include "text/post.h"
#include "text/sentencepiece.h"
#include "text/split.h"

struct tokenizer {
    /* NULL: it is of a tokenizer.json, which the other fields are of. */
    struct spm *sentencepiece;
    struct normalizer normalizer;
    struct splitter splitter;
    struct model model;
    struct added added;
    struct post post;
    struct decoder decoder;
    /* Largest id + 1, and the tokens that begin and end a text; -1: none is known. */
    int32_t vocabulary, begin, end;
    char identity[64];
};

/* Reads a tokenizer.json. ZI_ERROR_USAGE, ZI_ERROR_IO; what was made then is the caller's to free. */
enum zi_status tokenizer_read(const char *path, struct tokenizer *tokenizer);

/* A hash of the bytes of a file. ZI_ERROR_IO. */
enum zi_status tokenizer_hash(const char *path, uint64_t *hash);

#endif
