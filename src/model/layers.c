/* SPDX-License-Identifier: Apache-2.0 */
/* What the layer kinds share: sizes, places of tensors, linear layers, and the entry points
 * that pick a layer by the kind of an operation. */
#include "model/adapter.h"

#include <string.h>

#include "base/log.h"

static const struct layer *const layers[] = {
    [MODEL_EMBED] = &layer_embed,
    [MODEL_ATTENTION] = &layer_attention,
    [MODEL_MLP] = &layer_mlp,
    [MODEL_HEAD] = &layer_head,
};

struct layer_sizes layer_sizes_of(const struct model *model, int op, int64_t sequences,
                                  int64_t tokens)
{
    const struct settings_model *s = &model->settings;
    int tile = model->ops[op].tile, tiles = model->ops[op].tiles;
    enum model_op_kind kind = model->ops[op].kind;
    bool branch = kind == MODEL_ATTENTION || kind == MODEL_MLP;
    int64_t width = family_head_width(s);
    struct family_cut query = {0, s->heads * width, true}, key = {0, s->key_heads * width, true};
    struct family_cut inner = {0, s->inner, true}, ids = {0, s->vocabulary, true};
    if (kind == MODEL_ATTENTION) {
        query = family_cut(s, SIZE_QUERY, tile, tiles);
        key = family_cut(s, SIZE_KEY, tile, tiles);
    } else if (kind == MODEL_MLP) {
        inner = family_cut(s, SIZE_INNER, tile, tiles);
    } else {
        ids = family_cut(s, SIZE_VOCABULARY, tile, tiles);
    }
    return (struct layer_sizes){
        .B = sequences,
        .T = tokens,
        .R = sequences * tokens,
        .C = s->hidden,
        .H = query.count / width,
        .G = key.count / width,
        .D = width,
        .Q = query.count + 2 * key.count,
        .F = inner.count,
        .U = family_of(s)->gated ? 2 * inner.count : inner.count,
        .V = ids.count,
        .V0 = ids.first,
        .tile = tile,
        .tiles = tiles,
        .block = model->ops[op].block,
        .before = branch ? !family_of(s)->bare : kind == MODEL_HEAD,
        .behind = branch && family_of(s)->behind,
    };
}

struct device_ptr layer_take(struct layer_arena *arena, int64_t elements, size_t element_bytes)
{
    struct device_ptr place = device_at(arena->base, arena->used);
    arena->used += ((size_t)elements * element_bytes + 63) / 64 * 64;
    return place;
}

/* Whether a name is `end`, or ends in it behind a dot. */
static bool ends_in(const char *name, const char *end)
{
    size_t length = strlen(name), wanted = strlen(end);
    if (length < wanted || strcmp(name + length - wanted, end) != 0) return false;
    return length == wanted || name[length - wanted - 1] == '.';
}

struct layer_place layer_find(const struct model *model, int op, const char *name)
{
    for (int i = 0; i < model->ops[op].unit_count; i++) {
        const struct model_unit *unit = &model->units[model->ops[op].units[i]];
        for (int p = unit->first_piece; p < unit->first_piece + unit->piece_count; p++) {
            if (ends_in(model->tensors[model->pieces[p].tensor].name, name))
                return (struct layer_place){i, p};
        }
    }
    return (struct layer_place){-1, -1};
}

struct device_ptr layer_weight(const struct model *model, const struct model_pass *pass,
                               struct layer_place place)
{
    if (place.piece < 0) return (struct device_ptr){0};
    size_t bytes = zi_dtype_bytes(model->type);
    return device_at(pass->weights[place.i], (size_t)model->pieces[place.piece].offset * bytes);
}

struct device_ptr layer_gradient(const struct model *model, const struct model_pass *pass, int op,
                                 struct layer_place place)
{
    if (place.piece < 0 || !(model->ops[op].differentiates >> place.i & 1))
        return (struct device_ptr){0};
    size_t offset = (size_t)model->pieces[place.piece].offset;
    return device_at(pass->gradients[place.i], offset * sizeof(float));
}

/* Zeroes what is not a matrix, or everything, in the gradient of unit i. Products add to adapters'. */
static enum zi_status zero_gradient(const struct model *model, int op,
                                    const struct model_pass *pass, int i, bool all)
{
    const struct device_operations *ops = pass->operations;
    const struct model_unit *unit = &model->units[model->ops[op].units[i]];
    int64_t from = 0;
    for (int p = unit->first_piece; p < unit->first_piece + unit->piece_count && !all; p++) {
        const struct model_piece *piece = &model->pieces[p];
        if (model->tensors[piece->tensor].dimensions < 2) continue;
        if (piece->offset > from) {
            ZI_TRY(ops->fill(pass->stream, device_at(pass->gradients[i], (size_t)from * 4),
                             (size_t)(piece->offset - from) * 4, 0));
        }
        from = piece->offset + piece->rows * piece->row;
    }
    if (from == unit->elements) return ZI_OK;
    return ops->fill(pass->stream, device_at(pass->gradients[i], (size_t)from * 4),
                     (size_t)(unit->elements - from) * 4, 0);
}

enum zi_status layer_prepare_gradients(const struct model *model, int op,
                                       const struct model_pass *pass, bool all)
{
    for (int i = 0; i < model->ops[op].unit_count; i++) {
        if (pass->accumulate[i] || !(model->ops[op].differentiates >> i & 1)) continue;
        bool adapts = model->units[model->ops[op].units[i]].adapts;
        ZI_TRY(zero_gradient(model, op, pass, i, all || adapts));
    }
    return ZI_OK;
}

static struct device_matmul linear_base(const struct layer_linear *l)
{
    return (struct device_matmul){.type = l->model->type, .type_c = l->model->type};
}

static const struct device_operations *linear_ops(const struct layer_linear *l)
{
    return l->pass->operations;
}

/* y = x W^T + bias. */
static struct device_matmul forward_of(const struct layer_linear *l, struct device_ptr x,
                                       struct device_ptr y, const char *bias)
{
    struct device_matmul d = linear_base(l);
    d.m = l->rows;
    d.n = d.ldc = l->outputs;
    d.k = d.lda = d.ldb = l->inputs;
    d.transpose_b = true;
    d.once = l->pass->capacity > 0;
    d.a = x;
    d.b = layer_weight(l->model, l->pass, layer_find(l->model, l->op, l->weight));
    d.c = y;
    if (bias) d.bias = layer_weight(l->model, l->pass, layer_find(l->model, l->op, bias));
    return d;
}

/* dx = dy W. */
static struct device_matmul backward_of(const struct layer_linear *l, struct device_ptr dy,
                                        struct device_ptr dx)
{
    struct device_matmul d = linear_base(l);
    d.m = l->rows;
    d.n = d.ldb = d.ldc = l->inputs;
    d.k = d.lda = l->outputs;
    d.a = dy;
    d.b = layer_weight(l->model, l->pass, layer_find(l->model, l->op, l->weight));
    d.c = dx;
    return d;
}

static enum zi_status multiply(const struct layer_linear *l, const struct device_matmul *d)
{
    return linear_ops(l)->matmul(l->pass->stream, d);
}

enum zi_status linear_forward(const struct layer_linear *l, struct device_ptr x,
                              struct device_ptr before, struct device_ptr y)
{
    bool activates = !device_is_null(before), adapts = adapter_is_beside(l);
    struct device_matmul d = forward_of(l, x, adapts && activates ? before : y, l->bias);
    if (!adapts) {
        d.end = activates ? DEVICE_END_GELU : DEVICE_END_PLAIN;
        d.inner = before;
        return multiply(l, &d);
    }
    ZI_TRY(multiply(l, &d));
    ZI_TRY(adapter_forward(l, x, d.c));
    if (!activates) return ZI_OK;
    return linear_ops(l)->gelu(l->pass->stream, l->model->type, y, before, l->rows * l->outputs);
}

/* A residual of the output itself adds to it. */
enum zi_status linear_end_branch(const struct layer_linear *l, struct device_ptr x)
{
    const struct model_pass *pass = l->pass;
    bool first = l->model->ops[l->op].tile == 0;
    struct device_matmul d = forward_of(l, x, pass->output, first ? l->bias : NULL);
    d.residual = first ? pass->input : pass->output;
    ZI_TRY(multiply(l, &d));
    return adapter_forward(l, x, pass->output);
}

enum zi_status linear_add_gradient(const struct layer_linear *l, struct device_ptr dy,
                                   const struct layer_sum *sum)
{
    struct device_matmul d = backward_of(l, dy, sum->at);
    d.type_c = sum->type;
    d.accumulate = sum->accumulate;
    ZI_TRY(multiply(l, &d));
    return adapter_input_gradient(l, dy, sum->at, sum->type);
}

enum zi_status linear_input_gradient(const struct layer_linear *l, struct device_ptr dy,
                                     struct device_ptr before, struct device_ptr dx)
{
    bool activates = !device_is_null(before);
    struct device_matmul d = backward_of(l, dy, dx);
    if (!adapter_is_beside(l)) {
        d.end = activates ? DEVICE_END_GELU_BACKWARD : DEVICE_END_PLAIN;
        d.inner = before;
        return multiply(l, &d);
    }
    ZI_TRY(multiply(l, &d));
    ZI_TRY(adapter_input_gradient(l, dy, dx, l->model->type));
    if (!activates) return ZI_OK;
    return linear_ops(l)->gelu_backward(l->pass->stream, l->model->type, dx, dx, before,
                                        l->rows * l->inputs);
}

enum zi_status linear_weight_gradient(const struct layer_linear *l, struct device_ptr dy,
                                      struct device_ptr x)
{
    struct device_matmul d = linear_base(l);
    struct layer_place weight = layer_find(l->model, l->op, l->weight);
    ZI_TRY(adapter_weight_gradient(l, dy, x));
    if (!(l->model->ops[l->op].differentiates >> weight.i & 1)) return ZI_OK;
    d.type_c = ZI_FP32;
    d.m = d.lda = l->outputs;
    d.n = d.ldb = d.ldc = l->inputs;
    d.k = l->rows;
    d.transpose_a = true;
    d.accumulate = l->pass->accumulate[weight.i];
    d.a = dy;
    d.b = x;
    d.c = layer_gradient(l->model, l->pass, l->op, weight);
    ZI_TRY(linear_ops(l)->matmul(l->pass->stream, &d));
    if (!l->bias) return ZI_OK;
    struct device_ptr bias =
        layer_gradient(l->model, l->pass, l->op, layer_find(l->model, l->op, l->bias));
    if (device_is_null(bias)) return ZI_OK; /* tile 0 makes it */
    return linear_ops(l)->bias_backward(l->pass->stream, l->model->type, bias, dy, l->rows,
                                        l->outputs, l->outputs, true);
}

struct layer_sum layer_sum_of(const struct model *model, int op, const struct model_pass *pass,
                              struct device_ptr single, size_t offset)
{
    int tile = model->ops[op].tile, tiles = model->ops[op].tiles;
    if (tiles == 1) return (struct layer_sum){single, model->type, false};
    return (struct layer_sum){device_at(pass->carry, offset), ZI_FP32, tile < tiles - 1};
}

void model_op_sizes(const struct model *model, int op, int64_t sequences, int64_t tokens,
                    struct model_sizes *sizes)
{
    struct layer_sizes s = layer_sizes_of(model, op, sequences, tokens);
    *sizes = (struct model_sizes){.stream = (size_t)(s.R * s.C) * zi_dtype_bytes(model->type)};
    if (s.tiles > 1 && model->ops[op].kind != MODEL_EMBED)
        sizes->carry = (size_t)(s.R * s.C) * sizeof(float); /* of layer_sum */
    layers[model->ops[op].kind]->sizes(model, &s, sizes);
    sizes->scratch += adapter_scratch(model, op, s.R);
}

/* Whether an operation makes the gradient of its matrices, which are in one unit. */
static bool makes_weights(const struct model *model, int op)
{
    const struct model_op *o = &model->ops[op];
    for (int i = 0; i < o->unit_count; i++) {
        const struct model_unit *unit = &model->units[o->units[i]];
        for (int p = 0; p < unit->piece_count && !unit->adapts; p++) {
            int tensor = model->pieces[unit->first_piece + p].tensor;
            if (model->tensors[tensor].dimensions > 1) return o->differentiates >> i & 1u;
        }
    }
    return false;
}

size_t model_cache_bytes(const struct model *model, int op, int64_t sequences, int64_t capacity)
{
    struct layer_sizes s = layer_sizes_of(model, op, sequences, capacity);
    if (model->ops[op].kind != MODEL_ATTENTION) return 0;
    return (size_t)(2 * s.R * s.G * s.D) * zi_dtype_bytes(model->type);
}

void model_op_flops(const struct model *model, int op, int64_t sequences, int64_t tokens,
                    struct model_flops *flops)
{
    struct layer_sizes s = layer_sizes_of(model, op, sequences, tokens);
    *flops = (struct model_flops){0};
    layers[model->ops[op].kind]->flops(model, &s, flops);
    if (!makes_weights(model, op)) {
        flops->backward -= flops->weights;
        flops->weights = 0;
    }
    adapter_flops(model, op, s.R, flops);
}

double model_flops_per_token(const struct model *model, int64_t tokens)
{
    double sum = 0;
    int lowest = model_lowest_trainable(model);
    for (int op = 0; op < model->op_count; op++) {
        struct layer_sizes s = layer_sizes_of(model, op, 1, tokens);
        struct model_flops all = {0}, adapters = {0};
        layers[model->ops[op].kind]->flops(model, &s, &all);
        adapter_flops(model, op, s.R, &adapters);
        sum += all.forward + adapters.forward;
        if (op < lowest) continue;
        sum += 2 * all.forward + 2 * adapters.forward;
        if (!makes_weights(model, op)) sum -= all.weights;
    }
    return sum / (double)tokens;
}

/* A pass whose scratch begins behind that of adapters. */
static struct model_pass with_adapter(const struct model *model, int op,
                                      const struct model_pass *pass)
{
    struct model_pass own = *pass;
    own.adapter = pass->scratch;
    own.scratch =
        device_at(pass->scratch, adapter_scratch(model, op, pass->sequences * pass->tokens));
    return own;
}

enum zi_status model_forward(const struct model *model, int op, enum model_mode mode,
                             const struct model_pass *pass)
{
    struct model_pass own = with_adapter(model, op, pass);
    if (pass->sequences == 0) return ZI_OK;
    return layers[model->ops[op].kind]->forward(model, op, mode, &own);
}

/* The gradients of tensors that are not trainable, in units that are, become zero: they do not count
 * in the norm of the gradient. */
static enum zi_status zero_frozen(const struct model *model, int op, const struct model_pass *pass)
{
    for (int i = 0; i < model->ops[op].unit_count; i++) {
        const struct model_unit *unit = &model->units[model->ops[op].units[i]];
        if (!(model->ops[op].differentiates >> i & 1u)) continue;
        for (int p = unit->first_piece; p < unit->first_piece + unit->piece_count; p++) {
            const struct model_piece *piece = &model->pieces[p];
            if (model->tensors[piece->tensor].trainable) continue;
            struct device_ptr at = device_at(pass->gradients[i], (size_t)piece->offset * 4);
            size_t bytes = (size_t)(piece->rows * piece->row) * 4;
            ZI_TRY(pass->operations->fill(pass->stream, at, bytes, 0));
        }
    }
    return ZI_OK;
}

enum zi_status model_backward(const struct model *model, int op, const struct model_pass *pass)
{
    struct model_pass own = with_adapter(model, op, pass);
    if (pass->sequences == 0) return layer_prepare_gradients(model, op, pass, true);
    ZI_TRY(layers[model->ops[op].kind]->backward(model, op, &own));
    return zero_frozen(model, op, pass);
}
