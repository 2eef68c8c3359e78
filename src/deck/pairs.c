/* SPDX-License-Identifier: Apache-2.0 */
/* One section of numbers, read from the same tree and with the same kind of messages as a deck.
 *
 * A rate may have a fraction and a unit ("1.6 GB/s"), or be a bare number in the unit without a
 * prefix (1.6e9). A unit of another sort is an error: a rate in bits or in GB a minute would be
 * taken for something else otherwise. */
#include "deck/pairs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "deck/deck.h"
#include "deck/tree.h"
#include "deck/value.h"

enum { PAIRS_MAX = 32 };

struct prefix {
    const char *word;
    double factor;
};

/* Longer ones before those that they begin with. */
static const struct prefix prefixes[] = {
    {"Ki", 0x1p10}, {"Mi", 0x1p20}, {"Gi", 0x1p30}, {"Ti", 0x1p40}, {"k", 1e3},
    {"M", 1e6},     {"G", 1e9},     {"T", 1e12},    {"P", 1e15},    {"", 1},
};
#define PREFIX_COUNT (sizeof prefixes / sizeof *prefixes)

/* Reads a number with its unit; false when the text is none, or not larger than 0, or too large. */
static bool number_read(const char *text, struct deck_pair_number *pair)
{
    char *end;
    const char *unit = pair->unit;
    if (strspn(text, "0123456789.+-eE") == 0) return false; /* strtod takes nan, inf and more */
    double number = strtod(text, &end);
    if (end == text || strspn(text, "0123456789.+-eE") < (size_t)(end - text)) return false;
    bool bare = *end == 0;
    end += strspn(end, " ");
    for (size_t i = 0; i < PREFIX_COUNT && !bare && unit; i++) {
        size_t length = strlen(prefixes[i].word);
        if (strncmp(end, prefixes[i].word, length) != 0) continue;
        if (strcmp(end + length, unit) != 0) continue;
        number *= prefixes[i].factor;
        bare = true;
    }
    if (!bare || !isfinite(number) || number <= 0) return false;
    pair->value = number;
    return (unit || number == floor(number)) && (pair->most == 0 || number <= pair->most);
}

static void complain(const struct deck_pair *pair, const char *section, struct deck_errors *errors,
                     const struct deck_pair_number *wanted)
{
    char shown[64], most[32] = "", example[48] = "";
    const struct deck_node *value = pair->value;
    if (wanted->most > 0) snprintf(most, sizeof most, " and at most %g", wanted->most);
    if (wanted->unit) snprintf(example, sizeof example, ", as 1.6 G%s or 1.6e9", wanted->unit);
    deck_errors_add(
        errors, value->line, value->column,
        "%s.%s: found %s, expected a %snumber larger than 0%s%s", section, pair->key->text,
        value->kind == NODE_SCALAR ? deck_value_quote(value->text, shown) : "no single value",
        wanted->unit ? "" : "whole ", most, example);
}

static void pair_take(const struct deck_pair *pair, const char *section, struct deck_errors *errors,
                      struct deck_pair_number *numbers, int count)
{
    const char *names[PAIRS_MAX];
    char shown[64];
    const struct deck_node *key = pair->key, *value = pair->value;
    for (int i = 0; i < count; i++) {
        names[i] = numbers[i].key;
        if (strcmp(key->text, numbers[i].key) != 0) continue;
        bool good = value->kind == NODE_SCALAR && value->length == strlen(value->text) &&
                    number_read(value->text, &numbers[i]);
        if (good)
            numbers[i].given = true;
        else
            complain(pair, section, errors, &numbers[i]);
        return;
    }
    const char *nearest = deck_nearest(key->text, names, count);
    deck_errors_add(errors, key->line, key->column, "%s has no key %s%s%s%s", section,
                    deck_value_quote(key->text, shown), nearest ? " (nearest: " : "",
                    nearest ? nearest : "", nearest ? ")" : "");
}

static void section_take(const struct deck_node *root, const char *section,
                         struct deck_errors *errors, struct deck_pair_number *numbers, int count)
{
    const struct deck_node *map = NULL;
    if (root && root->kind == NODE_MAPPING && root->count == 1 &&
        strcmp(root->pairs[0].key->text, section) == 0)
        map = root->pairs[0].value;
    if (!map || map->kind != NODE_MAPPING) {
        deck_errors_add(errors, root ? root->line : DECK_PLACE_WHOLE, root ? root->column : 0,
                        "expected one section, `%s:`, with keys below it", section);
        return;
    }
    for (int i = 0; i < map->count; i++)
        pair_take(&map->pairs[i], section, errors, numbers, count);
}

/* deck_errors_report would send the reader to the keys of a deck. */
static void error_log(const struct deck_error *error, const char *name)
{
    if (error->line == DECK_PLACE_WHOLE)
        zi_log(ZI_LOG_ERROR, "deck", "%s: %s", name, error->text);
    else
        zi_log(ZI_LOG_ERROR, "deck", "%s:%d:%d: %s", name, error->line, error->column, error->text);
}

enum zi_status deck_pairs_parse(const char *text, size_t bytes, const char *name,
                                const char *section, struct deck_pair_number *numbers, int count)
{
    struct deck_errors errors = {.name = name};
    struct deck_tree tree;
    ZI_REQUIRE(count <= PAIRS_MAX);
    for (int i = 0; i < count; i++)
        numbers[i].given = false;
    enum zi_status status = deck_tree_parse(text, bytes, &errors, &tree);
    if (status >= 0) section_take(tree.root, section, &errors, numbers, count);
    deck_tree_free(&tree);
    bool failed = errors.failed;
    for (int i = 0; i < errors.count; i++)
        error_log(&errors.list[i], name);
    deck_errors_free(&errors);
    return status < 0 ? status : failed ? ZI_ERROR_USAGE : ZI_OK;
}
