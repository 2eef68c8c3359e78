/* SPDX-License-Identifier: Apache-2.0 */
/* Partition of units over ranks.
 *
 * Every unit is split over all ranks, so that each rank's own link and disk carry 1/N of every
 * fetch. Shards are equal and a multiple of 64 elements, so the unit is padded at its end; nothing
 * has to divide anything. The layout of tensors inside a unit does not depend on the number of
 * ranks, only where the cuts fall does. */
#include "zero/partition.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/random.h"

static bool tensor_decays(const struct model_tensor *tensor,
                          const struct settings_optimizer *optimizer)
{
    switch (tensor->kind) {
    case MODEL_EMBEDDING:
        return optimizer->decay_embeddings;
    case MODEL_NORM:
        return optimizer->decay_norms;
    case MODEL_BIAS:
        return optimizer->decay_biases;
    case MODEL_MATRIX:
        break;
    }
    return true;
}

/* Appends the ranges of [first, last) of a unit at ranges[*count]; a tensor gives one range at
 * most. */
static void append_ranges(const struct model *model, const struct settings_optimizer *optimizer,
                          int unit, const int64_t span[2], struct partition_range *ranges,
                          int *count)
{
    const struct model_unit *u = &model->units[unit];
    for (int t = u->first_tensor; t < u->first_tensor + u->tensor_count; t++) {
        const struct model_tensor *tensor = &model->tensors[t];
        int64_t first = tensor->offset > span[0] ? tensor->offset : span[0];
        int64_t end = tensor->offset + tensor->elements;
        if (end > span[1]) end = span[1];
        if (first >= end) continue;
        ranges[(*count)++] = (struct partition_range){
            .tensor = t,
            .tensor_first = first - tensor->offset,
            .unit_first = first,
            .count = end - first,
            .decay = tensor_decays(tensor, optimizer),
            .checksum_seed = zi_random_stream(tensor->name),
        };
    }
}

enum zi_status partition_create(const struct model *model,
                                const struct settings_optimizer *optimizer, int ranks, int rank,
                                struct partition **partition)
{
    struct partition *p = calloc(1, sizeof *p);
    if (p) {
        p->units = calloc((size_t)model->unit_count, sizeof *p->units);
        p->ranges = calloc(2 * (size_t)model->tensor_count, sizeof *p->ranges);
    }
    if (!p || !p->units || !p->ranges) {
        partition_destroy(p);
        return zi_fail(ZI_ERROR_DEVICE, "zero", "no memory for the partition of %d units",
                       model->unit_count);
    }
    p->ranks = ranks;
    p->rank = rank;
    p->unit_count = model->unit_count;
    int count = 0;
    for (int u = 0; u < model->unit_count; u++) {
        struct partition_unit *unit = &p->units[u];
        unit->elements = model->units[u].elements;
        unit->shard = ((unit->elements + ranks - 1) / ranks + 63) / 64 * 64;
        unit->padded = unit->shard * ranks;
        unit->full_first = count;
        append_ranges(model, optimizer, u, (int64_t[]){0, unit->elements}, p->ranges, &count);
        unit->full_count = count - unit->full_first;
        unit->own_first = count;
        append_ranges(model, optimizer, u,
                      (int64_t[]){rank * unit->shard, (rank + 1) * unit->shard}, p->ranges, &count);
        unit->own_count = count - unit->own_first;
    }
    *partition = p;
    return ZI_OK;
}

void partition_destroy(struct partition *partition)
{
    if (!partition) return;
    free(partition->units);
    free(partition->ranges);
    free(partition);
}
