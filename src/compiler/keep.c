/* SPDX-License-Identifier: Apache-2.0 */
/* Of which kind of layer the inner activations are kept first.
 *
 * Memory holds inner activations of some segments, and keeping a segment's spares the FLOPs with
 * which backward would make them again. Segments of one kind are alike, so memory spares the most
 * when it goes to the kind with more such FLOPs per byte first, and what is left of it to the other.
 * With an interval of 1 that sets attention against MLP: attention's scores grow with the square of
 * the tokens and leave no bytes behind, an MLP's product is the larger one where key heads are few
 * and sequences short. Longer segments of an even number of layers are all of one kind.
 *
 * Segments of one layer have the input of each kept, those of two only every second one, and repeat
 * the output projection of attention to make the other. */
#include <math.h>

#include "compiler/inner.h"

/* Of a segment and a micro-batch. */
struct weight {
    /* FLOPs of recomputing it. */
    double flops;
    /* Of what keeping spares them with; of that what is moved to the host. */
    double bytes, moved;
};

static enum layer_kind kind_of(const struct model_op *op)
{
    return op->kind == MODEL_MLP ? LAYER_MLP : LAYER_ATTENTION;
}

/* Whether what an operation saves takes memory that is short: host memory is only where all of it
 * goes there. */
static bool takes_memory(const struct zero_config *config, const struct model_op *op)
{
    bool all = config->offloaded[LAYER_ATTENTION] && config->offloaded[LAYER_MLP];
    return all || !config->offloaded[kind_of(op)];
}

/* The first segment of a kind stands for all. */
static struct weight weigh(const struct model *model, const struct zero_config *config,
                           enum layer_kind kind)
{
    struct weight weight = {0, 0, 0};
    int first = kind == LAYER_MLP ? 1 + config->interval : 1, last = first + config->interval - 1;
    if (kind == LAYER_MLP && config->interval % 2 == 0) return weight;
    if (last > model->layer_count - 2) last = model->layer_count - 2;
    for (int op = 0; op < model->op_count; op++) {
        const struct model_op *o = &model->ops[op];
        struct model_sizes sizes;
        struct model_flops flops;
        if (o->layer < first || o->layer > last) continue;
        model_op_sizes(model, op, config->micro, config->tokens, &sizes);
        model_op_flops(model, op, config->micro, config->tokens, &flops);
        bool inside = o->layer > first && o->tile == 0; /* its input is kept as well */
        weight.bytes += takes_memory(config, o) ? (double)sizes.saved : 0;
        weight.bytes += inside ? (double)sizes.stream : 0;
        weight.moved += config->offloaded[kind_of(o)] ? (double)sizes.saved : 0;
        weight.flops += o->layer < last ? flops.forward : flops.recompute;
    }
    return weight;
}

double resolve_keeping_worth(const struct model *model, const struct zero_config *config,
                             enum layer_kind kind)
{
    struct weight weight = weigh(model, config, kind);
    if (weight.flops <= 0) return 0;
    return weight.bytes > 0 ? weight.flops / weight.bytes : INFINITY;
}

double resolve_recomputing(const struct model *model, const struct zero_config *config,
                           const int segments[LAYER_KIND_COUNT])
{
    double flops = 0;
    for (int kind = 0; kind < LAYER_KIND_COUNT; kind++) {
        int recomputed = segments[kind] - config->kept_segments[kind];
        flops += recomputed * weigh(model, config, (enum layer_kind)kind).flops;
    }
    return flops;
}

double resolve_offloaded_bytes(const struct model *model, const struct zero_config *config,
                               const int segments[LAYER_KIND_COUNT])
{
    double bytes = 0;
    for (int kind = 0; kind < LAYER_KIND_COUNT; kind++) {
        int kept = config->kept_segments[kind];
        if (kept < 0 || kept > segments[kind]) kept = segments[kind];
        bytes += kept * weigh(model, config, (enum layer_kind)kind).moved;
    }
    return bytes;
}
