/* SPDX-License-Identifier: Apache-2.0 */
/* Head: loss = cross-entropy of norm(x) W^T, capped where the model has a cap, against the next tokens.
 *
 * Logits are the largest activation by far, so they exist once, for a chunk of rows at a time:
 * fp32 logits are made, turned into their own gradient in place, used for the two products of
 * backward, and forgotten. Forward and backward of a training step are therefore one call. The
 * chunk is a compromise: the gradient of W is read and written once per chunk. For GPT-2 and 1024
 * tokens on two cores, chunks of 512, 256 and 128 rows took 1%, 5% and 20% more processor time in
 * bf16 than one of 1024, and 0%, 1% and 5% in fp32; larger ones only cost memory.
 *
 * A tile is a range of ids. No tile can tell the loss or a gradient before all have seen the row,
 * so forward collects maximum, sum of exponentials and the target's logit of each row in carry
 * (online softmax, Milakov and Gimelshein 2018), and backward makes the logits of a tile again. */
#include "model/norms.h"

#define CHUNK_ROWS_MOST 1024
#define CHUNK_BYTES     ((int64_t)256 << 20) /* of fp32 logits */

/* d_normed without tiles only; with them, carry holds the statistics and then the sum */
struct buffers {
    struct layer_normed normed;
    struct device_ptr d_normed, logits, statistics;
    /* Offset in carry. */
    size_t sum;
};

/* Rows of logits are padded to whole cache lines. */
static int64_t logits_ld(const struct layer_sizes *s)
{
    return (s->V + 15) / 16 * 16;
}

static int64_t chunk_rows(const struct layer_sizes *s)
{
    int64_t rows = CHUNK_BYTES / (logits_ld(s) * 4);
    if (rows > CHUNK_ROWS_MOST) rows = CHUNK_ROWS_MOST;
    if (rows < 16) rows = 16;
    return rows < s->R ? rows : s->R;
}

static struct buffers lay(const struct model *model, const struct layer_sizes *s,
                          struct layer_arena *scratch, struct layer_arena *carry)
{
    struct buffers b = {
        .normed = layer_take_normed(model, s, scratch, scratch),
        .logits = layer_take(scratch, chunk_rows(s) * logits_ld(s), 4),
    };
    if (s->tiles == 1) {
        b.d_normed = layer_take(scratch, s->R * s->C, zi_dtype_bytes(model->type));
        return b;
    }
    b.statistics = layer_take(carry, 3 * s->R, 4);
    b.sum = carry->used;
    return b;
}

/* One call: what its chunks need. */
struct call {
    const struct model *model;
    int op;
    const struct model_pass *pass;
    struct layer_sizes s;
    struct buffers b;
    struct layer_sum sum;
};

static struct call begin(const struct model *model, int op, const struct model_pass *pass)
{
    struct layer_arena scratch = {pass->scratch, 0}, carry = {pass->carry, 0};
    struct call c = {.model = model, .op = op, .pass = pass};
    c.s = layer_sizes_of(model, op, pass->sequences, pass->tokens);
    c.b = lay(model, &c.s, &scratch, &carry);
    c.sum = layer_sum_of(model, op, pass, c.b.d_normed, c.b.sum);
    return c;
}

/* Rows [first, first + rows) of a call. */
struct chunk {
    int64_t first, rows;
};

static struct device_ptr rows_of(const struct call *c, struct device_ptr stream, enum zi_dtype type,
                                 int64_t first)
{
    return device_at(stream, (size_t)(first * c->s.C) * zi_dtype_bytes(type));
}

static float cap_of(const struct model *model)
{
    return (float)model->settings.logit_cap;
}

/* logits[rows] = normed[first ..] W^T in fp32, rows of ld, capped. */
static enum zi_status make_logits(const struct call *c, struct chunk chunk,
                                  struct device_ptr logits, int64_t ld)
{
    const struct model *model = c->model;
    struct device_matmul d = {.type = model->type, .type_c = ZI_FP32, .transpose_b = true};
    d.once = c->pass->capacity > 0;
    d.m = chunk.rows;
    d.n = c->s.V;
    d.k = d.lda = d.ldb = c->s.C;
    d.ldc = ld;
    d.a = rows_of(c, c->b.normed.y, model->type, chunk.first);
    d.b = c->pass->weights[1];
    d.c = logits;
    ZI_TRY(c->pass->operations->matmul(c->pass->stream, &d));
    if (cap_of(model) <= 0) return ZI_OK;
    return c->pass->operations->cap(c->pass->stream, logits, chunk.rows, c->s.V, ld, cap_of(model));
}

static struct device_softmax describe(const struct call *c, struct chunk chunk,
                                      enum zi_dtype gradient_type)
{
    struct device_ptr statistics = c->b.statistics; /* of tiles alone */
    if (!device_is_null(statistics)) statistics = device_at(statistics, (size_t)chunk.first * 12);
    return (struct device_softmax){
        .rows = chunk.rows,
        .first = c->s.V0,
        .columns = c->s.V,
        .ld = logits_ld(&c->s),
        .begin = c->s.tile == 0,
        .gradient_type = gradient_type,
        .scale = c->pass->loss_scale,
        .cap = cap_of(c->model),
        .logits = c->b.logits,
        .targets = device_at(c->pass->targets, (size_t)chunk.first * 4),
        .statistics = statistics,
    };
}

/* The loss of the rows of a chunk, whose logits or statistics are there: of all, or of the part that
 * each sequence has of them to the sequence's. */
static enum zi_status add_losses(const struct call *c, struct chunk chunk)
{
    const struct model_pass *pass = c->pass;
    const struct device_operations *ops = pass->operations;
    for (int64_t row = chunk.first, end = row + chunk.rows; row < end;) {
        int64_t sequence = row / c->s.T, next = pass->each ? (sequence + 1) * c->s.T : end;
        struct chunk part = {row, (next < end ? next : end) - row};
        struct device_ptr loss = pass->loss;
        struct device_softmax softmax = describe(c, part, ZI_INT32);
        size_t before = (size_t)((row - chunk.first) * logits_ld(&c->s)) * sizeof(float);
        if (pass->each) loss = device_at(loss, (size_t)sequence * sizeof(double));
        softmax.logits = device_at(softmax.logits, before);
        ZI_TRY(c->s.tiles == 1 ? ops->cross_entropy(pass->stream, &softmax, loss)
                               : ops->softmax_loss(pass->stream, &softmax, loss));
        row += part.rows;
    }
    return ZI_OK;
}

static enum zi_status forward_chunk(const struct call *c, struct chunk chunk)
{
    ZI_TRY(make_logits(c, chunk, c->b.logits, logits_ld(&c->s)));
    if (c->s.tiles == 1) return add_losses(c, chunk);
    struct device_softmax softmax = describe(c, chunk, ZI_INT32);
    ZI_TRY(c->pass->operations->softmax_statistics(c->pass->stream, &softmax));
    return c->s.tile < c->s.tiles - 1 ? ZI_OK : add_losses(c, chunk);
}

static enum zi_status forward(const struct model *model, int op, enum model_mode mode,
                              const struct model_pass *pass)
{
    (void)mode;
    struct call c = begin(model, op, pass);
    int64_t most = chunk_rows(&c.s);
    ZI_TRY(layer_norm_forward(model, op, pass, pass->input, &c.b.normed));
    for (int64_t first = 0; first < c.s.R; first += most) {
        int64_t rows = c.s.R - first < most ? c.s.R - first : most;
        ZI_TRY(forward_chunk(&c, (struct chunk){first, rows}));
    }
    return ZI_OK;
}

/* The two products of backward for one chunk, whose logits have become their gradient. */
static enum zi_status differentiate_chunk(const struct call *c, struct chunk chunk)
{
    enum zi_dtype type = c->model->type;
    const struct device_operations *ops = c->pass->operations;
    int64_t ld = logits_ld(&c->s) * (zi_dtype_is_half(type) ? 2 : 1);
    struct device_matmul to_input = {.type = type, .type_c = c->sum.type};
    to_input.m = chunk.rows;
    to_input.n = to_input.ldb = to_input.ldc = c->s.C;
    to_input.k = c->s.V;
    to_input.lda = ld;
    to_input.accumulate = c->sum.accumulate;
    to_input.a = c->b.logits;
    to_input.b = c->pass->weights[1];
    to_input.c = rows_of(c, c->sum.at, c->sum.type, chunk.first);
    ZI_TRY(ops->matmul(c->pass->stream, &to_input));
    if (device_is_null(c->pass->gradients[1])) return ZI_OK; /* not trainable */
    struct device_matmul to_weight = {.type = type, .type_c = ZI_FP32, .transpose_a = true};
    to_weight.m = c->s.V;
    to_weight.n = to_weight.ldb = to_weight.ldc = c->s.C;
    to_weight.k = chunk.rows;
    to_weight.lda = ld;
    to_weight.accumulate = c->pass->accumulate[1] || chunk.first > 0;
    to_weight.a = c->b.logits;
    to_weight.b = rows_of(c, c->b.normed.y, type, chunk.first);
    to_weight.c = c->pass->gradients[1];
    return ops->matmul(c->pass->stream, &to_weight);
}

static enum zi_status backward_chunk(const struct call *c, struct chunk chunk)
{
    struct device_softmax softmax = describe(c, chunk, c->model->type);
    ZI_TRY(make_logits(c, chunk, c->b.logits, logits_ld(&c->s)));
    if (c->s.tiles == 1)
        ZI_TRY(c->pass->operations->cross_entropy(c->pass->stream, &softmax, c->pass->loss));
    else
        ZI_TRY(c->pass->operations->softmax_gradient(c->pass->stream, &softmax));
    return differentiate_chunk(c, chunk);
}

static enum zi_status backward(const struct model *model, int op, const struct model_pass *pass)
{
    struct call c = begin(model, op, pass);
    int64_t most = chunk_rows(&c.s);
    size_t row = (size_t)c.s.C * zi_dtype_bytes(model->type);
    ZI_TRY(layer_prepare_gradients(model, op, pass, false));
    ZI_TRY(layer_norm_forward(model, op, pass, pass->input, &c.b.normed));
    for (int64_t first = 0; first < c.s.R; first += most) {
        int64_t rows = c.s.R - first < most ? c.s.R - first : most;
        ZI_TRY(backward_chunk(&c, (struct chunk){first, rows}));
    }
    if (c.s.tile > 0) return ZI_OK;
    ZI_TRY(pass->operations->fill(pass->stream, pass->gradient, (size_t)c.s.R * row, 0));
    return layer_norm_backward(model, op, pass, &c.b.normed, &c.sum);
}

enum zi_status model_logits(const struct model *model, int op, const struct model_pass *pass,
                            struct device_ptr logits)
{
    struct model_pass last = *pass; /* tokens as sequences of one */
    struct layer_arena scratch = {pass->scratch, 0};
    size_t row = (size_t)model->settings.hidden * zi_dtype_bytes(model->type);
    if (pass->sequences == 0) return ZI_OK;
    last.tokens = 1;
    last.input =
        layer_take(&scratch, pass->sequences * model->settings.hidden, zi_dtype_bytes(model->type));
    last.scratch = device_at(pass->scratch, scratch.used);
    for (int64_t b = 0; b < pass->sequences; b++) {
        int64_t token = pass->ends ? pass->ends[b] : pass->tokens - 1;
        size_t from = (size_t)(b * pass->tokens + token) * row;
        ZI_TRY(device_copy(pass->stream, device_at(last.input, (size_t)b * row),
                           device_at(pass->input, from), row));
    }
    struct call c = begin(model, op, &last);
    ZI_TRY(layer_norm_forward(model, op, &last, last.input, &c.b.normed));
    return make_logits(&c, (struct chunk){0, c.s.B}, device_at(logits, (size_t)c.s.V0 * 4),
                       model->settings.vocabulary);
}

static void sizes(const struct model *model, const struct layer_sizes *s, struct model_sizes *to)
{
    struct layer_arena scratch = {{0}, 0}, carry = {{0}, 0};
    layer_take(&scratch, s->B * s->C, zi_dtype_bytes(model->type)); /* of model_logits */
    lay(model, s, &scratch, &carry);
    to->scratch = scratch.used;
    to->carry += carry.used;
}

static void flops(const struct model *model, const struct layer_sizes *s, struct model_flops *to)
{
    (void)model;
    to->forward = 2.0 * (double)s->R * (double)s->C * (double)s->V;
    to->recompute = 0;
    to->weights = to->forward;
    to->backward = 3 * to->forward; /* it makes the logits too */
}

const struct layer layer_head = {forward, backward, sizes, flops};
