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
 * the first input of the next, so each token is an input once per epoch and a target once. What is
 * left behind the last whole window is not trained on, as steps are of equal sequences.
 *
 * Once through a file (validation) there is no such need: places without a token have the input 0
 * and the target -1, in the last window and in sequences beyond it. Attention looks back only, so
 * what fills up a sequence changes no prediction before it. */
#include "data/sampler.h"

#include "base/log.h"
#include "base/random.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct sampler {
    /* The caller's */
    struct tokens *tokens;
    uint64_t seed, stream;
    int64_t global, length;
    /* In the file; that are sampled */
    int64_t windows, chosen;
    int shuffle, once;
    /* [length + 1] */
    int32_t *window;
};

static enum zi_status create(const struct sampler *wanted, struct sampler **sampler)
{
    struct sampler *made = malloc(sizeof *made);
    int32_t *window = malloc(((size_t)wanted->length + 1) * sizeof *window);
    if (!made || !window) {
        free(made);
        free(window);
        return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to sample %s",
                       tokens_path(wanted->tokens));
    }
    *made = *wanted;
    made->window = window;
    *sampler = made;
    return ZI_OK;
}

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
    const struct sampler wanted = {.tokens = tokens,
                                   .seed = seed,
                                   .stream = zi_random_stream("data.sampler"),
                                   .global = global,
                                   .length = length,
                                   .windows = windows,
                                   .chosen = windows,
                                   .shuffle = shuffle};
    return create(&wanted, sampler);
}

enum zi_status sampler_create_once(struct tokens *tokens, int64_t most, int64_t global,
                                   int64_t length, struct sampler **sampler)
{
    ZI_REQUIRE(most > 0 && most <= INT32_MAX && global > 0 && length > 0);
    int64_t targets = tokens_count(tokens) - 1;
    if (targets < 1)
        return zi_fail(ZI_ERROR_USAGE, "data",
                       "%s has one token alone, and nothing to predict it from: use a longer file",
                       tokens_path(tokens));
    int64_t windows = targets / length + (targets % length != 0);
    const struct sampler wanted = {.tokens = tokens,
                                   .global = global,
                                   .length = length,
                                   .windows = windows,
                                   .chosen = windows < most ? windows : most,
                                   .once = 1};
    return create(&wanted, sampler);
}

void sampler_destroy(struct sampler *sampler)
{
    if (!sampler) return;
    free(sampler->window);
    free(sampler);
}

int64_t sampler_windows(const struct sampler *sampler)
{
    return sampler->windows;
}

int64_t sampler_chosen(const struct sampler *sampler)
{
    return sampler->chosen;
}

int64_t sampler_steps(const struct sampler *sampler)
{
    return sampler->chosen / sampler->global + (sampler->chosen % sampler->global != 0);
}

/* The number of targets in a window. */
static int64_t window_targets(const struct sampler *sampler, int64_t window)
{
    int64_t left = tokens_count(sampler->tokens) - 1 - window * sampler->length;
    return left < sampler->length ? left : sampler->length;
}

/* The k-th chosen window: k W / chosen. Either W is chosen, or both k and the rest are below
 * 2^31, so no file is so long that it overflows. */
static int64_t chosen_window(const struct sampler *sampler, int64_t k)
{
    int64_t each = sampler->windows / sampler->chosen, rest = sampler->windows % sampler->chosen;
    return k * each + k * rest / sampler->chosen;
}

int64_t sampler_targets(const struct sampler *sampler)
{
    int64_t last = chosen_window(sampler, sampler->chosen - 1); /* all others are whole */
    return (sampler->chosen - 1) * sampler->length + window_targets(sampler, last);
}

/* The window of sequence number q, -1 for none. */
static int64_t window_of(const struct sampler *sampler, int64_t q)
{
    if (sampler->once) return q < sampler->chosen ? chosen_window(sampler, q) : -1;
    int64_t epoch = q / sampler->windows, index = q % sampler->windows;
    if (!sampler->shuffle) return index;
    return (int64_t)zi_random_permute(sampler->seed, sampler->stream + (uint64_t)epoch,
                                      (uint64_t)sampler->windows, (uint64_t)index);
}

/* A sequence of `targets` tokens and their successors, filled up with what counts for nothing. */
static enum zi_status read_window(struct sampler *sampler, int64_t window, int32_t *inputs,
                                  int32_t *targets)
{
    int64_t length = sampler->length, count = window < 0 ? 0 : window_targets(sampler, window);
    if (count > 0)
        ZI_TRY(tokens_read(sampler->tokens, window * length, count + 1, sampler->window));
    memcpy(inputs, sampler->window, (size_t)count * sizeof *inputs);
    memcpy(targets, sampler->window + 1, (size_t)count * sizeof *targets);
    for (int64_t i = count; i < length; i++) {
        inputs[i] = 0;
        targets[i] = -1;
    }
    return ZI_OK;
}

enum zi_status sampler_read(struct sampler *sampler, int64_t step, int64_t first, int64_t count,
                            int32_t *inputs, int32_t *targets)
{
    int64_t length = sampler->length;
    ZI_REQUIRE(step >= 0 && step < INT64_MAX / sampler->global);
    ZI_REQUIRE(first >= 0 && count >= 0 && first <= sampler->global - count);
    for (int64_t j = 0; j < count; j++) {
        int64_t window = window_of(sampler, step * sampler->global + first + j);
        ZI_TRY(read_window(sampler, window, inputs + j * length, targets + j * length));
    }
    return ZI_OK;
}
