/* SPDX-License-Identifier: Apache-2.0 */
/* Texts that users name. */
#include "app/lines.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

static enum zi_status fail_read(const char *path)
{
    return zi_fail(ZI_ERROR_IO, "app", "cannot read %s: %s", path, strerror(errno));
}

static enum zi_status open_input(const char *path, FILE **in, int64_t *bytes)
{
    int file;
    ZI_TRY(zi_file_open_input("app", path, &file, bytes));
    *in = fdopen(file, "rb");
    if (*in) return ZI_OK;
    close(file);
    return fail_read(path);
}

enum zi_status lines_read(const char *path, lines_visit *visit, void *context)
{
    FILE *in;
    char *line = NULL;
    size_t room = 0;
    int64_t number = 0, all;
    enum zi_status status = ZI_OK;
    ZI_TRY(open_input(path, &in, &all));
    for (ssize_t bytes; status >= 0 && (bytes = getline(&line, &room, in)) >= 0;) {
        number++;
        if (bytes > 0 && line[bytes - 1] == '\n') line[--bytes] = 0;
        if (bytes > 0 && line[bytes - 1] == '\r') line[--bytes] = 0;
        if (bytes > 0) status = visit(context, number, line, (size_t)bytes);
    }
    if (status >= 0 && !feof(in)) status = fail_read(path);
    free(line);
    fclose(in);
    return status;
}

enum zi_status lines_read_whole(const char *path, char **text, size_t *bytes)
{
    FILE *in;
    int64_t all;
    enum zi_status status = ZI_OK;
    ZI_TRY(open_input(path, &in, &all));
    *text = malloc((size_t)all + 1);
    *bytes = *text ? fread(*text, 1, (size_t)all, in) : 0;
    if (!*text)
        status = zi_fail(ZI_ERROR_DEVICE, "app", "no memory for the %lld bytes of %s",
                         (long long)all, path);
    else if (ferror(in))
        status = fail_read(path);
    fclose(in);
    if (status < 0) {
        free(*text);
        *text = NULL;
        return status;
    }
    (*text)[*bytes] = 0;
    return ZI_OK;
}
