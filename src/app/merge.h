/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: the weights of a source with its adapters merged into the matrices beside which they
 * are, W + s B A. All are Local. */
#ifndef ZI_APP_MERGE_H
#define ZI_APP_MERGE_H

#include "app/source.h"

struct merge;

/* The source's own model for tensors of `written`, the same model without adapters. Both stay the
 * caller's, until merge_close. ZI_ERROR_USAGE, ZI_ERROR_IO. */
enum zi_status merge_open(struct source *source, const struct model *written, struct merge **merge);

/* NULL does nothing. */
void merge_close(struct merge *merge);

/* The source's own model, with adapters. */
const struct model *merge_model(const struct merge *merge);

/* Whether there is an adapter beside tensor number `tensor` of `written`. */
bool merge_adapts(const struct merge *merge, int tensor);

/* Elements [first, first + count) of a tensor of `written`, fp32, summed in fp32. ZI_ERROR_IO. */
enum zi_status merge_read(struct merge *merge, int tensor, int64_t first, int64_t count,
                          float *values);

/* The same of one without an adapter in the type of the source, with all its bits. ZI_ERROR_IO. */
enum zi_status merge_read_bits(struct merge *merge, int tensor, int64_t first, int64_t count,
                               void *values);

#endif
