/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the room: which source of a mixture a sequence is of. */
#ifndef ZI_DATA_MIXTURE_H
#define ZI_DATA_MIXTURE_H

#include <stdint.h>

/* Local. How many of SAMPLER_BLOCK sequences each source has, by the largest remainder of
 * weights[0..count), which are larger than 0; each has at least one. Into slots[0..count). */
void mixture_share(const double *weights, int count, int64_t *slots);

/* Local. The source of a sequence of a run, and its number among those of the source: all sequences
 * of a source have numbers 0, 1, ... once each, and those of a SAMPLER_PART of the run have higher
 * ones than those before. */
int mixture_source(uint64_t seed, const int64_t *slots, int count, int64_t sequence,
                   int64_t *number);

#endif
