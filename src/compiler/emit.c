/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the operations of a visit, and of the end of a program.
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
#include "compiler/emit.h"

int ring_take(struct ring *ring)
{
    ZI_REQUIRE(ring->count > 0);
    int slot = ring->slots[ring->next];
    ring->next = (ring->next + 1) % ring->count;
    return slot;
}

static bool is_training(const struct builder *b)
{
    return b->name == PROGRAM_TRAIN || b->name == PROGRAM_TRAIN_UPDATE;
}

static bool on_disk(const struct builder *b, int slot)
{
    return slot >= 0 && b->program->slots[slot].tier == ZI_TIER_NVME;
}

struct slice home_slice(const struct builder *b, int home, int64_t first, int64_t count,
                        size_t element)
{
    size_t bytes = (size_t)count * element;
    if (!on_disk(b, home)) return (struct slice){home, (size_t)first * element, bytes, 0};
    return (struct slice){home + (int)(first / b->config->group), 0, bytes, 0};
}

static void move(struct builder *b, struct program_op *op, const struct slice *from,
                 const struct slice *to)
{
    if (b->status < 0) return;
    op->length = from->bytes < to->bytes ? from->bytes : to->bytes;
    op_reads(op, OPERAND_FROM, from->slot);
    op_writes(op, OPERAND_TO, to->slot);
    op->offsets[OPERAND_FROM] = from->offset;
    op->offsets[OPERAND_TO] = to->offset;
    op->per_rank[OPERAND_FROM] = from->per_rank;
    op->per_rank[OPERAND_TO] = to->per_rank;
    builder_emit(b, op);
}

void emit_move(struct builder *b, enum program_kind kind, int unit, const struct slice *from,
               const struct slice *to)
{
    struct program_op op = builder_op(kind);
    op.unit = unit;
    move(b, &op, from, to);
}

/* The input of an operation of the model, for one micro-batch. */
struct model_input {
    int op, micro;
};

/* Takes it from slot to slot. */
static void emit_input_move(struct builder *b, enum program_kind kind, struct model_input input,
                            int from, int to)
{
    struct program_op op = builder_op(kind);
    if (b->status < 0) return;
    op.op = input.op;
    op.micro = input.micro;
    struct slice left = {from, 0, b->program->slots[from].bytes, 0};
    struct slice arrived = {to, 0, b->program->slots[to].bytes, 0};
    move(b, &op, &left, &arrived);
}

/* Slot of the stream that enters a layer, in forward. */
static int forward_input(const struct builder *b, int layer, int micro)
{
    int m = micro % b->copies;
    if (is_training(b) && layer_is_kept(b, layer) && !b->offload_inputs)
        return b->kept[layer * b->copies + m];
    return b->transient[layer % b->depth * b->copies + m];
}

static void set_weights(struct builder *b, struct program_op *o, int visit)
{
    const struct model_op *op = &b->model->ops[o->op];
    for (int i = 0; i < op->unit_count; i++) {
        op_reads(o, OPERAND_WEIGHT + i, fetch_deliver(b, op->units[i], visit, visit));
    }
}

/* What tiles of a layer hand to each other; `first` overwrites it. */
static void set_carry(struct builder *b, struct program_op *o, bool first)
{
    if (b->model->ops[o->op].tiles == 1) return;
    int slot = b->carry[o->micro % b->copies];
    if (!first) op_reads(o, OPERAND_CARRY, slot);
    op_writes(o, OPERAND_CARRY, slot);
}

static struct program_op model_operation(enum program_kind kind, int op, int micro)
{
    struct program_op o = builder_op(kind);
    o.op = op;
    o.micro = micro;
    return o;
}

/* Takes the input of a layer from the stream to its tier, through host memory where the disk cannot
 * reach the device's. */
static void emit_keep(struct builder *b, int op, int micro)
{
    int layer = b->model->ops[op].layer;
    int home = b->kept[layer * b->copies + micro % b->copies];
    int from = forward_input(b, layer, micro);
    const struct model_input input = {op, micro};
    if (b->input_staging.count > 0) {
        int host = ring_take(&b->input_staging);
        emit_input_move(b, OP_KEEP, input, from, host);
        from = host;
    }
    emit_input_move(b, OP_KEEP, input, from, home);
}

/* And back; `key` tells the inputs apart, so that the tiles of a layer share one recall. */
static int emit_recall(struct builder *b, int op, int micro)
{
    const struct model_input input = {op, micro};
    int layer = b->model->ops[op].layer;
    int64_t key = layer * b->config->micro_batches + micro;
    struct ring *ring = &b->recalled;
    for (int i = 0; i < ring->count; i++) {
        if (ring->holds[i] == key) return ring->slots[i];
    }
    int from = b->kept[layer * b->copies + micro % b->copies], place = ring->next,
        to = ring_take(ring);
    ring->holds[place] = key;
    if (b->input_staging.count > 0) {
        int host = ring_take(&b->input_staging);
        emit_input_move(b, OP_RECALL, input, from, host);
        from = host;
    }
    emit_input_move(b, OP_RECALL, input, from, to);
    return to;
}

static void emit_forward(struct builder *b, int visit, int micro)
{
    int op = b->visits[visit].first, m = micro % b->copies;
    const struct model_op *model_op = &b->model->ops[op];
    bool training = is_training(b), last = model_op->tile == model_op->tiles - 1;
    bool saves = training && op_is_body(b, op) && segment_is_kept(b, op);
    int output = forward_input(b, model_op->layer + 1, micro);
    struct program_op o = model_operation(OP_FORWARD, op, micro);
    o.mode = saves ? MODEL_TRAIN : MODEL_INFER;
    if (model_op->kind == MODEL_EMBED)
        op_reads(&o, OPERAND_TOKENS, b->program->inside.tokens);
    else
        op_reads(&o, OPERAND_INPUT, forward_input(b, model_op->layer, micro));
    if (model_op->tile > 0) op_reads(&o, OPERAND_OUTPUT, output);
    op_writes(&o, OPERAND_OUTPUT, output);
    op_writes(&o, OPERAND_SAVED, saves ? b->saved[op * b->copies + m] : b->local_saved[0]);
    op_writes(&o, OPERAND_SCRATCH, b->scratch);
    set_weights(b, &o, visit);
    builder_emit(b, &o);
    if (training && b->offload_inputs && last && layer_is_kept(b, model_op->layer + 1))
        emit_keep(b, op + 1, micro);
}

/* A head without backward: the loss, or a tile's share of it, or logits. */
static void emit_head(struct builder *b, int visit, int micro)
{
    bool logits = b->visits[visit].phase == VISIT_LOGITS;
    int op = b->visits[visit].first;
    const struct model_op *model_op = &b->model->ops[op];
    struct program_op o = model_operation(logits ? OP_LOGITS : OP_FORWARD, op, micro);
    o.mode = MODEL_INFER;
    op_reads(&o, OPERAND_INPUT, forward_input(b, model_op->layer, micro));
    op_writes(&o, OPERAND_SAVED, b->local_saved[0]);
    op_writes(&o, OPERAND_SCRATCH, b->scratch);
    if (logits) {
        op_writes(&o, OPERAND_LOGITS, b->program->inside.logits);
    } else {
        set_carry(b, &o, model_op->tile == 0);
        op_reads(&o, OPERAND_TARGETS, b->program->inside.targets);
        op_changes(&o, OPERAND_LOSS, b->program->inside.loss);
    }
    set_weights(b, &o, visit);
    builder_emit(b, &o);
}

/* A finished gradient to nvme, group by group, since groups are what is loaded again. */
static void emit_leave(struct builder *b, int unit, int from, int home)
{
    const struct partition_unit *part = &b->partition->units[unit];
    int64_t elements = b->sharded_optimizer ? part->shard : part->padded, group = b->config->group;
    size_t element = zi_dtype_bytes(b->config->gradient);
    for (int64_t first = 0; first < elements; first += group) {
        int64_t count = elements - first < group ? elements - first : group;
        struct slice to = home_slice(b, home, first, count, element);
        struct slice part_of = {from, (size_t)first * element, to.bytes, 0};
        emit_move(b, OP_STORE, unit, &part_of, &to);
    }
}

/* An fp32 sum that waits on nvme between contributions. */
static void move_sum(struct builder *b, enum program_kind kind, int unit, int from, int to,
                     size_t bytes)
{
    struct slice left = {from, 0, bytes, 0}, arrived = {to, 0, bytes, 0};
    emit_move(b, kind, unit, &left, &arrived);
}

/* Adds a contribution that has arrived at `from` to the unit's sum, and finishes the last one. */
static void emit_add(struct builder *b, int unit, int from)
{
    struct unit_gradient *g = &b->gradients[unit];
    const struct partition_unit *part = &b->partition->units[unit];
    bool first = g->seen++ == 0, last = g->seen == g->contributions;
    bool away = on_disk(b, g->sum);
    size_t bytes = (size_t)(b->sharded_gradients ? part->shard : part->padded) * sizeof(float);
    if (from == g->sum && !last) return;
    if (away && first) {
        move_sum(b, OP_STORE, unit, from, g->sum, bytes);
        return;
    }
    int sum = away ? ring_take(&b->summed[unit_class(b, unit)]) : g->sum;
    if (away) move_sum(b, OP_LOAD, unit, g->sum, sum, bytes);
    struct program_op add = builder_op(OP_ADD);
    add.unit = unit;
    add.adds = !first;
    add.last = last;
    op_reads(&add, OPERAND_CONTRIBUTION, from);
    if (sum >= 0 && from != sum) {
        if (add.adds) op_reads(&add, OPERAND_SUM, sum);
        op_writes(&add, OPERAND_SUM, sum);
    }
    int home = b->program->homes[unit].slots[TIER_GRADIENT], to = home;
    if (last && on_disk(b, home)) to = ring_take(&b->leaving[unit_class(b, unit)]);
    if (last) {
        op_writes(&add, OPERAND_GRADIENT, to);
        op_changes(&add, OPERAND_NORM, b->program->inside.norm);
    }
    builder_emit(b, &add);
    if (away && !last) move_sum(b, OP_STORE, unit, sum, g->sum, bytes);
    if (last && to != home) emit_leave(b, unit, to, home);
}

/* Takes a complete use of a unit, in accumulator `from`, to where it is added. */
static void emit_contribution(struct builder *b, int unit, int from)
{
    const struct unit_gradient *g = &b->gradients[unit];
    const struct partition_unit *part = &b->partition->units[unit];
    if (b->config->ranks > 1) {
        struct program_op reduce = builder_op(OP_REDUCE);
        reduce.unit = unit;
        op_changes(&reduce, OPERAND_CONTRIBUTION, from);
        if (b->sharded_gradients) {
            bool into_sum = b->local_gradient && g->sum >= 0 && g->seen == 0 && !on_disk(b, g->sum);
            from = into_sum ? g->sum : ring_take(&b->reduced[unit_class(b, unit)]);
            op_writes(&reduce, OPERAND_SHARD, from);
        }
        op_writes(&reduce, OPERAND_SCRATCH, b->reduce_scratch);
        builder_emit(b, &reduce);
    }
    if (!b->local_gradient) {
        size_t bytes = (size_t)(b->sharded_gradients ? part->shard : part->padded) * sizeof(float);
        struct slice device = {from, 0, bytes, 0};
        struct slice host = {ring_take(&b->pulled[unit_class(b, unit)]), 0, bytes, 0};
        emit_move(b, OP_PULL, unit, &device, &host);
        from = host.slot;
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
            taken->slots[j][i] = -1;
            if (!(op->differentiates >> i & 1u)) continue;
            int unit = op->units[i];
            int use = b->use[(visit->first + j) * MODEL_MAX_UNITS + i];
            int slot = b->gradients[unit].dedicated[use];
            taken->slots[j][i] = slot >= 0 ? slot : ring_take(&b->accumulator[unit_class(b, unit)]);
        }
    }
}

/* The input that backward needs after that of `micro` in a visit is recalled as early. */
static void recall_next(struct builder *b, int visit, int micro)
{
    const struct visit *v = &b->visits[visit];
    if (b->recalled.count < 2) return;
    if (micro + 1 < v->micro + v->micro_count) {
        if (op_is_body(b, v->first)) emit_recall(b, v->first, micro + 1);
        return;
    }
    const struct visit *next = v + 1;
    if (visit + 1 == b->visit_count || next->phase != VISIT_BACKWARD) return;
    if (op_is_body(b, next->first)) emit_recall(b, next->first, next->micro);
}

static int backward_input(struct builder *b, int visit, int micro)
{
    int op = b->visits[visit].first, layer = b->model->ops[op].layer;
    bool kept = layer_is_kept(b, layer);
    int slot =
        kept ? b->kept[layer * b->copies + micro % b->copies] : forward_input(b, layer, micro);
    if (!b->offload_inputs || b->status < 0) return slot;
    if (kept) slot = emit_recall(b, op, micro);
    recall_next(b, visit, micro);
    return slot;
}

static void emit_recompute(struct builder *b, int visit, int micro, int input)
{
    const struct visit *v = &b->visits[visit];
    for (int j = 0; j < v->count; j++) {
        struct program_op o = model_operation(OP_RECOMPUTE, v->first + j, micro);
        bool more = j + 1 < v->count;
        o.mode = more ? MODEL_TRAIN : MODEL_RECOMPUTE;
        op_reads(&o, OPERAND_INPUT, j == 0 ? input : b->local_input[j]);
        if (more) op_writes(&o, OPERAND_OUTPUT, b->local_input[j + 1]);
        op_writes(&o, OPERAND_SAVED, b->local_saved[j]);
        op_writes(&o, OPERAND_SCRATCH, b->scratch);
        set_weights(b, &o, visit);
        builder_emit(b, &o);
    }
}

/* What an operation's backward finds: its input, and what forward saved, or -1. */
struct backward_operands {
    int input, saved;
};

/* Backward of operation `j` of a visit, into its accumulators (-1: no gradient). */
static void emit_differentiate(struct builder *b, int visit, int micro, int j,
                               struct backward_operands found, const int gradients[MODEL_MAX_UNITS])
{
    const struct visit *v = &b->visits[visit];
    const struct model_op *op = &b->model->ops[v->first + j];
    struct program_op o = model_operation(OP_BACKWARD, v->first + j, micro);
    bool again = micro > v->micro || (!b->sharded_gradients && micro > 0);
    int stream = b->stream_gradient[micro % b->copies];
    if (op->kind != MODEL_EMBED) op_reads(&o, OPERAND_INPUT, found.input);
    op_changes(&o, OPERAND_SAVED, found.saved);
    if (op->kind != MODEL_HEAD) op_reads(&o, OPERAND_STREAM_GRADIENT, stream);
    if (op->kind != MODEL_EMBED && op->tile == 0) op_writes(&o, OPERAND_STREAM_GRADIENT, stream);
    op_writes(&o, OPERAND_SCRATCH, b->scratch);
    if (op->kind != MODEL_EMBED)
        set_carry(b, &o, op->kind != MODEL_HEAD && op->tile == op->tiles - 1);
    if (op->kind == MODEL_EMBED) op_reads(&o, OPERAND_TOKENS, b->program->inside.tokens);
    if (op->kind == MODEL_HEAD) {
        op_reads(&o, OPERAND_TARGETS, b->program->inside.targets);
        op_changes(&o, OPERAND_LOSS, b->program->inside.loss);
    }
    if (v->phase != VISIT_GRADIENT) set_weights(b, &o, visit);
    for (int i = 0; i < op->unit_count; i++) {
        if (gradients[i] < 0) continue;
        if (again) {
            op_reads(&o, OPERAND_ACCUMULATOR + i, gradients[i]);
            o.accumulate |= 1u << i;
        }
        op_writes(&o, OPERAND_ACCUMULATOR + i, gradients[i]);
    }
    builder_emit(b, &o);
    int last =
        b->sharded_gradients ? v->micro + v->micro_count - 1 : (int)b->config->micro_batches - 1;
    for (int i = 0; micro == last && i < op->unit_count; i++) {
        if (gradients[i] >= 0) emit_contribution(b, op->units[i], gradients[i]);
    }
}

static void emit_backward(struct builder *b, int visit)
{
    const struct visit *v = &b->visits[visit];
    bool body = op_is_body(b, v->first);
    bool recomputes = body && !segment_is_kept(b, v->first);
    struct visit_gradients taken;
    take_accumulators(b, v, &taken);
    for (int m = v->micro; m < v->micro + v->micro_count; m++) {
        int input = v->phase == VISIT_GRADIENT ? -1 : backward_input(b, visit, m);
        if (recomputes) emit_recompute(b, visit, m, input);
        for (int j = v->count - 1; j >= 0; j--) {
            int saved = -1;
            if (body) {
                saved =
                    recomputes ? b->local_saved[j] : b->saved[v->first * b->copies + m % b->copies];
            }
            struct backward_operands found = {j == 0 ? input : b->local_input[j], saved};
            emit_differentiate(b, visit, m, j, found, taken.slots[j]);
        }
    }
}

/* Calls `what` for each unit whose parameters a visit needs. */
static void each_unit(struct builder *b, int visit, int current,
                      void (*what)(struct builder *, int unit, int visit, int current))
{
    const struct visit *v = &b->visits[visit];
    if (v->phase == VISIT_GRADIENT || v->phase == VISIT_UPDATE) return;
    for (int j = 0; j < v->count; j++) {
        const struct model_op *op = &b->model->ops[v->first + j];
        for (int i = 0; i < op->unit_count; i++) {
            what(b, op->units[i], visit, current);
        }
    }
}

/* What nothing holds back goes all the way at once. */
static void arrive(struct builder *b, int unit, int visit, int current)
{
    if (b->pending && !b->updated[unit])
        fetch_arrive(b, unit, visit, current);
    else
        fetch_deliver(b, unit, visit, current);
}

static void deliver(struct builder *b, int unit, int visit, int current)
{
    fetch_deliver(b, unit, visit, current);
}

/* Brings a small value to where it is wanted, unless it is there. */
static void emit_value(struct builder *b, enum program_kind kind, int from, int to)
{
    if (from == to || b->status < 0) return;
    size_t bytes = b->program->slots[from].bytes;
    emit_move(b, kind, -1, &(struct slice){from, 0, bytes, 0}, &(struct slice){to, 0, bytes, 0});
}

static void emit_norm(struct builder *b)
{
    const struct program_values *out = &b->program->outside, *in = &b->program->inside;
    bool training = is_training(b);
    struct program_op norm = builder_op(OP_NORM);
    emit_value(b, OP_PULL, in->loss, out->loss);
    op_reads(&norm, OPERAND_LOSS, out->loss);
    if (training) {
        emit_value(b, OP_PULL, in->norm, out->norm);
        op_changes(&norm, OPERAND_NORM, out->norm);
    }
    builder_emit(b, &norm);
}

static void emit_fetches(struct builder *b, int visit)
{
    int ahead = update_ahead(b);
    bool disk = b->config->tier[PLACE_PARAMETERS] == ZI_TIER_NVME;
    for (int w = visit; w <= visit + b->config->prefetch && w < b->visit_count; w++) {
        each_unit(b, w, visit, arrive);
        if (b->visits[w].phase != VISIT_UPDATE) continue;
        if (disk) fetch_arrive(b, b->visits[w].first, w, visit);
        if (!b->config->deferred) update_start(b);
    }
    for (int w = visit; w <= visit + ahead && w < b->visit_count && b->pending; w++) {
        each_unit(b, w, visit, deliver);
    }
}

static void emit_update(struct builder *b, int visit)
{
    if (!b->config->deferred && !b->pending) {
        emit_norm(b);
        b->pending = true;
    }
    fetch_update(b, b->visits[visit].first, visit, visit);
}

void emit_visit(struct builder *b, int visit)
{
    const struct visit *v = &b->visits[visit];
    emit_fetches(b, visit);
    if (v->phase == VISIT_UPDATE) {
        emit_update(b, visit);
        return;
    }
    if (v->phase == VISIT_BACKWARD || v->phase == VISIT_GRADIENT) {
        emit_backward(b, visit);
        if (b->config->deferred && visit > b->first_backward)
            update_preload(b, (double)(visit - b->first_backward) /
                                  (double)(b->visit_count - b->first_backward));
        return;
    }
    for (int m = v->micro; m < v->micro + v->micro_count; m++) {
        if (v->phase == VISIT_FORWARD && v->first < b->end_body)
            emit_forward(b, visit, m);
        else
            emit_head(b, visit, m);
    }
}

static void emit_clear(struct builder *b, int slot)
{
    struct program_op clear = builder_op(OP_CLEAR);
    op_writes(&clear, OPERAND_TO, slot);
    builder_emit(b, &clear);
}

void emit_begin(struct builder *b)
{
    const struct program_values *out = &b->program->outside, *in = &b->program->inside;
    bool updates = b->pending || (is_training(b) && !b->config->deferred);
    bool losses = b->name != PROGRAM_GENERATE && b->name != PROGRAM_FLUSH_UPDATE;
    if (losses) emit_clear(b, in->loss);
    if (is_training(b)) emit_clear(b, in->norm);
    if (updates) emit_clear(b, in->checksum);
    if (b->name == PROGRAM_FLUSH_UPDATE) return;
    emit_value(b, OP_PUSH, out->tokens, in->tokens);
    if (losses) emit_value(b, OP_PUSH, out->targets, in->targets);
}

void emit_end(struct builder *b)
{
    const struct program_values *out = &b->program->outside, *in = &b->program->inside;
    bool updates = b->pending;
    if (is_training(b) && b->config->deferred) {
        update_preload(b, 1.0);
        fetch_preload(b);
    }
    if (b->name == PROGRAM_GENERATE)
        emit_value(b, OP_PULL, in->logits, out->logits);
    else if (b->name != PROGRAM_FLUSH_UPDATE && (!updates || b->config->deferred))
        emit_norm(b);
    if (!updates) return;
    struct program_op finish = builder_op(OP_FINISH);
    emit_value(b, OP_PULL, in->checksum, out->checksum);
    op_changes(&finish, OPERAND_CHECKSUM, out->checksum);
    builder_emit(b, &finish);
}
