/* SPDX-License-Identifier: Apache-2.0 */
/* Head: loss = cross-entropy of norm(x) W^T against the next tokens.
 *
 * Logits are the largest activation by far, so they exist once, for a chunk of rows at a time:
 * fp32 logits are made, turned into their own gradient in place, used for the two products of
 * backward, and forgotten. Forward and backward of a training step are therefore one call. The
 * chunk is a compromise: the gradient of W is read and written once per chunk. For GPT-2 and 1024
 * tokens on two cores, chunks of 512, 256 and 128 rows took 1%, 5% and 20% more processor time in
 * bf16 than one of 1024, and 0%, 1% and 5% in fp32; larger ones only cost memory. */
#include "model/layers.h"

#define CHUNK_ROWS_MOST 1024
#define CHUNK_BYTES     ((int64_t)256 << 20) /* of fp32 logits */

struct scratch {
    struct device_ptr normed, mean, rstd, d_normed, logits, norm;
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

static struct scratch lay_scratch(const struct model *model, const struct layer_sizes *s,
                                  struct layer_arena *arena)
{
    size_t type = zi_dtype_bytes(model->type);
    return (struct scratch){
        .normed = layer_take(arena, s->R * s->C, type),
        .mean = layer_take(arena, s->R, 4),
        .rstd = layer_take(arena, s->R, 4),
        .d_normed = layer_take(arena, s->R * s->C, type),
        .logits = layer_take(arena, chunk_rows(s) * logits_ld(s), 4),
        .norm = layer_take(arena, (int64_t)model->operations->norm_backward_scratch(s->R, s->C), 1),
    };
}

static struct device_norm final_norm(const struct model *model, int op,
                                     const struct model_pass *pass, const struct layer_sizes *s,
                                     const struct scratch *scratch)
{
    static const char *const names[2] = {"weight", "bias"};
    struct device_norm norm = layer_norm(model, op, pass, names, s);
    norm.y = scratch->normed;
    norm.mean = scratch->mean;
    norm.rstd = scratch->rstd;
    return norm;
}

/* logits[rows] = normed[first ..] W^T in fp32. */
static enum zi_status make_logits(const struct model *model, const struct model_pass *pass,
                                  struct device_ptr normed, struct device_ptr logits,
                                  const int64_t shape[2] /* rows, ld */)
{
    struct device_matmul d = {.type = model->type, .type_c = ZI_FP32, .transpose_b = true};
    d.m = shape[0];
    d.n = model->settings.vocabulary;
    d.k = d.lda = d.ldb = model->settings.hidden;
    d.ldc = shape[1];
    d.a = normed;
    d.b = pass->weights[1];
    d.c = logits;
    return model->operations->matmul(pass->stream, &d);
}

static enum zi_status forward(const struct model *model, int op, enum model_mode mode,
                              const struct model_pass *pass)
{
    (void)mode;
    struct layer_sizes s = layer_sizes_of(model, pass->sequences, pass->tokens);
    struct layer_arena arena = {pass->scratch, 0};
    struct scratch scratch = lay_scratch(model, &s, &arena);
    struct device_norm norm = final_norm(model, op, pass, &s, &scratch);
    size_t row = (size_t)s.C * zi_dtype_bytes(model->type);
    int64_t ld = logits_ld(&s), chunk = chunk_rows(&s);
    ZI_TRY(model->operations->norm(pass->stream, &norm));
    for (int64_t first = 0; first < s.R; first += chunk) {
        int64_t rows = s.R - first < chunk ? s.R - first : chunk;
        ZI_TRY(make_logits(model, pass, device_at(scratch.normed, (size_t)first * row),
                           scratch.logits, (int64_t[]){rows, ld}));
        ZI_TRY(model->operations->cross_entropy(
            pass->stream, scratch.logits, device_at(pass->targets, (size_t)first * 4), pass->loss,
            (int64_t[]){rows, s.V, ld}, ZI_INT32, pass->loss_scale));
    }
    return ZI_OK;
}

/* The two products of backward for one chunk, whose logits have become their gradient. */
static enum zi_status differentiate_chunk(const struct model *model, const struct model_pass *pass,
                                          const struct layer_sizes *s,
                                          const struct scratch *scratch,
                                          const int64_t chunk[2] /* first row, rows */)
{
    size_t row = (size_t)s->C * zi_dtype_bytes(model->type);
    int64_t ld = logits_ld(s) * (model->type == ZI_BF16 ? 2 : 1);
    struct device_matmul to_input = {.type = model->type, .type_c = model->type};
    to_input.m = chunk[1];
    to_input.n = to_input.ldb = to_input.ldc = s->C;
    to_input.k = s->V;
    to_input.lda = ld;
    to_input.a = scratch->logits;
    to_input.b = pass->weights[1];
    to_input.c = device_at(scratch->d_normed, (size_t)chunk[0] * row);
    ZI_TRY(model->operations->matmul(pass->stream, &to_input));
    struct device_matmul to_weight = {.type = model->type, .type_c = ZI_FP32, .transpose_a = true};
    to_weight.m = s->V;
    to_weight.n = to_weight.ldb = to_weight.ldc = s->C;
    to_weight.k = chunk[1];
    to_weight.lda = ld;
    to_weight.accumulate = pass->accumulate[1] || chunk[0] > 0;
    to_weight.a = scratch->logits;
    to_weight.b = device_at(scratch->normed, (size_t)chunk[0] * row);
    to_weight.c = pass->gradients[1];
    return model->operations->matmul(pass->stream, &to_weight);
}

static enum zi_status backward(const struct model *model, int op, const struct model_pass *pass)
{
    struct layer_sizes s = layer_sizes_of(model, pass->sequences, pass->tokens);
    struct layer_arena arena = {pass->scratch, 0};
    struct scratch scratch = lay_scratch(model, &s, &arena);
    struct device_norm norm = final_norm(model, op, pass, &s, &scratch);
    size_t row = (size_t)s.C * zi_dtype_bytes(model->type);
    int64_t ld = logits_ld(&s), most = chunk_rows(&s);
    ZI_TRY(layer_prepare_gradient(model, op, pass, 0, true));
    ZI_TRY(layer_prepare_gradient(model, op, pass, 1, false));
    ZI_TRY(model->operations->norm(pass->stream, &norm));
    for (int64_t first = 0; first < s.R; first += most) {
        int64_t chunk[2] = {first, s.R - first < most ? s.R - first : most};
        ZI_TRY(make_logits(model, pass, device_at(scratch.normed, (size_t)first * row),
                           scratch.logits, (int64_t[]){chunk[1], ld}));
        ZI_TRY(model->operations->cross_entropy(
            pass->stream, scratch.logits, device_at(pass->targets, (size_t)first * 4), pass->loss,
            (int64_t[]){chunk[1], s.V, ld}, model->type, pass->loss_scale));
        ZI_TRY(differentiate_chunk(model, pass, &s, &scratch, chunk));
    }
    ZI_TRY(model->operations->fill(pass->stream, pass->gradient, (size_t)s.R * row, 0));
    norm.dy = scratch.d_normed;
    norm.scratch = scratch.norm;
    return model->operations->norm_backward(pass->stream, &norm);
}

enum zi_status model_logits(const struct model *model, const struct model_pass *pass,
                            struct device_ptr logits)
{
    int op = model->op_count - 1;
    struct layer_sizes s = layer_sizes_of(model, pass->sequences, 1);
    struct layer_arena arena = {pass->scratch, 0};
    size_t row = (size_t)s.C * zi_dtype_bytes(model->type);
    struct device_ptr last = layer_take(&arena, s.R * s.C, zi_dtype_bytes(model->type));
    struct scratch scratch = lay_scratch(model, &s, &arena);
    for (int64_t b = 0; b < s.B; b++) {
        size_t from = (size_t)(b * pass->tokens + pass->tokens - 1) * row;
        ZI_TRY(device_copy(pass->stream, device_at(last, (size_t)b * row),
                           device_at(pass->input, from), row));
    }
    struct device_norm norm = final_norm(model, op, pass, &s, &scratch);
    norm.x = last;
    ZI_TRY(model->operations->norm(pass->stream, &norm));
    return make_logits(model, pass, scratch.normed, logits, (int64_t[]){s.B, s.V});
}

static void sizes(const struct model *model, const struct layer_sizes *s, struct model_sizes *to)
{
    struct layer_arena arena = {{0}, 0};
    layer_take(&arena, s->B * s->C, zi_dtype_bytes(model->type)); /* of model_logits */
    lay_scratch(model, s, &arena);
    to->scratch = arena.used;
}

static void flops(const struct model *model, const struct layer_sizes *s, struct model_flops *to)
{
    (void)model;
    to->forward = 2.0 * (double)s->R * (double)s->C * (double)s->V;
    to->recompute = 0;
    to->backward = 3 * to->forward; /* it makes the logits too */
}

const struct layer layer_head = {forward, backward, sizes, flops};
