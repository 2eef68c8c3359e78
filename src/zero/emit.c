/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the operations of a visit, and of the update.
 *
 * Gradients. Each use of a unit by an operation accumulates, in fp32 and over micro-batches, in an
 * accumulator of its own; when a use is complete it is a contribution. A contribution is reduced
 * over ranks and added to the unit's sum; the last one also rounds the sum to the kept gradient and
 * adds its share to the global norm. Where a step can be spared it is: with one rank there is no
 * reduction, the first contribution is written straight into the sum, and a sum of fp32 gradients
 * is the kept gradient itself. In micro-major order with sharded gradients every micro-batch is a
 * contribution; otherwise accumulators last the whole step, so that both orders add in the same
 * order on one rank. */
#include "base/log.h"
#include "zero/compile.h"

/* Slot of the input of operation `op` in forward. */
static int forward_input(const struct builder *b, int op, int micro)
{
    int m = micro % b->copies;
    bool training = b->list == &b->program->lists[PROGRAM_TRAIN];
    if (training && input_is_kept(b, op) && !b->offload_inputs) return b->kept[op * b->copies + m];
    return b->transient[(op & 1) * b->copies + m];
}

static void set_weights(struct builder *b, struct program_op *o, int visit)
{
    const struct model_op *op = &b->model->ops[o->op];
    for (int i = 0; i < op->unit_count; i++) {
        op_reads(o, ROLE_WEIGHT + i, schedule_weight(b, op->units[i], visit, visit));
    }
}

static struct program_op compute_op(const struct builder *b, enum program_kind kind, int op,
                                    int micro)
{
    struct program_op o = builder_op(kind, LANE_COMPUTE);
    struct model_flops flops;
    o.op = op;
    o.micro = micro;
    model_op_flops(b->model, op, b->config->micro, b->config->tokens, &flops);
    o.flops = kind == OP_BACKWARD    ? flops.backward
              : kind == OP_RECOMPUTE ? flops.recompute
                                     : flops.forward;
    return o;
}

static void emit_keep(struct builder *b, int op, int micro)
{
    struct program_op keep = builder_op(OP_KEEP, LANE_LINK_OUT);
    int slot = b->kept[op * b->copies + micro % b->copies];
    keep.op = op;
    keep.micro = micro;
    keep.bytes = b->status < 0 ? 0 : b->program->slots[slot].bytes;
    op_reads(&keep, ROLE_INPUT, forward_input(b, op, micro));
    op_writes(&keep, ROLE_OUTPUT, slot);
    builder_emit(b, &keep);
}

static void emit_forward(struct builder *b, int visit, int micro)
{
    int op = b->visits[visit].first, m = micro % b->copies;
    bool training = b->list == &b->program->lists[PROGRAM_TRAIN];
    bool body = op > 0 && op < b->model->op_count - 1;
    bool saves = training && body && segment_is_kept(b, op);
    struct program_op o = compute_op(b, OP_FORWARD, op, micro);
    o.mode = saves ? MODEL_TRAIN : MODEL_INFER;
    if (op > 0) op_reads(&o, ROLE_INPUT, forward_input(b, op, micro));
    if (op == 0) op_reads(&o, ROLE_TOKENS, b->program->tokens_slot);
    op_writes(&o, ROLE_OUTPUT, forward_input(b, op + 1, micro));
    op_writes(&o, ROLE_SAVED, saves ? b->saved[op * b->copies + m] : b->local_saved[0]);
    op_writes(&o, ROLE_SCRATCH, b->scratch);
    set_weights(b, &o, visit);
    builder_emit(b, &o);
    if (training && b->offload_inputs && input_is_kept(b, op + 1)) emit_keep(b, op + 1, micro);
}

/* Head of a program without backward: loss or logits. */
static void emit_head(struct builder *b, int visit, int micro)
{
    bool loss = b->visits[visit].phase == VISIT_LOSS;
    int op = b->visits[visit].first;
    struct program_op o = compute_op(b, loss ? OP_FORWARD : OP_LOGITS, op, micro);
    o.mode = MODEL_INFER;
    op_reads(&o, ROLE_INPUT, forward_input(b, op, micro));
    op_writes(&o, ROLE_SAVED, b->local_saved[0]);
    op_writes(&o, ROLE_SCRATCH, b->scratch);
    if (loss) {
        op_reads(&o, ROLE_TOKENS, b->program->targets_slot);
        op_reads(&o, ROLE_RESULTS, b->program->loss_slot);
        op_writes(&o, ROLE_RESULTS, b->program->loss_slot);
    } else {
        op_writes(&o, ROLE_OUTPUT, b->program->logits_slot);
    }
    set_weights(b, &o, visit);
    builder_emit(b, &o);
}

/* Adds a contribution that has arrived at `from` to the unit's sum, and finishes the last one. */
static void emit_add(struct builder *b, int unit, int from)
{
    struct unit_gradient *g = &b->gradients[unit];
    const struct partition_unit *part = &b->partition->units[unit];
    bool first = g->seen++ == 0, last = g->seen == g->contributions;
    if (from == g->sum && !last) return;
    enum program_lane lane = LANE_COMPUTE;
    if (!b->local_gradient || (b->config->unified && b->config->ranks > 1)) lane = LANE_HOST;
    struct program_op add = builder_op(OP_ADD, lane);
    add.unit = unit;
    add.mode = last;
    add.accumulate = !first;
    add.bytes = (size_t)(b->sharded_gradients ? part->shard : part->padded) * sizeof(float);
    op_reads(&add, ROLE_INPUT, from);
    if (g->sum >= 0) {
        if (!first) op_reads(&add, ROLE_OUTPUT, g->sum);
        if (from != g->sum)
            op_writes(&add, ROLE_OUTPUT, g->sum);
        else
            op_reads(&add, ROLE_OUTPUT, g->sum);
    }
    if (last) {
        op_writes(&add, ROLE_GRADIENT, b->program->homes[unit].gradient);
        op_reads(&add, ROLE_RESULTS, b->program->norm_slot);
        op_writes(&add, ROLE_RESULTS, b->program->norm_slot);
    }
    builder_emit(b, &add);
}

/* Takes a complete use of a unit, in accumulator `from`, to where it is added. */
static void emit_contribution(struct builder *b, int unit, int from)
{
    const struct unit_gradient *g = &b->gradients[unit];
    const struct partition_unit *part = &b->partition->units[unit];
    if (b->config->ranks > 1) {
        struct program_op reduce = builder_op(OP_REDUCE, LANE_COMM);
        reduce.unit = unit;
        reduce.bytes = (size_t)part->padded * zi_dtype_bytes(b->config->reduce);
        op_reads(&reduce, ROLE_INPUT, from);
        op_writes(&reduce, ROLE_INPUT, from);
        if (b->sharded_gradients) {
            bool into_sum = b->local_gradient && g->sum >= 0 && g->seen == 0;
            from = into_sum ? g->sum : ring_take(&b->reduced[unit_class(b, unit)]);
            op_writes(&reduce, ROLE_OUTPUT, from);
        }
        op_writes(&reduce, ROLE_SCRATCH, b->reduce_scratch);
        builder_emit(b, &reduce);
    }
    if (!b->local_gradient) {
        struct program_op pull = builder_op(OP_PULL, LANE_LINK_OUT);
        pull.unit = unit;
        pull.bytes = (size_t)(b->sharded_gradients ? part->shard : part->padded) * sizeof(float);
        op_reads(&pull, ROLE_INPUT, from);
        from = ring_take(&b->pulled[unit_class(b, unit)]);
        op_writes(&pull, ROLE_OUTPUT, from);
        builder_emit(b, &pull);
    }
    emit_add(b, unit, from);
}

/* Accumulators of the operations of one visit, by operation and unit. */
struct visit_gradients {
    int slots[RING_MAX][MODEL_MAX_UNITS];
};

static void take_accumulators(struct builder *b, const struct visit *visit,
                              struct visit_gradients *taken)
{
    for (int j = 0; j < visit->count; j++) {
        const struct model_op *op = &b->model->ops[visit->first + j];
        for (int i = 0; i < op->unit_count; i++) {
            int unit = op->units[i];
            int use = b->use[(visit->first + j) * MODEL_MAX_UNITS + i];
            int slot = b->gradients[unit].dedicated[use];
            taken->slots[j][i] = slot >= 0 ? slot : ring_take(&b->accumulator[unit_class(b, unit)]);
        }
    }
}

static int backward_input(struct builder *b, int op, int micro)
{
    int m = micro % b->copies;
    if (!input_is_kept(b, op)) return forward_input(b, op, micro);
    int slot = b->kept[op * b->copies + m];
    if (!b->offload_inputs || b->status < 0) return slot;
    struct program_op recall = builder_op(OP_RECALL, LANE_LINK_IN);
    recall.op = op;
    recall.micro = micro;
    recall.bytes = b->program->slots[slot].bytes;
    op_reads(&recall, ROLE_INPUT, slot);
    int to = ring_take(&b->recalled);
    op_writes(&recall, ROLE_OUTPUT, to);
    builder_emit(b, &recall);
    return to;
}

static void emit_recompute(struct builder *b, int visit, int micro, int input)
{
    const struct visit *v = &b->visits[visit];
    for (int j = 0; j < v->count; j++) {
        struct program_op o = compute_op(b, OP_RECOMPUTE, v->first + j, micro);
        bool more = j + 1 < v->count;
        struct model_flops flops;
        model_op_flops(b->model, v->first + j, b->config->micro, b->config->tokens, &flops);
        o.flops = more ? flops.forward : flops.recompute;
        o.mode = more ? MODEL_TRAIN : MODEL_RECOMPUTE;
        op_reads(&o, ROLE_INPUT, j == 0 ? input : b->local_input[j]);
        if (more) op_writes(&o, ROLE_OUTPUT, b->local_input[j + 1]);
        op_writes(&o, ROLE_SAVED, b->local_saved[j]);
        op_writes(&o, ROLE_SCRATCH, b->scratch);
        set_weights(b, &o, visit);
        builder_emit(b, &o);
    }
}

static void emit_differentiate(struct builder *b, int visit, int micro, const int operands[2],
                               const int gradients[MODEL_MAX_UNITS], int j)
{
    const struct visit *v = &b->visits[visit];
    const struct model_op *op = &b->model->ops[v->first + j];
    struct program_op o = compute_op(b, OP_BACKWARD, v->first + j, micro);
    bool again = micro > v->micro || (!b->sharded_gradients && micro > 0);
    int stream = b->stream_gradient[micro % b->copies];
    if (op->kind != MODEL_EMBED) op_reads(&o, ROLE_INPUT, operands[0]);
    if (operands[1] >= 0) {
        op_reads(&o, ROLE_SAVED, operands[1]);
        op_writes(&o, ROLE_SAVED, operands[1]);
    }
    if (op->kind != MODEL_HEAD) op_reads(&o, ROLE_STREAM_GRADIENT, stream);
    if (op->kind != MODEL_EMBED) op_writes(&o, ROLE_STREAM_GRADIENT, stream);
    op_writes(&o, ROLE_SCRATCH, b->scratch);
    if (op->kind == MODEL_EMBED) op_reads(&o, ROLE_TOKENS, b->program->tokens_slot);
    if (op->kind == MODEL_HEAD) {
        op_reads(&o, ROLE_TOKENS, b->program->targets_slot);
        op_reads(&o, ROLE_RESULTS, b->program->loss_slot);
        op_writes(&o, ROLE_RESULTS, b->program->loss_slot);
    }
    if (v->phase != VISIT_GRADIENT) set_weights(b, &o, visit);
    for (int i = 0; i < op->unit_count; i++) {
        if (again) {
            op_reads(&o, ROLE_GRADIENT + i, gradients[i]);
            o.accumulate |= 1u << i;
        }
        op_writes(&o, ROLE_GRADIENT + i, gradients[i]);
    }
    builder_emit(b, &o);
    int last =
        b->sharded_gradients ? v->micro + v->micro_count - 1 : (int)b->config->micro_batches - 1;
    for (int i = 0; micro == last && i < op->unit_count; i++) {
        emit_contribution(b, op->units[i], gradients[i]);
    }
}

static void emit_backward(struct builder *b, int visit)
{
    const struct visit *v = &b->visits[visit];
    bool body = v->phase == VISIT_BACKWARD && v->first < b->model->op_count - 1;
    bool recomputes = body && !segment_is_kept(b, v->first);
    struct visit_gradients taken;
    take_accumulators(b, v, &taken);
    for (int m = v->micro; m < v->micro + v->micro_count; m++) {
        int input = v->phase == VISIT_GRADIENT ? -1 : backward_input(b, v->first, m);
        if (recomputes) emit_recompute(b, visit, m, input);
        for (int j = v->count - 1; j >= 0; j--) {
            int saved = -1;
            if (body) {
                saved =
                    recomputes ? b->local_saved[j] : b->saved[v->first * b->copies + m % b->copies];
            }
            int operands[2] = {j == 0 ? input : b->local_input[j], saved};
            emit_differentiate(b, visit, m, operands, taken.slots[j], j);
        }
    }
}

void emit_visit(struct builder *b, int visit)
{
    for (int w = visit; w <= visit + b->config->prefetch && w < b->visit_count; w++) {
        const struct visit *ahead = &b->visits[w];
        if (ahead->phase == VISIT_GRADIENT) continue;
        for (int j = 0; j < ahead->count; j++) {
            const struct model_op *op = &b->model->ops[ahead->first + j];
            for (int i = 0; i < op->unit_count; i++) {
                schedule_weight(b, op->units[i], w, visit);
            }
        }
    }
    const struct visit *v = &b->visits[visit];
    if (v->phase == VISIT_BACKWARD || v->phase == VISIT_GRADIENT) {
        emit_backward(b, visit);
        return;
    }
    for (int m = v->micro; m < v->micro + v->micro_count; m++) {
        if (v->phase == VISIT_FORWARD)
            emit_forward(b, visit, m);
        else
            emit_head(b, visit, m);
    }
}

/* Copies between the tiers of a device whose memory is not the host's. */
static void emit_transfer(struct builder *b, int unit, const struct program_op *transfer)
{
    struct program_op o = *transfer;
    o.unit = unit;
    builder_emit(b, &o);
}

static void emit_adam(struct builder *b, int unit)
{
    const struct program_home *home = &b->program->homes[unit];
    const struct partition_unit *part = &b->partition->units[unit];
    const struct zero_config *c = b->config;
    bool on_host = !c->unified && c->tier[TIER_MASTER] == ZI_TIER_HOST;
    int64_t count = b->sharded_optimizer ? part->shard : part->padded;
    size_t own = b->sharded_optimizer ? (size_t)(c->rank * part->shard) : 0;
    size_t gradient_first = b->sharded_gradients ? 0 : own * zi_dtype_bytes(c->gradient);
    size_t parameter_first = b->sharded_parameters ? 0 : own * zi_dtype_bytes(c->compute);
    int gradient = home->gradient;
    struct program_op adam = builder_op(OP_ADAM, on_host ? LANE_HOST : LANE_COMPUTE);
    adam.unit = unit;
    adam.bytes = (size_t)count * (24 + zi_dtype_bytes(c->gradient) +
                                  (c->compute == ZI_BF16 ? zi_dtype_bytes(c->compute) : 0));
    if (!c->unified && c->tier[TIER_GRADIENT] != c->tier[TIER_MASTER]) {
        struct program_op move =
            on_host ? builder_op(OP_PULL, LANE_LINK_OUT) : builder_op(OP_PUSH, LANE_LINK_IN);
        move.bytes = (size_t)count * zi_dtype_bytes(c->gradient);
        move.input_offset = gradient_first;
        op_reads(&move, ROLE_INPUT, gradient);
        gradient = ring_take(&b->update_in);
        gradient_first = 0;
        op_writes(&move, ROLE_OUTPUT, gradient);
        emit_transfer(b, unit, &move);
    }
    bool reachable = c->unified || c->tier[TIER_PARAMETER] == c->tier[TIER_MASTER];
    int master = home->master >= 0 ? home->master : home->parameter;
    int fresh = home->master < 0 ? -1 : home->parameter;
    if (!reachable) fresh = c->compute == ZI_BF16 ? ring_take(&b->update_out) : -1;
    adam.input_offset = gradient_first;
    adam.output_offset = reachable ? parameter_first : 0;
    op_reads(&adam, ROLE_GRADIENT, gradient);
    op_reads(&adam, ROLE_RESULTS, b->program->norm_slot);
    const int states[][2] = {{ROLE_MASTER, master},
                             {ROLE_MOMENT1, home->moment1},
                             {ROLE_MOMENT2, home->moment2},
                             {ROLE_INPUT, b->program->checksum_slot}};
    for (int i = 0; i < 4; i++) {
        op_reads(&adam, states[i][0], states[i][1]);
        op_writes(&adam, states[i][0], states[i][1]);
    }
    op_writes(&adam, ROLE_OUTPUT, fresh);
    builder_emit(b, &adam);
    if (!reachable) {
        struct program_op move =
            on_host ? builder_op(OP_PUSH, LANE_LINK_IN) : builder_op(OP_PULL, LANE_LINK_OUT);
        move.bytes = (size_t)count * zi_dtype_bytes(c->compute);
        move.output_offset = parameter_first;
        op_reads(&move, ROLE_INPUT, fresh >= 0 ? fresh : master);
        op_writes(&move, ROLE_OUTPUT, home->parameter);
        emit_transfer(b, unit, &move);
    }
    if (!b->sharded_optimizer || b->sharded_parameters) return;
    struct program_op publish = builder_op(OP_PUBLISH, LANE_COMM);
    publish.unit = unit;
    publish.bytes = (size_t)part->padded * zi_dtype_bytes(c->compute);
    op_reads(&publish, ROLE_OUTPUT, home->parameter);
    op_writes(&publish, ROLE_OUTPUT, home->parameter);
    builder_emit(b, &publish);
}

void emit_update(struct builder *b)
{
    bool training = b->list == &b->program->lists[PROGRAM_TRAIN];
    enum program_lane lane = b->config->ranks > 1 ? LANE_COMM : LANE_COMPUTE;
    struct program_op norm = builder_op(OP_NORM, lane);
    op_reads(&norm, ROLE_INPUT, b->program->loss_slot);
    if (training) {
        op_reads(&norm, ROLE_RESULTS, b->program->norm_slot);
        op_writes(&norm, ROLE_RESULTS, b->program->norm_slot);
    }
    builder_emit(b, &norm);
    if (!training) return;
    for (int u = 0; u < b->model->unit_count && b->status >= 0; u++) {
        emit_adam(b, u);
    }
    struct program_op finish = builder_op(OP_FINISH, lane);
    op_reads(&finish, ROLE_INPUT, b->program->checksum_slot);
    op_writes(&finish, ROLE_INPUT, b->program->checksum_slot);
    builder_emit(b, &finish);
}
