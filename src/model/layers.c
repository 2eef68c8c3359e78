/* SPDX-License-Identifier: Apache-2.0 */
/* What the layer kinds share: sizes, places of tensors, linear layers, norms, and the entry points
 * that pick a layer by the kind of an operation. */
#include "model/layers.h"

#include <string.h>

#include "base/log.h"

static const struct layer *const layers[] = {
    [MODEL_EMBED] = &layer_embed,
    [MODEL_ATTENTION] = &layer_attention,
    [MODEL_MLP] = &layer_mlp,
    [MODEL_HEAD] = &layer_head,
};

struct layer_sizes layer_sizes_of(const struct model *model, int64_t sequences, int64_t tokens)
{
    const struct settings_model *s = &model->settings;
    int64_t width = s->hidden / s->heads;
    return (struct layer_sizes){
        .B = sequences,
        .T = tokens,
        .R = sequences * tokens,
        .C = s->hidden,
        .H = s->heads,
        .G = s->key_heads,
        .D = width,
        .Q = (s->heads + 2 * s->key_heads) * width,
        .F = s->inner,
        .U = family_of(s)->gated ? 2 * s->inner : s->inner,
        .V = s->vocabulary,
    };
}

struct device_ptr layer_take(struct layer_arena *arena, int64_t elements, size_t element_bytes)
{
    struct device_ptr place = device_at(arena->base, arena->used);
    arena->used += ((size_t)elements * element_bytes + 63) / 64 * 64;
    return place;
}

int layer_find(const struct model *model, int op, int i, const char *name)
{
    const struct model_unit *unit = &model->units[model->ops[op].units[i]];
    size_t prefix = strlen(unit->name) + 1;
    for (int t = 0; t < unit->tensor_count; t++) {
        if (strcmp(model->tensors[unit->first_tensor + t].name + prefix, name) == 0)
            return unit->first_tensor + t;
    }
    return -1;
}

struct device_ptr layer_weight(const struct model *model, const struct model_pass *pass, int i,
                               int tensor)
{
    if (tensor < 0) return (struct device_ptr){0};
    size_t bytes = zi_dtype_bytes(model->type);
    return device_at(pass->weights[i], (size_t)model->tensors[tensor].offset * bytes);
}

struct device_ptr layer_gradient(const struct model *model, const struct model_pass *pass, int i,
                                 int tensor)
{
    if (tensor < 0) return (struct device_ptr){0};
    size_t offset = (size_t)model->tensors[tensor].offset;
    return device_at(pass->gradients[i], offset * sizeof(float));
}

enum zi_status layer_prepare_gradient(const struct model *model, int op,
                                      const struct model_pass *pass, int i, bool all)
{
    if (pass->accumulate[i]) return ZI_OK;
    const struct device_operations *ops = model->operations;
    const struct model_unit *unit = &model->units[model->ops[op].units[i]];
    int64_t from = 0;
    for (int t = unit->first_tensor; t < unit->first_tensor + unit->tensor_count && !all; t++) {
        const struct model_tensor *tensor = &model->tensors[t];
        if (tensor->dimensions < 2) continue;
        if (tensor->offset > from) {
            ZI_TRY(ops->fill(pass->stream, device_at(pass->gradients[i], (size_t)from * 4),
                             (size_t)(tensor->offset - from) * 4, 0));
        }
        from = tensor->offset + tensor->elements;
    }
    if (from == unit->elements) return ZI_OK;
    return ops->fill(pass->stream, device_at(pass->gradients[i], (size_t)from * 4),
                     (size_t)(unit->elements - from) * 4, 0);
}

static struct device_matmul linear_base(const struct layer_linear *l)
{
    return (struct device_matmul){.type = l->model->type, .type_c = l->model->type};
}

static const struct device_operations *linear_ops(const struct layer_linear *l)
{
    return l->model->operations;
}

enum zi_status linear_forward(const struct layer_linear *l, struct device_ptr x,
                              struct device_ptr y, struct device_ptr residual)
{
    struct device_matmul d = linear_base(l);
    int weight = layer_find(l->model, l->op, 0, l->weight);
    d.m = l->rows;
    d.n = d.ldc = l->outputs;
    d.k = d.lda = d.ldb = l->inputs;
    d.transpose_b = true;
    d.a = x;
    d.b = layer_weight(l->model, l->pass, 0, weight);
    d.c = y;
    d.residual = residual;
    if (l->bias) {
        int bias = layer_find(l->model, l->op, 0, l->bias);
        d.bias = layer_weight(l->model, l->pass, 0, bias);
    }
    return linear_ops(l)->matmul(l->pass->stream, &d);
}

enum zi_status linear_input_gradient(const struct layer_linear *l, struct device_ptr dy,
                                     struct device_ptr dx)
{
    struct device_matmul d = linear_base(l);
    int weight = layer_find(l->model, l->op, 0, l->weight);
    d.m = l->rows;
    d.n = d.ldb = d.ldc = l->inputs;
    d.k = d.lda = l->outputs;
    d.a = dy;
    d.b = layer_weight(l->model, l->pass, 0, weight);
    d.c = dx;
    return linear_ops(l)->matmul(l->pass->stream, &d);
}

enum zi_status linear_weight_gradient(const struct layer_linear *l, struct device_ptr dy,
                                      struct device_ptr x)
{
    struct device_matmul d = linear_base(l);
    int weight = layer_find(l->model, l->op, 0, l->weight);
    d.type_c = ZI_FP32;
    d.m = d.lda = l->outputs;
    d.n = d.ldb = d.ldc = l->inputs;
    d.k = l->rows;
    d.transpose_a = true;
    d.accumulate = l->pass->accumulate[0];
    d.a = dy;
    d.b = x;
    d.c = layer_gradient(l->model, l->pass, 0, weight);
    ZI_TRY(linear_ops(l)->matmul(l->pass->stream, &d));
    if (!l->bias) return ZI_OK;
    int bias = layer_find(l->model, l->op, 0, l->bias);
    return linear_ops(l)->bias_backward(l->pass->stream, l->model->type,
                                        layer_gradient(l->model, l->pass, 0, bias), dy, l->rows,
                                        l->outputs, l->outputs, true);
}

struct device_norm layer_norm(const struct model *model, int op, const struct model_pass *pass,
                              const char *const names[2], const struct layer_sizes *sizes)
{
    int weight = layer_find(model, op, 0, names[0]);
    int bias = layer_find(model, op, 0, names[1]);
    struct device_norm norm = {
        .type = model->type,
        .rms = family_of(&model->settings)->rms,
        .rows = sizes->R,
        .columns = sizes->C,
        .epsilon = (float)model->settings.norm_epsilon,
        .x = pass->input,
        .weight = layer_weight(model, pass, 0, weight),
        .bias = layer_weight(model, pass, 0, bias),
        .dx = pass->gradient,
    };
    if (!device_is_null(pass->gradients[0])) {
        norm.dweight = layer_gradient(model, pass, 0, weight);
        norm.dbias = layer_gradient(model, pass, 0, bias);
    }
    return norm;
}

static const char *const branch_norm[2] = {"norm.weight", "norm.bias"};

struct layer_normed layer_take_normed(const struct model *model, const struct layer_sizes *sizes,
                                      struct layer_arena *arena)
{
    return (struct layer_normed){
        .y = layer_take(arena, sizes->R * sizes->C, zi_dtype_bytes(model->type)),
        .mean = layer_take(arena, sizes->R, 4),
        .rstd = layer_take(arena, sizes->R, 4),
    };
}

enum zi_status layer_norm_forward(const struct model *model, int op, const struct model_pass *pass,
                                  const struct layer_sizes *sizes,
                                  const struct layer_normed *normed)
{
    struct device_norm norm = layer_norm(model, op, pass, branch_norm, sizes);
    norm.y = normed->y;
    norm.mean = normed->mean;
    norm.rstd = normed->rstd;
    return model->operations->norm(pass->stream, &norm);
}

enum zi_status layer_norm_backward(const struct model *model, int op, const struct model_pass *pass,
                                   const struct layer_sizes *sizes,
                                   const struct layer_normed *normed,
                                   const struct device_ptr gradient[2])
{
    struct device_norm norm = layer_norm(model, op, pass, branch_norm, sizes);
    norm.mean = normed->mean;
    norm.rstd = normed->rstd;
    norm.dy = gradient[0];
    norm.scratch = gradient[1];
    return model->operations->norm_backward(pass->stream, &norm);
}

void model_op_sizes(const struct model *model, int op, int64_t sequences, int64_t tokens,
                    struct model_sizes *sizes)
{
    struct layer_sizes s = layer_sizes_of(model, sequences, tokens);
    sizes->stream = (size_t)(s.R * s.C) * zi_dtype_bytes(model->type);
    sizes->saved = sizes->scratch = 0;
    layers[model->ops[op].kind]->sizes(model, &s, sizes);
}

void model_op_flops(const struct model *model, int op, int64_t sequences, int64_t tokens,
                    struct model_flops *flops)
{
    struct layer_sizes s = layer_sizes_of(model, sequences, tokens);
    *flops = (struct model_flops){0};
    layers[model->ops[op].kind]->flops(model, &s, flops);
}

double model_flops_per_token(const struct model *model, int64_t tokens)
{
    const struct settings_model *s = &model->settings;
    return 6.0 * (double)model->parameters +
           12.0 * (double)s->layers * (double)s->hidden * (double)tokens;
}

enum zi_status model_forward(const struct model *model, int op, enum model_mode mode,
                             const struct model_pass *pass)
{
    if (pass->sequences == 0) return ZI_OK;
    return layers[model->ops[op].kind]->forward(model, op, mode, pass);
}

enum zi_status model_backward(const struct model *model, int op, const struct model_pass *pass)
{
    if (pass->sequences > 0) return layers[model->ops[op].kind]->backward(model, op, pass);
    for (int i = 0; i < model->ops[op].unit_count; i++) {
        ZI_TRY(layer_prepare_gradient(model, op, pass, i, true));
    }
    return ZI_OK;
}
