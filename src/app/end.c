/* SPDX-License-Identifier: Apache-2.0 */
/* How a run ended, where a job script finds it.
 *
 * The exit code of a launcher is not that of the program: an mpiexec has been seen to say 0 for 4,
 * and srun says 0 after some lost nodes. So rank 0 writes the code into the run directory, when all
 * ranks have agreed on it and every other file is closed. The file appears whole or not at all. It
 * is removed when a run starts, so where there is none the run has not come to an end of its own:
 * it runs, or it was killed. */
#include "app/report.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

enum { REASON_BYTES = 512 };

enum zi_status report_end_remove(const char *directory)
{
    char path[PATH_MAX];
    ZI_TRY(report_path(directory, "end.yaml", path));
    if (unlink(path) == 0 || errno == ENOENT) return ZI_OK;
    return zi_fail(ZI_ERROR_IO, "app", "cannot remove %s: %s", path, strerror(errno));
}

/* As a YAML text in double quotes. */
static void write_quoted(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') fputc('\\', out);
        fputc((unsigned char)*text < ' ' ? ' ' : *text, out);
    }
    fputs("\"\n", out);
}

static void write_reason(FILE *out, const struct report_end *end)
{
    char error[REASON_BYTES];
    if (end->status == ZI_OK)
        snprintf(error, sizeof error, "all steps are done");
    else if (end->status == ZI_STOPPED)
        snprintf(error, sizeof error, "%s", end->stopped);
    else
        zi_log_first_error(error, sizeof error);
    fputs("reason: ", out);
    write_quoted(out, error[0] ? error : "an error of another rank; its messages name it");
}

enum zi_status report_end(const char *directory, const struct report_end *end)
{
    char path[PATH_MAX], text[2 * REASON_BYTES + 512] = "";
    ZI_TRY(report_path(directory, "end.yaml", path));
    FILE *out = fmemopen(text, sizeof text, "w");
    if (!out) return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for the end of the run");
    fprintf(out, "code: %d\nend: %s\nstep: %" PRId64 "\nsteps: %" PRId64 "\n",
            zi_status_exit_code(end->status), zi_status_name(end->status), end->step, end->steps);
    if (end->saved >= 0)
        fprintf(out, "checkpoint: %" PRId64 "\n", end->saved);
    else
        fprintf(out, "checkpoint: none\n");
    write_reason(out, end);
    if (fclose(out) != 0) return zi_fail(ZI_ERROR_BUG, "app", "the end of the run is too long");
    return zi_output_text("app", path, text);
}
