/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of a run, thinned while they are read.
 *
 * A run may have millions of steps, a chart has some hundred columns of pixels. So rows go into
 * buckets of equal numbers of rows, and when all buckets are in use, each two neighbours become one:
 * memory is that of the buckets, one pass over the file is enough, and at least half of the buckets
 * are in use. A bucket has sum, smallest and largest of each column, so a single outlier in a
 * million steps stays in the picture, and sums are exact but for their rounding. */
#include "app/series.h"

#include <math.h>
#include <string.h>

void series_clear(struct series *series)
{
    series->width = 1;
    series->count = 0;
}

static void merge_part(struct series_part *into, const struct series_part *from)
{
    if (from->count == 0) return;
    if (into->count == 0 || from->low < into->low) {
        into->low = from->low;
        into->low_step = from->low_step;
    }
    if (into->count == 0 || from->high > into->high) {
        into->high = from->high;
        into->high_step = from->high_step;
    }
    into->count += from->count;
    into->sum += from->sum;
}

void series_merge(struct series_bucket *into, const struct series_bucket *from)
{
    if (from->rows == 0) return;
    if (into->rows == 0) into->first_step = from->first_step;
    if (into->skipped == 0) into->skipped_step = from->skipped_step;
    into->last_step = from->last_step;
    into->rows += from->rows;
    into->skipped += from->skipped;
    for (int i = 0; i < SERIES_COLUMNS; i++)
        merge_part(&into->parts[i], &from->parts[i]);
}

static void halve(struct series *series)
{
    int count = series->count / 2;
    for (int i = 0; i < count; i++) {
        struct series_bucket merged = series->buckets[2 * i];
        series_merge(&merged, &series->buckets[2 * i + 1]);
        series->buckets[i] = merged;
    }
    series->count = count;
    series->width *= 2;
}

void series_single(const struct series_row *row, struct series_bucket *one)
{
    *one = (struct series_bucket){.rows = 1, .skipped = row->skipped};
    one->first_step = one->last_step = one->skipped_step = row->step;
    for (int i = 0; i < SERIES_COLUMNS; i++) {
        double value = row->values[i];
        if (isfinite(value))
            one->parts[i] = (struct series_part){1, value, value, row->step, value, row->step};
    }
}

void series_add(struct series *series, const struct series_bucket *one)
{
    bool full = series->count == 0 || series->buckets[series->count - 1].rows == series->width;
    if (full && series->count == SERIES_BUCKETS) halve(series);
    if (full) series->buckets[series->count++] = (struct series_bucket){0};
    series_merge(&series->buckets[series->count - 1], one);
}

int series_coarsen(const struct series *series, int most, struct series_bucket *buckets)
{
    int each = (series->count + most - 1) / most, count = 0;
    for (int i = 0; i < series->count; i++) {
        if (i % each == 0) buckets[count++] = (struct series_bucket){0};
        series_merge(&buckets[count - 1], &series->buckets[i]);
    }
    return count;
}

double series_mean(const struct series_part *part)
{
    return part->count ? part->sum / (double)part->count : NAN;
}

double series_wait_share(const struct series_bucket *bucket, int lane)
{
    const struct series_part *wait = &bucket->parts[SERIES_WAIT + lane];
    const struct series_part *seconds = &bucket->parts[SERIES_SECONDS];
    if (wait->count == 0 || !(seconds->sum > 0)) return NAN;
    return wait->sum / seconds->sum;
}
