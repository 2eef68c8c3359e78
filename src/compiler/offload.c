/* SPDX-License-Identifier: Apache-2.0 */
/* Which kept inner activations wait for backward in host memory.
 *
 * Where the device does not hold them all, those that are left are computed again, or kept on the
 * host: they go out over the link under the forward pass, and come back under the backward pass. A
 * pass is a pipeline, and takes as long as the longer of its arithmetic and its way; so a link that
 * is fast enough spares the recomputing, and one that is not makes the pass longer than that. The
 * way of weights and of kept inputs over the same link is not counted: it is the same for every
 * choice.
 *
 * The ranks of a node share its devices' arithmetic and its links equally, so rates of a node
 * compare as those of a rank do. */
#include "compiler/placement.h"
#include "compiler/inner.h"

static const char *const names[] = {[OFFLOAD_NONE] = "none",
                                    [OFFLOAD_ATTENTION] = "attention",
                                    [OFFLOAD_MLP] = "mlp",
                                    [OFFLOAD_ALL] = "all"};

void resolve_set_offload(struct zero_config *config, int64_t offload)
{
    config->offloaded[LAYER_ATTENTION] = offload == OFFLOAD_ATTENTION || offload == OFFLOAD_ALL;
    config->offloaded[LAYER_MLP] = offload == OFFLOAD_MLP || offload == OFFLOAD_ALL;
}

static bool is_open(const struct settings *s, const struct zero_config *config)
{
    bool open = s->activations.offload == ZI_AUTO && s->activations.recompute == ZI_AUTO;
    return open && config->training && !config->unified;
}

static bool knows_rates(const struct zero_config *config)
{
    return config->rates.link > 0 && config->rates.flops > 0;
}

bool resolve_may_offload(const struct settings *s, const struct zero_config *config)
{
    return is_open(s, config) && knows_rates(config);
}

static double longer(double a, double b)
{
    return a > b ? a : b;
}

double resolve_pass_seconds(const struct model *model, const struct zero_config *config,
                            const int segments[LAYER_KIND_COUNT])
{
    double forward = 0, backward = 0;
    double ranks = config->node.ranks;
    double way = ranks * resolve_offloaded_bytes(model, config, segments) / config->rates.link;
    for (int op = 0; op < model->op_count; op++) {
        struct model_flops flops;
        model_op_flops(model, op, config->micro, config->tokens, &flops);
        forward += flops.forward;
        backward += flops.backward;
    }
    backward += resolve_recomputing(model, config, segments);
    return longer(ranks * forward / config->rates.flops, way) +
           longer(ranks * backward / config->rates.flops, way);
}

void resolve_explain_offload(const struct settings *s, const struct zero_config *config, FILE *out)
{
    const bool *moved = config->offloaded;
    int chosen = (moved[LAYER_ATTENTION] ? OFFLOAD_ATTENTION : OFFLOAD_NONE) +
                 (moved[LAYER_MLP] ? OFFLOAD_MLP : OFFLOAD_NONE);
    if (!is_open(s, config)) return;
    if (chosen != OFFLOAD_NONE)
        fprintf(out,
                "activations.offload: auto chose %s, which goes out and comes back sooner than it "
                "is computed again; a run knows no rates: its deck has to say %s\n",
                names[chosen], names[chosen]);
    else if (!knows_rates(config))
        fprintf(out, "activations.offload: auto chose none, because the rates of link and "
                     "arithmetic are not known; zinf plan --machine FILE compares them\n");
    else
        fprintf(out, "activations.offload: auto chose none: what the device does not hold is "
                     "computed again sooner than it would come back\n");
}
