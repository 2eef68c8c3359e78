/* SPDX-License-Identifier: Apache-2.0 */
/* The documents that come from the table of keys: the committed ones are those of the table now,
 * the reference deck is a deck whose keys hold their defaults, help finds what it is asked for.
 *
 * Run as `deck_documents_test write` in the top of the source tree, it writes them anew. */
#include "regression/unit/deck_fixture.h"

#include "deck/table.h"
#include "deck/value.h"

static const struct document {
    const char *path;
    void (*write)(FILE *out);
} documents[] = {
    {"inputs/reference.yaml", deck_write_reference},
    {"doc/deck.md", deck_write_markdown},
    {"inputs/zinf.schema.json", deck_write_schema},
};

static char *document_text(void (*write)(FILE *out))
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) exit(1);
    write(out);
    if (fclose(out) != 0) exit(1);
    return text;
}

static char *file_text(const char *path)
{
    const char *top = getenv("top_srcdir");
    char whole[1024];
    snprintf(whole, sizeof whole, "%s/%s", top ? top : ".", path);
    char *text = calloc(1, 1 << 20);
    FILE *file = fopen(whole, "r");
    if (!file || !text) {
        printf("cannot open %s; run this in the top of the source tree\n", whole);
        exit(1);
    }
    if (!fread(text, 1, (1 << 20) - 1, file)) text[0] = 0;
    fclose(file);
    return text;
}

static int documents_write(void)
{
    for (int i = 0; i < 3; i++) {
        FILE *file = fopen(documents[i].path, "w");
        if (!file) return 1;
        documents[i].write(file);
        if (fclose(file) != 0) return 1;
    }
    return 0;
}

static void test_up_to_date(void)
{
    for (int i = 0; i < 3; i++) {
        char *made = document_text(documents[i].write), *committed = file_text(documents[i].path);
        if (strcmp(made, committed) != 0)
            printf("%s is not what the table of keys says: run deck_documents_test write\n",
                   documents[i].path);
        CHECK(strcmp(made, committed) == 0);
        CHECK(!strstr(made, "\t") && !strstr(made, " \n"));
        free(made);
        free(committed);
    }
}

/* The reference deck names every key with what it has without a deck. */
static void test_reference(void)
{
    char *text = document_text(deck_write_reference);
    struct deck *reference, *small;
    int count;
    const struct deck_row *row = deck_rows(&count);
    CHECK_INT(deck_try(text, NULL, &reference), ZI_OK);
    CHECK_INT(deck_try(DECK_SMALL, NULL, &small), ZI_OK);
    if (!reference || !small) exit(1);
    for (int i = 0; i < count; i++) {
        bool same = deck_value_same(&row[i], deck_settings(reference), deck_settings(small));
        if (row[i].fallback && !same) printf("%s.%s\n", row[i].section, row[i].key);
        CHECK(!row[i].fallback || same);
    }
    /* And every key does stand in it: nothing comes from a default but what this deck cannot use,
     * which stands as a comment; so nothing is to be said about it. */
    char *echo, line[128];
    CHECK_INT(deck_echo(reference, &echo), ZI_OK);
    const char *at = echo, *key = text;
    for (int i = 0; i < count; i++) {
        snprintf(line, sizeof line, "\n    # %s: ", row[i].key);
        const char *aside = row[i].uses ? strstr(key, line) : NULL;
        snprintf(line, sizeof line, "\n    %s: ", row[i].key);
        const char *stated = strstr(key, line);
        bool idle = aside && (!stated || aside < stated);
        CHECK(idle || stated);
        key = idle ? aside + 1 : stated ? stated + 1 : key;
        at = at ? strstr(at, line) : NULL;
        const char *comment = at ? strstr(at, "# ") : NULL;
        CHECK(comment && idle == (strncmp(comment, "# default", 9) == 0));
        at = comment;
    }
    free(echo);
    capture_begin(&deck_messages, stderr);
    deck_warn(reference);
    CHECK(capture_end(&deck_messages)[0] == 0);
    free(text);
    deck_destroy(reference);
    deck_destroy(small);
}

static char *described(const char *what, enum zi_status expected)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) exit(1);
    capture_begin(&deck_messages, stderr);
    enum zi_status status = deck_describe(what, out);
    capture_end(&deck_messages);
    CHECK_INT(status, expected);
    fclose(out);
    return text;
}

static void test_describe(void)
{
    int count;
    const struct deck_row *row = deck_rows(&count);
    char *all = described(NULL, ZI_OK), name[128];
    for (int i = 0; i < count; i++) {
        CHECK(strstr(all, row[i].help) && strstr(all, row[i].key));
        snprintf(name, sizeof name, "%s.%s", row[i].section, row[i].key);
        char *one = described(name, ZI_OK), *section = described(row[i].section, ZI_OK);
        CHECK(strncmp(one, name, strlen(name)) == 0 && strstr(one, "    default: "));
        CHECK(strstr(section, one));
        free(one);
        free(section);
    }
    free(all);
    all = described("optimizer.decay", ZI_OK);
    CHECK(strstr(all, "\n    only with: optimizer.schedule: wsd\n"));
    free(all);
    all = document_text(deck_write_markdown);
    CHECK(strstr(all, "| `decay` |") && strstr(all, "| optimizer.schedule: wsd | yes |\n"));
    free(all);
    all = described("optimizer.warmup", ZI_OK);
    CHECK(strcmp(all, "optimizer.warmup\n"
                      "    steps of linear rise at the start\n"
                      "    value:   a whole number of steps of at least 0\n"
                      "    default: 0 steps\n"
                      "    when a run is continued: may be changed\n") == 0);
    free(all);
    free(described("optimiser", ZI_ERROR_USAGE));
    CHECK(deck_said("no section 'optimiser'; nearest is optimizer;"));
    free(described("optimizer.warm", ZI_ERROR_USAGE));
    CHECK(deck_said("no key 'warm' in section optimizer; nearest is warmup;"));
    free(described("", ZI_ERROR_USAGE));
    free(described("optimizer.", ZI_ERROR_USAGE));
    free(described(".", ZI_ERROR_USAGE));
}

/* Brackets of the schema close in order, quotes close in their line: a check of form without a JSON
 * library. What it accepts was compared with the parser by a validator when it was written. */
static void test_schema(void)
{
    char *text = document_text(deck_write_schema), stack[64];
    int depth = 0, count, keys = 0;
    const struct deck_row *row = deck_rows(&count);
    bool quoted = false, right = true;
    for (const char *c = text; *c && right; c++) {
        if (quoted && *c == '\\')
            c++;
        else if (*c == '"')
            quoted = !quoted;
        else if (quoted)
            right = *c != '\n';
        else if (*c == '{' || *c == '[') {
            right = depth < 64;
            if (right) stack[depth++] = *c;
        } else if (*c == '}' || *c == ']') {
            right = depth && stack[--depth] == (*c == '}' ? '{' : '[');
        }
    }
    CHECK(right && !quoted && depth == 0);
    for (int i = 0; i < count; i++)
        if (strstr(text, row[i].help)) keys++;
    CHECK_INT(keys, count);
    CHECK(strstr(text, "\"required\": [\"family\", \"layers\", \"hidden\", \"heads\", \"context\", "
                       "\"vocabulary\"]"));
    free(text);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "write") == 0) return documents_write();
    test_up_to_date();
    test_reference();
    test_describe();
    test_schema();
    return test_finish("deck_documents_test");
}
