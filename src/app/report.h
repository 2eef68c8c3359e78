/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: what machines read of a run. Rank 0 only, but for report_trace. */
#ifndef ZI_APP_REPORT_H
#define ZI_APP_REPORT_H

#include "app/directory.h"

#include "engine/engine.h"
#include "program/trace.h"

struct report;

/* One step as it goes into steps.csv and run.h5. */
/* Whether a step was skipped, and why: it was not finite, or it lowered the loss scale. */
enum report_skip { REPORT_KEPT, REPORT_NOT_FINITE, REPORT_LOWERED };

struct report_row {
    /* Steps done, this one included. */
    int64_t step;
    /* Trained on so far. */
    int64_t tokens;
    double loss, gradient_norm, learning_rate, seconds, tokens_per_s;
    /* Of the loss; 1: none. */
    int64_t loss_scale;
    /* Those of the step that count. */
    int64_t targets;
    /* enum report_skip. */
    int skipped;
    /* enum engine_guess: of its speculative updates. */
    int speculated;
    /* Of all parameters before the step's update. */
    uint64_t checksum;
    /* NaN: no validation at this step. */
    double validation_loss;
    /* The compute lane was idle because of that lane. */
    double wait_s[LANE_COUNT];
    /* A block was on its way to or from the store. */
    double disk_busy_s;
    /* What the store asked from the kernel. */
    int64_t disk_read_bytes, disk_written_bytes;
    /* What the kernel counted; -1: it does not say. */
    int64_t io_read_bytes, io_written_bytes;
};

/* Local. Makes steps.csv, timings.csv, checkpoints.csv and run.h5 in `directory`, where none may be, or, after `step`
 * 1 or more, goes on with those that are there: rows of later steps are cut off. Each row is whole
 * or not there. ZI_ERROR_IO. */
enum zi_status report_open(const char *directory, const char *deck_text, int64_t step,
                           struct report **report);

/* How a job begins. */
struct report_start {
    /* The step that it goes on after, 0 for a run that begins. */
    int64_t step;
    int ranks;
    /* The file that it goes on from, below `directory` where it is there; "" without one. */
    const char *checkpoint;
};

/* Local. Appends a row to starts.csv of `directory`, durably; makes the file where there is none.
 * ZI_ERROR_IO; ZI_ERROR_USAGE where another version has written it. */
enum zi_status report_started(const char *directory, const struct report_start *start);

/* Local. Appends a step, visible to readers when the call returns. ZI_ERROR_IO. */
enum zi_status report_step(struct report *report, const struct report_row *row);

/* What a checkpoint took, of rank 0. */
struct report_checkpoint {
    int64_t step;
    /* As struct checkpoint_writing has it; for people. */
    const char *place;
    /* Of its file, at most. */
    int64_t bytes;
    /* From when it was due until it was durable and had its name; of that in calls that write or
     * make durable; while training stood still. */
    double seconds, written_s, still_s;
    /* The step that it was laid over, and the one before; 0: it was laid over none. */
    double over_s, before_s;
    /* Bytes/s that such a file can have, and the key of the machine file that says so; NULL: not
     * known. For people. */
    double can_bytes_per_s;
    const char *can_key;
};

/* Local. Appends a checkpoint to checkpoints.csv and run.h5. ZI_ERROR_IO. */
enum zi_status report_checkpoint(struct report *report, const struct report_checkpoint *row);

/* Local. Appends what the engine did since the last call, one row per kind and lane. ZI_ERROR_IO.
 */
enum zi_status report_timings(struct report *report, int64_t step, struct engine *engine);

/* Bytes read from and written to storage; -1 each where that is not known. */
struct report_bytes {
    int64_t read, written;
};

/* Local. What this process has had moved so far, as the kernel counts it (/proc/self/io: direct
 * transfers, pages read, pages made dirty). */
struct report_bytes report_kernel_bytes(void);

/* Collective. Writes trace.json into `directory`: the events of all ranks on one clock. Ranks
 * append in turn to a file that gets its name when it is whole. ZI_ERROR_IO, on all ranks alike. */
enum zi_status report_trace(const char *directory, const struct trace *trace, struct comm *comm);

/* Local. Writes memory.csv: every named buffer that is alive, and the resident size. ZI_ERROR_IO.
 */
enum zi_status report_memory(const char *directory);

/* Local. Whether the tables still have their names, so that rows are read by somebody. ZI_ERROR_IO
 * naming one that has been removed or replaced. */
enum zi_status report_check(const struct report *report);

/* Local. Makes all rows so far durable: before a checkpoint whose run goes on from them is. A power
 * cut loses rows that it has not been called after. ZI_ERROR_IO. */
enum zi_status report_sync(struct report *report);

/* Local. Ends the files; NULL does nothing. ZI_ERROR_IO. */
enum zi_status report_close(struct report *report);

/* Local. Writes `text` to the file `name` of `directory`. ZI_ERROR_IO. */
enum zi_status report_text(const char *directory, const char *name, const char *text);

/* How a run ended. */
struct report_end {
    enum zi_status status;
    /* Done, and asked for by the deck. */
    int64_t step, steps;
    /* Step of the newest checkpoint of this run, -1: none. */
    int64_t saved;
    /* Why, where the status is ZI_STOPPED. */
    const char *stopped;
};

/* Local. Writes end.yaml into `directory`, for job scripts. ZI_ERROR_IO. */
enum zi_status report_end(const char *directory, const struct report_end *end);

/* Local. Removes end.yaml of an earlier run from `directory`, where there is one. ZI_ERROR_IO. */
enum zi_status report_end_remove(const char *directory);

#endif
