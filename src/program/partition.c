/* SPDX-License-Identifier: Apache-2.0 */
/* Partition of units over ranks.
 *
 * Every unit is split over all ranks, so that each rank's own link and disk carry 1/N of every
 * fetch. Shards are equal and a multiple of 64 elements, or of a block where moments are in blocks,
 * so the unit is padded at its end; nothing has to divide anything. The layout of pieces inside a
 * unit does not depend on the number of ranks, only where the cuts fall does: the tables are those of
 * whole units, a range per piece, and a rank cuts its shard out of them. */
#include "program/partition.h"

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

/* A piece as a range of its unit. */
static struct partition_range range_of(const struct model *model,
                                       const struct settings_optimizer *optimizer,
                                       const struct model_piece *piece)
{
    const struct model_tensor *tensor = &model->tensors[piece->tensor];
    return (struct partition_range){
        .tensor = piece->tensor,
        .unit_first = piece->offset,
        .count = piece->rows * piece->row,
        .place = {zi_random_stream(tensor->name), (uint64_t)piece->first, piece->row,
                  piece->stride},
        .decay = tensor_decays(tensor, optimizer),
    };
}

static void fill(const struct model *model, const struct settings_optimizer *optimizer,
                 struct partition *p)
{
    for (int u = 0; u < model->unit_count; u++) {
        struct partition_unit *unit = &p->units[u];
        unit->elements = model->units[u].elements;
        int64_t least = optimizer->moments == MOMENTS_BLOCKS ? ZI_BLOCK : 64;
        unit->shard = (unit->elements + p->ranks - 1) / p->ranks;
        unit->shard = (unit->shard + least - 1) / least * least;
        unit->padded = unit->shard * p->ranks;
        unit->range_first = model->units[u].first_piece;
        unit->range_count = model->units[u].piece_count;
    }
    for (int i = 0; i < model->piece_count; i++) {
        p->ranges[i] = range_of(model, optimizer, &model->pieces[i]);
    }
}

enum zi_status partition_create(const struct model *model,
                                const struct settings_optimizer *optimizer, int ranks,
                                struct partition **partition)
{
    struct partition *p = calloc(1, sizeof *p);
    if (p) {
        p->ranks = ranks;
        p->unit_count = model->unit_count;
        p->units = calloc((size_t)model->unit_count, sizeof *p->units);
        p->ranges = calloc((size_t)model->piece_count + 1, sizeof *p->ranges);
    }
    if (!p || !p->units || !p->ranges) {
        partition_destroy(p);
        return zi_fail(ZI_ERROR_DEVICE, "program", "no memory for the partition of %d units",
                       model->unit_count);
    }
    fill(model, optimizer, p);
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
