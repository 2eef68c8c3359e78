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
#include "zero/emit.h"

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
    if (!on_disk(b, home)) return (struct slice){home, (size_t)first * element, bytes};
    return (struct slice){home + (int)(first / b->config->group), 0, bytes};
}

static enum program_lane lane_between(const struct builder *b, int from, int to)
{
    if (on_disk(b, from)) return LANE_DISK_READ;
    if (on_disk(b, to)) return LANE_DISK_WRITE;
    return b->program->slots[to].tier == ZI_TIER_DEVICE ? LANE_LINK_IN : LANE_LINK_OUT;
}

/* What nvme transfers is whole blocks; slots have room for it. */
static size_t moved_bytes(const struct builder *b, const struct slice *from, const struct slice *to)
{
    size_t bytes = from->bytes < to->bytes ? from->bytes : to->bytes, block = TIER_STORE_BLOCK;
    if (!on_disk(b, from->slot) && !on_disk(b, to->slot)) return bytes;
    return (bytes + block - 1) / block * block;
}

static void move(struct builder *b, struct program_op *op, const struct slice *from,
                 const struct slice *to)
{
    if (b->status < 0) return;
    op->lane = lane_between(b, from->slot, to->slot);
    op->bytes = moved_bytes(b, from, to);
    op_reads(op, ROLE_INPUT, from->slot);
    op_writes(op, ROLE_OUTPUT, to->slot);
    op->offsets[ROLE_INPUT] = from->offset;
    op->offsets[ROLE_OUTPUT] = to->offset;
    builder_emit(b, op);
}

void emit_move(struct builder *b, enum program_kind kind, int unit, const struct slice *from,
               const struct slice *to)
{
    struct program_op op = builder_op(kind, LANE_LINK_IN);
    op.unit = unit;
    move(b, &op, from, to);
}

/* A layer's input, from slot to slot. */
static void emit_input_move(struct builder *b, enum program_kind kind, const int which[2],
                            const int slots[2])
{
    struct program_op op = builder_op(kind, LANE_LINK_IN);
    if (b->status < 0) return;
    op.op = which[0];
    op.micro = which[1];
    struct slice from = {slots[0], 0, b->program->slots[slots[0]].bytes};
    struct slice to = {slots[1], 0, b->program->slots[slots[1]].bytes};
    move(b, &op, &from, &to);
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
        op_reads(o, ROLE_WEIGHT + i, fetch_deliver(b, op->units[i], visit, visit));
    }
}

/* What tiles of a layer hand to each other; `first` overwrites it. */
static void set_carry(struct builder *b, struct program_op *o, bool first)
{
    if (b->model->ops[o->op].tiles == 1) return;
    int slot = b->carry[o->micro % b->copies];
    if (!first) op_reads(o, ROLE_CARRY, slot);
    op_writes(o, ROLE_CARRY, slot);
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

/* Takes the input of a layer from the stream to its tier, through host memory where the disk cannot
 * reach the device's. */
static void emit_keep(struct builder *b, int op, int micro)
{
    int layer = b->model->ops[op].layer;
    int home = b->kept[layer * b->copies + micro % b->copies];
    int from = forward_input(b, layer, micro);
    const int which[2] = {op, micro};
    if (b->input_staging.count > 0) {
        int host = ring_take(&b->input_staging);
        emit_input_move(b, OP_KEEP, which, (int[]){from, host});
        from = host;
    }
    emit_input_move(b, OP_KEEP, which, (int[]){from, home});
}

/* And back; `key` tells the inputs apart, so that the tiles of a layer share one recall. */
static int emit_recall(struct builder *b, int op, int micro)
{
    const int which[2] = {op, micro};
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
        emit_input_move(b, OP_RECALL, which, (int[]){from, host});
        from = host;
    }
    emit_input_move(b, OP_RECALL, which, (int[]){from, to});
    return to;
}

static void emit_forward(struct builder *b, int visit, int micro)
{
    int op = b->visits[visit].first, m = micro % b->copies;
    const struct model_op *model_op = &b->model->ops[op];
    bool training = is_training(b), last = model_op->tile == model_op->tiles - 1;
    bool saves = training && op_is_body(b, op) && segment_is_kept(b, op);
    int output = forward_input(b, model_op->layer + 1, micro);
    struct program_op o = compute_op(b, OP_FORWARD, op, micro);
    o.mode = saves ? MODEL_TRAIN : MODEL_INFER;
    if (model_op->kind == MODEL_EMBED)
        op_reads(&o, ROLE_TOKENS, b->program->inside.tokens);
    else
        op_reads(&o, ROLE_INPUT, forward_input(b, model_op->layer, micro));
    if (model_op->tile > 0) op_reads(&o, ROLE_OUTPUT, output);
    op_writes(&o, ROLE_OUTPUT, output);
    op_writes(&o, ROLE_SAVED, saves ? b->saved[op * b->copies + m] : b->local_saved[0]);
    op_writes(&o, ROLE_SCRATCH, b->scratch);
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
    struct program_op o = compute_op(b, logits ? OP_LOGITS : OP_FORWARD, op, micro);
    o.mode = MODEL_INFER;
    op_reads(&o, ROLE_INPUT, forward_input(b, model_op->layer, micro));
    op_writes(&o, ROLE_SAVED, b->local_saved[0]);
    op_writes(&o, ROLE_SCRATCH, b->scratch);
    if (logits) {
        op_writes(&o, ROLE_OUTPUT, b->program->inside.logits);
    } else {
        set_carry(b, &o, model_op->tile == 0);
        op_reads(&o, ROLE_TOKENS, b->program->inside.targets);
        op_reads(&o, ROLE_RESULTS, b->program->inside.loss);
        op_writes(&o, ROLE_RESULTS, b->program->inside.loss);
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
        struct slice part_of = {from, (size_t)first * element, to.bytes};
        emit_move(b, OP_STORE, unit, &part_of, &to);
    }
}

/* An fp32 sum that waits on nvme between contributions. */
static void move_sum(struct builder *b, enum program_kind kind, int unit, const int slots[2],
                     size_t bytes)
{
    struct slice from = {slots[0], 0, bytes}, to = {slots[1], 0, bytes};
    emit_move(b, kind, unit, &from, &to);
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
        move_sum(b, OP_STORE, unit, (int[]){from, g->sum}, bytes);
        return;
    }
    int sum = away ? ring_take(&b->summed[unit_class(b, unit)]) : g->sum;
    if (away) move_sum(b, OP_LOAD, unit, (int[]){g->sum, sum}, bytes);
    enum program_lane lane = LANE_COMPUTE;
    if (!b->local_gradient || (b->config->unified && b->config->ranks > 1)) lane = LANE_HOST;
    struct program_op add = builder_op(OP_ADD, lane);
    add.unit = unit;
    add.mode = last;
    add.accumulate = !first;
    add.bytes = bytes;
    op_reads(&add, ROLE_INPUT, from);
    if (sum >= 0) {
        if (!first) op_reads(&add, ROLE_OUTPUT, sum);
        if (from != sum)
            op_writes(&add, ROLE_OUTPUT, sum);
        else
            op_reads(&add, ROLE_OUTPUT, sum);
    }
    int home = b->program->homes[unit].gradient, to = home;
    if (last && on_disk(b, home)) to = ring_take(&b->leaving[unit_class(b, unit)]);
    if (last) {
        op_writes(&add, ROLE_GRADIENT, to);
        op_reads(&add, ROLE_RESULTS, b->program->inside.norm);
        op_writes(&add, ROLE_RESULTS, b->program->inside.norm);
    }
    builder_emit(b, &add);
    if (away && !last) move_sum(b, OP_STORE, unit, (int[]){sum, g->sum}, bytes);
    if (last && to != home) emit_leave(b, unit, to, home);
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
            bool into_sum = b->local_gradient && g->sum >= 0 && g->seen == 0 && !on_disk(b, g->sum);
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
    if (op->kind != MODEL_EMBED && op->tile == 0) op_writes(&o, ROLE_STREAM_GRADIENT, stream);
    op_writes(&o, ROLE_SCRATCH, b->scratch);
    if (op->kind != MODEL_EMBED)
        set_carry(b, &o, op->kind != MODEL_HEAD && op->tile == op->tiles - 1);
    if (op->kind == MODEL_EMBED) op_reads(&o, ROLE_TOKENS, b->program->inside.tokens);
    if (op->kind == MODEL_HEAD) {
        op_reads(&o, ROLE_TOKENS, b->program->inside.targets);
        op_reads(&o, ROLE_RESULTS, b->program->inside.loss);
        op_writes(&o, ROLE_RESULTS, b->program->inside.loss);
    }
    if (v->phase != VISIT_GRADIENT) set_weights(b, &o, visit);
    for (int i = 0; i < op->unit_count; i++) {
        if (gradients[i] < 0) continue;
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
            int operands[2] = {j == 0 ? input : b->local_input[j], saved};
            emit_differentiate(b, visit, m, operands, taken.slots[j], j);
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
    emit_move(b, kind, -1, &(struct slice){from, 0, bytes}, &(struct slice){to, 0, bytes});
}

/* Lane of what the host decides from values of all ranks. */
static enum program_lane deciding_lane(const struct builder *b)
{
    if (b->config->ranks > 1) return LANE_COMM;
    return b->config->unified ? LANE_COMPUTE : LANE_HOST;
}

static void emit_norm(struct builder *b)
{
    const struct program_values *out = &b->program->outside, *in = &b->program->inside;
    bool training = is_training(b);
    struct program_op norm = builder_op(OP_NORM, deciding_lane(b));
    emit_value(b, OP_PULL, in->loss, out->loss);
    op_reads(&norm, ROLE_INPUT, out->loss);
    if (training) {
        emit_value(b, OP_PULL, in->norm, out->norm);
        op_reads(&norm, ROLE_RESULTS, out->norm);
        op_writes(&norm, ROLE_RESULTS, out->norm);
    }
    builder_emit(b, &norm);
}

static void emit_fetches(struct builder *b, int visit)
{
    int ahead = update_ahead(b);
    bool disk = b->config->tier[TIER_PARAMETER] == ZI_TIER_NVME;
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

void emit_begin(struct builder *b)
{
    const struct program_values *out = &b->program->outside, *in = &b->program->inside;
    if (b->name == PROGRAM_FLUSH_UPDATE) return;
    emit_value(b, OP_PUSH, out->tokens, in->tokens);
    if (b->name != PROGRAM_GENERATE) emit_value(b, OP_PUSH, out->targets, in->targets);
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
    struct program_op finish = builder_op(OP_FINISH, deciding_lane(b));
    emit_value(b, OP_PULL, in->checksum, out->checksum);
    op_reads(&finish, ROLE_INPUT, out->checksum);
    op_writes(&finish, ROLE_INPUT, out->checksum);
    builder_emit(b, &finish);
}
