/* SPDX-License-Identifier: Apache-2.0 */
/* Cutting ranges. A range is runs of equal length and stride in its tensor, contiguous in the unit.
 * What a cut leaves of it may begin and end inside a run, and the place of a range can only begin
 * at one: so a cut is up to three ranges, the rest of a run, whole runs, and the beginning of a
 * run. */
#include "program/partition.h"

static void append(const struct partition_range *range, int64_t first, int64_t end,
                   struct partition_range *to)
{
    int64_t run = range->place.row, at = first - range->unit_first;
    *to = *range;
    to->unit_first = first;
    to->count = end - first;
    to->place.first += (uint64_t)(at / run * range->place.stride + at % run);
}

int partition_cut(const struct partition_range *range, int64_t first, int64_t end,
                  struct partition_range cut[3])
{
    int64_t begin = range->unit_first, limit = begin + range->count, run = range->place.row;
    int count = 0;
    if (first < begin) first = begin;
    if (end > limit) end = limit;
    if (first >= end) return 0;
    int64_t whole = begin + (first - begin + run - 1) / run * run;
    if (whole > end) whole = end;
    if (first < whole) append(range, first, whole, &cut[count++]);
    int64_t tail = begin + (end - begin) / run * run;
    if (tail > whole) append(range, whole, tail, &cut[count++]);
    if (tail < whole) tail = whole;
    if (tail < end) append(range, tail, end, &cut[count++]);
    return count;
}
