/* SPDX-License-Identifier: Apache-2.0 */
/* The small values that enter and leave a program: tokens, targets, perhaps positions, and sums of a
 * step. */
#include "compiler/value.h"
#include "compiler/compile.h"

/* A small value: its slot in host memory, and the one in the memory of the operations that read or
 * write it, which is the same where they reach host memory. */
struct value {
    const char *name;
    int *outside, *inside;
    size_t bytes;
    enum zi_tier tier;
    /* It is there before the program starts. */
    bool enters;
};

static void lay_value(struct builder *b, const struct value *v)
{
    *v->outside = *v->inside = builder_slot(b, ZI_TIER_HOST, PURPOSE_WORK, v->bytes, "%s", v->name);
    if (v->tier == ZI_TIER_DEVICE && !b->config->unified)
        *v->inside =
            builder_slot(b, ZI_TIER_DEVICE, PURPOSE_WORK, v->bytes, "%s on the device", v->name);
    if (b->status >= 0) b->program->slots[*v->outside].lasting = v->enters;
}

void value_lay(struct builder *b)
{
    const struct zero_config *c = b->config;
    struct program_values *out = &b->program->outside, *in = &b->program->inside;
    size_t ids = (size_t)(c->micro_batches * c->micro * c->tokens) * sizeof(int32_t);
    size_t logits = (size_t)b->model->settings.vocabulary * sizeof(float);
    size_t losses = c->training ? 0 : (size_t)c->micro * sizeof(double);
    enum zi_tier norm = b->derived.local_gradient ? ZI_TIER_DEVICE : ZI_TIER_HOST;
    const struct value values[] = {
        {"tokens", &out->tokens, &in->tokens, ids, ZI_TIER_DEVICE, true},
        {"targets", &out->targets, &in->targets, ids, ZI_TIER_DEVICE, true},
        {"loss", &out->loss, &in->loss, losses > 64 ? losses : 64, ZI_TIER_DEVICE, false},
        {"norm", &out->norm, &in->norm, 64, norm, false},
        {"checksum", &out->checksum, &in->checksum, 64, b->derived.optimizer_tier, false},
        {"logits", &out->logits, &in->logits, c->cache > 0 ? logits * (size_t)c->micro : logits,
         ZI_TIER_DEVICE, false},
    };
    const struct value positions = {"positions", &out->positions, &in->positions,
                                    ids,         ZI_TIER_DEVICE,  true};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        lay_value(b, &values[i]);
    }
    out->positions = in->positions = -1;
    if (c->packed || c->cache > 0) lay_value(b, &positions);
}

/* Brings a small value to where it is wanted, unless it is there. */
static void emit_value(struct builder *b, enum program_kind kind, int from, int to)
{
    if (from == to || b->status < 0) return;
    size_t bytes = b->program->slots[from].bytes;
    emit_move(b, kind, -1, &(struct slice){from, 0, bytes, 0}, &(struct slice){to, 0, bytes, 0});
}

void value_norm(struct builder *b)
{
    const struct program_values *out = &b->program->outside, *in = &b->program->inside;
    bool training = list_is_training(b);
    struct program_op norm = builder_op(OP_NORM);
    emit_value(b, OP_PULL, in->loss, out->loss);
    op_reads(&norm, OPERAND_LOSS, out->loss);
    if (training) {
        emit_value(b, OP_PULL, in->norm, out->norm);
        op_changes(&norm, OPERAND_NORM, out->norm);
    }
    builder_emit(b, &norm);
}

static void emit_clear(struct builder *b, int slot)
{
    struct program_op clear = builder_op(OP_CLEAR);
    op_writes(&clear, OPERAND_TO, slot);
    builder_emit(b, &clear);
}

bool value_has_positions(const struct builder *b)
{
    return b->config->packed || program_row(b->writer.name)->caches;
}

void value_begin(struct builder *b)
{
    const struct program_values *out = &b->program->outside, *in = &b->program->inside;
    const struct program_row *row = program_row(b->writer.name);
    bool updates =
        b->update.pending || row->speculates || (list_is_training(b) && !b->config->deferred);
    bool losses = row->losses;
    if (losses) emit_clear(b, in->loss);
    if (list_is_training(b)) emit_clear(b, in->norm);
    if (updates) emit_clear(b, in->checksum);
    if (row->flushes) return;
    emit_value(b, OP_PUSH, out->tokens, in->tokens);
    if (value_has_positions(b)) emit_value(b, OP_PUSH, out->positions, in->positions);
    if (losses) emit_value(b, OP_PUSH, out->targets, in->targets);
}

void value_end(struct builder *b)
{
    const struct program_values *out = &b->program->outside, *in = &b->program->inside;
    bool updates = b->update.pending;
    const struct program_row *row = program_row(b->writer.name);
    if (row->logits)
        emit_value(b, OP_PULL, in->logits, out->logits);
    else if (row->each)
        emit_value(b, OP_PULL, in->loss, out->loss);
    else if (!row->flushes && (!updates || b->config->deferred))
        value_norm(b);
    if (!updates && !row->speculates) return;
    struct program_op finish = builder_op(OP_FINISH);
    emit_value(b, OP_PULL, in->checksum, out->checksum);
    op_changes(&finish, OPERAND_CHECKSUM, out->checksum);
    builder_emit(b, &finish);
}
