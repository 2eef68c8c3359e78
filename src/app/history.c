/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of a run: steps.csv, timings.csv, memory.csv, starts.csv
 * and checkpoints.csv.
 *
 * Columns are found by their names, so a table of another version of zinf is read as far as it is
 * known, and what it does not have is left out. A row of steps.csv without a step is no row; any
 * other value that is no finite number is missing. */
#include "app/history.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "app/report.h"
#include "base/log.h"

#define STEP_MOST 9007199254740992.0 /* 2^53: above it doubles leave out whole numbers */

#define WAIT_NAME(constant, name) [SERIES_WAIT + (constant)] = "wait_" #name,
static const char *const column_names[SERIES_COLUMNS] = {[SERIES_LOSS] = "loss",
                                                         [SERIES_NORM] = "gradient_norm",
                                                         [SERIES_RATE] = "learning_rate",
                                                         [SERIES_SECONDS] = "seconds",
                                                         [SERIES_SPEED] = "tokens_per_s",
                                                         [SERIES_VALIDATION] = "validation_loss",
                                                         [SERIES_DISK_READ] = "disk_read_bytes",
                                                         [SERIES_DISK_WRITTEN] =
                                                             "disk_written_bytes",
                                                         [SERIES_IO_READ] = "io_read_bytes",
                                                         [SERIES_IO_WRITTEN] = "io_written_bytes",
                                                         [SERIES_SCALE] = "loss_scale",
                                                         PROGRAM_LANES(WAIT_NAME)};

static void forget_steps(void *context)
{
    struct history *h = context;
    series_clear(&h->series);
    memset(&h->all, 0, sizeof h->all);
    h->best_validation = h->last_validation = (struct history_value){NAN, NAN};
    h->jump_count = 0;
    h->placed = false;
}

static void find_places(struct history *h, const struct csv *csv)
{
    h->step_place = csv_column(csv, "step");
    h->token_place = csv_column(csv, "tokens");
    h->skipped_place = csv_column(csv, "skipped");
    for (int i = 0; i < SERIES_COLUMNS; i++)
        h->places[i] = csv_column(csv, column_names[i]);
    h->placed = true;
}

static double number_at(char *const *fields, int place)
{
    return place < 0 ? NAN : csv_number(fields[place]);
}

/* Bytes and seconds that are not known are written as negative numbers. */
static double value_of(int column, double value)
{
    bool amount = column != SERIES_LOSS && column != SERIES_VALIDATION;
    return amount && value < 0 ? NAN : value;
}

static bool take_step(void *context, const struct csv *csv, char *const *fields)
{
    struct history *h = context;
    struct series_row row;
    struct series_bucket one;
    if (!h->placed) find_places(h, csv);
    row.step = number_at(fields, h->step_place);
    if (!(row.step >= 0 && row.step <= STEP_MOST && row.step == floor(row.step))) return false;
    row.tokens = number_at(fields, h->token_place);
    double skipped = number_at(fields, h->skipped_place);
    row.skipped = skipped == REPORT_NOT_FINITE;
    row.lowered = skipped == REPORT_LOWERED;
    for (int i = 0; i < SERIES_COLUMNS; i++)
        row.values[i] = value_of(i, number_at(fields, h->places[i]));
    double before = h->all.rows ? h->all.last_step : 0;
    if (row.step != before + 1 && h->jump_count < HISTORY_JUMPS)
        h->jumps[h->jump_count++] = (struct history_jump){before, row.step};
    struct history_value validation = {row.values[SERIES_VALIDATION], row.step};
    if (!isnan(validation.value)) {
        h->last_validation = validation;
        if (!(validation.value >= h->best_validation.value)) h->best_validation = validation;
    }
    h->recent[h->all.rows % HISTORY_RECENT] = row;
    series_single(&row, &one);
    series_add(&h->series, &one);
    series_merge(&h->all, &one);
    return true;
}

static void forget_timings(void *context)
{
    struct history *h = context;
    h->operation_count = 0;
    h->timings_step = NAN;
}

static void copy_name(char name[HISTORY_NAME], const char *text)
{
    snprintf(name, HISTORY_NAME, "%s", text);
}

/* The operation of a lane and a kind, a new one where there was none; NULL when there are too many.
 */
static struct history_operation *find_operation(struct history *h, const char *lane,
                                                const char *kind)
{
    for (int i = 0; i < h->operation_count; i++)
        if (strcmp(h->operations[i].lane, lane) == 0 && strcmp(h->operations[i].kind, kind) == 0)
            return &h->operations[i];
    if (h->operation_count == HISTORY_OPERATIONS || strlen(lane) >= HISTORY_NAME ||
        strlen(kind) >= HISTORY_NAME)
        return NULL;
    struct history_operation *made = &h->operations[h->operation_count++];
    memset(made, 0, sizeof *made);
    copy_name(made->lane, lane);
    copy_name(made->kind, kind);
    return made;
}

static double named_number(const struct csv *csv, char *const *fields, const char *name)
{
    return number_at(fields, csv_column(csv, name));
}

static bool take_timing(void *context, const struct csv *csv, char *const *fields)
{
    struct history *h = context;
    int lane = csv_column(csv, "lane"), kind = csv_column(csv, "kind");
    double step = named_number(csv, fields, "step");
    if (lane < 0 || kind < 0 || !(step >= 0 && step <= STEP_MOST)) return false;
    struct history_operation *o = find_operation(h, fields[lane], fields[kind]);
    if (!o) return false;
    o->step = h->timings_step = step;
    o->all_count += o->count = named_number(csv, fields, "count");
    o->all_seconds += o->seconds = named_number(csv, fields, "seconds");
    o->all_wait += o->wait = named_number(csv, fields, "wait_seconds");
    o->all_bytes += o->bytes = named_number(csv, fields, "bytes");
    return true;
}

static void forget_memory(void *context)
{
    struct history *h = context;
    h->buffer_count = 0;
}

static bool take_memory(void *context, const struct csv *csv, char *const *fields)
{
    struct history *h = context;
    int tier = csv_column(csv, "tier"), name = csv_column(csv, "name");
    if (tier < 0 || name < 0 || h->buffer_count == HISTORY_BUFFERS) return false;
    struct history_buffer *b = &h->buffers[h->buffer_count++];
    copy_name(b->tier, fields[tier]);
    copy_name(b->name, fields[name]);
    b->bytes = named_number(csv, fields, "bytes");
    b->peak = named_number(csv, fields, "peak_bytes");
    return true;
}

static void forget_starts(void *context)
{
    struct history *h = context;
    h->start_count = 0;
}

static void copy_field(char *text, size_t size, const struct csv *csv, char *const *fields,
                       const char *name)
{
    int place = csv_column(csv, name);
    snprintf(text, size, "%s", place < 0 ? "" : fields[place]);
}

static bool take_start(void *context, const struct csv *csv, char *const *fields)
{
    struct history *h = context;
    double step = named_number(csv, fields, "step");
    if (!(step >= 0 && step <= STEP_MOST && step == floor(step))) return false;
    struct history_start *s = &h->starts_kept[h->start_count++ % HISTORY_STARTS];
    s->step = step;
    s->ranks = named_number(csv, fields, "ranks");
    copy_field(s->started, sizeof s->started, csv, fields, "started");
    copy_field(s->version, sizeof s->version, csv, fields, "version");
    copy_field(s->checkpoint, sizeof s->checkpoint, csv, fields, "checkpoint");
    return true;
}

static void forget_costs(void *context)
{
    struct history *h = context;
    h->cost_count = 0;
}

static bool take_cost(void *context, const struct csv *csv, char *const *fields)
{
    struct history *h = context;
    double step = named_number(csv, fields, "step");
    if (!(step >= 0 && step <= STEP_MOST)) return false;
    h->costs_kept[h->cost_count++ % HISTORY_CHECKPOINTS] = (struct history_cost){
        .step = step,
        .written = named_number(csv, fields, "written_s"),
        .still = named_number(csv, fields, "still_s"),
        .over = named_number(csv, fields, "over_s"),
        .before = named_number(csv, fields, "before_s"),
    };
    return true;
}

enum zi_status history_update(struct history *history)
{
    struct stat is;
    const struct csv_reader steps = {history, forget_steps, take_step};
    const struct csv_reader timings = {history, forget_timings, take_timing};
    const struct csv_reader memory = {history, forget_memory, take_memory};
    const struct csv_reader starts = {history, forget_starts, take_start};
    const struct csv_reader costs = {history, forget_costs, take_cost};
    /* The end is read before the rows: they are complete then. */
    ZI_TRY(history_read_files(history));
    ZI_TRY(csv_read(&history->steps, &steps));
    ZI_TRY(csv_read(&history->timings, &timings));
    ZI_TRY(csv_read(&history->memory, &memory));
    ZI_TRY(csv_read(&history->starts, &starts));
    ZI_TRY(csv_read(&history->costs, &costs));
    history->row_time = stat(history->steps.path, &is) == 0 ? is.st_mtime : 0;
    return ZI_OK;
}

static enum zi_status begin(struct history *h, const char *directory)
{
    char path[PATH_MAX];
    struct stat is;
    ZI_TRY(report_path(directory, "", path));
    if (stat(path, &is) != 0 || !S_ISDIR(is.st_mode))
        return zi_fail(ZI_ERROR_USAGE, "app", "%s is no folder; name the run.directory of a run",
                       directory);
    snprintf(h->directory, sizeof h->directory, "%s", directory);
    ZI_TRY(csv_begin(&h->steps, directory, "steps.csv"));
    ZI_TRY(csv_begin(&h->timings, directory, "timings.csv"));
    ZI_TRY(csv_begin(&h->memory, directory, "memory.csv"));
    ZI_TRY(csv_begin(&h->starts, directory, "starts.csv"));
    ZI_TRY(csv_begin(&h->costs, directory, "checkpoints.csv"));
    forget_steps(h);
    forget_timings(h);
    ZI_TRY(history_update(h));
    if (h->all.rows || h->deck || h->state != HISTORY_DIED) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "app",
                   "%s has no steps.csv with a step, no used.yaml and no end.yaml; name the "
                   "run.directory of a run",
                   directory);
}

enum zi_status history_open(const char *directory, struct history **history)
{
    struct history *made = calloc(1, sizeof *made);
    if (!made) return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for the history of the run");
    enum zi_status status = begin(made, directory);
    if (status < 0)
        history_close(made);
    else
        *history = made;
    return status;
}

void history_close(struct history *history)
{
    if (history) free(history->deck);
    free(history);
}

const struct series_row *history_row(const struct history *history, int n)
{
    if (n < 0 || n >= HISTORY_RECENT || n >= history->all.rows) return NULL;
    return &history->recent[(history->all.rows - 1 - n) % HISTORY_RECENT];
}

const struct history_start *history_start(const struct history *history, int n)
{
    if (n < 0 || n >= HISTORY_STARTS || n >= history->start_count) return NULL;
    return &history->starts_kept[(history->start_count - 1 - n) % HISTORY_STARTS];
}

bool history_goes_on(const struct history *history)
{
    return history->state == HISTORY_RUNNING || history->state == HISTORY_UNSURE;
}

double history_step(const struct history *history)
{
    return history->all.rows ? history->all.last_step : NAN;
}

double history_recent_mean(const struct history *history, enum series_column column)
{
    struct series_part part = {0};
    for (int n = 0; n < HISTORY_RECENT; n++) {
        const struct series_row *row = history_row(history, n);
        if (!row || isnan(row->values[column])) continue;
        part.count++;
        part.sum += row->values[column];
    }
    return series_mean(&part);
}
