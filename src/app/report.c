/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a run that machines read: steps.csv, timings.csv, memory.csv, and run.h5 with the
 * same tables; starts.csv.
 *
 * A table is described once, by its columns; the heading of the CSV file and the datasets of run.h5
 * both come from that. Numbers are written with 9 digits, enough to give back any fp32. Every row
 * is one write to the file, because a job may be killed at any moment and what it has reported must
 * be there; where the disk is full a row is cut off again, so a table never ends in half a row. A
 * failure to write is an error of the run: a training whose record has holes is not what was asked
 * for. Files are made anew and exclusively: what has such a name by now is not zinf's.
 *
 * The engine's timings are sums since it was made. The file has differences: what each kind of
 * operation did since the last row, on rank 0. */
#include "app/report.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/dtype.h"
#include "base/file.h"
#include "base/log.h"
#include "base/timing.h"
#include "base/version.h"
#include "checkpoint/record.h"

#define WAIT_COLUMN(constant, name) {"wait_" #name, "s", 0},
static const struct record_column step_columns[] = {
    {"step", "", 1},
    {"tokens", "", 1},
    {"loss", "nats per token", 0},
    {"gradient_norm", "", 0},
    {"learning_rate", "", 0},
    {"seconds", "s", 0},
    {"tokens_per_s", "1/s", 0},
    {"skipped", "0: no, 1: not finite, 2: loss scale lowered", 1},
    {"checksum", "64 bits", 1},
    {"validation_loss", "nats per token, NaN: none", 0},
    PROGRAM_LANES(WAIT_COLUMN)
    /* Of the store, and as the kernel counts. */
    {"disk_read_bytes", "B", 1},
    {"disk_written_bytes", "B", 1},
    {"io_read_bytes", "B, -1: unknown", 1},
    {"io_written_bytes", "B, -1: unknown", 1},
    {"loss_scale", "", 1},
    {"targets", "", 1},
    {"speculated", "0: no, 1: held, 2: dropped", 1},
    {"disk_busy", "s", 0},
};
enum {
    STEP_COLUMNS = (int)(sizeof step_columns / sizeof *step_columns),
    STEP_CHECKSUM = 8,
    STEP_VALIDATION = 9,
    STEP_WAIT = 10,
    STEP_BYTES = STEP_WAIT + LANE_COUNT,
    STEP_SCALE = STEP_BYTES + 4,
    STEP_TARGETS,
    STEP_SPECULATED,
    STEP_BUSY
};
_Static_assert(STEP_BUSY + 1 == STEP_COLUMNS, "a column per lane");

static const struct record_column timing_columns[] = {
    {"step", "", 1},     {"lane", "codes", 1},     {"kind", "codes", 1}, {"count", "", 1},
    {"seconds", "s", 0}, {"wait_seconds", "s", 0}, {"bytes", "B", 0},
};
enum { TIMING_COLUMNS = (int)(sizeof timing_columns / sizeof *timing_columns) };

static const struct record_column checkpoint_columns[] = {
    {"step", "", 1},     {"bytes", "B", 1},  {"seconds", "s", 0},  {"written_s", "s", 0},
    {"still_s", "s", 0}, {"over_s", "s", 0}, {"before_s", "s", 0},
};
enum { CHECKPOINT_COLUMNS = (int)(sizeof checkpoint_columns / sizeof *checkpoint_columns) };

/* In text only. */
static const struct record_column start_columns[] = {{"step", "", 1},     {"started", "", 0},
                                                     {"ranks", "", 1},    {"version", "", 0},
                                                     {"revision", "", 0}, {"checkpoint", "", 0}};
enum { START_COLUMNS = (int)(sizeof start_columns / sizeof *start_columns) };

/* A table of which rows are appended. */
struct table {
    char path[PATH_MAX];
    /* -1: none. */
    int file;
};

struct report {
    struct table steps, timings, checkpoints;
    struct record *record;
    int step_table, timing_table, checkpoint_table;
    struct engine_timing last[LANE_COUNT][OP_KIND_COUNT];
};

/* A text that grows in memory. */
struct text {
    char *bytes;
    size_t size;
    FILE *out;
};

static enum zi_status text_begin(struct text *text)
{
    *text = (struct text){0};
    text->out = open_memstream(&text->bytes, &text->size);
    return text->out ? ZI_OK : zi_fail(ZI_ERROR_DEVICE, "app", "no memory for a row of the report");
}

/* Ends the text; its bytes are the caller's to free, also after an error. */
static enum zi_status text_end(struct text *text)
{
    bool failed = ferror(text->out) != 0;
    if (fclose(text->out) == 0 && !failed) return ZI_OK;
    return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for a row of the report");
}

/* Ends the text and appends it to a table, all or nothing. */
static enum zi_status text_append(struct text *text, struct table *table)
{
    enum zi_status status = text_end(text);
    if (status >= 0 && text->size > 0)
        status = zi_file_append("app", table->path, table->file, text->bytes, text->size);
    free(text->bytes);
    return status;
}

static enum zi_status write_heading(const struct record_column *columns, int count,
                                    struct text *text)
{
    ZI_TRY(text_begin(text));
    for (int i = 0; i < count; i++)
        fprintf(text->out, "%s%s", i ? "," : "", columns[i].name);
    fputc('\n', text->out);
    return ZI_OK;
}

/* Makes a table with its heading. */
static enum zi_status make_table(const struct record_column *columns, int count,
                                 struct table *table)
{
    struct text text;
    ZI_TRY(zi_file_create_new("app", table->path, 0666, &table->file));
    ZI_TRY(write_heading(columns, count, &text));
    return text_append(&text, table);
}

/* Bytes of a table up to the last whole row of a step that is not after `step`; the first field of
 * a row is its step. */
static int64_t bytes_until(FILE *file, int64_t step)
{
    char *line = NULL;
    size_t size = 0;
    int64_t kept = 0;
    for (ssize_t length; (length = getline(&line, &size, file)) > 0;) {
        bool heading = kept == 0;
        /* What a power cut has left may end in bytes that were never written, zeros. */
        if (line[length - 1] != '\n' || strlen(line) != (size_t)length ||
            (!heading && strtoll(line, NULL, 10) > step))
            break;
        kept += length;
    }
    free(line);
    return kept;
}

/* Whether a table begins with the heading that this version writes. */
static enum zi_status check_heading(const struct table *table, FILE *file,
                                    const struct record_column *columns, int count)
{
    struct text text;
    char *line = NULL;
    size_t size = 0;
    ZI_TRY(write_heading(columns, count, &text));
    enum zi_status status = text_end(&text);
    bool same = status >= 0 && getline(&line, &size, file) > 0 && strcmp(line, text.bytes) == 0;
    free(line);
    free(text.bytes);
    ZI_TRY(status);
    rewind(file);
    if (same) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "app",
                   "%s has other columns than this version of zinf writes; move it away, and the "
                   "table begins anew where the run goes on",
                   table->path);
}

/* Goes on with a table after a step: what is of later steps was lost with the job that wrote it. */
static enum zi_status continue_table(const struct record_column *columns, int count, int64_t step,
                                     struct table *table)
{
    int input;
    int64_t bytes;
    ZI_TRY(zi_file_open_input("app", table->path, &input, &bytes));
    FILE *file = fdopen(input, "r");
    if (!file) {
        close(input);
        return zi_fail(ZI_ERROR_IO, "app", "cannot read %s: %s", table->path, strerror(errno));
    }
    enum zi_status status = check_heading(table, file, columns, count);
    if (status >= 0) bytes = bytes_until(file, step);
    fclose(file);
    ZI_TRY(status);
    table->file = open(table->path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
    if (table->file >= 0 && ftruncate(table->file, (off_t)bytes) == 0) return ZI_OK;
    return zi_fail(ZI_ERROR_IO, "app", "cannot go on with %s: %s", table->path, strerror(errno));
}

/* A new table, or one that goes on after a step, where it is still there. */
static enum zi_status open_table(const char *directory, const char *name,
                                 const struct record_column *columns, int count, int64_t step,
                                 struct table *table)
{
    struct stat is;
    ZI_TRY(report_path(directory, name, table->path));
    if (step > 0 && lstat(table->path, &is) == 0)
        return continue_table(columns, count, step, table);
    return make_table(columns, count, table);
}

static const char *lane_name(int lane)
{
    return program_lane_name((enum program_lane)lane);
}

static const char *kind_name(int kind)
{
    return program_kind_name((enum program_kind)kind);
}

/* Names by number, as the unit of the column that has the numbers. */
static const char *codes(int count, const char *(*name)(int), char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%d %s", i ? ", " : "", i, name(i));
    return text;
}

static enum zi_status add_tables(struct report *report)
{
    char lanes[256], kinds[512];
    struct record_column columns[TIMING_COLUMNS];
    memcpy(columns, timing_columns, sizeof columns);
    columns[1].unit = codes(LANE_COUNT, lane_name, lanes, sizeof lanes);
    columns[2].unit = codes(OP_KIND_COUNT, kind_name, kinds, sizeof kinds);
    ZI_TRY(
        record_add_table(report->record, "steps", step_columns, STEP_COLUMNS, &report->step_table));
    ZI_TRY(record_add_table(report->record, "timings", columns, TIMING_COLUMNS,
                            &report->timing_table));
    ZI_TRY(record_add_table(report->record, "checkpoints", checkpoint_columns, CHECKPOINT_COLUMNS,
                            &report->checkpoint_table));
    return record_start(report->record);
}

/* A record that cannot go on is kept beside the new one: the tables in text have all its rows. */
static enum zi_status open_record(struct report *report, const char *directory,
                                  const char *deck_text, int64_t step)
{
    char path[PATH_MAX];
    struct stat is;
    ZI_TRY(report_path(directory, "run.h5", path));
    if (step > 0 && lstat(path, &is) == 0) {
        enum zi_status status = record_continue(path, step, &report->record);
        if (status >= 0) status = add_tables(report);
        if (status >= 0) return ZI_OK;
        (void)record_close(report->record);
        report->record = NULL;
        zi_log(ZI_LOG_WARN, "app", "%s cannot go on, is kept as run.h5.previous and begins anew",
               path);
    }
    ZI_TRY(record_create(path, deck_text, &report->record));
    return add_tables(report);
}

static enum zi_status open_all(struct report *report, const char *directory, const char *deck_text,
                               int64_t step)
{
    ZI_TRY(open_table(directory, "steps.csv", step_columns, STEP_COLUMNS, step, &report->steps));
    ZI_TRY(open_table(directory, "timings.csv", timing_columns, TIMING_COLUMNS, step,
                      &report->timings));
    ZI_TRY(open_table(directory, "checkpoints.csv", checkpoint_columns, CHECKPOINT_COLUMNS, step,
                      &report->checkpoints));
    return open_record(report, directory, deck_text, step);
}

enum zi_status report_open(const char *directory, const char *deck_text, int64_t step,
                           struct report **report)
{
    struct report *made = calloc(1, sizeof *made);
    if (!made) return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for the record of the run");
    made->steps.file = made->timings.file = made->checkpoints.file = -1;
    enum zi_status status = open_all(made, directory, deck_text, step);
    if (status < 0) {
        report_close(made);
        return status;
    }
    *report = made;
    return ZI_OK;
}

/* A row of CSV, without its end. The validation loss is empty where there is none. */
static void write_fields(FILE *file, const struct record_column *columns, int count,
                         const double *values, const int64_t *integers)
{
    for (int i = 0; i < count; i++) {
        if (i) fputc(',', file);
        if (columns == step_columns && i == STEP_CHECKSUM)
            fprintf(file, "%016" PRIx64, (uint64_t)integers[i]);
        else if (columns[i].integer)
            fprintf(file, "%" PRId64, integers[i]);
        else if (columns != step_columns || i != STEP_VALIDATION || !isnan(values[i]))
            fprintf(file, "%.9g", zi_nan_plain(values[i]));
    }
}

/* Appends a row to a table. */
static enum zi_status append_row(struct table *table, const struct record_column *columns,
                                 int count, const double *values, const int64_t *integers)
{
    struct text text;
    ZI_TRY(text_begin(&text));
    write_fields(text.out, columns, count, values, integers);
    fputc('\n', text.out);
    return text_append(&text, table);
}

enum zi_status report_step(struct report *report, const struct report_row *row)
{
    double values[STEP_COLUMNS] = {
        [2] = row->loss,    [3] = row->gradient_norm, [4] = row->learning_rate,
        [5] = row->seconds, [6] = row->tokens_per_s,  [STEP_VALIDATION] = row->validation_loss,
    };
    const int64_t integers[STEP_COLUMNS] = {
        [0] = row->step,
        [1] = row->tokens,
        [7] = row->skipped,
        [STEP_CHECKSUM] = (int64_t)row->checksum,
        [STEP_BYTES] = row->disk_read_bytes,
        [STEP_BYTES + 1] = row->disk_written_bytes,
        [STEP_BYTES + 2] = row->io_read_bytes,
        [STEP_BYTES + 3] = row->io_written_bytes,
        [STEP_SCALE] = row->loss_scale,
        [STEP_TARGETS] = row->targets,
        [STEP_SPECULATED] = row->speculated,
    };
    values[STEP_BUSY] = row->disk_busy_s;
    memcpy(values + STEP_WAIT, row->wait_s, sizeof row->wait_s);
    for (int i = 0; i < STEP_COLUMNS; i++)
        values[i] = zi_nan_plain(values[i]);
    ZI_TRY(append_row(&report->steps, step_columns, STEP_COLUMNS, values, integers));
    return record_append(report->record, report->step_table, values, integers);
}

enum zi_status report_checkpoint(struct report *report, const struct report_checkpoint *row)
{
    const double values[CHECKPOINT_COLUMNS] = {
        [2] = row->seconds, [3] = row->written_s, [4] = row->still_s,
        [5] = row->over_s,  [6] = row->before_s,
    };
    const int64_t integers[CHECKPOINT_COLUMNS] = {[0] = row->step, [1] = row->bytes};
    ZI_TRY(
        append_row(&report->checkpoints, checkpoint_columns, CHECKPOINT_COLUMNS, values, integers));
    return record_append(report->record, report->checkpoint_table, values, integers);
}

/* A row of the CSV into `out`, and of the record. */
static enum zi_status write_timing(struct report *report, int64_t step,
                                   const struct engine_timing *now, FILE *out)
{
    struct engine_timing *last = &report->last[now->lane][now->kind];
    const double values[TIMING_COLUMNS] = {
        [4] = now->seconds - last->seconds,
        [5] = now->wait_s - last->wait_s,
        [6] = now->bytes - last->bytes,
    };
    const int64_t integers[TIMING_COLUMNS] = {step, now->lane, now->kind, now->count - last->count};
    if (now->count == last->count) return ZI_OK;
    *last = *now;
    fprintf(out, "%" PRId64 ",%s,%s,", step, program_lane_name(now->lane),
            program_kind_name(now->kind));
    write_fields(out, timing_columns + 3, TIMING_COLUMNS - 3, values + 3, integers + 3);
    fputc('\n', out);
    return record_append(report->record, report->timing_table, values, integers);
}

enum zi_status report_timings(struct report *report, int64_t step, struct engine *engine)
{
    int count;
    const struct engine_timing *timings = engine_timings(engine, &count);
    enum zi_status status = ZI_OK;
    struct text text;
    ZI_TRY(text_begin(&text));
    for (int i = 0; i < count && status >= 0; i++)
        status = write_timing(report, step, &timings[i], text.out);
    enum zi_status written = text_append(&text, &report->timings);
    return status < 0 ? status : written;
}

static void write_memory(void *context, const char *name, enum zi_tier tier, size_t bytes,
                         size_t peak_bytes)
{
    fprintf(context, "%s,%s,%zu,%zu\n", zi_tier_name(tier), name, bytes, peak_bytes);
}

enum zi_status report_memory(const char *directory)
{
    struct text text;
    ZI_TRY(text_begin(&text));
    fprintf(text.out, "tier,name,bytes,peak_bytes\n");
    zi_memory_visit(write_memory, text.out);
    write_memory(text.out, "resident", ZI_TIER_HOST, zi_memory_resident(),
                 zi_memory_resident_peak());
    enum zi_status status = text_end(&text);
    if (status >= 0) status = report_text(directory, "memory.csv", text.bytes);
    free(text.bytes);
    return status;
}

enum zi_status report_text(const char *directory, const char *name, const char *text)
{
    char path[PATH_MAX];
    ZI_TRY(report_path(directory, name, path));
    return zi_output_text("app", path, text);
}

static enum zi_status check_table(const struct table *table)
{
    struct stat is, named;
    if (fstat(table->file, &is) == 0 && lstat(table->path, &named) == 0 &&
        is.st_ino == named.st_ino && is.st_dev == named.st_dev)
        return ZI_OK;
    return zi_fail(ZI_ERROR_IO, "app",
                   "%s has been removed, moved or replaced while the run writes to it: what it "
                   "reports would be lost; leave a run directory alone until the run has ended",
                   table->path);
}

enum zi_status report_check(const struct report *report)
{
    ZI_TRY(check_table(&report->steps));
    ZI_TRY(check_table(&report->timings));
    return check_table(&report->checkpoints);
}

static enum zi_status sync_table(const struct table *table)
{
    if (fsync(table->file) == 0) return ZI_OK;
    return zi_fail(ZI_ERROR_IO, "app", "%s: cannot be made durable: %s", table->path,
                   strerror(errno));
}

enum zi_status report_sync(struct report *report)
{
    ZI_TRY(sync_table(&report->steps));
    ZI_TRY(sync_table(&report->timings));
    ZI_TRY(sync_table(&report->checkpoints));
    return record_sync(report->record);
}

/* Some file systems tell of a failed write only here. */
static enum zi_status close_table(struct table *table)
{
    if (table->file < 0 || close(table->file) == 0) return ZI_OK;
    return zi_fail(ZI_ERROR_IO, "app", "cannot write %s: %s", table->path, strerror(errno));
}

/* What would end the field of a table, or its row, becomes a question mark. */
static void write_text(const char *text, FILE *out)
{
    for (; *text; text++)
        fputc((unsigned char)*text < ' ' || *text == ',' ? '?' : *text, out);
}

static enum zi_status append_start(const char *directory, const struct report_start *start,
                                   struct table *table)
{
    struct text text;
    char now[64];
    size_t length = strlen(directory);
    const char *from = start->checkpoint;
    if (strncmp(from, directory, length) == 0 && from[length] == '/') from += length + 1;
    ZI_TRY(text_begin(&text));
    fprintf(text.out, "%" PRId64 ",%s,%d,", start->step, zi_time_stamp(now, sizeof now),
            start->ranks);
    write_text(zi_version(), text.out);
    fputc(',', text.out);
    write_text(zi_version_revision(), text.out);
    fputc(',', text.out);
    write_text(from, text.out);
    fputc('\n', text.out);
    ZI_TRY(text_append(&text, table));
    return sync_table(table);
}

enum zi_status report_started(const char *directory, const struct report_start *start)
{
    struct table table = {.file = -1};
    /* Jobs of any step stay: what they began with is no less true when their steps were lost. */
    enum zi_status status = open_table(directory, "starts.csv", start_columns, START_COLUMNS,
                                       start->step > 0 ? INT64_MAX : 0, &table);
    if (status >= 0) status = append_start(directory, start, &table);
    enum zi_status closed = close_table(&table);
    return status < 0 ? status : closed;
}

enum zi_status report_close(struct report *report)
{
    if (!report) return ZI_OK;
    struct table *const tables[] = {&report->steps, &report->timings, &report->checkpoints};
    enum zi_status status = ZI_OK;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        enum zi_status closed = close_table(tables[i]);
        if (status >= 0) status = closed;
    }
    enum zi_status closed = record_close(report->record);
    free(report);
    return status < 0 ? status : closed;
}
