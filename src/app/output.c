/* SPDX-License-Identifier: Apache-2.0 */
/* Files that commands write by stdio: a picture, a simulated trace.
 *
 * base/file.h makes the file beside its name and renames it when it is whole; the stream writes
 * through a second descriptor of it. A command that fails leaves what was there before. */
#include "app/output.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

enum zi_status output_stream_begin(const char *path, struct output_stream *stream)
{
    ZI_TRY(zi_output_begin("app", path, 0666, &stream->output));
    int copy = dup(stream->output.file);
    stream->out = copy < 0 ? NULL : fdopen(copy, "w");
    if (stream->out) return ZI_OK;
    enum zi_status status =
        zi_fail(ZI_ERROR_IO, "app", "cannot write %s: %s", path, strerror(errno));
    if (copy >= 0) close(copy);
    zi_output_discard(&stream->output);
    return status;
}

enum zi_status output_stream_end(struct output_stream *stream, enum zi_status status)
{
    bool failed = fflush(stream->out) != 0 || ferror(stream->out) != 0;
    int error = errno;
    if (fclose(stream->out) != 0 && !failed) {
        failed = true;
        error = errno;
    }
    if (status >= 0 && failed)
        status = zi_fail(ZI_ERROR_IO, "app", "cannot write %s: %s", stream->output.path,
                         strerror(error));
    if (status >= 0) return zi_output_commit(&stream->output);
    zi_output_discard(&stream->output);
    return status;
}

enum zi_status output_standard_check(void)
{
    int error = fflush(stdout) != 0 ? errno : 0;
    if (error == 0 && ferror(stdout) == 0) return ZI_OK;
    /* The cause of an earlier failure is not known any more. */
    return zi_fail(ZI_ERROR_IO, "app", "cannot write to standard output: %s",
                   error != 0 ? strerror(error) : "some of it was lost before");
}
