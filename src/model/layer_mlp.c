/* SPDX-License-Identifier: Apache-2.0 */
/* MLP branch: y = x + W_down f(W_up norm(x)), f = GELU, or SwiGLU of gate and up, whose weights lie
 * behind each other so that both are one product. Kept for backward: the normalised input, the
 * statistics, what enters f and what leaves it. */
#include "model/layers.h"

struct saved {
    struct layer_normed normed;
    struct device_ptr before, after;
};

struct scratch {
    struct device_ptr d_after, d_normed, norm;
};

static struct saved lay_saved(const struct model *model, const struct layer_sizes *s,
                              struct layer_arena *arena)
{
    size_t type = zi_dtype_bytes(model->type);
    return (struct saved){
        .normed = layer_take_normed(model, s, arena),
        .before = layer_take(arena, s->R * s->U, type),
        .after = layer_take(arena, s->R * s->F, type),
    };
}

static struct scratch lay_scratch(const struct model *model, const struct layer_sizes *s,
                                  struct layer_arena *arena)
{
    size_t type = zi_dtype_bytes(model->type);
    return (struct scratch){
        .d_after = layer_take(arena, s->R * s->F, type),
        .d_normed = layer_take(arena, s->R * s->C, type),
        .norm = layer_take(arena, (int64_t)model->operations->norm_backward_scratch(s->R, s->C), 1),
    };
}

static struct layer_linear projection(const struct model *model, int op,
                                      const struct model_pass *pass, const struct layer_sizes *s,
                                      bool down)
{
    bool biased = layer_find(model, op, 0, "down.bias") >= 0;
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
                        : "up.bias",
        .rows = s->R,
        .inputs = down ? s->F : s->C,
        .outputs = down ? s->C : s->U,
    };
}

static enum zi_status forward(const struct model *model, int op, enum model_mode mode,
                              const struct model_pass *pass)
{
    const struct device_operations *ops = model->operations;
    struct layer_sizes s = layer_sizes_of(model, pass->sequences, pass->tokens);
    struct layer_arena arena = {pass->saved, 0};
    struct saved saved = lay_saved(model, &s, &arena);
    ZI_TRY(layer_norm_forward(model, op, pass, &s, &saved.normed));
    struct layer_linear up = projection(model, op, pass, &s, false);
    ZI_TRY(linear_forward(&up, saved.normed.y, saved.before, (struct device_ptr){0}));
    if (family_of(&model->settings)->gated)
        ZI_TRY(ops->swiglu(pass->stream, model->type, saved.after, saved.before, s.R, s.F));
    else
        ZI_TRY(ops->gelu(pass->stream, model->type, saved.after, saved.before, s.R * s.F));
    if (mode == MODEL_RECOMPUTE) return ZI_OK;
    struct layer_linear down = projection(model, op, pass, &s, true);
    return linear_forward(&down, saved.after, pass->output, pass->input);
}

static enum zi_status backward(const struct model *model, int op, const struct model_pass *pass)
{
    const struct device_operations *ops = model->operations;
    struct layer_sizes s = layer_sizes_of(model, pass->sequences, pass->tokens);
    struct layer_arena arena = {pass->saved, 0}, work = {pass->scratch, 0};
    struct saved saved = lay_saved(model, &s, &arena);
    struct scratch scratch = lay_scratch(model, &s, &work);
    struct device_ptr d_before = scratch.d_after; /* gelu: in place; swiglu: in place of `before` */
    ZI_TRY(layer_prepare_gradient(model, op, pass, 0, false));
    struct layer_linear down = projection(model, op, pass, &s, true);
    ZI_TRY(linear_input_gradient(&down, pass->gradient, scratch.d_after));
    ZI_TRY(linear_weight_gradient(&down, pass->gradient, saved.after));
    if (family_of(&model->settings)->gated) {
        d_before = saved.before;
        ZI_TRY(ops->swiglu_backward(pass->stream, model->type, d_before, scratch.d_after,
                                    saved.before, s.R, s.F));
    } else {
        ZI_TRY(ops->gelu_backward(pass->stream, model->type, d_before, scratch.d_after,
                                  saved.before, s.R * s.F));
    }
    struct layer_linear up = projection(model, op, pass, &s, false);
    ZI_TRY(linear_weight_gradient(&up, d_before, saved.normed.y));
    ZI_TRY(linear_input_gradient(&up, d_before, scratch.d_normed));
    return layer_norm_backward(model, op, pass, &s, &saved.normed,
                               (struct device_ptr[]){scratch.d_normed, scratch.norm});
}

static void sizes(const struct model *model, const struct layer_sizes *s, struct model_sizes *to)
{
    struct layer_arena arena = {{0}, 0}, work = {{0}, 0};
    lay_saved(model, s, &arena);
    to->saved = arena.used;
    lay_scratch(model, s, &work);
    to->scratch = work.used;
}

static void flops(const struct model *model, const struct layer_sizes *s, struct model_flops *to)
{
    (void)model;
    double up = 2.0 * (double)s->R * (double)s->C * (double)s->U;
    double down = 2.0 * (double)s->R * (double)s->F * (double)s->C;
    to->forward = up + down;
    to->recompute = up;
    to->backward = 2 * (up + down);
}

const struct layer layer_mlp = {forward, backward, sizes, flops};
