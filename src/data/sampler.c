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
 * A file of documents is packed when the sampler is made, from their lengths alone; its sequences are
 * windows as others are. They cost 16 bytes a document (40 more while they are packed), on each rank.
 *
 * Once through the files (validation) there is no such need: places without a token have the input
 * 0 and the target -1, in the last window of a file and in sequences beyond the last. Attention
 * looks back only, so what fills up a sequence changes no prediction before it. */
#include "data/sampler.h"

#include "base/log.h"
#include "base/random.h"
#include "data/mixture.h"
#include "data/packing.h"

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
    /* Of each shard; without sequences where it is not packed: [shards] */
    struct packing *packings;
    /* Of each source: its slots of a block, and the stream of its epochs: [sources] */
    int64_t *slots;
    uint64_t *streams;
    /* [length + 1] */
    int32_t *window;
    /* [length] */
    uint8_t *mask;
};

void sampler_destroy(struct sampler *sampler)
{
    if (!sampler) return;
    for (int i = 0; i < corpus_shard_count(sampler->corpus) && sampler->packings; i++)
        packing_free(&sampler->packings[i]);
    free(sampler->packings);
    free(sampler->mask);
    free(sampler->starts);
    free(sampler->slots);
    free(sampler->streams);
    free(sampler->window);
    free(sampler);
}

/* Packs the documents of a file, where it has some to be packed. */
static enum zi_status shard_pack(struct sampler *sampler, int shard)
{
    struct tokens *tokens;
    int64_t *starts, count = corpus_shard_documents(sampler->corpus, shard);
    if (count == 0) return ZI_OK;
    ZI_TRY(corpus_use(sampler->corpus, shard, &tokens));
    ZI_TRY(tokens_document_starts(tokens, &starts));
    enum zi_status status = packing_make(starts, count, sampler->length, &sampler->packings[shard]);
    free(starts);
    return status;
}

static bool is_packed(const struct sampler *sampler, int shard)
{
    return corpus_shard_documents(sampler->corpus, shard) > 0;
}

/* Windows of a file: whole ones, or, once through it, with one that is not. */
static int64_t shard_windows(const struct sampler *sampler, int shard)
{
    if (is_packed(sampler, shard)) return sampler->packings[shard].sequences;
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
        made->packings = calloc((size_t)shards, sizeof *made->packings);
        made->mask = malloc((size_t)wanted->length);
        made->window = malloc(((size_t)wanted->length + 1) * sizeof *made->window);
        made->starts = malloc(((size_t)shards + 1) * sizeof *made->starts);
        made->slots = malloc((size_t)sources * sizeof *made->slots);
        made->streams = malloc((size_t)sources * sizeof *made->streams);
    }
    enum zi_status status = ZI_OK;
    if (!made || !made->window || !made->starts || !made->slots || !made->streams ||
        !made->packings || !made->mask)
        status =
            zi_fail(ZI_ERROR_DEVICE, "data", "no memory to sample %s", corpus_name(wanted->corpus));
    for (int i = 0; i < shards && status >= 0; i++)
        status = shard_pack(made, i);
    if (status < 0) {
        sampler_destroy(made);
        return status;
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
    for (int i = 0; i < of->count; i++) {
        const struct packing *packing = &sampler->packings[of->first + i];
        part.passed += starts[i + 1] == starts[i];
        part.documents += corpus_shard_documents(sampler->corpus, of->first + i);
        part.packed += packing->sequences;
        for (int64_t s = 0; s < packing->sequences; s++)
            part.places += packing_places(packing, s);
    }
    return part;
}

/* Each source needs a window. */
static enum zi_status check_windows(const struct sampler *sampler)
{
    const struct corpus *corpus = sampler->corpus;
    int64_t length = sampler->length;
    for (int i = 0; i < corpus_source_count(corpus); i++) {
        const struct corpus_source *source = corpus_source(corpus, i);
        struct sampler_part part = sampler_part(sampler, i);
        if (part.windows > 0) continue;
        if (part.documents > 0)
            return zi_fail(ZI_ERROR_USAGE, "data",
                           "%s has no document of two tokens or more: there is nothing to train on",
                           source->name);
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
    if (is_packed(sampler, shard))
        return packing_places(&sampler->packings[shard], window - sampler->starts[shard]);
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

/* Of a file that is not packed only the last window may be short of targets. */
static int64_t count_targets(const struct sampler *sampler)
{
    int64_t targets = sampler->chosen * sampler->length;
    for (int i = 0; i < corpus_shard_count(sampler->corpus); i++) {
        int64_t end = sampler->starts[i + 1], first = sampler->starts[i];
        if (!is_packed(sampler, i) && end > first) first = end - 1;
        for (int64_t window = first; window < end; window++)
            if (is_chosen(sampler, window))
                targets -= sampler->length - window_targets(sampler, i, window);
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

/* Places in a row of a sequence: which of its tokens are the inputs there. */
struct row {
    int64_t place, first, count;
};

/* Row `number` of a window of a file: a piece of a packed sequence, or all there is; false: none. */
static bool window_row(const struct sampler *sampler, int shard, int64_t window, int64_t number,
                       struct row *row)
{
    const struct packing *packing = &sampler->packings[shard];
    int64_t at = window - sampler->starts[shard];
    if (!is_packed(sampler, shard)) {
        *row = (struct row){0, at * sampler->length, window_targets(sampler, shard, window)};
        return number == 0;
    }
    if (number >= packing->starts[at + 1] - packing->starts[at]) return false;
    const struct packing_piece *piece = &packing->pieces[packing->starts[at] + number];
    *row = (struct row){number == 0 ? 0 : row->place + row->count, piece->first, piece->count};
    return true;
}

static enum zi_status read_row(struct sampler *sampler, struct tokens *tokens,
                               const struct row *row, int32_t *inputs, int32_t *targets)
{
    ZI_TRY(tokens_read(tokens, row->first, row->count + 1, sampler->window));
    memcpy(inputs + row->place, sampler->window, (size_t)row->count * sizeof *inputs);
    memcpy(targets + row->place, sampler->window + 1, (size_t)row->count * sizeof *targets);
    if (!tokens_have_mask(tokens)) return ZI_OK;
    ZI_TRY(tokens_read_mask(tokens, row->first + 1, row->count, sampler->mask));
    for (int64_t i = 0; i < row->count; i++)
        if (!sampler->mask[i]) targets[row->place + i] = -1;
    return ZI_OK;
}

/* A sequence of tokens and their successors, filled up with what counts for nothing. */
static enum zi_status read_window(struct sampler *sampler, int64_t window, int32_t *inputs,
                                  int32_t *targets)
{
    struct row row = {0};
    if (window >= 0) {
        int shard = window_shard(sampler, window);
        struct tokens *tokens;
        ZI_TRY(corpus_use(sampler->corpus, shard, &tokens));
        for (int64_t number = 0; window_row(sampler, shard, window, number, &row); number++)
            ZI_TRY(read_row(sampler, tokens, &row, inputs, targets));
    }
    for (int64_t i = row.place + row.count; i < sampler->length; i++) {
        inputs[i] = 0;
        targets[i] = -1;
    }
    return ZI_OK;
}

bool sampler_masks(const struct sampler *sampler)
{
    for (int i = 0; i < corpus_shard_count(sampler->corpus); i++)
        if (corpus_shard_masks(sampler->corpus, i)) return true;
    return sampler_packs(sampler);
}

bool sampler_packs(const struct sampler *sampler)
{
    for (int i = 0; i < corpus_shard_count(sampler->corpus); i++)
        if (is_packed(sampler, i)) return true;
    return false;
}

/* Of a window; what fills up a sequence is a document of its own. */
static void window_positions(const struct sampler *sampler, int64_t window, int32_t *positions)
{
    struct row row = {0};
    int shard = window >= 0 ? window_shard(sampler, window) : 0;
    for (int64_t number = 0; window >= 0 && window_row(sampler, shard, window, number, &row);
         number++)
        for (int64_t i = 0; i < row.count; i++)
            positions[row.place + i] = (int32_t)i;
    int64_t end = row.place + row.count;
    for (int64_t i = end; i < sampler->length; i++)
        positions[i] = (int32_t)(i - end);
}

void sampler_positions(const struct sampler *sampler, int64_t step, int64_t first, int64_t count,
                       int32_t *positions)
{
    for (int64_t j = 0; j < count; j++) {
        int64_t window = window_of(sampler, step * sampler->global + first + j);
        window_positions(sampler, window, positions + j * sampler->length);
    }
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
