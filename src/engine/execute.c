/* SPDX-License-Identifier: Apache-2.0 */
/* What each kind of operation does: a function per row of the table of kinds (kinds.h), run_NAME.
 * Everything that was to be decided was decided at compile time, and where everything is was found
 * when programs were bound (bind.c); the only choices left are how many sequences and tokens a run of
 * generation or evaluation has, and whether the step is skipped. */
#include "engine/execute.h"

#include <string.h>

#include "base/log.h"
#include "base/random.h"

/* Of the numbers by which a training step drops elements. */
static uint64_t dropout_seed(const struct engine *engine)
{
    uint64_t seed = (uint64_t)engine->settings->run.seed;
    return zi_random_bits(seed, zi_random_stream("adapter.dropout"), (uint64_t)engine->number);
}

/* The operands of an operation of the model, for as many tokens as sequences have in this run; the
 * gradient is that of the mean over the targets that count, times the loss scale of this step. */
static struct model_pass pass_of(const struct engine *engine, const struct bound_op *b)
{
    struct model_pass pass = *b->pass;
    pass.tokens = engine->tokens;
    if (engine->sequences > 0) pass.sequences = engine->sequences;
    pass.ends = engine->ends;
    pass.drops = b->op->drops;
    if (pass.drops) pass.seed = dropout_seed(engine);
    pass.loss_scale = (float)(1.0 / (double)engine->targets) * (float)engine->scaling.scale;
    return pass;
}

static enum zi_status run_forward(struct engine *engine, const struct bound_op *b,
                                  struct device_stream *stream)
{
    struct model_pass pass = pass_of(engine, b);
    (void)stream;
    return model_forward(engine->program->model, b->op->op, b->op->mode, &pass);
}

static enum zi_status run_recompute(struct engine *engine, const struct bound_op *b,
                                    struct device_stream *stream)
{
    return run_forward(engine, b, stream);
}

static enum zi_status run_backward(struct engine *engine, const struct bound_op *b,
                                   struct device_stream *stream)
{
    struct model_pass pass = pass_of(engine, b);
    (void)stream;
    return model_backward(engine->program->model, b->op->op, &pass);
}

static enum zi_status run_logits(struct engine *engine, const struct bound_op *b,
                                 struct device_stream *stream)
{
    struct model_pass pass = pass_of(engine, b);
    (void)stream;
    return model_logits(engine->program->model, b->op->op, &pass, b->at[OPERAND_LOGITS]);
}

static enum zi_status run_push(struct engine *engine, const struct bound_op *b,
                               struct device_stream *stream)
{
    (void)engine;
    return device_copy(stream, b->at[OPERAND_TO], b->at[OPERAND_FROM], b->op->bytes);
}

static enum zi_status run_pull(struct engine *engine, const struct bound_op *b,
                               struct device_stream *stream)
{
    return run_push(engine, b, stream);
}

static enum zi_status run_keep(struct engine *engine, const struct bound_op *b,
                               struct device_stream *stream)
{
    return run_push(engine, b, stream);
}

static enum zi_status run_recall(struct engine *engine, const struct bound_op *b,
                                 struct device_stream *stream)
{
    return run_push(engine, b, stream);
}

/* A disk lane does its operations by transfers (disk_lane.c). */
static enum zi_status run_read(struct engine *engine, const struct bound_op *b,
                               struct device_stream *stream)
{
    (void)engine;
    (void)stream;
    return zi_fail(ZI_ERROR_BUG, "engine", "operation %s in a lane that cannot do it",
                   program_kind_name(b->op->kind));
}

static enum zi_status run_load(struct engine *engine, const struct bound_op *b,
                               struct device_stream *stream)
{
    return run_read(engine, b, stream);
}

static enum zi_status run_store(struct engine *engine, const struct bound_op *b,
                                struct device_stream *stream)
{
    return run_read(engine, b, stream);
}

static int64_t shard_bytes(const struct engine *engine, int unit)
{
    const struct program *p = engine->program;
    return (int64_t)program_state_bytes(p, program_weights(p, unit),
                                        p->partition->units[unit].shard);
}

static enum zi_status run_unpack(struct engine *engine, const struct bound_op *b,
                                 struct device_stream *stream)
{
    const struct program *p = engine->program;
    return engine->lanes[b->op->lane].operations->unpack(
        stream, p->config.compute, b->at[OPERAND_UNIT], p->config.frozen,
        b->at[OPERAND_STATE + TIER_PACKED], p->partition->units[b->op->unit].padded);
}

static enum zi_status run_gather(struct engine *engine, const struct bound_op *b,
                                 struct device_stream *stream)
{
    return comm_all_gather(engine->comm, stream, b->at[OPERAND_SHARD], b->at[OPERAND_UNIT],
                           shard_bytes(engine, b->op->unit));
}

static enum zi_status run_publish(struct engine *engine, const struct bound_op *b,
                                  struct device_stream *stream)
{
    int64_t bytes = shard_bytes(engine, b->op->unit);
    struct device_ptr unit = b->at[OPERAND_UNIT];
    if (engine_update_step(engine, b->op)->skip) return ZI_OK;
    struct device_ptr own = device_at(unit, (size_t)(engine->rank * bytes));
    return comm_all_gather(engine->comm, stream, own, unit, bytes);
}

static enum zi_status run_reduce(struct engine *engine, const struct bound_op *b,
                                 struct device_stream *stream)
{
    const struct zero_config *c = &engine->program->config;
    int64_t shard = engine->program->partition->units[b->op->unit].shard;
    struct device_ptr full = b->at[OPERAND_CONTRIBUTION];
    struct device_ptr scratch = b->at[OPERAND_SCRATCH];
    if (b->op->slots[OPERAND_SHARD] < 0) {
        return comm_all_reduce(engine->comm, stream, full, shard, c->reduce, scratch);
    }
    return comm_reduce_scatter(engine->comm, stream, full, b->at[OPERAND_SHARD], shard, c->reduce,
                               scratch);
}

static enum zi_status run_add(struct engine *engine, const struct bound_op *b,
                              struct device_stream *stream)
{
    const struct zero_config *c = &engine->program->config;
    const struct partition_unit *part = &engine->program->partition->units[b->op->unit];
    const struct device_operations *ops = engine->lanes[b->op->lane].operations;
    int64_t count = program_elements(engine->program, b->op->unit, TIER_SUM);
    struct device_ptr from = b->at[OPERAND_CONTRIBUTION];
    if (b->op->slots[OPERAND_SUM] >= 0) {
        struct device_ptr sum = b->at[OPERAND_SUM];
        if (b->op->adds)
            ZI_TRY(ops->add(stream, ZI_FP32, sum, ZI_FP32, from, count));
        else
            ZI_TRY(device_copy(stream, sum, from, (size_t)count * sizeof(float)));
        from = sum;
    }
    if (!b->op->last) return ZI_OK;
    /* Kept is what this rank updates; counted, in every stage, what is its own. What pads a unit
     * holds no gradient. */
    int64_t first = engine->rank * part->shard, end = first + part->shard;
    int64_t kept = program_elements(engine->program, b->op->unit, TIER_GRADIENT);
    struct device_ptr home = b->at[OPERAND_GRADIENT];
    if (kept < count) from = device_at(from, (size_t)first * sizeof(float));
    if (end > part->elements) end = part->elements;
    int64_t own = zero_is_sharded(c, TIER_GRADIENT) ? 0 : first, counted = end - first;
    int64_t rounded = 0, bytes = (int64_t)zi_dtype_bytes(c->gradient);
    if (home.address == from.address) rounded = kept;
    if (rounded == 0 && own == 0 && counted > 0) {
        ZI_TRY(ops->gradient_round(stream, c->gradient, home, from, counted, b->at[OPERAND_NORM]));
        rounded = counted;
        counted = 0;
    }
    if (rounded < kept)
        ZI_TRY(ops->convert(stream, c->gradient, device_at(home, (size_t)(rounded * bytes)),
                            ZI_FP32, device_at(from, (size_t)rounded * sizeof(float)),
                            kept - rounded));
    if (counted <= 0) return ZI_OK;
    return ops->gradient_norm(stream, c->gradient, device_at(home, (size_t)(own * bytes)), counted,
                              b->at[OPERAND_NORM]);
}

/* The host decides; in a lane that runs ahead, when the lane's stream has brought the values. */
static enum zi_status run_norm(struct engine *engine, const struct bound_op *b,
                               struct device_stream *stream)
{
    const struct zero_config *c = &engine->program->config;
    const struct program_values *out = &engine->program->outside;
    const struct device_norm_sums *sums = engine_host_slot(engine, out->norm);
    const double *loss = engine_host_slot(engine, out->loss);
    (void)b;
    ZI_TRY(device_stream_synchronize(stream));
    double values[3] = {*loss, sums->squares, (double)sums->nonfinite};
    if (c->ranks > 1) ZI_TRY(comm_sum_doubles(engine->comm, values, 3));
    engine->loss = values[0] / (double)engine->targets;
    if (!program_row(engine->name)->trains) return ZI_OK;
    optimizer_decide(&engine->settings->optimizer, values[1], (uint64_t)values[2], engine->loss,
                     &engine->step);
    return ZI_OK;
}

const struct optimizer_step *engine_update_step(const struct engine *engine,
                                                const struct program_op *op)
{
    if (op->speculative) return &engine->speculation.step;
    return engine->program->config.deferred ? &engine->pending : &engine->step;
}

static enum zi_status run_adam(struct engine *engine, const struct bound_op *b,
                               struct device_stream *stream)
{
    const struct settings_optimizer *settings = &engine->settings->optimizer;
    const struct device *device = engine->lanes[b->op->lane].device;
    const struct optimizer_step *step = engine_update_step(engine, b->op);
    for (int i = 0; i < b->range_count; i++) {
        ZI_TRY(optimizer_update(settings, device, stream, step, &b->ranges[i]));
    }
    return ZI_OK;
}

/* A skipped step has changed no parameter. What the last step's speculative updates have made of them
 * counts with what is brought of the rest. */
static enum zi_status run_finish(struct engine *engine, const struct bound_op *b,
                                 struct device_stream *stream)
{
    const struct program_row *row = program_row(engine->name);
    const char *sums = engine_host_slot(engine, engine->program->outside.checksum);
    bool brings = row->updates || !engine->program->config.deferred;
    brings = brings && !engine_update_step(engine, b->op)->skip;
    if (!brings && !row->speculates) return ZI_OK;
    ZI_TRY(device_stream_synchronize(stream));
    uint64_t sum[2];
    memcpy(&sum[0], sums, sizeof sum[0]);
    memcpy(&sum[1], sums + PROGRAM_CHECKSUM_NEXT, sizeof sum[1]);
    if (zero_is_sharded(&engine->program->config, TIER_GRADIENT))
        ZI_TRY(comm_sum_uint64(engine->comm, sum, 2));
    if (brings) engine->checksum = sum[0] + (row->rest ? engine->speculation.checksum : 0);
    engine->speculation.checksum = sum[1];
    return ZI_OK;
}

static enum zi_status run_clear(struct engine *engine, const struct bound_op *b,
                                struct device_stream *stream)
{
    size_t bytes = engine->program->slots[b->op->slots[OPERAND_TO]].bytes;
    return engine->lanes[b->op->lane].operations->fill(stream, b->at[OPERAND_TO], bytes, 0);
}

/* A kind without its function does not compile. */
#define RUN(constant, name) [constant] = run_##name,
static enum zi_status (*const runs[OP_KIND_COUNT])(struct engine *engine, const struct bound_op *b,
                                                   struct device_stream *stream) = {
    PROGRAM_KINDS(RUN)};
#undef RUN

enum zi_status execute_op(struct engine *engine, const struct bound_op *b)
{
    if (b->op->lane == LANE_COMM)
        comm_say(engine->comm, program_kind_name(b->op->kind),
                 program_op_subject(engine->program, b->op));
    return runs[b->op->kind](engine, b, engine->lanes[b->op->lane].stream);
}
