/* SPDX-License-Identifier: Apache-2.0 */
/* The norms of layers: before their products, and behind a branch. Of what a norm behind a branch took
 * its statistics are made again in backward, which is cheaper than to keep them apart. */
#include "model/norms.h"

struct layer_normed layer_take_normed(const struct model *model, const struct layer_sizes *sizes,
                                      struct layer_arena *kept, struct layer_arena *work)
{
    struct layer_arena *from = sizes->tiles > 1 ? work : kept;
    if (!sizes->before) return (struct layer_normed){.y = {0}};
    struct layer_normed normed = {
        .y = layer_take(from, sizes->R * sizes->C, zi_dtype_bytes(model->type)),
        .mean = layer_take(from, sizes->R, 4),
        .rstd = layer_take(from, sizes->R, 4),
    };
    if (sizes->tile > 0) return normed;
    size_t scratch = device_norm_backward_scratch(sizes->R, sizes->C);
    normed.scratch = layer_take(work, (int64_t)scratch, 1);
    return normed;
}

static struct device_norm describe_norm(const struct model *model, int op,
                                        const struct model_pass *pass,
                                        const struct layer_normed *normed)
{
    struct layer_place weight = layer_find(model, op, "norm.weight");
    struct layer_place bias = layer_find(model, op, "norm.bias");
    return (struct device_norm){
        .type = model->type,
        .rms = family_of(&model->settings)->rms,
        .rows = pass->sequences * pass->tokens,
        .columns = model->settings.hidden,
        .epsilon = (float)model->settings.norm_epsilon,
        .offset = family_norm_offset(&model->settings),
        .x = pass->input,
        .weight = layer_weight(model, pass, weight),
        .bias = layer_weight(model, pass, bias),
        .mean = normed->mean,
        .rstd = normed->rstd,
        .dx = pass->gradient,
    };
}

struct device_ptr layer_normed_rows(const struct model_pass *pass,
                                    const struct layer_normed *normed)
{
    return device_is_null(normed->y) ? pass->input : normed->y;
}

enum zi_status layer_norm_forward(const struct model *model, int op, const struct model_pass *pass,
                                  struct device_ptr x, const struct layer_normed *normed)
{
    if (device_is_null(normed->y)) return ZI_OK;
    struct device_norm norm = describe_norm(model, op, pass, normed);
    norm.x = x;
    norm.y = normed->y;
    return pass->operations->norm(pass->stream, &norm);
}

enum zi_status layer_norm_backward(const struct model *model, int op, const struct model_pass *pass,
                                   const struct layer_normed *normed, const struct layer_sum *sum)
{
    struct device_norm norm = describe_norm(model, op, pass, normed);
    if (model->ops[op].tile > 0) return ZI_OK;
    if (device_is_null(normed->y))
        return pass->operations->add(pass->stream, model->type, pass->gradient, sum->type, sum->at,
                                     norm.rows * norm.columns);
    norm.dweight = layer_gradient(model, pass, op, layer_find(model, op, "norm.weight"));
    norm.dbias = layer_gradient(model, pass, op, layer_find(model, op, "norm.bias"));
    norm.dy = sum->at;
    norm.scratch = normed->scratch;
    if (sum->type != model->type) {
        norm.dy = normed->y;
        ZI_TRY(pass->operations->convert(pass->stream, model->type, norm.dy, sum->type, sum->at,
                                         norm.rows * norm.columns));
    }
    return pass->operations->norm_backward(pass->stream, &norm);
}

struct layer_branch layer_take_branch(const struct model *model, const struct layer_sizes *s,
                                      struct layer_arena *kept, struct layer_arena *work)
{
    struct layer_branch branch = {.result = {0}};
    size_t type = zi_dtype_bytes(model->type);
    if (!s->behind) return branch;
    branch.result = layer_take(kept, s->R * s->C, type);
    branch.d_result = layer_take(work, s->R * s->C, type);
    branch.rstd = layer_take(work, s->R, 4);
    size_t bytes = device_norm_backward_scratch(s->R, s->C);
    branch.scratch = layer_take(work, (int64_t)bytes, 1);
    return branch;
}

/* The norm behind a branch. */
static struct device_norm describe_behind(const struct model *model, int op,
                                          const struct model_pass *pass,
                                          const struct layer_branch *branch)
{
    struct layer_place weight = layer_find(model, op, "post_norm.weight");
    return (struct device_norm){
        .type = model->type,
        .rms = true,
        .rows = pass->sequences * pass->tokens,
        .columns = model->settings.hidden,
        .epsilon = (float)model->settings.norm_epsilon,
        .offset = family_norm_offset(&model->settings),
        .x = branch->result,
        .weight = layer_weight(model, pass, weight),
        .rstd = branch->rstd,
        .dweight = layer_gradient(model, pass, op, weight),
        .scratch = branch->scratch,
    };
}

enum zi_status layer_end(const struct layer_linear *l, struct device_ptr x, enum model_mode mode,
                         const struct layer_branch *branch)
{
    const struct model_pass *pass = l->pass;
    enum zi_dtype type = l->model->type;
    bool behind = !device_is_null(branch->result), again = mode == MODEL_RECOMPUTE;
    if (!behind) return again ? ZI_OK : linear_end_branch(l, x);
    ZI_TRY(linear_forward(l, x, (struct device_ptr){0}, branch->result));
    if (again) return ZI_OK;
    struct device_norm norm = describe_behind(l->model, l->op, pass, branch);
    norm.y = pass->output;
    ZI_TRY(pass->operations->norm(pass->stream, &norm));
    return pass->operations->add(pass->stream, type, pass->output, type, pass->input,
                                 norm.rows * norm.columns);
}

enum zi_status layer_branch_backward(const struct model *model, int op,
                                     const struct model_pass *pass,
                                     const struct layer_branch *branch, struct device_ptr *dy)
{
    *dy = pass->gradient;
    if (device_is_null(branch->result)) return ZI_OK;
    struct device_norm norm = describe_behind(model, op, pass, branch);
    *dy = norm.y = branch->d_result; /* the norm's result is not used: its statistics are */
    ZI_TRY(pass->operations->norm(pass->stream, &norm));
    norm.dy = pass->gradient;
    norm.dx = branch->d_result;
    norm.replace = true;
    return pass->operations->norm_backward(pass->stream, &norm);
}
