/* SPDX-License-Identifier: Apache-2.0 */
/* Life of the executor, and its entry points: one call trains a step, validates a batch, or gives
 * logits, by running one of the compiled programs over the same pools. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/timing.h"
#include "zero/lanes.h"

/* Ranks whose programs differ would wait for each other for ever. */
static enum zi_status agree_on_program(const struct engine *engine)
{
    uint64_t own = program_hash(engine->program), first = own;
    ZI_TRY(comm_broadcast(engine->comm, &first, (int64_t)sizeof first, 0));
    enum zi_status status = ZI_OK;
    if (own != first) {
        status = zi_fail(ZI_ERROR_BUG, "zero", "this rank compiled another program than rank 0");
    }
    return comm_agree(engine->comm, status);
}

static enum zi_status create_pools(struct engine *engine)
{
    const struct program *program = engine->program;
    const struct device_properties *properties = device_get_properties(engine->device);
    if (!properties->host_addressable) {
        return zi_fail(ZI_ERROR_DEVICE, "zero", "the host cannot address memory of %s",
                       properties->name);
    }
    for (int tier = 0; tier < ZI_TIER_NVME; tier++) {
        if (program->pool_bytes[tier] == 0) continue;
        ZI_TRY(tier_pool_create(engine->device, (enum zi_tier)tier, program->pool_bytes[tier],
                                program->config.budget[tier],
                                tier == ZI_TIER_DEVICE ? "device pool" : "host pool",
                                &engine->pools[tier]));
    }
    return ZI_OK;
}

enum zi_status engine_create(const struct program *program, struct device *device,
                             struct comm *comm, const struct settings *settings,
                             struct engine **engine)
{
    struct engine *e = calloc(1, sizeof *e);
    if (!e) return zi_fail(ZI_ERROR_DEVICE, "zero", "no memory for the engine");
    e->program = program;
    e->device = device;
    e->operations = device_get_operations(device);
    e->comm = comm;
    e->settings = settings;
    e->tokens = program->config.tokens;
    enum zi_status status = lanes_start(e);
    if (status >= 0) status = create_pools(e);
    status = comm_agree(comm, status);
    if (status >= 0) status = agree_on_program(e);
    if (status < 0) {
        engine_destroy(e);
        return status;
    }
    *engine = e;
    return ZI_OK;
}

void engine_destroy(struct engine *engine)
{
    if (!engine) return;
    lanes_stop(engine);
    for (int tier = 0; tier < ZI_TIER_COUNT; tier++) {
        if (engine->pools[tier]) tier_pool_destroy(engine->pools[tier]);
    }
    free(engine);
}

int32_t *engine_inputs(struct engine *engine)
{
    return (int32_t *)engine_slot(engine, engine->program->tokens_slot).address;
}

int32_t *engine_targets(struct engine *engine)
{
    return (int32_t *)engine_slot(engine, engine->program->targets_slot).address;
}

static void fill_result(const struct engine *engine, double start, struct engine_result *result)
{
    memset(result, 0, sizeof *result);
    result->loss = engine->loss;
    result->seconds = zi_time_s() - start;
    memcpy(result->wait_s, engine->lanes[LANE_COMPUTE].wait_s, sizeof result->wait_s);
}

enum zi_status engine_train(struct engine *engine, int64_t step, struct engine_result *result)
{
    const struct settings *s = engine->settings;
    double start = zi_time_s();
    engine->tokens = engine->program->config.tokens;
    engine->step = (struct optimizer_step){
        .number = engine->updates,
        .learning_rate = optimizer_learning_rate(&s->optimizer, step, s->run.steps),
    };
    ZI_TRY(lanes_run(engine, PROGRAM_TRAIN));
    if (!engine->step.skip) engine->updates++;
    fill_result(engine, start, result);
    result->norm = engine->step.norm;
    result->learning_rate = engine->step.learning_rate;
    result->skipped = engine->step.skip;
    result->checksum = engine->checksum;
    return ZI_OK;
}

enum zi_status engine_validate(struct engine *engine, struct engine_result *result)
{
    double start = zi_time_s();
    engine->tokens = engine->program->config.tokens;
    ZI_TRY(lanes_run(engine, PROGRAM_VALIDATE));
    fill_result(engine, start, result);
    result->norm = result->learning_rate = NAN;
    return ZI_OK;
}

enum zi_status engine_logits(struct engine *engine, const int32_t *ids, int64_t tokens,
                             float *logits)
{
    const struct program *p = engine->program;
    ZI_REQUIRE(tokens > 0 && tokens <= p->config.tokens);
    memcpy(engine_inputs(engine), ids, (size_t)tokens * sizeof *ids);
    engine->tokens = tokens;
    ZI_TRY(lanes_run(engine, PROGRAM_GENERATE));
    memcpy(logits, (const void *)engine_slot(engine, p->logits_slot).address,
           (size_t)p->model->settings.vocabulary * sizeof *logits);
    return ZI_OK;
}

int64_t engine_updates(const struct engine *engine)
{
    return engine->updates;
}

void engine_set_updates(struct engine *engine, int64_t updates)
{
    engine->updates = updates;
}

const struct engine_timing *engine_timings(struct engine *engine, int *count)
{
    *count = 0;
    for (int l = 0; l < LANE_COUNT; l++) {
        for (int kind = 0; kind < OP_KIND_COUNT; kind++) {
            const struct engine_timing *timing = &engine->lanes[l].timings[kind];
            if (timing->count == 0) continue;
            engine->flat[*count] = *timing;
            engine->flat[*count].kind = (enum program_kind)kind;
            engine->flat[*count].lane = (enum program_lane)l;
            (*count)++;
        }
    }
    return engine->flat;
}

void engine_timings_clear(struct engine *engine)
{
    for (int l = 0; l < LANE_COUNT; l++) {
        memset(engine->lanes[l].timings, 0, sizeof engine->lanes[l].timings);
    }
}

struct device_stream *engine_stream(struct engine *engine)
{
    return engine->lanes[LANE_COMPUTE].stream;
}
