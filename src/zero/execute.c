/* SPDX-License-Identifier: Apache-2.0 */
/* What each kind of operation does, with the addresses of its slots filled in. Everything that was
 * to be decided was decided at compile time; the only choices left are how many sequences a
 * micro-batch really has, and whether the step is skipped. */
#include <string.h>

#include "base/log.h"
#include "zero/execute.h"

struct device_ptr engine_slot(const struct engine *engine, int slot)
{
    if (slot < 0) return (struct device_ptr){0};
    const struct program_slot *s = &engine->program->slots[slot];
    if (s->tier == ZI_TIER_NVME) return (struct device_ptr){0};
    return device_at(engine->bases[s->tier], s->offset);
}

void *engine_host_slot(const struct engine *engine, int slot)
{
    const struct program_slot *s = &engine->program->slots[slot];
    ZI_REQUIRE(s->tier == ZI_TIER_HOST);
    return engine->hosts[s->tier] + s->offset;
}

static struct device_ptr place(const struct engine *engine, const struct program_op *op, int role)
{
    struct device_ptr at = engine_slot(engine, op->slots[role]);
    return device_is_null(at) ? at : device_at(at, op->offsets[role]);
}

static bool sharded(const struct engine *engine, int stage)
{
    const struct zero_config *c = &engine->program->config;
    return c->ranks > 1 && c->stage >= stage;
}

static void fill_pass(struct engine *engine, const struct program_op *op,
                      struct device_stream *stream, struct model_pass *pass)
{
    const struct zero_config *c = &engine->program->config;
    const struct model_op *model_op = &engine->program->model->ops[op->op];
    int64_t first, micro = op->micro;
    bool generates = engine->name == PROGRAM_GENERATE;
    *pass = (struct model_pass){.device = engine->lanes[op->lane].device, .stream = stream};
    pass->sequences = generates ? 1 : zero_sequences(c, c->rank, op->micro, &first);
    pass->tokens = engine->tokens;
    for (int i = 0; i < model_op->unit_count; i++) {
        pass->weights[i] = place(engine, op, ROLE_WEIGHT + i);
        pass->gradients[i] = place(engine, op, ROLE_GRADIENT + i);
        pass->accumulate[i] = op->accumulate >> i & 1u;
    }
    pass->input = place(engine, op, ROLE_INPUT);
    pass->output = place(engine, op, ROLE_OUTPUT);
    pass->gradient = place(engine, op, ROLE_STREAM_GRADIENT);
    pass->saved = place(engine, op, ROLE_SAVED);
    pass->scratch = place(engine, op, ROLE_SCRATCH);
    pass->carry = place(engine, op, ROLE_CARRY);
    if (op->slots[ROLE_TOKENS] >= 0) {
        struct device_ptr ids = device_at(place(engine, op, ROLE_TOKENS),
                                          (size_t)(micro * c->micro * engine->tokens) * 4);
        if (model_op->kind == MODEL_HEAD)
            pass->targets = ids;
        else
            pass->token_ids = ids;
    }
    pass->loss = place(engine, op, ROLE_RESULTS);
    pass->loss_scale = (float)(1.0 / ((double)c->global * (double)engine->tokens));
}

static enum zi_status run_model(struct engine *engine, const struct program_op *op,
                                struct device_stream *stream)
{
    const struct model *model = engine->program->model;
    struct model_pass pass;
    fill_pass(engine, op, stream, &pass);
    switch (op->kind) {
    case OP_FORWARD:
    case OP_RECOMPUTE:
        return model_forward(model, op->op, (enum model_mode)op->mode, &pass);
    case OP_LOGITS:
        pass.output = (struct device_ptr){0};
        return model_logits(model, op->op, &pass, place(engine, op, ROLE_OUTPUT));
    default:
        return model_backward(model, op->op, &pass);
    }
}

static enum zi_status run_copy(struct engine *engine, const struct program_op *op,
                               struct device_stream *stream)
{
    return device_copy(stream, place(engine, op, ROLE_OUTPUT), place(engine, op, ROLE_INPUT),
                       op->bytes);
}

static enum zi_status run_gather(struct engine *engine, const struct program_op *op,
                                 struct device_stream *stream)
{
    const struct zero_config *c = &engine->program->config;
    int64_t bytes =
        engine->program->partition->units[op->unit].shard * (int64_t)zi_dtype_bytes(c->compute);
    struct device_ptr full = place(engine, op, ROLE_OUTPUT);
    if (op->kind == OP_GATHER) {
        return comm_all_gather(engine->comm, stream, place(engine, op, ROLE_INPUT), full, bytes);
    }
    if (engine_update_step(engine)->skip) return ZI_OK;
    struct device_ptr own = device_at(full, (size_t)(c->rank * bytes));
    return comm_all_gather(engine->comm, stream, own, full, bytes);
}

static enum zi_status run_reduce(struct engine *engine, const struct program_op *op,
                                 struct device_stream *stream)
{
    const struct zero_config *c = &engine->program->config;
    int64_t shard = engine->program->partition->units[op->unit].shard;
    struct device_ptr full = place(engine, op, ROLE_INPUT);
    struct device_ptr scratch = place(engine, op, ROLE_SCRATCH);
    if (op->slots[ROLE_OUTPUT] < 0) {
        return comm_all_reduce(engine->comm, stream, full, shard, c->reduce, scratch);
    }
    return comm_reduce_scatter(engine->comm, stream, full, place(engine, op, ROLE_OUTPUT), shard,
                               c->reduce, scratch);
}

static enum zi_status run_add(struct engine *engine, const struct program_op *op,
                              struct device_stream *stream)
{
    const struct zero_config *c = &engine->program->config;
    const struct partition_unit *part = &engine->program->partition->units[op->unit];
    const struct device_operations *ops = engine->lanes[op->lane].operations;
    int64_t count = sharded(engine, 2) ? part->shard : part->padded;
    struct device_ptr from = place(engine, op, ROLE_INPUT);
    int sum = op->slots[ROLE_OUTPUT];
    if (sum >= 0 && sum != op->slots[ROLE_INPUT]) {
        struct device_ptr to = engine_slot(engine, sum);
        if (op->accumulate)
            ZI_TRY(ops->add(stream, ZI_FP32, to, ZI_FP32, from, count));
        else
            ZI_TRY(device_copy(stream, to, from, (size_t)count * sizeof(float)));
    }
    if (!op->mode) return ZI_OK;
    if (sum >= 0) from = engine_slot(engine, sum);
    /* Kept is what this rank updates; counted, in every stage, what is its own. What pads a unit
     * holds no gradient. */
    int64_t first = c->rank * part->shard, end = first + part->shard;
    int64_t kept = sharded(engine, 1) ? part->shard : part->padded;
    struct device_ptr home = place(engine, op, ROLE_GRADIENT);
    if (sharded(engine, 1) && !sharded(engine, 2))
        from = device_at(from, (size_t)first * sizeof(float));
    if (home.address != from.address)
        ZI_TRY(ops->convert(stream, c->gradient, home, ZI_FP32, from, kept));
    if (end > part->elements) end = part->elements;
    if (first >= end) return ZI_OK;
    size_t own = sharded(engine, 1) ? 0 : (size_t)first;
    return ops->gradient_norm(stream, c->gradient,
                              device_at(home, own * zi_dtype_bytes(c->gradient)), end - first,
                              place(engine, op, ROLE_RESULTS));
}

/* The host decides; in a lane that runs ahead, when the lane's stream has brought the values. */
static enum zi_status run_norm(struct engine *engine, struct device_stream *stream)
{
    const struct program_values *out = &engine->program->outside;
    const struct device_norm_sums *sums = engine_host_slot(engine, out->norm);
    const double *loss = engine_host_slot(engine, out->loss);
    ZI_TRY(device_stream_synchronize(stream));
    double values[3] = {*loss, sums->squares, (double)sums->nonfinite};
    if (engine->program->config.ranks > 1) ZI_TRY(comm_sum_doubles(engine->comm, values, 3));
    engine->loss = values[0] / ((double)engine->program->config.global * (double)engine->tokens);
    if (engine->name != PROGRAM_TRAIN && engine->name != PROGRAM_TRAIN_UPDATE) return ZI_OK;
    optimizer_decide(&engine->settings->optimizer, values[1], (uint64_t)values[2], engine->loss,
                     &engine->step);
    return ZI_OK;
}

const struct optimizer_step *engine_update_step(const struct engine *engine)
{
    return engine->program->config.deferred ? &engine->pending : &engine->step;
}

/* The update of one range, `at` elements into the group. */
static enum zi_status update_range(struct engine *engine, const struct program_op *op,
                                   struct device_stream *stream,
                                   const struct partition_range *range, int64_t at)
{
    const struct zero_config *c = &engine->program->config;
    struct optimizer_range update = {
        .count = range->count,
        .decay = range->decay,
        .place = range->place,
        .gradient_type = c->gradient,
        .parameter =
            device_at(place(engine, op, ROLE_OUTPUT), (size_t)at * zi_dtype_bytes(c->compute)),
        .moment1 = device_at(place(engine, op, ROLE_MOMENT1), (size_t)at * 4),
        .moment2 = device_at(place(engine, op, ROLE_MOMENT2), (size_t)at * 4),
        .gradient =
            device_at(place(engine, op, ROLE_GRADIENT), (size_t)at * zi_dtype_bytes(c->gradient)),
        .checksum = place(engine, op, ROLE_INPUT),
    };
    if (op->slots[ROLE_REMAINDER] >= 0)
        update.remainder = device_at(place(engine, op, ROLE_REMAINDER), (size_t)at * 2);
    return optimizer_update(&engine->settings->optimizer, engine->lanes[op->lane].device, stream,
                            engine_update_step(engine), &update);
}

static enum zi_status run_adam(struct engine *engine, const struct program_op *op,
                               struct device_stream *stream)
{
    const struct zero_config *c = &engine->program->config;
    const struct partition *partition = engine->program->partition;
    const struct partition_unit *part = &partition->units[op->unit];
    bool own = sharded(engine, 1);
    const struct partition_range *ranges =
        &partition->ranges[own ? part->own_first : part->full_first];
    int count = own ? part->own_count : part->full_count;
    int64_t first = op->first + (own ? c->rank * part->shard : 0);
    for (int i = 0; i < count; i++) {
        struct partition_range cut[3];
        int parts = partition_cut(&ranges[i], first, first + op->count, cut);
        for (int p = 0; p < parts; p++) {
            ZI_TRY(update_range(engine, op, stream, &cut[p], cut[p].unit_first - first));
        }
    }
    return ZI_OK;
}

/* A skipped step has changed no parameter. */
static enum zi_status run_finish(struct engine *engine, struct device_stream *stream)
{
    if (engine_update_step(engine)->skip) return ZI_OK;
    ZI_TRY(device_stream_synchronize(stream));
    uint64_t sum = *(const uint64_t *)engine_host_slot(engine, engine->program->outside.checksum);
    if (sharded(engine, 1)) ZI_TRY(comm_sum_uint64(engine->comm, &sum, 1));
    engine->checksum = sum;
    return ZI_OK;
}

enum zi_status execute_clear_sums(struct engine *engine)
{
    const struct program *p = engine->program;
    const int slots[] = {p->inside.loss, p->inside.norm, p->inside.checksum};
    const struct lane *lane = &engine->lanes[LANE_COMPUTE];
    for (int i = 0; i < 3; i++) {
        const struct program_slot *slot = &p->slots[slots[i]];
        if (slot->tier == ZI_TIER_HOST)
            memset(engine_host_slot(engine, slots[i]), 0, slot->bytes);
        else
            ZI_TRY(lane->operations->fill(lane->stream, engine_slot(engine, slots[i]), slot->bytes,
                                          0));
    }
    return device_stream_synchronize(lane->stream);
}

void execute_transfer(const struct engine *engine, const struct program_op *op,
                      struct tier_transfer *transfer)
{
    bool writes = op->lane == LANE_DISK_WRITE;
    int memory = writes ? ROLE_INPUT : ROLE_OUTPUT, disk = writes ? ROLE_OUTPUT : ROLE_INPUT;
    const struct program_slot *at = &engine->program->slots[op->slots[memory]];
    const struct program_slot *slot = &engine->program->slots[op->slots[disk]];
    ZI_REQUIRE(engine->hosts[at->tier]); /* device memory only where it is the host's as well */
    *transfer = (struct tier_transfer){
        .array = slot->array,
        .offset = slot->offset + op->offsets[disk],
        .bytes = op->bytes,
        .buffer = engine->hosts[at->tier] + at->offset + op->offsets[memory],
        .write = writes,
    };
}

enum zi_status execute_op(struct engine *engine, const struct program_op *op)
{
    struct device_stream *stream = engine->lanes[op->lane].stream;
    switch (op->kind) {
    case OP_FORWARD:
    case OP_RECOMPUTE:
    case OP_BACKWARD:
    case OP_LOGITS:
        return run_model(engine, op, stream);
    case OP_PUSH:
    case OP_PULL:
    case OP_KEEP:
    case OP_RECALL:
        return run_copy(engine, op, stream);
    case OP_GATHER:
    case OP_PUBLISH:
        return run_gather(engine, op, stream);
    case OP_REDUCE:
        return run_reduce(engine, op, stream);
    case OP_ADD:
        return run_add(engine, op, stream);
    case OP_NORM:
        return run_norm(engine, stream);
    case OP_ADAM:
        return run_adam(engine, op, stream);
    case OP_FINISH:
        return run_finish(engine, stream);
    case OP_READ:
    case OP_LOAD:
    case OP_STORE:
    case OP_KIND_COUNT:
        break;
    }
    return zi_fail(ZI_ERROR_BUG, "zero", "operation %s in a lane that cannot do it",
                   program_kind_name(op->kind));
}
