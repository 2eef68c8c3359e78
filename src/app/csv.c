/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of CSV that may still be written.
 *
 * A run writes each row with one write, and a reader may come in the middle of it, so only what
 * ends in a newline counts. A file is read on from where the last call stopped; whether that is
 * still the same table is told by its inode, its size and the bytes of the last line, because
 * --overwrite makes a new file and a run that goes on from a checkpoint cuts rows off.
 *
 * Nothing is believed of a file: lines that are too long, have NUL bytes or another number of
 * fields than the heading are counted and passed over, and memory is bounded whatever it holds. */
#include "app/csv.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/report.h"
#include "base/file.h"
#include "base/log.h"
#include "base/random.h"

#define NUMBER_MOST 1e100 /* sums and squares of such are still finite */

enum zi_status csv_begin(struct csv *csv, const char *directory, const char *name)
{
    memset(csv, 0, sizeof *csv);
    return report_path(directory, name, csv->path);
}

/* Takes a line apart at its commas; gives the number of fields, at most `most` + 1. */
static int split(char *line, char **fields, int most)
{
    int count = 0;
    for (char *at = line; at; count++) {
        if (count == most) return most + 1;
        char *comma = strchr(at, ',');
        fields[count] = at;
        if (comma) *comma++ = 0;
        at = comma;
    }
    return count;
}

/* Of a heading that cannot be, no row is one. */
static void take_heading(struct csv *csv, const char *line, size_t length)
{
    char *fields[CSV_COLUMNS];
    memcpy(csv->heading, line, length + 1);
    int count = split(csv->heading, fields, CSV_COLUMNS);
    if (count > CSV_COLUMNS) {
        csv->odd_lines++;
        count = 1;
    }
    for (int i = 0; i < count; i++)
        csv->names[i] = fields[i];
    csv->columns = count;
}

/* A whole line of `length` bytes, which ends in NUL instead of its newline. */
static void take_line(struct csv *csv, char *line, size_t length, const struct csv_reader *reader)
{
    char *fields[CSV_COLUMNS];
    csv->last_bytes = (int64_t)length;
    csv->last_hash = zi_random_hash(line, length);
    if (csv->columns == 0) {
        take_heading(csv, line, length);
        return;
    }
    bool whole = strlen(line) == length && split(line, fields, csv->columns) == csv->columns;
    if (!whole || !reader->row(reader->context, csv, fields)) csv->odd_lines++;
}

/* Whether the file goes on from what was read of it. */
static bool is_same(const struct csv *csv, int file, const struct stat *is, char *buffer)
{
    if (is->st_dev != csv->device || is->st_ino != csv->inode || is->st_size < csv->offset)
        return false;
    off_t start = (off_t)(csv->offset - csv->last_bytes - 1);
    ssize_t count = csv->offset ? pread(file, buffer, (size_t)csv->last_bytes, start) : 0;
    return count == csv->last_bytes && zi_random_hash(buffer, (size_t)count) == csv->last_hash;
}

static void start_anew(struct csv *csv, const struct stat *is, const struct csv_reader *reader)
{
    csv->device = is->st_dev;
    csv->inode = is->st_ino;
    csv->offset = csv->last_bytes = csv->odd_lines = 0;
    csv->last_hash = zi_random_hash("", 0);
    csv->columns = 0;
    csv->passing = false;
    reader->anew(reader->context);
}

/* Tells the whole lines of buffer[0..used); gives the number of bytes that they take. */
static size_t take_lines(struct csv *csv, char *buffer, size_t used,
                         const struct csv_reader *reader)
{
    size_t taken = 0;
    for (char *end; (end = memchr(buffer + taken, '\n', used - taken));) {
        size_t length = (size_t)(end - (buffer + taken));
        *end = 0;
        take_line(csv, buffer + taken, length, reader);
        taken += length + 1;
    }
    return taken;
}

/* Passes over the rest of a line that is too long; gives the number of bytes that it takes. */
static size_t pass_over(struct csv *csv, const char *buffer, size_t used)
{
    const char *end = memchr(buffer, '\n', used);
    size_t passed = end ? (size_t)(end - buffer) + 1 : used;
    csv->passing = !end;
    csv->last_bytes = end ? (int64_t)passed - 1 : 0;
    csv->last_hash = zi_random_hash(buffer, (size_t)csv->last_bytes);
    return passed;
}

/* Reads to the end of the file. */
static enum zi_status read_rest(struct csv *csv, int file, char *buffer,
                                const struct csv_reader *reader)
{
    for (size_t used = 0;;) {
        ssize_t count = pread(file, buffer + used, CSV_LINE - used, csv->offset + (off_t)used);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0)
            return zi_fail(ZI_ERROR_IO, "app", "cannot read %s: %s", csv->path, strerror(errno));
        if (count == 0) return ZI_OK;
        used += (size_t)count;
        size_t taken = csv->passing ? pass_over(csv, buffer, used) : 0;
        if (!csv->passing) taken += take_lines(csv, buffer + taken, used - taken, reader);
        if (taken == 0 && used == CSV_LINE) {
            csv->passing = true;
            csv->odd_lines++;
            taken = pass_over(csv, buffer, used);
        }
        csv->offset += (int64_t)taken;
        used -= taken;
        memmove(buffer, buffer + taken, used);
    }
}

enum zi_status csv_read(struct csv *csv, const struct csv_reader *reader)
{
    struct stat is;
    int file;
    int64_t bytes;
    if (stat(csv->path, &is) != 0 && errno == ENOENT) return ZI_OK;
    ZI_TRY(zi_file_open_input("app", csv->path, &file, &bytes));
    char *buffer = malloc(CSV_LINE);
    enum zi_status status =
        buffer ? ZI_OK : zi_fail(ZI_ERROR_DEVICE, "app", "no memory to read %s", csv->path);
    if (status >= 0 && fstat(file, &is) != 0)
        status = zi_fail(ZI_ERROR_IO, "app", "cannot examine %s: %s", csv->path, strerror(errno));
    if (status >= 0) {
        if (!is_same(csv, file, &is, buffer)) start_anew(csv, &is, reader);
        status = read_rest(csv, file, buffer, reader);
    }
    free(buffer);
    close(file);
    return status;
}

int csv_column(const struct csv *csv, const char *name)
{
    for (int i = 0; i < csv->columns; i++)
        if (strcmp(csv->names[i], name) == 0) return i;
    return -1;
}

double csv_number(const char *field)
{
    char *end;
    if (!field || !*field) return NAN;
    double number = strtod(field, &end);
    return *end || !(fabs(number) < NUMBER_MOST) ? NAN : number;
}
