/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: the steps of a run of any length, in memory of one size. */
#ifndef ZI_APP_SERIES_H
#define ZI_APP_SERIES_H

#include <stdint.h>

#include "program/kinds.h"

/* What is kept of steps.csv, by number; waits are one column a lane. */
enum series_column {
    SERIES_LOSS,
    SERIES_NORM,
    SERIES_RATE,
    SERIES_SECONDS,
    SERIES_SPEED,
    SERIES_VALIDATION,
    SERIES_DISK_READ,
    SERIES_DISK_WRITTEN,
    SERIES_IO_READ,
    SERIES_IO_WRITTEN,
    SERIES_SCALE,
    SERIES_WAIT,
    SERIES_COLUMNS = SERIES_WAIT + LANE_COUNT
};

/* A row; NaN: the table does not have it, or it is no finite number. */
struct series_row {
    double step, tokens;
    /* For what was not finite; lowered: for the loss scale. */
    bool skipped, lowered;
    double values[SERIES_COLUMNS];
};

/* The finite values of one column in a few rows. */
struct series_part {
    int64_t count;
    double sum;
    /* The smallest and the largest, and their steps. */
    double low, low_step, high, high_step;
};

/* A few rows that follow each other. */
struct series_bucket {
    int64_t rows, skipped;
    /* Of its rows; of the first that was skipped. */
    double first_step, last_step, skipped_step;
    struct series_part parts[SERIES_COLUMNS];
};

enum { SERIES_BUCKETS = 512 };

/* All rows: `count` buckets of `width` rows each, but for the last. */
struct series {
    int64_t width;
    int count;
    struct series_bucket buckets[SERIES_BUCKETS];
};

/* Local. No rows. */
void series_clear(struct series *series);

/* Local. A row as a bucket. */
void series_single(const struct series_row *row, struct series_bucket *one);

/* Local. Takes in a bucket of one row. When all buckets are full, neighbours become one. */
void series_add(struct series *series, const struct series_bucket *one);

/* Local. Adds the rows of a bucket behind those of another, which may have none. */
void series_merge(struct series_bucket *into, const struct series_bucket *from);

/* Local. A few buckets, at most `most`, of neighbours of the series; gives their number. */
int series_coarsen(const struct series *series, int most, struct series_bucket *buckets);

/* Local. The mean of a column, NaN where it has no finite value. */
double series_mean(const struct series_part *part);

/* Local. The part of the seconds of a bucket in which the compute lane waited for a lane; NaN where
 * one of them is not known. */
double series_wait_share(const struct series_bucket *bucket, int lane);

#endif
