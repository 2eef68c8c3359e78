/* SPDX-License-Identifier: Apache-2.0 */
/* Private to model: the layer kinds, and what they share. */
#ifndef ZI_MODEL_LAYERS_H
#define ZI_MODEL_LAYERS_H

#include "device/operations.h"
#include "model/family.h"

/* Sizes of one call, in elements: R rows of the stream, C hidden; of the operation's tile, H and G
 * heads of width D, Q columns of query, key and value together, F inner, U columns that feed the
 * activation (F, or 2F when gated), V ids of which the first is V0; and its block. */
struct layer_sizes {
    int64_t B, T, R, C, H, G, D, Q, F, U, V, V0;
    int tile, tiles, block;
    /* The layer normalises its input; it normalises its result. */
    bool before, behind;
};

/* Local. The sizes of an operation of the model for `sequences` of `tokens`. */
struct layer_sizes layer_sizes_of(const struct model *model, int op, int64_t sequences,
                                  int64_t tokens);

/* A layer kind: one row per enum model_op_kind. */
struct layer {
    enum zi_status (*forward)(const struct model *, int op, enum model_mode,
                              const struct model_pass *);
    enum zi_status (*backward)(const struct model *, int op, const struct model_pass *);
    void (*sizes)(const struct model *, const struct layer_sizes *, struct model_sizes *);
    void (*flops)(const struct model *, const struct layer_sizes *, struct model_flops *);
};

/* Of layer_embed.c, layer_attention.c, layer_mlp.c, layer_head.c. */
extern const struct layer layer_embed, layer_attention, layer_mlp, layer_head;

/* Takes buffers one after another from a block of memory; with a null base it only adds up. */
struct layer_arena {
    struct device_ptr base;
    size_t used;
};

/* Local. The next buffer: `elements` of `element_bytes`, padded to 64 bytes. */
struct device_ptr layer_take(struct layer_arena *arena, int64_t elements, size_t element_bytes);

/* Where an operation finds a tensor: a piece of its i-th unit. piece -1: it has no such tensor. */
struct layer_place {
    int i, piece;
};

/* Local. Finds a tensor by the end of its name ("output.weight"). */
struct layer_place layer_find(const struct model *model, int op, const char *name);

/* Local. Address of the weights of what layer_find found; null for none. */
struct device_ptr layer_weight(const struct model *model, const struct model_pass *pass,
                               struct layer_place place);

/* Local. Address of its gradient; null for none, and for a unit that the operation does not
 * differentiate. */
struct device_ptr layer_gradient(const struct model *model, const struct model_pass *pass, int op,
                                 struct layer_place place);

/* Local. Makes the gradients of an operation's units ready to be added to: where they are not
 * accumulated, everything but matrices, which products overwrite, becomes zero (or everything, when
 * `all`). */
enum zi_status layer_prepare_gradients(const struct model *model, int op,
                                       const struct model_pass *pass, bool all);

/* A linear layer y = x W^T + b: W [N,K] = [outputs, inputs], x [R,K], y [R,N]. */
struct layer_linear {
    const struct model *model;
    const struct model_pass *pass;
    int op;
    /* First tensors of the joined rows; bias may be NULL. */
    const char *weight, *bias;
    int64_t rows, inputs, outputs;
};

/* Local. Enqueues y = x W^T + b; or, unless `before` is null, before = x W^T + b, y = gelu(before). */
enum zi_status linear_forward(const struct layer_linear *l, struct device_ptr x,
                              struct device_ptr before, struct device_ptr y);

/* Local. Enqueues dx = dy W, or, where the layer's input was gelu(before), the gradient of what GELU
 * was taken of, (dy W) gelu'(before); null: it was not. */
enum zi_status linear_input_gradient(const struct layer_linear *l, struct device_ptr dy,
                                     struct device_ptr before, struct device_ptr dx);

/* Local. Enqueues the gradients of W, dy^T x, and of b, the column sums of dy, where the operation
 * differentiates their units. */
enum zi_status linear_weight_gradient(const struct layer_linear *l, struct device_ptr dy,
                                      struct device_ptr x);

/* The end of a branch with a norm behind it: what the norm takes [R,C], kept for backward; the
 * gradient of that, the reciprocal deviations and what the norm's backward needs, in scratch. Nothing
 * for other branches. */
struct layer_branch {
    struct device_ptr result, d_result, rstd, scratch;
};

/* Local. Buffers for it. */
struct layer_branch layer_take_branch(const struct model *model, const struct layer_sizes *sizes,
                                      struct layer_arena *kept, struct layer_arena *work);

/* Local. Enqueues y = the branch's last product, on top of the stream: tile 0 adds input and bias,
 * others add to the output. With a norm behind it, the product goes to the branch's result, and its
 * norm on top of the stream (unless only what backward needs is made again). */
enum zi_status linear_end_branch(const struct layer_linear *l, struct device_ptr x,
                                 enum model_mode mode, const struct layer_branch *branch);

/* Local. The gradient of the branch's last product, which is that of the layer's output, or with a
 * norm behind it what this enqueues, with the gradient of the norm's weight. */
enum zi_status layer_branch_backward(const struct model *model, int op,
                                     const struct model_pass *pass,
                                     const struct layer_branch *branch, struct device_ptr *dy);

/* A norm before the products of a layer: y [R,C], its statistics, and the scratch of its backward
 * pass (only tile 0 has one). */
struct layer_normed {
    struct device_ptr y, mean, rstd, scratch;
};

/* Local. Buffers for it: what one tile needs again in backward is in `kept`; with tiles, each makes
 * the norm anew in `work`, so that what is kept does not grow with their number. */
struct layer_normed layer_take_normed(const struct model *model, const struct layer_sizes *sizes,
                                      struct layer_arena *kept, struct layer_arena *work);

/* Local. What the products of the layer take: the normalised input, or where the layer has no norm
 * before it the pass's input. */
struct device_ptr layer_normed_rows(const struct model_pass *pass,
                                    const struct layer_normed *normed);

/* Local. Enqueues the norm (tensors norm.weight and norm.bias) of x, usually the pass's input; nothing
 * where the layer has none. */
enum zi_status layer_norm_forward(const struct model *model, int op, const struct model_pass *pass,
                                  struct device_ptr x, const struct layer_normed *normed);

/* Where the gradient of the normalised input is made. One tile makes it at once, in the model's
 * type. Tiles add it up in fp32, in the pass's carry from `offset` on: it is then rounded once, as
 * by one tile, and not once per tile. */
struct layer_sum {
    struct device_ptr at;
    enum zi_dtype type;
    bool accumulate;
};

/* Local. The sum of an operation; `single` is where one tile makes it. */
struct layer_sum layer_sum_of(const struct model *model, int op, const struct model_pass *pass,
                              struct device_ptr single, size_t offset);

/* Local. Enqueues the addition of dy W to the sum. */
enum zi_status linear_add_gradient(const struct layer_linear *l, struct device_ptr dy,
                                   const struct layer_sum *sum);

/* Local. In tile 0, passes the sum through the norm: the gradients of its tensors, and what it adds
 * to the gradient of the stream. normed->y is used up. */
enum zi_status layer_norm_backward(const struct model *model, int op, const struct model_pass *pass,
                                   const struct layer_normed *normed, const struct layer_sum *sum);

#endif
