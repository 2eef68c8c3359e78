/* SPDX-License-Identifier: Apache-2.0 */
/* Sources of data: every form in which a deck and --set give them, what is refused and where, and
 * that an echo of them reads as the same. */
#include "regression/unit/deck_fixture.h"

#include "deck/table.h"

/* What a test adds begins in line 5. */
#define DECK_HEAD                                                                                  \
    "run: {steps: 20}\n"                                                                           \
    "model: {family: gpt2, layers: 2, hidden: 24, heads: 3, context: 16, vocabulary: 65}\n"        \
    "batch: {global: 8}\n"                                                                         \
    "optimizer: {learning_rate: 0.01}\n"

/* Whether sources are these, with paths that end in NULL. */
static bool sources_are(const struct deck_sources *sources, const char *const *paths,
                        const double *weights)
{
    int count = 0;
    while (paths[count] && count < sources->count &&
           strcmp(paths[count], sources->items[count].path) == 0 &&
           sources->items[count].weight == weights[count])
        count++;
    bool same = !paths[count] && count == sources->count;
    for (int i = 0; i < sources->count && !same; i++)
        printf("source %d: %s, %g\n", i, sources->items[i].path, sources->items[i].weight);
    return same;
}

struct form {
    /* As a value in a deck; as it is written; what it is. */
    const char *given, *written, *paths[4];
    double weights[4];
};

static const struct form forms[] = {
    {"t.h5", "t.h5", {"t.h5"}, {0}},
    {"data/*.bin", "\"data/*.bin\"", {"data/*.bin"}, {0}},
    {"a,b", "\"a,b\"", {"a,b"}, {0}},
    {"[one]", "one", {"one"}, {0}},
    {"['[a']", "\"[a\"", {"[a"}, {0}},
    {"[a, 'b c', 12]", "[a, \"b c\", \"12\"]", {"a", "b c", "12"}, {0}},
    {"[{path: a, weight: 1}]", "[{path: a, weight: 1.0}]", {"a"}, {1}},
    {"[{weight: 0.7, path: 'a, b'}, {path: \"#\", weight: 3e2}]",
     "[{path: \"a, b\", weight: 0.7}, {path: \"#\", weight: 300.0}]",
     {"a, b", "#"},
     {0.7, 300}},
    {"[{path: '}', weight: 1e-9}, {path: a, weight: '1_000'}, {path: a, weight: .5}]",
     "[{path: \"}\", weight: 1.0e-9}, {path: a, weight: 1000.0}, {path: a, weight: 0.5}]",
     {"}", "a", "a"},
     {1e-9, 1000, 0.5}},
};

/* A deck has the sources, writes them so, and an echo of it is read as the same. */
static void check_deck(struct deck *deck, const struct form *form)
{
    char *first = deck_echo_text(deck), line[256];
    struct deck *again = deck_read_text(first, NULL);
    char *second = deck_echo_text(again);
    snprintf(line, sizeof line, "\n    train: %s ", form->written);
    CHECK(sources_are(&deck_settings(deck)->data.train, form->paths, form->weights));
    CHECK(deck_sources_same(&deck_settings(deck)->data.train, &deck_settings(again)->data.train));
    bool written = strstr(first, line);
    if (!written) printf("not in the echo:%s\n", line);
    CHECK(written);
    CHECK(strcmp(first, second) == 0);
    free(first);
    free(second);
    deck_destroy(again);
    deck_destroy(deck);
}

static void test_forms(void)
{
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char text[1024], set[256];
        const char *const sets[] = {set, NULL};
        snprintf(text, sizeof text, "%sdata: {train: %s}\n", DECK_HEAD, forms[i].given);
        snprintf(set, sizeof set, "data.train=%s", forms[i].given);
        /* A text without quotes that has a comma ends in flow style. */
        if (strcmp(forms[i].given, "a,b") == 0)
            snprintf(text, sizeof text, "%sdata:\n    train: a,b\n", DECK_HEAD);
        check_deck(deck_read_text(text, NULL), &forms[i]);
        check_deck(deck_read_text(DECK_SMALL, sets), &forms[i]);
    }
    struct deck *deck = deck_read_text(DECK_HEAD "data:\n    train:\n    - path: x\n"
                                                 "      weight: 2\n    - &y {path: y, weight: 1}\n"
                                                 "    - <<: *y\n      path: z\n",
                                       NULL);
    CHECK(sources_are(&deck_settings(deck)->data.train, (const char *[]){"x", "y", "z", NULL},
                      (double[]){2, 1, 1}));
    CHECK(deck_sources_weighted(&deck_settings(deck)->data.train));
    deck_destroy(deck);
}

static void test_none(void)
{
    static const char *const sets[] = {"data.validation=", NULL};
    struct deck *deck = deck_read_text(DECK_SMALL, NULL);
    CHECK_INT(deck_settings(deck)->data.validation.count, 0);
    CHECK(!deck_sources_weighted(&deck_settings(deck)->data.validation));
    deck_destroy(deck);
    deck = deck_read_text(DECK_HEAD "data: {train: t, validation: [v, w]}\n", NULL);
    CHECK_INT(deck_settings(deck)->data.validation.count, 2);
    CHECK_INT(deck_settings(deck)->data.validation_every, 2);
    deck_destroy(deck);
    deck = deck_read_text(DECK_HEAD "data: {train: t, validation: [v, w]}\n", sets);
    CHECK_INT(deck_settings(deck)->data.validation.count, 0);
    CHECK_INT(deck_settings(deck)->data.validation_every, 0);
    deck_destroy(deck);
}

static void test_errors(void)
{
    static const struct {
        const char *value, *said;
    } cases[] = {
        {"''", "d.yaml:5:15: data.train: found no value, expected a file, a folder, or a pattern "},
        {"~", "d.yaml:5:15: data.train: found '~' (nothing), expected a file, "},
        {"{path: a, weight: 1}", "d.yaml:5:15: data.train: found a mapping, expected a file, "},
        {"[]", "d.yaml:5:15: data.train: found an empty list, expected at least one path\n"},
        {"[a, '']", "d.yaml:5:19: data.train: item 2 of the list: found an empty path, expected a "
                    "path, or a map of path and weight\n"},
        {"[a, ~]", "d.yaml:5:19: data.train: item 2 of the list: found nothing, "},
        {"[a, [b]]", "d.yaml:5:19: data.train: item 2 of the list: found a list, "},
        {"[\"a\\nb\"]", "d.yaml:5:16: data.train: item 1 of the list: found a path with a line "},
        {"[\"a\\0b\"]", "item 1 of the list: found text with a zero character, "},
        {"[{path: a, wieght: 1}]", "d.yaml:5:26: data.train: item 1 of the list: found the key "
                                   "'wieght', expected weight\n"},
        {"[{path: a, weight: 1, seed: 3}]", "found the key 'seed', expected path and weight\n"},
        {"[{path: a}]", "d.yaml:5:16: data.train: item 1 of the list: found a map without weight, "
                        "expected both, as in {path: data/a.h5, weight: 0.3}\n"},
        {"[{weight: 1}]", "found a map without path, expected both"},
        {"[{path: [a], weight: 1}]", "d.yaml:5:23: data.train: item 1 of the list: found a list, "},
        {"[{path: a, weight: 0}]", "d.yaml:5:34: data.train: item 1 of the list: found '0' (too "
                                   "small), expected a weight from 1e-9 to 1e9, as in 0.3\n"},
        {"[{path: a, weight: -1}]", "found '-1' (too small), expected a weight "},
        {"[{path: a, weight: 1e10}]", "found '1e10' (too large), expected a weight "},
        {"[{path: a, weight: 70 %}]", "found '70 %' (no unit works here), expected a weight "},
        {"[{path: a, weight: nan}]", "found 'nan' (no number), expected a weight "},
        {"[{path: a, weight: {b: c}}]", "found a mapping, expected a weight "},
        {"[a, {path: b, weight: 1}]", "d.yaml:5:19: data.train: item 2 of the list: found a weight "
                                      "after an item without, expected a weight for each item or "
                                      "for none\n"},
        {"[{path: b, weight: 1}, c]", "d.yaml:5:38: data.train: item 2 of the list: found no "
                                      "weight after an item with one, "},
        {"[$T_NOT/a]", "item 1 of the list: found $T_NOT is not set; "},
        {"[{path: $T_NOT, weight: 1}]", "item 1 of the list: found $T_NOT is not set; "},
        {"t, validation: [{path: v, weight: 1}]", "d.yaml:5:30: data.validation: weights are for "
                                                  "data.train: "},
        {"t, validation: []", "found an empty list, expected at least one path, or \"\" for none"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1024];
        struct deck *deck;
        snprintf(text, sizeof text, "%sdata: {train: %s}\n", DECK_HEAD, cases[i].value);
        CHECK_INT(deck_try(text, NULL, &deck), ZI_ERROR_USAGE);
        CHECK(deck_said(cases[i].said));
        CHECK_INT(deck_message_lines(), 2);
    }
    static const char *const sets[][2] = {
        {"data.train=", "--set data.train: found no value, expected a file, "},
        {"data.train=[a", "--set data.train: a value that begins with [ is a list, as in [a, \"b "},
        {"data.train=[ab]*.bin", "--set data.train: a value that begins with [ is a list, "},
        {"data.train=[{path: a, weight: x}]", "--set data.train: item 1 of the list: found 'x' (no "
                                              "number), expected a weight "},
    };
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        struct deck *deck;
        CHECK_INT(deck_try(DECK_SMALL, (const char *[]){sets[i][0], NULL}, &deck), ZI_ERROR_USAGE);
        CHECK(deck_said(sets[i][1]));
    }
}

static void test_most(void)
{
    char *text = calloc(1, 16384);
    struct deck *deck;
    if (!text) exit(1);
    for (int count = DECK_SOURCES_MAX; count <= DECK_SOURCES_MAX + 1; count++) {
        strcpy(text, DECK_HEAD "data:\n  train:\n");
        for (int i = 0; i < count; i++)
            strcat(text, "  - a\n");
        enum zi_status expected = count > DECK_SOURCES_MAX ? ZI_ERROR_USAGE : ZI_OK;
        CHECK_INT(deck_try(text, NULL, &deck), expected);
        if (expected == ZI_OK)
            CHECK_INT(deck_settings(deck)->data.train.count, DECK_SOURCES_MAX);
        else
            CHECK(deck_said("d.yaml:263:5: data.train: item 257 of the list: found more than 256 "
                            "items, expected folders or patterns"));
        if (expected == ZI_OK) deck_destroy(deck);
    }
    free(text);
}

/* Shell notation is replaced in each path, and told beside the value. */
static void test_expansion(void)
{
    CHECK_INT(setenv("T_HOME", "/corpora", 1), 0);
    CHECK_INT(setenv("HOME", "/mine/of", 1), 0);
    static const char *const sets[] = {"data.train=[{path: ~/a, weight: 1}]", NULL};
    struct deck *deck =
        deck_read_text(DECK_HEAD "data: {train: [{path: $T_HOME/a, weight: 2},\n"
                                 "  {path: ~/b, weight: 1}], validation: [$T_HOME/v, $$]}\n",
                       NULL);
    char *echo = deck_echo_text(deck);
    CHECK(sources_are(&deck_settings(deck)->data.train,
                      (const char *[]){"/corpora/a", "/mine/of/b", NULL}, (double[]){2, 1}));
    CHECK(sources_are(&deck_settings(deck)->data.validation,
                      (const char *[]){"/corpora/v", "$", NULL}, (double[]){0, 0}));
    CHECK(strstr(echo, "\n    train: [{path: /corpora/a, weight: 2.0}, {path: /mine/of/b, weight: "
                       "1.0}] # deck line 5: \"[{path: $T_HOME/a, weight: 2}, {path: ~/b, weight: "
                       "1}]\"\n"));
    CHECK(strstr(echo, "\n    validation: [/corpora/v, \"$$\"]          # deck line 6: "
                       "\"[$T_HOME/v, $$]\"\n"));
    struct deck *again = deck_read_text(echo, NULL);
    char *second = deck_echo_text(again);
    CHECK(strcmp(echo, second) == 0);
    free(second);
    free(echo);
    deck_destroy(again);
    deck_destroy(deck);
    deck = deck_read_text(DECK_SMALL, sets);
    echo = deck_echo_text(deck);
    CHECK(strstr(echo, "\n    train: [{path: /mine/of/a, weight: 1.0}] # --set: \"[{path: ~/a, "
                       "weight: 1}]\"\n"));
    free(echo);
    deck_destroy(deck);
}

int main(void)
{
    test_forms();
    test_none();
    test_errors();
    test_most();
    test_expansion();
    return test_finish("deck_sources_test");
}
