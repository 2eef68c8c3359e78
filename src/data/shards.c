/* SPDX-License-Identifier: Apache-2.0 */
/* From a path of the deck to files.
 *
 * What exists under the very name is that, also where the name has a * in it; only what does not
 * exist is taken for a pattern. The order of the files decides which tokens a step trains on, so it
 * is by bytes, whatever the locale, and does not depend on the order of the file system. */
#include "data/shards.h"

#include "base/log.h"
#include "data/corpus.h"
#include "data/format.h"

#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TEMPORARY ".tmp-" /* of an output in the making (base/file.h) */

static enum zi_status no_memory(const char *path)
{
    return zi_fail(ZI_ERROR_DEVICE, "data", "no memory to list %s", path);
}

/* Adds a file; takes over its path, which is NULL when there was no memory for it. */
static enum zi_status path_add(struct shard_list *list, char *path)
{
    if (!path) return no_memory(list->key);
    if (list->count == CORPUS_SHARDS_MAX) {
        enum zi_status status =
            zi_fail(ZI_ERROR_USAGE, "data",
                    "%s has more than %d files, the first of them too many is %s: join some",
                    list->key, (int)CORPUS_SHARDS_MAX, path);
        free(path);
        return status;
    }
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 64 : 2 * list->capacity;
        char **paths = realloc(list->paths, capacity * sizeof *paths);
        if (!paths) {
            free(path);
            return no_memory(list->key);
        }
        list->paths = paths;
        list->capacity = capacity;
    }
    list->paths[list->count++] = path;
    return ZI_OK;
}

void shard_list_free(struct shard_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->paths[i]);
    free(list->paths);
    list->paths = NULL;
    list->count = list->capacity = 0;
}

static bool is_passed_over(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const char *mark = strstr(name, TEMPORARY);
    return name[0] == '.' || (mark && strlen(mark) == strlen(TEMPORARY) + 6);
}

static bool is_folder(const char *path)
{
    struct stat information;
    return stat(path, &information) == 0 && S_ISDIR(information.st_mode);
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Whether sorted paths hold the .bin of an .idx: both are one dataset, which the .bin stands for. */
static bool has_bin(const char *path, char *const *paths, size_t count)
{
    char *bin = token_name_ends(path, ".idx") ? strdup(path) : NULL;
    if (!bin) return false;
    memcpy(bin + strlen(bin) - 4, ".bin", 4);
    bool found = bsearch(&bin, paths, count, sizeof *paths, by_bytes) && token_is_megatron(path);
    free(bin);
    return found;
}

/* Bare ids have no mark by which another file could be told from them: in a folder the name has to
 * say it. */
static enum zi_status check_bare(const struct shard_list *list, const char *path)
{
    if (list->format != DATA_NANOGPT || token_name_ends(path, ".bin")) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "data",
                   "%s: %s does not end in .bin, and with data.format: nanogpt nothing else tells "
                   "whether it holds tokens: name the files by a pattern",
                   list->key, path);
}

/* Adds what a folder or a pattern has: paths that are sorted here, and stay the caller's. */
static enum zi_status found_add(struct shard_list *list, const char *from, char **paths,
                                size_t count)
{
    size_t before = list->count, passed = 0;
    const char *first = NULL;
    bool folder = is_folder(from);
    if (count > 0) qsort(paths, count, sizeof *paths, by_bytes);
    for (size_t i = 0; i < count; i++) {
        bool inner = is_folder(paths[i]);
        if (inner && !folder)
            return zi_fail(ZI_ERROR_USAGE, "data",
                           "%s: %s fits the pattern %s and is a folder: let the pattern end in /*, "
                           "or fit files only",
                           list->key, paths[i], from);
        if (inner || is_passed_over(paths[i])) {
            if (passed++ == 0) first = paths[i];
            continue;
        }
        if (has_bin(paths[i], paths, count)) continue;
        if (folder) ZI_TRY(check_bare(list, paths[i]));
        ZI_TRY(path_add(list, strdup(paths[i])));
    }
    if (passed > 0)
        zi_log(ZI_LOG_NOTE, "data",
               "%s: passed over what is hidden, unfinished or a folder: %s, %zu in all", list->key,
               first, passed);
    if (list->count > before) return ZI_OK;
    return zi_fail(ZI_ERROR_USAGE, "data",
                   "%s: %s %s has no token file: `zinf tokenize` makes some, or name another",
                   list->key, folder ? "folder" : "pattern", from);
}

static int is_not_dots(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static enum zi_status folder_add(struct shard_list *list, const char *folder)
{
    struct dirent **entries;
    const char *between = token_name_ends(folder, "/") ? "" : "/";
    enum zi_status status = ZI_OK;
    int count = scandir(folder, &entries, is_not_dots, NULL);
    if (count < 0)
        return zi_fail(ZI_ERROR_USAGE, "data", "%s: cannot list folder %s: %s", list->key, folder,
                       strerror(errno));
    char **paths = calloc((size_t)count + 1, sizeof *paths);
    if (!paths) status = no_memory(folder);
    for (int i = 0; i < count; i++) {
        if (status >= 0 && asprintf(&paths[i], "%s%s%s", folder, between, entries[i]->d_name) < 0) {
            paths[i] = NULL;
            status = no_memory(folder);
        }
        free(entries[i]);
    }
    free(entries);
    if (status >= 0) status = found_add(list, folder, paths, (size_t)count);
    for (int i = 0; paths && i < count; i++)
        free(paths[i]);
    free(paths);
    return status;
}

static enum zi_status pattern_add(struct shard_list *list, const char *pattern)
{
    glob_t found = {.gl_pathc = 0};
    int result = glob(pattern, GLOB_ERR | GLOB_NOSORT, NULL, &found);
    enum zi_status status;
    if (result == 0)
        status = found_add(list, pattern, found.gl_pathv, found.gl_pathc);
    else if (result == GLOB_NOMATCH)
        status = zi_fail(ZI_ERROR_USAGE, "data",
                         "%s: no file fits the pattern %s (paths are relative to where zinf was "
                         "started; `zinf tokenize` makes token files)",
                         list->key, pattern);
    else
        status = zi_fail(ZI_ERROR_USAGE, "data", "%s: cannot list the files of %s: %s", list->key,
                         pattern, result == GLOB_NOSPACE ? "no memory" : strerror(errno));
    globfree(&found);
    return status;
}

enum zi_status shard_list_add(struct shard_list *list, const char *path)
{
    struct stat information;
    bool exists = lstat(path, &information) == 0;
    if (is_folder(path)) return folder_add(list, path);
    if (!exists && strpbrk(path, "*?[")) return pattern_add(list, path);
    return path_add(list, strdup(path)); /* opening says what is wrong with it */
}
