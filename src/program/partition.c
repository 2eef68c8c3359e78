/* SPDX-License-Identifier: Apache-2.0 */
/* Partition of units over ranks.
 *
 * Every unit is split over all ranks, so that each rank's own link and disk carry 1/N of every
 * fetch. Shards are equal and a multiple of 64 elements, so the unit is padded at its end; nothing
 * has to divide anything. The layout of pieces inside a unit does not depend on the number of
 * ranks, only where the cuts fall does. A piece of many runs (columns of a matrix) that a cut goes
 * through gives up to three ranges to a shard: the rest of a run, whole runs, the start of one.
 * Tables are walked twice with the same function, once to count ranges, once to fill. */
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

/* Appends elements [span[0], span[1]) of a piece, which are whole runs or a part of one. Without
 * ranges it only counts, like its callers. */
static void append_range(const struct model *model, const struct settings_optimizer *optimizer,
                         int piece, const int64_t span[2], struct partition *to, int *count)
{
    if (span[0] >= span[1]) return;
    if (to->ranges) {
        const struct model_piece *p = &model->pieces[piece];
        const struct model_tensor *tensor = &model->tensors[p->tensor];
        int64_t first = p->first + span[0] / p->row * p->stride + span[0] % p->row;
        to->ranges[*count] = (struct partition_range){
            .tensor = p->tensor,
            .unit_first = p->offset + span[0],
            .count = span[1] - span[0],
            .place = {zi_random_stream(tensor->name), (uint64_t)first, p->row, p->stride},
            .decay = tensor_decays(tensor, optimizer),
        };
    }
    ++*count;
}

static int64_t largest(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t smallest(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Appends the ranges of [span[0], span[1]) of a unit. Of a piece, that is one range, or the rest of
 * a run, whole runs and the start of one. */
static void append_ranges(const struct model *model, const struct settings_optimizer *optimizer,
                          int unit, const int64_t span[2], struct partition *to, int *count)
{
    const struct model_unit *u = &model->units[unit];
    for (int i = u->first_piece; i < u->first_piece + u->piece_count; i++) {
        const struct model_piece *p = &model->pieces[i];
        int64_t first = largest(span[0] - p->offset, 0);
        int64_t end = smallest(span[1] - p->offset, p->rows * p->row);
        if (first >= end) continue;
        int64_t whole = smallest((first + p->row - 1) / p->row * p->row, end);
        int64_t rest = largest(end / p->row * p->row, whole);
        append_range(model, optimizer, i, (int64_t[]){first, whole}, to, count);
        append_range(model, optimizer, i, (int64_t[]){whole, rest}, to, count);
        append_range(model, optimizer, i, (int64_t[]){rest, end}, to, count);
    }
}

/* Fills the tables; gives the number of ranges. */
static int fill(const struct model *model, const struct settings_optimizer *optimizer,
                struct partition *p)
{
    int count = 0;
    for (int u = 0; u < model->unit_count; u++) {
        struct partition_unit *unit = &p->units[u];
        unit->elements = model->units[u].elements;
        unit->shard = ((unit->elements + p->ranks - 1) / p->ranks + 63) / 64 * 64;
        unit->padded = unit->shard * p->ranks;
        unit->full_first = count;
        append_ranges(model, optimizer, u, (int64_t[]){0, unit->elements}, p, &count);
        unit->full_count = count - unit->full_first;
        unit->own_first = count;
        append_ranges(model, optimizer, u,
                      (int64_t[]){p->rank * unit->shard, (p->rank + 1) * unit->shard}, p, &count);
        unit->own_count = count - unit->own_first;
    }
    return count;
}

enum zi_status partition_create(const struct model *model,
                                const struct settings_optimizer *optimizer, int ranks, int rank,
                                struct partition **partition)
{
    struct partition *p = calloc(1, sizeof *p);
    if (p) {
        p->ranks = ranks;
        p->rank = rank;
        p->unit_count = model->unit_count;
        p->units = calloc((size_t)model->unit_count, sizeof *p->units);
        if (p->units) p->ranges = calloc((size_t)fill(model, optimizer, p) + 1, sizeof *p->ranges);
    }
    if (!p || !p->units || !p->ranges) {
        partition_destroy(p);
        return zi_fail(ZI_ERROR_DEVICE, "zero", "no memory for the partition of %d units",
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
