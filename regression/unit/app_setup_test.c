/* SPDX-License-Identifier: Apache-2.0 */
/* The line of YAML that a checkpoint carries gives back the model section, key by key, whatever the
 * values; a part of a deck is read without the rest; options are taken apart as said. */
#include "app/options.h"
#include "app/setup.h"

#include "regression/unit/test.h"

#include <stdlib.h>
#include <string.h>

static const char deck_text[] =
    "run: {steps: 1}\n"
    "model: {family: llama, layers: 3, hidden: 96, heads: 6, key_heads: 2, inner: 136,\n"
    "        context: 48, vocabulary: 300, tied: yes, norm_epsilon: 1.23456789012e-6,\n"
    "        rope_base: 500000.0, init_deviation: 0.1}\n"
    "data: {train: none}\n"
    "batch: {global: 4}\n"
    "optimizer: {learning_rate: 1.0e-3}\n"
    "precision: {compute: bf16}\n";

static void check_same_model(const struct settings_model *a, const struct settings_model *b)
{
    CHECK_INT(b->family, a->family);
    CHECK_INT(b->layers, a->layers);
    CHECK_INT(b->hidden, a->hidden);
    CHECK_INT(b->heads, a->heads);
    CHECK_INT(b->key_heads, a->key_heads);
    CHECK_INT(b->inner, a->inner);
    CHECK_INT(b->context, a->context);
    CHECK_INT(b->vocabulary, a->vocabulary);
    CHECK_INT(b->tied, a->tied);
    /* numbers are written with as many digits as give them back: no tolerance */
    CHECK(b->norm_epsilon == a->norm_epsilon);
    CHECK(b->rope_base == a->rope_base);
    CHECK(b->init_deviation == a->init_deviation);
}

static void test_model_text(const char *const *sets, int count)
{
    struct setup first = {0}, second = {0};
    char *text = NULL, *again = NULL;
    CHECK_INT(setup_parse(&first, deck_text, (int64_t)strlen(deck_text), "deck", sets, count, 1),
              ZI_OK);
    if (!first.settings || setup_model_text(first.settings, &text) < 0) {
        CHECK(text);
        setup_cleanup(&first);
        return;
    }
    CHECK(!strchr(text, '\n'));
    CHECK_INT(setup_parse_part(&second, text, "text", setup_model_sections, NULL, 0), ZI_OK);
    if (second.settings) {
        check_same_model(&first.settings->model, &second.settings->model);
        CHECK_INT(second.settings->precision.compute, first.settings->precision.compute);
        CHECK_INT(second.settings->precision.gradient, first.settings->precision.gradient);
        CHECK_INT(setup_model_text(second.settings, &again), ZI_OK);
        CHECK(again && strcmp(text, again) == 0);
    }
    free(text);
    free(again);
    setup_cleanup(&first);
    setup_cleanup(&second);
    setup_cleanup(&second);
}

static void test_part(void)
{
    struct setup setup = {0};
    static const char *const sections[] = {"device", NULL};
    const char *sets[] = {"device.threads=3"};
    CHECK_INT(setup_parse_part(&setup, NULL, "words", sections, sets, 1), ZI_OK);
    CHECK(setup.settings && setup.settings->device.threads == 3);
    setup_cleanup(&setup);
    /* an unknown key is still an error */
    sets[0] = "device.thread=3";
    CHECK_INT(setup_parse_part(&setup, NULL, "words", sections, sets, 1), ZI_ERROR_USAGE);
    setup_cleanup(&setup);
}

static void test_options(void)
{
    static const struct option_row rows[] = {
        {"--set", "K=V", "h"}, {"--tokens", "N", "h"}, {"--share", "X", "h"}, {"--force", 0, "h"}};
    char words[][24] = {"a", "--set", "k=v", "--set=l=w", "--tokens=-7", "--", "--force", "-"};
    char *argv[8];
    for (int i = 0; i < 8; i++)
        argv[i] = words[i];
    struct options options;
    CHECK_INT(options_parse("test", rows, 4, 8, argv, &options), ZI_OK);
    int count;
    const char *const *sets = options_all(&options, "--set", &count);
    CHECK_INT(count, 2);
    CHECK(count == 2 && strcmp(sets[0], "k=v") == 0 && strcmp(sets[1], "l=w") == 0);
    CHECK_INT(options.word_count, 3);
    CHECK(options.word_count == 3 && strcmp(options.words[1], "--force") == 0);
    CHECK(!options_given(&options, "--force"));
    int64_t tokens = 5;
    double share = 0.25;
    CHECK_INT(options_integer(&options, "--tokens", -7, 7, &tokens), ZI_OK);
    CHECK_INT(tokens, -7);
    CHECK_INT(options_integer(&options, "--tokens", -6, 7, &tokens), ZI_ERROR_USAGE);
    CHECK_INT(options_real(&options, "--share", 0, 1, &share), ZI_OK);
    CHECK(share == 0.25);
    CHECK(strcmp(options_text(&options, "--share", "none"), "none") == 0);
    options_cleanup(&options);
}

int main(void)
{
    static const char *const other[] = {"model.family=gpt2", "model.key_heads=auto",
                                        "model.tied=no", "precision.compute=fp32"};
    test_model_text(NULL, 0);
    test_model_text(other, 4);
    test_part();
    test_options();
    return test_finish("app_setup_test");
}
