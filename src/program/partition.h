/* SPDX-License-Identifier: Apache-2.0 */
/* Who keeps what: every unit is padded and cut into one equal shard per rank (bandwidth-centric
 * partitioning, Rajbhandari et al. 2021, section 6.1), whatever its size. A shard is described by
 * ranges, each contiguous in the unit and runs of equal length and stride in one tensor, cut from
 * those of the whole unit (partition_cut); padding belongs to no range and stays zero. */
#ifndef ZI_PROGRAM_PARTITION_H
#define ZI_PROGRAM_PARTITION_H

#include "model/model.h"
#include "optimizer/optimizer.h"

struct partition_range {
    /* Of the model. */
    int tensor;
    /* Element index in the unit. */
    int64_t unit_first;
    /* Elements: whole runs of place.row, or a part of one. */
    int64_t count;
    /* In the tensor; the seed is from its name. */
    struct device_place place;
    /* Weight decay applies. */
    bool decay;
};

struct partition_unit {
    /* `padded` is shard * ranks; `shard` is a multiple of 64, or of ZI_BLOCK where
     * moments are in blocks. */
    int64_t elements, shard, padded;
    /* Of the whole unit. */
    int range_first, range_count;
};

/* The same on all ranks: rank r has elements [r * shard, (r + 1) * shard) of a unit. */
struct partition {
    int ranks, unit_count;
    struct partition_unit *units;
    struct partition_range *ranges;
};

/* Local. Cuts all units of the model for `ranks` ranks. */
enum zi_status partition_create(const struct model *model,
                                const struct settings_optimizer *optimizer, int ranks,
                                struct partition **partition);

/* Local. NULL is nothing to destroy. */
void partition_destroy(struct partition *partition);

/* Local. The part of a range in elements [first, end) of its unit: gives the number of ranges, at
 * most 3, put into cut. */
int partition_cut(const struct partition_range *range, int64_t first, int64_t end,
                  struct partition_range cut[3]);

#endif
