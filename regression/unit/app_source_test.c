/* SPDX-License-Identifier: Apache-2.0 */
/* Model folders of Hugging Face, loaded as a run loads model.from, give the logits that transformers
 * computed with them (regression/goldens/make_hf_goldens.py), for each prefix of a sequence, to 1e-5
 * of the largest. Arguments: other folders of the same kind. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "app/source.h"
#include "compiler/placement.h"
#include "engine/engine.h"
#include "hf/safetensors.h"
#include "regression/unit/test.h"

#define TOLERANCE 1e-5

struct expected {
    int64_t tokens, vocabulary;
    float *ids, *logits;
};

static void read_expected(const char *folder, struct expected *expected)
{
    char path[PATH_MAX];
    struct safetensors *set;
    snprintf(path, sizeof path, "%s/expected.safetensors", folder);
    if (safetensors_open(path, &set) < 0) exit(1);
    const struct safetensors_tensor *ids = safetensors_find(set, "tokens");
    const struct safetensors_tensor *logits = safetensors_find(set, "logits");
    if (!ids || !logits || logits->dimensions != 2 || logits->shape[0] != ids->elements) exit(1);
    expected->tokens = ids->elements;
    expected->vocabulary = logits->shape[1];
    expected->ids = calloc((size_t)ids->elements, sizeof(float));
    expected->logits = calloc((size_t)logits->elements, sizeof(float));
    if (!expected->ids || !expected->logits) exit(1);
    CHECK(safetensors_read(set, ids, 0, ids->elements, ZI_FP32, expected->ids) == ZI_OK);
    CHECK(safetensors_read(set, logits, 0, logits->elements, ZI_FP32, expected->logits) == ZI_OK);
    safetensors_close(set);
}

/* An engine in fp32 with the weights. */
static void load(const char *folder, struct comm *comm, struct setup *setup, struct engine **engine)
{
    static const char *const sets[] = {"batch.global=1", "device.threads=1"};
    const struct zero_node node = {.ranks = 1};
    struct source *source;
    if (source_open(folder, true, &source) < 0) exit(1);
    CHECK(setup_parse_part(setup, NULL, folder, setup_no_sections, sets, 2) == ZI_OK);
    deck_take_model(setup->deck, source_model(source), folder);
    model_check(setup->deck);
    if (deck_check(setup->deck) < 0 || setup_open(setup, DEVICE_ALONE) < 0) exit(1);
    setup->config.training = false;
    CHECK(zero_resolve(setup->settings, &setup->description, 1, &node, &setup->config) == ZI_OK);
    CHECK(setup_compile(setup) == ZI_OK);
    CHECK(engine_create(setup->program, setup->device, comm, setup->settings, engine) == ZI_OK);
    if (source_match(source, setup->model, 0) < 0) exit(1);
    CHECK(engine_load(*engine, source_visit, source) == ZI_OK);
    source_close(source);
}

static void compare(const struct expected *e, struct engine *engine)
{
    int32_t *ids = calloc((size_t)e->tokens, sizeof *ids);
    float *logits = calloc((size_t)e->vocabulary, sizeof *logits);
    double largest = 0, worst = 0;
    if (!ids || !logits) exit(1);
    for (int64_t i = 0; i < e->tokens * e->vocabulary; i++)
        largest = fmax(largest, fabs((double)e->logits[i]));
    for (int64_t t = 0; t < e->tokens; t++) {
        const float *row = e->logits + t * e->vocabulary;
        ids[t] = (int32_t)e->ids[t];
        CHECK(engine_logits(engine, ids, t + 1, logits) == ZI_OK);
        for (int64_t i = 0; i < e->vocabulary; i++)
            worst = fmax(worst, fabs((double)logits[i] - (double)row[i]));
    }
    CHECK(largest > 0.1);
    CHECK_NEAR(worst, 0, TOLERANCE * largest);
    free(ids);
    free(logits);
}

static void test_folder(const char *folder)
{
    struct setup setup = {0};
    struct expected expected;
    struct engine *engine;
    struct comm *comm;
    long failed = test_failures();
    if (comm_self(&comm) < 0) exit(1);
    read_expected(folder, &expected);
    load(folder, comm, &setup, &engine);
    CHECK_INT(setup.settings->model.vocabulary, expected.vocabulary);
    compare(&expected, engine);
    engine_destroy(engine);
    setup_cleanup(&setup);
    comm_destroy(comm);
    free(expected.ids);
    free(expected.logits);
    if (test_failures() > failed) fprintf(stderr, "in %s\n", folder);
}

int main(int argc, char **argv)
{
    static const char *const cases[] = {"hf_gpt2", "hf_llama", "hf_qwen3"};
    const char *top = getenv("top_srcdir");
    char path[PATH_MAX];
    for (int i = 1; i < argc; i++)
        test_folder(argv[i]);
    for (size_t i = 0; argc == 1 && i < sizeof cases / sizeof *cases; i++) {
        snprintf(path, sizeof path, "%s/regression/goldens/%s", top ? top : ".", cases[i]);
        test_folder(path);
    }
    return test_finish("app_source");
}
