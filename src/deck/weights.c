/* SPDX-License-Identifier: Apache-2.0 */
/* Sources of data, read from a deck.
 *
 * A deck names one path, a list of paths, or a list of maps with a path and a weight. A path is a
 * file, a folder or a pattern; which of them, and what is there, the room data finds out: a deck
 * can be checked where the data are not. Unlike the folders of a disk, paths have no commas between
 * them in one text, since the name of a file may have one.
 *
 * Invariants of a list: no path is empty or has a line break, none begins with ~, and either all
 * have a weight or none. A list without weights is one body of text in several places; with weights
 * it is a mixture, and a path without one would have a share that nobody has chosen. */
#include "deck/weights.h"

#include "deck/deck.h"
#include "deck/value.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define WEIGHT_LEAST 1e-9
#define WEIGHT_MOST  1e9

/* Where a list is read from, and to. */
struct reading {
    const struct deck_row *row;
    struct deck_errors *errors;
    /* Given with --set: places are that. */
    bool set;
    /* Of the item, from 1. */
    int number;
    bool good;
    struct deck_sources made;
};

/* A path expanded, which the caller frees; NULL and what is wrong. */
static char *path_read(const char *text, size_t bytes, char wrong[DECK_WRONG])
{
    char *path = NULL, *kept = NULL;
    wrong[0] = 0;
    if (!deck_path_expand(text, bytes, &path, wrong)) return NULL;
    /* ./ keeps it as it is when it is read again */
    const char *before = *path == '~' ? "./" : "";
    if (!*path)
        snprintf(wrong, DECK_WRONG, "an empty path");
    else if (strlen(path) + strlen(before) >= PATH_MAX)
        snprintf(wrong, DECK_WRONG, "a path that is too long for this system");
    else if (strchr(path, '\n'))
        snprintf(wrong, DECK_WRONG,
                 "a path with a line break in its name, which no path here may have");
    else if (asprintf(&kept, "%s%s", before, path) < 0)
        snprintf(wrong, DECK_WRONG, "more than memory holds");
    free(path);
    return wrong[0] ? NULL : kept;
}

/* Takes over the path. */
static bool source_add(struct deck_sources *sources, char *path, double weight)
{
    struct deck_weighted *grown =
        realloc(sources->items, ((size_t)sources->count + 1) * sizeof *grown);
    if (!grown) return false;
    sources->items = grown;
    grown[sources->count++] = (struct deck_weighted){path, weight};
    return true;
}

bool deck_sources_read(const char *text, struct deck_sources *sources, char wrong[DECK_WRONG])
{
    struct deck_sources made = {.count = 0};
    char *path = *text ? path_read(text, strlen(text), wrong) : NULL;
    if (*text && !path) return false;
    if (path && !source_add(&made, path, 0)) {
        free(path);
        snprintf(wrong, DECK_WRONG, "more than memory holds");
        return false;
    }
    deck_sources_free(sources);
    *sources = made;
    return true;
}

static void complain(struct reading *reading, const struct deck_node *at, const char *what,
                     const char *expected)
{
    const struct deck_row *row = reading->row;
    reading->good = false;
    deck_errors_add(reading->errors, reading->set ? DECK_PLACE_SET : at->line,
                    reading->set ? 0 : at->column, "%s.%s: item %d of the list: found %s%s%s",
                    row->section, row->key, reading->number, what, *expected ? ", expected " : "",
                    expected);
}

/* What is wrong with a node as a single value, or NULL. */
static const char *value_wrong(const struct deck_node *node)
{
    if (node->kind == NODE_MAPPING) return "a mapping";
    if (node->kind == NODE_SEQUENCE) return "a list";
    if (node->length != strlen(node->text)) return "text with a zero character";
    if (node->plain &&
        (!*node->text || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0))
        return "nothing";
    return NULL;
}

/* The path of a node, or NULL after a complaint; the caller frees it. */
static char *path_take(struct reading *reading, const struct deck_node *node)
{
    char wrong[DECK_WRONG];
    const char *kind = value_wrong(node);
    char *path = kind ? NULL : path_read(node->text, node->length, wrong);
    if (!path) complain(reading, node, kind ? kind : wrong, "a path, or a map of path and weight");
    return path;
}

/* The weight of a node, or 0 after a complaint. */
static double weight_take(struct reading *reading, const struct deck_node *node)
{
    static const struct deck_row weight = {
        .type = DECK_REAL, .minimum = WEIGHT_LEAST, .maximum = WEIGHT_MOST};
    double number = 0;
    char shown[64], text[DECK_WRONG];
    const char *kind = value_wrong(node), *wrong = NULL;
    if (!kind) wrong = deck_number_read(&weight, node->text, &number);
    if (!kind && !wrong) return number;
    if (wrong) snprintf(text, sizeof text, "%s (%s)", deck_value_quote(node->text, shown), wrong);
    complain(reading, node, kind ? kind : text, "a weight from 1e-9 to 1e9, as in 0.3");
    return 0;
}

/* An unknown key of a map. */
static void key_unknown(struct reading *reading, const struct deck_node *key)
{
    static const char *const names[] = {"path", "weight"};
    char shown[64], text[DECK_WRONG];
    const char *nearest = deck_nearest(key->text, names, 2);
    snprintf(text, sizeof text, "the key %s", deck_value_quote(key->text, shown));
    complain(reading, key, text, nearest ? nearest : "path and weight");
}

static void map_take(struct reading *reading, const struct deck_node *map)
{
    const struct deck_node *path_node = NULL, *weight_node = NULL;
    bool known = true;
    for (int i = 0; i < map->count; i++) {
        const struct deck_node *key = map->pairs[i].key;
        if (strcmp(key->text, "path") == 0)
            path_node = map->pairs[i].value;
        else if (strcmp(key->text, "weight") == 0)
            weight_node = map->pairs[i].value;
        else {
            key_unknown(reading, key);
            known = false;
        }
    }
    if (known && (!path_node || !weight_node))
        complain(reading, map, path_node ? "a map without weight" : "a map without path",
                 "both, as in {path: data/a.h5, weight: 0.3}");
    char *path = path_node ? path_take(reading, path_node) : NULL;
    double weight = weight_node ? weight_take(reading, weight_node) : 0;
    if (path && !source_add(&reading->made, path, weight)) {
        free(path);
        complain(reading, map, "more than memory holds", "");
    }
}

static void item_take(struct reading *reading, const struct deck_node *item)
{
    if (item->kind == NODE_MAPPING) {
        map_take(reading, item);
        return;
    }
    char *path = path_take(reading, item);
    if (path && !source_add(&reading->made, path, 0)) {
        free(path);
        complain(reading, item, "more than memory holds", "");
    }
}

/* The first item tells whether all have a weight. */
static void check_alike(struct reading *reading, const struct deck_node *sequence)
{
    bool weighted = sequence->items[0]->kind == NODE_MAPPING;
    for (int i = 1; i < sequence->count; i++) {
        reading->number = i + 1;
        if ((sequence->items[i]->kind == NODE_MAPPING) == weighted) continue;
        complain(reading, sequence->items[i],
                 weighted ? "no weight after an item with one" : "a weight after an item without",
                 "a weight for each item or for none");
        return;
    }
}

void deck_sources_take(const struct deck_row *row, const struct deck_node *sequence, bool set,
                       struct deck_errors *errors, struct deck_sources *sources)
{
    struct reading reading = {
        .row = row, .errors = errors, .set = set, .good = sequence->count > 0};
    int most = sequence->count < DECK_SOURCES_MAX ? sequence->count : DECK_SOURCES_MAX;
    for (int i = 0; i < most; i++) {
        reading.number = i + 1;
        item_take(&reading, sequence->items[i]);
    }
    if (!sequence->count)
        deck_errors_add(errors, set ? DECK_PLACE_SET : sequence->line, set ? 0 : sequence->column,
                        "%s.%s: found an empty list, expected at least one path%s", row->section,
                        row->key, row->fallback ? ", or \"\" for none" : "");
    reading.number = most + 1;
    if (sequence->count > most)
        complain(&reading, sequence->items[most], "more than 256 items",
                 "folders or patterns, which stand for many files");
    if (reading.good) check_alike(&reading, sequence);
    deck_sources_free(reading.good ? sources : &reading.made);
    if (reading.good) *sources = reading.made;
}
