/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: reads tables of CSV, also while a run writes them. */
#ifndef ZI_APP_CSV_H
#define ZI_APP_CSV_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/status.h"

enum { CSV_COLUMNS = 256, CSV_LINE = 1 << 16 };

/* A file, and how far it has been read. */
struct csv {
    char path[PATH_MAX];
    /* Of the file that was read; another one by this name is read from its start. */
    dev_t device;
    ino_t inode;
    /* Behind the last whole line. */
    int64_t offset;
    /* The last whole line is still there when the same bytes stand there: their number and hash. */
    int64_t last_bytes;
    uint64_t last_hash;
    /* The reader is inside of a line that is too long. */
    bool passing;
    /* The heading, taken apart; 0 columns before it was read. */
    char heading[CSV_LINE];
    const char *names[CSV_COLUMNS];
    int columns;
    /* Lines that are no rows of this table. */
    int64_t odd_lines;
};

/* What is told of a table. */
struct csv_reader {
    void *context;
    /* All that was told so far is void: the file is another one, or was cut. */
    void (*anew)(void *context);
    /* A row; `fields` are as many as csv->columns. False: it is no row of this table. */
    bool (*row)(void *context, const struct csv *csv, char *const *fields);
};

/* Local. A table that has not been read. ZI_ERROR_USAGE when the path is too long. */
enum zi_status csv_begin(struct csv *csv, const char *directory, const char *name);

/* Local. Tells all whole rows that have come since the last call; a file that is absent has none.
 * ZI_ERROR_USAGE when it is no regular file, ZI_ERROR_IO, ZI_ERROR_DEVICE without memory. */
enum zi_status csv_read(struct csv *csv, const struct csv_reader *reader);

/* Local. The number of the column of a name, -1 where the table has none. */
int csv_column(const struct csv *csv, const char *name);

/* Local. The number that a field is; NaN where it is none, or none that a run writes. */
double csv_number(const char *field);

#endif
