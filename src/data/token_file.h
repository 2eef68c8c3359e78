/* SPDX-License-Identifier: Apache-2.0 */
/* Token files as files: opening, reading, telling by their first bytes. Private to the room. */
#ifndef ZI_DATA_TOKEN_FILE_H
#define ZI_DATA_TOKEN_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Local. The first bytes of a regular file, at most `size` of them; -1, without a message, when it
 * is none or cannot be read. */
int64_t token_file_head(const char *path, void *head, size_t size);

/* Local. What kind of token file the first bytes are of, for messages; NULL for none. */
const char *token_file_kind(const void *head, int64_t bytes);

/* Local. Opens a regular file for reading and gives its size. ZI_ERROR_USAGE when it is missing, is
 * no regular file or may not be read. */
enum zi_status token_file_open(const char *path, int *file, int64_t *bytes);

/* Local. Reads exactly `bytes`; ZI_ERROR_IO otherwise, also when the file ends early. */
enum zi_status token_file_read(int file, const char *path, int64_t offset, int64_t bytes,
                               void *memory);

/* Local. One string after another into text[0..size); ZI_ERROR_USAGE when they do not fit. */
enum zi_status token_path_join(char *text, size_t size, const char *first, const char *second);

/* Local. Whether a name ends so. */
int token_name_ends(const char *name, const char *end);

#endif
