/* SPDX-License-Identifier: Apache-2.0 */
/* Draws, imports and exports: operations between states and what lies outside of a program.
 *
 * All three go through the ranges of tensors that a slice of a unit has, run by run, a run being
 * contiguous in its tensor. What is kept as it is in files goes straight; a master is made of
 * parameter and remainder in the tile, or split from there. Moments in blocks are fp32 in files, of which
 * encoding makes the same blocks again (base/blocks.h); a block may have many runs, so they are gathered
 * in the tile and encoded together. So are frozen matrices in 8 or 4 bits, which are of the compute type
 * in files (base/packed.h). Gaps between tensors, what pads a unit
 * and the rest of its last block on nvme are written as zero. What makes states looks for a request
 * to stop at every run: nothing is lost with states that are not complete. An export goes on, since
 * a stop is what it may be for. */
#include <string.h>

#include "base/blocks.h"
#include "base/half.h"
#include "base/log.h"
#include "base/packed.h"
#include "base/random.h"
#include "base/stop.h"
#include "engine/execute.h"

/* Elements of a tensor, contiguous in it, and where they are in the slice. */
struct run {
    int tensor;
    int64_t first, count, at;
};

typedef enum zi_status run_function(struct engine *engine, const struct bound_op *b,
                                    const struct run *run);

/* What runs have of elements `in` of the slice, from the first of which their places count. */
static enum zi_status each_run_in(struct engine *engine, const struct bound_op *b,
                                  struct bound_span in, run_function *what)
{
    const struct bound_states *s = b->states;
    for (int i = 0; i < s->cut_count; i++) {
        const struct partition_range *cut = &s->cuts[i];
        const struct device_place *place = &cut->place;
        for (int64_t done = 0; done < cut->count; done += place->row) {
            int64_t rest = cut->count - done, at = cut->unit_first + done - s->first;
            int64_t begin = at > in.first ? at : in.first;
            int64_t end = at + (rest < place->row ? rest : place->row);
            if (end > in.end) end = in.end;
            if (begin >= end) continue;
            const struct run run = {
                .tensor = cut->tensor,
                .first = (int64_t)place->first + done / place->row * place->stride + begin - at,
                .count = end - begin,
                .at = begin - in.first,
            };
            ZI_TRY(what(engine, b, &run));
        }
    }
    return ZI_OK;
}

static enum zi_status each_run(struct engine *engine, const struct bound_op *b, run_function *what)
{
    return each_run_in(engine, b, (struct bound_span){0, b->op->count}, what);
}

/* Calls `what` for the parts of a run that the tile holds. */
static enum zi_status each_tile(struct engine *engine, const struct bound_op *b,
                                const struct run *run, run_function *what)
{
    for (int64_t done = 0; done < run->count; done += b->states->tile_elements) {
        int64_t rest = run->count - done, most = b->states->tile_elements;
        struct run tile = {run->tensor, run->first + done, rest < most ? rest : most,
                           run->at + done};
        ZI_TRY(what(engine, b, &tile));
    }
    return ZI_OK;
}

/* The bytes of a kind of state, which is not in blocks, at a run; NULL where the operation does not have
 * it. */
static void *values_at(const struct engine *engine, const struct bound_op *b, enum tier_kind kind,
                       const struct run *run)
{
    char *slice = b->states->at[kind];
    return slice ? slice + program_state_bytes(engine->program, kind, run->at) : NULL;
}

/* The fp32 weights of a run where they live. */
static struct device_ptr weights_at(const struct bound_op *b, const struct run *run)
{
    return device_at(b->at[OPERAND_PARAMETER], (size_t)run->at * sizeof(float));
}

/* Whether training changes it. What does not change has parameters and no more in files, also where
 * a neighbour in its unit does. */
static bool is_trained(const struct engine *engine, const struct run *run)
{
    return engine->program->model->tensors[run->tensor].trainable;
}

/* Adds the checksum of a run of fp32 weights, of what is this rank's own. */
static enum zi_status add_checksum(struct engine *engine, const struct bound_op *b,
                                   const struct run *run, struct device_ptr weights)
{
    const struct bound_states *s = b->states;
    const struct lane *lane = &engine->lanes[b->op->lane];
    int64_t unit_first = s->first + run->at, skip = s->own.first - unit_first;
    int64_t end = s->own.end - unit_first < run->count ? s->own.end - unit_first : run->count;
    if (skip < 0) skip = 0;
    if (b->op->slots[OPERAND_CHECKSUM] < 0 || skip >= end) return ZI_OK;
    if (!is_trained(engine, run)) return ZI_OK;
    struct device_place place = {
        .seed = zi_random_stream(engine->program->model->tensors[run->tensor].name),
        .first = (uint64_t)(run->first + skip),
        .row = end - skip,
        .stride = end - skip,
    };
    return lane->operations->checksum(lane->stream,
                                      device_at(weights, (size_t)skip * sizeof(float)), end - skip,
                                      &place, b->at[OPERAND_CHECKSUM]);
}

/* Takes the master in the tile apart, which afterwards is as it is kept. */
static void split(const struct engine *engine, const struct bound_op *b, const struct run *run)
{
    enum zi_dtype type = engine->program->config.compute;
    float *wide = b->states->tile;
    uint16_t *upper = values_at(engine, b, TIER_PARAMETER, run);
    int16_t *lower = values_at(engine, b, TIER_MASTER, run);
    for (int64_t i = 0; upper && i < run->count; i++) {
        upper[i] = zi_half_parameter(type, wide[i]);
    }
    for (int64_t i = 0; lower && i < run->count; i++) {
        lower[i] = zi_half_remainder(type, wide[i]);
    }
    for (int64_t i = 0; i < run->count; i++) {
        wide[i] =
            zi_half_join(type, zi_half_parameter(type, wide[i]), zi_half_remainder(type, wide[i]));
    }
}

static void join(const struct engine *engine, const struct bound_op *b, const struct run *run)
{
    const uint16_t *upper = values_at(engine, b, TIER_PARAMETER, run);
    const int16_t *lower = values_at(engine, b, TIER_MASTER, run);
    enum zi_dtype type = engine->program->config.compute;
    for (int64_t i = 0; i < run->count; i++) {
        b->states->tile[i] = zi_half_join(type, upper[i], lower[i]);
    }
}

static void clear_states(const struct bound_op *b)
{
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        if (b->states->at[k]) memset(b->states->at[k], 0, b->states->bytes[k]);
    }
}

/* Initial values of fp32 weights: made where they live. */
static enum zi_status draw_wide(struct engine *engine, const struct bound_op *b,
                                const struct run *run)
{
    ZI_TRY(zi_stop_check());
    model_initialize(&engine->program->model->tensors[run->tensor],
                     (uint64_t)engine->settings->run.seed, run->first, run->count,
                     values_at(engine, b, TIER_PARAMETER, run));
    return add_checksum(engine, b, run, weights_at(b, run));
}

/* Of 16-bit weights and their remainders. */
static enum zi_status draw_tile(struct engine *engine, const struct bound_op *b,
                                const struct run *run)
{
    ZI_TRY(zi_stop_check());
    model_initialize(&engine->program->model->tensors[run->tensor],
                     (uint64_t)engine->settings->run.seed, run->first, run->count, b->states->tile);
    split(engine, b, run);
    return add_checksum(engine, b, run, b->at[OPERAND_SCRATCH]);
}

static enum zi_status draw_tiles(struct engine *engine, const struct bound_op *b,
                                 const struct run *run)
{
    return each_tile(engine, b, run, draw_tile);
}

/* Rounds a run of the tile to the compute type, as parameters are. */
static void round_run(const struct engine *engine, float *wide, int64_t count)
{
    enum zi_dtype type = engine->program->config.compute;
    for (int64_t i = 0; i < count && zi_dtype_is_half(type); i++)
        wide[i] = zi_half_to_fp32(type, zi_half_parameter(type, wide[i]));
}

/* Initial values of a run of frozen weights. */
static enum zi_status draw_packed(struct engine *engine, const struct bound_op *b,
                                  const struct run *run)
{
    float *wide = b->states->tile + run->at;
    model_initialize(&engine->program->model->tensors[run->tensor],
                     (uint64_t)engine->settings->run.seed, run->first, run->count, wide);
    round_run(engine, wide, run->count);
    return ZI_OK;
}

/* The type of 16 bits to fp32, in place, from the last: what is read lies in the first half. */
static void widen(enum zi_dtype type, float *wide, int64_t count)
{
    const uint16_t *halves = (const uint16_t *)(const void *)wide;
    for (int64_t i = count - 1; i >= 0 && zi_dtype_is_half(type); i--) {
        uint16_t half = halves[i];
        wide[i] = zi_half_to_fp32(type, half);
    }
}

static enum zi_status import_packed(struct engine *engine, const struct bound_op *b,
                                    const struct run *run)
{
    float *wide = b->states->tile + run->at;
    ZI_TRY(
        engine->visit(engine->visitor, TIER_PARAMETER, run->tensor, run->first, run->count, wide));
    widen(engine->program->config.compute, wide, run->count);
    return ZI_OK;
}

/* As they are used. In place, from the first. */
static enum zi_status export_packed(struct engine *engine, const struct bound_op *b,
                                    const struct run *run)
{
    enum zi_dtype type = engine->program->config.compute;
    float *wide = b->states->tile + run->at;
    for (int64_t i = 0; i < run->count && zi_dtype_is_half(type); i++) {
        uint16_t half = zi_half_round_even(type, wide[i]);
        memcpy((char *)wide + (size_t)i * sizeof half, &half, sizeof half);
    }
    return engine->visit(engine->visitor, TIER_PARAMETER, run->tensor, run->first, run->count,
                         wide);
}

static bool is_packed(const struct bound_op *b)
{
    return b->op->state == TIER_PACKED;
}

/* Frozen weights in blocks, a tile of whole ones at a time. */
static enum zi_status visit_packed(struct engine *engine, const struct bound_op *b,
                                   run_function *what)
{
    const struct bound_states *s = b->states;
    enum zi_dtype type = zero_type(&engine->program->config, TIER_PACKED);
    bool exports = b->op->kind == OP_EXPORT;
    for (int64_t done = 0; done < b->op->count; done += s->tile_elements) {
        int64_t rest = b->op->count - done;
        int64_t count = rest < s->tile_elements ? rest : s->tile_elements;
        char *blocks = s->at[TIER_PACKED] + zi_dtype_size(type, done);
        if (!exports) ZI_TRY(zi_stop_check());
        if (exports)
            zi_packed_decode(type, blocks, count, s->tile);
        else
            memset(s->tile, 0, (size_t)count * sizeof *s->tile);
        ZI_TRY(each_run_in(engine, b, (struct bound_span){done, done + count}, what));
        if (!exports) zi_packed_encode(type, s->tile, count, blocks);
    }
    return ZI_OK;
}

enum zi_status run_draw(struct engine *engine, const struct bound_op *b,
                        struct device_stream *stream)
{
    bool wide = engine->program->config.compute == ZI_FP32;
    (void)stream;
    clear_states(b);
    if (is_packed(b)) return visit_packed(engine, b, draw_packed);
    return each_run(engine, b, wide ? draw_wide : draw_tiles);
}

/* The master of what training does not change is its parameter. */
static enum zi_status import_frozen(struct engine *engine, const struct bound_op *b,
                                    const struct run *run)
{
    ZI_TRY(engine->visit(engine->visitor, TIER_PARAMETER, run->tensor, run->first, run->count,
                         b->states->tile));
    widen(engine->program->config.compute, b->states->tile, run->count);
    return ZI_OK;
}

static enum zi_status import_tile(struct engine *engine, const struct bound_op *b,
                                  const struct run *run)
{
    ZI_TRY(zi_stop_check());
    if (is_trained(engine, run))
        ZI_TRY(engine->visit(engine->visitor, b->op->state, run->tensor, run->first, run->count,
                             b->states->tile));
    else
        ZI_TRY(import_frozen(engine, b, run));
    split(engine, b, run);
    return add_checksum(engine, b, run, b->at[OPERAND_SCRATCH]);
}

static enum zi_status import_run(struct engine *engine, const struct bound_op *b,
                                 const struct run *run)
{
    enum tier_kind kind = b->op->state;
    if (kind == TIER_MASTER) return each_tile(engine, b, run, import_tile);
    if (kind != TIER_PARAMETER && !is_trained(engine, run)) return ZI_OK; /* zero */
    ZI_TRY(zi_stop_check());
    ZI_TRY(engine->visit(engine->visitor, kind, run->tensor, run->first, run->count,
                         values_at(engine, b, kind, run)));
    return add_checksum(engine, b, run, weights_at(b, run));
}

/* A run of moments between the tile and what is visited. */
static enum zi_status visit_tile(struct engine *engine, const struct bound_op *b,
                                 const struct run *run)
{
    if (!is_trained(engine, run)) return ZI_OK;
    return engine->visit(engine->visitor, b->op->state, run->tensor, run->first, run->count,
                         b->states->tile + run->at);
}

/* Moments in blocks, a tile of whole blocks at a time. */
static enum zi_status visit_blocks(struct engine *engine, const struct bound_op *b)
{
    const struct bound_states *s = b->states;
    enum zi_dtype type = zero_type(&engine->program->config, b->op->state);
    for (int64_t done = 0; done < b->op->count; done += s->tile_elements) {
        int64_t rest = b->op->count - done;
        int64_t count = rest < s->tile_elements ? rest : s->tile_elements;
        char *blocks = s->at[b->op->state] + zi_dtype_size(type, done);
        bool imports = b->op->kind == OP_IMPORT;
        if (imports) ZI_TRY(zi_stop_check());
        if (imports)
            memset(s->tile, 0, (size_t)count * sizeof *s->tile);
        else
            zi_blocks_decode(type, blocks, count, s->tile);
        ZI_TRY(each_run_in(engine, b, (struct bound_span){done, done + count}, visit_tile));
        if (imports) zi_blocks_encode(type, s->tile, count, blocks);
    }
    return ZI_OK;
}

static bool is_blocks(const struct engine *engine, const struct bound_op *b)
{
    return zi_dtype_is_blocks(zero_type(&engine->program->config, b->op->state));
}

enum zi_status run_import(struct engine *engine, const struct bound_op *b,
                          struct device_stream *stream)
{
    (void)stream;
    clear_states(b);
    if (is_packed(b)) return visit_packed(engine, b, import_packed);
    return is_blocks(engine, b) ? visit_blocks(engine, b) : each_run(engine, b, import_run);
}

static enum zi_status export_tile(struct engine *engine, const struct bound_op *b,
                                  const struct run *run)
{
    join(engine, b, run);
    return engine->visit(engine->visitor, b->op->state, run->tensor, run->first, run->count,
                         b->states->tile);
}

static enum zi_status export_run(struct engine *engine, const struct bound_op *b,
                                 const struct run *run)
{
    enum tier_kind kind = b->op->state;
    if (kind != TIER_PARAMETER && !is_trained(engine, run)) return ZI_OK;
    if (kind == TIER_MASTER) return each_tile(engine, b, run, export_tile);
    return engine->visit(engine->visitor, kind, run->tensor, run->first, run->count,
                         values_at(engine, b, kind, run));
}

enum zi_status run_export(struct engine *engine, const struct bound_op *b,
                          struct device_stream *stream)
{
    (void)stream;
    if (is_packed(b))
        ZI_TRY(visit_packed(engine, b, export_packed));
    else
        ZI_TRY(is_blocks(engine, b) ? visit_blocks(engine, b) : each_run(engine, b, export_run));
    if (b == engine->bound[engine->name].last_export && engine->visited)
        engine->visited(engine->visitor);
    return ZI_OK;
}
