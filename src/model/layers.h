/* SPDX-License-Identifier: Apache-2.0 */
/* Private to model: the layer kinds, and what they share. */
#ifndef ZI_MODEL_LAYERS_H
#define ZI_MODEL_LAYERS_H

#include "device/operations.h"
#include "model/family.h"

/* Sizes of one call, in elements: R rows of the stream, C hidden, H and G heads of width D, Q
 * columns of query, key and value together, F inner, U columns that feed the activation (F, or 2F
 * when gated), V. */
struct layer_sizes {
    int64_t B, T, R, C, H, G, D, Q, F, U, V;
};
struct layer_sizes layer_sizes_of(const struct model *model, int64_t sequences, int64_t tokens);

/* A layer kind: one row per enum model_op_kind. */
struct layer {
    enum zi_status (*forward)(const struct model *, int op, enum model_mode,
                              const struct model_pass *);
    enum zi_status (*backward)(const struct model *, int op, const struct model_pass *);
    void (*sizes)(const struct model *, const struct layer_sizes *, struct model_sizes *);
    void (*flops)(const struct model *, const struct layer_sizes *, struct model_flops *);
};
extern const struct layer layer_embed, layer_attention, layer_mlp, layer_head;

/* Takes buffers one after another from a block of memory; with a null base it only adds up. */
struct layer_arena {
    struct device_ptr base;
    size_t used;
};
struct device_ptr layer_take(struct layer_arena *arena, int64_t elements, size_t element_bytes);

/* Address of a tensor (index in the model's table; -1 gives null) of unit i of the pass's
 * operation, in weights or in gradients. */
struct device_ptr layer_weight(const struct model *model, const struct model_pass *pass, int i,
                               int tensor);
struct device_ptr layer_gradient(const struct model *model, const struct model_pass *pass, int i,
                                 int tensor);

/* Index of the tensor with this name within unit i of an operation; -1 when it has none. */
int layer_find(const struct model *model, int op, int i, const char *name);

/* Makes the gradient of unit i ready to be added to: where it is not accumulated, everything but
 * its matrices, which products overwrite, becomes zero (or everything, when `all`). */
enum zi_status layer_prepare_gradient(const struct model *model, int op,
                                      const struct model_pass *pass, int i, bool all);

/* The three products of a linear layer y = x W^T + b, W [N,K], x [R,K]. */
struct layer_linear {
    const struct model *model;
    const struct model_pass *pass;
    int op;
    const char *weight, *bias; /* first tensors of the joined rows; bias may be NULL */
    int64_t rows, inputs, outputs;
};
enum zi_status linear_forward(const struct layer_linear *l, struct device_ptr x,
                              struct device_ptr y, struct device_ptr residual);
enum zi_status linear_input_gradient(const struct layer_linear *l, struct device_ptr dy,
                                     struct device_ptr dx);
enum zi_status linear_weight_gradient(const struct layer_linear *l, struct device_ptr dy,
                                      struct device_ptr x);

/* Fills a norm's description for the stream of the pass: x is its input, tensors norm.* of unit i.
 */
struct device_norm layer_norm(const struct model *model, int op, const struct model_pass *pass,
                              const char *const names[2], const struct layer_sizes *sizes);

/* What the norm before a branch leaves for backward: y [R,C], and its statistics. */
struct layer_normed {
    struct device_ptr y, mean, rstd;
};
struct layer_normed layer_take_normed(const struct model *model, const struct layer_sizes *sizes,
                                      struct layer_arena *arena);

/* The norm before a branch (tensors norm.weight and norm.bias): from the input of the pass to
 * normed. Backward takes gradient[0] = that of normed.y and gradient[1] = scratch, and adds to the
 * gradient of the stream. */
enum zi_status layer_norm_forward(const struct model *model, int op, const struct model_pass *pass,
                                  const struct layer_sizes *sizes,
                                  const struct layer_normed *normed);
enum zi_status layer_norm_backward(const struct model *model, int op, const struct model_pass *pass,
                                   const struct layer_sizes *sizes,
                                   const struct layer_normed *normed,
                                   const struct device_ptr gradient[2]);

#endif
