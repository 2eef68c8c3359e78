/* SPDX-License-Identifier: Apache-2.0 */
/* In which order units are visited.
 *
 * A program is a list of visits: stretches of arithmetic that need the same units. Forward, a visit
 * is one operation. Backward, it is a segment (config.interval layers behind one kept input), whose
 * operations are recomputed and then differentiated; where inner activations are kept, or layers
 * are tiled (then the interval is 1), it is one operation. A tiled head is visited twice: forward
 * for the statistics of its softmax, backward for the gradients.
 *
 * Before visit v is written, the units of visits v .. v + prefetch arrive, which puts their fetches
 * early into the queues of their lanes; how far they really run ahead is decided by their places. A
 * ring has as many places as any such window needs, so there is always one whose unit no visit of
 * the window wants, and a unit that is still in its place is not fetched again (as at the turn from
 * forward to backward). */
#include "compiler/compile.h"

/* Consecutive operations of the model, or micro-batches. */
struct span {
    int first, count;
};

static double visit_flops(const struct builder *b, const struct visit *visit)
{
    bool backward = visit->phase == VISIT_BACKWARD || visit->phase == VISIT_GRADIENT;
    double sum = 0;
    for (int o = visit->first; o < visit->first + visit->count; o++) {
        struct model_flops flops;
        model_op_flops(b->model, o, b->config->micro, b->config->tokens, &flops);
        bool again = !op_is_body(b, o) || !segment_is_kept(b, o);
        if (backward) sum += flops.backward;
        if (!backward || again) sum += flops.forward;
    }
    return sum * visit->micro_count;
}

static void add_visit(struct builder *b, enum visit_phase phase, struct span ops,
                      struct span micros)
{
    struct visit *visit = &b->schedule.visits[b->schedule.count++];
    *visit = (struct visit){.phase = phase,
                            .first = ops.first,
                            .count = ops.count,
                            .micro = micros.first,
                            .micro_count = micros.count};
    if (phase != VISIT_UPDATE) visit->flops = visit_flops(b, visit);
}

static void add_head(struct builder *b, enum visit_phase phase, struct span micros)
{
    for (int op = b->derived.end_body; op < b->model->op_count; op++) {
        add_visit(b, phase, (struct span){op, 1}, micros);
    }
}

static void add_backward(struct builder *b, struct span micros)
{
    for (int op = b->model->op_count - 1; op >= b->derived.end_body; op--) {
        add_visit(b, VISIT_BACKWARD, (struct span){op, 1}, micros);
    }
    /* Below the lowest operation with something to train no gradient is needed. */
    int last =
        b->derived.lowest > b->derived.first_body ? b->derived.lowest : b->derived.first_body;
    for (int op = b->derived.end_body - 1; op >= last;) {
        int first = segment_is_kept(b, op) ? op : segment_first(b, op);
        add_visit(b, VISIT_BACKWARD, (struct span){first, op - first + 1}, micros);
        op = first - 1;
    }
    for (int op = b->derived.first_body - 1; op >= b->derived.lowest; op--) {
        add_visit(b, VISIT_GRADIENT, (struct span){op, 1}, micros);
    }
}

static void add_updates(struct builder *b, enum program_name name)
{
    bool rest = program_row(name)->rest;
    for (int i = 0; i < b->update.unit_count; i++) {
        if (rest && unit_is_speculated(b, b->update.units[i])) continue;
        add_visit(b, VISIT_UPDATE, (struct span){b->update.units[i], 1}, (struct span){0, 0});
    }
}

/* Micro-batches through the model, once. */
static void add_pass(struct builder *b, enum program_name name, struct span micros)
{
    for (int op = 0; op < b->derived.end_body; op++) {
        add_visit(b, VISIT_FORWARD, (struct span){op, 1}, micros);
    }
    if (!program_row(name)->trains) {
        add_head(b, program_row(name)->logits ? VISIT_LOGITS : VISIT_LOSS, micros);
        return;
    }
    if (b->model->op_count - b->derived.end_body > 1) add_head(b, VISIT_FORWARD, micros);
    add_backward(b, micros);
}

void schedule_lay(struct builder *b)
{
    bool micro_major = b->config->order == ORDER_MICRO_MAJOR && b->config->micro_batches > 1;
    size_t passes = micro_major ? (size_t)b->config->micro_batches : 1;
    size_t most = 3 * (size_t)(b->model->op_count + 1) * passes + (size_t)b->model->unit_count;
    b->schedule.visits = builder_memory(b, most, sizeof *b->schedule.visits);
}

void schedule_begin(struct builder *b, enum program_name name)
{
    struct schedule *s = &b->schedule;
    bool micro_major = b->config->order == ORDER_MICRO_MAJOR;
    bool alone = program_row(name)->logits || program_row(name)->each;
    int micros = alone ? 1 : (int)b->config->micro_batches;
    int passes = micro_major ? micros : 1;
    if (b->status < 0) return;
    s->count = 0;
    if (program_row(name)->flushes) {
        add_updates(b, name);
        return;
    }
    for (int pass = 0; pass < passes; pass++) {
        add_pass(b, name, (struct span){pass, micro_major ? 1 : micros});
    }
    s->first_backward = s->count;
    while (s->first_backward > 0 && s->visits[s->first_backward - 1].phase >= VISIT_BACKWARD)
        s->first_backward--;
    if (program_row(name)->trains && !b->config->deferred) add_updates(b, name);
}

/* Distinct units of one class that are counted so far. */
struct unit_set {
    enum size_class class;
    int count, units[4 * RING_MAX];
};

static void add_unit(const struct builder *b, int unit, struct unit_set *set)
{
    if (unit_class(b, unit) != set->class || set->count == 4 * RING_MAX) return;
    for (int k = 0; k < set->count; k++) {
        if (set->units[k] == unit) return;
    }
    set->units[set->count++] = unit;
}

/* Counts the distinct units of a class that visits [first, end) need. */
static int count_units(const struct builder *b, enum size_class class, int first, int end)
{
    struct unit_set set = {.class = class};
    for (int v = first; v < end; v++) {
        const struct visit *visit = &b->schedule.visits[v];
        if (visit->phase == VISIT_GRADIENT) continue;
        if (visit->phase == VISIT_UPDATE) {
            if (b->derived.parameters_on_disk || b->derived.updates_fetched)
                add_unit(b, visit->first, &set);
            continue;
        }
        for (int o = visit->first; o < visit->first + visit->count; o++) {
            const struct model_op *op = &b->model->ops[o];
            for (int i = 0; i < op->unit_count; i++) {
                add_unit(b, op->units[i], &set);
            }
        }
    }
    return set.count;
}

double schedule_share(const struct builder *b, int first, int end, int visit)
{
    double behind = 0, all = 0;
    for (int v = first; v < end; v++) {
        all += b->schedule.visits[v].flops;
        if (v <= visit) behind += b->schedule.visits[v].flops;
    }
    return all > 0 ? behind / all : 1.0;
}

int schedule_window(const struct builder *b, enum size_class class)
{
    int most = 0;
    for (int v = 0; v < b->schedule.count; v++) {
        int end = v + 1 + b->config->prefetch;
        if (end > b->schedule.count) end = b->schedule.count;
        /* The pass of a later micro-batch needs what the first one's does. */
        if (b->schedule.visits[v].micro > 0 && b->schedule.visits[end - 1].phase != VISIT_UPDATE)
            continue;
        int count = count_units(b, class, v, end);
        if (count > most) most = count;
    }
    return most;
}
