/* SPDX-License-Identifier: Apache-2.0 */
/* Counter-based random numbers: a value depends on (seed, stream, index) alone, never on what was
 * drawn before, on how work was split over ranks and threads, or on restarts. */
#ifndef ZI_BASE_RANDOM_H
#define ZI_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Local. 64 well-mixed bits. */
uint64_t zi_random_bits(uint64_t seed, uint64_t stream, uint64_t index);

/* Local. A number for bytes[0..count), the same on every machine (FNV-1a, 64 bit). */
uint64_t zi_random_hash(const void *bytes, size_t count);

/* Local. A stream number from a name: the hash of its characters. */
uint64_t zi_random_stream(const char *name);

/* Local. Uniform in [0, 1), 53 bits. */
double zi_random_uniform(uint64_t seed, uint64_t stream, uint64_t index);

/* Local. Fills values[0..count) with normal deviates of mean 0 and the given standard deviation,
 * those of indices first .. first+count-1 of the stream: any split of a range gives the same
 * values. */
void zi_random_normal(uint64_t seed, uint64_t stream, int64_t first, int64_t count, float deviation,
                      float *values);

/* Local. Numbers first .. first + count - 1 of a sequence of uniform ones in [-bound, bound). */
void zi_random_uniforms(uint64_t seed, uint64_t stream, int64_t first, int64_t count, float bound,
                        float *values);

/* Local. Where `index` of [0, size) goes in a pseudo-random permutation of [0, size) named by
 * (seed, stream); a bijection for every size > 0, computed without a table. */
uint64_t zi_random_permute(uint64_t seed, uint64_t stream, uint64_t size, uint64_t index);

#endif
