/* SPDX-License-Identifier: Apache-2.0 */
/* The sampler computes where a sequence lies and keeps nothing between calls but a buffer.
 *
 * Sequence q of a run (q = step * global + place in the step) is in epoch q / W and is number
 * q mod W of that epoch, for a file of W windows. zi_random_permute maps that number to a window
 * through a bijection named by (seed, epoch), without a table, so a file of 10^12 tokens costs no
 * memory, any rank finds any sequence by itself, and a restart needs only the step. An epoch may
 * end inside a step: its windows and those of the next simply meet there.
 *
 * A window is T inputs and their T successors, read as T + 1 tokens; the last token of a window is
 * the first input of the next, so each token is an input once per epoch and a target once. */
#include "data/sampler.h"

#include "base/log.h"
#include "base/random.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct sampler {
    struct tokens *tokens; /* the caller's */
    uint64_t seed, stream;
    int64_t global, length, windows;
    int shuffle;
    int32_t *window; /* [length + 1] */
};

enum zi_status sampler_create(struct tokens *tokens, uint64_t seed, int64_t global, int64_t length,
                              int shuffle, struct sampler **sampler)
{
    ZI_REQUIRE(global > 0 && length > 0);
    int64_t windows = (tokens_count(tokens) - 1) / length;
    if (windows < 1)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s has %" PRId64 " tokens, but a sequence of %" PRId64
                       " and its successor take %" PRId64
                       ": shorten batch.tokens or use a longer file",
                       tokens_path(tokens), tokens_count(tokens), length, length + 1);
    struct sampler *made = calloc(1, sizeof *made);
    int32_t *window = malloc(((size_t)length + 1) * sizeof *window);
    if (made == NULL || window == NULL) {
        free(made);
        free(window);
        return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to sample %s", tokens_path(tokens));
    }
    *made = (struct sampler){.tokens = tokens,
                             .seed = seed,
                             .stream = zi_random_stream("data.sampler"),
                             .global = global,
                             .length = length,
                             .windows = windows,
                             .shuffle = shuffle,
                             .window = window};
    *sampler = made;
    return ZI_OK;
}

void sampler_destroy(struct sampler *sampler)
{
    if (sampler == NULL) return;
    free(sampler->window);
    free(sampler);
}

int64_t sampler_windows(const struct sampler *sampler)
{
    return sampler->windows;
}

/* The window of sequence number q. */
static int64_t window_of(const struct sampler *sampler, int64_t q)
{
    int64_t epoch = q / sampler->windows, index = q % sampler->windows;
    if (!sampler->shuffle) return index;
    return (int64_t)zi_random_permute(sampler->seed, sampler->stream + (uint64_t)epoch,
                                      (uint64_t)sampler->windows, (uint64_t)index);
}

enum zi_status sampler_read(struct sampler *sampler, int64_t step, int64_t first, int64_t count,
                            int32_t *inputs, int32_t *targets)
{
    int64_t length = sampler->length;
    ZI_REQUIRE(step >= 0 && step < INT64_MAX / sampler->global);
    ZI_REQUIRE(first >= 0 && count >= 0 && first <= sampler->global - count);
    for (int64_t j = 0; j < count; j++) {
        int64_t window = window_of(sampler, step * sampler->global + first + j);
        ZI_TRY(tokens_read(sampler->tokens, window * length, length + 1, sampler->window));
        memcpy(inputs + j * length, sampler->window, (size_t)length * sizeof *inputs);
        memcpy(targets + j * length, sampler->window + 1, (size_t)length * sizeof *targets);
    }
    return ZI_OK;
}
