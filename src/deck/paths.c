/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of paths.
 *
 * A deck gives several paths as a YAML list, or as one text with commas between them, which is all
 * that a command line can do comfortably: --set nvme.paths=/mnt/a,/mnt/b. A path that has a comma
 * in its name needs the list. The settings hold the list as one text with a line for each path, so
 * that they stay plain strings that can be copied, compared and freed like any other.
 *
 * Invariants of such a text: at least one line, none empty, none twice. Two spellings of one folder
 * that differ only in slashes and in a leading ./ count as the same. Links are not followed: the
 * folders need not exist on the machine that checks a deck. */
#include "deck/paths.h"

#include "base/log.h"
#include "deck/value.h"

#include <stdlib.h>
#include <string.h>

/* A list that grows. `wrong` is what is wrong with the last path that was not added. */
struct paths {
    const struct deck_row *row;
    char *text;
    size_t length;
    int count;
    char wrong[96];
};

/* Past what says nothing: a leading ./, and slashes but the last of several. */
static const char *skip_start(const char *at, const char *end)
{
    while (end - at > 1 && at[0] == '.' && at[1] == '/') {
        at += 2;
        while (at < end && *at == '/')
            at++;
    }
    return at;
}

static const char *skip_slashes(const char *at, const char *end)
{
    while (at < end && *at == '/' && (at + 1 == end || at[1] == '/'))
        at++;
    return at;
}

static bool path_same(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    const char *a_end = a + a_bytes, *b_end = b + b_bytes;
    if ((*a == '/') != (*b == '/')) return false;
    for (a = skip_start(a, a_end), b = skip_start(b, b_end);; a++, b++) {
        a = skip_slashes(a, a_end);
        b = skip_slashes(b, b_end);
        if (a == a_end || b == b_end) return a == a_end && b == b_end;
        if (*a != *b) return false;
    }
}

/* Number, from 1, of the path in the list that is this one, or 0. */
static int path_find(const struct paths *paths, const char *path, size_t bytes)
{
    const char *at = paths->text;
    for (int i = 1; i <= paths->count; i++) {
        size_t length = strcspn(at, "\n");
        if (path_same(at, length, path, bytes)) return i;
        at += length + 1;
    }
    return 0;
}

static bool path_add(struct paths *paths, const char *path, size_t bytes)
{
    const char *wrong = NULL;
    char *text;
    paths->wrong[0] = 0;
    if (!bytes)
        wrong = "an empty path";
    else if (memchr(path, '\n', bytes))
        wrong = "a path with a line break in its name, which no path here may have";
    else if (paths->count == (int)paths->row->maximum)
        snprintf(paths->wrong, sizeof paths->wrong, "more than %d paths", paths->count);
    else if (path_find(paths, path, bytes))
        snprintf(paths->wrong, sizeof paths->wrong, "the folder of path %d of the list once more",
                 path_find(paths, path, bytes));
    else if (!(text = realloc(paths->text, paths->length + bytes + 2)))
        wrong = "more than memory holds";
    else {
        if (paths->count++) text[paths->length++] = '\n';
        memcpy(text + paths->length, path, bytes);
        paths->length += bytes;
        text[paths->length] = 0;
        paths->text = text;
    }
    if (wrong) snprintf(paths->wrong, sizeof paths->wrong, "%s", wrong);
    return !paths->wrong[0];
}

bool deck_paths_read(const struct deck_row *row, const char *text, char **list, char wrong[96])
{
    struct paths paths = {.row = row};
    bool good = true;
    for (const char *at = text; good; at++) {
        at += strspn(at, " ");
        size_t whole = strcspn(at, ","), bytes = whole;
        while (bytes && at[bytes - 1] == ' ')
            bytes--;
        good = path_add(&paths, at, bytes);
        at += whole;
        if (!*at) break;
    }
    if (good) {
        free(*list);
        *list = paths.text;
    } else {
        free(paths.text);
        snprintf(wrong, 96, "%s", paths.wrong);
    }
    return good;
}

/* Adds one item of a sequence to the list, or gives false with `wrong` filled. */
static bool item_add(struct paths *paths, const struct deck_node *item)
{
    const char *wrong = NULL;
    bool scalar = item->kind == NODE_SCALAR;
    if (item->kind == NODE_MAPPING)
        wrong = "a mapping";
    else if (item->kind == NODE_SEQUENCE)
        wrong = "a list in a list";
    else if (item->length != strlen(item->text))
        wrong = "text with a zero character";
    else if (item->plain && (strcmp(item->text, "~") == 0 || strcmp(item->text, "null") == 0))
        wrong = "nothing";
    if (!wrong) return scalar && path_add(paths, item->text, item->length);
    snprintf(paths->wrong, sizeof paths->wrong, "%s", wrong);
    return false;
}

void deck_paths_take(const struct deck_row *row, const struct deck_node *sequence, bool set,
                     struct deck_errors *errors, char **list)
{
    struct paths paths = {.row = row};
    bool good = true;
    for (int i = 0; i < sequence->count; i++) {
        const struct deck_node *item = sequence->items[i];
        if (item_add(&paths, item)) continue;
        good = false;
        deck_errors_add(errors, set ? DECK_PLACE_SET : item->line, set ? 0 : item->column,
                        "%s.%s: path %d of the list: found %s, expected the path of another folder",
                        row->section, row->key, i + 1, paths.wrong);
    }
    if (!sequence->count)
        deck_errors_add(errors, set ? DECK_PLACE_SET : sequence->line, set ? 0 : sequence->column,
                        "%s.%s: found an empty list, expected at least one path", row->section,
                        row->key);
    if (good && sequence->count) {
        free(*list);
        *list = paths.text;
    } else {
        free(paths.text);
    }
}

void deck_paths_set(const struct deck_row *row, const char *text, struct deck_errors *errors,
                    char **list)
{
    struct deck_errors own = {.name = "--set"};
    struct deck_tree tree;
    enum zi_status status = deck_tree_parse(text, strlen(text), &own, &tree);
    if (status == ZI_OK && tree.root && tree.root->kind == NODE_SEQUENCE)
        deck_paths_take(row, tree.root, true, errors, list);
    else
        deck_errors_add(errors, DECK_PLACE_SET, 0,
                        "%s.%s: a value that begins with [ is a list, as in [a, \"b c\"]: %s",
                        row->section, row->key, own.count ? own.list[0].text : "this is none");
    deck_tree_free(&tree);
    deck_errors_free(&own);
}
