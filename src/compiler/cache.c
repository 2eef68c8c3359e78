/* SPDX-License-Identifier: Apache-2.0 */
/* The cache of keys and values, for generation: a slot per operation of attention that holds them
 * from run to run of a program. On the device operations work in the slots themselves. On the host
 * they come to the device before an operation and go back behind it, two at a time, so that one
 * moves while the other is worked on. */
#include "compiler/cache.h"

#include "compiler/compile.h"

/* Places on the device for caches of the host. */
enum { PLACES = 2 };

static size_t cache_bytes(const struct builder *b, int op)
{
    return model_cache_bytes(b->model, op, b->config->micro, b->config->cache);
}

void cache_lay(struct builder *b)
{
    const struct zero_config *c = b->config;
    struct caches *caches = &b->caches;
    size_t most = 0;
    caches->slots = builder_numbers(b, b->model->op_count);
    if (c->cache == 0 || b->status < 0) return;
    for (int op = 0; op < b->model->op_count; op++) {
        size_t bytes = cache_bytes(b, op);
        if (bytes == 0) continue;
        if (bytes > most) most = bytes;
        caches->slots[op] = builder_slot(b, c->cache_tier, PURPOSE_ACTIVATION, bytes, "cache %.40s",
                                         b->model->ops[op].name);
        if (b->status >= 0) b->program->slots[caches->slots[op]].lasting = true;
    }
    struct ring_slot place = {ZI_TIER_DEVICE, PURPOSE_WORK, most, "cache"};
    if (c->cache_tier != ZI_TIER_DEVICE)
        ring_lay(b, &caches->ring, c->prefetch > 0 ? PLACES : 1, &place);
}

static void emit_cache_move(struct builder *b, enum program_kind kind, int op, int from, int to)
{
    struct program_op move = builder_op(kind);
    size_t bytes = cache_bytes(b, op);
    move.op = op;
    builder_move(b, &move, &(struct slice){from, 0, bytes, 0}, &(struct slice){to, 0, bytes, 0});
}

void cache_take(struct builder *b, struct program_op *op)
{
    int home = b->status < 0 ? -1 : b->caches.slots[op->op];
    if (!program_row(b->writer.name)->caches) return;
    if (b->writer.name == PROGRAM_DECODE) op->tokens = 1;
    if (home < 0) return;
    int place = home;
    if (b->caches.ring.count > 0) {
        place = ring_take(&b->caches.ring);
        emit_cache_move(b, OP_RECALL, op->op, home, place);
    }
    op_changes(op, OPERAND_CACHE, place);
}

void cache_give(struct builder *b, const struct program_op *op)
{
    if (op->slots[OPERAND_CACHE] < 0 || b->caches.ring.count == 0) return;
    emit_cache_move(b, OP_KEEP, op->op, op->slots[OPERAND_CACHE], b->caches.slots[op->op]);
}
