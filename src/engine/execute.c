/* SPDX-License-Identifier: Apache-2.0 */
/* What each kind of operation does, with the addresses of its slots filled in: a function per row
 * of the table of kinds (kinds.h), run_NAME. Everything that was to be decided was decided at
 * compile time; the only choices left are how many sequences a micro-batch really has, and whether
 * the step is skipped. */
#include "base/log.h"
#include "engine/execute.h"

struct device_ptr engine_slot(const struct engine *engine, int slot)
{
    if (slot < 0) return (struct device_ptr){0};
    const struct program_slot *s = &engine->program->slots[slot];
    if (s->tier == ZI_TIER_NVME) return (struct device_ptr){0};
    return device_at(engine->bases[s->tier], s->offset);
}

char *engine_slot_on_host(const struct engine *engine, int slot)
{
    const struct program_slot *s = &engine->program->slots[slot];
    return engine->hosts[s->tier] ? engine->hosts[s->tier] + s->offset : NULL;
}

void *engine_host_slot(const struct engine *engine, int slot)
{
    ZI_REQUIRE(engine->program->slots[slot].tier == ZI_TIER_HOST);
    return engine_slot_on_host(engine, slot);
}

static struct device_ptr place(const struct engine *engine, const struct program_op *op,
                               int operand)
{
    struct device_ptr at = engine_slot(engine, op->slots[operand]);
    return device_is_null(at) ? at : device_at(at, op->offsets[operand]);
}

static void fill_pass(struct engine *engine, const struct program_op *op,
                      struct device_stream *stream, struct model_pass *pass)
{
    const struct zero_config *c = &engine->program->config;
    const struct model_op *model_op = &engine->program->model->ops[op->op];
    int64_t first, micro = op->micro;
    bool generates = engine->name == PROGRAM_GENERATE;
    *pass = (struct model_pass){.operations = engine->lanes[op->lane].operations, .stream = stream};
    pass->sequences = generates ? 1 : zero_sequences(c, c->rank, op->micro, &first);
    pass->tokens = engine->tokens;
    for (int i = 0; i < model_op->unit_count; i++) {
        pass->weights[i] = place(engine, op, OPERAND_WEIGHT + i);
        pass->gradients[i] = place(engine, op, OPERAND_ACCUMULATOR + i);
        pass->accumulate[i] = op->accumulate >> i & 1u;
    }
    pass->input = place(engine, op, OPERAND_INPUT);
    pass->output = place(engine, op, OPERAND_OUTPUT);
    pass->gradient = place(engine, op, OPERAND_STREAM_GRADIENT);
    pass->saved = place(engine, op, OPERAND_SAVED);
    pass->scratch = place(engine, op, OPERAND_SCRATCH);
    pass->carry = place(engine, op, OPERAND_CARRY);
    size_t ids = (size_t)(micro * c->micro * engine->tokens) * sizeof(int32_t);
    if (op->slots[OPERAND_TOKENS] >= 0)
        pass->token_ids = device_at(place(engine, op, OPERAND_TOKENS), ids);
    if (op->slots[OPERAND_TARGETS] >= 0)
        pass->targets = device_at(place(engine, op, OPERAND_TARGETS), ids);
    pass->loss = place(engine, op, OPERAND_LOSS);
    pass->loss_scale = (float)(1.0 / ((double)c->global * (double)engine->tokens));
}

static enum zi_status run_forward(struct engine *engine, const struct program_op *op,
                                  struct device_stream *stream)
{
    struct model_pass pass;
    fill_pass(engine, op, stream, &pass);
    return model_forward(engine->program->model, op->op, op->mode, &pass);
}

static enum zi_status run_recompute(struct engine *engine, const struct program_op *op,
                                    struct device_stream *stream)
{
    return run_forward(engine, op, stream);
}

static enum zi_status run_backward(struct engine *engine, const struct program_op *op,
                                   struct device_stream *stream)
{
    struct model_pass pass;
    fill_pass(engine, op, stream, &pass);
    return model_backward(engine->program->model, op->op, &pass);
}

static enum zi_status run_logits(struct engine *engine, const struct program_op *op,
                                 struct device_stream *stream)
{
    struct model_pass pass;
    fill_pass(engine, op, stream, &pass);
    return model_logits(engine->program->model, op->op, &pass, place(engine, op, OPERAND_LOGITS));
}

static enum zi_status run_push(struct engine *engine, const struct program_op *op,
                               struct device_stream *stream)
{
    return device_copy(stream, place(engine, op, OPERAND_TO), place(engine, op, OPERAND_FROM),
                       op->bytes);
}

static enum zi_status run_pull(struct engine *engine, const struct program_op *op,
                               struct device_stream *stream)
{
    return run_push(engine, op, stream);
}

static enum zi_status run_keep(struct engine *engine, const struct program_op *op,
                               struct device_stream *stream)
{
    return run_push(engine, op, stream);
}

static enum zi_status run_recall(struct engine *engine, const struct program_op *op,
                                 struct device_stream *stream)
{
    return run_push(engine, op, stream);
}

/* A disk lane does its operations by transfers (execute_transfer). */
static enum zi_status run_read(struct engine *engine, const struct program_op *op,
                               struct device_stream *stream)
{
    (void)engine;
    (void)stream;
    return zi_fail(ZI_ERROR_BUG, "zero", "operation %s in a lane that cannot do it",
                   program_kind_name(op->kind));
}

static enum zi_status run_load(struct engine *engine, const struct program_op *op,
                               struct device_stream *stream)
{
    return run_read(engine, op, stream);
}

static enum zi_status run_store(struct engine *engine, const struct program_op *op,
                                struct device_stream *stream)
{
    return run_read(engine, op, stream);
}

static int64_t shard_bytes(const struct engine *engine, int unit)
{
    const struct program *p = engine->program;
    return p->partition->units[unit].shard * (int64_t)zi_dtype_bytes(p->config.compute);
}

static enum zi_status run_gather(struct engine *engine, const struct program_op *op,
                                 struct device_stream *stream)
{
    return comm_all_gather(engine->comm, stream, place(engine, op, OPERAND_SHARD),
                           place(engine, op, OPERAND_UNIT), shard_bytes(engine, op->unit));
}

static enum zi_status run_publish(struct engine *engine, const struct program_op *op,
                                  struct device_stream *stream)
{
    int64_t bytes = shard_bytes(engine, op->unit);
    struct device_ptr unit = place(engine, op, OPERAND_UNIT);
    if (engine_update_step(engine)->skip) return ZI_OK;
    struct device_ptr own = device_at(unit, (size_t)(engine->program->config.rank * bytes));
    return comm_all_gather(engine->comm, stream, own, unit, bytes);
}

static enum zi_status run_reduce(struct engine *engine, const struct program_op *op,
                                 struct device_stream *stream)
{
    const struct zero_config *c = &engine->program->config;
    int64_t shard = engine->program->partition->units[op->unit].shard;
    struct device_ptr full = place(engine, op, OPERAND_CONTRIBUTION);
    struct device_ptr scratch = place(engine, op, OPERAND_SCRATCH);
    if (op->slots[OPERAND_SHARD] < 0) {
        return comm_all_reduce(engine->comm, stream, full, shard, c->reduce, scratch);
    }
    return comm_reduce_scatter(engine->comm, stream, full, place(engine, op, OPERAND_SHARD), shard,
                               c->reduce, scratch);
}

static enum zi_status run_add(struct engine *engine, const struct program_op *op,
                              struct device_stream *stream)
{
    const struct zero_config *c = &engine->program->config;
    const struct partition_unit *part = &engine->program->partition->units[op->unit];
    const struct device_operations *ops = engine->lanes[op->lane].operations;
    int64_t count = program_elements(engine->program, op->unit, TIER_SUM);
    struct device_ptr from = place(engine, op, OPERAND_CONTRIBUTION);
    if (op->slots[OPERAND_SUM] >= 0) {
        struct device_ptr sum = place(engine, op, OPERAND_SUM);
        if (op->adds)
            ZI_TRY(ops->add(stream, ZI_FP32, sum, ZI_FP32, from, count));
        else
            ZI_TRY(device_copy(stream, sum, from, (size_t)count * sizeof(float)));
        from = sum;
    }
    if (!op->last) return ZI_OK;
    /* Kept is what this rank updates; counted, in every stage, what is its own. What pads a unit
     * holds no gradient. */
    int64_t first = c->rank * part->shard, end = first + part->shard;
    int64_t kept = program_elements(engine->program, op->unit, TIER_GRADIENT);
    struct device_ptr home = place(engine, op, OPERAND_GRADIENT);
    if (kept < count) from = device_at(from, (size_t)first * sizeof(float));
    if (home.address != from.address)
        ZI_TRY(ops->convert(stream, c->gradient, home, ZI_FP32, from, kept));
    if (end > part->elements) end = part->elements;
    if (first >= end) return ZI_OK;
    size_t own = zero_is_sharded(c, TIER_GRADIENT) ? 0 : (size_t)first;
    return ops->gradient_norm(stream, c->gradient,
                              device_at(home, own * zi_dtype_bytes(c->gradient)), end - first,
                              place(engine, op, OPERAND_NORM));
}

/* The host decides; in a lane that runs ahead, when the lane's stream has brought the values. */
static enum zi_status run_norm(struct engine *engine, const struct program_op *op,
                               struct device_stream *stream)
{
    const struct zero_config *c = &engine->program->config;
    const struct program_values *out = &engine->program->outside;
    const struct device_norm_sums *sums = engine_host_slot(engine, out->norm);
    const double *loss = engine_host_slot(engine, out->loss);
    (void)op;
    ZI_TRY(device_stream_synchronize(stream));
    double values[3] = {*loss, sums->squares, (double)sums->nonfinite};
    if (c->ranks > 1) ZI_TRY(comm_sum_doubles(engine->comm, values, 3));
    engine->loss = values[0] / ((double)c->global * (double)engine->tokens);
    if (engine->name != PROGRAM_TRAIN && engine->name != PROGRAM_TRAIN_UPDATE) return ZI_OK;
    optimizer_decide(&engine->settings->optimizer, values[1], (uint64_t)values[2], engine->loss,
                     &engine->step);
    return ZI_OK;
}

const struct optimizer_step *engine_update_step(const struct engine *engine)
{
    return engine->program->config.deferred ? &engine->pending : &engine->step;
}

/* A kind of state in an update of a group, `at` elements into it; null where it does not exist. */
static struct device_ptr state_at(const struct engine *engine, const struct program_op *op,
                                  enum tier_kind kind, int64_t at)
{
    struct device_ptr group = place(engine, op, OPERAND_STATE + (int)kind);
    if (device_is_null(group)) return group;
    return device_at(group, (size_t)at * program_element_bytes(engine->program, kind));
}

/* The update of one range, `at` elements into the group. */
static enum zi_status update_range(struct engine *engine, const struct program_op *op,
                                   struct device_stream *stream,
                                   const struct partition_range *range, int64_t at)
{
    struct optimizer_range update = {
        .count = range->count,
        .decay = range->decay,
        .place = range->place,
        .gradient_type = engine->program->config.gradient,
        .parameter = state_at(engine, op, TIER_PARAMETER, at),
        .remainder = state_at(engine, op, TIER_MASTER, at),
        .gradient = state_at(engine, op, TIER_GRADIENT, at),
        .checksum = place(engine, op, OPERAND_CHECKSUM),
    };
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        int own = tier_kind_row((enum tier_kind)k)->optimizer;
        if (own >= 0) update.states[own] = state_at(engine, op, (enum tier_kind)k, at);
    }
    return optimizer_update(&engine->settings->optimizer, engine->lanes[op->lane].device, stream,
                            engine_update_step(engine), &update);
}

static enum zi_status run_adam(struct engine *engine, const struct program_op *op,
                               struct device_stream *stream)
{
    const struct zero_config *c = &engine->program->config;
    const struct partition *partition = engine->program->partition;
    const struct partition_unit *part = &partition->units[op->unit];
    bool own = zero_is_sharded(c, TIER_GRADIENT);
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
static enum zi_status run_finish(struct engine *engine, const struct program_op *op,
                                 struct device_stream *stream)
{
    (void)op;
    if (engine_update_step(engine)->skip) return ZI_OK;
    ZI_TRY(device_stream_synchronize(stream));
    uint64_t sum = *(const uint64_t *)engine_host_slot(engine, engine->program->outside.checksum);
    if (zero_is_sharded(&engine->program->config, TIER_GRADIENT))
        ZI_TRY(comm_sum_uint64(engine->comm, &sum, 1));
    engine->checksum = sum;
    return ZI_OK;
}

void execute_transfer(const struct engine *engine, const struct program_op *op,
                      struct tier_transfer *transfer)
{
    bool writes = op->lane == LANE_DISK_WRITE;
    int memory = writes ? OPERAND_FROM : OPERAND_TO, disk = writes ? OPERAND_TO : OPERAND_FROM;
    char *at = engine_slot_on_host(engine, op->slots[memory]);
    const struct program_slot *slot = &engine->program->slots[op->slots[disk]];
    ZI_REQUIRE(at); /* device memory only where it is the host's as well */
    *transfer = (struct tier_transfer){
        .array = slot->array,
        .offset = slot->offset + op->offsets[disk],
        .bytes = op->bytes,
        .buffer = at + op->offsets[memory],
        .write = writes,
    };
}

static enum zi_status run_clear(struct engine *engine, const struct program_op *op,
                                struct device_stream *stream)
{
    size_t bytes = engine->program->slots[op->slots[OPERAND_TO]].bytes;
    return engine->lanes[op->lane].operations->fill(stream, place(engine, op, OPERAND_TO), bytes,
                                                    0);
}

/* A kind without its function does not compile. */
#define RUN(constant, name) [constant] = run_##name,
static enum zi_status (*const runs[OP_KIND_COUNT])(struct engine *engine,
                                                   const struct program_op *op,
                                                   struct device_stream *stream) = {
    PROGRAM_KINDS(RUN)};
#undef RUN

enum zi_status execute_op(struct engine *engine, const struct program_op *op)
{
    return runs[op->kind](engine, op, engine->lanes[op->lane].stream);
}
