/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of paths.
 *
 * A deck gives several paths as a YAML list, or as one text with commas between them, which is all
 * that a command line can do comfortably: --set nvme.paths=/mnt/a,/mnt/b. A path that has a comma
 * in its name needs the list.
 *
 * Invariants of a list: at least one path, none empty, none that begins with ~, none with a line
 * break (messages and machine files have a line for each), and no folder twice. The last matters:
 * on one disk named twice each half of a state waits for the other. Two paths lead to one folder
 * when the deepest folders of them that exist are the same (device and inode: links and mounts are
 * followed) and the names that remain are. The folders need not exist on the machine that checks a
 * deck. One folder inside another is fine. */
#include "deck/paths.h"

#include "base/log.h"
#include "deck/value.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A list that grows. `wrong` is what is wrong with the last path that was not added. */
struct paths {
    struct deck_list list;
    char wrong[DECK_WRONG];
};

/* Where a path leads: the deepest folder of it that exists, and the names below that do not. */
struct place {
    dev_t device;
    ino_t inode;
    char below[PATH_MAX];
};

/* One more name on a path in a buffer of PATH_MAX. The path before fits with room for it. */
static void name_push(char *path, const char *name, size_t bytes)
{
    size_t length = strlen(path);
    snprintf(path + length, PATH_MAX - length, "/%.*s", (int)bytes, name);
}

static void name_pop(char *path)
{
    *strrchr(path, '/') = 0;
}

/* The kernel resolves what exists, with links and mounts; the rest is cut by its letters. */
static void place_find(const char *path, struct place *place)
{
    char known[PATH_MAX + 2] = ".";
    struct stat info = {.st_ino = 0};
    memset(place, 0, sizeof *place);
    if (*path == '/') known[0] = 0;
    if (stat(*path == '/' ? "/" : ".", &info) == 0) {
        place->device = info.st_dev;
        place->inode = info.st_ino;
    }
    for (const char *at = path; *at;) {
        size_t length = strcspn(at, "/");
        bool here = !length || (length == 1 && *at == '.');
        bool up = length == 2 && at[0] == '.' && at[1] == '.';
        if (!here && *place->below) {
            if (up)
                name_pop(place->below);
            else
                name_push(place->below, at, length);
        } else if (!here) {
            name_push(known, at, length);
            if (stat(known, &info) == 0) {
                place->device = info.st_dev;
                place->inode = info.st_ino;
            } else {
                name_pop(known);
                name_push(place->below, at, length);
            }
        }
        at += length;
        at += *at == '/';
    }
}

static bool path_same(const char *a, const char *b)
{
    struct place left, right;
    place_find(a, &left);
    place_find(b, &right);
    return left.device == right.device && left.inode == right.inode &&
           strcmp(left.below, right.below) == 0;
}

/* Number, from 1, of the path in the list that is this one, or 0. */
static int path_find(const struct deck_list *list, const char *path)
{
    for (int i = 0; i < list->count; i++)
        if (path_same(list->items[i], path)) return i + 1;
    return 0;
}

/* Adds a path whose ~ and variables have been replaced. */
static bool path_add(struct paths *paths, const char *path, size_t bytes)
{
    /* ./ keeps it as it is when it is read again */
    const char *wrong = NULL, *before = bytes && *path == '~' ? "./" : "";
    char *text = NULL;
    int same;
    paths->wrong[0] = 0;
    if (!bytes)
        wrong = "an empty path";
    else if (bytes + strlen(before) >= PATH_MAX)
        wrong = "a path that is too long for this system";
    else if (memchr(path, '\n', bytes))
        wrong = "a path with a line break in its name, which no path here may have";
    else if (paths->list.count == DECK_LIST_MAX)
        snprintf(paths->wrong, sizeof paths->wrong, "more than %d paths", (int)DECK_LIST_MAX);
    else if (asprintf(&text, "%s%.*s", before, (int)bytes, path) < 0)
        wrong = "more than memory holds";
    else if ((same = path_find(&paths->list, text))) {
        snprintf(paths->wrong, sizeof paths->wrong, "the folder of path %d of the list once more",
                 same);
        free(text);
    } else {
        paths->list.items[paths->list.count++] = text;
    }
    if (wrong) snprintf(paths->wrong, sizeof paths->wrong, "%s", wrong);
    return !paths->wrong[0];
}

/* The list that was read takes the place of `list`, if it is good. */
static void list_put(struct paths *paths, bool good, struct deck_list *list)
{
    deck_list_free(good ? list : &paths->list);
    if (good) *list = paths->list;
}

/* Adds all paths of a text with commas between them. */
static bool list_add(struct paths *paths, const char *text)
{
    for (const char *at = text;; at++) {
        at += strspn(at, " ");
        size_t whole = strcspn(at, ","), bytes = whole;
        while (bytes && at[bytes - 1] == ' ')
            bytes--;
        if (!path_add(paths, at, bytes)) return false;
        at += whole;
        if (!*at) return true;
    }
}

/* The same of a text that is to be expanded. A variable may hold several paths, as it may in a
 * shell; so commas separate before and after. */
static bool text_add(struct paths *paths, const char *text)
{
    for (const char *at = text;; at++) {
        char *path;
        at += strspn(at, " ");
        size_t bytes = strcspn(at, ",");
        if (!deck_path_expand(at, bytes, &path, paths->wrong)) return false;
        bool good = list_add(paths, path);
        free(path);
        if (!good) return false;
        at += bytes;
        if (!*at) return true;
    }
}

bool deck_paths_read(const char *text, struct deck_list *list, char wrong[DECK_WRONG])
{
    struct paths paths = {.list.count = 0};
    bool good = text_add(&paths, text);
    if (!good) snprintf(wrong, DECK_WRONG, "%s", paths.wrong);
    list_put(&paths, good, list);
    return good;
}

/* Adds one item of a sequence to the list, or gives false with `wrong` filled. */
static bool item_add(struct paths *paths, const struct deck_node *item)
{
    const char *wrong = NULL;
    char *path;
    if (item->kind == NODE_MAPPING)
        wrong = "a mapping";
    else if (item->kind == NODE_SEQUENCE)
        wrong = "a list in a list";
    else if (item->length != strlen(item->text))
        wrong = "text with a zero character";
    else if (item->plain && (strcmp(item->text, "~") == 0 || strcmp(item->text, "null") == 0))
        wrong = "nothing";
    if (wrong) {
        snprintf(paths->wrong, sizeof paths->wrong, "%s", wrong);
        return false;
    }
    if (!deck_path_expand(item->text, item->length, &path, paths->wrong)) return false;
    bool good = path_add(paths, path, strlen(path));
    free(path);
    return good;
}

void deck_paths_take(const struct deck_row *row, const struct deck_node *sequence, bool set,
                     struct deck_errors *errors, struct deck_list *list)
{
    struct paths paths = {.list.count = 0};
    bool good = sequence->count > 0;
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
    list_put(&paths, good, list);
}
