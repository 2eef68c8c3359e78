/* SPDX-License-Identifier: Apache-2.0 */
/* Compiles the programs of a configuration: lays out every slot first, then writes the operations.
 *
 * Slots come in three sorts. Homes hold a unit's states from step to step. Dedicated slots hold
 * what lives from one place of a step to another: kept inputs and inner activations, fp32 sums of
 * gradients. Rings hold what passes: fetched units, accumulators, staging between tiers. All
 * programs of a run share the slots, since they never run at the same time. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "comm/comm.h"
#include "zero/compile.h"

static void set_flags(struct builder *b)
{
    const struct zero_config *c = b->config;
    bool several = c->ranks > 1;
    b->sharded_parameters = several && c->stage >= 3;
    b->sharded_gradients = several && c->stage >= 2;
    b->sharded_optimizer = several && c->stage >= 1;
    b->local_parameters = c->unified || c->tier[TIER_PARAMETER] == ZI_TIER_DEVICE;
    b->local_gradient = c->unified || c->tier[TIER_GRADIENT] == ZI_TIER_DEVICE;
    b->local_optimizer = c->unified || c->tier[TIER_MASTER] == ZI_TIER_DEVICE;
    b->fetches = b->sharded_parameters || !b->local_parameters;
    b->offload_inputs = !c->unified && c->tier[TIER_ACTIVATION] == ZI_TIER_HOST && c->training;
    b->copies = c->order == ORDER_MICRO_MAJOR ? 1 : (int)c->micro_batches;
    for (int o = 0; o < b->model->op_count; o++) {
        const struct model_op *op = &b->model->ops[o];
        bool body = op->kind == MODEL_ATTENTION || op->kind == MODEL_MLP;
        for (int i = 0; i < op->unit_count; i++) {
            int64_t padded = b->partition->units[op->units[i]].padded;
            if (body && padded > b->class_elements[CLASS_BLOCK])
                b->class_elements[CLASS_BLOCK] = padded;
            if (padded > b->class_elements[CLASS_LARGE]) b->class_elements[CLASS_LARGE] = padded;
        }
    }
    int body = b->model->op_count - 2;
    struct program *p = b->program;
    p->segment_count = (body + c->interval - 1) / c->interval;
    p->kept_segments = c->kept_segments < 0 ? p->segment_count : c->kept_segments;
    if (p->kept_segments > p->segment_count) p->kept_segments = p->segment_count;
}

static void lay_homes(struct builder *b)
{
    const struct zero_config *c = b->config;
    bool shares =
        c->compute == ZI_FP32 && (c->unified || c->tier[TIER_PARAMETER] == c->tier[TIER_MASTER]);
    for (int u = 0; u < b->model->unit_count; u++) {
        const struct partition_unit *part = &b->partition->units[u];
        const char *name = b->model->units[u].name;
        struct program_home *home = &b->program->homes[u];
        size_t elements = (size_t)(b->sharded_parameters ? part->shard : part->padded);
        *home = (struct program_home){-1, -1, -1, -1, -1};
        home->parameter = builder_slot(b, c->tier[TIER_PARAMETER], PURPOSE_PARAMETER,
                                       elements * zi_dtype_bytes(c->compute), "parameter %s", name);
        if (!c->training) continue;
        elements = (size_t)(b->sharded_optimizer ? part->shard : part->padded);
        if (!shares) {
            home->master = builder_slot(b, c->tier[TIER_MASTER], PURPOSE_OPTIMIZER, elements * 4,
                                        "master %s", name);
        }
        home->moment1 = builder_slot(b, c->tier[TIER_MOMENT1], PURPOSE_OPTIMIZER, elements * 4,
                                     "moment1 %s", name);
        home->moment2 = builder_slot(b, c->tier[TIER_MOMENT2], PURPOSE_OPTIMIZER, elements * 4,
                                     "moment2 %s", name);
        elements = (size_t)(b->sharded_gradients ? part->shard : part->padded);
        home->gradient = builder_slot(b, c->tier[TIER_GRADIENT], PURPOSE_GRADIENT,
                                      elements * zi_dtype_bytes(c->gradient), "gradient %s", name);
    }
}

/* Where the contributions to a unit's gradient meet. */
static void lay_gradient(struct builder *b, int unit)
{
    const struct zero_config *c = b->config;
    const struct partition_unit *part = &b->partition->units[unit];
    const char *name = b->model->units[unit].name;
    struct unit_gradient *g = &b->gradients[unit];
    bool micro_major = c->order == ORDER_MICRO_MAJOR && c->micro_batches > 1;
    bool each = b->sharded_gradients;
    bool direct = b->local_gradient && c->gradient == ZI_FP32;
    ZI_REQUIRE(g->uses <= 8);
    g->contributions = g->uses * (each && micro_major ? (int)c->micro_batches : 1);
    g->sum = direct ? b->program->homes[unit].gradient : -1;
    if (g->sum < 0 && g->contributions > 1) {
        size_t bytes = (size_t)(each ? part->shard : part->padded) * 4;
        g->sum = builder_slot(b, b->local_gradient ? ZI_TIER_DEVICE : ZI_TIER_HOST, PURPOSE_REDUCE,
                              bytes, "sum %s", name);
    }
    for (int use = 0; use < g->uses; use++) {
        g->dedicated[use] = -1;
        if (each) continue;
        bool into_sum = use == 0 && b->local_gradient && g->sum >= 0;
        if (into_sum)
            g->dedicated[use] = g->sum;
        else if (micro_major)
            g->dedicated[use] = builder_slot(b, ZI_TIER_DEVICE, PURPOSE_REDUCE,
                                             (size_t)part->padded * 4, "accumulator %s", name);
    }
}

/* Numbers the uses of each unit in the order of backward: from the head down. */
static void number_uses(struct builder *b)
{
    for (int o = b->model->op_count - 1; o >= 0; o--) {
        const struct model_op *op = &b->model->ops[o];
        for (int i = 0; i < op->unit_count; i++) {
            b->use[o * MODEL_MAX_UNITS + i] = b->gradients[op->units[i]].uses++;
        }
    }
}

static void lay_kept(struct builder *b)
{
    const struct zero_config *c = b->config;
    enum zi_tier near = c->unified ? c->tier[TIER_ACTIVATION] : ZI_TIER_DEVICE;
    struct model_sizes sizes;
    for (int op = 1; op < b->model->op_count - 1; op++) {
        model_op_sizes(b->model, op, c->micro, c->tokens, &sizes);
        for (int m = 0; m < b->copies; m++) {
            if (input_is_kept(b, op)) {
                b->kept[op * b->copies + m] =
                    builder_slot(b, b->offload_inputs ? ZI_TIER_HOST : near, PURPOSE_ACTIVATION,
                                 sizes.stream, "input %s %d", b->model->ops[op].name, m);
            }
            if (segment_is_kept(b, op)) {
                b->saved[op * b->copies + m] =
                    builder_slot(b, near, PURPOSE_ACTIVATION, sizes.saved, "saved %s %d",
                                 b->model->ops[op].name, m);
            }
        }
    }
}

/* Streams, scratch, and what one segment needs while it is recomputed. */
static void lay_work(struct builder *b)
{
    const struct zero_config *c = b->config;
    const struct model *m = b->model;
    size_t stream = 0, scratch = 64, saved = 64;
    bool recomputes = c->training && b->program->kept_segments < b->program->segment_count;
    for (int op = 0; op < m->op_count; op++) {
        struct model_sizes sizes;
        model_op_sizes(m, op, c->micro, c->tokens, &sizes);
        if (sizes.stream > stream) stream = sizes.stream;
        if (sizes.scratch > scratch) scratch = sizes.scratch;
        if (sizes.saved > saved) saved = sizes.saved;
    }
    for (int i = 0; i < 2 * b->copies; i++) {
        b->transient[i] = builder_slot(b, ZI_TIER_DEVICE, PURPOSE_WORK, stream, "stream %d", i);
    }
    for (int i = 0; i < b->copies && c->training; i++) {
        b->stream_gradient[i] =
            builder_slot(b, ZI_TIER_DEVICE, PURPOSE_WORK, stream, "stream gradient %d", i);
    }
    for (int j = 0; j < (recomputes ? c->interval : 1); j++) {
        b->local_saved[j] = builder_slot(b, ZI_TIER_DEVICE, PURPOSE_WORK, saved, "saved %d", j);
        if (j > 0)
            b->local_input[j] =
                builder_slot(b, ZI_TIER_DEVICE, PURPOSE_WORK, stream, "input %d", j);
    }
    b->scratch = builder_slot(b, ZI_TIER_DEVICE, PURPOSE_WORK, scratch, "scratch");
}

static void lay_step(struct builder *b)
{
    const struct zero_config *c = b->config;
    struct program *p = b->program;
    size_t ids = (size_t)(c->micro_batches * c->micro * c->tokens) * sizeof(int32_t);
    enum zi_tier sums = b->local_gradient ? ZI_TIER_DEVICE : ZI_TIER_HOST;
    p->tokens_slot = builder_slot(b, ZI_TIER_DEVICE, PURPOSE_WORK, ids, "tokens");
    p->targets_slot = builder_slot(b, ZI_TIER_DEVICE, PURPOSE_WORK, ids, "targets");
    p->loss_slot = builder_slot(b, ZI_TIER_DEVICE, PURPOSE_WORK, 64, "loss");
    p->norm_slot = builder_slot(b, sums, PURPOSE_WORK, 64, "norm");
    p->checksum_slot = builder_slot(b, b->local_optimizer ? ZI_TIER_DEVICE : ZI_TIER_HOST,
                                    PURPOSE_WORK, 64, "checksum");
    p->logits_slot = builder_slot(b, ZI_TIER_DEVICE, PURPOSE_WORK,
                                  (size_t)b->model->settings.vocabulary * 4, "logits");
    if (b->status < 0) return;
    const int filled[] = {p->tokens_slot, p->targets_slot, p->loss_slot, p->norm_slot,
                          p->checksum_slot};
    for (int i = 0; i < 5; i++) {
        p->slots[filled[i]].lasting = true;
    }
}

static void lay_ring(struct builder *b, struct ring *ring, int count, enum zi_tier tier,
                     enum program_purpose purpose, size_t bytes, const char *name)
{
    if (count > RING_MAX) {
        b->status = zi_fail(ZI_ERROR_USAGE, "zero",
                            "%d slots for %s, at most %d: lower zero.prefetch or "
                            "activations.interval",
                            count, name, RING_MAX);
        return;
    }
    ring->count = count;
    for (int i = 0; i < count; i++) {
        ring->slots[i] = builder_slot(b, tier, purpose, bytes, "%s %d", name, i);
    }
}

/* Most units of a class whose gradients one visit makes in accumulators of the ring. */
static int most_accumulators(const struct builder *b, int class)
{
    int most = 0;
    for (int v = 0; v < b->visit_count; v++) {
        const struct visit *visit = &b->visits[v];
        if (visit->phase != VISIT_BACKWARD && visit->phase != VISIT_GRADIENT) continue;
        int count = 0;
        for (int o = visit->first; o < visit->first + visit->count; o++) {
            const struct model_op *op = &b->model->ops[o];
            for (int i = 0; i < op->unit_count; i++) {
                int use = b->use[o * MODEL_MAX_UNITS + i];
                if ((int)unit_class(b, op->units[i]) == class &&
                    b->gradients[op->units[i]].dedicated[use] < 0)
                    count++;
            }
        }
        if (count > most) most = count;
    }
    return most;
}

static void lay_gradient_rings(struct builder *b)
{
    const struct zero_config *c = b->config;
    bool overlaps = (c->ranks > 1 || !b->local_gradient) && c->prefetch > 0;
    size_t most_reduced = 0;
    for (int class = 0; class < CLASS_COUNT; class ++) {
        size_t full = (size_t)b->class_elements[class] * 4, shard = full / (size_t)c->ranks;
        int count = most_accumulators(b, class);
        bool used = count > 0 || (class == CLASS_BLOCK ||
                                  b->class_elements[CLASS_LARGE] > b->class_elements[CLASS_BLOCK]);
        lay_ring(b, &b->accumulator[class], count * (overlaps ? 2 : 1), ZI_TIER_DEVICE,
                 PURPOSE_REDUCE, full, class ? "large accumulator" : "accumulator");
        if (b->sharded_gradients && used) {
            lay_ring(b, &b->reduced[class], overlaps ? 2 : 1, ZI_TIER_DEVICE, PURPOSE_REDUCE, shard,
                     class ? "large reduced" : "reduced");
        }
        if (!b->local_gradient && used) {
            lay_ring(b, &b->pulled[class], overlaps ? 2 : 1, ZI_TIER_HOST, PURPOSE_REDUCE,
                     b->sharded_gradients ? shard : full, class ? "large pulled" : "pulled");
        }
        if (full > most_reduced) most_reduced = full;
    }
    if (c->ranks > 1) {
        int64_t shard = (int64_t)(most_reduced / 4) / c->ranks;
        b->reduce_scratch = builder_slot(b, ZI_TIER_DEVICE, PURPOSE_REDUCE,
                                         comm_reduce_scratch(c->ranks, shard), "reduce scratch");
    }
}

static void lay_transfer_rings(struct builder *b)
{
    const struct zero_config *c = b->config;
    int depth = c->prefetch > 0 ? 2 : 1;
    size_t elements = (size_t)b->class_elements[CLASS_LARGE];
    if (!b->local_parameters && b->sharded_parameters) {
        lay_ring(b, &b->shard_fetch, depth, ZI_TIER_DEVICE, PURPOSE_FETCH,
                 elements / (size_t)c->ranks * zi_dtype_bytes(c->compute), "shard");
    }
    if (!c->training || c->unified) return;
    enum zi_tier at = c->tier[TIER_MASTER];
    if (b->sharded_optimizer) elements /= (size_t)c->ranks;
    if (b->offload_inputs) {
        struct model_sizes sizes;
        model_op_sizes(b->model, 1, c->micro, c->tokens, &sizes);
        lay_ring(b, &b->recalled, depth, ZI_TIER_DEVICE, PURPOSE_WORK, sizes.stream, "recalled");
    }
    if (c->tier[TIER_GRADIENT] != at) {
        lay_ring(b, &b->update_in, depth, at, PURPOSE_WORK, elements * zi_dtype_bytes(c->gradient),
                 "update gradient");
    }
    if (c->tier[TIER_PARAMETER] != at && c->compute == ZI_BF16) {
        lay_ring(b, &b->update_out, depth, at, PURPOSE_WORK, elements * 2, "update parameter");
    }
}

static enum zi_status lay_fetch_rings(struct builder *b)
{
    int window[CLASS_COUNT] = {0, 0};
    for (int name = 0; name < PROGRAM_COUNT && b->fetches; name++) {
        if (!b->config->training && name != PROGRAM_GENERATE) continue;
        ZI_TRY(schedule_visits(b, name));
        for (int class = 0; class < CLASS_COUNT; class ++) {
            int count = schedule_window(b, class);
            if (count > window[class]) window[class] = count;
        }
    }
    for (int class = 0; class < CLASS_COUNT; class ++) {
        lay_ring(b, &b->fetch[class], window[class], ZI_TIER_DEVICE, PURPOSE_FETCH,
                 (size_t)b->class_elements[class] * zi_dtype_bytes(b->config->compute),
                 class ? "large unit" : "unit");
    }
    return b->status;
}

static enum zi_status lay_slots(struct builder *b)
{
    lay_homes(b);
    lay_work(b);
    lay_step(b);
    if (b->config->training) {
        number_uses(b);
        lay_kept(b);
        for (int u = 0; u < b->model->unit_count; u++) {
            lay_gradient(b, u);
        }
        ZI_TRY(schedule_visits(b, PROGRAM_TRAIN));
        lay_gradient_rings(b);
    }
    lay_transfer_rings(b);
    ZI_TRY(lay_fetch_rings(b));
    return b->status;
}

static enum zi_status write_programs(struct builder *b)
{
    for (int name = 0; name < PROGRAM_COUNT; name++) {
        if (!b->config->training && name != PROGRAM_GENERATE) continue;
        ZI_TRY(schedule_visits(b, name));
        builder_begin(b, name);
        for (int v = 0; v < b->visit_count && b->status >= 0; v++) {
            emit_visit(b, v);
        }
        if (name != PROGRAM_GENERATE) emit_update(b);
        ZI_TRY(b->status);
    }
    return ZI_OK;
}

static int *indices(struct builder *b, int count)
{
    int *all = malloc((size_t)count * sizeof *all);
    if (!all)
        b->status = ZI_ERROR_DEVICE;
    else
        memset(all, 0xff, (size_t)count * sizeof *all);
    return all;
}

static enum zi_status builder_init(struct builder *b)
{
    int ops = b->model->op_count, copies = b->copies;
    b->kept = indices(b, ops * copies);
    b->saved = indices(b, ops * copies);
    b->transient = indices(b, 2 * copies);
    b->stream_gradient = indices(b, copies);
    b->local_saved = indices(b, b->config->interval);
    b->local_input = indices(b, b->config->interval);
    b->use = indices(b, ops * MODEL_MAX_UNITS);
    b->gradients = calloc((size_t)b->model->unit_count, sizeof *b->gradients);
    if (!b->gradients || b->status < 0) {
        return zi_fail(ZI_ERROR_DEVICE, "zero", "no memory to compile a program of %d operations",
                       ops);
    }
    return ZI_OK;
}

static void builder_cleanup(struct builder *b)
{
    free(b->kept);
    free(b->saved);
    free(b->transient);
    free(b->stream_gradient);
    free(b->local_saved);
    free(b->local_input);
    free(b->use);
    free(b->gradients);
    free(b->last_write);
    free(b->last_read);
    free(b->visits);
}

enum zi_status program_compile(const struct model *model, const struct partition *partition,
                               const struct zero_config *config, struct program **program)
{
    struct builder b = {.model = model, .partition = partition, .config = config};
    struct program *p = calloc(1, sizeof *p);
    if (p) p->homes = calloc((size_t)model->unit_count, sizeof *p->homes);
    if (!p || !p->homes) {
        program_destroy(p);
        return zi_fail(ZI_ERROR_DEVICE, "zero", "no memory for a program of %d units",
                       model->unit_count);
    }
    p->model = model;
    p->partition = partition;
    p->config = *config;
    b.program = p;
    b.reduce_scratch = -1;
    set_flags(&b);
    enum zi_status status = builder_init(&b);
    if (status >= 0) status = lay_slots(&b);
    if (status >= 0) status = write_programs(&b);
    builder_cleanup(&b);
    if (status < 0) {
        program_destroy(p);
        return status;
    }
    *program = p;
    return ZI_OK;
}
