/* SPDX-License-Identifier: Apache-2.0 */
/* Opening all files of a key, and keeping some of them open.
 *
 * Every file is opened at the start, so that a missing or damaged one is found before a step is
 * made. To keep thousands open would take a descriptor each, of which a process may have 1024 by
 * default and shares them with disks and the network: so a ring of a fixed size holds those that
 * were used last, and the one that came in first is closed for the next. What is known of a closed
 * file is kept; one that is opened again must be the file that it was. */
#include "data/corpus.h"

#include "base/log.h"
#include "base/stop.h"
#include "data/format.h"
#include "data/shards.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define LINES ".jsonl" /* how the name of a file of JSON lines ends */

enum { OPEN_LEAST = 4, OPEN_MOST = 256, OPEN_PART = 8 }; /* a part of what a process may have */

struct corpus {
    const char *key;
    /* [count] */
    struct tokens **shards;
    int count;
    /* [source_count] */
    struct corpus_source *sources;
    int source_count;
    int64_t packing;
    /* Shards that are open, -1 for none; the next to be replaced. */
    int ring[OPEN_MOST], ring_size, next;
};

/* How many files stay open. */
static int ring_size(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur / OPEN_PART >= OPEN_MOST)
        return OPEN_MOST;
    int part = (int)(limit.rlim_cur / OPEN_PART);
    return part < OPEN_LEAST ? OPEN_LEAST : part;
}

/* A shard that has been opened takes the place of the one that was opened first. */
static void ring_put(struct corpus *corpus, int shard)
{
    int *place = &corpus->ring[corpus->next];
    if (*place >= 0) token_file_rest(corpus->shards[*place]);
    *place = shard;
    corpus->next = (corpus->next + 1) % corpus->ring_size;
}

/* The token file of a file of JSON lines. */
static enum zi_status lines_open(const struct corpus_wanted *wanted, const char *path,
                                 struct tokens **tokens)
{
    char made[PATH_MAX];
    if (!wanted->lines)
        return zi_fail(
            ZI_ERROR_USAGE, "data",
            "%s: %s is a file of JSON lines: make a token file of it with `zinf tokenize`",
            wanted->key, path);
    ZI_TRY(wanted->lines->find(wanted->lines->context, path, made, sizeof made));
    enum zi_status status = tokens_open(made, DATA_HDF5, ZI_AUTO, wanted->vocabulary, tokens);
    if (status == ZI_ERROR_USAGE)
        zi_log(ZI_LOG_ERROR, "data",
               "%s was made of %s: if it is damaged, remove it, and the next run makes it again",
               made, path);
    return status;
}

/* Among several files the type of ids is for those that do not say theirs. */
static enum zi_status shard_open(const struct corpus_wanted *wanted, const char *path, bool several,
                                 struct tokens **tokens)
{
    int64_t format = wanted->format, type = wanted->type;
    if (token_name_ends(path, LINES)) return lines_open(wanted, path, tokens);
    if (several && type != ZI_AUTO) {
        if (format == ZI_AUTO) ZI_TRY(token_detect(path, &format));
        if (format != DATA_NANOGPT) type = ZI_AUTO;
    }
    return tokens_open(path, format, type, wanted->vocabulary, tokens);
}

static enum zi_status shards_open(const struct corpus_wanted *wanted, const struct shard_list *list,
                                  struct corpus *corpus)
{
    corpus->shards = calloc(list->count, sizeof(struct tokens *));
    if (!corpus->shards)
        return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to open %s", wanted->key);
    for (size_t i = 0; i < list->count; i++) {
        ZI_TRY(zi_stop_check());
        ZI_TRY(shard_open(wanted, list->paths[i], list->count > 1, &corpus->shards[i]));
        corpus->count++;
        ring_put(corpus, (int)i);
    }
    return ZI_OK;
}

/* A file by what it is, and how it was named. */
struct origin {
    dev_t device;
    ino_t number;
    const char *path;
};

static int by_file(const void *left, const void *right)
{
    const struct origin *a = left, *b = right;
    if (a->device != b->device) return a->device < b->device ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

/* What of shard `i` tells whether it is another; of lines before they are made tokens, so that they
 * are not made twice, and of token files when they are open. */
static bool find_origin(const struct corpus *corpus, const struct shard_list *list, int i,
                        struct origin *origin)
{
    struct stat of_lines;
    const char *path = list->paths[i];
    if (corpus->shards) {
        const struct stat *is = &corpus->shards[i]->opened;
        *origin = (struct origin){is->st_dev, is->st_ino, tokens_path(corpus->shards[i])};
        return !token_name_ends(path, LINES);
    }
    if (!token_name_ends(path, LINES) || stat(path, &of_lines) != 0) return false;
    *origin = (struct origin){of_lines.st_dev, of_lines.st_ino, path};
    return true;
}

/* An epoch is to go through each token once. */
static enum zi_status check_once(const struct corpus *corpus, const struct shard_list *list,
                                 const struct corpus_source *source)
{
    struct origin *sorted = malloc(((size_t)source->count + 1) * sizeof *sorted);
    enum zi_status status = ZI_OK;
    size_t count = 0;
    if (!sorted) return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to compare files");
    for (int i = source->first; i < source->first + source->count; i++)
        count += find_origin(corpus, list, i, &sorted[count]);
    qsort(sorted, count, sizeof *sorted, by_file);
    for (size_t i = 1; i < count && status >= 0; i++)
        if (by_file(&sorted[i - 1], &sorted[i]) == 0)
            status = zi_fail(ZI_ERROR_USAGE, "data",
                             "%s names one file twice, as %s and as %s: name it once, or give the "
                             "paths weights",
                             corpus->key, sorted[i - 1].path, sorted[i].path);
    free(sorted);
    return status;
}

static enum zi_status check_sources(const struct corpus *corpus, const struct shard_list *list)
{
    for (int i = 0; i < corpus->source_count; i++)
        ZI_TRY(check_once(corpus, list, &corpus->sources[i]));
    return ZI_OK;
}

/* The files of all paths, and which of them are of which source. */
static enum zi_status sources_list(const struct corpus_wanted *wanted, struct shard_list *list,
                                   struct corpus *corpus)
{
    const struct deck_sources *paths = wanted->sources;
    bool weighted = deck_sources_weighted(paths);
    corpus->source_count = weighted ? paths->count : 1;
    corpus->sources = calloc((size_t)corpus->source_count, sizeof *corpus->sources);
    if (!corpus->sources)
        return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to open %s", wanted->key);
    for (int i = 0; i < paths->count; i++) {
        struct corpus_source *source = &corpus->sources[weighted ? i : 0];
        int before = (int)list->count;
        ZI_TRY(shard_list_add(list, paths->items[i].path));
        if (source->count == 0) source->first = before;
        source->count += (int)list->count - before;
        source->name = weighted || paths->count == 1 ? paths->items[i].path : wanted->key;
        source->weight = weighted ? paths->items[i].weight : 1;
    }
    return ZI_OK;
}

enum zi_status corpus_open(const struct corpus_wanted *wanted, struct corpus **corpus)
{
    ZI_REQUIRE(wanted->sources->count > 0);
    struct shard_list list = {.key = wanted->key, .format = wanted->format};
    struct corpus *opened = calloc(1, sizeof *opened);
    if (!opened) return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to open %s", wanted->key);
    opened->key = wanted->key;
    opened->packing = wanted->packing;
    opened->ring_size = ring_size();
    for (int i = 0; i < OPEN_MOST; i++)
        opened->ring[i] = -1;
    enum zi_status status = sources_list(wanted, &list, opened);
    if (status >= 0) status = check_sources(opened, &list);
    if (status >= 0) status = shards_open(wanted, &list, opened);
    if (status >= 0) status = check_sources(opened, &list);
    shard_list_free(&list);
    if (status < 0) {
        corpus_close(opened);
        return status;
    }
    *corpus = opened;
    return ZI_OK;
}

void corpus_close(struct corpus *corpus)
{
    if (!corpus) return;
    for (int i = 0; i < corpus->count; i++)
        tokens_close(corpus->shards[i]);
    free(corpus->shards);
    free(corpus->sources);
    free(corpus);
}

const char *corpus_name(const struct corpus *corpus)
{
    return corpus->count == 1 ? tokens_path(corpus->shards[0]) : corpus->key;
}

int corpus_source_count(const struct corpus *corpus)
{
    return corpus->source_count;
}

const struct corpus_source *corpus_source(const struct corpus *corpus, int source)
{
    return &corpus->sources[source];
}

int corpus_shard_count(const struct corpus *corpus)
{
    return corpus->count;
}

int64_t corpus_shard_tokens(const struct corpus *corpus, int shard)
{
    return tokens_count(corpus->shards[shard]);
}

int64_t corpus_shard_documents(const struct corpus *corpus, int shard)
{
    return corpus->packing == PACKING_DOCUMENTS ? tokens_documents(corpus->shards[shard]) : 0;
}

bool corpus_shard_masks(const struct corpus *corpus, int shard)
{
    return tokens_have_mask(corpus->shards[shard]);
}

enum zi_status corpus_use(struct corpus *corpus, int shard, struct tokens **tokens)
{
    struct tokens *used = corpus->shards[shard];
    if (used->file < 0) {
        ZI_TRY(token_file_wake(used));
        ring_put(corpus, shard);
    }
    *tokens = used;
    return ZI_OK;
}
