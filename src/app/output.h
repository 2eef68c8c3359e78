/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: a file that a command writes as a stream, and that appears when it is whole. */
#ifndef ZI_APP_OUTPUT_H
#define ZI_APP_OUTPUT_H

#include <stdio.h>

#include "base/file.h"

struct output_stream {
    struct zi_output output;
    FILE *out;
};

/* Local. Begins the file `path`; what is there stays until output_stream_end. Errors as
 * zi_output_begin; on success ended by output_stream_end. */
enum zi_status output_stream_begin(const char *path, struct output_stream *stream);

/* Local. Gives the file its name when `status`, of what was to be written, is no error; else
 * removes it. Gives `status`, or ZI_ERROR_IO. */
enum zi_status output_stream_end(struct output_stream *stream, enum zi_status status);

/* Local. Writes out what standard output holds. ZI_ERROR_IO when anything since the start of the
 * process was lost: a full disk behind a redirection, a reader that has gone. */
enum zi_status output_standard_check(void);

#endif
