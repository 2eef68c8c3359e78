/* SPDX-License-Identifier: Apache-2.0 */
/* In which order units are visited, and which slot a fetched unit lies in.
 *
 * A program is a list of visits: stretches of arithmetic that need the same units. Before visit v
 * is written, the fetches of visits v .. v + prefetch are, so that the comm and link lanes have
 * them early in their queues; how far they really run ahead is decided by the slots. A ring has as
 * many slots as any such window needs, so there is always one whose unit no visit of the window
 * wants, and a unit that is still in its slot is not fetched again (as at the turn from forward to
 * backward). */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "zero/compile.h"

static int last_op(const struct builder *b)
{
    return b->model->op_count - 1;
}

static int segment_of(const struct builder *b, int op)
{
    return (op - 1) / b->config->interval;
}

int segment_first(const struct builder *b, int op)
{
    return 1 + segment_of(b, op) * b->config->interval;
}

bool segment_is_kept(const struct builder *b, int op)
{
    const struct program *p = b->program;
    return segment_of(b, op) >= p->segment_count - p->kept_segments;
}

bool input_is_kept(const struct builder *b, int op)
{
    if (op < 1 || op >= last_op(b)) return false;
    return segment_is_kept(b, op) || op == segment_first(b, op);
}

static void add_visit(struct builder *b, enum visit_phase phase, const int span[2],
                      const int micro[2])
{
    b->visits[b->visit_count++] = (struct visit){.phase = phase,
                                                 .first = span[0],
                                                 .count = span[1],
                                                 .micro = micro[0],
                                                 .micro_count = micro[1]};
}

static void add_backward(struct builder *b, const int micro[2])
{
    int head = last_op(b);
    add_visit(b, VISIT_BACKWARD, (int[]){head, 1}, micro);
    for (int op = head - 1; op >= 1;) {
        int first = segment_is_kept(b, op) ? op : segment_first(b, op);
        add_visit(b, VISIT_BACKWARD, (int[]){first, op - first + 1}, micro);
        op = first - 1;
    }
    add_visit(b, VISIT_GRADIENT, (int[]){0, 1}, micro);
}

enum zi_status schedule_visits(struct builder *b, enum program_name name)
{
    bool micro_major = b->config->order == ORDER_MICRO_MAJOR;
    int micros = name == PROGRAM_GENERATE ? 1 : (int)b->config->micro_batches;
    int passes = micro_major ? micros : 1;
    struct visit *grown =
        realloc(b->visits, 2 * (size_t)(b->model->op_count + 1) * (size_t)passes * sizeof *grown);
    if (!grown) return zi_fail(ZI_ERROR_DEVICE, "zero", "no memory for the visits of a program");
    b->visits = grown;
    b->visit_count = 0;
    for (int pass = 0; pass < passes; pass++) {
        int micro[2] = {pass, micro_major ? 1 : micros};
        for (int op = 0; op < last_op(b); op++) {
            add_visit(b, VISIT_FORWARD, (int[]){op, 1}, micro);
        }
        if (name == PROGRAM_TRAIN) {
            add_backward(b, micro);
        } else {
            add_visit(b, name == PROGRAM_VALIDATE ? VISIT_LOSS : VISIT_LOGITS,
                      (int[]){last_op(b), 1}, micro);
        }
    }
    return ZI_OK;
}

enum size_class unit_class(const struct builder *b, int unit)
{
    return b->partition->units[unit].padded > b->class_elements[CLASS_BLOCK] ? CLASS_LARGE
                                                                             : CLASS_BLOCK;
}

/* Counts the distinct units of a class that visits [first, end) need. */
static int count_units(const struct builder *b, int class, int first, int end)
{
    int units[4 * RING_MAX], count = 0;
    for (int v = first; v < end; v++) {
        const struct visit *visit = &b->visits[v];
        if (visit->phase == VISIT_GRADIENT) continue;
        for (int o = visit->first; o < visit->first + visit->count; o++) {
            const struct model_op *op = &b->model->ops[o];
            for (int i = 0; i < op->unit_count; i++) {
                bool known = (int)unit_class(b, op->units[i]) != class;
                for (int k = 0; k < count && !known; k++) {
                    known = units[k] == op->units[i];
                }
                if (!known && count < 4 * RING_MAX) units[count++] = op->units[i];
            }
        }
    }
    return count;
}

int schedule_window(const struct builder *b, int class)
{
    int most = 0;
    for (int v = 0; v < b->visit_count; v++) {
        int end = v + 1 + b->config->prefetch;
        if (end > b->visit_count) end = b->visit_count;
        int count = count_units(b, class, v, end);
        if (count > most) most = count;
    }
    return most;
}

void schedule_reset(struct builder *b)
{
    for (int class = 0; class < CLASS_COUNT; class ++) {
        for (int i = 0; i < RING_MAX; i++) {
            b->fetch[class].unit[i] = -1;
            b->fetch[class].last_visit[i] = -1;
        }
    }
}

int ring_take(struct ring *ring)
{
    ZI_REQUIRE(ring->count > 0);
    int slot = ring->slots[ring->next];
    ring->next = (ring->next + 1) % ring->count;
    return slot;
}

static void emit_fetch(struct builder *b, int unit, int slot)
{
    const struct partition_unit *part = &b->partition->units[unit];
    size_t element = zi_dtype_bytes(b->config->compute);
    int from = b->program->homes[unit].parameter;
    if (!b->local_parameters) {
        struct program_op push = builder_op(OP_PUSH, LANE_LINK_IN);
        push.unit = unit;
        push.bytes = (size_t)(b->sharded_parameters ? part->shard : part->padded) * element;
        op_reads(&push, ROLE_INPUT, from);
        from = b->sharded_parameters ? ring_take(&b->shard_fetch) : slot;
        op_writes(&push, ROLE_OUTPUT, from);
        builder_emit(b, &push);
    }
    if (!b->sharded_parameters) return;
    struct program_op gather = builder_op(OP_GATHER, LANE_COMM);
    gather.unit = unit;
    gather.bytes = (size_t)part->padded * element;
    op_reads(&gather, ROLE_INPUT, from);
    op_writes(&gather, ROLE_OUTPUT, slot);
    builder_emit(b, &gather);
}

/* The slot in which `unit` is for `visit`; writes its fetch when it is not there yet. `current` is
 * the visit whose arithmetic is written next: slots of earlier visits may be taken. */
int schedule_weight(struct builder *b, int unit, int visit, int current)
{
    if (!b->fetches) return b->program->homes[unit].parameter;
    if (b->status < 0) return -1;
    struct ring *ring = &b->fetch[unit_class(b, unit)];
    int oldest = -1;
    for (int i = 0; i < ring->count; i++) {
        if (ring->unit[i] == unit) {
            if (ring->last_visit[i] < visit) ring->last_visit[i] = visit;
            return ring->slots[i];
        }
        bool free_now = ring->last_visit[i] < current;
        if (free_now && (oldest < 0 || ring->last_visit[i] < ring->last_visit[oldest])) oldest = i;
    }
    ZI_REQUIRE(oldest >= 0);
    ring->unit[oldest] = unit;
    ring->last_visit[oldest] = visit;
    emit_fetch(b, unit, ring->slots[oldest]);
    return ring->slots[oldest];
}
