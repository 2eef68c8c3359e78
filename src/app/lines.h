/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: texts that users name, line by line or whole. */
#ifndef ZI_APP_LINES_H
#define ZI_APP_LINES_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* A line without its end, followed by a 0; numbers count from 1. */
typedef enum zi_status lines_visit(void *context, int64_t number, const char *line, size_t bytes);

/* Local. Calls `visit` for each line of a file that is not empty, until it fails; then gives what it
 * gave. Memory is that of the longest line. ZI_ERROR_USAGE, ZI_ERROR_IO. */
enum zi_status lines_read(const char *path, lines_visit *visit, void *context);

/* Local. A whole file with a 0 behind it, which the caller frees with free(). ZI_ERROR_USAGE,
 * ZI_ERROR_IO. */
enum zi_status lines_read_whole(const char *path, char **text, size_t *bytes);

#endif
