/* SPDX-License-Identifier: Apache-2.0 */
/* Private to model: the norms of layers, before their products and behind their last. */
#ifndef ZI_MODEL_NORMS_H
#define ZI_MODEL_NORMS_H

#include "model/layers.h"

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

/* Local. In tile 0, passes the sum through the norm: the gradients of its tensors, and what it adds
 * to the gradient of the stream. normed->y is used up. */
enum zi_status layer_norm_backward(const struct model *model, int op, const struct model_pass *pass,
                                   const struct layer_normed *normed, const struct layer_sum *sum);

/* The end of a branch with a norm behind it: what the norm takes [R,C], kept for backward; the
 * gradient of that, the reciprocal deviations and what the norm's backward needs, in scratch. Nothing
 * for other branches. */
struct layer_branch {
    struct device_ptr result, d_result, rstd, scratch;
};

/* Local. Buffers for it. */
struct layer_branch layer_take_branch(const struct model *model, const struct layer_sizes *sizes,
                                      struct layer_arena *kept, struct layer_arena *work);

/* Local. Ends a branch with its last product: by linear_end_branch, or with a norm behind it the
 * product goes to the branch's result and its norm on top of the stream. MODEL_RECOMPUTE makes what
 * backward needs alone. */
enum zi_status layer_end(const struct layer_linear *l, struct device_ptr x, enum model_mode mode,
                         const struct layer_branch *branch);

/* Local. The gradient of the branch's last product, which is that of the layer's output, or with a
 * norm behind it what this enqueues, with the gradient of the norm's weight. */
enum zi_status layer_branch_backward(const struct model *model, int op,
                                     const struct model_pass *pass,
                                     const struct layer_branch *branch, struct device_ptr *dy);

#endif
