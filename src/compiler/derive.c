/* SPDX-License-Identifier: Apache-2.0 */
/* What follows from model and configuration: what is sharded, what moves, which operations make the
 * body, how large units are, and which segments keep their inner activations. */
#include "compiler/compile.h"
#include "compiler/resolve.h"

/* What of the states lies elsewhere than where it is used. */
static void derive_states(struct builder *b)
{
    const struct zero_config *c = b->config;
    struct derived *d = &b->derived;
    bool near = c->tier[PLACE_PARAMETERS] == ZI_TIER_DEVICE ||
                (c->unified && c->tier[PLACE_PARAMETERS] == ZI_TIER_HOST);
    enum zi_tier inputs = c->tier[PLACE_ACTIVATIONS];
    d->sharded_parameters = zero_is_sharded(c, TIER_PARAMETER);
    d->sharded_gradients = zero_is_sharded(c, TIER_SUM);
    d->sharded_optimizer = zero_is_sharded(c, TIER_GRADIENT);
    d->local_gradient = c->unified || c->tier[PLACE_GRADIENTS] == ZI_TIER_DEVICE;
    d->parameters_on_disk = c->tier[PLACE_PARAMETERS] == ZI_TIER_NVME;
    d->fetches = d->sharded_parameters || !near;
    d->offload_inputs =
        c->training && (inputs == ZI_TIER_NVME || (!c->unified && inputs == ZI_TIER_HOST));
    d->copies = c->order == ORDER_MICRO_MAJOR ? 1 : (int)c->micro_batches;
    d->optimizer_tier = zero_optimizer_tier(c);
    d->updates_fetched =
        update_brings(c, d->optimizer_tier, TIER_PARAMETER) && d->optimizer_tier == ZI_TIER_DEVICE;
    d->optimizer_lane = program_lane_near(c, d->optimizer_tier);
}

static void raise_to(int64_t *most, int64_t value)
{
    if (value > *most) *most = value;
}

/* As far as it does not depend on sizes: a large unit is a block's here. */
static enum size_class class_by_kind(const struct model_unit *unit)
{
    if (unit->adapts) return CLASS_ADAPTER;
    return unit->packed ? CLASS_PACKED : CLASS_BLOCK;
}

/* The body of the model, and the largest units in it and outside. */
static void derive_body(struct builder *b)
{
    struct derived *d = &b->derived;
    d->end_body = b->model->op_count;
    for (int o = 0; o < b->model->op_count; o++) {
        const struct model_op *op = &b->model->ops[o];
        bool body = op->kind == MODEL_ATTENTION || op->kind == MODEL_MLP;
        if (op->kind == MODEL_EMBED) d->first_body = o + 1;
        if (op->kind == MODEL_HEAD && d->end_body > o) d->end_body = o;
        for (int i = 0; i < op->unit_count; i++) {
            int64_t padded = b->partition->units[op->units[i]].padded;
            enum size_class class = class_by_kind(&b->model->units[op->units[i]]);
            if (body) raise_to(&d->class_elements[class], padded);
            if (class != CLASS_PACKED) raise_to(&d->class_elements[CLASS_LARGE], padded);
        }
    }
    for (int u = 0; u < b->model->unit_count; u++) {
        if (b->model->units[u].trainable)
            raise_to(&d->trained_elements[unit_class(b, u)], b->partition->units[u].padded);
    }
    d->lowest = model_lowest_trainable(b->model);
}

static int segment_of(const struct builder *b, int layer)
{
    return (layer - 1) / b->config->interval;
}

/* Attention and MLP alternate, so segments of an odd number of layers do. */
static bool keeps_inside(const struct builder *b, int segment)
{
    const struct program *p = b->program;
    bool alternate = b->config->interval % 2;
    int kind = alternate ? segment % 2 : LAYER_ATTENTION;
    int of_kind = alternate ? segment / 2 : segment;
    return of_kind >= p->segment_count[kind] - p->kept_segments[kind];
}

static void derive_segments(struct builder *b)
{
    const struct zero_config *c = b->config;
    struct program *p = b->program;
    int body = b->model->layer_count - 2, count = (body + c->interval - 1) / c->interval;
    p->segment_count[LAYER_MLP] = c->interval % 2 ? count / 2 : 0;
    p->segment_count[LAYER_ATTENTION] = count - p->segment_count[LAYER_MLP];
    for (int kind = 0; kind < LAYER_KIND_COUNT; kind++) {
        int most = p->segment_count[kind], wanted = c->kept_segments[kind];
        p->kept_segments[kind] = wanted < 0 || wanted > most ? most : wanted;
    }
    for (int layer = 1; layer <= body; layer++)
        p->kept_layers[(layer - 1) % LAYER_KIND_COUNT] += keeps_inside(b, segment_of(b, layer));
}

void builder_derive(struct builder *b)
{
    derive_states(b);
    derive_body(b);
    derive_segments(b);
    speculate_derive(b);
}

const char *class_name(enum size_class class)
{
    static const char *const names[] = {
        [CLASS_BLOCK] = "",
        [CLASS_LARGE] = "large ",
        [CLASS_ADAPTER] = "adapter's ",
        [CLASS_PACKED] = "frozen ",
    };
    return names[class];
}

enum size_class unit_class(const struct builder *b, int unit)
{
    int64_t block = b->derived.class_elements[CLASS_BLOCK];
    enum size_class class = class_by_kind(&b->model->units[unit]);
    bool large = class == CLASS_BLOCK && b->partition->units[unit].padded > block;
    return large ? CLASS_LARGE : class;
}

bool unit_is_fetched(const struct builder *b, int unit)
{
    return b->derived.fetches || b->model->units[unit].packed;
}

bool op_is_body(const struct builder *b, int op)
{
    return op >= b->derived.first_body && op < b->derived.end_body;
}

int segment_first(const struct builder *b, int op)
{
    const struct model_op *ops = b->model->ops;
    if (ops[op].tiles > 1) return op;
    int segment = segment_of(b, ops[op].layer);
    while (op > b->derived.first_body && segment_of(b, ops[op - 1].layer) == segment)
        op--;
    return op;
}

/* Whether backward comes to a segment. */
static bool is_reached(const struct builder *b, int segment)
{
    int lowest = b->derived.lowest;
    if (lowest == b->model->op_count) return false;
    int last = (segment + 1) * b->config->interval;
    return last >= b->model->ops[lowest].layer;
}

bool segment_is_kept(const struct builder *b, int op)
{
    int segment = segment_of(b, b->model->ops[op].layer);
    return is_reached(b, segment) && keeps_inside(b, segment);
}

bool layer_is_kept(const struct builder *b, int layer)
{
    if (layer < 1 || layer >= b->model->layer_count - 1) return false;
    int segment = segment_of(b, layer);
    if (!is_reached(b, segment)) return false;
    return keeps_inside(b, segment) || layer == 1 + segment * b->config->interval;
}
