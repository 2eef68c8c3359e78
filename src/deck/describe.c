/* SPDX-License-Identifier: Apache-2.0 */
/* Documents for people, made from the rows: help on the terminal, the reference deck, the manual
 * page of decks.
 *
 * None of them is written by hand, so none can say something else than the parser does; a test
 * makes the committed ones anew and compares. In the reference deck every key stands with its
 * default; a required key, which has none, stands with the example of its row, so that the whole
 * is a deck that can be read. A key that this deck cannot use stands there as a comment. */
#include "deck/deck.h"

#include "base/log.h"
#include "deck/private.h"
#include "deck/value.h"

#include <stdlib.h>
#include <string.h>

enum { WIDTH = 96 };

/* Settings with defaults, and examples where there is none; ends the process without memory. */
static void settings_example(struct settings *settings)
{
    int rows;
    const struct deck_row *row = deck_rows(&rows);
    char problem[DECK_MESSAGE];
    ZI_REQUIRE(deck_settings_fill(settings));
    for (int i = 0; i < rows; i++) {
        if (row[i].fallback) continue;
        ZI_REQUIRE(deck_value_read(&row[i], row[i].example, true, settings, problem));
    }
}

/* Words of `text`, each line starting with `margin` and at most WIDTH wide. */
static void wrapped_write(const char *margin, const char *text, FILE *out)
{
    size_t column = strlen(margin);
    bool first = true;
    fputs(margin, out);
    while (*(text += strspn(text, " "))) {
        size_t length = strcspn(text, " ");
        if (!first && column + 1 + length > WIDTH) {
            fprintf(out, "\n%s", margin);
            column = strlen(margin);
            first = true;
        }
        fprintf(out, "%s%.*s", first ? "" : " ", (int)length, text);
        column += length + !first;
        first = false;
        text += length;
    }
    fputc('\n', out);
}

/* What `write` writes of a row, as text that the caller frees. */
static char *text_of(const struct deck_row *row, void (*write)(const struct deck_row *, FILE *))
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    ZI_REQUIRE(out);
    write(row, out);
    ZI_REQUIRE(fclose(out) == 0);
    return text;
}

static void section_rows(const char *section, void (*visit)(const struct deck_row *, FILE *),
                         FILE *out)
{
    int rows;
    const struct deck_row *row = deck_rows(&rows);
    for (int i = 0; i < rows; i++)
        if (strcmp(row[i].section, section) == 0) visit(&row[i], out);
}

static void describe_default(const struct deck_row *row, FILE *out)
{
    struct settings settings;
    if (!row->fallback) {
        fprintf(out, "none: the key is required, for example %s", row->example);
        return;
    }
    ZI_REQUIRE(deck_settings_fill(&settings));
    deck_value_write(row, &settings, out);
    deck_settings_free(&settings);
}

static void describe_key(const struct deck_row *row, FILE *out)
{
    char *expected = text_of(row, deck_value_expected), *uses = text_of(row, deck_uses_write),
         line[256];
    fprintf(out, "%s.%s\n", row->section, row->key);
    wrapped_write("    ", row->help, out);
    fputs("    value:   ", out);
    fprintf(out, "%s\n    default: ", expected);
    describe_default(row, out);
    fputc('\n', out);
    snprintf(line, sizeof line, "only with: %s", uses);
    if (*uses) wrapped_write("    ", line, out);
    fprintf(out, "    when a run is continued: %s\n",
            row->changeable ? "may be changed" : "must stay as it was");
    free(expected);
    free(uses);
}

static void describe_line(const struct deck_row *row, FILE *out)
{
    fprintf(out, "    %-20s %s", row->key, row->fallback ? "" : "(required) ");
    fprintf(out, "%s\n", row->help);
}

static void describe_all(FILE *out)
{
    const char *names[DECK_NAMES_MAX];
    int count = deck_section_names(names);
    fputs("A deck is a YAML file with these sections and keys.\n", out);
    for (int i = 0; i < count; i++) {
        fprintf(out, "\n%s: %s\n", names[i], deck_section_help(names[i]));
        section_rows(names[i], describe_line, out);
    }
    fputs("\n`zinf help deck SECTION.KEY` says which values a key takes and its default.\n", out);
}

enum zi_status deck_describe(const char *what, FILE *out)
{
    const char *names[DECK_NAMES_MAX], *nearest;
    char section[64], shown[64];
    if (!what) {
        describe_all(out);
        return ZI_OK;
    }
    size_t length = strcspn(what, ".");
    snprintf(section, sizeof section, "%.*s", (int)length, what);
    if (!deck_section_help(section)) {
        nearest = deck_nearest(section, names, deck_section_names(names));
        return zi_fail(ZI_ERROR_USAGE, "deck", "no section %s%s%s; `zinf help deck` lists them",
                       deck_value_quote(section, shown), nearest ? "; nearest is " : "",
                       nearest ? nearest : "");
    }
    if (!what[length]) {
        fprintf(out, "%s: %s\n\n", section, deck_section_help(section));
        section_rows(section, describe_key, out);
        return ZI_OK;
    }
    const struct deck_row *row = deck_find(section, what + length + 1);
    if (!row) {
        nearest = deck_nearest(what + length + 1, names, deck_key_names(section, names));
        return zi_fail(ZI_ERROR_USAGE, "deck",
                       "no key %s in section %s%s%s; `zinf help deck %s` lists them",
                       deck_value_quote(what + length + 1, shown), section,
                       nearest ? "; nearest is " : "", nearest ? nearest : "", section);
    }
    describe_key(row, out);
    return ZI_OK;
}

static void reference_key(const struct deck_row *row, FILE *out)
{
    struct settings settings;
    char *expected = text_of(row, deck_value_expected), *uses = text_of(row, deck_uses_write),
         line[256];
    settings_example(&settings);
    bool idle = deck_row_is_idle(row, &settings);
    wrapped_write("    # ", row->help, out);
    fprintf(out, "    # %s%s\n", row->fallback ? "" : "required; ", expected);
    snprintf(line, sizeof line, "only with %s", uses);
    if (*uses) wrapped_write("    # ", line, out);
    fprintf(out, "    %s%s: ", idle ? "# " : "", row->key);
    deck_value_write(row, &settings, out);
    fputc('\n', out);
    deck_settings_free(&settings);
    free(expected);
    free(uses);
}

void deck_write_reference(FILE *out)
{
    const char *names[DECK_NAMES_MAX];
    int count = deck_section_names(names);
    fputs(
        "# The reference deck: every section and key with its default. Required keys, which have\n"
        "# none, stand with an example. Keys that this deck cannot use stand as comments. A deck "
        "of\n"
        "# your own needs the required ones and what you change.\n"
        "# Written by zinf from its table of keys; do not edit.\n",
        out);
    for (int i = 0; i < count; i++) {
        fputc('\n', out);
        wrapped_write("# ", deck_section_help(names[i]), out);
        fprintf(out, "%s:\n", names[i]);
        section_rows(names[i], reference_key, out);
    }
}

static void markdown_key(const struct deck_row *row, FILE *out)
{
    char *expected = text_of(row, deck_value_expected), *uses = text_of(row, deck_uses_write);
    fprintf(out, "| `%s` | %s | ", row->key, row->help);
    if (row->fallback) {
        fputc('`', out);
        describe_default(row, out);
        fputc('`', out);
    } else {
        fprintf(out, "required (`%s`)", row->example);
    }
    fprintf(out, " | %s | %s | %s |\n", expected, uses, row->changeable ? "yes" : "no");
    free(expected);
    free(uses);
}

void deck_write_markdown(FILE *out)
{
    const char *names[DECK_NAMES_MAX];
    int count = deck_section_names(names);
    fputs(
        "# Decks\n\n"
        "<!-- Written by zinf from its table of keys; do not edit. -->\n\n"
        "A deck is the YAML file that says what a run does. It has sections with keys; a key that\n"
        "is left out has its default. `inputs/reference.yaml` is a deck with every key, and\n"
        "`inputs/zinf.schema.json` lets editors complete and check decks. Begin a deck with\n\n"
        "    # yaml-language-server: $schema=zinf.schema.json\n\n"
        "- Whole numbers take k, M, G (1000, 1000^2, 1000^3) or Ki, Mi, Gi (1024, ...), and the\n"
        "  unit that the table shows: `20 steps`, `4 k`, `2 Ki tokens`. Sizes must have a unit:\n"
        "  `64 GiB`.\n"
        "- `--set section.key=value` on the command line overrides a key.\n"
        "- Anchors, aliases and merge keys (`<<: *name`) work. A section whose name begins with\n"
        "  `x-` is skipped: a place for anchors. A key that stands twice is an error.\n"
        "- All errors of a deck are reported at once, with file, line and column; the exit code\n"
        "  is then 2.\n"
        "- In paths, also those of `--set`, a leading `~` or `~user` and, anywhere, `$NAME` and\n"
        "  `${NAME}` are replaced. A variable that is not set, or empty, is an error. `$$` is a\n"
        "  dollar; a name that begins with a tilde is written `./~name`. Each rank replaces them "
        "by\n"
        "  its own environment: `nvme.paths: $TMPDIR/zinf` may be another folder on each node, "
        "while\n"
        "  `run.directory` has to be one folder on all ranks. `used.yaml` has the path, and "
        "beside\n"
        "  it what was written.\n"
        "- A key that the deck or `--set` gives and that has no effect with the values of others "
        "is\n"
        "  said by `run` and `check`, with its line. Where it was to make something that would "
        "then\n"
        "  never be made (a validation without a file), it is an error.\n"
        "- A run writes `used.yaml`: every key, its value and where that came from. It is a deck\n"
        "  too, and repeats the run.\n",
        out);
    for (int i = 0; i < count; i++) {
        fprintf(out, "\n## %s\n\n%c%s.\n\n", names[i], deck_section_help(names[i])[0] - 'a' + 'A',
                deck_section_help(names[i]) + 1);
        fputs("| key | meaning | default | values | only with | may change when a run is "
              "continued |\n"
              "|---|---|---|---|---|---|\n",
              out);
        section_rows(names[i], markdown_key, out);
    }
}
