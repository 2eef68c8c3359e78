/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: the rows of which history.h keeps the newest, or all. */
#ifndef ZI_APP_HISTORY_ROWS_H
#define ZI_APP_HISTORY_ROWS_H

#include <stdbool.h>
#include <time.h>

enum {
    HISTORY_RECENT = 16,
    HISTORY_JUMPS = 32,
    HISTORY_OPERATIONS = 128,
    HISTORY_BUFFERS = 64,
    HISTORY_CHECKPOINTS = 64,
    HISTORY_STARTS = 64,
    HISTORY_NAME = 48,
    HISTORY_TEXT = 512,
    HISTORY_DECK = 1 << 18
};

/* end.yaml; numbers are NaN and texts empty where it does not have them. */
struct history_end {
    double code, step, steps, checkpoint;
    char end[HISTORY_NAME], reason[HISTORY_TEXT];
};

/* NaN: there is none. */
struct history_value {
    double value, step;
};

/* A row that does not follow the row before it: steps that were made again, or are missing. */
struct history_jump {
    double from, to;
};

/* A kind of operation on a lane: what its last row says, and the sums of all. NaN: not known. */
struct history_operation {
    char lane[HISTORY_NAME], kind[HISTORY_NAME];
    double step, count, seconds, wait, bytes;
    double all_count, all_seconds, all_wait, all_bytes;
};

/* A row of memory.csv, bytes. */
struct history_buffer {
    char tier[HISTORY_NAME], name[HISTORY_NAME];
    double bytes, peak;
};

/* A row of starts.csv: a job, which goes on after a step from a file; 0 and "": it begins. */
struct history_start {
    double step, ranks;
    char started[HISTORY_NAME], version[HISTORY_NAME], checkpoint[HISTORY_TEXT];
};

/* A row of checkpoints.csv, seconds: writing; training stood still; the step over which it was laid
 * (0: none), and the one before. */
struct history_cost {
    double step, written, still, over, before;
};

struct history_checkpoint {
    double step, bytes;
    /* When it was written. */
    time_t time;
    /* `latest` points to it. */
    bool latest;
};

#endif
