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
#include "compiler/compiler.h"
#include "compiler/emit.h"

/* Streams of so many layers wait for the disk, whose queue may be full of the optimizer's states.
 */
#define STREAMS_TO_DISK 6

/* Whether a configuration has a program of this name. */
static bool program_exists(const struct zero_config *c, enum program_name name)
{
    switch (name) {
    case PROGRAM_GENERATE:
        return true;
    case PROGRAM_TRAIN_UPDATE:
    case PROGRAM_VALIDATE_UPDATE:
    case PROGRAM_FLUSH_UPDATE:
        return c->training && c->deferred;
    default:
        return c->training;
    }
}

static void set_flags(struct builder *b)
{
    const struct zero_config *c = b->config;
    bool disk_inputs = c->tier[PLACE_ACTIVATIONS] == ZI_TIER_NVME;
    b->sharded_parameters = zero_is_sharded(c, TIER_PARAMETER);
    b->sharded_gradients = zero_is_sharded(c, TIER_SUM);
    b->sharded_optimizer = zero_is_sharded(c, TIER_GRADIENT);
    bool near = c->tier[PLACE_PARAMETERS] == ZI_TIER_DEVICE ||
                (c->unified && c->tier[PLACE_PARAMETERS] == ZI_TIER_HOST);
    b->local_gradient = c->unified || c->tier[PLACE_GRADIENTS] == ZI_TIER_DEVICE;
    b->fetches = b->sharded_parameters || !near;
    b->offload_inputs =
        c->training && (disk_inputs || (!c->unified && c->tier[PLACE_ACTIVATIONS] == ZI_TIER_HOST));
    b->copies = c->order == ORDER_MICRO_MAJOR ? 1 : (int)c->micro_batches;
    b->depth = !b->offload_inputs ? 2 : disk_inputs ? STREAMS_TO_DISK : 3;
    b->adam_tier = zero_optimizer_tier(c);
    b->adam_lane = program_lane_near(c, b->adam_tier);
    b->end_body = b->model->op_count;
    for (int o = 0; o < b->model->op_count; o++) {
        const struct model_op *op = &b->model->ops[o];
        bool body = op->kind == MODEL_ATTENTION || op->kind == MODEL_MLP;
        if (op->kind == MODEL_EMBED) b->first_body = o + 1;
        if (op->kind == MODEL_HEAD && b->end_body > o) b->end_body = o;
        for (int i = 0; i < op->unit_count; i++) {
            int64_t padded = b->partition->units[op->units[i]].padded;
            if (body && padded > b->class_elements[CLASS_BLOCK])
                b->class_elements[CLASS_BLOCK] = padded;
            if (padded > b->class_elements[CLASS_LARGE]) b->class_elements[CLASS_LARGE] = padded;
        }
    }
    int body = b->model->layer_count - 2;
    struct program *p = b->program;
    p->segment_count = (body + c->interval - 1) / c->interval;
    p->kept_segments = c->kept_segments < 0 ? p->segment_count : c->kept_segments;
    if (p->kept_segments > p->segment_count) p->kept_segments = p->segment_count;
}

/* The home of one kind of state of a unit, in memory or as an array of the store in slices. */
static int lay_home(struct builder *b, int unit, enum tier_kind kind)
{
    static const enum program_purpose purposes[PLACE_COUNT] = {
        [PLACE_PARAMETERS] = PURPOSE_PARAMETER,
        [PLACE_GRADIENTS] = PURPOSE_GRADIENT,
        [PLACE_OPTIMIZER] = PURPOSE_OPTIMIZER,
        [PLACE_ACTIVATIONS] = PURPOSE_ACTIVATION,
    };
    const struct zero_config *c = b->config;
    const struct tier_kind_row *row = tier_kind_row(kind);
    const char *name = b->model->units[unit].name;
    enum program_purpose purpose = purposes[row->place];
    enum zi_tier tier = c->tier[row->place];
    size_t element = program_element_bytes(b->program, kind);
    size_t bytes = (size_t)program_elements(b->program, unit, kind) * element;
    if (tier != ZI_TIER_NVME)
        return builder_slot(b, tier, purpose, bytes, "%s %s", row->name, name);
    enum zi_dtype type = tier_type_of(row->type, c->compute, c->gradient);
    size_t slice = row->grouped ? (size_t)c->group * element : bytes;
    return builder_array(b, &(struct builder_array){row->name, name, purpose, type, bytes, slice});
}

static void lay_homes(struct builder *b)
{
    const struct zero_config *c = b->config;
    for (int u = 0; u < b->model->unit_count; u++) {
        struct program_home *home = &b->program->homes[u];
        bool trained = c->training && b->model->units[u].trainable;
        for (int k = 0; k < TIER_KIND_COUNT; k++) {
            enum tier_kind kind = (enum tier_kind)k;
            bool exists = tier_kind_exists(kind, trained, c->compute);
            home->slots[k] = exists ? lay_home(b, u, kind) : -1;
        }
        /* A deferred update finds the gradient of the step before. */
        int gradient = home->slots[TIER_GRADIENT];
        if (c->deferred && gradient >= 0) b->program->slots[gradient].lasting = true;
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
    bool direct = b->local_gradient && c->gradient == ZI_FP32 &&
                  c->tier[PLACE_GRADIENTS] != ZI_TIER_NVME &&
                  b->sharded_gradients == b->sharded_optimizer;
    ZI_REQUIRE(g->uses <= 8);
    g->contributions = g->uses * (each && micro_major ? (int)c->micro_batches : 1);
    g->sum = direct ? b->program->homes[unit].slots[TIER_GRADIENT] : -1;
    bool disk_sum = c->sums_on_disk && c->tier[PLACE_GRADIENTS] == ZI_TIER_NVME;
    size_t bytes = (size_t)(each ? part->shard : part->padded) * 4;
    if (g->contributions > 1 && disk_sum) {
        g->sum = builder_array(b, &(struct builder_array){tier_kind_name(TIER_SUM), name,
                                                          PURPOSE_GRADIENT, ZI_FP32, bytes, bytes});
    } else if (g->sum < 0 && g->contributions > 1) {
        g->sum = builder_slot(b, b->local_gradient ? ZI_TIER_DEVICE : ZI_TIER_HOST, PURPOSE_REDUCE,
                              bytes, "%s %s", tier_kind_name(TIER_SUM), name);
    }
    for (int use = 0; use < g->uses; use++) {
        g->dedicated[use] = -1;
        if (each) continue;
        bool into_sum = use == 0 && b->local_gradient && g->sum >= 0 && !disk_sum;
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
            if (op->differentiates >> i & 1u)
                b->use[o * MODEL_MAX_UNITS + i] = b->gradients[op->units[i]].uses++;
        }
    }
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

static void lay_kept(struct builder *b)
{
    const struct zero_config *c = b->config;
    bool near_host = c->unified && c->tier[PLACE_ACTIVATIONS] == ZI_TIER_HOST;
    struct model_sizes sizes;
    for (int op = b->first_body; op < b->end_body; op++) {
        const struct model_op *o = &b->model->ops[op];
        model_op_sizes(b->model, op, c->micro, c->tokens, &sizes);
        for (int m = 0; m < b->copies; m++) {
            if (layer_is_kept(b, o->layer) && o->tile == 0) {
                b->kept[o->layer * b->copies + m] = lay_kept_input(b, o->layer, m, sizes.stream);
            }
            if (segment_is_kept(b, op)) {
                b->saved[op * b->copies + m] =
                    builder_slot(b, near_host ? ZI_TIER_HOST : ZI_TIER_DEVICE, PURPOSE_ACTIVATION,
                                 sizes.saved, "saved %.32s %d", o->name, m);
            }
        }
    }
}

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

/* Streams, scratch, and what one segment needs while it is recomputed. */
static void lay_work(struct builder *b)
{
    const struct zero_config *c = b->config;
    struct model_sizes most = most_sizes(b);
    bool recomputes = c->training && b->program->kept_segments < b->program->segment_count;
    for (int i = 0; i < b->depth * b->copies; i++) {
        b->transient[i] =
            builder_slot(b, ZI_TIER_DEVICE, PURPOSE_WORK, most.stream, "stream %d", i);
    }
    for (int i = 0; i < b->copies; i++) {
        if (c->training)
            b->stream_gradient[i] =
                builder_slot(b, ZI_TIER_DEVICE, PURPOSE_WORK, most.stream, "stream gradient %d", i);
        if (most.carry > 0)
            b->carry[i] = builder_slot(b, ZI_TIER_DEVICE, PURPOSE_WORK, most.carry, "carry %d", i);
    }
    for (int j = 0; j < (recomputes ? c->interval : 1); j++) {
        b->local_saved[j] =
            builder_slot(b, ZI_TIER_DEVICE, PURPOSE_WORK, most.saved, "saved %d", j);
        if (j > 0)
            b->local_input[j] =
                builder_slot(b, ZI_TIER_DEVICE, PURPOSE_WORK, most.stream, "input %d", j);
    }
    b->scratch = builder_slot(b, ZI_TIER_DEVICE, PURPOSE_WORK, most.scratch, "scratch");
}

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

static void lay_step(struct builder *b)
{
    const struct zero_config *c = b->config;
    struct program *p = b->program;
    struct program_values *out = &p->outside, *in = &p->inside;
    size_t ids = (size_t)(c->micro_batches * c->micro * c->tokens) * sizeof(int32_t);
    size_t logits = (size_t)b->model->settings.vocabulary * sizeof(float);
    enum zi_tier norm = b->local_gradient ? ZI_TIER_DEVICE : ZI_TIER_HOST;
    const struct value values[] = {
        {"tokens", &out->tokens, &in->tokens, ids, ZI_TIER_DEVICE, true},
        {"targets", &out->targets, &in->targets, ids, ZI_TIER_DEVICE, true},
        {"loss", &out->loss, &in->loss, 64, ZI_TIER_DEVICE, false},
        {"norm", &out->norm, &in->norm, 64, norm, false},
        {"checksum", &out->checksum, &in->checksum, 64, b->adam_tier, false},
        {"logits", &out->logits, &in->logits, logits, ZI_TIER_DEVICE, false},
    };
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        lay_value(b, &values[i]);
    }
    p->staging_slot = builder_slot(b, ZI_TIER_HOST, PURPOSE_WORK, PROGRAM_STAGING_BYTES, "staging");
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
                if (!(op->differentiates >> i & 1u)) continue;
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
        if (c->tier[PLACE_GRADIENTS] == ZI_TIER_NVME && used) {
            lay_ring(b, &b->leaving[class], c->prefetch > 0 ? 2 : 1, ZI_TIER_HOST, PURPOSE_REDUCE,
                     (b->sharded_optimizer ? shard : full) / 4 * zi_dtype_bytes(c->gradient),
                     class ? "large gradient" : "gradient");
        }
        if (c->sums_on_disk && c->tier[PLACE_GRADIENTS] == ZI_TIER_NVME && used) {
            lay_ring(b, &b->summed[class], c->prefetch > 0 ? 2 : 1, ZI_TIER_HOST, PURPOSE_REDUCE,
                     b->sharded_gradients ? shard : full, class ? "large sum" : "sum");
        }
        if (full > most_reduced) most_reduced = full;
    }
    if (c->ranks > 1) {
        int64_t shard = (int64_t)(most_reduced / 4) / c->ranks;
        b->reduce_scratch = builder_slot(b, ZI_TIER_DEVICE, PURPOSE_REDUCE,
                                         comm_reduce_scratch(c->ranks, shard), "reduce scratch");
    }
}

/* Kept inputs on their way to and from their tier. */
static void lay_input_rings(struct builder *b)
{
    const struct zero_config *c = b->config;
    int depth = c->prefetch > 0 ? 2 : 1;
    size_t stream = most_sizes(b).stream;
    if (!b->offload_inputs) return;
    lay_ring(b, &b->recalled, depth, ZI_TIER_DEVICE, PURPOSE_WORK, stream, "recalled");
    if (c->unified || c->tier[PLACE_ACTIVATIONS] != ZI_TIER_NVME) return;
    lay_ring(b, &b->input_staging, 2 * depth, ZI_TIER_HOST, PURPOSE_WORK, stream, "input staging");
}

/* The stations of the fetch places of a class. */
static void lay_fetch_ring(struct builder *b, int class, int count)
{
    const struct zero_config *c = b->config;
    struct fetch_ring *ring = &b->fetch[class];
    size_t full = (size_t)b->class_elements[class] * zi_dtype_bytes(c->compute);
    size_t shard = full / (size_t)c->ranks;
    const char *name = class ? "large unit" : "unit";
    bool disk = c->tier[PLACE_PARAMETERS] == ZI_TIER_NVME;
    bool host = disk && !c->unified;
    bool apart = b->sharded_parameters &&
                 (disk || (!c->unified && c->tier[PLACE_PARAMETERS] == ZI_TIER_HOST));
    if (count > RING_MAX) {
        b->status = zi_fail(ZI_ERROR_USAGE, "zero",
                            "%d slots for fetched units, at most %d: lower zero.prefetch or "
                            "activations.interval",
                            count, RING_MAX);
        return;
    }
    ring->count = count;
    for (int i = 0; i < count; i++) {
        struct fetch_place *place = &ring->places[i];
        place->staging = place->shard = -1;
        place->full = builder_slot(b, ZI_TIER_DEVICE, PURPOSE_FETCH, full, "%s %d", name, i);
        if (apart)
            place->shard =
                builder_slot(b, ZI_TIER_DEVICE, PURPOSE_FETCH, shard, "shard of %s %d", name, i);
        if (host)
            place->staging =
                builder_slot(b, ZI_TIER_HOST, PURPOSE_FETCH, b->sharded_parameters ? shard : full,
                             "staged %s %d", name, i);
    }
}

static enum zi_status lay_fetch_rings(struct builder *b)
{
    int window[CLASS_COUNT] = {0, 0};
    for (int name = 0; name < PROGRAM_COUNT && b->fetches; name++) {
        if (!program_exists(b->config, (enum program_name)name)) continue;
        ZI_TRY(schedule_visits(b, name));
        for (int class = 0; class < CLASS_COUNT; class ++) {
            int count = schedule_window(b, class);
            if (count > window[class]) window[class] = count;
        }
    }
    for (int class = 0; class < CLASS_COUNT; class ++) {
        lay_fetch_ring(b, class, window[class]);
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
        lay_input_rings(b);
        ZI_TRY(update_lay(b));
    }
    ZI_TRY(lay_fetch_rings(b));
    return b->status;
}

static enum zi_status write_programs(struct builder *b)
{
    for (int name = 0; name < PROGRAM_COUNT; name++) {
        if (!program_exists(b->config, (enum program_name)name)) continue;
        ZI_TRY(schedule_visits(b, name));
        builder_begin(b, name);
        fetch_reset(b);
        update_begin(b);
        emit_begin(b);
        for (int v = 0; v < b->visit_count && b->status >= 0; v++) {
            emit_visit(b, v);
        }
        emit_end(b);
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
    b->kept = indices(b, b->model->layer_count * copies);
    b->saved = indices(b, ops * copies);
    b->transient = indices(b, b->depth * copies);
    b->stream_gradient = indices(b, copies);
    b->carry = indices(b, copies);
    b->update_order = indices(b, b->model->unit_count);
    b->unit_groups = indices(b, b->model->unit_count + 1);
    b->updated = calloc((size_t)b->model->unit_count, sizeof *b->updated);
    b->local_saved = indices(b, b->config->interval);
    b->local_input = indices(b, b->config->interval);
    b->use = indices(b, ops * MODEL_MAX_UNITS);
    b->gradients = calloc((size_t)b->model->unit_count, sizeof *b->gradients);
    if (!b->gradients || !b->updated || b->status < 0) {
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
    free(b->carry);
    free(b->update_order);
    free(b->unit_groups);
    free(b->updated);
    free(b->groups);
    free(b->local_saved);
    free(b->local_input);
    free(b->use);
    free(b->gradients);
    free(b->last_write);
    free(b->last_read);
    free(b->visits);
}

/* Lays out all slots and, where it is asked to, writes the lists. */
static enum zi_status compile(const struct model *model, const struct partition *partition,
                              const struct zero_config *config, bool writes,
                              struct program **program)
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
    if (status >= 0 && writes) status = write_programs(&b);
    builder_cleanup(&b);
    if (status < 0) {
        program_destroy(p);
        return status;
    }
    *program = p;
    return ZI_OK;
}

enum zi_status program_compile(const struct model *model, const struct partition *partition,
                               const struct zero_config *config, struct program **program)
{
    return compile(model, partition, config, true, program);
}

enum zi_status program_measure(const struct model *model, const struct partition *partition,
                               const struct zero_config *config, struct program **program)
{
    return compile(model, partition, config, false, program);
}
