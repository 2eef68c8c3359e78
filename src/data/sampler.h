/* SPDX-License-Identifier: Apache-2.0 */
/* Which tokens a step trains on: a pure function of (seed, step), so that order depends neither on
 * the number of ranks nor on restarts. A token file of n tokens has W = (n-1)/T windows of T inputs
 * and their T successors. Sequence number q = step * global + j belongs to epoch q / W and is
 * window permute(seed, epoch, q mod W): every epoch sees every window once, in an order of its own.
 */
#ifndef ZI_DATA_SAMPLER_H
#define ZI_DATA_SAMPLER_H

#include "data/tokens.h"

struct sampler;

/* Local. Samples windows of `length` tokens for steps of `global` sequences; `shuffle` false takes
 * windows in file order (validation). The tokens stay the caller's. ZI_ERROR_USAGE when the file is
 * shorter than one sequence and its successor. */
enum zi_status sampler_create(struct tokens *tokens, uint64_t seed, int64_t global, int64_t length,
                              int shuffle, struct sampler **sampler);
void sampler_destroy(struct sampler *sampler);

/* Local. Windows in the file. */
int64_t sampler_windows(const struct sampler *sampler);

/* Local. Sequences first .. first+count-1 of step `step` (0 <= first, first+count <= global):
 * inputs and targets, int32 [count, length] each. */
enum zi_status sampler_read(struct sampler *sampler, int64_t step, int64_t first, int64_t count,
                            int32_t *inputs, int32_t *targets);

#endif
