/* SPDX-License-Identifier: Apache-2.0 */
/* Embedding: x = token_table[id], plus position_table[t] where the family learns positions. Its
 * backward needs no weights, only ids and the gradient of x. */
#include "model/layers.h"

static enum zi_status forward(const struct model *model, int op, enum model_mode mode,
                              const struct model_pass *pass)
{
    (void)mode;
    struct device_ptr position = {0};
    if (model->ops[op].unit_count > 1) position = pass->weights[1];
    return model->operations->embed(
        pass->stream, model->type, pass->output, pass->token_ids, pass->weights[0], position,
        (int64_t[]){pass->sequences, pass->tokens, model->settings.hidden});
}

static enum zi_status backward(const struct model *model, int op, const struct model_pass *pass)
{
    struct device_ptr position = {0};
    for (int i = 0; i < model->ops[op].unit_count; i++) {
        ZI_TRY(layer_prepare_gradient(model, op, pass, i, true));
    }
    if (model->ops[op].unit_count > 1) position = pass->gradients[1];
    return model->operations->embed_backward(
        pass->stream, model->type, pass->gradient, pass->token_ids, pass->gradients[0], position,
        (int64_t[]){pass->sequences, pass->tokens, model->settings.hidden});
}

static void sizes(const struct model *model, const struct layer_sizes *s, struct model_sizes *to)
{
    (void)model;
    (void)s;
    (void)to;
}

static void flops(const struct model *model, const struct layer_sizes *s, struct model_flops *to)
{
    (void)model;
    (void)s;
    (void)to;
}

const struct layer layer_embed = {forward, backward, sizes, flops};
