/* SPDX-License-Identifier: Apache-2.0 */
/* Private to model: low-rank adapters beside matrices (model.h). */
#ifndef ZI_MODEL_ADAPTER_H
#define ZI_MODEL_ADAPTER_H

#include "model/layers.h"

/* Two for each matrix of a layer, and the end. */
enum { FAMILY_ADAPTER_ROWS = 2 * 4 + 1 };

/* Local. Whether the matrix of a row has an adapter; if so, the rows of its lora_a and lora_b. */
bool family_adapts(const struct settings_model *settings, const struct family_row *row,
                   struct family_row adapter[2]);

/* Local. Adds to the deck's complaints what is wrong with its adapter section, and resolves its
 * alpha. */
void adapter_check(struct deck *deck);

/* Local. Whether an operation has adapters. */
bool adapter_exists(const struct model *model, int op);

/* Local. Bytes of scratch that adapters of an operation take in front of that of the layer. */
size_t adapter_scratch(const struct model *model, int op, int64_t rows);

/* Local. Adds what an operation's adapters cost for `rows` rows of the stream. */
void adapter_flops(const struct model *model, int op, int64_t rows, struct model_flops *flops);

/* Local. Enqueues y += s (x A^T) B^T for the matrices of a linear layer that have an adapter; x [R,K],
 * y [R,N]. */
enum zi_status adapter_forward(const struct layer_linear *l, struct device_ptr x,
                               struct device_ptr y);

/* Local. Whether a linear layer has an adapter. */
bool adapter_is_beside(const struct layer_linear *l);

/* Local. Enqueues dx += s (dy B) A; dx [R,K] of `type`. */
enum zi_status adapter_input_gradient(const struct layer_linear *l, struct device_ptr dy,
                                      struct device_ptr dx, enum zi_dtype type);

/* Local. Enqueues the gradients of B, dy^T (s x A^T), and of A, (s dy B)^T x, which are added to. */
enum zi_status adapter_weight_gradient(const struct layer_linear *l, struct device_ptr dy,
                                       struct device_ptr x);

#endif
