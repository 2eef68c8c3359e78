/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: what a run directory tells of its run, which may still write it. Local. */
#ifndef ZI_APP_HISTORY_H
#define ZI_APP_HISTORY_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "app/csv.h"
#include "app/history_rows.h"
#include "app/lock.h"
#include "app/series.h"

enum history_state {
    /* No end.yaml, and a process has the lock. */
    HISTORY_RUNNING,
    /* end.yaml is there. */
    HISTORY_ENDED,
    /* Neither. */
    HISTORY_DIED,
    /* No end.yaml, and the lock tells nothing. */
    HISTORY_UNSURE
};

struct history {
    char directory[PATH_MAX];
    struct csv steps, timings, memory, starts, costs;
    int step_place, token_place, skipped_place, places[SERIES_COLUMNS];
    bool placed;
    /* steps.csv: thinned, all rows as one bucket, the newest ones (of `all.rows`, at
     * rows % HISTORY_RECENT), the lowest and the last validation. */
    struct series series;
    struct series_bucket all;
    struct series_row recent[HISTORY_RECENT];
    struct history_value best_validation, last_validation;
    struct history_jump jumps[HISTORY_JUMPS];
    int jump_count;
    /* When the last row came; 0: there is no file. */
    time_t row_time;
    /* timings.csv: those named first, and the last step that has a row. */
    struct history_operation operations[HISTORY_OPERATIONS];
    int operation_count;
    double timings_step;
    struct history_buffer buffers[HISTORY_BUFFERS];
    int buffer_count;
    /* Of all `start_count`, the newest, each at its number % HISTORY_STARTS. */
    struct history_start starts_kept[HISTORY_STARTS];
    int64_t start_count;
    /* The newest ones, newest first; how many there are; whether one is being written. */
    struct history_checkpoint checkpoints[HISTORY_CHECKPOINTS];
    int checkpoint_count, checkpoint_files;
    bool checkpoint_begun;
    /* Of all `cost_count`, the newest, each at its number % HISTORY_CHECKPOINTS. */
    struct history_cost costs_kept[HISTORY_CHECKPOINTS];
    int64_t cost_count;
    enum history_state state;
    /* Who has the lock, or has left it. */
    char holder[LOCK_TEXT];
    struct history_end end;
    /* used.yaml, cut to HISTORY_DECK bytes; NULL: there is none. */
    char *deck;
    bool deck_cut;
    char name[HISTORY_TEXT];
    /* run.steps, NaN: not known. */
    double steps_asked;
};

/* Local. Reads what there is of a run. ZI_ERROR_USAGE when the directory has no file of a run, or
 * what has the name of one is no file; ZI_ERROR_IO. On success ended by history_close. */
enum zi_status history_open(const char *directory, struct history **history);

/* Local. Reads what has come since. Errors as history_open; the history stays good for another
 * try and for history_close. */
enum zi_status history_update(struct history *history);

/* Local. Frees it; NULL does nothing. */
void history_close(struct history *history);

/* Local. The n-th row from the end, 0 for the last; NULL where it is not kept. */
const struct series_row *history_row(const struct history *history, int n);

/* Local. The n-th start of the run from the last, 0 for the last; NULL where it is not kept. */
const struct history_start *history_start(const struct history *history, int n);

/* Local. Whether the run may still make steps: it runs, or may run. */
bool history_goes_on(const struct history *history);

/* Local. The number of the last step, NaN before the first. */
double history_step(const struct history *history);

/* Local. Seconds per step and tokens per second, means of the newest rows; NaN without any. */
double history_recent_mean(const struct history *history, enum series_column column);

/* Local. Reads end.yaml, used.yaml, the checkpoints and the lock. Part of history_update. */
enum zi_status history_read_files(struct history *history);

#endif
