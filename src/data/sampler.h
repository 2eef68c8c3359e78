/* SPDX-License-Identifier: Apache-2.0 */
/* Which tokens a step trains on: a pure function of (seed, step), so that order depends neither on
 * the number of ranks nor on restarts. A file of n tokens has (n-1)/T windows of T inputs and their
 * T successors; a source has the W windows of all its files, in their order. Sequence number n of a
 * source belongs to epoch n / W and is window permute(seed, epoch, n mod W): every epoch sees every
 * window once, in an order of its own.
 *
 * Sequence number q = step * global + j of a run is sequence number q of its source, or, of a
 * mixture, that of one of its sources: of each SAMPLER_BLOCK sequences a source has as many as its
 * weight says, to the nearest whole but at least one, and of each SAMPLER_PART of them its part, to
 * less than one.
 *
 * Of a file whose documents are packed a window is one of the sequences that they make (packing.h).
 * Places behind its last piece have the target -1, which counts for nothing; so has a target that the
 * mask of its file leaves out.
 *
 * Validation goes through all files once: its steps have each of the chosen windows in one place,
 * and a target of -1, which counts for nothing, in every place that is left. So the mean over all
 * its targets does not depend on how many sequences a step has. */
#ifndef ZI_DATA_SAMPLER_H
#define ZI_DATA_SAMPLER_H

#include "data/corpus.h"

#include <stdbool.h>

enum { SAMPLER_BLOCK = 65536, SAMPLER_PART = 256 };

struct sampler;

/* Local. Samples windows of `length` tokens for training steps of `global` sequences; `shuffle`
 * false takes those of a source in file order. The corpus stays the caller's. ZI_ERROR_USAGE when
 * all files of a source are shorter than one sequence and its successor. */
enum zi_status sampler_create(struct corpus *corpus, uint64_t seed, int64_t global, int64_t length,
                              int shuffle, struct sampler **sampler);

/* Local. Samples at most `most` windows (1 to 2^31 - 1) once, for sampler_steps steps. What is left
 * at the end of a file is a window too, a shorter one. Where there are more windows than `most`,
 * every n-th or so is taken. The corpus stays the caller's. ZI_ERROR_USAGE when no file has more
 * than one token. */
enum zi_status sampler_create_once(struct corpus *corpus, int64_t most, int64_t global,
                                   int64_t length, struct sampler **sampler);

/* Local. NULL does nothing. */
void sampler_destroy(struct sampler *sampler);

/* Local. Windows in all files. */
int64_t sampler_windows(const struct sampler *sampler);

/* Local. Those of them that are sampled. */
int64_t sampler_chosen(const struct sampler *sampler);

/* Local. Steps in which every chosen window comes. */
int64_t sampler_steps(const struct sampler *sampler);

/* Local. Targets in these steps, masked or not. */
int64_t sampler_targets(const struct sampler *sampler);

struct sampler_part {
    int64_t windows;
    /* Of SAMPLER_BLOCK sequences, those of this source. */
    int64_t slots;
    /* Files too short for a window. */
    int passed;
    /* Of files that are packed: documents, the sequences that they make, and the places of those
     * that are taken. */
    int64_t documents, packed, places;
};

/* Local. What there is of a source of the corpus. */
struct sampler_part sampler_part(const struct sampler *sampler, int source);

/* Local. Where a sequence of a run comes from: its source, and its number there. */
int sampler_source(const struct sampler *sampler, int64_t sequence, int64_t *number);

/* Local. Whether some targets may be -1, beyond those behind the last window of a validation. */
bool sampler_masks(const struct sampler *sampler);

/* Local. Whether a sequence may have several documents. */
bool sampler_packs(const struct sampler *sampler);

/* Local. Of the sequences that sampler_read gives for the same numbers, how far each token is into
 * its document, int32 [count, length]: from 0 on; in a file that is not packed, into the sequence. */
void sampler_positions(const struct sampler *sampler, int64_t step, int64_t first, int64_t count,
                       int32_t *positions);

/* Local. Sequences first .. first+count-1 of step `step` (0 <= first, first+count <= global):
 * inputs and targets, int32 [count, length] each. */
enum zi_status sampler_read(struct sampler *sampler, int64_t step, int64_t first, int64_t count,
                            int32_t *inputs, int32_t *targets);

#endif
