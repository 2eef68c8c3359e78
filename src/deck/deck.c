/* SPDX-License-Identifier: Apache-2.0 */
/* A deck, from file to settings.
 *
 * The order is: defaults of all rows; then the values of the file; then overrides; then a look for
 * required keys that nobody gave. Each value that fails leaves the default in place and an error in
 * the list, and reading goes on, so that one run finds every mistake. With any error no settings
 * are handed out.
 *
 * A command that needs no whole deck asks for the sections that it needs (deck_parse_part): what it
 * did not ask for is neither required nor read nor checked, and nobody has to invent it.
 *
 * Rules that join keys run later, in deck_check, together with the complaints of other rooms: the
 * user then sees them all at once too. Top-level keys that begin with x- are skipped: they are
 * places for anchors, and no key of zinf will ever begin so. */
#include "deck/deck.h"

#include "base/log.h"
#include "deck/paths.h"
#include "deck/private.h"
#include "deck/value.h"
#include "deck/weights.h"
#include "deck/words.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = (1 << 20) + 1 };

int deck_row_index(const struct deck_row *row)
{
    int count;
    return (int)(row - deck_rows(&count));
}

int deck_section_names(const char *names[DECK_NAMES_MAX])
{
    int rows, count = 0;
    const struct deck_row *row = deck_rows(&rows);
    for (int i = 0; i < rows && count < DECK_NAMES_MAX; i++)
        if (!count || strcmp(names[count - 1], row[i].section) != 0)
            names[count++] = row[i].section;
    return count;
}

int deck_key_names(const char *section, const char *names[DECK_NAMES_MAX])
{
    int rows, count = 0;
    const struct deck_row *row = deck_rows(&rows);
    for (int i = 0; i < rows && count < DECK_NAMES_MAX; i++)
        if (strcmp(section, row[i].section) == 0) names[count++] = row[i].key;
    return count;
}

bool deck_needs(const struct deck *deck, const char *section)
{
    const char *const *asked = deck->sections;
    while (asked && *asked && strcmp(*asked, section) != 0)
        asked++;
    return !asked || *asked;
}

bool deck_row_is_text(const struct deck_row *row)
{
    return row->type == DECK_TEXT || row->type == DECK_PATH;
}

bool deck_row_is_of_model(const struct deck_row *row)
{
    return strcmp(row->section, "model") == 0 && !deck_row_is_text(row) && !deck_row_is_list(row);
}

static bool row_is_of_adapter(const struct deck_row *row)
{
    return strcmp(row->section, "adapter") == 0 && !deck_row_is_text(row);
}

bool deck_row_is_list(const struct deck_row *row)
{
    return row->type == DECK_PATHS || row->type == DECK_WORDS || row->type == DECK_SOURCES;
}

static void *list_field(struct settings *settings, const struct deck_row *row)
{
    return (char *)settings + row->offset;
}

bool deck_settings_fill(struct settings *settings)
{
    int rows;
    const struct deck_row *row = deck_rows(&rows);
    char problem[DECK_MESSAGE];
    memset(settings, 0, sizeof *settings);
    for (int i = 0; i < rows; i++) {
        char **place = (char **)(void *)((char *)settings + row[i].offset);
        if (deck_row_is_text(&row[i]) && !(*place = strdup(row[i].fallback ? row[i].fallback : "")))
            return false;
        /* A default that its own row refuses is a mistake in keys.c. */
        if (!deck_row_is_text(&row[i]) && row[i].fallback)
            ZI_REQUIRE(deck_value_read(&row[i], row[i].fallback, true, settings, problem));
    }
    return true;
}

void deck_settings_free(struct settings *settings)
{
    int rows;
    const struct deck_row *row = deck_rows(&rows);
    for (int i = 0; i < rows; i++) {
        if (deck_row_is_text(&row[i])) free(*(char **)(void *)((char *)settings + row[i].offset));
        if (row[i].type == DECK_PATHS || row[i].type == DECK_WORDS)
            deck_list_free(list_field(settings, &row[i]));
        if (row[i].type == DECK_SOURCES) deck_sources_free(list_field(settings, &row[i]));
    }
}

static enum zi_status deck_new(const char *name, struct deck **result)
{
    int rows;
    deck_rows(&rows);
    struct deck *deck = calloc(1, sizeof *deck);
    if (!deck) return zi_fail(ZI_ERROR_DEVICE, "deck", "no memory for %s", name);
    deck->name = strdup(name);
    deck->origins = calloc((size_t)rows, sizeof *deck->origins);
    bool filled = deck_settings_fill(&deck->settings);
    filled = deck_settings_fill(&deck->defaults) && filled;
    if (!deck->name || !deck->origins || !filled) {
        deck_destroy(deck);
        return zi_fail(ZI_ERROR_DEVICE, "deck", "no memory for %s", name);
    }
    deck->errors.name = deck->remarks.name = deck->name;
    *result = deck;
    return ZI_OK;
}

void deck_destroy(struct deck *deck)
{
    int rows;
    deck_rows(&rows);
    if (!deck) return;
    deck_settings_free(&deck->settings);
    deck_settings_free(&deck->defaults);
    deck_errors_free(&deck->errors);
    deck_errors_free(&deck->remarks);
    for (int i = 0; deck->origins && i < rows; i++)
        free(deck->origins[i].written);
    free(deck->origins);
    free(deck->name);
    free(deck);
}

struct settings *deck_settings(struct deck *deck)
{
    return &deck->settings;
}

/* Adds "unknown section" with the nearest name, or with the section of the key so called. */
static void section_unknown(struct deck *deck, int line, int column, const char *name)
{
    const char *names[DECK_NAMES_MAX];
    char shown[64], list[512] = "";
    int rows, count = deck_section_names(names);
    const struct deck_row *row = deck_rows(&rows);
    const char *nearest = deck_nearest(name, names, count);
    for (int i = 0; i < rows && !nearest; i++) {
        if (strcmp(row[i].key, name) != 0) continue;
        deck_errors_add(&deck->errors, line, column,
                        "%s: unknown section; the key %s belongs to section %s",
                        deck_value_clip(name, shown), row[i].key, row[i].section);
        return;
    }
    for (int i = 0; i < count; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", names[i]);
    deck_errors_add(&deck->errors, line, column, "%s: unknown section; %s%s",
                    deck_value_clip(name, shown), nearest ? "nearest is " : "sections are ",
                    nearest ? nearest : list);
}

static void key_unknown(struct deck *deck, int line, int column, const char *section,
                        const char *key)
{
    const char *names[DECK_NAMES_MAX];
    char shown[64], list[512] = "";
    int rows, count = deck_key_names(section, names);
    const struct deck_row *row = deck_rows(&rows);
    const char *nearest = deck_nearest(key, names, count);
    if (nearest) {
        deck_errors_add(&deck->errors, line, column, "%s.%s: unknown key; nearest is %s", section,
                        deck_value_clip(key, shown), nearest);
        return;
    }
    for (int i = 0; i < rows; i++) {
        if (strcmp(row[i].key, key) != 0) continue;
        deck_errors_add(&deck->errors, line, column,
                        "%s.%s: unknown key; the key of that name is %s.%s", section,
                        deck_value_clip(key, shown), row[i].section, row[i].key);
        return;
    }
    for (int i = 0; i < count; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", names[i]);
    deck_errors_add(&deck->errors, line, column, "%s.%s: unknown key; keys of %s are %s", section,
                    deck_value_clip(key, shown), section, list);
}

static const char *kind_name(const struct deck_node *node)
{
    return node->kind == NODE_MAPPING    ? "a mapping"
           : node->kind == NODE_SEQUENCE ? "a list"
                                         : "a single value";
}

static bool node_is_null(const struct deck_node *node)
{
    return node->kind == NODE_SCALAR && node->plain &&
           (!*node->text || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
}

/* Replaces the origin of a row; takes over what `origin` owns. */
static void origin_set(struct deck *deck, const struct deck_row *row,
                       const struct deck_origin *origin)
{
    struct deck_origin *place = &deck->origins[deck_row_index(row)];
    free(place->written);
    *place = *origin;
}

/* The value of a list from a sequence, of the deck or of an override. */
static void sequence_take(struct deck *deck, const struct deck_row *row,
                          const struct deck_node *sequence, bool set)
{
    void *list = list_field(&deck->settings, row);
    if (row->type == DECK_PATHS)
        deck_paths_take(row, sequence, set, &deck->errors, list);
    else if (row->type == DECK_WORDS)
        deck_words_take(row, sequence, set, &deck->errors, list);
    else
        deck_sources_take(row, sequence, set, &deck->errors, list);
}

/* The same from the text of a YAML sequence given with --set, as in ["a", b]. */
static void sequence_set(struct deck *deck, const struct deck_row *row, const char *text)
{
    struct deck_errors own = {.name = "--set"};
    struct deck_tree tree;
    enum zi_status status = deck_tree_parse(text, strlen(text), &own, &tree);
    if (status == ZI_OK && tree.root && tree.root->kind == NODE_SEQUENCE)
        sequence_take(deck, row, tree.root, true);
    else
        deck_errors_add(&deck->errors, DECK_PLACE_SET, 0,
                        "%s.%s: a value that begins with [ is a list, as in [a, \"b c\"]: %s",
                        row->section, row->key, own.count ? own.list[0].text : "this is none");
    deck_tree_free(&tree);
    deck_errors_free(&own);
}

static void value_apply(struct deck *deck, const struct deck_row *row, const struct deck_node *node)
{
    char problem[DECK_MESSAGE];
    struct deck_origin *origin = &deck->origins[deck_row_index(row)];
    origin_set(deck, row,
               &(struct deck_origin){.source = SOURCE_DECK,
                                     .line = node->line,
                                     .column = node->column,
                                     .told_line = node->line,
                                     .written = deck_written(row, node)});
    if (node->kind == NODE_SEQUENCE && deck_row_is_list(row)) {
        sequence_take(deck, row, node, false);
    } else if (node->kind != NODE_SCALAR) {
        memset(problem, 0, sizeof problem);
        FILE *out = fmemopen(problem, sizeof problem - 1, "w");
        if (out) {
            deck_value_expected(row, out);
            fclose(out);
        }
        deck_errors_add(&deck->errors, node->line, node->column, "%s.%s: found %s, expected %s",
                        row->section, row->key, kind_name(node), problem);
    } else if (node->length != strlen(node->text)) {
        deck_errors_add(&deck->errors, node->line, node->column,
                        "%s.%s: found text with a zero character, which no value may have",
                        row->section, row->key);
    } else if (!deck_value_read(row, node->text, !node->plain, &deck->settings, problem)) {
        deck_errors_add(&deck->errors, node->line, node->column, "%s.%s: %s", row->section,
                        row->key, problem);
    }
    origin->was_auto = deck_value_is_auto(row, &deck->settings);
}

static void section_apply(struct deck *deck, const char *section, const struct deck_node *node)
{
    if (node_is_null(node)) return; /* a section whose keys are all commented out */
    if (node->kind != NODE_MAPPING) {
        deck_errors_add(&deck->errors, node->line, node->column,
                        "%s: found %s, expected keys with values; `zinf help deck %s` lists them",
                        section, kind_name(node), section);
        return;
    }
    for (int i = 0; i < node->count; i++) {
        const struct deck_node *key = node->pairs[i].key;
        const struct deck_row *row = deck_find(section, key->text);
        if (row)
            value_apply(deck, row, node->pairs[i].value);
        else
            key_unknown(deck, key->line, key->column, section, key->text);
    }
}

static void tree_apply(struct deck *deck, const struct deck_tree *tree)
{
    const struct deck_node *root = tree->root;
    if (!root || node_is_null(root) || (root->kind == NODE_MAPPING && !root->count)) {
        deck_errors_add(&deck->errors, DECK_PLACE_WHOLE, 0,
                        "the deck is empty; inputs/reference.yaml shows a whole one");
        return;
    }
    if (root->kind != NODE_MAPPING) {
        deck_errors_add(&deck->errors, root->line, root->column,
                        "found %s, expected sections with keys, as in run: {steps: 500}; "
                        "inputs/reference.yaml shows a whole deck",
                        kind_name(root));
        return;
    }
    for (int i = 0; i < root->count; i++) {
        const struct deck_node *key = root->pairs[i].key;
        if (strncmp(key->text, "x-", 2) == 0) continue;
        if (!deck_section_help(key->text))
            section_unknown(deck, key->line, key->column, key->text);
        else if (deck_needs(deck, key->text))
            section_apply(deck, key->text, root->pairs[i].value);
    }
}

/* Required keys that neither the deck, if there is one, nor an override gave. */
static void missing_find(struct deck *deck, const struct deck_node *root)
{
    int rows;
    const struct deck_row *row = deck_rows(&rows);
    for (int i = 0; i < rows; i++) {
        int line = DECK_PLACE_WHOLE, column = 0;
        bool broken = false;
        if (row[i].fallback || deck->origins[i].source != SOURCE_NONE) continue;
        if (deck_row_is_of_model(&row[i]) && *deck->settings.model.from) continue;
        if (!deck_needs(deck, row[i].section)) continue;
        for (int k = 0; root && k < root->count; k++) {
            const struct deck_node *key = root->pairs[k].key;
            if (strcmp(key->text, row[i].section) != 0) continue;
            line = key->line;
            column = key->column;
            /* A section that is no mapping has its error already. */
            broken =
                root->pairs[k].value->kind != NODE_MAPPING && !node_is_null(root->pairs[k].value);
        }
        if (broken) continue;
        deck_errors_add(&deck->errors, line, column,
                        "%s.%s: missing, and has no default: %s; for example %s: %s",
                        row[i].section, row[i].key, row[i].help, row[i].key, row[i].example);
    }
}

static void set_apply(struct deck *deck, const char *set)
{
    char problem[DECK_MESSAGE], shown[64];
    char *copy = strdup(set), *dot = copy ? strchr(copy, '.') : NULL;
    char *equals = copy ? strchr(copy, '=') : NULL;
    if (!copy) {
        deck->errors.failed = true;
        zi_log(ZI_LOG_ERROR, "deck", "no memory for --set %s", set);
    } else if (!equals || !dot || dot > equals) {
        deck_errors_add(&deck->errors, DECK_PLACE_SET, 0,
                        "%s: expected section.key=value, as in run.steps=500",
                        deck_value_quote(set, shown));
    } else {
        *dot = *equals = 0;
        const struct deck_row *row = deck_find(copy, dot + 1);
        if (!deck_section_help(copy))
            section_unknown(deck, DECK_PLACE_SET, 0, copy);
        else if (!row)
            key_unknown(deck, DECK_PLACE_SET, 0, copy, dot + 1);
        else {
            if (!deck_text_is_utf8(equals + 1))
                deck_errors_add(&deck->errors, DECK_PLACE_SET, 0, "%s.%s: the value is not UTF-8",
                                row->section, row->key);
            else if (deck_row_is_list(row) && equals[1] == '[')
                sequence_set(deck, row, equals + 1);
            else if (!deck_value_read(row, equals + 1, true, &deck->settings, problem))
                deck_errors_add(&deck->errors, DECK_PLACE_SET, 0, "%s.%s: %s", row->section,
                                row->key, problem);
            origin_set(deck, row,
                       &(struct deck_origin){.source = SOURCE_SET,
                                             .was_auto = deck_value_is_auto(row, &deck->settings),
                                             .written = deck_written_text(row, equals + 1)});
        }
    }
    free(copy);
}

/* The values of a new deck; text NULL: there are overrides only. */
static enum zi_status values_take(struct deck *deck, const char *text, size_t bytes,
                                  const char *const *sets, int set_count)
{
    struct deck_tree tree = {.root = NULL};
    int rows;
    const struct deck_row *row = deck_rows(&rows);
    enum zi_status status = text ? deck_tree_parse(text, bytes, &deck->errors, &tree) : ZI_OK;
    if (text && status == ZI_OK) {
        tree_apply(deck, &tree);
        deck_origins_restore(deck, text, bytes);
    }
    for (int i = 0; i < set_count; i++)
        set_apply(deck, sets[i]);
    /* A text without sections has its error already. */
    const struct deck_node *root = tree.root;
    bool usable = !text || (root && root->kind == NODE_MAPPING && root->count > 0);
    if (status == ZI_OK && usable) missing_find(deck, root);
    for (int i = 0; i < rows; i++) {
        if (deck->origins[i].source != SOURCE_NONE) continue;
        deck->origins[i].source = SOURCE_DEFAULT;
        deck->origins[i].was_auto = deck_value_is_auto(&row[i], &deck->settings);
    }
    deck_tree_free(&tree);
    enum zi_status reported = deck_errors_report(&deck->errors);
    return status == ZI_OK ? reported : status;
}

/* After an error nothing is handed out. */
static enum zi_status deck_give(enum zi_status status, struct deck **deck)
{
    if (status >= 0) return status;
    deck_destroy(*deck);
    *deck = NULL;
    return status;
}

enum zi_status deck_parse(const char *text, size_t bytes, const char *name, const char *const *sets,
                          int set_count, struct deck **deck)
{
    *deck = NULL;
    ZI_TRY(deck_new(name, deck));
    return deck_give(values_take(*deck, text, bytes, sets, set_count), deck);
}

enum zi_status deck_parse_part(const char *text, const char *name, const char *const *sections,
                               const char *const *sets, int set_count, struct deck **deck)
{
    *deck = NULL;
    ZI_TRY(deck_new(name, deck));
    (*deck)->sections = sections;
    return deck_give(values_take(*deck, text, text ? strlen(text) : 0, sets, set_count), deck);
}

enum zi_status deck_read(const char *path, const char *const *sets, int set_count,
                         struct deck **deck)
{
    *deck = NULL;
    FILE *file = fopen(path, "rb");
    if (!file)
        return zi_fail(ZI_ERROR_USAGE, "deck", "%s: cannot be opened: %s", path, strerror(errno));
    char *text = malloc(FILE_MAX);
    if (!text) {
        fclose(file);
        return zi_fail(ZI_ERROR_DEVICE, "deck", "no memory to read %s", path);
    }
    errno = 0;
    size_t bytes = fread(text, 1, FILE_MAX, file);
    enum zi_status status = ZI_OK;
    if (ferror(file))
        status = zi_fail(ZI_ERROR_USAGE, "deck", "%s: cannot be read: %s", path, strerror(errno));
    fclose(file);
    if (status == ZI_OK) status = deck_parse(text, bytes, path, sets, set_count, deck);
    free(text);
    return status;
}

void deck_place(const struct deck *deck, const struct deck_row *row, struct deck_errors *list,
                const char *text)
{
    const struct deck_origin *origin = &deck->origins[deck_row_index(row)];
    int line = origin->line                   ? origin->line
               : origin->source == SOURCE_SET ? DECK_PLACE_SET
                                              : DECK_PLACE_WHOLE;
    const char *whence = origin->source == SOURCE_MODEL ? " (model.from)"
                         : line == DECK_PLACE_WHOLE     ? " (default)"
                                                        : "";
    deck_errors_add(list, line, origin->column, "%s.%s%s%s", row->section, row->key, whence, text);
}

/* ": " and the text of a format, or a text for when there is no memory; *owned is to be freed. */
static const char *message_text(const char *format, va_list arguments, char **owned)
{
    char *text = NULL;
    *owned = NULL;
    if (vasprintf(&text, format, arguments) < 0) return ": no memory to say what";
    int length = asprintf(owned, ": %s", text);
    free(text);
    if (length >= 0) return *owned;
    *owned = NULL;
    return ": no memory to say what";
}

void deck_complain(struct deck *deck, const char *section, const char *key, const char *format, ...)
{
    const struct deck_row *row = deck_find(section, key);
    char *owned;
    va_list arguments;
    ZI_REQUIRE(row);
    va_start(arguments, format);
    deck_place(deck, row, &deck->errors, message_text(format, arguments, &owned));
    va_end(arguments);
    free(owned);
}

/* Complains of a key that the deck gives and the model has otherwise. */
static void complain_of_model(struct deck *deck, const struct deck_row *row,
                              const struct settings *given, const char *where)
{
    char value[128] = "";
    FILE *out = fmemopen(value, sizeof value - 1, "w");
    if (out) deck_value_write(row, given, out);
    if (out) fclose(out);
    deck_complain(deck, row->section, row->key, "%s has %s; take the key out, or give that", where,
                  value);
}

/* Copies the value of a row, which is no single text. */
static void value_copy(struct deck *deck, const struct deck_row *row, const struct settings *from)
{
    void *to = (char *)&deck->settings + row->offset;
    const void *value = (const char *)from + row->offset;
    if (row->type != DECK_WORDS) {
        memcpy(to, value, deck_value_bytes(row));
    } else if (!deck_list_copy(to, value)) {
        deck->errors.failed = true;
        zi_log(ZI_LOG_ERROR, "deck", "no memory for %s.%s", row->section, row->key);
    }
}

void deck_take_model(struct deck *deck, const struct settings_model *given, const char *where)
{
    int rows;
    const struct deck_row *row = deck_rows(&rows);
    struct settings other = deck->settings;
    other.model = *given;
    for (int i = 0; i < rows; i++) {
        struct deck_origin *origin = &deck->origins[i];
        bool adapts = row_is_of_adapter(&row[i]) && given->adapter.rank > 0;
        if (!deck_row_is_of_model(&row[i]) && !adapts) continue;
        if (origin->source != SOURCE_DEFAULT && !deck_value_is_auto(&row[i], &deck->settings)) {
            if (!row[i].changeable && !deck_value_same(&row[i], &other, &deck->settings))
                complain_of_model(deck, &row[i], &other, where);
            continue;
        }
        value_copy(deck, &row[i], &other);
        origin->source = SOURCE_MODEL;
        origin->was_auto = false;
    }
}

void deck_remark(struct deck *deck, const char *section, const char *key, const char *format, ...)
{
    const struct deck_row *row = deck_find(section, key);
    char *owned;
    va_list arguments;
    ZI_REQUIRE(row);
    const struct deck_origin *origin = &deck->origins[deck_row_index(row)];
    if (origin->source == SOURCE_DEFAULT || origin->source == SOURCE_MODEL) return;
    if (origin->was_auto || origin->told) return;
    va_start(arguments, format);
    deck_place(deck, row, &deck->remarks, message_text(format, arguments, &owned));
    va_end(arguments);
    free(owned);
}

enum zi_status deck_check(struct deck *deck)
{
    if (!deck->rules_checked) {
        deck_check_rules(deck);
        deck_check_uses(deck);
    }
    deck->rules_checked = true;
    return deck_errors_report(&deck->errors);
}

void deck_warn(struct deck *deck)
{
    deck_errors_warn(&deck->remarks);
}
