/* SPDX-License-Identifier: Apache-2.0 */
/* The run record run.h5: the used deck, versions, and a table per quantity, one row per step,
 * appended while the job runs and readable at any moment with any HDF5 reader: flushed after each
 * row, without locks. Rank 0 only. */
#ifndef ZI_CHECKPOINT_RECORD_H
#define ZI_CHECKPOINT_RECORD_H

#include <stdint.h>

#include "base/status.h"

struct record;

struct record_column {
    /* Dataset /steps/<name> */
    const char *name;
    /* Attribute */
    const char *unit;
    /* int64 instead of double */
    int integer;
};

/* Local. Creates the file, with attributes deck, version, revision, started; a file of that name is
 * kept as NAME.previous. ZI_ERROR_IO, ZI_ERROR_USAGE. */
enum zi_status record_create(const char *path, const char *deck_text, struct record **record);

/* Local. Opens the file of a run that goes on after `step`: its tables, as they are added, lose all
 * rows of later steps. ZI_ERROR_IO when it is not there, or not readable. */
enum zi_status record_continue(const char *path, int64_t step, struct record **record);

/* Local. A table: one extensible dataset per column in `group`, the first of which is the step;
 * *table is its number. Of a file that goes on it has to be there, with the same columns.
 * ZI_ERROR_IO. */
enum zi_status record_add_table(struct record *record, const char *group,
                                const struct record_column *columns, int count, int *table);

/* Local. After all tables are there: readers may open the file from now on. */
enum zi_status record_start(struct record *record);

/* Local. Appends one row, values in the order of the columns (integers are exact up to 2^63: pass
 * them in `integers`, same index) and makes it visible to readers. */
enum zi_status record_append(struct record *record, int table, const double *values,
                             const int64_t *integers);

/* Local. Makes the rows so far durable. ZI_ERROR_IO. */
enum zi_status record_sync(struct record *record);

/* Local. Closes the file; NULL does nothing. ZI_ERROR_IO. */
enum zi_status record_close(struct record *record);

#endif
