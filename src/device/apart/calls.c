/* SPDX-License-Identifier: Apache-2.0 */
/* The operations of the apart device: each copies its arguments into a call, turns their addresses
 * into those of the cpu device, and puts the call into its stream's queue; run_* is what the
 * stream's thread does with it. An operation on other memory than the device's is refused. */
#include "base/log.h"
#include "device/apart/private.h"

#define RUN(name)                                                                                  \
    static enum zi_status run_##name(const struct device_operations *ops,                          \
                                     struct device_stream *stream, const struct apart_call *c)

/* `pointers` is a list of the call's addresses, ending in NULL. */
static enum zi_status give(struct device_stream *stream, struct apart_call *call,
                           struct device_ptr *const *pointers)
{
    for (; *pointers; pointers++) {
        if (device_is_null(**pointers)) continue;
        if (!apart_reach(apart_device_of(stream->device), *pointers))
            return zi_fail(ZI_ERROR_BUG, "apart", "an operation on memory of the host");
    }
    return apart_stream_give(stream, call);
}
#define GIVE(stream, call, ...) give(stream, call, (struct device_ptr *[]){__VA_ARGS__, NULL})

RUN(matmul)
{
    return ops->matmul(stream, &c->matmul);
}

static enum zi_status apart_matmul(struct device_stream *stream, const struct device_matmul *d)
{
    struct apart_call c = {.run = run_matmul, .matmul = *d};
    return GIVE(stream, &c, &c.matmul.a, &c.matmul.b, &c.matmul.c, &c.matmul.bias,
                &c.matmul.residual, &c.matmul.inner);
}

RUN(fill)
{
    return ops->fill(stream, c->at[0], (size_t)c->size[0], c->whole);
}

static enum zi_status apart_fill(struct device_stream *stream, struct device_ptr to, size_t bytes,
                                 int byte)
{
    struct apart_call c = {.run = run_fill, .at = {to}, .size = {(int64_t)bytes}, .whole = byte};
    return GIVE(stream, &c, &c.at[0]);
}

RUN(convert)
{
    return ops->convert(stream, c->type[0], c->at[0], c->type[1], c->at[1], c->size[0]);
}

static enum zi_status apart_convert(struct device_stream *stream, enum zi_dtype to_type,
                                    struct device_ptr to, enum zi_dtype from_type,
                                    struct device_ptr from, int64_t count)
{
    struct apart_call c = {
        .run = run_convert, .at = {to, from}, .type = {to_type, from_type}, .size = {count}};
    return GIVE(stream, &c, &c.at[0], &c.at[1]);
}

RUN(add)
{
    return ops->add(stream, c->type[0], c->at[0], c->type[1], c->at[1], c->size[0]);
}

static enum zi_status apart_add(struct device_stream *stream, enum zi_dtype to_type,
                                struct device_ptr to, enum zi_dtype from_type,
                                struct device_ptr from, int64_t count)
{
    struct apart_call c = {
        .run = run_add, .at = {to, from}, .type = {to_type, from_type}, .size = {count}};
    return GIVE(stream, &c, &c.at[0], &c.at[1]);
}

RUN(embed)
{
    return ops->embed(stream, &c->embedding);
}

RUN(embed_backward)
{
    return ops->embed_backward(stream, &c->embedding);
}

static enum zi_status give_embedding(struct device_stream *stream, struct apart_call *c)
{
    struct device_embedding *d = &c->embedding;
    return GIVE(stream, c, &d->y, &d->token_ids, &d->table, &d->position, &d->positions);
}

static enum zi_status apart_embed(struct device_stream *stream, const struct device_embedding *d)
{
    return give_embedding(stream, &(struct apart_call){.run = run_embed, .embedding = *d});
}

static enum zi_status apart_embed_backward(struct device_stream *stream,
                                           const struct device_embedding *d)
{
    return give_embedding(stream, &(struct apart_call){.run = run_embed_backward, .embedding = *d});
}

RUN(norm)
{
    return ops->norm(stream, &c->norm);
}

RUN(norm_backward)
{
    return ops->norm_backward(stream, &c->norm);
}

static enum zi_status apart_norm(struct device_stream *stream, const struct device_norm *d)
{
    struct apart_call c = {.run = run_norm, .norm = *d};
    struct device_norm *n = &c.norm;
    return GIVE(stream, &c, &n->x, &n->weight, &n->bias, &n->y, &n->mean, &n->rstd);
}

static enum zi_status apart_norm_backward(struct device_stream *stream, const struct device_norm *d)
{
    struct apart_call c = {.run = run_norm_backward, .norm = *d};
    struct device_norm *n = &c.norm;
    return GIVE(stream, &c, &n->x, &n->weight, &n->bias, &n->y, &n->mean, &n->rstd, &n->dy, &n->dx,
                &n->dweight, &n->dbias, &n->scratch);
}

RUN(gelu)
{
    return ops->gelu(stream, c->type[0], c->at[0], c->at[1], c->size[0]);
}

static enum zi_status apart_gelu(struct device_stream *stream, enum zi_dtype type,
                                 struct device_ptr y, struct device_ptr x, int64_t count)
{
    struct apart_call c = {.run = run_gelu, .type = {type}, .at = {y, x}, .size = {count}};
    return GIVE(stream, &c, &c.at[0], &c.at[1]);
}

RUN(gelu_backward)
{
    return ops->gelu_backward(stream, c->type[0], c->at[0], c->at[1], c->at[2], c->size[0]);
}

static enum zi_status apart_gelu_backward(struct device_stream *stream, enum zi_dtype type,
                                          struct device_ptr dx, struct device_ptr dy,
                                          struct device_ptr x, int64_t count)
{
    struct apart_call c = {
        .run = run_gelu_backward, .type = {type}, .at = {dx, dy, x}, .size = {count}};
    return GIVE(stream, &c, &c.at[0], &c.at[1], &c.at[2]);
}

RUN(glu)
{
    return ops->glu(stream, &c->glu);
}

RUN(dropout)
{
    return ops->dropout(stream, &c->dropout);
}

static enum zi_status apart_dropout(struct device_stream *stream, const struct device_dropout *d)
{
    struct apart_call c = {.run = run_dropout, .dropout = *d};
    return GIVE(stream, &c, &c.dropout.from, &c.dropout.to);
}

RUN(glu_backward)
{
    return ops->glu_backward(stream, &c->glu);
}

static enum zi_status apart_glu(struct device_stream *stream, const struct device_glu *d)
{
    struct apart_call c = {.run = run_glu, .glu = *d};
    return GIVE(stream, &c, &c.glu.gate_up, &c.glu.y);
}

static enum zi_status apart_glu_backward(struct device_stream *stream, const struct device_glu *d)
{
    struct apart_call c = {.run = run_glu_backward, .glu = *d};
    return GIVE(stream, &c, &c.glu.gate_up, &c.glu.dy, &c.glu.d_gate_up);
}

RUN(rope)
{
    return ops->rope(stream, &c->rope);
}

static enum zi_status apart_rope(struct device_stream *stream, const struct device_rope *d)
{
    struct apart_call c = {.run = run_rope, .rope = *d};
    return GIVE(stream, &c, &c.rope.x, &c.rope.positions);
}

RUN(attention)
{
    return ops->attention(stream, &c->attention);
}

RUN(attention_backward)
{
    return ops->attention_backward(stream, &c->attention);
}

RUN(attention_cached)
{
    return ops->attention_cached(stream, &c->cached);
}

static enum zi_status apart_attention_cached(struct device_stream *stream,
                                             const struct device_attention_cached *d)
{
    struct apart_call c = {.run = run_attention_cached, .cached = *d};
    struct device_attention_cached *a = &c.cached;
    return GIVE(stream, &c, &a->q, &a->k, &a->v, &a->o, &a->cache, &a->positions);
}

static enum zi_status apart_attention(struct device_stream *stream,
                                      const struct device_attention *d)
{
    struct apart_call c = {.run = run_attention, .attention = *d};
    struct device_attention *a = &c.attention;
    return GIVE(stream, &c, &a->q, &a->k, &a->v, &a->o, &a->logsumexp, &a->positions);
}

static enum zi_status apart_attention_backward(struct device_stream *stream,
                                               const struct device_attention *d)
{
    struct apart_call c = {.run = run_attention_backward, .attention = *d};
    struct device_attention *a = &c.attention;
    return GIVE(stream, &c, &a->q, &a->k, &a->v, &a->o, &a->logsumexp, &a->d_o, &a->dq, &a->dk,
                &a->dv, &a->scratch, &a->positions);
}

RUN(bias_backward)
{
    return ops->bias_backward(stream, c->type[0], c->at[0], c->at[1], c->size[0], c->size[1],
                              c->size[2], c->whole);
}

static enum zi_status apart_bias_backward(struct device_stream *stream, enum zi_dtype type,
                                          struct device_ptr dbias, struct device_ptr dy,
                                          int64_t rows, int64_t columns, int64_t ld,
                                          bool accumulate)
{
    struct apart_call c = {.run = run_bias_backward,
                           .type = {type},
                           .at = {dbias, dy},
                           .size = {rows, columns, ld},
                           .whole = accumulate};
    return GIVE(stream, &c, &c.at[0], &c.at[1]);
}

RUN(cap)
{
    return ops->cap(stream, c->at[0], c->size[0], c->size[1], c->size[2], (float)c->real);
}

static enum zi_status apart_cap(struct device_stream *stream, struct device_ptr logits,
                                int64_t rows, int64_t columns, int64_t ld, float cap)
{
    struct apart_call c = {
        .run = run_cap, .at = {logits}, .size = {rows, columns, ld}, .real = (double)cap};
    return GIVE(stream, &c, &c.at[0]);
}

RUN(cross_entropy)
{
    return ops->cross_entropy(stream, &c->softmax, c->at[0]);
}

RUN(softmax_statistics)
{
    return ops->softmax_statistics(stream, &c->softmax);
}

RUN(softmax_loss)
{
    return ops->softmax_loss(stream, &c->softmax, c->at[0]);
}

RUN(softmax_gradient)
{
    return ops->softmax_gradient(stream, &c->softmax);
}

static enum zi_status give_softmax(struct device_stream *stream, struct apart_call *c)
{
    struct device_softmax *d = &c->softmax;
    return GIVE(stream, c, &d->logits, &d->targets, &d->statistics, &c->at[0]);
}

static enum zi_status apart_cross_entropy(struct device_stream *stream,
                                          const struct device_softmax *d, struct device_ptr loss)
{
    return give_softmax(
        stream, &(struct apart_call){.run = run_cross_entropy, .softmax = *d, .at = {loss}});
}

static enum zi_status apart_softmax_statistics(struct device_stream *stream,
                                               const struct device_softmax *d)
{
    return give_softmax(stream, &(struct apart_call){.run = run_softmax_statistics, .softmax = *d});
}

static enum zi_status apart_softmax_loss(struct device_stream *stream,
                                         const struct device_softmax *d, struct device_ptr loss)
{
    return give_softmax(stream,
                        &(struct apart_call){.run = run_softmax_loss, .softmax = *d, .at = {loss}});
}

static enum zi_status apart_softmax_gradient(struct device_stream *stream,
                                             const struct device_softmax *d)
{
    return give_softmax(stream, &(struct apart_call){.run = run_softmax_gradient, .softmax = *d});
}

RUN(gradient_norm)
{
    return ops->gradient_norm(stream, c->type[0], c->at[0], c->size[0], c->at[1]);
}

static enum zi_status apart_gradient_norm(struct device_stream *stream, enum zi_dtype type,
                                          struct device_ptr gradient, int64_t count,
                                          struct device_ptr sums)
{
    struct apart_call c = {
        .run = run_gradient_norm, .type = {type}, .at = {gradient, sums}, .size = {count}};
    return GIVE(stream, &c, &c.at[0], &c.at[1]);
}

RUN(gradient_round)
{
    return ops->gradient_round(stream, c->type[0], c->at[0], c->at[1], c->size[0], c->at[2]);
}

static enum zi_status apart_gradient_round(struct device_stream *stream, enum zi_dtype type,
                                           struct device_ptr gradient, struct device_ptr from,
                                           int64_t count, struct device_ptr sums)
{
    struct apart_call c = {
        .run = run_gradient_round, .type = {type}, .at = {gradient, from, sums}, .size = {count}};
    return GIVE(stream, &c, &c.at[0], &c.at[1], &c.at[2]);
}

RUN(adam)
{
    return ops->adam(stream, &c->adam);
}

static enum zi_status apart_adam(struct device_stream *stream, const struct device_adam *d)
{
    struct apart_call c = {.run = run_adam, .adam = *d};
    struct device_adam *a = &c.adam;
    return GIVE(stream, &c, &a->parameter, &a->remainder, &a->states[0], &a->states[1],
                &a->gradient, &a->checksum);
}

RUN(checksum)
{
    return ops->checksum(stream, c->at[0], c->size[0], &c->place, c->at[1]);
}

static enum zi_status apart_checksum(struct device_stream *stream, struct device_ptr weights,
                                     int64_t count, const struct device_place *place,
                                     struct device_ptr sum)
{
    struct apart_call c = {
        .run = run_checksum, .at = {weights, sum}, .size = {count}, .place = *place};
    return GIVE(stream, &c, &c.at[0], &c.at[1]);
}

RUN(unpack)
{
    return ops->unpack(stream, c->type[0], c->at[0], c->type[1], c->at[1], c->size[0]);
}

static enum zi_status apart_unpack(struct device_stream *stream, enum zi_dtype type,
                                   struct device_ptr to, enum zi_dtype packed,
                                   struct device_ptr from, int64_t count)
{
    struct apart_call c = {
        .run = run_unpack, .at = {to, from}, .type = {type, packed}, .size = {count}};
    return GIVE(stream, &c, &c.at[0], &c.at[1]);
}

void apart_calls_register(struct device_operations *operations)
{
    *operations = (struct device_operations){
        .matmul = apart_matmul,
        .fill = apart_fill,
        .convert = apart_convert,
        .add = apart_add,
        .embed = apart_embed,
        .embed_backward = apart_embed_backward,
        .norm = apart_norm,
        .norm_backward = apart_norm_backward,
        .gelu = apart_gelu,
        .gelu_backward = apart_gelu_backward,
        .glu = apart_glu,
        .glu_backward = apart_glu_backward,
        .dropout = apart_dropout,
        .rope = apart_rope,
        .attention = apart_attention,
        .attention_backward = apart_attention_backward,
        .attention_cached = apart_attention_cached,
        .bias_backward = apart_bias_backward,
        .cap = apart_cap,
        .cross_entropy = apart_cross_entropy,
        .softmax_statistics = apart_softmax_statistics,
        .softmax_loss = apart_softmax_loss,
        .softmax_gradient = apart_softmax_gradient,
        .gradient_norm = apart_gradient_norm,
        .gradient_round = apart_gradient_round,
        .adam = apart_adam,
        .checksum = apart_checksum,
        .unpack = apart_unpack,
    };
}
