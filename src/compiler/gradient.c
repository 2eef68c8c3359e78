/* SPDX-License-Identifier: Apache-2.0 */
/* How gradients come together.
 *
 * Each use of a unit by an operation accumulates, in fp32 and over micro-batches, in an accumulator
 * of its own; when a use is complete it is a contribution. A contribution is reduced over ranks and
 * added to the unit's sum; the last one also rounds the sum to the kept gradient and adds its share
 * to the global norm. Where a step can be spared it is: with one rank there is no reduction, the
 * first contribution is written straight into the sum, and a sum of fp32 gradients is the kept
 * gradient itself. In micro-major order with sharded gradients every micro-batch is a contribution;
 * otherwise accumulators last the whole step, so that both orders add in the same order on one
 * rank. */
#include "base/log.h"
#include "comm/comm.h"
#include "compiler/compile.h"
#include "compiler/home.h"

enum { RING_NAME = 32 };

/* Numbers the uses of each unit in the order of backward: from the head down. */
static void number_uses(struct builder *b)
{
    for (int o = b->model->op_count - 1; o >= 0; o--) {
        const struct model_op *op = &b->model->ops[o];
        for (int i = 0; i < op->unit_count; i++) {
            if (op->differentiates >> i & 1u)
                b->gradients.uses[o * MODEL_MAX_UNITS + i] =
                    b->gradients.units[op->units[i]].uses++;
        }
    }
}

/* Whether fp32 sums of several contributions wait on nvme. */
static bool sums_on_disk(const struct builder *b)
{
    return b->config->sums_on_disk && b->config->tier[PLACE_GRADIENTS] == ZI_TIER_NVME;
}

/* Where the contributions to a unit's gradient are summed. */
static void lay_sum(struct builder *b, int unit)
{
    const struct zero_config *c = b->config;
    const struct derived *d = &b->derived;
    const char *name = b->model->units[unit].name, *kind = tier_kind_name(TIER_SUM);
    struct unit_gradient *g = &b->gradients.units[unit];
    size_t bytes = home_bytes(b, unit, TIER_SUM);
    bool direct = d->local_gradient && c->gradient == ZI_FP32 &&
                  c->tier[PLACE_GRADIENTS] != ZI_TIER_NVME &&
                  d->sharded_gradients == d->sharded_optimizer;
    g->sum = direct ? b->program->homes[unit].slots[TIER_GRADIENT] : -1;
    if (g->contributions > 1 && sums_on_disk(b)) {
        g->sum = builder_array(
            b, &(struct builder_array){kind, name, PURPOSE_GRADIENT, ZI_FP32, bytes, bytes});
    } else if (g->sum < 0 && g->contributions > 1) {
        g->sum = builder_slot(b, d->local_gradient ? ZI_TIER_DEVICE : ZI_TIER_HOST, PURPOSE_REDUCE,
                              bytes, "%s %s", kind, name);
    }
}

/* Where the contributions to a unit's gradient meet. */
static void lay_unit(struct builder *b, int unit)
{
    const struct zero_config *c = b->config;
    const struct derived *d = &b->derived;
    struct unit_gradient *g = &b->gradients.units[unit];
    bool micro_major = c->order == ORDER_MICRO_MAJOR && c->micro_batches > 1;
    bool each = d->sharded_gradients;
    g->contributions = g->uses * (each && micro_major ? (int)c->micro_batches : 1);
    lay_sum(b, unit);
}

/* The accumulator of a use of a unit, which lasts the step, or -1: it is one of the ring. */
static int lay_dedicated(struct builder *b, int unit, int use)
{
    const struct zero_config *c = b->config;
    const struct derived *d = &b->derived;
    const struct unit_gradient *g = &b->gradients.units[unit];
    if (d->sharded_gradients) return -1;
    if (use == 0 && d->local_gradient && g->sum >= 0 && !sums_on_disk(b)) return g->sum;
    if (c->order != ORDER_MICRO_MAJOR || c->micro_batches == 1) return -1;
    return builder_slot(b, ZI_TIER_DEVICE, PURPOSE_REDUCE,
                        (size_t)b->partition->units[unit].padded * 4, "accumulator %s",
                        b->model->units[unit].name);
}

/* The accumulators of all uses. */
static void lay_uses(struct builder *b)
{
    for (int o = b->model->op_count - 1; o >= 0; o--) {
        const struct model_op *op = &b->model->ops[o];
        for (int i = 0; i < op->unit_count; i++) {
            int at = o * MODEL_MAX_UNITS + i;
            if (op->differentiates >> i & 1u)
                b->gradients.dedicated[at] = lay_dedicated(b, op->units[i], b->gradients.uses[at]);
        }
    }
}

/* Units of a class whose gradients a visit makes in accumulators of the ring. */
static int count_accumulators(const struct builder *b, const struct visit *visit,
                              enum size_class class)
{
    int count = 0;
    if (visit->phase != VISIT_BACKWARD && visit->phase != VISIT_GRADIENT) return 0;
    for (int o = visit->first; o < visit->first + visit->count; o++) {
        const struct model_op *op = &b->model->ops[o];
        for (int i = 0; i < op->unit_count; i++) {
            if (!(op->differentiates >> i & 1u)) continue;
            if (unit_class(b, op->units[i]) == class &&
                b->gradients.dedicated[o * MODEL_MAX_UNITS + i] < 0)
                count++;
        }
    }
    return count;
}

/* The most that any visit needs. */
static int most_accumulators(const struct builder *b, enum size_class class)
{
    int most = 0;
    for (int v = 0; v < b->schedule.count; v++) {
        int count = count_accumulators(b, &b->schedule.visits[v], class);
        if (count > most) most = count;
    }
    return most;
}

/* What the gradients of a class pass on their way. */
static void lay_rings(struct builder *b, enum size_class class)
{
    const struct zero_config *c = b->config;
    const struct derived *d = &b->derived;
    struct gradients *g = &b->gradients;
    bool overlaps = (c->ranks > 1 || !d->local_gradient) && c->prefetch > 0;
    int twice = overlaps ? 2 : 1, ahead = c->prefetch > 0 ? 2 : 1;
    /* A speculative update comes behind its visit, and finds the gradient where it leaves from. */
    int visits = c->speculates ? most_accumulators(b, class) : 0;
    bool used = d->trained_elements[class] > 0;
    bool leaves = used && c->tier[PLACE_GRADIENTS] == ZI_TIER_NVME;
    size_t full = (size_t)d->trained_elements[class] * sizeof(float);
    size_t shard = full / (size_t)c->ranks;
    size_t summed = d->sharded_gradients ? shard : full;
    size_t kept = (d->sharded_optimizer ? shard : full) / sizeof(float);
    const struct {
        bool exists;
        struct ring *ring;
        int count;
        enum zi_tier tier;
        size_t bytes;
        const char *name;
    } rings[] = {
        {used, &g->accumulators[class], most_accumulators(b, class) * twice, ZI_TIER_DEVICE, full,
         "accumulator"},
        {used && d->sharded_gradients, &g->reduced[class], twice, ZI_TIER_DEVICE, shard, "reduced"},
        {used && !d->local_gradient, &g->pulled[class], twice, ZI_TIER_HOST, summed, "pulled"},
        {leaves, &g->leaving[class], ahead > visits ? ahead : visits, ZI_TIER_HOST,
         kept * zi_dtype_bytes(c->gradient), "gradient"},
        {leaves && sums_on_disk(b), &g->sums[class], ahead, ZI_TIER_HOST, summed, "sum"},
    };
    for (size_t i = 0; i < sizeof rings / sizeof rings[0]; i++) {
        char name[RING_NAME];
        snprintf(name, sizeof name, "%s%s", class_name(class), rings[i].name);
        struct ring_slot slot = {rings[i].tier, PURPOSE_REDUCE, rings[i].bytes, name};
        if (rings[i].exists) ring_lay(b, rings[i].ring, rings[i].count, &slot);
    }
}

static void lay_reduce_scratch(struct builder *b)
{
    int ranks = b->config->ranks;
    int64_t most = 0;
    for (int class = 0; class < CLASS_COUNT; class ++) {
        int64_t elements = b->derived.trained_elements[class];
        if (elements > most) most = elements;
    }
    b->gradients.reduce_scratch = -1;
    if (ranks > 1)
        b->gradients.reduce_scratch =
            builder_slot(b, ZI_TIER_DEVICE, PURPOSE_REDUCE,
                         comm_reduce_scratch(ranks, most / ranks), "reduce scratch");
}

void gradient_lay(struct builder *b)
{
    struct gradients *g = &b->gradients;
    g->units = builder_memory(b, (size_t)b->model->unit_count, sizeof *g->units);
    g->uses = builder_numbers(b, b->model->op_count * MODEL_MAX_UNITS);
    g->dedicated = builder_numbers(b, b->model->op_count * MODEL_MAX_UNITS);
    if (b->status < 0) return;
    number_uses(b);
    for (int u = 0; u < b->model->unit_count; u++) {
        lay_unit(b, u);
    }
    lay_uses(b);
    schedule_begin(b, PROGRAM_TRAIN);
    for (int class = 0; class < CLASS_COUNT; class ++) {
        lay_rings(b, (enum size_class) class);
    }
    lay_reduce_scratch(b);
}

void gradient_begin(struct builder *b)
{
    for (int u = 0; u < b->model->unit_count && b->config->training; u++) {
        b->gradients.units[u].seen = 0;
        b->gradients.units[u].left = -1;
    }
}

void gradient_take(struct builder *b, const struct visit *visit, struct visit_gradients *taken)
{
    struct gradients *g = &b->gradients;
    for (int j = 0; j < visit->count; j++) {
        const struct model_op *op = &b->model->ops[visit->first + j];
        for (int i = 0; i < op->unit_count; i++) {
            taken->slots[j][i] = -1;
            if (!(op->differentiates >> i & 1u)) continue;
            int unit = op->units[i];
            int slot = g->dedicated[(visit->first + j) * MODEL_MAX_UNITS + i];
            taken->slots[j][i] =
                slot >= 0 ? slot : ring_take(&g->accumulators[unit_class(b, unit)]);
        }
    }
}

/* A slot of host memory from which the finished gradient of a unit leaves for nvme. */
static int take_leaving(struct builder *b, int unit)
{
    int slot = ring_take(&b->gradients.leaving[unit_class(b, unit)]);
    for (int u = 0; u < b->model->unit_count; u++) {
        if (b->gradients.units[u].left == slot) b->gradients.units[u].left = -1;
    }
    b->gradients.units[unit].left = slot;
    return slot;
}

/* A finished gradient to nvme, group by group, since groups are what is loaded again. */
static void emit_leave(struct builder *b, int unit, int from)
{
    int64_t elements = program_elements(b->program, unit, TIER_GRADIENT), group = b->config->group;
    size_t element = program_state_bytes(b->program, TIER_GRADIENT, 1);
    for (int64_t first = 0; first < elements; first += group) {
        int64_t count = elements - first < group ? elements - first : group;
        struct slice to = home_slice(b, unit, TIER_GRADIENT, first, count);
        struct slice part_of = {from, (size_t)first * element, to.bytes, 0};
        emit_move(b, OP_STORE, unit, &part_of, &to);
    }
}

/* An fp32 sum, or what is to be one, from slot to slot. */
static void move_sum(struct builder *b, enum program_kind kind, int unit, int from, int to)
{
    size_t bytes = home_bytes(b, unit, TIER_SUM);
    struct slice left = {from, 0, bytes, 0}, arrived = {to, 0, bytes, 0};
    emit_move(b, kind, unit, &left, &arrived);
}

/* Adds a contribution that has arrived at `from` to the unit's sum, and finishes the last one. */
static void emit_add(struct builder *b, int unit, int from)
{
    struct unit_gradient *g = &b->gradients.units[unit];
    enum size_class class = unit_class(b, unit);
    bool first = g->seen++ == 0, last = g->seen == g->contributions;
    bool away = slot_is_on_disk(b, g->sum);
    if (from == g->sum && !last) return;
    if (away && first) {
        move_sum(b, OP_STORE, unit, from, g->sum);
        return;
    }
    int sum = away ? ring_take(&b->gradients.sums[class]) : g->sum;
    if (away) move_sum(b, OP_LOAD, unit, g->sum, sum);
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
    if (last && slot_is_on_disk(b, home)) to = take_leaving(b, unit);
    if (last) {
        op_writes(&add, OPERAND_GRADIENT, to);
        op_changes(&add, OPERAND_NORM, b->program->inside.norm);
    }
    builder_emit(b, &add);
    if (away && !last) move_sum(b, OP_STORE, unit, sum, g->sum);
    if (last && to != home) emit_leave(b, unit, to);
}

/* Sums a contribution over ranks; gives the slot with what this rank goes on with. */
static int emit_reduce(struct builder *b, int unit, int from)
{
    const struct derived *d = &b->derived;
    const struct unit_gradient *g = &b->gradients.units[unit];
    struct program_op reduce = builder_op(OP_REDUCE);
    reduce.unit = unit;
    op_changes(&reduce, OPERAND_CONTRIBUTION, from);
    if (d->sharded_gradients) {
        bool into_sum =
            d->local_gradient && g->sum >= 0 && g->seen == 0 && !slot_is_on_disk(b, g->sum);
        from = into_sum ? g->sum : ring_take(&b->gradients.reduced[unit_class(b, unit)]);
        op_writes(&reduce, OPERAND_SHARD, from);
    }
    op_writes(&reduce, OPERAND_SCRATCH, b->gradients.reduce_scratch);
    builder_emit(b, &reduce);
    return from;
}

void gradient_contribute(struct builder *b, int unit, int from)
{
    if (b->config->ranks > 1) from = emit_reduce(b, unit, from);
    if (!b->derived.local_gradient) {
        int host = ring_take(&b->gradients.pulled[unit_class(b, unit)]);
        move_sum(b, OP_PULL, unit, from, host);
        from = host;
    }
    emit_add(b, unit, from);
}

bool gradient_is_final(const struct builder *b, int unit)
{
    const struct unit_gradient *g = &b->gradients.units[unit];
    return g->seen == g->contributions;
}

int gradient_at_hand(const struct builder *b, int unit)
{
    return b->gradients.units[unit].left;
}
