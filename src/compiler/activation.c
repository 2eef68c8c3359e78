/* SPDX-License-Identifier: Apache-2.0 */
/* What passes between operations of the model, and what is kept of it for backward.
 *
 * The stream that enters a kept layer is made where it is kept, or, where that is another tier,
 * written there behind the operation that makes it and recalled before backward needs it. What is
 * inside of a segment is kept in slots of its own, on the device or, behind the operation that has
 * made it, on the host, or recomputed into slots that all segments share. */
#include <string.h>

#include "compiler/compile.h"

/* Streams of so many layers wait for the disk, whose queue may be full of the optimizer's states.
 */
#define STREAMS_TO_DISK 6

/* The largest buffers that any operation asks for. */
static struct model_sizes most_sizes(const struct builder *b)
{
    struct model_sizes most = {.scratch = 64, .saved = 64};
    for (int op = 0; op < b->model->op_count; op++) {
        struct model_sizes sizes;
        model_op_sizes(b->model, op, b->config->micro, b->config->tokens, &sizes);
        if (sizes.stream > most.stream) most.stream = sizes.stream;
        if (sizes.scratch > most.scratch) most.scratch = sizes.scratch;
        if (sizes.saved > most.saved) most.saved = sizes.saved;
        if (sizes.carry > most.carry) most.carry = sizes.carry;
    }
    return most;
}

static void take_memory(struct builder *b)
{
    struct activations *a = &b->activations;
    int copies = b->derived.copies;
    bool disk = b->config->tier[PLACE_ACTIVATIONS] == ZI_TIER_NVME;
    a->depth = !b->derived.offload_inputs ? 2 : disk ? STREAMS_TO_DISK : 3;
    a->streams = builder_numbers(b, a->depth * copies);
    a->kept = builder_numbers(b, b->model->layer_count * copies);
    a->saved = builder_numbers(b, b->model->op_count * copies);
    a->recomputed_saved = builder_numbers(b, b->config->interval);
    a->recomputed_inputs = builder_numbers(b, b->config->interval);
    a->stream_gradients = builder_numbers(b, copies);
    a->carries = builder_numbers(b, copies);
}

static int lay_work_slot(struct builder *b, size_t bytes, const char *name, int number)
{
    return builder_slot(b, ZI_TIER_DEVICE, PURPOSE_WORK, bytes, "%s %d", name, number);
}

static bool some_are_recomputed(const struct builder *b)
{
    const struct program *p = b->program;
    for (int kind = 0; kind < LAYER_KIND_COUNT; kind++) {
        if (p->kept_segments[kind] < p->segment_count[kind]) return true;
    }
    return false;
}

void activation_lay_work(struct builder *b)
{
    const struct zero_config *c = b->config;
    struct activations *a = &b->activations;
    struct model_sizes most = most_sizes(b);
    int copies = b->derived.copies;
    bool recomputes = c->training && some_are_recomputed(b);
    take_memory(b);
    if (b->status < 0) return;
    for (int i = 0; i < a->depth * copies; i++) {
        a->streams[i] = lay_work_slot(b, most.stream, "stream", i);
    }
    for (int i = 0; i < copies; i++) {
        if (c->training)
            a->stream_gradients[i] = lay_work_slot(b, most.stream, "stream gradient", i);
        if (most.carry > 0) a->carries[i] = lay_work_slot(b, most.carry, "carry", i);
    }
    for (int j = 0; j < (recomputes ? c->interval : 1); j++) {
        a->recomputed_saved[j] = lay_work_slot(b, most.saved, "saved", j);
        if (j > 0) a->recomputed_inputs[j] = lay_work_slot(b, most.stream, "input", j);
    }
    a->scratch = builder_slot(b, ZI_TIER_DEVICE, PURPOSE_WORK, most.scratch, "scratch");
}

static int lay_kept_input(struct builder *b, int layer, int micro, size_t bytes)
{
    const struct zero_config *c = b->config;
    enum zi_tier tier = c->tier[PLACE_ACTIVATIONS];
    char name[48];
    snprintf(name, sizeof name, "%d.%d", layer, micro);
    if (tier == ZI_TIER_NVME) {
        return builder_array(b, &(struct builder_array){"activation", name, PURPOSE_ACTIVATION,
                                                        c->compute, bytes, bytes});
    }
    return builder_slot(b, tier, PURPOSE_ACTIVATION, bytes, "input of layer %s", name);
}

/* Whether what an operation saves waits on the host. */
static bool is_offloaded(const struct builder *b, int op)
{
    enum layer_kind kind = b->model->ops[op].kind == MODEL_MLP ? LAYER_MLP : LAYER_ATTENTION;
    return op_is_body(b, op) && segment_is_kept(b, op) && b->config->offloaded[kind];
}

void activation_lay_kept(struct builder *b)
{
    const struct zero_config *c = b->config;
    struct activations *a = &b->activations;
    int copies = b->derived.copies;
    bool near_host = c->unified && c->tier[PLACE_ACTIVATIONS] == ZI_TIER_HOST;
    enum zi_tier near = near_host ? ZI_TIER_HOST : ZI_TIER_DEVICE;
    struct model_sizes sizes;
    if (b->status < 0) return;
    for (int op = b->derived.first_body; op < b->derived.end_body; op++) {
        const struct model_op *o = &b->model->ops[op];
        model_op_sizes(b->model, op, c->micro, c->tokens, &sizes);
        for (int m = 0; m < copies; m++) {
            if (layer_is_kept(b, o->layer) && o->tile == 0)
                a->kept[o->layer * copies + m] = lay_kept_input(b, o->layer, m, sizes.stream);
            if (segment_is_kept(b, op))
                a->saved[op * copies + m] =
                    builder_slot(b, is_offloaded(b, op) ? ZI_TIER_HOST : near, PURPOSE_ACTIVATION,
                                 sizes.saved, "saved %.32s %d", o->name, m);
        }
    }
}

static void lay_input_rings(struct builder *b)
{
    const struct zero_config *c = b->config;
    int depth = c->prefetch > 0 ? 2 : 1;
    size_t stream = most_sizes(b).stream;
    struct ring_slot recalled = {ZI_TIER_DEVICE, PURPOSE_WORK, stream, "recalled"};
    struct ring_slot staging = {ZI_TIER_HOST, PURPOSE_WORK, stream, "input staging"};
    if (!b->derived.offload_inputs) return;
    ring_lay(b, &b->activations.recalled.ring, depth, &recalled);
    if (c->unified || c->tier[PLACE_ACTIVATIONS] != ZI_TIER_NVME) return;
    ring_lay(b, &b->activations.staging, 2 * depth, &staging);
}

void activation_lay_rings(struct builder *b)
{
    const struct zero_config *c = b->config;
    int depth = c->prefetch > 0 ? 2 : 1;
    size_t saved = 0;
    lay_input_rings(b);
    for (int op = 0; op < b->model->op_count; op++) {
        struct model_sizes sizes;
        if (!is_offloaded(b, op)) continue;
        model_op_sizes(b->model, op, c->micro, c->tokens, &sizes);
        if (sizes.saved > saved) saved = sizes.saved;
    }
    struct ring_slot leaving = {ZI_TIER_DEVICE, PURPOSE_WORK, saved, "leaving"};
    struct ring_slot recalled = {ZI_TIER_DEVICE, PURPOSE_WORK, saved, "recalled inside"};
    if (saved == 0) return;
    ring_lay(b, &b->activations.leaving, depth, &leaving);
    ring_lay(b, &b->activations.recalled_inside.ring, depth, &recalled);
}

void activation_begin(struct builder *b)
{
    struct activations *a = &b->activations;
    memset(a->recalled.keys, 0xff, sizeof a->recalled.keys);
    memset(a->recalled_inside.keys, 0xff, sizeof a->recalled_inside.keys);
}

/* Slot of a layer's kept input, in its tier. */
static int kept_input(const struct builder *b, int layer, int micro)
{
    int copies = b->derived.copies;
    return b->activations.kept[layer * copies + micro % copies];
}

int activation_forward_input(const struct builder *b, int layer, int micro)
{
    const struct activations *a = &b->activations;
    int copies = b->derived.copies;
    if (list_is_training(b) && layer_is_kept(b, layer) && !b->derived.offload_inputs)
        return kept_input(b, layer, micro);
    return a->streams[layer % a->depth * copies + micro % copies];
}

/* What enters an operation of the model, or is inside of it, for one micro-batch. */
struct model_part {
    int op, micro;
};

/* Takes it from slot to slot. */
static void emit_part_move(struct builder *b, enum program_kind kind, struct model_part part,
                           int from, int to)
{
    struct program_op op = builder_op(kind);
    if (b->status < 0) return;
    op.op = part.op;
    op.micro = part.micro;
    struct slice left = {from, 0, b->program->slots[from].bytes, 0};
    struct slice arrived = {to, 0, b->program->slots[to].bytes, 0};
    builder_move(b, &op, &left, &arrived);
}

/* The same, through host memory where the disk cannot reach the device's. */
static void emit_input_pass(struct builder *b, enum program_kind kind, struct model_part input,
                            int from, int to)
{
    struct ring *staging = &b->activations.staging;
    if (staging->count > 0) {
        int host = ring_take(staging);
        emit_part_move(b, kind, input, from, host);
        from = host;
    }
    emit_part_move(b, kind, input, from, to);
}

void activation_keep(struct builder *b, int op, int micro)
{
    int layer = b->model->ops[op].layer;
    if (!b->derived.offload_inputs || !layer_is_kept(b, layer)) return;
    emit_input_pass(b, OP_KEEP, (struct model_part){op, micro},
                    activation_forward_input(b, layer, micro), kept_input(b, layer, micro));
}

/* The slot in which a part is back, or -1: *slot is the one that it comes back to. */
static int find_recalled(struct recalled *recalled, int64_t key, int *slot)
{
    struct ring *ring = &recalled->ring;
    for (int i = 0; i < ring->count; i++) {
        if (recalled->keys[i] == key) return ring->slots[i];
    }
    recalled->keys[ring->next] = key;
    *slot = ring_take(ring);
    return -1;
}

/* Brings a kept input back; tiles of a layer share one recall. */
static int emit_recall(struct builder *b, int op, int micro)
{
    int layer = b->model->ops[op].layer, to = -1;
    int64_t key = layer * b->config->micro_batches + micro;
    int found = find_recalled(&b->activations.recalled, key, &to);
    if (found >= 0) return found;
    emit_input_pass(b, OP_RECALL, (struct model_part){op, micro}, kept_input(b, layer, micro), to);
    return to;
}

/* Slot of what an operation saves, where it waits for backward. */
static int kept_inside(const struct builder *b, int op, int micro)
{
    int copies = b->derived.copies;
    return b->activations.saved[op * copies + micro % copies];
}

int activation_backward_saved(struct builder *b, int op, int micro)
{
    int to = -1;
    if (!is_offloaded(b, op) || b->status < 0) return kept_inside(b, op, micro);
    int64_t key = op * b->config->micro_batches + micro;
    int found = find_recalled(&b->activations.recalled_inside, key, &to);
    if (found >= 0) return found;
    emit_part_move(b, OP_RECALL, (struct model_part){op, micro}, kept_inside(b, op, micro), to);
    return to;
}

/* What backward needs for an operation of the body, with which a visit begins. */
static void recall_part(struct builder *b, int op, int micro)
{
    const struct activations *a = &b->activations;
    if (!op_is_body(b, op)) return;
    if (a->recalled.ring.count > 1) emit_recall(b, op, micro);
    if (a->recalled_inside.ring.count > 1 && is_offloaded(b, op))
        activation_backward_saved(b, op, micro);
}

/* What backward needs after `micro` in a visit is recalled as early. */
static void recall_next(struct builder *b, int visit, int micro)
{
    const struct visit *v = &b->schedule.visits[visit], *next = v + 1;
    if (micro + 1 < v->micro + v->micro_count) {
        recall_part(b, v->first, micro + 1);
        return;
    }
    if (visit + 1 == b->schedule.count || next->phase != VISIT_BACKWARD) return;
    recall_part(b, next->first, next->micro);
}

int activation_backward_input(struct builder *b, int visit, int micro)
{
    int op = b->schedule.visits[visit].first, layer = b->model->ops[op].layer;
    bool kept = layer_is_kept(b, layer);
    int slot = kept ? kept_input(b, layer, micro) : activation_forward_input(b, layer, micro);
    if (b->status < 0) return slot;
    if (kept && b->derived.offload_inputs) slot = emit_recall(b, op, micro);
    if (is_offloaded(b, op)) activation_backward_saved(b, op, micro);
    recall_next(b, visit, micro);
    return slot;
}

bool activation_is_saved(const struct builder *b, int op)
{
    return list_is_training(b) && op_is_body(b, op) && segment_is_kept(b, op);
}

int activation_forward_saved(struct builder *b, int op, int micro)
{
    struct activations *a = &b->activations;
    if (b->status < 0 || !activation_is_saved(b, op)) return a->recomputed_saved[0];
    return is_offloaded(b, op) ? ring_take(&a->leaving) : kept_inside(b, op, micro);
}

void activation_keep_saved(struct builder *b, int op, int micro, int saved)
{
    if (!activation_is_saved(b, op) || !is_offloaded(b, op)) return;
    emit_part_move(b, OP_KEEP, (struct model_part){op, micro}, saved, kept_inside(b, op, micro));
}

void activation_set_carry(struct builder *b, struct program_op *op, bool first)
{
    if (b->model->ops[op->op].tiles == 1) return;
    int slot = b->activations.carries[op->micro % b->derived.copies];
    if (!first) op_reads(op, OPERAND_CARRY, slot);
    op_writes(op, OPERAND_CARRY, slot);
}
