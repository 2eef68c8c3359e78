/* SPDX-License-Identifier: Apache-2.0 */
/* Life of the executor, and its entry points: one call trains a step, validates a batch, or gives
 * logits, by running one of the compiled programs over the same pools. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/stop.h"
#include "base/timing.h"
#include "engine/execute.h"

/* Ranks whose programs differ would wait for each other for ever. */
static enum zi_status agree_on_program(const struct engine *engine)
{
    uint64_t own = program_hash(engine->program), first = own;
    ZI_TRY(comm_broadcast(engine->comm, &first, (int64_t)sizeof first, 0));
    enum zi_status status = ZI_OK;
    if (own != first) {
        status = zi_fail(ZI_ERROR_BUG, "engine", "this rank compiled another program than rank 0");
    }
    return comm_agree(engine->comm, status);
}

static enum zi_status create_pools(struct engine *engine)
{
    const struct program *program = engine->program;
    for (int tier = 0; tier < ZI_TIER_NVME; tier++) {
        if (program->pool_bytes[tier] == 0) continue;
        ZI_TRY(zi_stop_check());
        ZI_TRY(tier_pool_create(engine->device, (enum zi_tier)tier, program->pool_bytes[tier],
                                program->config.budget[tier],
                                tier == ZI_TIER_DEVICE ? "device pool" : "host pool",
                                &engine->pools[tier]));
        engine->bases[tier] = tier_pool_base(engine->pools[tier]);
    }
    return ZI_OK;
}

/* The host's addresses of the pools: of host memory, and of device memory that is the same. */
static enum zi_status map_pools(struct engine *engine)
{
    struct device_stream *stream = engine->lanes[LANE_COMPUTE].stream;
    for (int tier = 0; tier < ZI_TIER_NVME; tier++) {
        void *host;
        bool same = tier == ZI_TIER_HOST || device_get_properties(engine->device)->unified;
        if (!same || !engine->pools[tier]) continue;
        ZI_TRY(device_map(stream, engine->bases[tier], engine->program->pool_bytes[tier], &host));
        engine->hosts[tier] = host;
    }
    return ZI_OK;
}

/* The device and the host beside it. */
static enum zi_status open_host(struct engine *engine)
{
    struct device_share share = {comm_node_size(engine->comm), comm_node_rank(engine->comm)};
    return device_open_host(engine->device, &engine->settings->device, share, &engine->host);
}

/* Lanes, what needs a stream, and the programs bound to all that is there now. */
static enum zi_status start_lanes(struct engine *engine)
{
    ZI_TRY(lanes_start(engine));
    ZI_TRY(map_pools(engine));
    return engine_bind(engine);
}

/* Collective. A number that no other run has. */
static enum zi_status choose_id(struct engine *engine, uint64_t *id)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *id = (uint64_t)now.tv_sec << 30 ^ (uint64_t)now.tv_nsec ^ (uint64_t)getpid() << 40;
    return comm_broadcast(engine->comm, id, (int64_t)sizeof *id, 0);
}

/* The budgets were rank 0's: what is a disk there must not be memory here. */
static enum zi_status check_paths(const struct engine *engine)
{
    struct tier_room room;
    if (engine->program->config.disk_memory > 0) return ZI_OK;
    ZI_TRY(tier_store_room(&engine->settings->nvme, comm_node_size(engine->comm), &room));
    if (room.memory_bytes == 0) return ZI_OK;
    return zi_fail(ZI_ERROR_FIT, "engine",
                   "nvme.paths: %s is memory on this node and a disk on that of rank 0; name a "
                   "folder on a local disk of every node",
                   room.memory_path);
}

/* Collective. The disk's part of the states; all ranks have theirs, or none. */
static enum zi_status create_store(struct engine *engine)
{
    const struct program *program = engine->program;
    if (program->array_count == 0) return ZI_OK;
    struct tier_store_options options = {
        .nvme = &engine->settings->nvme,
        .run = engine->settings->run.name,
        .rank = comm_rank(engine->comm),
        .node_rank = comm_node_rank(engine->comm),
        .node_ranks = comm_node_size(engine->comm),
        .reclaim = engine->settings->nvme.reclaim,
    };
    ZI_TRY(choose_id(engine, &options.id));
    enum zi_status status = check_paths(engine);
    if (status >= 0)
        status = tier_store_create(&options, program->arrays, program->array_count, &engine->store);
    return comm_agree(engine->comm, status);
}

/* Rank 0's note where a request to stop has ended the making of states. */
static void say_stopped(const struct engine *engine, enum zi_status status)
{
    if (status == ZI_STOPPED && comm_rank(engine->comm) == 0)
        zi_log(ZI_LOG_NOTE, "engine", "stopped by %s while states were laid out; nothing to save",
               zi_stop_name(zi_stop_signal()));
}

enum zi_status engine_create(const struct program *program, struct device *device,
                             struct comm *comm, const struct settings *settings,
                             struct engine **engine)
{
    struct engine *e = calloc(1, sizeof *e);
    enum zi_status status =
        e ? ZI_OK : zi_fail(ZI_ERROR_DEVICE, "engine", "no memory for the engine");
    status = comm_agree(comm, status);
    if (status < 0) {
        free(e);
        return status;
    }
    e->program = program;
    e->device = device;
    e->comm = comm;
    e->rank = comm_rank(comm);
    e->settings = settings;
    e->tokens = program->config.tokens;
    e->targets = 1;
    e->scaling = optimizer_scaling_start(&settings->precision);
    speculation_start(&e->speculation);
    lanes_init(e);
    status = comm_agree(comm, open_host(e));
    if (status >= 0) status = comm_agree(comm, create_pools(e));
    if (status >= 0) status = agree_on_program(e);
    if (status >= 0) status = create_store(e);
    if (status >= 0) status = comm_agree(comm, start_lanes(e));
    if (status < 0) {
        say_stopped(e, status);
        engine_destroy(e);
        return status;
    }
    *engine = e;
    return ZI_OK;
}

void engine_destroy(struct engine *engine)
{
    if (!engine) return;
    for (int tier = 0; tier < ZI_TIER_COUNT; tier++) {
        if (engine->hosts[tier])
            device_unmap(engine->lanes[LANE_COMPUTE].stream, engine->bases[tier]);
    }
    lanes_stop(engine);
    engine_unbind(engine);
    for (int tier = 0; tier < ZI_TIER_COUNT; tier++) {
        if (engine->pools[tier]) tier_pool_destroy(engine->pools[tier]);
    }
    tier_store_destroy(engine->store);
    trace_destroy(engine->trace);
    if (engine->host != engine->device) device_close(engine->host);
    free(engine);
}

int32_t *engine_inputs(struct engine *engine)
{
    return engine_host_slot(engine, engine->program->outside.tokens);
}

int32_t *engine_targets(struct engine *engine)
{
    return engine_host_slot(engine, engine->program->outside.targets);
}

int32_t *engine_positions(struct engine *engine)
{
    int slot = engine->program->outside.positions;
    return slot < 0 ? NULL : engine_host_slot(engine, slot);
}

void engine_mask(struct engine *engine)
{
    engine->masked = true;
}

/* This rank's targets that count. */
static uint64_t count_targets(struct engine *engine)
{
    const struct zero_config *c = &engine->program->config;
    const int32_t *targets = engine_targets(engine);
    int64_t sequences = 0, first;
    uint64_t count = 0;
    for (int micro = 0; micro < c->micro_batches; micro++)
        sequences += zero_sequences(c, engine->rank, micro, &first);
    for (int64_t i = 0; i < sequences * c->tokens; i++)
        count += targets[i] >= 0;
    return count;
}

/* Collective where targets may be masked. Prepares a run over a global batch; `*count` is the number
 * of its targets that count. What none of them divides is 0. */
static enum zi_status begin_batch(struct engine *engine, uint64_t *count)
{
    const struct zero_config *c = &engine->program->config;
    engine->tokens = c->tokens;
    *count = (uint64_t)(c->global * c->tokens);
    if (engine->masked) {
        *count = count_targets(engine);
        ZI_TRY(comm_sum_uint64(engine->comm, count, 1));
    }
    engine->targets = *count > 0 ? (int64_t)*count : 1;
    return ZI_OK;
}

/* What is measured around a program run. */
struct measure {
    double start_s;
    struct tier_store_counts counts;
};

static struct measure begin(const struct engine *engine)
{
    struct measure m = {.start_s = zi_time_s()};
    if (engine->store) tier_store_count(engine->store, &m.counts);
    return m;
}

static void fill_result(const struct engine *engine, const struct measure *before,
                        struct engine_result *result)
{
    struct measure now = begin(engine);
    memset(result, 0, sizeof *result);
    result->loss = engine->loss;
    result->seconds = now.start_s - before->start_s;
    result->checksum = engine->checksum;
    result->read_bytes = now.counts.read_bytes - before->counts.read_bytes;
    result->written_bytes = now.counts.written_bytes - before->counts.written_bytes;
    result->disk_busy_s = now.counts.busy_s - before->counts.busy_s;
    memcpy(result->wait_s, engine->lanes[LANE_COMPUTE].wait_s, sizeof result->wait_s);
}

/* The forms of a program, by the update that is pending: each brings it first. */
static const enum program_name train_forms[PENDING_COUNT] = {
    [PENDING_NONE] = PROGRAM_TRAIN, [PENDING_ALL] = PROGRAM_TRAIN_UPDATE};
static const enum program_name guess_forms[PENDING_COUNT] = {
    PROGRAM_TRAIN_SPECULATE, PROGRAM_TRAIN_REST_SPECULATE, PROGRAM_TRAIN_UPDATE_SPECULATE};
static const enum program_name save_forms[PENDING_COUNT] = {
    [PENDING_NONE] = PROGRAM_TRAIN_SAVE, [PENDING_ALL] = PROGRAM_TRAIN_UPDATE_SAVE};
static const enum program_name validate_forms[PENDING_COUNT] = {
    PROGRAM_VALIDATE, PROGRAM_VALIDATE_REST, PROGRAM_VALIDATE_UPDATE};

static enum zi_status run_program(struct engine *engine, const enum program_name forms[])
{
    ZI_TRY(lanes_run(engine, forms[engine->is_pending]));
    engine->is_pending = PENDING_NONE;
    return ZI_OK;
}

/* What has no form for the rest of an update has it brought before. */
static enum zi_status bring_rest(struct engine *engine)
{
    return engine->is_pending == PENDING_REST ? engine_flush(engine) : ZI_OK;
}

/* Collective. The training program of the step; with a guess, speculative updates take the step as
 * one that is neither clipped nor skipped. */
static enum zi_status run_step(struct engine *engine, bool guesses_step)
{
    bool over = engine->saves;
    engine->speculation.step = engine->step;
    engine->speculation.step.scale = 1.0 / engine->step.loss_scale;
    return run_program(engine, guesses_step ? guess_forms : over ? save_forms : train_forms);
}

/* Decides what is pending after a step, and what the next one may expect. All ranks know the same. */
static enum engine_guess settle_step(struct engine *engine, bool guessed)
{
    bool plain = !engine->step.skip && engine->step.scale == engine->speculation.step.scale;
    bool kept = guessed && plain;
    if (kept) engine->speculation.generation = 1 - engine->speculation.generation;
    speculation_learn(&engine->speculation, guessed, plain);
    engine->pending = engine->step;
    engine->is_pending = kept ? PENDING_REST : PENDING_ALL;
    if (engine->step.skip || !engine->program->config.deferred) engine->is_pending = PENDING_NONE;
    return kept ? GUESS_KEPT : guessed ? GUESS_DROPPED : GUESS_NONE;
}

enum zi_status engine_train(struct engine *engine, int64_t step, struct engine_result *result)
{
    const struct settings *s = engine->settings;
    struct measure before = begin(engine);
    uint64_t checksum = engine->checksum;
    bool deferred = engine->program->config.deferred;
    uint64_t targets;
    bool guesses_step = engine->program->config.speculates && !engine->saves &&
                        speculation_tries(&engine->speculation);
    if (!guesses_step) ZI_TRY(bring_rest(engine));
    ZI_TRY(begin_batch(engine, &targets));
    engine->number = step;
    engine->tracing = trace_covers(engine->trace, step - engine->first);
    engine->step = (struct optimizer_step){
        .number = engine->updates,
        .learning_rate = optimizer_learning_rate(&s->optimizer, step, s->run.steps),
        .loss_scale = (double)engine->scaling.scale,
    };
    enum zi_status status = run_step(engine, guesses_step);
    engine->tracing = engine->saves = false;
    ZI_TRY(status);
    if (!engine->step.skip) engine->updates++;
    enum engine_guess guess = settle_step(engine, guesses_step);
    fill_result(engine, &before, result);
    result->guess = guess;
    result->targets = (int64_t)targets;
    if (!deferred) result->checksum = checksum;
    result->norm = engine->step.norm;
    result->learning_rate = engine->step.learning_rate;
    result->loss_scale = engine->scaling.scale;
    result->skipped = engine->step.skip;
    result->overflowed =
        optimizer_scaling_next(&s->precision, &engine->step, engine->loss, &engine->scaling);
    return ZI_OK;
}

enum zi_status engine_validate(struct engine *engine, struct engine_result *result)
{
    struct measure before = begin(engine);
    uint64_t targets;
    ZI_TRY(begin_batch(engine, &targets));
    ZI_TRY(run_program(engine, validate_forms));
    fill_result(engine, &before, result);
    result->targets = (int64_t)targets;
    result->norm = result->learning_rate = NAN;
    return ZI_OK;
}

enum zi_status engine_flush(struct engine *engine)
{
    if (engine->is_pending == PENDING_NONE) return ZI_OK;
    ZI_TRY(lanes_run(engine, engine->is_pending == PENDING_REST ? PROGRAM_FLUSH_REST
                                                                : PROGRAM_FLUSH_UPDATE));
    engine->is_pending = PENDING_NONE;
    return ZI_OK;
}

/* Collective. Runs a program that moves states: no rank waits for another in it, so that all know
 * how it ended. */
static enum zi_status run_states(struct engine *engine, enum program_name name)
{
    engine->tracing = engine->trace && trace_takes(engine->trace, name);
    enum zi_status status = lanes_run(engine, name);
    engine->tracing = false;
    return comm_agree(engine->comm, status);
}

/* Collective. The sum over ranks of what each has added up of its own. */
static enum zi_status take_checksum(struct engine *engine)
{
    const uint64_t *own = engine_host_slot(engine, engine->program->outside.checksum);
    engine->checksum = *own;
    return comm_sum_uint64(engine->comm, &engine->checksum, 1);
}

/* Collective. Makes all states. */
static enum zi_status make_states(struct engine *engine, enum program_name name)
{
    ZI_REQUIRE(engine->is_pending == PENDING_NONE);
    enum zi_status status = run_states(engine, name);
    say_stopped(engine, status);
    ZI_TRY(status);
    return engine->program->config.training ? take_checksum(engine) : ZI_OK;
}

enum zi_status engine_initialize(struct engine *engine)
{
    return make_states(engine, PROGRAM_INITIALIZE);
}

enum zi_status engine_load(struct engine *engine, engine_visit *visit, void *context)
{
    engine->visit = visit;
    engine->visitor = context;
    return make_states(engine, PROGRAM_LOAD);
}

enum zi_status engine_save(struct engine *engine, engine_visit *visit, void *context)
{
    engine->visit = visit;
    engine->visitor = context;
    engine->visited = NULL;
    engine->saves = false;
    ZI_TRY(bring_rest(engine));
    ZI_TRY(
        run_states(engine, engine->is_pending == PENDING_ALL ? PROGRAM_FLUSH_SAVE : PROGRAM_SAVE));
    engine->is_pending = PENDING_NONE;
    return ZI_OK;
}

void engine_save_over(struct engine *engine, engine_visit *visit, engine_visited *visited,
                      void *context)
{
    engine->visit = visit;
    engine->visited = visited;
    engine->visitor = context;
    engine->saves = true;
}

uint64_t engine_checksum(const struct engine *engine)
{
    return engine->checksum;
}

enum zi_status engine_trace(struct engine *engine, int64_t first, int64_t steps)
{
    engine->first = first;
    return trace_create(engine->program, steps, &engine->trace);
}

const struct trace *engine_get_trace(const struct engine *engine)
{
    return engine->trace;
}

enum zi_status engine_logits(struct engine *engine, const int32_t *ids, int64_t tokens,
                             float *logits)
{
    const struct program *p = engine->program;
    ZI_REQUIRE(tokens > 0 && tokens <= p->config.tokens);
    ZI_TRY(engine_flush(engine));
    memcpy(engine_inputs(engine), ids, (size_t)tokens * sizeof *ids);
    int32_t *positions = engine_positions(engine);
    for (int64_t t = 0; t < tokens && positions; t++)
        positions[t] = (int32_t)t;
    engine->tokens = tokens;
    ZI_TRY(lanes_run(engine, PROGRAM_GENERATE));
    memcpy(logits, engine_host_slot(engine, p->outside.logits),
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

struct optimizer_scaling engine_scaling(const struct engine *engine)
{
    return engine->scaling;
}

void engine_set_scaling(struct engine *engine, struct optimizer_scaling scaling)
{
    engine->scaling = scaling;
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
