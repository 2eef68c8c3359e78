/* SPDX-License-Identifier: Apache-2.0 */
/* Echoes: every key with its value and origin; reading an echo gives the same settings, and echoing
 * that the same bytes, also with overrides, values resolved from auto, odd text and odd numbers. */
#include "regression/unit/deck_fixture.h"

#include "base/random.h"
#include "deck/table.h"
#include "deck/value.h"

static bool same_settings(struct deck *left, struct deck *right)
{
    int count;
    const struct deck_row *row = deck_rows(&count);
    for (int i = 0; i < count; i++) {
        if (deck_value_same(&row[i], deck_settings(left), deck_settings(right))) continue;
        printf("%s.%s differs\n", row[i].section, row[i].key);
        return false;
    }
    return true;
}

/* Echoes, reads that, echoes again; the second must be the first. */
static void check_round_trip(struct deck *deck)
{
    char *first = deck_echo_text(deck);
    struct deck *again = deck_read_text(first, NULL);
    char *second = deck_echo_text(again);
    CHECK(same_settings(deck, again));
    CHECK(strcmp(first, second) == 0);
    free(first);
    free(second);
    deck_destroy(again);
}

static const char *const sets[] = {"run.name=a # deck line 3",
                                   "checkpoint.every=1",
                                   "memory.host=1.5 GiB",
                                   "model.tied=yes",
                                   "batch.micro=auto",
                                   "data.validation=",
                                   NULL};

static void test_origins(void)
{
    struct deck *deck = deck_read_text(DECK_SMALL "zero:\n    stage: 2\n", sets);
    deck_settings(deck)->device.threads = 2; /* as the room device resolves its default auto */
    deck_settings(deck)->batch.micro = 4;    /* and an auto that was asked for */
    char *text = deck_echo_text(deck);
    static const char *const lines[] = {
        "# zinf used deck: every key, its value, and where the value came from\nrun:\n",
        "\n    name: \"a # deck line 3\"                 # --set\n",
        "\n    directory: runs/run                     # default\n",
        "\n    steps: 20 steps                         # deck line 2\n",
        "\n    heads: 3                                # deck line 4\n",
        "\n    micro: 4 sequences                      # --set: auto\n",
        "\n    validation: \"\"                          # --set\n",
        "\n    learning_rate: 0.01                     # deck line 7\n",
        "\n    epsilon: 1.0e-8                         # default\n",
        "\n\nzero:\n    stage: 2                                # deck line 9\n",
        "\n    host: 1536 MiB                          # --set\n",
        "\n    every: 1 step                           # --set\n",
        "\n    threads: 2                              # default: auto\n",
        "\n    isa: auto                               # default\n",
        "\n    tied: yes                               # --set\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        bool found = strstr(text, lines[i]);
        if (!found) printf("not in the echo: %s", lines[i]);
        CHECK(found);
    }
    int count, keys = 0;
    const struct deck_row *row = deck_rows(&count);
    for (int i = 0; i < count; i++) {
        char key[64];
        snprintf(key, sizeof key, "\n    %s: ", row[i].key);
        if (strstr(text, key)) keys++;
    }
    CHECK_INT(keys, count);
    free(text);
    check_round_trip(deck);
    deck_destroy(deck);
}

/* An override of an echo changes its own line and no other; and again. */
static void test_override(void)
{
    static const char *const stage[] = {"zero.stage=1", NULL};
    struct deck *deck = deck_read_text(DECK_SMALL, sets);
    char *first = deck_echo_text(deck);
    struct deck *changed = deck_read_text(first, stage);
    char *second = deck_echo_text(changed);
    const char *old_line = strstr(first, "    stage: ");
    const char *new_line = strstr(second, "    stage: ");
    size_t before = (size_t)(old_line - first);
    CHECK(before == (size_t)(new_line - second) && memcmp(first, second, before) == 0);
    CHECK(strncmp(new_line, "    stage: 1                                # --set\n", 52) == 0);
    CHECK(strcmp(strchr(old_line, '\n'), strchr(new_line, '\n')) == 0);
    check_round_trip(changed);
    deck_destroy(deck);
    /* A rule that is broken by the echo itself is shown at its line. */
    static const char *const context[] = {"model.context=8", "batch.tokens=12", NULL};
    CHECK_INT(deck_try(first, context, &deck), ZI_ERROR_USAGE);
    CHECK(deck_said("--set batch.tokens: 12 tokens"));
    free(first);
    free(second);
    deck_destroy(changed);
}

/* Replaces the first `from` by `to`, which has the same length. */
static void edit(char *text, const char *from, const char *to)
{
    char *at = strstr(text, from);
    CHECK(at && strlen(from) == strlen(to));
    if (at) memcpy(at, to, strlen(to));
}

static void test_edited(void)
{
    struct deck *deck = deck_read_text(DECK_SMALL, sets);
    char *text = deck_echo_text(deck);
    deck_destroy(deck);
    edit(text, "stage: 3 ", "stage: 1 ");         /* says default, but is not any more */
    edit(text, "keep: 2      ", "keep: 3 # hi!"); /* the last comment counts, and is a lie too */
    edit(text, "# deck line 2\n", "# deck line x\n");
    deck = deck_read_text(text, NULL);
    char *again = deck_echo_text(deck);
    CHECK(strstr(again, "    stage: 1                                # deck line "));
    CHECK(strstr(again, "    keep: 3                                 # deck line "));
    CHECK(strstr(again, "    steps: 20 steps                         # deck line 5\n"));
    check_round_trip(deck);
    free(again);
    deck_destroy(deck);
    /* Without the mark it is a deck like any other. */
    text[2] = 'Z';
    deck = deck_read_text(text, NULL);
    again = deck_echo_text(deck);
    CHECK(!strstr(again, "# default") && !strstr(again, "# --set"));
    free(again);
    free(text);
    deck_destroy(deck);
}

static void test_odd_text(void)
{
    static const char *const texts[] = {"plain",
                                        "with space",
                                        " leading",
                                        "trailing ",
                                        "yes",
                                        "No",
                                        "null",
                                        "~",
                                        "auto",
                                        "never",
                                        "12",
                                        "1.5",
                                        "1e5",
                                        ".5",
                                        "-",
                                        "- a",
                                        "a: b",
                                        "a #b",
                                        "#",
                                        "{a}",
                                        "[a]",
                                        "&a",
                                        "*a",
                                        "!a",
                                        "|",
                                        ">",
                                        "%a",
                                        "@a",
                                        "`a",
                                        "\"",
                                        "'",
                                        "\\",
                                        "a\\nb",
                                        "line\nbreak",
                                        "tab\there",
                                        "\r",
                                        "\x01\x1f\x7f",
                                        "\xc2\x85 \xc2\xa0 \xe2\x80\xa8 \xef\xbb\xbf",
                                        "Gr\xc3\xbc\xc3\x9f",
                                        "\xf0\x9f\x98\x80",
                                        "../up",
                                        "./here",
                                        "/absolute/x",
                                        "~/home",
                                        ".hidden",
                                        "--set",
                                        "default",
                                        "2026-11-25",
                                        "0x1f",
                                        "a,b",
                                        "?",
                                        ":",
                                        "<<",
                                        "=",
                                        ".",
                                        "..",
                                        "./",
                                        "/",
                                        "y",
                                        "ON",
                                        "NaN",
                                        ".inf",
                                        "x # deck line 7",
                                        "x  # default",
                                        "\"# --set\""};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char set[128];
        const char *const one[] = {set, NULL};
        snprintf(set, sizeof set, "run.name=%s", texts[i]);
        struct deck *deck = deck_read_text(DECK_SMALL, one);
        CHECK(strcmp(deck_settings(deck)->run.name, texts[i]) == 0);
        check_round_trip(deck);
        deck_destroy(deck);
    }
}

/* The echo of a deck, which is freed, has the line. */
static void check_paths_echo(struct deck *deck, const char *line)
{
    char *echo = deck_echo_text(deck);
    if (!strstr(echo, line)) printf("not in the echo: %s\n%s\n", line, strstr(echo, "nvme:"));
    CHECK(strstr(echo, line));
    free(echo);
    check_round_trip(deck);
    deck_destroy(deck);
}

/* `list` as --set and as a line of a deck; the echo has it as `line`. */
static void check_paths(const char *list, const char *line)
{
    char set[128], whole[512];
    const char *const one[] = {set, NULL};
    snprintf(set, sizeof set, "nvme.paths=%s", list);
    snprintf(whole, sizeof whole, "%snvme:\n  paths: %s\n", DECK_SMALL, list);
    check_paths_echo(deck_read_text(DECK_SMALL, one), line);
    check_paths_echo(deck_read_text(whole, NULL), line);
}

/* Lists of paths. */
static void test_paths(void)
{
    check_paths("[scratch/, /mnt/second]", "\n    paths: [scratch/, /mnt/second] ");
    check_paths("/a,b", "\n    paths: [/a, b] ");
    check_paths("[one]", "\n    paths: one ");
    check_paths("['a b', \"c,d\", \"#\", ']']", "\n    paths: [\"a b\", \"c,d\", \"#\", \"]\"] ");
    /* One path is a list where text would be read as something else. */
    check_paths("['a,b']", "\n    paths: [\"a,b\"] ");
    check_paths("[' a']", "\n    paths: [\" a\"] ");
    check_paths("['a ']", "\n    paths: [\"a \"] ");
    check_paths("['[a']", "\n    paths: \"[a\" ");
    check_paths("['./~']", "\n    paths: \"./~\" ");
    check_paths("['a # deck line 3', x]", "\n    paths: [\"a # deck line 3\", x] ");
}

static void test_odd_numbers(void)
{
    static const char *const odd[] = {
        "0",     "1e-300", "4.9e-324", "0.1",  "0.30000000000000004",
        "999.9", "1e2",    "12.5",     "1e-5", "0.00012345678901234567",
        "1000"};
    char set[128];
    const char *const one[] = {set, NULL};
    for (size_t i = 0; i < sizeof odd / sizeof *odd + 300; i++) {
        if (i < sizeof odd / sizeof *odd)
            snprintf(set, sizeof set, "optimizer.learning_rate=%s", odd[i]);
        else {
            /* Any double of the range: random bits below those of 1000. */
            uint64_t bits = zi_random_bits(1, 2, i) % 0x408f400000000000u;
            double value;
            memcpy(&value, &bits, sizeof value);
            snprintf(set, sizeof set, "optimizer.learning_rate=%.17g", value);
        }
        struct deck *deck = deck_read_text(DECK_SMALL, one);
        check_round_trip(deck);
        deck_destroy(deck);
    }
    for (int i = 0; i < 300; i++) {
        snprintf(set, sizeof set, "memory.host=%llu B",
                 (unsigned long long)(1 + (zi_random_bits(1, 3, (uint64_t)i) >> (5 + i % 58))));
        struct deck *deck = deck_read_text(DECK_SMALL, one);
        check_round_trip(deck);
        deck_destroy(deck);
    }
}

/* Every choice of every row, and auto and never where they are words. */
static void test_choices(void)
{
    int count;
    const struct deck_row *row = deck_rows(&count);
    char set[128];
    const char *const one[] = {set, "data.validation=v.h5", NULL};
    for (int i = 0; i < count; i++) {
        const char *words[8] = {NULL};
        int n = 0;
        for (int c = 0; row[i].choices && row[i].choices[c].word; c++)
            words[n++] = row[i].choices[c].word;
        if (row[i].may_be_auto) words[n++] = "auto";
        if (row[i].may_be_never) words[n++] = "never";
        if (row[i].type == DECK_BOOLEAN || row[i].type == DECK_TRISTATE) {
            words[n++] = "yes";
            words[n++] = "no";
        }
        for (int w = 0; w < n; w++) {
            snprintf(set, sizeof set, "%s.%s=%s", row[i].section, row[i].key, words[w]);
            struct deck *deck = deck_read_text(DECK_SMALL, one);
            char *text = deck_echo_text(deck), line[128];
            snprintf(line, sizeof line, "\n    %s: %s ", row[i].key, words[w]);
            /* An auto that needs nothing but the deck has been resolved: a tenth of 20 steps. */
            if (strcmp(set, "data.validation_every=auto") == 0)
                snprintf(line, sizeof line, "\n    validation_every: 2 steps ");
            CHECK(strstr(text, line));
            free(text);
            check_round_trip(deck);
            deck_destroy(deck);
        }
    }
}

int main(void)
{
    test_origins();
    test_override();
    test_edited();
    test_odd_text();
    test_paths();
    test_odd_numbers();
    test_choices();
    return test_finish("deck_echo_test");
}
