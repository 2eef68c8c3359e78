/* SPDX-License-Identifier: Apache-2.0 */
/* The files that a token file is made of: named ones, and those of folders. Private to the room. */
#ifndef ZI_DATA_INPUTS_H
#define ZI_DATA_INPUTS_H

#include "data/tokens.h"

#include <stddef.h>
#include <time.h>

struct input_file {
    char *path;
    int64_t bytes;
    struct timespec changed;
};

/* Why a file of a folder is none of the inputs. */
enum input_left { LEFT_TOKENS, LEFT_OUTPUT, LEFT_DANGLING, LEFT_FOLDER_LINK, LEFT_SPECIAL };
enum { LEFT_COUNT = LEFT_SPECIAL + 1, LEFT_NAMES = 3 };

struct input_list {
    struct input_file *files;
    size_t count, capacity;
    /* Of all files */
    int64_t bytes;
    const struct tokens_writer *writer;
    struct {
        int64_t count;
        /* The first ones */
        char *names[LEFT_NAMES];
    } left[LEFT_COUNT];
};

/* Local. Lists the inputs of `list->writer` in order, and says what of their folders was left out.
 * In any case ended by input_list_free. ZI_ERROR_USAGE when there is nothing to tokenize, or a
 * named input is no text; ZI_ERROR_IO; ZI_STOPPED. */
enum zi_status input_list_make(struct input_list *list);

/* Local. Opens an input that is what it was when it was listed. ZI_ERROR_USAGE when it has changed,
 * ZI_ERROR_IO. */
enum zi_status input_open(const struct input_file *input, int *file);

/* Local. Whether an open input is still that. ZI_ERROR_USAGE. */
enum zi_status input_check(const struct input_file *input, int file);

/* Local. Frees the list's own; the writer stays the caller's. */
void input_list_free(struct input_list *list);

#endif
