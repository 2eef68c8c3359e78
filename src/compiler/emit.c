/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the arithmetic of a visit. */
#include "compiler/emit.h"
#include "compiler/compile.h"
#include "compiler/value.h"

static void set_weights(struct builder *b, struct program_op *o, int visit)
{
    const struct model_op *op = &b->model->ops[o->op];
    for (int i = 0; i < op->unit_count; i++) {
        op_reads(o, OPERAND_WEIGHT + i, fetch_deliver(b, op->units[i], visit, visit));
    }
}

static struct program_op model_operation(const struct builder *b, enum program_kind kind, int op,
                                         int micro)
{
    struct program_op o = builder_op(kind);
    o.op = op;
    o.micro = micro;
    o.drops = list_is_training(b) && b->model->settings.adapter.dropout > 0;
    return o;
}

/* Embedding and attention ask where in its text a token is. */
static void set_positions(const struct builder *b, struct program_op *o)
{
    if (!value_has_positions(b)) return;
    enum model_op_kind kind = b->model->ops[o->op].kind;
    if (kind == MODEL_EMBED || kind == MODEL_ATTENTION)
        op_reads(o, OPERAND_POSITIONS, b->program->inside.positions);
}

static void emit_forward(struct builder *b, int visit, int micro)
{
    int op = b->schedule.visits[visit].first;
    const struct model_op *model_op = &b->model->ops[op];
    bool last = model_op->tile == model_op->tiles - 1;
    int output = activation_forward_input(b, model_op->layer + 1, micro);
    struct program_op o = model_operation(b, OP_FORWARD, op, micro);
    o.mode = activation_is_saved(b, op) ? MODEL_TRAIN : MODEL_INFER;
    if (model_op->kind == MODEL_EMBED)
        op_reads(&o, OPERAND_TOKENS, b->program->inside.tokens);
    else
        op_reads(&o, OPERAND_INPUT, activation_forward_input(b, model_op->layer, micro));
    if (model_op->tile > 0) op_reads(&o, OPERAND_OUTPUT, output);
    op_writes(&o, OPERAND_OUTPUT, output);
    int saved = activation_forward_saved(b, op, micro);
    op_writes(&o, OPERAND_SAVED, saved);
    op_writes(&o, OPERAND_SCRATCH, b->activations.scratch);
    set_positions(b, &o);
    set_weights(b, &o, visit);
    cache_take(b, &o);
    builder_emit(b, &o);
    cache_give(b, &o);
    activation_keep_saved(b, op, micro, saved);
    if (list_is_training(b) && last) activation_keep(b, op + 1, micro);
}

/* A head without backward: the loss, or a tile's share of it, or logits. */
static void emit_head(struct builder *b, int visit, int micro)
{
    bool logits = b->schedule.visits[visit].phase == VISIT_LOGITS;
    int op = b->schedule.visits[visit].first;
    const struct model_op *model_op = &b->model->ops[op];
    struct program_op o = model_operation(b, logits ? OP_LOGITS : OP_FORWARD, op, micro);
    o.mode = MODEL_INFER;
    op_reads(&o, OPERAND_INPUT, activation_forward_input(b, model_op->layer, micro));
    op_writes(&o, OPERAND_SAVED, b->activations.recomputed_saved[0]);
    op_writes(&o, OPERAND_SCRATCH, b->activations.scratch);
    if (logits) {
        op_writes(&o, OPERAND_LOGITS, b->program->inside.logits);
    } else {
        activation_set_carry(b, &o, model_op->tile == 0);
        op_reads(&o, OPERAND_TARGETS, b->program->inside.targets);
        op_changes(&o, OPERAND_LOSS, b->program->inside.loss);
    }
    set_weights(b, &o, visit);
    cache_take(b, &o);
    builder_emit(b, &o);
}

static void emit_recompute(struct builder *b, int visit, int micro, int input)
{
    const struct visit *v = &b->schedule.visits[visit];
    const struct activations *a = &b->activations;
    for (int j = 0; j < v->count; j++) {
        struct program_op o = model_operation(b, OP_RECOMPUTE, v->first + j, micro);
        bool more = j + 1 < v->count;
        o.mode = more ? MODEL_TRAIN : MODEL_RECOMPUTE;
        op_reads(&o, OPERAND_INPUT, j == 0 ? input : a->recomputed_inputs[j]);
        if (more) op_writes(&o, OPERAND_OUTPUT, a->recomputed_inputs[j + 1]);
        op_writes(&o, OPERAND_SAVED, a->recomputed_saved[j]);
        op_writes(&o, OPERAND_SCRATCH, b->activations.scratch);
        set_positions(b, &o);
        set_weights(b, &o, visit);
        builder_emit(b, &o);
    }
}

/* What an operation's backward finds: its input, and what forward saved, or -1. */
struct backward_operands {
    int input, saved;
};

/* Where backward leaves the gradients of an operation's units; `again` adds to what is there. */
static void set_accumulators(const struct builder *b, struct program_op *o, const int *gradients,
                             bool again)
{
    for (int i = 0; i < b->model->ops[o->op].unit_count; i++) {
        if (gradients[i] < 0) continue;
        if (again) {
            op_reads(o, OPERAND_ACCUMULATOR + i, gradients[i]);
            o->accumulate |= 1u << i;
        }
        op_writes(o, OPERAND_ACCUMULATOR + i, gradients[i]);
    }
}

/* Backward of operation `j` of a visit, into its accumulators (-1: no gradient). */
static void emit_differentiate(struct builder *b, int visit, int micro, int j,
                               struct backward_operands found, const int gradients[MODEL_MAX_UNITS])
{
    const struct visit *v = &b->schedule.visits[visit];
    const struct model_op *op = &b->model->ops[v->first + j];
    struct program_op o = model_operation(b, OP_BACKWARD, v->first + j, micro);
    bool again = micro > v->micro || (!b->derived.sharded_gradients && micro > 0);
    int stream = b->activations.stream_gradients[micro % b->derived.copies];
    if (op->kind != MODEL_EMBED) op_reads(&o, OPERAND_INPUT, found.input);
    op_changes(&o, OPERAND_SAVED, found.saved);
    if (op->kind != MODEL_HEAD) op_reads(&o, OPERAND_STREAM_GRADIENT, stream);
    if (op->kind != MODEL_EMBED && op->tile == 0) op_writes(&o, OPERAND_STREAM_GRADIENT, stream);
    op_writes(&o, OPERAND_SCRATCH, b->activations.scratch);
    if (op->kind != MODEL_EMBED)
        activation_set_carry(b, &o, op->kind != MODEL_HEAD && op->tile == op->tiles - 1);
    if (op->kind == MODEL_EMBED) op_reads(&o, OPERAND_TOKENS, b->program->inside.tokens);
    set_positions(b, &o);
    if (op->kind == MODEL_HEAD) {
        op_reads(&o, OPERAND_TARGETS, b->program->inside.targets);
        op_changes(&o, OPERAND_LOSS, b->program->inside.loss);
    }
    if (v->phase != VISIT_GRADIENT) set_weights(b, &o, visit);
    set_accumulators(b, &o, gradients, again);
    builder_emit(b, &o);
    int last = b->derived.sharded_gradients ? v->micro + v->micro_count - 1
                                            : (int)b->config->micro_batches - 1;
    for (int i = 0; micro == last && i < op->unit_count; i++) {
        if (gradients[i] >= 0) gradient_contribute(b, op->units[i], gradients[i]);
    }
}

static void emit_backward(struct builder *b, int visit)
{
    const struct visit *v = &b->schedule.visits[visit];
    bool body = op_is_body(b, v->first);
    bool recomputes = body && !segment_is_kept(b, v->first);
    const struct activations *a = &b->activations;
    int lowest = body ? b->derived.lowest : 0;
    struct visit_gradients taken;
    gradient_take(b, v, &taken);
    for (int m = v->micro; m < v->micro + v->micro_count; m++) {
        int input = v->phase == VISIT_GRADIENT ? -1 : activation_backward_input(b, visit, m);
        if (recomputes) emit_recompute(b, visit, m, input);
        for (int j = v->count - 1; j >= 0 && v->first + j >= lowest; j--) {
            int saved = -1;
            if (body)
                saved =
                    recomputes ? a->recomputed_saved[j] : activation_backward_saved(b, v->first, m);
            struct backward_operands found = {j == 0 ? input : a->recomputed_inputs[j], saved};
            emit_differentiate(b, visit, m, j, found, taken.slots[j]);
        }
    }
}

void emit_visit(struct builder *b, int visit)
{
    const struct visit *v = &b->schedule.visits[visit];
    fetch_ahead(b, visit);
    if (v->phase == VISIT_UPDATE) {
        update_visit(b, visit);
        return;
    }
    if (v->phase == VISIT_BACKWARD || v->phase == VISIT_GRADIENT) {
        emit_backward(b, visit);
        update_after(b, visit);
        return;
    }
    for (int m = v->micro; m < v->micro + v->micro_count; m++) {
        if (v->phase == VISIT_FORWARD && v->first < b->derived.end_body)
            emit_forward(b, visit, m);
        else
            emit_head(b, visit, m);
    }
    update_after(b, visit);
}
