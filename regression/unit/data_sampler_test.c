/* SPDX-License-Identifier: Apache-2.0 */
/* The sampler's promises, as properties over several sizes of file, window and batch. Token i of
 * the file is the number i itself, so what was read says where it came from. */
#include "data/sampler.h"

#include "regression/unit/data_fixture.h"

enum { VOCABULARY = 65536 };

/* A corpus of one file. */
static enum zi_status open_one(const char *name, int64_t format, int64_t vocabulary,
                               struct corpus **corpus)
{
    char path[1024];
    struct deck_weighted item = {.path = path};
    struct deck_sources sources = {&item, 1};
    const struct corpus_wanted wanted = {.key = "data.train",
                                         .sources = &sources,
                                         .format = format,
                                         .type = ZI_AUTO,
                                         .vocabulary = vocabulary};
    snprintf(path, sizeof path, "%s", fixture_path(name));
    return corpus_open(&wanted, corpus);
}

static struct corpus *open_counting(int64_t count)
{
    struct corpus *corpus = NULL;
    uint16_t *ids = malloc((size_t)count * sizeof *ids);
    if (!ids) exit(1);
    for (int64_t i = 0; i < count; i++)
        ids[i] = (uint16_t)i;
    fixture_write("counting.bin", ids, (size_t)count * sizeof *ids);
    free(ids);
    CHECK_INT(open_one("counting.bin", DATA_NANOGPT, VOCABULARY, &corpus), ZI_OK);
    if (!corpus) exit(1);
    return corpus;
}

struct shape {
    int64_t tokens, global, length, windows;
};

/* A file of W * T + 1 tokens has W windows, one token less has one window less. */
static const struct shape shapes[] = {
    {2, 1, 1, 1},      {101, 3, 10, 10}, {100, 4, 10, 9},   {110, 7, 10, 10},
    {1000, 5, 37, 27}, {513, 8, 1, 512}, {4097, 6, 64, 64}, {60001, 32, 16, 3750},
};

/* Reads sequences of a step and gives the window of each; -1 when a sequence is no window. */
static void read_windows(struct sampler *sampler, const struct shape *shape, int64_t step,
                         int64_t first, int64_t count, int64_t *windows)
{
    int64_t length = shape->length;
    int32_t *inputs = malloc((size_t)(count * length) * sizeof *inputs);
    int32_t *targets = malloc((size_t)(count * length) * sizeof *targets);
    if (!inputs || !targets) exit(1);
    CHECK_INT(sampler_read(sampler, step, first, count, inputs, targets), ZI_OK);
    for (int64_t j = 0; j < count; j++) {
        int64_t start = inputs[j * length];
        int is_window = start % length == 0;
        for (int64_t t = 0; t < length; t++)
            is_window = is_window && inputs[j * length + t] == start + t &&
                        targets[j * length + t] == start + t + 1;
        windows[j] = is_window ? start / length : -1;
    }
    free(inputs);
    free(targets);
}

/* Each epoch sees every window exactly once, also when epochs end inside a step, and epochs of more
 * than a few windows come in different orders. */
static void test_epochs(struct sampler *sampler, const struct shape *shape, int is_shuffled)
{
    enum { EPOCHS = 4 };
    int64_t windows = shape->windows, total = EPOCHS * windows;
    int64_t steps = (total + shape->global - 1) / shape->global;
    int64_t *order = malloc((size_t)(steps * shape->global) * sizeof *order);
    int *seen = malloc((size_t)windows * sizeof *seen);
    if (!order || !seen) exit(1);
    for (int64_t step = 0; step < steps; step++)
        read_windows(sampler, shape, step, 0, shape->global, order + step * shape->global);
    int64_t same_as_before = 0, in_file_order = 0, not_once = 0;
    for (int64_t epoch = 0; epoch < EPOCHS; epoch++) {
        const int64_t *now = order + epoch * windows;
        memset(seen, 0, (size_t)windows * sizeof *seen);
        for (int64_t i = 0; i < windows; i++) {
            if (now[i] >= 0 && now[i] < windows) seen[now[i]]++;
            in_file_order += now[i] == i;
            if (epoch > 0) same_as_before += now[i] == (now - windows)[i];
        }
        for (int64_t i = 0; i < windows; i++)
            not_once += seen[i] != 1;
    }
    CHECK_INT(not_once, 0);
    /* Two random orders agree in one place on average, whatever their length. */
    if (is_shuffled && windows >= 50) {
        CHECK(same_as_before <= 24);
        CHECK(in_file_order <= 32);
    }
    if (!is_shuffled) CHECK_INT(in_file_order, total);
    free(order);
    free(seen);
}

/* What a rank reads does not depend on how the step is split, nor on what was read before. */
static void test_splits(struct sampler *sampler, const struct shape *shape)
{
    int64_t whole[64], parts[64];
    for (int64_t step = 5; step >= 0; step -= 5) {
        read_windows(sampler, shape, step, 0, shape->global, whole);
        for (int64_t ranks = 1; ranks <= shape->global; ranks++) {
            for (int64_t rank = ranks - 1; rank >= 0; rank--) {
                int64_t first = shape->global * rank / ranks;
                int64_t next = shape->global * (rank + 1) / ranks;
                read_windows(sampler, shape, step, first, next - first, parts + first);
            }
            CHECK(memcmp(whole, parts, (size_t)shape->global * sizeof *whole) == 0);
        }
    }
    CHECK_INT(sampler_read(sampler, 0, shape->global, 0, NULL, NULL), ZI_OK);
}

static void test_shapes(void)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const struct shape *shape = &shapes[i];
        struct corpus *corpus = open_counting(shape->tokens);
        for (int shuffle = 0; shuffle < 2; shuffle++) {
            struct sampler *sampler = NULL;
            CHECK_INT(sampler_create(corpus, 1337, shape->global, shape->length, shuffle, &sampler),
                      ZI_OK);
            CHECK_INT(sampler_windows(sampler), shape->windows);
            test_epochs(sampler, shape, shuffle);
            test_splits(sampler, shape);
            sampler_destroy(sampler);
        }
        corpus_close(corpus);
    }
}

/* Once through a file: every token but the first is a target exactly once, after its predecessor,
 * whatever the steps and their parts; what is left of the steps counts for nothing. */
static void check_once(const struct shape *shape, int64_t most, int64_t global)
{
    struct corpus *corpus = open_counting(shape->tokens);
    struct sampler *sampler = NULL;
    int64_t length = shape->length, windows = (shape->tokens - 2) / length + 1;
    int64_t chosen = windows < most ? windows : most, targets = 0, wrong = 0, twice = 0, seen = 0;
    int32_t *in = malloc((size_t)(2 * global * length) * sizeof *in), *out = in + global * length;
    char *found = calloc((size_t)shape->tokens, 1), *window = calloc((size_t)windows, 1);
    if (!in || !found || !window) exit(1);
    CHECK_INT(sampler_create_once(corpus, most, global, length, &sampler), ZI_OK);
    CHECK_INT(sampler_windows(sampler), windows);
    CHECK_INT(sampler_chosen(sampler), chosen);
    CHECK_INT(sampler_steps(sampler), (chosen + global - 1) / global);
    for (int64_t step = 0; step <= sampler_steps(sampler); step++) { /* one more holds nothing */
        for (int64_t j = 0; j < global; j += 3) {
            int64_t count = global - j < 3 ? global - j : 3;
            CHECK_INT(sampler_read(sampler, step, j, count, in + j * length, out + j * length),
                      ZI_OK);
        }
        for (int64_t i = 0; i < global * length; i++) {
            if (out[i] == -1) {
                wrong += in[i] != 0;
                continue;
            }
            targets++;
            wrong += out[i] != in[i] + 1 || out[i] < 1 || out[i] >= shape->tokens;
            twice += found[out[i]]++;
            window[in[i] / length] = 1;
        }
    }
    for (int64_t w = 0; w < windows; w++)
        seen += window[w];
    CHECK_INT(wrong, 0);
    CHECK_INT(twice, 0);
    CHECK_INT(seen, chosen);
    CHECK_INT(targets, sampler_targets(sampler));
    if (most >= windows) CHECK_INT(targets, shape->tokens - 1);
    if (most >= windows / 2 && most > 1) /* evenly spread: some in each half */
        CHECK(window[0] && memchr(window + windows / 2, 1, (size_t)(windows - windows / 2)));
    sampler_destroy(sampler);
    corpus_close(corpus);
    free(in);
    free(found);
    free(window);
}

static void test_once(void)
{
    static const int64_t globals[] = {1, 4, 7, 64};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        if (shapes[i].tokens > 5000) continue;
        for (size_t g = 0; g < sizeof globals / sizeof *globals; g++) {
            check_once(&shapes[i], INT32_MAX, globals[g]);
            check_once(&shapes[i], 7, globals[g]);
            check_once(&shapes[i], 1, globals[g]);
        }
    }
    static const struct shape shorter = {5, 1, 10, 0};
    check_once(&shorter, 10, 3);
    struct corpus *corpus = open_counting(1);
    struct sampler *sampler = NULL;
    fixture_listen();
    CHECK_INT(sampler_create_once(corpus, 1, 1, 1, &sampler), ZI_ERROR_USAGE);
    CHECK(fixture_said("one token alone"));
    corpus_close(corpus);
}

/* Another seed gives another order, the same seed the same one in a sampler made anew. */
static void test_seeds(void)
{
    const struct shape *shape = &shapes[6];
    struct corpus *corpus = open_counting(shape->tokens);
    int64_t windows[3][6];
    static const uint64_t seeds[3] = {1, 2, 1};
    for (int i = 0; i < 3; i++) {
        struct sampler *sampler = NULL;
        CHECK_INT(sampler_create(corpus, seeds[i], shape->global, shape->length, 1, &sampler),
                  ZI_OK);
        if (i == 0) read_windows(sampler, shape, 3, 0, shape->global, windows[i]);
        read_windows(sampler, shape, 9, 0, shape->global, windows[i]);
        sampler_destroy(sampler);
    }
    CHECK(memcmp(windows[0], windows[1], sizeof windows[0]) != 0);
    CHECK(memcmp(windows[0], windows[2], sizeof windows[0]) == 0);
    corpus_close(corpus);
}

static void test_too_short(void)
{
    struct corpus *corpus = open_counting(10);
    struct sampler *sampler = NULL;
    fixture_listen();
    CHECK_INT(sampler_create(corpus, 1, 1, 10, 1, &sampler), ZI_ERROR_USAGE);
    CHECK(!sampler);
    CHECK(fixture_said("counting.bin"));
    CHECK(fixture_said("10 tokens"));
    CHECK(fixture_said("batch.tokens"));
    CHECK_INT(sampler_create(corpus, 1, 1, 9, 1, &sampler), ZI_OK);
    CHECK_INT(sampler_windows(sampler), 1);
    sampler_destroy(sampler);
    sampler_destroy(NULL);
    corpus_close(corpus);
}

/* A token out of vocabulary is an error of the reading that meets it, with its place in the file.
 */
static void test_bad_token(void)
{
    uint16_t ids[101];
    int32_t inputs[10], targets[10];
    for (int i = 0; i < 101; i++)
        ids[i] = (uint16_t)i;
    ids[57] = 500;
    fixture_write("bad.bin", ids, sizeof ids);
    struct corpus *corpus = NULL;
    struct sampler *sampler = NULL;
    CHECK_INT(open_one("bad.bin", ZI_AUTO, 256, &corpus), ZI_OK);
    CHECK_INT(sampler_create(corpus, 1, 1, 10, 0, &sampler), ZI_OK);
    fixture_listen();
    CHECK_INT(sampler_read(sampler, 4, 0, 1, inputs, targets), ZI_OK);
    CHECK_INT(sampler_read(sampler, 5, 0, 1, inputs, targets), ZI_ERROR_USAGE);
    CHECK(fixture_said("token 500 at position 57 "));
    CHECK_INT(sampler_read(sampler, 6, 0, 1, inputs, targets), ZI_OK);
    sampler_destroy(sampler);
    corpus_close(corpus);
}

int main(void)
{
    fixture_begin("data_sampler");
    test_shapes();
    test_once();
    test_seeds();
    test_too_short();
    test_bad_token();
    fixture_end();
    return test_finish("data_sampler_test");
}
