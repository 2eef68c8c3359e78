/* SPDX-License-Identifier: Apache-2.0 */
/* What a token format is: a way to find, in a file, one flat array of integers. All formats that
 * zinf reads come down to that, so reading and checking are written once, in tokens.c. Private to
 * the room. */
#ifndef ZI_DATA_FORMAT_H
#define ZI_DATA_FORMAT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "base/status.h"
#include "data/token_file.h"

enum token_element {
    TOKEN_UINT8,
    TOKEN_INT8,
    TOKEN_UINT16,
    TOKEN_INT16,
    TOKEN_UINT32,
    TOKEN_INT32,
    TOKEN_INT64
};

/* Local. Bytes of one element. */
int token_element_bytes(enum token_element element);

/* Local. "uint8" and so on. */
const char *token_element_name(enum token_element element);

/* Local. The element of an enum data_type. */
enum token_element token_element_of(int64_t type);

/* Where the tokens are: `count` elements from byte `offset` of the file `path`. `largest` is the
 * largest token where the file records it, otherwise -1. */
struct token_layout {
    /* Owned by the tokens */
    char *path;
    enum token_element element;
    int64_t offset, count, largest;
    /* A uint8 for each token, 0: it is no target that counts; offset -1: none */
    int64_t mask_offset;
    /* int64 first tokens of documents, `documents` of them; 0: the file does not tell them apart */
    int64_t documents_offset, documents;
};

/* A token file that has been opened. */
struct tokens {
    struct token_layout layout;
    int64_t vocabulary;
    /* -1: closed meanwhile */
    int file;
    /* As it was then */
    struct stat opened;
    time_t opened_at;
};

/* Local. Finds the tokens of an HDF5 file and checks all that the file says about itself against
 * its size. ZI_ERROR_USAGE naming the file and the remedy; ZI_ERROR_IO. */
enum zi_status token_find_hdf5(const char *path, struct token_layout *layout);

/* Local. The same of a file of llm.c. */
enum zi_status token_find_llmc(const char *path, struct token_layout *layout);

/* Local. The same of an indexed dataset of Megatron-LM. */
enum zi_status token_find_megatron(const char *path, struct token_layout *layout);

/* Local. The same for a file that says nothing about itself, of ids of `type`, or of ZI_AUTO:
 * uint16, unless the vocabulary or the file says that they cannot be. */
enum zi_status token_find_nanogpt(const char *path, int64_t type, int64_t vocabulary,
                                  struct token_layout *layout);

/* Local. Whether the first bytes are those of an HDF5 file; no error is logged. */
int token_is_hdf5(const void *head, int64_t bytes);

/* Local. The same of llm.c. */
int token_is_llmc(const void *head, int64_t bytes);

/* Local. Whether `path` is the .idx, the .bin or the common prefix of an indexed dataset. */
int token_is_megatron(const char *path);

/* Local. Names the file that has the tokens: two strings, one after the other. ZI_ERROR_USAGE when
 * the path is too long; ZI_ERROR_DEVICE. */
enum zi_status token_layout_name(struct token_layout *layout, const char *first,
                                 const char *second);

/* Local. The format that a file without one in the deck is of, by the rules of data/tokens.h; an
 * enum data_format. ZI_ERROR_USAGE. */
enum zi_status token_detect(const char *path, int64_t *format);

/* Local. Closes the file for a while. */
void token_file_rest(struct tokens *tokens);

/* Local. Opens it again. ZI_ERROR_IO when it is another one then, or has changed. */
enum zi_status token_file_wake(struct tokens *tokens);

#endif
