/* SPDX-License-Identifier: Apache-2.0 */
/* Attention branch: y = x + W_o attention(rope(W_qkv norm(x))).
 *
 * Query, key and value are one product, since their weights lie behind each other, and stay one
 * buffer of rows [query heads, key heads, value heads]. Kept for backward: the normalised input,
 * the statistics of the norm, the rows of query, key and value (rotated), the output of attention
 * and one logsumexp per head and token. Nothing grows with the square of the sequence. */
#include "model/layers.h"

struct saved {
    struct layer_normed normed;
    struct device_ptr qkv, mixed, logsumexp;
};

struct scratch {
    struct device_ptr d_mixed, d_qkv, attention, norm; /* d_mixed is also the gradient of normed */
};

static struct saved lay_saved(const struct model *model, const struct layer_sizes *s,
                              struct layer_arena *arena)
{
    size_t type = zi_dtype_bytes(model->type);
    return (struct saved){
        .normed = layer_take_normed(model, s, arena),
        .qkv = layer_take(arena, s->R * s->Q, type),
        .mixed = layer_take(arena, s->R * s->H * s->D, type),
        .logsumexp = layer_take(arena, s->R * s->H, 4),
    };
}

static struct device_attention describe(const struct model *model, const struct layer_sizes *s,
                                        const struct saved *saved)
{
    size_t type = zi_dtype_bytes(model->type);
    return (struct device_attention){
        .type = model->type,
        .sequences = s->B,
        .tokens = s->T,
        .heads = s->H,
        .key_heads = s->G,
        .width = s->D,
        .ld = s->Q,
        .ld_o = s->H * s->D,
        .q = saved->qkv,
        .k = device_at(saved->qkv, (size_t)(s->H * s->D) * type),
        .v = device_at(saved->qkv, (size_t)((s->H + s->G) * s->D) * type),
        .o = saved->mixed,
        .logsumexp = saved->logsumexp,
    };
}

static struct scratch lay_scratch(const struct model *model, const struct layer_sizes *s,
                                  struct layer_arena *arena)
{
    const struct device_operations *ops = model->operations;
    size_t type = zi_dtype_bytes(model->type);
    struct device_attention attention = describe(model, s, &(struct saved){0});
    return (struct scratch){
        .d_mixed = layer_take(arena, s->R * s->C, type),
        .d_qkv = layer_take(arena, s->R * s->Q, type),
        .attention = layer_take(arena, (int64_t)ops->attention_backward_scratch(&attention), 1),
        .norm = layer_take(arena, (int64_t)ops->norm_backward_scratch(s->R, s->C), 1),
    };
}

static struct layer_linear projection(const struct model *model, int op,
                                      const struct model_pass *pass, const struct layer_sizes *s,
                                      bool output)
{
    bool biased = layer_find(model, op, 0, "output.bias") >= 0;
    return (struct layer_linear){
        .model = model,
        .pass = pass,
        .op = op,
        .weight = output ? "output.weight" : "query.weight",
        .bias = !biased  ? NULL
                : output ? "output.bias"
                         : "query.bias",
        .rows = s->R,
        .inputs = output ? s->H * s->D : s->C,
        .outputs = output ? s->C : s->Q,
    };
}

static enum zi_status rotate(const struct model *model, const struct model_pass *pass,
                             const struct layer_sizes *s, struct device_ptr rows, int sign)
{
    if (!family_of(&model->settings)->rotary) return ZI_OK;
    return model->operations->rope(pass->stream, model->type, rows,
                                   (int64_t[]){s->B, s->T, s->H + s->G, s->D, s->Q},
                                   model->settings.rope_base, sign);
}

static enum zi_status forward(const struct model *model, int op, enum model_mode mode,
                              const struct model_pass *pass)
{
    const struct device_operations *ops = model->operations;
    struct layer_sizes s = layer_sizes_of(model, pass->sequences, pass->tokens);
    struct layer_arena arena = {pass->saved, 0};
    struct saved saved = lay_saved(model, &s, &arena);
    ZI_TRY(layer_norm_forward(model, op, pass, &s, &saved.normed));
    struct layer_linear qkv = projection(model, op, pass, &s, false);
    ZI_TRY(linear_forward(&qkv, saved.normed.y, saved.qkv, (struct device_ptr){0}));
    ZI_TRY(rotate(model, pass, &s, saved.qkv, 1));
    struct device_attention attention = describe(model, &s, &saved);
    ZI_TRY(ops->attention(pass->stream, &attention));
    if (mode == MODEL_RECOMPUTE) return ZI_OK;
    struct layer_linear output = projection(model, op, pass, &s, true);
    return linear_forward(&output, saved.mixed, pass->output, pass->input);
}

static enum zi_status backward(const struct model *model, int op, const struct model_pass *pass)
{
    const struct device_operations *ops = model->operations;
    struct layer_sizes s = layer_sizes_of(model, pass->sequences, pass->tokens);
    struct layer_arena arena = {pass->saved, 0}, work = {pass->scratch, 0};
    struct saved saved = lay_saved(model, &s, &arena);
    struct scratch scratch = lay_scratch(model, &s, &work);
    size_t type = zi_dtype_bytes(model->type);
    ZI_TRY(layer_prepare_gradient(model, op, pass, 0, false));
    struct layer_linear output = projection(model, op, pass, &s, true);
    ZI_TRY(linear_input_gradient(&output, pass->gradient, scratch.d_mixed));
    ZI_TRY(linear_weight_gradient(&output, pass->gradient, saved.mixed));
    struct device_attention attention = describe(model, &s, &saved);
    attention.d_o = scratch.d_mixed;
    attention.dq = scratch.d_qkv;
    attention.dk = device_at(scratch.d_qkv, (size_t)(s.H * s.D) * type);
    attention.dv = device_at(scratch.d_qkv, (size_t)((s.H + s.G) * s.D) * type);
    attention.scratch = scratch.attention;
    ZI_TRY(ops->attention_backward(pass->stream, &attention));
    ZI_TRY(rotate(model, pass, &s, scratch.d_qkv, -1));
    struct layer_linear qkv = projection(model, op, pass, &s, false);
    ZI_TRY(linear_weight_gradient(&qkv, scratch.d_qkv, saved.normed.y));
    ZI_TRY(linear_input_gradient(&qkv, scratch.d_qkv, scratch.d_mixed));
    return layer_norm_backward(model, op, pass, &s, &saved.normed,
                               (struct device_ptr[]){scratch.d_mixed, scratch.norm});
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
    double R = (double)s->R, C = (double)s->C, Q = (double)s->Q, mixed = (double)(s->H * s->D);
    double scores = (double)(s->B * s->H * s->D) * (double)s->T * (double)(s->T + 1);
    double qkv = 2 * R * C * Q, output = 2 * R * mixed * C;
    /* Scores and their use are 2 flops on each of T(T+1)/2 pairs and D; backward repeats the scores
     * and has four more such products. */
    to->forward = qkv + output + 2 * scores;
    to->recompute = qkv + 2 * scores;
    to->backward = 2 * (qkv + output) + 5 * scores;
}

const struct layer layer_attention = {forward, backward, sizes, flops};
