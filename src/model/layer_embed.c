/* SPDX-License-Identifier: Apache-2.0 */
/* Embedding: x = token_table[id], times sqrt(C) where the family says so, plus position_table[position]
 * where it learns positions. Its
 * backward needs no weights, only ids and the gradient of x.
 *
 * A tile is a range of ids. Tile 0 writes positions (or zeros) and the rows of its ids, the others
 * add the rows of theirs; a row of x is added to once, so tiles change no bit of it. */
#include "model/layers.h"

static struct device_embedding describe(const struct model *model, int op,
                                        const struct model_pass *pass)
{
    struct layer_sizes s = layer_sizes_of(model, op, pass->sequences, pass->tokens);
    return (struct device_embedding){
        .type = model->type,
        .sequences = s.B,
        .tokens = s.T,
        .columns = s.C,
        .first = s.V0,
        .ids = s.V,
        .add = s.tile > 0,
        .scale = family_embedding_scale(&model->settings, model->type),
        .token_ids = pass->token_ids,
        .positions = pass->positions,
    };
}

static enum zi_status forward(const struct model *model, int op, enum model_mode mode,
                              const struct model_pass *pass)
{
    (void)mode;
    struct device_embedding e = describe(model, op, pass);
    e.y = pass->output;
    e.table = pass->weights[0];
    if (model->ops[op].unit_count > 1) e.position = pass->weights[1];
    return pass->operations->embed(pass->stream, &e);
}

static enum zi_status backward(const struct model *model, int op, const struct model_pass *pass)
{
    struct device_embedding e = describe(model, op, pass);
    ZI_TRY(layer_prepare_gradients(model, op, pass, true));
    e.y = pass->gradient;
    e.table = pass->gradients[0];
    if (model->ops[op].unit_count > 1) e.position = pass->gradients[1];
    return pass->operations->embed_backward(pass->stream, &e);
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
