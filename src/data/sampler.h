/* SPDX-License-Identifier: Apache-2.0 */
/* Which tokens a step trains on: a pure function of (seed, step), so that order depends neither on
 * the number of ranks nor on restarts. A token file of n tokens has W = (n-1)/T windows of T inputs
 * and their T successors. Sequence number q = step * global + j belongs to epoch q / W and is
 * window permute(seed, epoch, q mod W): every epoch sees every window once, in an order of its own.
 *
 * Validation goes through a file once: its steps have each of the chosen windows in one place, and
 * a target of -1, which counts for nothing, in every place that is left. So the mean over all its
 * targets does not depend on how many sequences a step has. */
#ifndef ZI_DATA_SAMPLER_H
#define ZI_DATA_SAMPLER_H

#include "data/tokens.h"

struct sampler;

/* Local. Samples windows of `length` tokens for training steps of `global` sequences; `shuffle`
 * false takes windows in file order. The tokens stay the caller's. ZI_ERROR_USAGE when the file is
 * shorter than one sequence and its successor. */
enum zi_status sampler_create(struct tokens *tokens, uint64_t seed, int64_t global, int64_t length,
                              int shuffle, struct sampler **sampler);

/* Local. Samples at most `most` windows (1 to 2^31 - 1) once, for sampler_steps steps. What is left
 * at the end of the file is a window too, a shorter one. Where there are more windows than `most`,
 * every n-th or so is taken. The tokens stay the caller's. ZI_ERROR_USAGE when the file has one
 * token alone. */
enum zi_status sampler_create_once(struct tokens *tokens, int64_t most, int64_t global,
                                   int64_t length, struct sampler **sampler);

/* Local. NULL does nothing. */
void sampler_destroy(struct sampler *sampler);

/* Local. Windows in the file. */
int64_t sampler_windows(const struct sampler *sampler);

/* Local. Those of them that are sampled. */
int64_t sampler_chosen(const struct sampler *sampler);

/* Local. Steps in which every chosen window comes. */
int64_t sampler_steps(const struct sampler *sampler);

/* Local. Targets in these steps that count. */
int64_t sampler_targets(const struct sampler *sampler);

/* Local. Sequences first .. first+count-1 of step `step` (0 <= first, first+count <= global):
 * inputs and targets, int32 [count, length] each. */
enum zi_status sampler_read(struct sampler *sampler, int64_t step, int64_t first, int64_t count,
                            int32_t *inputs, int32_t *targets);

#endif
