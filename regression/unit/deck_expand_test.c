/* SPDX-License-Identifier: Apache-2.0 */
/* Shell notation in paths: what is replaced, what is refused and where, how the echo shows both
 * forms and is read again; and lists of paths that name one folder twice in some spelling. */
#include "regression/unit/deck_fixture.h"

#include <pwd.h>
#include <sys/stat.h>

static char folder[] = "/tmp/deck-expand-XXXXXX";

/* The echo has `line` (or NULL: any), and reads as itself, wherever it is read. */
static void check_echo(struct deck *deck, const char *line)
{
    char *first = deck_echo_text(deck), *home = strdup(getenv("HOME"));
    if (line && !strstr(first, line)) printf("not in the echo: %s\n%s", line, first);
    CHECK(!line || strstr(first, line));
    setenv("HOME", "/elsewhere", 1);
    setenv("T_PLAIN", "other", 1);
    struct deck *again = deck_read_text(first, NULL);
    char *second = deck_echo_text(again);
    CHECK(strcmp(first, second) == 0);
    CHECK(strcmp(deck_settings(deck)->run.directory, deck_settings(again)->run.directory) == 0);
    CHECK(deck_list_same(&deck_settings(deck)->nvme.paths, &deck_settings(again)->nvme.paths));
    setenv("HOME", home, 1);
    setenv("T_PLAIN", "plain", 1);
    free(home);
    free(first);
    free(second);
    deck_destroy(again);
}

static void test_values(void)
{
    static const char *const cases[][2] = {
        {"~", "/home of/me"},
        {"~/out", "/home of/me/out"},
        {"$HOME/out", "/home of/me/out"},
        {"a/${T_PLAIN}b/$T_PLAIN", "a/plainb/plain"},
        {"$T_PLAIN$T_PLAIN", "plainplain"},
        {"a~", "a~"},
        {"./~x", "./~x"},
        {"a/~/b", "a/~/b"},
        {"$$T_PLAIN", "$T_PLAIN"},
        {"a$$", "a$"},
        {"$$$$$T_PLAIN", "$$plain"},
        {"${T_DOLLAR}", "a$T_PLAIN"}, /* what comes out is not expanded again */
        {"$T_TILDE", "./~root"},
        {"x$T_TILDE", "x~root"},
        {"$T_ODD", "a # \"b\\\n\tc,d"},
        {"a\\$T_PLAIN", "a\\plain"},
        {"\xc2\x85$T_PLAIN\xe2\x80\xa8", "\xc2\x85plain\xe2\x80\xa8"}, /* ends of lines in YAML */
        {"\xc2\x80$T_PLAIN\xc3\xa4", "\xc2\x80plain\xc3\xa4"},
        {"%u {x} `y` *", "%u {x} `y` *"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char set[128];
        const char *const one[] = {set, NULL};
        snprintf(set, sizeof set, "run.directory=%s", cases[i][0]);
        struct deck *deck = deck_read_text(DECK_SMALL, one);
        if (strcmp(deck_settings(deck)->run.directory, cases[i][1]) != 0)
            printf("%s gives %s\n", cases[i][0], deck_settings(deck)->run.directory);
        CHECK(strcmp(deck_settings(deck)->run.directory, cases[i][1]) == 0);
        check_echo(deck, NULL);
        deck_destroy(deck);
    }
    /* A text is no path. */
    static const char *const name[] = {"run.name=~/$T_PLAIN", NULL};
    struct deck *deck = deck_read_text(DECK_SMALL, name);
    CHECK(strcmp(deck_settings(deck)->run.name, "~/$T_PLAIN") == 0);
    check_echo(deck, "\n    name: \"~/$T_PLAIN\" ");
    deck_destroy(deck);
    /* The folder of a user. */
    const struct passwd *user = getpwuid(getuid());
    if (user && user->pw_name[0] && user->pw_dir[0]) {
        char set[1024], expected[1024];
        const char *const one[] = {set, NULL};
        snprintf(set, sizeof set, "run.directory=~%s/x", user->pw_name);
        snprintf(expected, sizeof expected, "%s/x", user->pw_dir);
        deck = deck_read_text(DECK_SMALL, one);
        CHECK(strcmp(deck_settings(deck)->run.directory, expected) == 0);
        deck_destroy(deck);
    }
}

/* All paths of a deck, and how an echo shows what was written. */
static void test_everywhere(void)
{
    static const char text[] = "run: {steps: 20, directory: $HOME/r}\n"
                               "model: {family: gpt2, layers: 2, hidden: 24,\n"
                               "    heads: 3, context: 16, vocabulary: 65}\n"
                               "data: {train: ~/t.h5, validation: \"${T_PLAIN}#\"}\n"
                               "batch: {global: 8}\n"
                               "optimizer: {learning_rate: 0.01}\n"
                               "nvme: {paths: [~/a, '$$b', \"$T_ODD2\", c]}\n";
    static const char *const comma[] = {"nvme.paths=~/a, ~/b,$T_LIST,c", NULL};
    static const char *const list[] = {"nvme.paths=[~/a, $T_PLAIN]", NULL};
    static const char *const lone[] = {"nvme.paths=$T_LIST", NULL};
    struct deck *deck = deck_read_text(text, NULL);
    const struct settings *s = deck_settings(deck);
    CHECK(deck_source_is(&s->data.train, "/home of/me/t.h5"));
    CHECK(deck_source_is(&s->data.validation, "plain#"));
    CHECK(deck_list_is(&s->nvme.paths, (const char *[]){"/home of/me/a", "$b", "x, y", "c", NULL}));
    check_echo(deck,
               "\n    directory: \"/home of/me/r\"              # deck line 1: \"$HOME/r\"\n");
    check_echo(deck, "\n    train: \"/home of/me/t.h5\"               # deck line 4: \"~/t.h5\"\n");
    check_echo(deck, "\n    validation: \"plain#\"                    # deck line 4: "
                     "\"${T_PLAIN}\\x23\"\n");
    check_echo(deck, "\n    paths: [\"/home of/me/a\", \"$$b\", \"x, y\", c] # deck line 7: "
                     "\"[~/a, $$b, $T_ODD2, c]\"\n");
    deck_destroy(deck);
    deck = deck_read_text(DECK_SMALL, comma);
    CHECK(deck_list_is(
        &deck_settings(deck)->nvme.paths,
        (const char *[]){"/home of/me/a", "/home of/me/b", "/disk1", "./~2", "c", NULL}));
    check_echo(deck, " # --set: \"~/a, ~/b,$T_LIST,c\"\n");
    deck_destroy(deck);
    deck = deck_read_text(DECK_SMALL, list);
    CHECK(deck_list_is(&deck_settings(deck)->nvme.paths,
                       (const char *[]){"/home of/me/a", "plain", NULL}));
    check_echo(deck,
               "\n    paths: [\"/home of/me/a\", plain]         # --set: \"[~/a, $T_PLAIN]\"\n");
    deck_destroy(deck);
    deck = deck_read_text(DECK_SMALL, lone);
    CHECK(deck_list_is(&deck_settings(deck)->nvme.paths, (const char *[]){"/disk1", "./~2", NULL}));
    check_echo(deck, NULL);
    deck_destroy(deck);
    /* Nothing to expand: nothing is shown. */
    deck = deck_read_text(DECK_SMALL "nvme: {paths: a$$b}\n", NULL);
    check_echo(deck, "\n    paths: \"a$$b\"                           # deck line 8\n");
    deck_destroy(deck);
}

static void refused(const char *text, const char *const *sets, const char *said)
{
    struct deck *deck;
    CHECK_INT(deck_try(text, sets, &deck), ZI_ERROR_USAGE);
    CHECK(deck_said(said));
    CHECK_INT(deck_message_lines(), 2);
}

static void test_refused(void)
{
    static const char *const cases[][2] = {
        {"run.directory=$T_NOT/x", "--set run.directory: found '$T_NOT/x' ($T_NOT is not set; $$ "
                                   "is a dollar), expected a path\n"},
        {"run.directory=${T_EMPTY}", "($T_EMPTY is empty; "},
        {"run.directory=a$", "(a $ that is neither $NAME nor ${NAME}; $$ is a dollar)"},
        {"run.directory=$1", "(a $ that is neither"},
        {"run.directory=${T_PLAIN", "(a $ that is neither"},
        {"run.directory=${T_PLAIN:-x}", "(a $ that is neither"},
        {"run.directory=$(id)", "(a $ that is neither"},
        {"run.directory=~no-such-user/x", "(no user no-such-user is known; ./~ begins a name"},
        {"data.train=$T_LATIN", "(a variable whose value is not UTF-8)"},
        {"nvme.paths=a,$T_NOT", "found 'a,$T_NOT' ($T_NOT is not set; "},
        {"nvme.paths=[a, $T_NOT]", "--set nvme.paths: path 2 of the list: found $T_NOT is not set"},
        {"nvme.paths=[a, $T_ODD]", "path 2 of the list: found a path with a line break"},
        {"nvme.paths=~,$HOME/", "the folder of path 1 of the list once more"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const one[] = {cases[i][0], NULL};
        refused(DECK_SMALL, one, cases[i][1]);
    }
    refused(DECK_SMALL "nvme:\n    paths:\n    - a\n    - ${T_NOT}/b\n", NULL,
            "d.yaml:11:7: nvme.paths: path 2 of the list: found $T_NOT is not set; ");
    refused(DECK_SMALL "nvme: {paths: $T_NOT/b}\n", NULL,
            "d.yaml:8:15: nvme.paths: found '$T_NOT/b' ($T_NOT is not set; ");
    char *home = strdup(getenv("HOME"));
    unsetenv("HOME");
    static const char *const tilde[] = {"run.directory=~/x", NULL};
    refused(DECK_SMALL, tilde, "found '~/x' ($HOME is not set; ");
    setenv("HOME", home, 1);
    free(home);
}

/* `two` is a list of two paths below the test's folder, which goes before each. */
static void check_twice(const char *left, const char *right, bool same)
{
    char set[512];
    const char *const one[] = {set, NULL};
    struct deck *deck;
    snprintf(set, sizeof set, "nvme.paths=[%s/%s, %s/%s]", folder, left, folder, right);
    enum zi_status status = deck_try(DECK_SMALL, one, &deck);
    if (status != (same ? ZI_ERROR_USAGE : ZI_OK)) printf("%s\n", set);
    CHECK_INT(status, same ? ZI_ERROR_USAGE : ZI_OK);
    if (same)
        CHECK(deck_said("path 2 of the list: found the folder of path 1 of the list once more"));
    deck_destroy(deck);
}

static void test_twice(void)
{
    /* a/b and c exist, l is a link to a, nothing else is there */
    check_twice("a", "a/.", true);
    check_twice("a", "a/b/..", true);
    check_twice("a/b", "./a/./b//", true);
    check_twice("a/b", "l/b", true);
    check_twice("l", "a", true);
    check_twice("l/b/../b", "a/b", true);
    check_twice("new", "a/../new", true);
    check_twice("new/x", "new/y/../x", true);
    check_twice("a/new", "l/new", true);
    check_twice("a/new/deep", "l/./new//deep/", true);
    check_twice("new/..", ".", true);
    check_twice("c", "a", false);
    check_twice("a", "a/b", false); /* one inside the other */
    check_twice("a/new", "a", false);
    check_twice("new", "new/x", false);
    check_twice("a/new", "c/new", false);
    check_twice("l/..", "a", false);
    /* ".." of a link is where it leads, not where it stands. */
    check_twice("c/out/..", "a", true);
    check_twice("c/out/..", "c", false);
    /* Relative to absolute. */
    char here[512], set[1024];
    const char *const one[] = {set, NULL};
    struct deck *deck;
    if (chdir(folder) != 0 || !getcwd(here, sizeof here)) exit(1);
    snprintf(set, sizeof set, "nvme.paths=a/new,%s/a/new", here);
    refused(DECK_SMALL, one, "(the folder of path 1 of the list once more)");
    snprintf(set, sizeof set, "nvme.paths=a,%s", here);
    CHECK_INT(deck_try(DECK_SMALL, one, &deck), ZI_OK);
    deck_destroy(deck);
}

static void make(const char *name, const char *link)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if ((link ? symlink(link, path) : mkdir(path, 0700)) != 0) {
        perror(path);
        exit(1);
    }
}

int main(void)
{
    char remove[256];
    if (!mkdtemp(folder)) return 1;
    make("a", NULL);
    make("a/b", NULL);
    make("c", NULL);
    make("l", "a");
    make("c/out", "../a/b");
    setenv("HOME", "/home of/me", 1);
    setenv("T_PLAIN", "plain", 1);
    setenv("T_DOLLAR", "a$T_PLAIN", 1);
    setenv("T_TILDE", "~root", 1);
    setenv("T_ODD", "a # \"b\\\n\tc,d", 1);
    setenv("T_ODD2", "x, y", 1);
    setenv("T_LIST", "/disk1, ~2", 1);
    setenv("T_EMPTY", "", 1);
    setenv("T_LATIN", "caf\xe9", 1);
    unsetenv("T_NOT");
    test_values();
    test_everywhere();
    test_refused();
    test_twice();
    snprintf(remove, sizeof remove, "rm -r %s", folder);
    if (system(remove) != 0) return 1;
    return test_finish("deck_expand_test");
}
