/* SPDX-License-Identifier: Apache-2.0 */
/* Attention branch: y = x + W_o attention(rope(W_qkv norm(x))).
 *
 * Query, key and value are one product, since their weights lie behind each other, and stay one
 * buffer of rows [query heads, key heads, value heads]. Kept for backward: the normalised input,
 * the statistics of the norm, the rows of query, key and value (rotated), the output of attention
 * and one logsumexp per head and token. Nothing grows with the square of the sequence.
 *
 * A tile is a group of key heads with the query heads that use them: rows of query, key and value,
 * columns of output. It keeps what belongs to its heads, and normalises the input again in
 * backward. */
#include "model/layers.h"

struct buffers {
    struct layer_normed normed;
    /* Saved. */
    struct device_ptr qkv, mixed, logsumexp;
    /* Scratch; d_mixed, without tiles, is also the gradient of normed. */
    struct device_ptr d_mixed, d_qkv, attention;
};

static struct device_attention describe(const struct model *model, const struct layer_sizes *s,
                                        const struct buffers *b)
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
        .q = b->qkv,
        .k = device_at(b->qkv, (size_t)(s->H * s->D) * type),
        .v = device_at(b->qkv, (size_t)((s->H + s->G) * s->D) * type),
        .o = b->mixed,
        .logsumexp = b->logsumexp,
    };
}

static struct buffers lay(const struct model *model, const struct layer_sizes *s,
                          struct layer_arena *saved, struct layer_arena *scratch)
{
    size_t type = zi_dtype_bytes(model->type);
    struct buffers b = {
        .normed = layer_take_normed(model, s, saved, scratch),
        .qkv = layer_take(saved, s->R * s->Q, type),
        .mixed = layer_take(saved, s->R * s->H * s->D, type),
        .logsumexp = layer_take(saved, s->R * s->H, 4),
        .d_mixed = layer_take(scratch, s->R * s->H * s->D, type),
        .d_qkv = layer_take(scratch, s->R * s->Q, type),
    };
    struct device_attention attention = describe(model, s, &b);
    size_t bytes = device_attention_backward_scratch(&attention);
    b.attention = layer_take(scratch, (int64_t)bytes, 1);
    return b;
}

static struct layer_linear projection(const struct model *model, int op,
                                      const struct model_pass *pass, const struct layer_sizes *s,
                                      bool output)
{
    bool biased = layer_find(model, op, "output.bias").piece >= 0;
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
    return pass->operations->rope(pass->stream, model->type, rows,
                                  (int64_t[]){s->B, s->T, s->H + s->G, s->D, s->Q},
                                  model->settings.rope_base, sign);
}

static enum zi_status forward(const struct model *model, int op, enum model_mode mode,
                              const struct model_pass *pass)
{
    const struct device_operations *ops = pass->operations;
    struct layer_sizes s = layer_sizes_of(model, op, pass->sequences, pass->tokens);
    struct layer_arena saved = {pass->saved, 0}, scratch = {pass->scratch, 0};
    struct buffers b = lay(model, &s, &saved, &scratch);
    ZI_TRY(layer_norm_forward(model, op, pass, pass->input, &b.normed));
    struct layer_linear qkv = projection(model, op, pass, &s, false);
    ZI_TRY(linear_forward(&qkv, b.normed.y, (struct device_ptr){0}, b.qkv));
    ZI_TRY(rotate(model, pass, &s, b.qkv, 1));
    struct device_attention attention = describe(model, &s, &b);
    ZI_TRY(ops->attention(pass->stream, &attention));
    if (mode == MODEL_RECOMPUTE) return ZI_OK;
    struct layer_linear output = projection(model, op, pass, &s, true);
    return linear_end_branch(&output, b.mixed);
}

static enum zi_status backward(const struct model *model, int op, const struct model_pass *pass)
{
    const struct device_operations *ops = pass->operations;
    struct layer_sizes s = layer_sizes_of(model, op, pass->sequences, pass->tokens);
    struct layer_arena saved = {pass->saved, 0}, scratch = {pass->scratch, 0};
    struct buffers b = lay(model, &s, &saved, &scratch);
    size_t type = zi_dtype_bytes(model->type);
    ZI_TRY(layer_prepare_gradients(model, op, pass, false));
    struct layer_linear output = projection(model, op, pass, &s, true);
    ZI_TRY(linear_input_gradient(&output, pass->gradient, (struct device_ptr){0}, b.d_mixed));
    ZI_TRY(linear_weight_gradient(&output, pass->gradient, b.mixed));
    struct device_attention attention = describe(model, &s, &b);
    attention.d_o = b.d_mixed;
    attention.dq = b.d_qkv;
    attention.dk = device_at(b.d_qkv, (size_t)(s.H * s.D) * type);
    attention.dv = device_at(b.d_qkv, (size_t)((s.H + s.G) * s.D) * type);
    attention.scratch = b.attention;
    ZI_TRY(ops->attention_backward(pass->stream, &attention));
    ZI_TRY(rotate(model, pass, &s, b.d_qkv, -1));
    struct layer_linear qkv = projection(model, op, pass, &s, false);
    struct layer_sum sum = layer_sum_of(model, op, pass, b.d_mixed, 0);
    if (s.tiles > 1) ZI_TRY(layer_norm_forward(model, op, pass, pass->input, &b.normed));
    ZI_TRY(linear_weight_gradient(&qkv, b.d_qkv, b.normed.y));
    ZI_TRY(linear_add_gradient(&qkv, b.d_qkv, &sum));
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
