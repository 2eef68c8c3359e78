/* SPDX-License-Identifier: Apache-2.0 */
/* The sampler computes where a sequence lies and keeps nothing between calls but a buffer, and of
 * each file the number of its first window.
 *
 * Sequence q of a run (q = step * global + place in the step) is one of a source (mixture.c), in
 * epoch n / W and number n mod W of that epoch, for a source of W windows. zi_random_permute maps
 * that number to a window through a bijection named by (seed, epoch), without a table, so a file of
 * 10^12 tokens costs no memory, any rank finds any sequence by itself, and a restart needs only the
 * step. An epoch may end inside a step: its windows and those of the next simply meet there. The
 * file of a window is found by halving.
 *
 * A window is T inputs and their T successors, read as T + 1 tokens; the last token of a window is
 * the first input of the next, so each token is an input once per epoch and a target once. What is
 * left behind the last whole window of a file is not trained on, as steps are of equal sequences.
 *
 * Once through the files (validation) there is no such need: places without a token have the input
 * 0 and the target -1, in the last window of a file and in sequences beyond the last. Attention
 * looks back only, so what fills up a sequence changes no prediction before it. */
#include "data/sampler.h"

#include "base/log.h"
#include "base/random.h"
#include "data/mixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sampler {
    /* The caller's */
    struct corpus *corpus;
    uint64_t seed;
    int64_t global, length;
    /* In the files; that are sampled */
    int64_t windows, chosen;
    /* Targets of those that are sampled, of a sampler that goes through once */
    int64_t targets;
    int shuffle, once;
    /* The first window of each shard, and behind the last one their number: [shards + 1] */
    int64_t *starts;
    /* Of each source: its slots of a block, and the stream of its epochs: [sources] */
    int64_t *slots;
    uint64_t *streams;
    /* [length + 1] */
    int32_t *window;
};

void sampler_destroy(struct sampler *sampler)
{
    if (!sampler) return;
    free(sampler->starts);
    free(sampler->slots);
    free(sampler->streams);
    free(sampler->window);
    free(sampler);
}

/* Windows of a file: whole ones, or, once through it, with one that is not. */
static int64_t shard_windows(const struct sampler *sampler, int shard)
{
    int64_t targets = corpus_shard_tokens(sampler->corpus, shard) - 1;
    return targets / sampler->length + (sampler->once && targets % sampler->length > 0);
}

/* A stream for each source; a source alone has that of a run before there were mixtures. */
static void find_sources(struct sampler *sampler)
{
    int count = corpus_source_count(sampler->corpus);
    double weights[DECK_SOURCES_MAX];
    for (int i = 0; i < count; i++) {
        char name[32] = "data.sampler";
        if (i > 0) snprintf(name, sizeof name, "data.sampler.%d", i);
        sampler->streams[i] = zi_random_stream(name);
        weights[i] = corpus_source(sampler->corpus, i)->weight;
    }
    mixture_share(weights, count, sampler->slots);
}

static enum zi_status create(const struct sampler *wanted, struct sampler **sampler)
{
    int shards = corpus_shard_count(wanted->corpus), sources = corpus_source_count(wanted->corpus);
    struct sampler *made = malloc(sizeof *made);
    if (made) {
        *made = *wanted;
        made->window = malloc(((size_t)wanted->length + 1) * sizeof *made->window);
        made->starts = malloc(((size_t)shards + 1) * sizeof *made->starts);
        made->slots = malloc((size_t)sources * sizeof *made->slots);
        made->streams = malloc((size_t)sources * sizeof *made->streams);
    }
    if (!made || !made->window || !made->starts || !made->slots || !made->streams) {
        sampler_destroy(made);
        return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to sample %s",
                       corpus_name(wanted->corpus));
    }
    made->starts[0] = 0;
    for (int i = 0; i < shards; i++)
        made->starts[i + 1] = made->starts[i] + shard_windows(made, i);
    made->windows = made->chosen = made->starts[shards];
    find_sources(made);
    *sampler = made;
    return ZI_OK;
}

struct sampler_part sampler_part(const struct sampler *sampler, int source)
{
    const struct corpus_source *of = corpus_source(sampler->corpus, source);
    const int64_t *starts = sampler->starts + of->first;
    struct sampler_part part = {.windows = starts[of->count] - starts[0],
                                .slots = sampler->slots[source]};
    for (int i = 0; i < of->count; i++)
        part.passed += starts[i + 1] == starts[i];
    return part;
}

/* Each source needs a window. */
static enum zi_status check_windows(const struct sampler *sampler)
{
    const struct corpus *corpus = sampler->corpus;
    int64_t length = sampler->length;
    for (int i = 0; i < corpus_source_count(corpus); i++) {
        const struct corpus_source *source = corpus_source(corpus, i);
        if (sampler_part(sampler, i).windows > 0) continue;
        if (corpus_shard_count(corpus) == 1)
            return zi_fail(ZI_ERROR_USAGE, "data",
                           "%s has %" PRId64 " tokens, but a sequence of %" PRId64
                           " and its successor take %" PRId64
                           ": shorten batch.tokens or use a longer file",
                           corpus_name(corpus), corpus_shard_tokens(corpus, 0), length, length + 1);
        return zi_fail(
            ZI_ERROR_USAGE, "data",
            "none of the %d file%s of %s has the %" PRId64 " tokens of a sequence of %" PRId64
            " and its successor: shorten batch.tokens or use longer files",
            source->count, source->count == 1 ? "" : "s", source->name, length + 1, length);
    }
    return ZI_OK;
}

enum zi_status sampler_create(struct corpus *corpus, uint64_t seed, int64_t global, int64_t length,
                              int shuffle, struct sampler **sampler)
{
    ZI_REQUIRE(global > 0 && length > 0);
    const struct sampler wanted = {
        .corpus = corpus, .seed = seed, .global = global, .length = length, .shuffle = shuffle};
    struct sampler *made;
    ZI_TRY(create(&wanted, &made));
    enum zi_status status = check_windows(made);
    if (status < 0)
        sampler_destroy(made);
    else
        *sampler = made;
    return status;
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

int64_t sampler_targets(const struct sampler *sampler)
{
    return sampler->once ? sampler->targets : sampler->chosen * sampler->length;
}

/* The file of a window. */
static int window_shard(const struct sampler *sampler, int64_t window)
{
    int low = 0, high = corpus_shard_count(sampler->corpus);
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (sampler->starts[middle] <= window)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* The number of targets in a window of a file. */
static int64_t window_targets(const struct sampler *sampler, int shard, int64_t window)
{
    int64_t left = corpus_shard_tokens(sampler->corpus, shard) - 1 -
                   (window - sampler->starts[shard]) * sampler->length;
    return left < sampler->length ? left : sampler->length;
}

/* The k-th chosen window: k W / chosen. Either W is chosen, or both k and the rest are below
 * 2^31, so no file is so long that it overflows. */
static int64_t chosen_window(const struct sampler *sampler, int64_t k)
{
    int64_t each = sampler->windows / sampler->chosen, rest = sampler->windows % sampler->chosen;
    return k * each + k * rest / sampler->chosen;
}

/* Whether a window is chosen. */
static bool is_chosen(const struct sampler *sampler, int64_t window)
{
    int64_t low = 0, high = sampler->chosen; /* the first that is not before the window */
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (chosen_window(sampler, middle) < window)
            low = middle + 1;
        else
            high = middle;
    }
    return low < sampler->chosen && chosen_window(sampler, low) == window;
}

/* Only the last window of a file may be short of targets. */
static int64_t count_targets(const struct sampler *sampler)
{
    int64_t targets = sampler->chosen * sampler->length;
    for (int i = 0; i < corpus_shard_count(sampler->corpus); i++) {
        int64_t last = sampler->starts[i + 1] - 1;
        if (last < sampler->starts[i] || !is_chosen(sampler, last)) continue;
        targets -= sampler->length - window_targets(sampler, i, last);
    }
    return targets;
}

enum zi_status sampler_create_once(struct corpus *corpus, int64_t most, int64_t global,
                                   int64_t length, struct sampler **sampler)
{
    ZI_REQUIRE(most > 0 && most <= INT32_MAX && global > 0 && length > 0);
    const struct sampler wanted = {.corpus = corpus, .global = global, .length = length, .once = 1};
    struct sampler *made;
    ZI_TRY(create(&wanted, &made));
    if (made->windows < 1) {
        sampler_destroy(made);
        return zi_fail(
            ZI_ERROR_USAGE, "data",
            "%s has one token alone%s, and nothing to predict it from: use a longer file",
            corpus_name(corpus), corpus_shard_count(corpus) > 1 ? " in each file" : "");
    }
    if (most < made->windows) made->chosen = most;
    made->targets = count_targets(made);
    *sampler = made;
    return ZI_OK;
}

int sampler_source(const struct sampler *sampler, int64_t sequence, int64_t *number)
{
    int count = corpus_source_count(sampler->corpus);
    *number = sequence;
    if (count == 1) return 0;
    return mixture_source(sampler->seed, sampler->slots, count, sequence, number);
}

/* The window of sequence number q, -1 for none. */
static int64_t window_of(const struct sampler *sampler, int64_t q)
{
    int64_t number;
    if (sampler->once) return q < sampler->chosen ? chosen_window(sampler, q) : -1;
    int source = sampler_source(sampler, q, &number);
    const struct corpus_source *of = corpus_source(sampler->corpus, source);
    int64_t first = sampler->starts[of->first];
    int64_t windows = sampler->starts[of->first + of->count] - first;
    int64_t epoch = number / windows, index = number % windows;
    if (!sampler->shuffle) return first + index;
    return first + (int64_t)zi_random_permute(sampler->seed,
                                              sampler->streams[source] + (uint64_t)epoch,
                                              (uint64_t)windows, (uint64_t)index);
}

/* A sequence of tokens and their successors, filled up with what counts for nothing. */
static enum zi_status read_window(struct sampler *sampler, int64_t window, int32_t *inputs,
                                  int32_t *targets)
{
    int64_t length = sampler->length, count = 0;
    if (window >= 0) {
        int shard = window_shard(sampler, window);
        struct tokens *tokens;
        count = window_targets(sampler, shard, window);
        ZI_TRY(corpus_use(sampler->corpus, shard, &tokens));
        ZI_TRY(tokens_read(tokens, (window - sampler->starts[shard]) * length, count + 1,
                           sampler->window));
    }
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
