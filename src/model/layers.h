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

/* Local. Enqueues y = the branch's last product, on top of the stream: tile 0 adds input and bias,
 * others add to the output. */
enum zi_status linear_end_branch(const struct layer_linear *l, struct device_ptr x);

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

#endif
