/* SPDX-License-Identifier: Apache-2.0 */
/* MLP branch: y = x + W_down f(W_up norm(x)), f = GELU, or a gated linear unit of gate and up, whose
 * weights lie behind each other so that both are one product. Kept for backward: the normalised input, the
 * statistics, what enters f and what leaves it.
 *
 * A tile is a slice of the inner width: rows of up (and gate), columns of down. It keeps its slice
 * of what enters and leaves f, and normalises the input again in backward. */
#include "model/norms.h"

struct buffers {
    struct layer_normed normed;
    /* Saved. */
    struct device_ptr before, after;
    /* Scratch; d_normed without tiles only. */
    struct device_ptr d_after, d_normed;
    struct layer_branch branch;
};

static struct buffers lay(const struct model *model, const struct layer_sizes *s,
                          struct layer_arena *saved, struct layer_arena *scratch)
{
    size_t type = zi_dtype_bytes(model->type);
    struct buffers b = {
        .normed = layer_take_normed(model, s, saved, scratch),
        .before = layer_take(saved, s->R * s->U, type),
        .after = layer_take(saved, s->R * s->F, type),
        .d_after = layer_take(scratch, s->R * s->F, type),
        .branch = layer_take_branch(model, s, saved, scratch),
    };
    if (s->tiles == 1) b.d_normed = layer_take(scratch, s->R * s->C, type);
    return b;
}

static struct layer_linear projection(const struct model *model, int op,
                                      const struct model_pass *pass, const struct layer_sizes *s,
                                      bool down)
{
    bool biased = layer_find(model, op, "down.bias").piece >= 0;
    bool gated = family_of(&model->settings)->gated;
    return (struct layer_linear){
        .model = model,
        .pass = pass,
        .op = op,
        .weight = down    ? "down.weight"
                  : gated ? "gate.weight"
                          : "up.weight",
        .bias = !biased ? NULL
                : down  ? "down.bias"
                : gated ? "gate.bias"
                        : "up.bias",
        .rows = s->R,
        .inputs = down ? s->F : s->C,
        .outputs = down ? s->C : s->U,
    };
}

/* Of gate and up, where the family has them. */
static struct device_glu unit_of(const struct model *model, const struct layer_sizes *s,
                                 const struct buffers *b)
{
    return (struct device_glu){
        .type = model->type,
        .gelu = family_of(&model->settings)->gated_by_gelu,
        .rows = s->R,
        .inner = s->F,
        .gate_up = b->before,
        .y = b->after,
        .dy = b->d_after,
        .d_gate_up = b->before,
    };
}

static enum zi_status forward(const struct model *model, int op, enum model_mode mode,
                              const struct model_pass *pass)
{
    const struct device_operations *ops = pass->operations;
    struct layer_sizes s = layer_sizes_of(model, op, pass->sequences, pass->tokens);
    struct layer_arena saved = {pass->saved, 0}, scratch = {pass->scratch, 0};
    struct buffers b = lay(model, &s, &saved, &scratch);
    ZI_TRY(layer_norm_forward(model, op, pass, pass->input, &b.normed));
    struct layer_linear up = projection(model, op, pass, &s, false);
    struct device_ptr x = layer_normed_rows(pass, &b.normed);
    if (family_of(&model->settings)->gated) {
        ZI_TRY(linear_forward(&up, x, (struct device_ptr){0}, b.before));
        struct device_glu unit = unit_of(model, &s, &b);
        ZI_TRY(ops->glu(pass->stream, &unit));
    } else {
        ZI_TRY(linear_forward(&up, x, b.before, b.after));
    }
    struct layer_linear down = projection(model, op, pass, &s, true);
    return layer_end(&down, b.after, mode, &b.branch);
}

static enum zi_status backward(const struct model *model, int op, const struct model_pass *pass)
{
    const struct device_operations *ops = pass->operations;
    struct layer_sizes s = layer_sizes_of(model, op, pass->sequences, pass->tokens);
    struct layer_arena saved = {pass->saved, 0}, scratch = {pass->scratch, 0};
    struct buffers b = lay(model, &s, &saved, &scratch);
    struct device_ptr d_before = b.d_after; /* gelu: in place; gated: in place of `before` */
    ZI_TRY(layer_prepare_gradients(model, op, pass, false));
    struct layer_linear down = projection(model, op, pass, &s, true);
    struct device_ptr dy;
    ZI_TRY(layer_branch_backward(model, op, pass, &b.branch, &dy));
    ZI_TRY(linear_weight_gradient(&down, dy, b.after));
    if (family_of(&model->settings)->gated) {
        d_before = b.before;
        ZI_TRY(linear_input_gradient(&down, dy, (struct device_ptr){0}, b.d_after));
        struct device_glu unit = unit_of(model, &s, &b);
        ZI_TRY(ops->glu_backward(pass->stream, &unit));
    } else {
        ZI_TRY(linear_input_gradient(&down, dy, b.before, d_before));
    }
    struct layer_linear up = projection(model, op, pass, &s, false);
    struct layer_sum sum = layer_sum_of(model, op, pass, b.d_normed, 0);
    if (s.tiles > 1) ZI_TRY(layer_norm_forward(model, op, pass, pass->input, &b.normed));
    ZI_TRY(linear_weight_gradient(&up, d_before, layer_normed_rows(pass, &b.normed)));
    ZI_TRY(linear_add_gradient(&up, d_before, &sum));
    return layer_norm_backward(model, op, pass, &b.normed, &sum);
}

static void sizes(const struct model *model, const struct layer_sizes *s, struct model_sizes *to)
{
    struct layer_arena saved = {{0}, 0}, scratch = {{0}, 0};
    lay(model, s, &saved, &scratch);
    to->saved = saved.used;
    to->scratch = scratch.used;
}

static void flops(const struct model *model, const struct layer_sizes *s, struct model_flops *to)
{
    (void)model;
    double up = 2.0 * (double)s->R * (double)s->C * (double)s->U;
    double down = 2.0 * (double)s->R * (double)s->F * (double)s->C;
    to->forward = up + down;
    to->recompute = up + (s->behind ? down : 0);
    to->weights = up + down;
    to->backward = 2 * (up + down);
}

const struct layer layer_mlp = {forward, backward, sizes, flops};
