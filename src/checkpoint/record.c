/* SPDX-License-Identifier: Apache-2.0 */
/* The run record: a growing HDF5 file that is readable at any moment.
 *
 * The problem: people and scripts want to look at a job while it runs, and after it was killed. A
 * file of HDF5's newest format carries a mark while a writer has it open: ordinary readers are
 * refused then, and still are after the writer was killed, until a tool clears the mark.
 *
 * The idea: use the oldest format, which has no such mark, take no file lock, and flush after every
 * row. A reader then opens the file as any other (h5py.File(path, "r"), h5dump), and a writer that
 * is killed leaves all rows up to the last flush.
 *
 * Each column is a dataset of its own, [rows], in chunks of 512 rows, so that the index of chunks
 * changes once in 512 rows and all other appends overwrite numbers in place. Columns of a table
 * grow one after the other: a reader may see the last row in some of them only, and takes the
 * shortest. A reader sees the file as it was when it opened it; one that keeps it open while more
 * than a chunk of rows is added is told by HDF5 that an address lies beyond the end, and opens it
 * again.
 *
 * A full disk: HDF5 1.10 cannot close a file that it could not write, and does not say why. So what
 * an append may need is claimed behind the end of the file before HDF5 is called, which is once in
 * 512 rows, and the claim that fails says what is wrong. If a write fails all the same, HDF5's
 * descriptor is exchanged for one of memory: its buffers then have a place to go to, and the file
 * on the disk stays as the last flush has left it.
 *
 * Invariants: the file is consistent after every record_append; a file of the same name that was
 * there before is kept as NAME.previous; what is no regular file is neither replaced nor followed.
 */
#include "checkpoint/record.h"

#include "base/file.h"
#include "base/log.h"
#include "base/probe.h"
#include "base/timing.h"
#include "base/version.h"
#include "h5/attribute.h"
#include "h5/h5.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes: more than HDF5 takes for a new file besides the deck; for a new column; for a chunk of 512
 * rows of a column with the nodes of its index. */
enum {
    CHUNK_ROWS = 512,
    MOST_TABLES = 16,
    FILE_BYTES = 16 << 10,
    COLUMN_BYTES = 4 << 10,
    CHUNK_BYTES = 12 << 10
};

struct record_table {
    int count;
    hid_t *datasets;
    int *integer;
    hsize_t rows;
};

struct record {
    char *path;
    hid_t file;
    /* It goes on after this step; -1: it is new */
    int64_t step;
    /* It could not be written: nothing more is appended */
    int broken;
    int table_count;
    struct record_table tables[MOST_TABLES];
};

static void record_free(struct record *record)
{
    for (int t = 0; t < record->table_count; t++) {
        free(record->tables[t].datasets);
        free(record->tables[t].integer);
    }
    free(record->path);
    free(record);
}

/* Whether a name is free, or a regular file's. */
static enum zi_status check_name(const char *path)
{
    struct stat is;
    if (lstat(path, &is) != 0) {
        if (errno == ENOENT) return ZI_OK;
        return zi_fail(ZI_ERROR_IO, "record", "cannot examine %s: %s", path, strerror(errno));
    }
    if (S_ISREG(is.st_mode)) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "record",
                   "%s is %s, which zinf has not made and does not replace; move it", path,
                   zi_file_kind(is.st_mode));
}

static enum zi_status keep_previous(const char *path)
{
    size_t size = strlen(path) + sizeof ".previous";
    char *previous = malloc(size);
    if (!previous) return zi_fail(ZI_ERROR_DEVICE, "record", "no memory for a file name");
    snprintf(previous, size, "%s.previous", path);
    enum zi_status status = check_name(path);
    if (status >= 0) status = check_name(previous);
    if (status >= 0 && rename(path, previous) != 0 && errno != ENOENT)
        status = zi_fail(ZI_ERROR_IO, "record", "%s: cannot be renamed to %s: %s", path, previous,
                         strerror(errno));
    free(previous);
    return status;
}

static enum zi_status fail_claim(const char *path, int error)
{
    return zi_fail(ZI_ERROR_IO, "record", "cannot write %s: %s%s", path, strerror(error),
                   zi_file_remedy(error, "; make room, or choose another run.directory"));
}

/* Claims space behind byte `first` without changing the size. */
static enum zi_status claim_on(const char *path, int file, int64_t first, int64_t bytes)
{
    int error = zi_file_claim(file, false, first, bytes);
    return error == 0 ? ZI_OK : fail_claim(path, error);
}

/* The descriptor that HDF5 writes to; -1 without one. */
static int descriptor_of(const struct record *record)
{
    int *descriptor = NULL;
    if (H5Fget_vfd_handle(record->file, H5P_DEFAULT, (void **)&descriptor) < 0) return -1;
    return descriptor ? *descriptor : -1;
}

/* It could not be written: what HDF5 still holds of it goes to memory. */
static void let_go(struct record *record)
{
    hsize_t end;
    if (record->broken) return;
    record->broken = 1;
    int memory = memfd_create("run record", MFD_CLOEXEC), descriptor = descriptor_of(record);
    /* The header may have been written and say more than was; readers refuse a file that is cut. */
    if (descriptor >= 0 && H5Fget_filesize(record->file, &end) >= 0)
        (void)!ftruncate(descriptor, (off_t)end);
    if (memory >= 0 && descriptor >= 0) (void)dup3(memory, descriptor, O_CLOEXEC);
    if (memory >= 0) close(memory);
}

static enum zi_status claim(struct record *record, int64_t bytes)
{
    hsize_t end;
    int descriptor = descriptor_of(record);
    enum zi_status status = descriptor < 0 || H5Fget_filesize(record->file, &end) < 0
                                ? h5_fail("record", record->path, "find its end")
                                : claim_on(record->path, descriptor, (int64_t)end, bytes);
    if (status < 0) let_go(record);
    return status;
}

static enum zi_status fail_write(struct record *record, const char *what)
{
    enum zi_status status = h5_fail("record", record->path, what);
    let_go(record);
    return status;
}

/* A new, empty file with room for what HDF5 begins with, which empties it again. */
static enum zi_status make_file(const char *path, size_t deck_bytes)
{
    int file;
    ZI_TRY(zi_file_create_new("record", path, 0666, &file));
    enum zi_status status = claim_on(path, file, 0, FILE_BYTES + (int64_t)deck_bytes);
    close(file);
    if (status < 0) (void)unlink(path);
    return status;
}

static enum zi_status write_attributes(struct record *record, const char *deck_text)
{
    char started[64];
    zi_time_stamp(started, sizeof started);
    if (h5_text_write(record->file, "format", "zinf-record-1") < 0 ||
        h5_text_write(record->file, "deck", deck_text) < 0 ||
        h5_text_write(record->file, "version", zi_version()) < 0 ||
        h5_text_write(record->file, "revision", zi_version_revision()) < 0 ||
        h5_text_write(record->file, "started", started) < 0)
        return fail_write(record, "write the attributes");
    return ZI_OK;
}

enum zi_status record_create(const char *path, const char *deck_text, struct record **record)
{
    h5_quiet();
    ZI_TRY(keep_previous(path));
    ZI_TRY(make_file(path, strlen(deck_text)));
    struct record *made = calloc(1, sizeof *made);
    if (!made) return zi_fail(ZI_ERROR_DEVICE, "record", "no memory for a description");
    made->step = -1;
    made->path = strdup(path);
    made->file = made->path ? h5_file_create(path, 1) : -1;
    enum zi_status status =
        made->file < 0 ? h5_fail("record", path, "create the run record") : ZI_OK;
    if (status == ZI_OK) status = claim(made, FILE_BYTES + (int64_t)strlen(deck_text));
    if (status == ZI_OK) status = write_attributes(made, deck_text);
    if (status < 0) {
        if (made->file >= 0) H5Fclose(made->file);
        record_free(made);
        return status;
    }
    *record = made;
    return ZI_OK;
}

enum zi_status record_continue(const char *path, int64_t step, struct record **record)
{
    h5_quiet();
    ZI_TRY(zi_probe_file("record", path, "move it away; the record then begins anew"));
    struct record *made = calloc(1, sizeof *made);
    if (!made) return zi_fail(ZI_ERROR_DEVICE, "record", "no memory for a description");
    made->step = step;
    made->path = strdup(path);
    made->file = made->path ? h5_file_open(path, H5F_ACC_RDWR) : -1;
    if (made->file < 0) {
        enum zi_status status = h5_fail("record", path, "open the run record");
        record_free(made);
        return status;
    }
    *record = made;
    return ZI_OK;
}

/* Rows of a column, -1 when it is none. */
static int64_t column_rows(hid_t dataset)
{
    hsize_t rows;
    hid_t space = H5Dget_space(dataset);
    int dimensions = space < 0 ? -1 : H5Sget_simple_extent_dims(space, &rows, NULL);
    if (space >= 0) H5Sclose(space);
    return dimensions == 1 ? (int64_t)rows : -1;
}

/* How many of the first `rows` rows are of steps up to `last`; they are in order. -1 on failure. */
static int64_t rows_until(hid_t steps, int64_t rows, int64_t last)
{
    int64_t *numbers = malloc(((size_t)column_rows(steps) + 1) * sizeof *numbers);
    int64_t kept = -1;
    if (numbers && H5Dread(steps, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers) >= 0) {
        for (kept = 0; kept < rows && numbers[kept] <= last;)
            kept++;
    }
    free(numbers);
    return kept;
}

static hid_t column_open(hid_t group, const struct record_column *column)
{
    hid_t dataset = H5Dopen2(group, column->name, H5P_DEFAULT);
    hid_t type = dataset < 0 ? -1 : H5Dget_type(dataset);
    H5T_class_t class = type < 0 ? H5T_NO_CLASS : H5Tget_class(type);
    if (type >= 0) H5Tclose(type);
    if (class == (column->integer ? H5T_INTEGER : H5T_FLOAT)) return dataset;
    if (dataset >= 0) H5Dclose(dataset);
    return -1;
}

/* Cuts the rows of a table that goes on: a writer that was killed may have left a row in some
 * columns only. */
static enum zi_status table_cut(struct record *record, struct record_table *table)
{
    int64_t rows = INT64_MAX;
    for (int c = 0; c < table->count; c++) {
        int64_t own = column_rows(table->datasets[c]);
        if (own < rows) rows = own;
    }
    if (rows >= 0) rows = rows_until(table->datasets[0], rows, record->step);
    if (rows < 0) return h5_fail("record", record->path, "read the steps");
    hsize_t extent = (hsize_t)rows;
    for (int c = 0; c < table->count; c++) {
        if (H5Dset_extent(table->datasets[c], &extent) < 0)
            return fail_write(record, "cut the rows of later steps");
    }
    table->rows = extent;
    return ZI_OK;
}

/* One empty extensible dataset with its unit, or a negative number. */
static hid_t column_create(hid_t group, const struct record_column *column)
{
    hsize_t rows = 0, most = H5S_UNLIMITED, chunk = CHUNK_ROWS;
    hid_t space = H5Screate_simple(1, &rows, &most);
    hid_t layout = H5Pcreate(H5P_DATASET_CREATE);
    hid_t dataset = -1;
    if (space >= 0 && layout >= 0 && H5Pset_chunk(layout, 1, &chunk) >= 0)
        dataset = H5Dcreate2(group, column->name, column->integer ? H5T_STD_I64LE : H5T_IEEE_F64LE,
                             space, H5P_DEFAULT, layout, H5P_DEFAULT);
    if (space >= 0) H5Sclose(space);
    if (layout >= 0) H5Pclose(layout);
    if (dataset >= 0 && h5_text_write(dataset, "unit", column->unit) < 0) {
        H5Dclose(dataset);
        return -1;
    }
    return dataset;
}

static enum zi_status table_fill(struct record *record, hid_t group, struct record_table *table,
                                 const struct record_column *columns, int count)
{
    table->datasets = calloc((size_t)count, sizeof *table->datasets);
    table->integer = calloc((size_t)count, sizeof *table->integer);
    if (!table->datasets || !table->integer)
        return zi_fail(ZI_ERROR_DEVICE, "record", "no memory for a table of %d columns", count);
    for (int c = 0; c < count; c++) {
        table->datasets[c] =
            record->step < 0 ? column_create(group, &columns[c]) : column_open(group, &columns[c]);
        if (table->datasets[c] < 0) return fail_write(record, "find or make a column");
        table->integer[c] = columns[c].integer;
        table->count = c + 1;
    }
    return record->step < 0 ? ZI_OK : table_cut(record, table);
}

enum zi_status record_add_table(struct record *record, const char *group,
                                const struct record_column *columns, int count, int *table)
{
    ZI_REQUIRE(record->table_count < MOST_TABLES && count > 0);
    ZI_TRY(claim(record, (int64_t)count * COLUMN_BYTES + COLUMN_BYTES));
    htri_t exists = H5Lexists(record->file, group, H5P_DEFAULT);
    hid_t parent = exists > 0
                       ? H5Gopen2(record->file, group, H5P_DEFAULT)
                       : H5Gcreate2(record->file, group, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (parent < 0) return fail_write(record, "create a group");
    int number = record->table_count++;
    enum zi_status status = table_fill(record, parent, &record->tables[number], columns, count);
    H5Gclose(parent);
    if (status == ZI_OK) *table = number;
    return status;
}

static enum zi_status record_flush(struct record *record)
{
    if (H5Fflush(record->file, H5F_SCOPE_LOCAL) < 0) return fail_write(record, "write a row");
    return ZI_OK;
}

enum zi_status record_start(struct record *record)
{
    return record_flush(record);
}

/* Writes one value at the end of a column of `rows` rows. */
static herr_t column_append(hid_t dataset, hsize_t rows, hid_t type, const void *value)
{
    hsize_t extent = rows + 1, one = 1;
    if (H5Dset_extent(dataset, &extent) < 0) return -1;
    hid_t file_space = H5Dget_space(dataset), memory_space = H5Screate_simple(1, &one, NULL);
    herr_t result = -1;
    if (file_space >= 0 && memory_space >= 0 &&
        H5Sselect_hyperslab(file_space, H5S_SELECT_SET, &rows, NULL, &one, NULL) >= 0)
        result = H5Dwrite(dataset, type, memory_space, file_space, H5P_DEFAULT, value);
    if (file_space >= 0) H5Sclose(file_space);
    if (memory_space >= 0) H5Sclose(memory_space);
    return result;
}

enum zi_status record_append(struct record *record, int table, const double *values,
                             const int64_t *integers)
{
    ZI_REQUIRE(table >= 0 && table < record->table_count);
    struct record_table *to = &record->tables[table];
    if (record->broken) return ZI_ERROR_IO; /* said when it broke */
    if (to->rows % CHUNK_ROWS == 0) ZI_TRY(claim(record, (int64_t)to->count * CHUNK_BYTES));
    for (int c = 0; c < to->count; c++) {
        herr_t result =
            to->integer[c]
                ? column_append(to->datasets[c], to->rows, H5T_NATIVE_INT64, &integers[c])
                : column_append(to->datasets[c], to->rows, H5T_NATIVE_DOUBLE, &values[c]);
        if (result < 0) return fail_write(record, "append a row");
    }
    to->rows++;
    return record_flush(record);
}

enum zi_status record_sync(struct record *record)
{
    if (record->broken) return ZI_ERROR_IO; /* said when it broke */
    if (fsync(descriptor_of(record)) == 0) return ZI_OK;
    return zi_fail(ZI_ERROR_IO, "record", "%s: cannot be made durable: %s", record->path,
                   strerror(errno));
}

enum zi_status record_close(struct record *record)
{
    if (!record) return ZI_OK;
    herr_t result = 0;
    struct stat is;
    int broken = record->broken, descriptor = dup(descriptor_of(record));
    for (int t = 0; t < record->table_count; t++) {
        for (int c = 0; c < record->tables[t].count; c++) {
            if (H5Dclose(record->tables[t].datasets[c]) < 0) result = -1;
        }
    }
    if (H5Fclose(record->file) < 0) result = -1;
    enum zi_status status = ZI_OK;
    if (result < 0 && !broken) status = h5_fail("record", record->path, "close the run record");
    /* Gives back what was claimed behind the end. */
    if (descriptor >= 0 && fstat(descriptor, &is) == 0) (void)!ftruncate(descriptor, is.st_size);
    if (descriptor >= 0) close(descriptor);
    record_free(record);
    return status;
}
