/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of decks: the sections that are asked for are read and checked as ever; of the others
 * nothing is required, read or checked, and no value comes from nowhere. */
#include "regression/unit/deck_fixture.h"

#define MODEL                                                                                      \
    "model: {family: llama, layers: 2, hidden: 24, heads: 3, context: 16, vocabulary: 65}\n"

static const char *const model[] = {"model", NULL}, *const nvme[] = {"nvme", NULL},
                         *const batch[] = {"batch", NULL}, *const both[] = {"batch", "model", NULL};

/* Reads and checks a part; what is said, also as warnings, is in deck_messages.text. */
static enum zi_status try_part(const char *text, const char *const *sections,
                               const char *const *sets, struct deck **deck)
{
    int count = 0;
    while (sets && sets[count])
        count++;
    capture_begin(&deck_messages, stderr);
    enum zi_status status = deck_parse_part(text, "d.yaml", sections, sets, count, deck);
    if (status == ZI_OK) status = deck_check(*deck);
    if (status == ZI_OK) deck_warn(*deck);
    capture_end(&deck_messages);
    return status;
}

/* A part that is right, about which nothing is said. */
static struct deck *read_part(const char *text, const char *const *sections,
                              const char *const *sets)
{
    struct deck *deck;
    CHECK_INT(try_part(text, sections, sets, &deck), ZI_OK);
    CHECK(deck_messages.text[0] == 0);
    if (!deck) exit(1);
    return deck;
}

static void refused(const char *text, const char *const *sections, const char *const *sets,
                    const char *said, int errors)
{
    struct deck *deck;
    CHECK_INT(try_part(text, sections, sets, &deck), ZI_ERROR_USAGE);
    CHECK(deck_said(said));
    CHECK_INT(deck_message_lines(), errors + 1);
    deck_destroy(deck);
}

static void test_others(void)
{
    static const char *const sets[] = {"device.threads=3", NULL};
    /* Sections beside that would be wrong in every way. */
    struct deck *deck = read_part(MODEL "nvme: {paths: [a, a], path: b, keep: yes}\n"
                                        "placement: 3\nrun: {steps: some}\nbatch: {tokens: 99}\n",
                                  model, sets);
    const struct settings *s = deck_settings(deck);
    CHECK(s->model.family == MODEL_LLAMA && s->model.layers == 2 && s->model.context == 16);
    CHECK(deck_list_is(&s->nvme.paths, (const char *[]){"scratch", NULL}) && !s->nvme.keep);
    CHECK(s->batch.tokens == ZI_AUTO && s->device.threads == 3);
    /* Nothing is made up for what has no default. */
    CHECK(s->run.steps == 0 && s->batch.global == 0 && s->optimizer.learning_rate == 0);
    CHECK_INT(s->data.train.count, 0);
    deck_destroy(deck);
}

static void test_asked(void)
{
    static const char *const steps[] = {"model.layers=9", "run.step=1", NULL};
    refused("model: {family: gpt2, hidden: 24, context: 16, vocabulary: 65}\n", model, NULL,
            "d.yaml:1:1: model.heads: missing, and has no default", 2);
    refused(MODEL "modle: {}\n", model, NULL, "d.yaml:2:1: modle: unknown section", 1);
    refused(MODEL, model, steps, "--set run.step: unknown key", 1);
    refused("run: {steps: 5}\n", model, NULL, "d.yaml: model.family: missing", 6);
    refused("", model, NULL, "d.yaml: the deck is empty", 1);
    refused("nvme: {paths: [a, ./a]}\n", nvme, NULL, "path 2 of the list", 1);
}

/* Rules join sections: without one of them there is no rule. */
static void test_rules(void)
{
    deck_destroy(read_part("batch: {global: 1, tokens: 99}\n", batch, NULL));
    refused(MODEL "batch: {global: 1, tokens: 99}\n", both, NULL,
            "d.yaml:2:28: batch.tokens: 99 tokens in a sequence, but model.context is 16", 1);
    refused("nvme: {block: 5000 B}\n", nvme, NULL, "nvme.block: 5000 B is not a multiple", 1);
    deck_destroy(read_part(MODEL "nvme: {block: 5000 B}\n", model, NULL));
    /* Whether nvme.depth is of use depends on the placement, rope_base on the family alone. */
    deck_destroy(read_part("nvme: {depth: 4}\n", nvme, NULL));
    struct deck *deck;
    static const char *const sets[] = {"model.family=gpt2", "model.rope_base=500.0", NULL};
    CHECK_INT(try_part(MODEL, model, sets, &deck), ZI_OK);
    CHECK(deck_said("--set model.rope_base has no effect with model.family: gpt2"));
    CHECK_INT(deck_message_lines(), 1);
    deck_destroy(deck);
}

/* Overrides alone. */
static void test_no_text(void)
{
    static const char *const sets[] = {"nvme.paths=a,b", NULL}, *const run[] = {"run", NULL};
    struct deck *deck = read_part(NULL, nvme, sets);
    CHECK(deck_list_is(&deck_settings(deck)->nvme.paths, (const char *[]){"a", "b", NULL}));
    deck_destroy(deck);
    refused(NULL, run, NULL, "d.yaml: run.steps: missing, and has no default", 1);
}

int main(void)
{
    test_others();
    test_asked();
    test_rules();
    test_no_text();
    return test_finish("deck_part_test");
}
