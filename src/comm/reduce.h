/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of a sum over ranks, on host memory. Private to the room. */
#ifndef ZI_COMM_REDUCE_H
#define ZI_COMM_REDUCE_H

#include <stdint.h>

#include "base/dtype.h"

/* Local. Elements of a shard of `count` that are exchanged at once between `ranks` (2 or more). The
 * scratch of a reduce_scatter holds one chunk of each other rank when that is the whole shard, and
 * otherwise two. */
int64_t comm_reduce_chunk(int ranks, int64_t count);

/* Local. Rounds count fp32 values to bf16 or fp16 (nearest even) where they are: the rounded values
 * fill the first half of the memory. */
void comm_round_in_place(enum zi_dtype type, void *values, int64_t count);

/* The contributions of `size` ranks to `count` elements: `own` is this rank's, fp32 and not yet
 * rounded; the others' lie in rank order in `others`, `stride` elements of their type apart. That is
 * `wire`, or, where they have not been rounded either, fp32. */
struct comm_contributions {
    const float *own;
    const void *others;
    int64_t stride, count;
    int rank, size;
    enum zi_dtype wire, others_type;
};

/* Local. sum[0..count) = contributions added in rank order in fp32, each rounded to `wire` first.
 * `sum` may be `own`. */
void comm_add_in_rank_order(const struct comm_contributions *contributions, float *sum);

#endif
