/* SPDX-License-Identifier: Apache-2.0 */
/* Decks that are right: defaults, every type of value with its units, overrides, anchors, aliases
 * and merge keys, sections that are skipped. */
#include "regression/unit/deck_fixture.h"

#include "deck/table.h"

#include <math.h>

static struct settings *read_settings(const char *text, const char *const *sets, struct deck **deck)
{
    if (deck_try(text, sets, deck) != ZI_OK) {
        printf("refused: %s", deck_messages.text);
        exit(1);
    }
    return deck_settings(*deck);
}

static void test_defaults(void)
{
    struct deck *deck;
    struct settings *s = read_settings(DECK_SMALL, NULL, &deck);
    CHECK(strcmp(s->run.name, "run") == 0 && strcmp(s->run.directory, "runs/run") == 0);
    CHECK(s->run.steps == 20 && s->run.seed == 1337);
    CHECK(s->run.report_every == 1 && s->run.nonfinite_limit == 10);
    CHECK(s->model.family == MODEL_GPT2 && s->model.layers == 2 && s->model.hidden == 24);
    CHECK(s->model.heads == 3 && s->model.context == 16 && s->model.vocabulary == 65);
    CHECK(s->model.key_heads == ZI_AUTO && s->model.inner == ZI_AUTO && s->model.tied == ZI_AUTO);
    CHECK(s->model.norm_epsilon == 1e-5 && s->model.rope_base == 10000);
    CHECK(s->model.head_width == ZI_AUTO && s->model.window == 0 && s->model.window_from == 0);
    CHECK(s->model.full_every == 0 && s->model.unrotated_every == 0);
    CHECK(s->model.rope_window_base == 0 && s->model.rope_scaling == ROPE_PLAIN);
    CHECK(s->model.rope_factor == 1 && s->model.rope_original == ZI_AUTO);
    CHECK(s->model.rope_low == 1 && s->model.rope_high == 4 && s->model.rope_truncate);
    CHECK(s->model.rope_fast == 32 && s->model.rope_slow == 1 && s->model.rope_attention == 0);
    CHECK(s->model.init_deviation == 0.02);
    CHECK(deck_source_is(&s->data.train, "t.h5") && s->data.validation.count == 0);
    CHECK(s->data.format == ZI_AUTO && s->data.type == ZI_AUTO);
    CHECK(s->data.validation_every == 0); /* resolved: there is no file */
    CHECK(s->data.validation_sequences == ZI_AUTO);
    CHECK(s->batch.global == 8 && s->batch.micro == ZI_AUTO && s->batch.tokens == ZI_AUTO);
    CHECK(s->optimizer.type == 0 && s->optimizer.learning_rate == 0.01);
    CHECK(s->optimizer.minimum_ratio == 0.1 && s->optimizer.beta1 == 0.9);
    CHECK(s->optimizer.beta2 == 0.95 && s->optimizer.epsilon == 1e-8);
    CHECK(s->optimizer.weight_decay == 0.1 && s->optimizer.clip == 1.0);
    CHECK(!s->optimizer.decay_embeddings && !s->optimizer.decay_norms);
    CHECK(!s->optimizer.decay_biases && s->optimizer.schedule == SCHEDULE_COSINE);
    CHECK(s->optimizer.warmup == 0 && s->optimizer.decay == ZI_AUTO);
    CHECK(s->precision.compute == ZI_FP32 && s->precision.reduce == ZI_FP32);
    CHECK(s->precision.gradient == ZI_AUTO);
    CHECK(s->zero.stage == 3 && s->zero.order == ZI_AUTO && s->zero.prefetch == ZI_AUTO);
    CHECK(s->zero.update == ZI_AUTO);
    CHECK(s->placement.parameters == ZI_AUTO && s->placement.gradients == ZI_AUTO);
    CHECK(s->placement.optimizer == ZI_AUTO && s->placement.activations == ZI_AUTO);
    CHECK(s->memory.device == ZI_AUTO && s->memory.host == ZI_AUTO);
    CHECK(s->activations.recompute == ZI_AUTO && s->activations.interval == ZI_AUTO);
    CHECK(s->tiling.attention == ZI_AUTO && s->tiling.mlp == ZI_AUTO);
    CHECK(s->tiling.vocabulary == ZI_AUTO && s->run.trace == 0 && s->zero.group == 2 << 20);
    CHECK(deck_list_is(&s->nvme.paths, (const char *[]){"scratch", NULL}));
    CHECK(s->nvme.engine == ZI_AUTO);
    CHECK(s->nvme.depth == 16 && s->nvme.block == 1 << 20 && s->nvme.deadline == 60);
    CHECK(!s->nvme.keep && !s->nvme.reclaim);
    CHECK(s->device.type == DEVICE_CPU && s->device.threads == ZI_AUTO);
    CHECK(s->device.isa == ZI_AUTO);
    CHECK(s->checkpoint.every == 0 && s->checkpoint.keep == 2 && s->checkpoint.final);
    deck_destroy(deck);
    deck_destroy(NULL);
}

/* Each row of the table is a place of its own in the settings, and no place is without a row. */
static void test_table(void)
{
    int count;
    const struct deck_row *rows = deck_rows(&count);
    static char seen[sizeof(struct settings)];
    for (int i = 0; i < count; i++) {
        CHECK(rows[i].help && *rows[i].help && rows[i].help[strlen(rows[i].help) - 1] != '.');
        CHECK(deck_section_help(rows[i].section));
        CHECK(deck_find(rows[i].section, rows[i].key) == &rows[i]);
        CHECK(rows[i].fallback || rows[i].example);
        CHECK((rows[i].type == DECK_CHOICE) == !!rows[i].choices);
        CHECK(seen[rows[i].offset]++ == 0);
        CHECK(!rows[i].may_be_auto || rows[i].offset % sizeof(int64_t) == 0);
    }
    CHECK_INT(count, 119);
    CHECK(!deck_find("run", "hidden") && !deck_section_help("runs"));
}

static void test_units(void)
{
    static const struct {
        const char *set;
        int64_t value;
    } cases[] = {
        {"4096", 4096},
        {"4 k", 4000},
        {"4k", 4000},
        {"1.5 k steps", 1500},
        {"2 Ki", 2048},
        {"3 M", 3000000},
        {"1 G steps", 1000000000},
        {"2Mi", 2097152},
        {"1 Gi", 1073741824},
        {"20 steps", 20},
        {"1 step", 1},
        {"1_000", 1000},
        {"1e3", 1000},
        {"+7", 7},
        {" 7 ", 7},
        {"1000000000000000", 1000000000000000},
    };
    static const struct {
        const char *set;
        int64_t value;
    } sizes[] = {
        {"64 GiB", (int64_t)64 << 30},
        {"64GiB", (int64_t)64 << 30},
        {"1.5 GiB", (int64_t)3 << 29},
        {"10 B", 10},
        {"3 KiB", 3072},
        {"3 kB", 3000},
        {"5 MiB", 5242880},
        {"5 MB", 5000000},
        {"2 GB", 2000000000},
        {"2 TB", 2000000000000},
        {"2 TiB", (int64_t)2 << 40},
        {"0.1 KiB", 102},
        {"auto", ZI_AUTO},
    };
    struct deck *deck;
    char set[64];
    const char *sets[2] = {set, NULL};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(set, sizeof set, "run.steps=%s", cases[i].set);
        CHECK_INT(read_settings(DECK_SMALL, sets, &deck)->run.steps, cases[i].value);
        deck_destroy(deck);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        snprintf(set, sizeof set, "memory.host=%s", sizes[i].set);
        CHECK_INT(read_settings(DECK_SMALL, sets, &deck)->memory.host, sizes[i].value);
        deck_destroy(deck);
    }
    /* Whole numbers that a double cannot hold. */
    strcpy(set, "run.seed=9223372036854775807");
    CHECK(read_settings(DECK_SMALL, sets, &deck)->run.seed == INT64_MAX);
    deck_destroy(deck);
    strcpy(set, "run.seed=9007199254740993");
    CHECK(read_settings(DECK_SMALL, sets, &deck)->run.seed == 9007199254740993);
    deck_destroy(deck);
}

static void test_types(void)
{
    struct deck *deck;
    struct settings *s = read_settings(DECK_SMALL "zero:\n"
                                                  "  stage: 1\n"
                                                  "  order: micro-major\n"
                                                  "  prefetch: 0\n"
                                                  "  update: deferred\n"
                                                  "placement: {parameters: nvme, gradients: host}\n"
                                                  "memory: {device: \"256 MiB\", host: 1 GiB}\n"
                                                  "activations: {recompute: never, interval: 1}\n"
                                                  "device: {type: cuda, isa: avx2}\n"
                                                  "checkpoint: {every: 10 steps, final: false}\n"
                                                  "precision: {compute: bf16, gradient: fp32}\n",
                                       NULL, &deck);
    CHECK(s->zero.stage == 1 && s->zero.order == ORDER_MICRO_MAJOR && s->zero.prefetch == 0);
    CHECK(s->zero.update == UPDATE_DEFERRED && s->placement.parameters == ZI_TIER_NVME);
    CHECK(s->placement.gradients == ZI_TIER_HOST && s->memory.device == 256 << 20);
    CHECK(s->activations.recompute == RECOMPUTE_NEVER && s->activations.interval == 1);
    CHECK(s->device.type == DEVICE_CUDA && s->device.isa == ISA_AVX2);
    CHECK(s->checkpoint.every == 10 && !s->checkpoint.final);
    CHECK(s->precision.compute == ZI_BF16 && s->precision.gradient == ZI_FP32);
    deck_destroy(deck);

    static const char *const sets[] = {"model.tied=no",
                                       "optimizer.learning_rate=2.5e-4",
                                       "checkpoint.every=never",
                                       "run.name=a = b: \"c\" # d",
                                       "data.validation=",
                                       "run.steps=5",
                                       "run.steps=6",
                                       NULL};
    s = read_settings(DECK_SMALL "checkpoint: {every: 5}\n", sets, &deck);
    CHECK(s->model.tied == 0 && s->optimizer.learning_rate == 2.5e-4 && s->checkpoint.every == 0);
    CHECK(strcmp(s->run.name, "a = b: \"c\" # d") == 0 && s->data.validation.count == 0);
    CHECK(s->run.steps == 6);
    deck_destroy(deck);

    /* A required key may come from the command line. */
    static const char *const steps[] = {"run.steps=3", NULL};
    s = read_settings("model: {family: llama, layers: 2, hidden: 24, heads: 3, context: 16,\n"
                      "  vocabulary: 65}\ndata: {train: t.h5}\nbatch: {global: 8}\n"
                      "optimizer: {learning_rate: 0.01}\nzero:\nmemory: ~\n",
                      steps, &deck);
    CHECK(s->run.steps == 3 && s->model.family == MODEL_LLAMA);
    deck_destroy(deck);
}

/* One path, lists in every form of YAML, lists on the command line. */
static void test_paths(void)
{
    static const struct {
        const char *text, *set, *values[DECK_LIST_MAX + 1];
    } cases[] = {
        {"nvme: {paths: a}\n", NULL, {"a"}},
        {"nvme: {paths: [a]}\n", NULL, {"a"}},
        {"nvme: {paths: [scratch/, /mnt/second]}\n", NULL, {"scratch/", "/mnt/second"}},
        {"nvme:\n  paths:\n  - b c\n  - 'd,e'\n  - \" f \"\n", NULL, {"b c", "d,e", " f "}},
        {"nvme: {paths: \"a, b/\"}\n", NULL, {"a", "b/"}},
        {"nvme:\n  paths: a , b\n", NULL, {"a", "b"}},
        {"x-disk: &disk /mnt/d\nnvme: {paths: [a, *disk]}\n", NULL, {"a", "/mnt/d"}},
        {"x-disks: &disks [a, b]\nnvme: {paths: *disks}\n", NULL, {"a", "b"}},
        {"nvme: {paths: [a, b]}\n", "nvme.paths=c", {"c"}},
        {"", "nvme.paths=a,b", {"a", "b"}},
        {"", "nvme.paths= a , /b/c", {"a", "/b/c"}},
        {"", "nvme.paths=[a, \"b, c\", './~']", {"a", "b, c", "./~"}},
        {"", "nvme.paths=[a]", {"a"}},
        {"", "nvme.paths=a,../a,/a,.a,aa", {"a", "../a", "/a", ".a", "aa"}},
        {"nvme: {paths: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]}\n",
         NULL,
         {"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct deck *deck;
        char text[1024];
        const char *const sets[] = {cases[i].set, NULL};
        snprintf(text, sizeof text, "%s%s", DECK_SMALL, cases[i].text);
        bool same = deck_list_is(&read_settings(text, sets, &deck)->nvme.paths, cases[i].values);
        if (!same) printf("case %zu: %s %s\n", i, cases[i].text, cases[i].set);
        CHECK(same);
        deck_destroy(deck);
    }
}

static void test_anchors(void)
{
    struct deck *deck;
    static const char text[] = "x-small: &small {layers: 2, hidden: 24, heads: 3}\n"
                               "x-text: &text {layers: 9, context: 16, vocabulary: 65}\n"
                               "x-words: [&tier host, 1, {a: b}]\n"
                               "run: {steps: 20}\n"
                               "model:\n"
                               "    <<: [*small, *text]\n"
                               "    family: gpt2\n"
                               "    hidden: 48\n"
                               "data: {train: &file t.h5, validation: *file}\n"
                               "batch: {global: 8}\n"
                               "optimizer: {learning_rate: 0.01}\n"
                               "placement: {parameters: *tier, gradients: *tier}\n";
    struct settings *s = read_settings(text, NULL, &deck);
    CHECK(s->model.layers == 2);  /* the earlier source wins */
    CHECK(s->model.hidden == 48); /* the mapping itself wins, though it comes later */
    CHECK(s->model.context == 16 && s->model.vocabulary == 65 && s->model.heads == 3);
    CHECK(deck_source_is(&s->data.validation, "t.h5"));
    CHECK(s->placement.parameters == ZI_TIER_HOST && s->placement.gradients == ZI_TIER_HOST);
    deck_destroy(deck);

    /* Merges of merges, and a whole deck merged. */
    static const char nested[] = "x-a: &a {layers: 2, hidden: 24}\n"
                                 "x-b: &b {<<: *a, hidden: 48, heads: 3}\n"
                                 "x-c: &c\n"
                                 "    run: {steps: 20}\n"
                                 "    batch: {global: 8}\n"
                                 "<<: *c\n"
                                 "model: {<<: *b, family: gpt2, context: 16, vocabulary: 65}\n"
                                 "data: {train: t.h5}\n"
                                 "optimizer: {learning_rate: 0.01}\n";
    s = read_settings(nested, NULL, &deck);
    CHECK(s->model.layers == 2 && s->model.hidden == 48 && s->run.steps == 20);
    deck_destroy(deck);
}

static void test_text(void)
{
    struct deck *deck;
    struct settings *s = read_settings("\xef\xbb\xbf" DECK_SMALL "x-note: {a: 1}\n", NULL, &deck);
    CHECK(s->run.steps == 20); /* a byte order mark of UTF-8 */
    deck_destroy(deck);
    s = read_settings(
        "run:\r\n    steps: 20\r\n    name: \"Gr\xc3\xbc\xc3\x9f\\u0065 \\\"1\\\"\"\r\n"
        "model: {family: gpt2, layers: 2, hidden: 24, heads: 3, context: 16,\r\n"
        "    vocabulary: 65}\r\ndata: {train: a b.h5}\r\nbatch: {global: 8}\r\n"
        "optimizer: {learning_rate: .5}\r\n",
        NULL, &deck);
    CHECK(strcmp(s->run.name, "Gr\xc3\xbc\xc3\x9f"
                              "e \"1\"") == 0);
    CHECK(deck_source_is(&s->data.train, "a b.h5") && s->optimizer.learning_rate == 0.5);
    deck_destroy(deck);
}

int main(void)
{
    test_table();
    test_defaults();
    test_units();
    test_types();
    test_paths();
    test_anchors();
    test_text();
    return test_finish("deck_read_test");
}
