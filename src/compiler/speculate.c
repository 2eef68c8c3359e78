/* SPDX-License-Identifier: Apache-2.0 */
/* Which units are updated speculatively.
 *
 * The problem: a deferred update puts all traffic of the optimizer under forward, which is a third of
 * a step's arithmetic; in backward the disk is idle. But what an update multiplies gradients with
 * (clip / norm) is known when backward is over.
 *
 * The idea: the gradient of a unit is final long before that, and most steps are not clipped. So in
 * backward units are updated as if the step were neither clipped nor skipped, and the result goes to
 * a second generation of their states on nvme. When the norm says that this was right the generations
 * change places; otherwise what was written is forgotten, and the update is deferred as ever. Nothing
 * that was stored is ever changed in place by a guess, so no bit depends on how guesses end.
 *
 * Updated so are the units that come last in forward: they are the first whose gradients are final,
 * and the last that the next step needs. Those before them are deferred as ever, so that neither
 * pass has an idle disk: the cut is where traffic and arithmetic have the same ratio in both. Units
 * of the embedding are always deferred: their gradients are final at the end, where nothing is left
 * to hide traffic under, and parameters of the first visit are read before the step is decided. */
#include "base/log.h"
#include "compiler/compile.h"
#include "compiler/resolve.h"

enum pass { PASS_FORWARD, PASS_BACKWARD, PASS_COUNT };

/* FLOPs and bytes of the disk of a step's passes, without states that are loaded in the one for the
 * other; elements whose update each of them stores. */
struct passes {
    double flops[PASS_COUNT], bytes[PASS_COUNT], elements[PASS_COUNT];
};

bool speculation_is_possible(const struct zero_config *config)
{
    return config->training && config->deferred && config->tier[PLACE_OPTIMIZER] == ZI_TIER_NVME &&
           config->tier[PLACE_PARAMETERS] == ZI_TIER_NVME;
}

enum zi_status resolve_check_speculation(const struct settings *s, const struct zero_config *config)
{
    bool asked = config->training && s->zero.speculate == SPECULATE_ON;
    if (!asked || speculation_is_possible(config)) return ZI_OK;
    return zi_fail(
        ZI_ERROR_USAGE, "compiler",
        "zero.speculate: on needs a deferred update, and parameters and optimizer states "
        "on nvme, of which it stores a second generation; here the update is %s, and they "
        "are on %s and %s; set zero.update=deferred, placement.parameters=nvme and "
        "placement.optimizer=nvme, or zero.speculate=auto",
        config->deferred ? "deferred" : "immediate", zi_tier_name(config->tier[PLACE_PARAMETERS]),
        zi_tier_name(config->tier[PLACE_OPTIMIZER]));
}

void resolve_explain_speculation(const struct settings *s, const struct zero_config *config,
                                 FILE *out)
{
    if (s->zero.speculate != ZI_AUTO || !speculation_is_possible(config)) return;
    fprintf(
        out,
        config->speculates
            ? "zero.speculate: auto chose on, since the disks have room for a second generation "
              "of what is updated in backward\n"
            : "zero.speculate: auto chose off, because the disks have no room for a second "
              "generation of what would be updated in backward\n");
}

/* Bytes per element of a kind of state, with what blocks of it have beside their elements. */
static double element_bytes(const struct builder *b, enum tier_kind kind)
{
    int64_t group = b->config->group;
    return (double)program_state_bytes(b->program, kind, group) / (double)group;
}

/* Bytes per element of states that an update loads and stores. */
static double state_bytes(const struct builder *b)
{
    double bytes = 0;
    for (int k = 0; k < TIER_KIND_COUNT; k++) {
        enum tier_kind kind = (enum tier_kind)k;
        bool state =
            tier_kind_row(kind)->place == PLACE_OPTIMIZER && zero_has(b->config, kind, true);
        if (state) bytes += element_bytes(b, kind);
    }
    return bytes;
}

/* Bytes per element that an update reads and writes beside the parameter that it finds in memory. */
static double update_bytes(const struct builder *b)
{
    bool gradient = zero_tier(b->config, TIER_GRADIENT) == ZI_TIER_NVME;
    double bytes = element_bytes(b, TIER_PARAMETER);
    if (gradient) bytes += element_bytes(b, TIER_GRADIENT);
    return bytes + 2 * state_bytes(b);
}

/* Trainable elements of the units that an operation is the first to use. */
static double new_elements(const struct builder *b, int op)
{
    const struct model_op *o = &b->model->ops[op];
    double elements = 0;
    for (int i = 0; i < o->unit_count; i++) {
        int unit = o->units[i];
        if (b->derived.first_ops[unit] == op && b->model->units[unit].trainable)
            elements += (double)b->partition->units[unit].padded;
    }
    return elements;
}

/* With all updates deferred. */
static void add_op(const struct builder *b, int op, struct passes *passes)
{
    struct model_flops flops;
    double parameters = 0;
    model_op_flops(b->model, op, b->config->micro, b->config->tokens, &flops);
    for (int i = 0; i < b->model->ops[op].unit_count; i++)
        parameters += (double)b->partition->units[b->model->ops[op].units[i]].padded;
    parameters *= element_bytes(b, TIER_PARAMETER);
    /* The head's forward is part of its backward. */
    bool head = op >= b->derived.end_body;
    bool again = head || (op_is_body(b, op) && !segment_is_kept(b, op));
    passes->flops[PASS_FORWARD] += head ? 0 : flops.forward;
    passes->flops[PASS_BACKWARD] += flops.backward + (again ? flops.forward : 0);
    passes->bytes[PASS_FORWARD] += parameters + update_bytes(b) * new_elements(b, op);
    passes->elements[PASS_FORWARD] += new_elements(b, op);
    if (op >= b->derived.first_body) passes->bytes[PASS_BACKWARD] += parameters;
}

/* Bytes of states that are loaded before the pass that updates them, as many as sets hold. */
static double loaded_before(const struct builder *b, double elements)
{
    int ranks = zero_is_sharded(b->config, TIER_GRADIENT) ? b->config->ranks : 1;
    double most = (double)b->config->group * b->config->groups * ranks;
    return state_bytes(b) * (elements < most ? elements : most);
}

/* Of bytes to FLOPs, that of the pass for which it is larger. */
static double larger_ratio(const struct builder *b, const struct passes *p)
{
    double moved =
        loaded_before(b, p->elements[PASS_FORWARD]) - loaded_before(b, p->elements[PASS_BACKWARD]);
    double forward = (p->bytes[PASS_FORWARD] - moved) / p->flops[PASS_FORWARD];
    double backward = (p->bytes[PASS_BACKWARD] + moved) / p->flops[PASS_BACKWARD];
    return forward > backward ? forward : backward;
}

void speculate_derive(struct builder *b)
{
    struct derived *d = &b->derived;
    struct passes passes = {{0}, {0}, {0}};
    d->speculated_from = b->model->op_count;
    d->first_ops = builder_numbers(b, b->model->unit_count);
    if (b->status < 0) return;
    for (int o = b->model->op_count - 1; o >= 0; o--) {
        for (int i = 0; i < b->model->ops[o].unit_count; i++)
            d->first_ops[b->model->ops[o].units[i]] = o;
    }
    if (!b->config->speculates) return;
    for (int o = 0; o < b->model->op_count; o++)
        add_op(b, o, &passes);
    double best = larger_ratio(b, &passes);
    for (int o = b->model->op_count - 1; o >= d->first_body; o--) {
        double moved = new_elements(b, o);
        passes.elements[PASS_FORWARD] -= moved;
        passes.elements[PASS_BACKWARD] += moved;
        passes.bytes[PASS_FORWARD] -= moved * update_bytes(b);
        passes.bytes[PASS_BACKWARD] += moved * update_bytes(b);
        if (larger_ratio(b, &passes) >= best) continue;
        best = larger_ratio(b, &passes);
        d->speculated_from = o;
    }
}

bool unit_is_speculated(const struct builder *b, int unit)
{
    return b->model->units[unit].trainable &&
           b->derived.first_ops[unit] >= b->derived.speculated_from;
}
