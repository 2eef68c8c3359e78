/* SPDX-License-Identifier: Apache-2.0 */
/* Many files as one body of tokens, and mixtures of them. Token i of file f is the number
 * 4096 f + i, so what was read says where it came from. */
#include "data/corpus.h"
#include "data/mixture.h"
#include "data/sampler.h"

#include "regression/unit/data_fixture.h"

#include <dirent.h>
#include <sys/resource.h>
#include <utime.h>

enum { VOCABULARY = 65536, FILE_TOKENS = 4096, LENGTH = 16 };

/* A file of bare ids, or with the header of llm.c. */
static void write_counting(const char *name, int file, int count, bool header)
{
    static uint16_t ids[512 + FILE_TOKENS];
    int32_t head[256] = {20240520, 1, count};
    memcpy(ids, head, sizeof head);
    for (int i = 0; i < count; i++)
        ids[512 + i] = (uint16_t)(FILE_TOKENS * file + i);
    if (header)
        fixture_write(name, ids, sizeof head + (size_t)count * sizeof *ids);
    else
        fixture_write(name, ids + 512, (size_t)count * sizeof *ids);
}

/* Opens paths below the folder, with weights or without (NULL). */
static enum zi_status open_paths(const char *const *paths, const double *weights, int64_t format,
                                 struct corpus **corpus)
{
    static char texts[8][1024];
    static struct deck_weighted items[8];
    static struct deck_sources sources;
    sources = (struct deck_sources){.items = items};
    for (int i = 0; paths[i]; i++, sources.count++) {
        snprintf(texts[i], sizeof texts[i], "%s/%s", fixture_folder, paths[i]);
        items[i] = (struct deck_weighted){texts[i], weights ? weights[i] : 0};
    }
    const struct corpus_wanted wanted = {.key = "data.train",
                                         .sources = &sources,
                                         .format = format,
                                         .type = ZI_AUTO,
                                         .vocabulary = VOCABULARY};
    *corpus = NULL;
    return corpus_open(&wanted, corpus);
}

static struct corpus *open_good(const char *const *paths, const double *weights)
{
    struct corpus *corpus;
    CHECK_INT(open_paths(paths, weights, ZI_AUTO, &corpus), ZI_OK);
    if (!corpus) exit(1);
    return corpus;
}

/* Files 0 to 4 of the folder "five", of lengths that are no multiples, in two formats; the second
 * has no sequence, the first and the last one more token than whole ones. */
static const int five[] = {10 * LENGTH + 1, LENGTH, 7 * LENGTH + 9, 2 * LENGTH + 3, LENGTH + 1};
static const char *const five_paths[] = {"five", NULL};
enum { FIVE = 5, FIVE_WINDOWS = 10 + 0 + 7 + 2 + 1 };

static void write_five(void)
{
    static const char *const names[FIVE] = {"five/B.bin", "five/a.bin", "five/a10.bin",
                                            "five/a2.bin", "five/b.bin"};
    CHECK_INT(mkdir(fixture_path("five"), 0700), 0);
    for (int i = FIVE - 1; i >= 0; i--)
        write_counting(names[i], i, five[i], i % 2);
}

/* The first input of each sequence of a step; -1 where a sequence is no row of numbers. */
static void read_step(struct sampler *sampler, int64_t step, int64_t first, int64_t count,
                      int32_t *found)
{
    int32_t inputs[32 * LENGTH], targets[32 * LENGTH];
    CHECK_INT(sampler_read(sampler, step, first, count, inputs, targets), ZI_OK);
    for (int64_t j = 0; j < count; j++) {
        const int32_t *in = inputs + j * LENGTH, *out = targets + j * LENGTH;
        found[j] = in[0];
        for (int t = 0; t < LENGTH; t++)
            if (in[t] != in[0] + t || out[t] != in[t] + 1) found[j] = -1;
    }
}

/* The window that a first token begins, of those of the five files; -1 for none. */
static int five_window(int32_t token)
{
    int before = 0;
    for (int i = 0; i < token / FILE_TOKENS; i++)
        before += (five[i] - 1) / LENGTH;
    return token < 0 || token % FILE_TOKENS % LENGTH ? -1 : before + token % FILE_TOKENS / LENGTH;
}

/* An epoch has each window of each file once, however steps are cut. */
static void test_epochs(void)
{
    enum { GLOBAL = 7, EPOCHS = 7 }; /* as many steps as windows */
    struct corpus *corpus = open_good(five_paths, NULL);
    struct sampler *sampler = NULL;
    int32_t order[FIVE_WINDOWS * GLOBAL], parts[GLOBAL];
    CHECK_INT(corpus_source_count(corpus), 1);
    CHECK_INT(corpus_shard_count(corpus), FIVE);
    for (int i = 0; i < FIVE; i++) /* B a a10 a2 b: the order of bytes */
        CHECK_INT(corpus_shard_tokens(corpus, i), five[i]);
    CHECK_INT(sampler_create(corpus, 7, GLOBAL, LENGTH, 1, &sampler), ZI_OK);
    CHECK_INT(sampler_windows(sampler), FIVE_WINDOWS);
    CHECK_INT(sampler_part(sampler, 0).passed, 1);
    CHECK_INT(sampler_part(sampler, 0).windows, FIVE_WINDOWS);
    for (int64_t step = 0; step < FIVE_WINDOWS; step++)
        read_step(sampler, step, 0, GLOBAL, order + step * GLOBAL);
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        int seen[FIVE_WINDOWS] = {0}, once = 0;
        for (int i = 0; i < FIVE_WINDOWS; i++) {
            int window = five_window(order[epoch * FIVE_WINDOWS + i]);
            if (window >= 0 && window < FIVE_WINDOWS) seen[window]++;
        }
        for (int i = 0; i < FIVE_WINDOWS; i++)
            once += seen[i] == 1;
        CHECK_INT(once, FIVE_WINDOWS);
    }
    for (int ranks = 1; ranks <= GLOBAL; ranks++) {
        for (int rank = ranks - 1; rank >= 0; rank--) {
            int first = GLOBAL * rank / ranks, next = GLOBAL * (rank + 1) / ranks;
            read_step(sampler, 5, first, next - first, parts + first);
        }
        CHECK(memcmp(parts, order + 5 * GLOBAL, sizeof parts) == 0);
    }
    sampler_destroy(sampler);
    corpus_close(corpus);
}

/* Once through all files: every token but the first of a file is a target once. */
static void test_once(void)
{
    struct corpus *corpus = open_good(five_paths, NULL);
    for (int most = 1; most <= 40; most++) {
        struct sampler *sampler = NULL;
        int32_t inputs[3 * LENGTH], targets[3 * LENGTH];
        static char seen[FIVE * FILE_TOKENS];
        int64_t found = 0, wrong = 0;
        memset(seen, 0, sizeof seen);
        CHECK_INT(sampler_create_once(corpus, most, 3, LENGTH, &sampler), ZI_OK);
        CHECK_INT(sampler_windows(sampler), 10 + 1 + 8 + 3 + 1);
        CHECK_INT(sampler_chosen(sampler), most < 23 ? most : 23);
        for (int64_t step = 0; step < sampler_steps(sampler); step++) {
            CHECK_INT(sampler_read(sampler, step, 0, 3, inputs, targets), ZI_OK);
            for (int i = 0; i < 3 * LENGTH; i++) {
                if (targets[i] < 0) continue;
                found++;
                wrong += targets[i] != inputs[i] + 1 || seen[targets[i]]++;
            }
        }
        CHECK_INT(wrong, 0);
        CHECK_INT(sampler_targets(sampler), found);
        if (most >= 23) CHECK_INT(found, five[0] + five[1] + five[2] + five[3] + five[4] - FIVE);
        sampler_destroy(sampler);
    }
    corpus_close(corpus);
}

static void check_share(const double *weights, int count, const int64_t *expected)
{
    int64_t slots[DECK_SOURCES_MAX], sum = 0;
    mixture_share(weights, count, slots);
    for (int i = 0; i < count; i++) {
        sum += slots[i];
        CHECK(slots[i] >= 1);
        if (expected) CHECK_INT(slots[i], expected[i]);
    }
    CHECK_INT(sum, SAMPLER_BLOCK);
}

static void test_shares(void)
{
    double many[DECK_SOURCES_MAX];
    check_share((double[]){5}, 1, (int64_t[]){65536});
    check_share((double[]){0.7, 0.3}, 2, (int64_t[]){45875, 19661}); /* 45875.2, 19660.8 */
    check_share((double[]){1, 1, 1}, 3, (int64_t[]){21846, 21845, 21845});
    check_share((double[]){2, 2, 2}, 3, (int64_t[]){21846, 21845, 21845});
    check_share((double[]){1e9, 1e-9}, 2, (int64_t[]){65535, 1});
    check_share((double[]){1e-9, 1e9, 1e-9}, 3, (int64_t[]){1, 65534, 1});
    for (int i = 0; i < DECK_SOURCES_MAX; i++)
        many[i] = i % 3 ? 1e-9 : 1 + i;
    check_share(many, DECK_SOURCES_MAX, NULL);
}

/* Of two blocks: each source has its slots in each, each part of a block its part of them, and the
 * numbers of a source are 0, 1, ... without gaps, those of a part all above those before. */
static void check_mixture(const double *weights, int count)
{
    enum { BLOCKS = 2 };
    int64_t slots[8], below[8] = {0}, number;
    char *seen[8];
    mixture_share(weights, count, slots);
    for (int i = 0; i < count; i++)
        seen[i] = calloc((size_t)(BLOCKS * slots[i]), 1);
    int64_t outside = 0, twice = 0, apart = 0, unordered = 0;
    for (int64_t part = 0; part < BLOCKS * SAMPLER_BLOCK / SAMPLER_PART; part++) {
        int64_t of[8] = {0};
        for (int64_t j = 0; j < SAMPLER_PART; j++) {
            int source = mixture_source(11, slots, count, part * SAMPLER_PART + j, &number);
            if (source < 0 || source >= count || number < 0 || number >= BLOCKS * slots[source]) {
                outside++;
                continue;
            }
            twice += seen[source][number]++;
            unordered += number < below[source];
            of[source]++;
        }
        for (int i = 0; i < count; i++) {
            int64_t least = slots[i] / SAMPLER_PART;
            apart += of[i] < least || of[i] > least + (slots[i] % SAMPLER_PART > 0);
            below[i] += of[i];
        }
        for (int i = 0; i < count; i++) /* no number of this part is beyond its end */
            unordered += below[i] < BLOCKS * slots[i] && seen[i][below[i]];
        bool ends = (part + 1) % (SAMPLER_BLOCK / SAMPLER_PART) == 0;
        for (int i = 0; i < count && ends; i++)
            CHECK_INT(below[i] % slots[i], 0);
    }
    CHECK_INT(outside + twice + apart + unordered, 0);
    for (int i = 0; i < count; i++) {
        CHECK_INT(below[i], BLOCKS * slots[i]);
        free(seen[i]);
    }
}

static void test_mixtures(void)
{
    check_mixture((double[]){0.7, 0.3}, 2);
    check_mixture((double[]){1, 1e-9, 3, 1e-9, 2.5}, 5);
    check_mixture((double[]){1e-9, 1, 1e-9}, 3);
    check_mixture((double[]){1, 1, 1, 1, 1, 1, 1, 1}, 8);
    /* Another seed mixes in another way; far beyond the start nothing runs over. */
    const int64_t slots[2] = {45875, 19661};
    int64_t a, b;
    int differ = 0;
    for (int64_t q = 0; q < 256; q++)
        differ += mixture_source(1, slots, 2, q, &a) != mixture_source(2, slots, 2, q, &b);
    CHECK(differ > 50);
    int64_t far = (int64_t)1 << 62, of = 0;
    for (int64_t q = far; q < far + SAMPLER_BLOCK; q += 61) {
        int source = mixture_source(1, slots, 2, q, &a);
        of += a >= far / SAMPLER_BLOCK * slots[source] &&
              a < (far / SAMPLER_BLOCK + 1) * slots[source];
    }
    CHECK_INT(of, SAMPLER_BLOCK / 61 + 1);
}

/* What a mixture reads: of each source its own files, each window once an epoch of the source. */
static void test_mixture_read(void)
{
    static const char *const paths[] = {"five/a*.bin", "five/B.bin", NULL};
    const double weights[] = {1, 3};
    enum { GLOBAL = 32, STEPS = 64 }; /* 512 of the first, 1536 of the second */
    struct corpus *corpus = open_good(paths, weights);
    struct sampler *sampler = NULL;
    int seen[FIVE_WINDOWS] = {0}, wrong = 0;
    int64_t number, own[2] = {0};
    CHECK_INT(corpus_source_count(corpus), 2);
    CHECK_INT(corpus_source(corpus, 0)->count, 3);
    CHECK_INT(corpus_source(corpus, 1)->first, 3);
    CHECK_INT(sampler_create(corpus, 3, GLOBAL, LENGTH, 1, &sampler), ZI_OK);
    CHECK_INT(sampler_part(sampler, 0).windows, 9);
    CHECK_INT(sampler_part(sampler, 0).slots, SAMPLER_BLOCK / 4);
    CHECK_INT(sampler_part(sampler, 1).windows, 10);
    for (int64_t step = 0; step < STEPS; step++) {
        int32_t found[GLOBAL], parts[GLOBAL];
        read_step(sampler, step, 0, GLOBAL, found);
        for (int j = 0; j < GLOBAL; j++) {
            int window = five_window(found[j]);
            int source = sampler_source(sampler, step * GLOBAL + j, &number);
            own[source]++;
            wrong += window < 0 || (window < 10) != (source == 1);
            if (window >= 0 && number < (source ? 1530 : 504)) seen[window]++; /* whole epochs */
        }
        for (int j = GLOBAL - 1; j >= 0; j--)
            read_step(sampler, step, j, 1, parts + j);
        wrong += memcmp(found, parts, sizeof parts) != 0;
    }
    CHECK_INT(wrong, 0);
    CHECK_INT(own[0], 512);
    CHECK_INT(own[1], 1536);
    for (int i = 0; i < 10; i++)
        CHECK_INT(seen[i], 153);
    for (int i = 10; i < 19; i++)
        CHECK_INT(seen[i], 56);
    sampler_destroy(sampler);
    corpus_close(corpus);
}

static int open_files(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;
    while (folder && readdir(folder))
        count++;
    if (folder) closedir(folder);
    return count;
}

/* Hundreds of files where a process may have few open: all can be read, in any order, and one that
 * changes while it is closed is an error. */
static void test_descriptors(void)
{
    enum { FILES = 300, TOKENS = 40 };
    static const char *const paths[] = {"many", NULL};
    struct rlimit before, few;
    struct corpus *corpus;
    struct tokens *tokens;
    char name[32];
    CHECK_INT(mkdir(fixture_path("many"), 0700), 0);
    for (int i = 0; i < FILES; i++) {
        uint16_t ids[512 + TOKENS];
        int32_t head[256] = {20240520, 1, TOKENS};
        memcpy(ids, head, sizeof head);
        for (int t = 0; t < TOKENS; t++)
            ids[512 + t] = (uint16_t)(100 * i + t);
        snprintf(name, sizeof name, "many/%03d.bin", i);
        fixture_write(name, ids, sizeof ids);
    }
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 64;
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &few), 0);
    int files = open_files();
    corpus = open_good(paths, NULL);
    CHECK_INT(corpus_shard_count(corpus), FILES);
    CHECK(open_files() - files <= 8);
    for (int k = 0; k < 3 * FILES; k++) {
        int i = k * 7 % FILES;
        int32_t ids[3] = {0};
        CHECK_INT(corpus_use(corpus, i, &tokens), ZI_OK);
        CHECK_INT(tokens_read(tokens, 5, 3, ids), ZI_OK);
        CHECK(ids[0] == 100 * i + 5 && ids[2] == ids[0] + 2);
    }
    CHECK(open_files() - files <= 8);
    CHECK_INT(corpus_use(corpus, 299, &tokens), ZI_OK);
    CHECK_INT(utime(fixture_path("many/000.bin"), &(struct utimbuf){1, 1}), 0);
    CHECK_INT(unlink(fixture_path("many/001.bin")), 0);
    fixture_listen();
    CHECK_INT(corpus_use(corpus, 0, &tokens), ZI_ERROR_IO);
    CHECK_INT(corpus_use(corpus, 1, &tokens), ZI_ERROR_IO);
    CHECK(fixture_said("many/000.bin has changed since the run began"));
    CHECK(fixture_said("many/001.bin cannot be opened any more"));
    CHECK_INT(corpus_use(corpus, 2, &tokens), ZI_OK);
    corpus_close(corpus);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void refused(const char *path, int64_t format, const char *said)
{
    const char *const paths[] = {path, NULL};
    struct corpus *corpus;
    fixture_listen();
    CHECK_INT(open_paths(paths, NULL, format, &corpus), ZI_ERROR_USAGE);
    CHECK(!corpus);
    CHECK(fixture_said(said));
}

/* What is passed over, what is refused by name, and what is no pattern though it looks like one. */
static void test_listing(void)
{
    struct corpus *corpus;
    CHECK_INT(mkdir(fixture_path("empty"), 0700), 0);
    refused("none.bin", ZI_AUTO, "none.bin: No such file");
    refused("empty", ZI_AUTO, "empty has no token file");
    refused("empty/*", ZI_AUTO, "no file fits the pattern ");
    CHECK_INT(mkdir(fixture_path("folder"), 0700), 0);
    CHECK_INT(mkdir(fixture_path("folder/inner"), 0700), 0);
    write_counting("folder/.hidden", 0, 100, true);
    write_counting("folder/a.h5.tmp-aB3dE6", 0, 100, true);
    refused("folder", ZI_AUTO, "folder has no token file");
    refused("fol*", ZI_AUTO, "folder fits the pattern ");
    write_counting("folder/a", 1, 100, true);
    write_counting("folder/b[1].bin", 2, 100, false);
    fixture_listen();
    corpus = open_good((const char *[]){"folder", NULL}, NULL);
    fixture_stop_listening();
    CHECK_INT(corpus_shard_count(corpus), 2);
    corpus_close(corpus);
    corpus = open_good((const char *[]){"folder/b[1].bin", "folder/a", NULL}, NULL);
    CHECK_INT(corpus_shard_count(corpus), 2);
    CHECK(strcmp(corpus_name(corpus), "data.train") == 0);
    corpus_close(corpus);
    fixture_listen();
    CHECK_INT(open_paths((const char *[]){"folder/a", "folder/*.bin", "folder/?", NULL}, NULL,
                         ZI_AUTO, &corpus),
              ZI_ERROR_USAGE);
    CHECK(fixture_said("data.train names one file twice, as "));
    corpus = open_good((const char *[]){"folder/a", "folder/?", NULL}, (double[]){1, 2});
    CHECK_INT(corpus_source_count(corpus), 2); /* a mixture may */
    corpus_close(corpus);
    refused("folder", DATA_NANOGPT, "folder/a does not end in .bin");
    fixture_write("folder/README.md", "text", 4);
    refused("folder", ZI_AUTO, "README.md is no token file");
    refused("folder/*", ZI_AUTO, "folder/inner fits the pattern ");
    CHECK_INT(unlink(fixture_path("folder/README.md")), 0);
    CHECK_INT(symlink("nowhere", fixture_path("folder/link.bin")), 0);
    refused("folder", ZI_AUTO, "folder/link.bin: No such file");
}

/* Both files of a dataset of Megatron-LM are one shard, whichever is found. */
static void test_megatron(void)
{
    unsigned char index[34 + 4 + 8 + 16] = "MMIDIDX\0";
    uint16_t ids[50] = {1, 2, 3};
    index[9] = 1;   /* version */
    index[17] = 8;  /* uint16 */
    index[18] = 1;  /* one sequence */
    index[26] = 2;  /* of one document */
    index[34] = 50; /* of 50 tokens */
    index[34 + 4 + 8 + 8] = 1;
    CHECK_INT(mkdir(fixture_path("pair"), 0700), 0);
    fixture_write("pair/x.bin", ids, sizeof ids);
    fixture_write("pair/x.idx", index, sizeof index);
    write_counting("pair/x.c", 0, 100, true); /* between them */
    static const char *const forms[] = {"pair", "pair/*", "pair/x.[bi]*"};
    for (int i = 0; i < 3; i++) {
        struct corpus *corpus = open_good((const char *[]){forms[i], NULL}, NULL);
        CHECK_INT(corpus_shard_count(corpus), i < 2 ? 2 : 1);
        CHECK_INT(corpus_shard_tokens(corpus, 0), 50);
        corpus_close(corpus);
    }
    struct corpus *corpus = open_good((const char *[]){"pair/*.idx", NULL}, NULL);
    CHECK_INT(corpus_shard_tokens(corpus, 0), 50);
    corpus_close(corpus);
}

/* A source without a sequence is an error, one alone among good ones too. */
static void test_too_short(void)
{
    struct sampler *sampler = NULL;
    struct corpus *corpus =
        open_good((const char *[]){"five/B.bin", "five/a.bin", NULL}, (double[]){1, 1});
    fixture_listen();
    CHECK_INT(sampler_create(corpus, 1, 1, LENGTH, 1, &sampler), ZI_ERROR_USAGE);
    CHECK(!sampler);
    CHECK(fixture_said("none of the 1 file of "));
    CHECK(fixture_said("five/a.bin has the 17 tokens"));
    corpus_close(corpus);
}

int main(void)
{
    fixture_begin("data_corpus");
    write_five();
    test_epochs();
    test_once();
    test_shares();
    test_mixtures();
    test_mixture_read();
    test_descriptors();
    test_listing();
    test_megatron();
    test_too_short();
    fixture_end();
    return test_finish("data_corpus_test");
}
