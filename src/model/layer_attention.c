/* SPDX-License-Identifier: Apache-2.0 */
/* Attention branch: y = x + W_o attention(rope(W_qkv norm(x))), or with queries and keys that are
 * normalised before they are rotated, or with the norm, or another, of what is added to x. A window and
 * the rotation are the block's (rope.c).
 *
 * Query, key and value are one product, since their weights lie behind each other, and stay one
 * buffer of rows [query heads, key heads, value heads]. Kept for backward: the normalised input,
 * the statistics of the norm, the rows of query, key and value (rotated), the output of attention
 * and one logsumexp per head and token. Nothing grows with the square of the sequence. Where queries
 * and keys are normalised, their rows are kept as the product made them; what attention takes is made
 * of them in scratch, in backward once more, so that no more is kept.
 *
 * A tile is a group of key heads with the query heads that use them: rows of query, key and value,
 * columns of output. It keeps what belongs to its heads, and normalises the input again in
 * backward. The norms of heads are in the unit that tiles share: their gradients are summed up in
 * carry, from tile to tile, until tile 0 adds the sums to them. */
#include <string.h>

#include "model/norms.h"

struct buffers {
    struct layer_normed normed;
    /* Saved. */
    struct device_ptr qkv, mixed, logsumexp;
    /* Scratch; d_mixed, without tiles, is also the gradient of normed, which may be wider. */
    struct device_ptr d_mixed, d_qkv, attention;
    /* Scratch, where heads are normalised: queries and keys as attention takes them, the reciprocal
     * deviations, what their backward needs. */
    struct device_ptr qk, rstd, norms;
    struct layer_branch branch;
};

/* Queries, or keys, of a buffer of rows: their heads, and from which on they lie there. */
struct heads {
    const char *norm;
    int64_t count, first;
};

/* In the order in which they lie in a row. */
enum { QUERIES, KEYS };
static struct heads heads_of(const struct layer_sizes *s, int which)
{
    return which == QUERIES ? (struct heads){"query_norm.weight", s->H, 0}
                            : (struct heads){"key_norm.weight", s->G, s->H};
}

static bool normalises(const struct model *model)
{
    return family_of(&model->settings)->head_norms;
}

static struct device_attention describe(const struct model *model, int block,
                                        const struct layer_sizes *s, const struct buffers *b)
{
    size_t type = zi_dtype_bytes(model->type);
    bool apart = normalises(model);
    struct device_ptr q = apart ? b->qk : b->qkv;
    return (struct device_attention){
        .type = model->type,
        .sequences = s->B,
        .tokens = s->T,
        .heads = s->H,
        .key_heads = s->G,
        .width = s->D,
        .ld = s->Q,
        .ld_o = s->H * s->D,
        .ld_qk = apart ? (s->H + s->G) * s->D : s->Q,
        .window = family_window(&model->settings, block),
        .scale = family_score_scale(&model->settings),
        .cap = (float)model->settings.attention_cap,
        .q = q,
        .k = device_at(q, (size_t)(s->H * s->D) * type),
        .v = device_at(b->qkv, (size_t)((s->H + s->G) * s->D) * type),
        .o = b->mixed,
        .logsumexp = b->logsumexp,
    };
}

/* What is normalised of `count` heads of all rows: each head, or all of a row. */
static struct device_norm head_norm_shape(const struct model *model, const struct layer_sizes *s,
                                          int64_t count)
{
    bool across = family_of(&model->settings)->across;
    return (struct device_norm){
        .type = model->type,
        .rms = true,
        .rows = s->R,
        .columns = across ? count * s->D : s->D,
        .groups = across ? 1 : count,
        .ld = s->Q,
        .epsilon = (float)model->settings.norm_epsilon,
        .offset = family_norm_offset(&model->settings),
    };
}

static struct buffers lay(const struct model *model, const struct layer_sizes *s,
                          struct layer_arena *saved, struct layer_arena *scratch)
{
    size_t type = zi_dtype_bytes(model->type);
    int64_t mixed = s->H * s->D, widest = s->tiles == 1 && s->C > mixed ? s->C : mixed;
    struct buffers b = {
        .normed = layer_take_normed(model, s, saved, scratch),
        .qkv = layer_take(saved, s->R * s->Q, type),
        .mixed = layer_take(saved, s->R * mixed, type),
        .logsumexp = layer_take(saved, s->R * s->H, 4),
        .d_mixed = layer_take(scratch, s->R * widest, type),
        .d_qkv = layer_take(scratch, s->R * s->Q, type),
        .branch = layer_take_branch(model, s, saved, scratch),
    };
    struct device_attention attention = describe(model, 0, s, &b);
    size_t bytes = device_attention_backward_scratch(&attention);
    b.attention = layer_take(scratch, (int64_t)bytes, 1);
    if (!normalises(model)) return b;
    b.qk = layer_take(scratch, s->R * (s->H + s->G) * s->D, type);
    b.rstd = layer_take(scratch, s->R * (s->H + s->G), 4);
    /* of the queries, which are no fewer than the keys */
    struct device_norm norm = head_norm_shape(model, s, s->H);
    bytes = device_norm_backward_scratch(norm.rows * norm.groups, norm.columns);
    b.norms = layer_take(scratch, (int64_t)bytes, 1);
    return b;
}

static struct layer_linear projection(const struct model *model, int op,
                                      const struct model_pass *pass, const struct layer_sizes *s,
                                      bool output)
{
    const char *bias = output ? "output.bias" : "query.bias";
    return (struct layer_linear){
        .model = model,
        .pass = pass,
        .op = op,
        .weight = output ? "output.weight" : "query.weight",
        .bias = layer_find(model, op, bias).piece >= 0 ? bias : NULL,
        .rows = s->R,
        .inputs = output ? s->H * s->D : s->C,
        .outputs = output ? s->C : s->Q,
    };
}

/* Rotates the query and key heads in rows of ld. */
static enum zi_status rotate(const struct model *model, int op, const struct model_pass *pass,
                             const struct layer_sizes *s, const struct device_rope *like)
{
    struct family_rope rope;
    struct device_rope d = *like;
    if (!family_rotates(&model->settings, model->ops[op].block, s->T, &rope)) return ZI_OK;
    d.type = model->type;
    d.sequences = s->B;
    d.tokens = s->T;
    d.heads = s->H + s->G;
    d.width = s->D;
    d.scale = rope.scale;
    d.positions = pass->positions;
    memcpy(d.frequencies, rope.frequencies, sizeof d.frequencies);
    return pass->operations->rope(pass->stream, &d);
}

/* The norm of queries or keys, from qkv. */
static struct device_norm head_norm(const struct model *model, int op,
                                    const struct model_pass *pass, const struct layer_sizes *s,
                                    const struct buffers *b, int which)
{
    struct heads heads = heads_of(s, which);
    size_t type = zi_dtype_bytes(model->type);
    struct device_norm norm = head_norm_shape(model, s, heads.count);
    norm.x = device_at(b->qkv, (size_t)(heads.first * s->D) * type);
    norm.weight = layer_weight(model, pass, layer_find(model, op, heads.norm));
    norm.rstd = device_at(b->rstd, (size_t)(heads.first * s->R) * 4);
    return norm;
}

/* Makes of the product's rows what attention takes. */
static enum zi_status prepare(const struct model *model, int op, const struct model_pass *pass,
                              const struct layer_sizes *s, const struct buffers *b)
{
    size_t type = zi_dtype_bytes(model->type);
    struct device_rope rope = {.ld = s->Q, .x = b->qkv};
    if (normalises(model)) {
        rope.x = b->qk;
        rope.ld = (s->H + s->G) * s->D;
        for (int which = QUERIES; which <= KEYS; which++) {
            struct device_norm norm = head_norm(model, op, pass, s, b, which);
            norm.ld_y = rope.ld;
            norm.y = device_at(b->qk, (size_t)(heads_of(s, which).first * s->D) * type);
            ZI_TRY(pass->operations->norm(pass->stream, &norm));
        }
    }
    return rotate(model, op, pass, s, &rope);
}

/* Where the gradient of a norm of heads is added up: at its place, or with tiles in carry. */
static struct device_ptr head_norm_sum(const struct model *model, int op,
                                       const struct model_pass *pass, const struct layer_sizes *s,
                                       int which)
{
    struct layer_arena carry = {pass->carry, 0};
    layer_take(&carry, s->R * s->C, sizeof(float)); /* of layer_sum */
    if (s->tiles > 1) return device_at(carry.base, carry.used + (size_t)(which * s->D) * 4);
    return layer_gradient(model, pass, op, layer_find(model, op, heads_of(s, which).norm));
}

/* Passes the gradients of what attention took, in d_qkv, back through the norms of heads. */
static enum zi_status normalise_back(const struct model *model, int op,
                                     const struct model_pass *pass, const struct layer_sizes *s,
                                     const struct buffers *b)
{
    const struct device_operations *ops = pass->operations;
    size_t type = zi_dtype_bytes(model->type), bytes = (size_t)s->D * sizeof(float);
    for (int which = QUERIES; which <= KEYS; which++) {
        struct device_norm norm = head_norm(model, op, pass, s, b, which);
        norm.ld_y = s->Q;
        norm.dy = norm.dx = device_at(b->d_qkv, (size_t)(heads_of(s, which).first * s->D) * type);
        norm.replace = true;
        norm.dweight = head_norm_sum(model, op, pass, s, which);
        norm.scratch = b->norms;
        if (s->tiles > 1 && s->tile == s->tiles - 1)
            ZI_TRY(ops->fill(pass->stream, norm.dweight, bytes, 0));
        ZI_TRY(ops->norm_backward(pass->stream, &norm));
        struct device_ptr gradient =
            layer_gradient(model, pass, op, layer_find(model, op, heads_of(s, which).norm));
        if (s->tiles > 1 && s->tile == 0 && !device_is_null(gradient))
            ZI_TRY(ops->add(pass->stream, ZI_FP32, gradient, ZI_FP32, norm.dweight, s->D));
    }
    return ZI_OK;
}

/* Attention among the tokens of the call, or to those that the cache has as well. */
static enum zi_status attend(const struct model *model, int op, const struct model_pass *pass,
                             const struct layer_sizes *s, const struct buffers *b)
{
    struct device_attention a = describe(model, model->ops[op].block, s, b);
    a.positions = pass->positions;
    if (device_is_null(pass->cache)) return pass->operations->attention(pass->stream, &a);
    struct device_attention_cached cached = {
        .type = a.type,
        .sequences = a.sequences,
        .tokens = a.tokens,
        .heads = a.heads,
        .key_heads = a.key_heads,
        .width = a.width,
        .ld = a.ld,
        .ld_o = a.ld_o,
        .ld_qk = a.ld_qk,
        .window = a.window,
        .capacity = pass->capacity,
        .scale = a.scale,
        .cap = a.cap,
        .q = a.q,
        .k = a.k,
        .v = a.v,
        .o = a.o,
        .cache = pass->cache,
        .positions = pass->positions,
    };
    return pass->operations->attention_cached(pass->stream, &cached);
}

static enum zi_status forward(const struct model *model, int op, enum model_mode mode,
                              const struct model_pass *pass)
{
    struct layer_sizes s = layer_sizes_of(model, op, pass->sequences, pass->tokens);
    struct layer_arena saved = {pass->saved, 0}, scratch = {pass->scratch, 0};
    struct buffers b = lay(model, &s, &saved, &scratch);
    ZI_TRY(layer_norm_forward(model, op, pass, pass->input, &b.normed));
    struct layer_linear qkv = projection(model, op, pass, &s, false);
    struct device_ptr x = layer_normed_rows(pass, &b.normed);
    ZI_TRY(linear_forward(&qkv, x, (struct device_ptr){0}, b.qkv));
    ZI_TRY(prepare(model, op, pass, &s, &b));
    ZI_TRY(attend(model, op, pass, &s, &b));
    struct layer_linear output = projection(model, op, pass, &s, true);
    return layer_end(&output, b.mixed, mode, &b.branch);
}

/* The gradient of the product's rows, in d_qkv, from that of attention's output, in d_mixed. */
static enum zi_status attention_back(const struct model *model, int op,
                                     const struct model_pass *pass, const struct layer_sizes *s,
                                     const struct buffers *b)
{
    size_t type = zi_dtype_bytes(model->type);
    struct device_attention attention = describe(model, model->ops[op].block, s, b);
    attention.positions = pass->positions;
    attention.d_o = b->d_mixed;
    attention.dq = b->d_qkv;
    attention.dk = device_at(b->d_qkv, (size_t)(s->H * s->D) * type);
    attention.dv = device_at(b->d_qkv, (size_t)((s->H + s->G) * s->D) * type);
    attention.scratch = b->attention;
    if (normalises(model)) ZI_TRY(prepare(model, op, pass, s, b));
    ZI_TRY(pass->operations->attention_backward(pass->stream, &attention));
    struct device_rope rope = {.ld = s->Q, .x = b->d_qkv, .reverse = true};
    ZI_TRY(rotate(model, op, pass, s, &rope));
    return normalises(model) ? normalise_back(model, op, pass, s, b) : ZI_OK;
}

static enum zi_status backward(const struct model *model, int op, const struct model_pass *pass)
{
    struct layer_sizes s = layer_sizes_of(model, op, pass->sequences, pass->tokens);
    struct layer_arena saved = {pass->saved, 0}, scratch = {pass->scratch, 0};
    struct buffers b = lay(model, &s, &saved, &scratch);
    ZI_TRY(layer_prepare_gradients(model, op, pass, false));
    struct layer_linear output = projection(model, op, pass, &s, true);
    struct device_ptr dy;
    ZI_TRY(layer_branch_backward(model, op, pass, &b.branch, &dy));
    ZI_TRY(linear_input_gradient(&output, dy, (struct device_ptr){0}, b.d_mixed));
    ZI_TRY(linear_weight_gradient(&output, dy, b.mixed));
    ZI_TRY(attention_back(model, op, pass, &s, &b));
    struct layer_linear qkv = projection(model, op, pass, &s, false);
    struct layer_sum sum = layer_sum_of(model, op, pass, b.d_mixed, 0);
    if (s.tiles > 1) ZI_TRY(layer_norm_forward(model, op, pass, pass->input, &b.normed));
    ZI_TRY(linear_weight_gradient(&qkv, b.d_qkv, layer_normed_rows(pass, &b.normed)));
    ZI_TRY(linear_add_gradient(&qkv, b.d_qkv, &sum));
    return layer_norm_backward(model, op, pass, &b.normed, &sum);
}

static void sizes(const struct model *model, const struct layer_sizes *s, struct model_sizes *to)
{
    struct layer_arena saved = {{0}, 0}, scratch = {{0}, 0};
    lay(model, s, &saved, &scratch);
    to->saved = saved.used;
    to->scratch = scratch.used;
    if (s->tiles == 1 || !normalises(model)) return;
    struct layer_arena carry = {{0}, 0};
    layer_take(&carry, s->R * s->C, sizeof(float)); /* of layer_sum */
    layer_take(&carry, 2 * s->D, sizeof(float));
    to->carry = carry.used;
}

/* Twice the pairs of a query and a key that it sees, in a sequence. */
static double pairs_twice(double tokens, double window)
{
    if (window <= 0 || window >= tokens) return tokens * (tokens + 1);
    return window * (2 * tokens - window + 1);
}

static void flops(const struct model *model, const struct layer_sizes *s, struct model_flops *to)
{
    double window = (double)family_window(&model->settings, s->block);
    double R = (double)s->R, C = (double)s->C, Q = (double)s->Q, mixed = (double)(s->H * s->D);
    double scores = (double)(s->B * s->H * s->D) * pairs_twice((double)s->T, window);
    double qkv = 2 * R * C * Q, output = 2 * R * mixed * C;
    /* Scores and their use are 2 flops on each pair and D; backward repeats the scores and has four
     * more such products. */
    to->forward = qkv + output + 2 * scores;
    to->recompute = qkv + 2 * scores + (s->behind ? output : 0);
    to->weights = qkv + output;
    to->backward = 2 * (qkv + output) + 5 * scores;
}

const struct layer layer_attention = {forward, backward, sizes, flops};
