/* SPDX-License-Identifier: Apache-2.0 */
/* The states of the units on this rank: initial values, and the walk that checkpoints make.
 *
 * A state is either sharded (its slot holds this rank's shard) or whole on every rank. Saving, each
 * rank is asked for the ranges of its own shard, so that all ranks write side by side; loading, for
 * every range that it holds. Initial values come from (seed, tensor, element), so no rank ever sees
 * more of the model than it keeps. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "zero/lanes.h"

/* One state of one unit as it lies on this rank. */
struct state {
    enum tier_kind kind;
    int slot;
    bool sharded;
    size_t element;
};

#define STATES_MAX 4

static int unit_states(const struct engine *engine, int unit, struct state states[STATES_MAX])
{
    const struct zero_config *c = &engine->program->config;
    const struct program_home *home = &engine->program->homes[unit];
    bool parameters = c->ranks > 1 && c->stage >= 3, optimizer = c->ranks > 1 && c->stage >= 1;
    const struct state all[STATES_MAX] = {
        {TIER_PARAMETER, home->parameter, parameters, zi_dtype_bytes(c->compute)},
        {TIER_MASTER, home->master, optimizer, 4},
        {TIER_MOMENT1, home->moment1, optimizer, 4},
        {TIER_MOMENT2, home->moment2, optimizer, 4},
    };
    int count = 0;
    for (int i = 0; i < STATES_MAX; i++) {
        if (all[i].slot >= 0) states[count++] = all[i];
    }
    return count;
}

/* Calls `visit` for the ranges of one state: those of this rank's shard, or all that it holds. */
static enum zi_status walk_state(struct engine *engine, int unit, const struct state *state,
                                 bool own, engine_visit *visit, void *context)
{
    const struct partition *partition = engine->program->partition;
    const struct partition_unit *part = &partition->units[unit];
    own = own || state->sharded;
    const struct partition_range *ranges =
        &partition->ranges[own ? part->own_first : part->full_first];
    int count = own ? part->own_count : part->full_count;
    char *base = (char *)engine_slot(engine, state->slot).address;
    for (int i = 0; i < count; i++) {
        int64_t at = ranges[i].unit_first -
                     (state->sharded ? engine->program->config.rank * part->shard : 0);
        ZI_TRY(visit(context, state->kind, ranges[i].tensor, ranges[i].tensor_first,
                     ranges[i].count, base + (size_t)at * state->element));
    }
    return ZI_OK;
}

/* Visitor that fills a range with its initial values; moments stay zero, as they were allocated. */
static enum zi_status initialize_range(void *context, enum tier_kind kind, int index, int64_t first,
                                       int64_t count, void *values)
{
    enum { CHUNK = 1 << 18 };
    const struct engine *engine = context;
    const struct model_tensor *tensor = &engine->program->model->tensors[index];
    uint64_t seed = (uint64_t)engine->settings->run.seed;
    if (kind == TIER_MOMENT1 || kind == TIER_MOMENT2) return ZI_OK;
    if (kind == TIER_MASTER || engine->program->config.compute == ZI_FP32) {
        model_initialize(tensor, seed, first, count, values);
        return ZI_OK;
    }
    float *wide = malloc(CHUNK * sizeof *wide);
    if (!wide) return zi_fail(ZI_ERROR_DEVICE, "zero", "no memory for initial values");
    for (int64_t done = 0; done < count; done += CHUNK) {
        int64_t some = count - done < CHUNK ? count - done : CHUNK;
        model_initialize(tensor, seed, first + done, some, wide);
        uint16_t *narrow = (uint16_t *)values + done;
        for (int64_t i = 0; i < some; i++) {
            narrow[i] = zi_bf16_round_away(wide[i]);
        }
    }
    free(wide);
    return ZI_OK;
}

enum zi_status engine_initialize(struct engine *engine)
{
    for (int u = 0; u < engine->program->partition->unit_count; u++) {
        struct state states[STATES_MAX];
        int count = unit_states(engine, u, states);
        for (int s = 0; s < count; s++) {
            ZI_TRY(walk_state(engine, u, &states[s], false, initialize_range, engine));
        }
    }
    return ZI_OK;
}

enum zi_status engine_save(struct engine *engine, engine_visit *visit, void *context)
{
    bool whole = engine->program->config.compute == ZI_FP32;
    for (int u = 0; u < engine->program->partition->unit_count; u++) {
        struct state states[STATES_MAX];
        int count = unit_states(engine, u, states);
        for (int s = 0; s < count; s++) {
            if (whole && states[s].kind == TIER_MASTER) continue; /* it is the parameter */
            ZI_TRY(walk_state(engine, u, &states[s], true, visit, context));
        }
    }
    return ZI_OK;
}

enum zi_status engine_load(struct engine *engine, engine_visit *visit, void *context)
{
    bool whole = engine->program->config.compute == ZI_FP32;
    for (int u = 0; u < engine->program->partition->unit_count; u++) {
        struct state states[STATES_MAX];
        int count = unit_states(engine, u, states);
        for (int s = 0; s < count; s++) {
            if (whole && states[s].kind == TIER_MASTER) states[s].kind = TIER_PARAMETER;
            ZI_TRY(walk_state(engine, u, &states[s], false, visit, context));
        }
    }
    return ZI_OK;
}
