/* SPDX-License-Identifier: Apache-2.0 */
/* What dead runs left on a path.
 *
 * A run that is killed cannot remove its store, and hundreds of gigabytes stay on a disk that the
 * next run needs. The first rank of each node looks through the path when a run starts: a folder of
 * a run (marker.c) none of whose rank files is locked has no living owner. It is reported with what
 * it holds and how to get rid of it, or removed when the user has asked for that.
 *
 * Left alone, silently: folders that no run has made, whatever their names; those in use; those
 * that were kept on purpose (they have a file `kept`); and those of other users, which cannot be
 * looked into. Only files that a store makes are removed, the marker last, so that a removal that
 * is interrupted can be made again; anything else in the folder keeps it in place.
 *
 * On a file system of a network the locks of another machine may not be seen: what was made there
 * is reported, but removed only from there. */
#include "tier/private.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/stop.h"
#include "tier/clean.h"
#include "tier/marker.h"
#include "tier/system.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A path that is looked through, and who hears of what is found there. */
struct search {
    /* Its path; its name is passed over, and NULL for nobody's */
    const struct store_folder *own;
    bool wanted;
    tier_remains_visitor *visit;
    void *context;
};

/* A folder of a run under examination. */
struct examined {
    const struct search *search;
    DIR *list;
    struct marker marker;
    struct tier_remains is;
    char reason[256];
};

/* Whether a process holds the lock of a file; one that cannot be asked counts as locked. */
static bool is_locked(int directory, const char *name)
{
    struct stat is;
    int file = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) return true;
    struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    bool locked = fstat(file, &is) != 0 || !S_ISREG(is.st_mode) ||
                  fcntl(file, F_OFD_GETLK, &whole) != 0 || whole.l_type != F_UNLCK;
    close(file);
    return locked;
}

/* Whether the locks of all that use the path are seen here. */
static bool is_local(const struct store_folder *path)
{
    const char *name;
    enum system_kind kind = system_kind(path->path_descriptor, &name);
    return kind != SYSTEM_NETWORK && kind != SYSTEM_PROGRAM;
}

static bool made_elsewhere(const struct examined *folder)
{
    char host[MARKER_HOST] = "";
    if (is_local(folder->search->own)) return false;
    (void)gethostname(host, sizeof host - 1);
    return strcmp(host, folder->marker.host) != 0;
}

/* Adds what a file of the store takes, and when it was written. */
static void count(struct examined *folder, const char *name, size_t bytes)
{
    struct stat is;
    folder->is.bytes += bytes;
    if (fstatat(dirfd(folder->list), name, &is, AT_SYMLINK_NOFOLLOW) == 0 &&
        is.st_mtime > folder->is.written)
        folder->is.written = is.st_mtime;
}

/* Whether a run has made the folder and no living one owns it; counts its files. */
static bool is_stale(struct examined *folder)
{
    int directory = dirfd(folder->list);
    char other[256];
    struct stat is;
    if (!marker_read(directory,
                     &folder->marker)) { /* empty: its maker died, or is not seen to live */
        if (fstat(directory, &is) == 0) folder->is.written = is.st_mtime;
        return is_local(folder->search->own) &&
               !marker_find_other(directory, true, other, sizeof other);
    }
    rewinddir(folder->list);
    for (struct dirent *entry = readdir(folder->list); entry; entry = readdir(folder->list)) {
        size_t bytes = 0;
        if (strcmp(entry->d_name, "kept") == 0) return false;
        if (!marker_is_store_file(directory, entry->d_name, &bytes)) continue;
        if (marker_names_rank(entry->d_name) && is_locked(directory, entry->d_name)) return false;
        count(folder, entry->d_name, bytes);
    }
    return true;
}

/* Removes the files of a store, but its marker. 0, or the first errno. */
static int remove_files(DIR *list)
{
    int error = 0, removed = 1;
    while (removed > 0 && error == 0) { /* removing may make readdir skip entries */
        removed = 0;
        rewinddir(list);
        for (struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
            if (strcmp(entry->d_name, MARKER_NAME) == 0 ||
                !marker_is_store_file(dirfd(list), entry->d_name, NULL))
                continue;
            int failed = marker_remove(dirfd(list), entry->d_name);
            if (failed == 0) removed++;
            if (error == 0) error = failed;
        }
    }
    return error;
}

static void reclaim(struct examined *folder)
{
    int path = folder->search->own->path_descriptor, directory = dirfd(folder->list);
    int error = remove_files(folder->list);
    bool shared =
        error == 0 && marker_find_other(directory, false, folder->reason, sizeof folder->reason);
    if (error == 0) error = marker_remove(directory, MARKER_NAME);
    if (error == 0 && !shared && unlinkat(path, folder->is.name, AT_REMOVEDIR) != 0) error = errno;
    folder->is.state = shared ? TIER_REMAINS_SHARED : TIER_REMAINS_REMOVED;
    if (error != 0) {
        folder->is.state = TIER_REMAINS_FAILED;
        snprintf(folder->reason, sizeof folder->reason, "%s", strerror(error));
    }
    if (folder->is.state != TIER_REMAINS_REMOVED) folder->is.reason = folder->reason;
}

static void judge(struct examined *folder)
{
    if (!is_stale(folder)) return;
    if (made_elsewhere(folder))
        folder->is.state = TIER_REMAINS_ELSEWHERE;
    else if (folder->search->wanted)
        reclaim(folder);
    folder->search->visit(folder->search->context, &folder->is);
}

static void examine(const struct search *search, const char *name)
{
    int descriptor = openat(search->own->path_descriptor, name,
                            O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (descriptor < 0) return;
    struct examined folder = {.search = search, .list = fdopendir(descriptor)};
    if (!folder.list) {
        close(descriptor);
        return;
    }
    folder.is = (struct tier_remains){.name = name,
                                      .host = folder.marker.host,
                                      .run = folder.marker.run,
                                      .state = TIER_REMAINS_FOUND};
    judge(&folder);
    closedir(folder.list);
}

static DIR *list_path(const struct store_folder *path)
{
    int again = openat(path->path_descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = again < 0 ? NULL : fdopendir(again);
    if (!list && again >= 0) {
        int error = errno;
        close(again);
        errno = error;
    }
    return list;
}

/* With the path's lock held. False, with errno, when it cannot be listed. */
static bool look_through(const struct search *search)
{
    const char *own = search->own->name;
    DIR *list = list_path(search->own);
    if (!list) return false;
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
        if (zi_stop_signal() != 0) break; /* many gigabytes take a while to be removed */
        if (marker_names_folder(entry->d_name) && !(own && strcmp(entry->d_name, own) == 0))
            examine(search, entry->d_name);
    }
    closedir(list);
    return true;
}

/* What a run that starts says of the folder that it found. */
static void report(void *context, const struct tier_remains *remains)
{
    const char *path = context, *name = remains->name;
    char size[32];
    zi_memory_text(remains->bytes, size, sizeof size);
    switch (remains->state) {
    case TIER_REMAINS_FOUND:
        zi_log(ZI_LOG_WARN, "tier",
               "%s/%s was left by a run that died and holds %s; `zinf run DECK --reclaim` "
               "removes it",
               path, name, size);
        break;
    case TIER_REMAINS_REMOVED:
        zi_log(ZI_LOG_NOTE, "tier", "%s/%s, left by a run that died, is removed: %s are free again",
               path, name, size);
        break;
    case TIER_REMAINS_ELSEWHERE:
        zi_log(ZI_LOG_WARN, "tier",
               "%s/%s was made on %s and holds %s; whether its run lives is known there only: if "
               "not, remove it there with `zinf run DECK --reclaim`",
               path, name, remains->host, size);
        break;
    case TIER_REMAINS_SHARED:
        zi_log(ZI_LOG_WARN, "tier",
               "%s/%s, left by a run that died: its files are removed (%s), but the folder stays, "
               "since zinf has not made %s in it",
               path, name, size, remains->reason);
        break;
    case TIER_REMAINS_FAILED:
        zi_log(ZI_LOG_WARN, "tier",
               "%s/%s was left by a run that died and cannot be removed: %s; remove it by hand",
               path, name, remains->reason);
        break;
    }
}

void stale_visit(const struct store_folder *own, bool wanted)
{
    struct search search = {.own = own, .wanted = wanted, .visit = report, .context = own->path};
    if (!look_through(&search))
        zi_log(ZI_LOG_WARN, "tier", "%s: cannot be looked through for what dead runs left: %s",
               own->path, strerror(errno));
}

/* Most folders have none: these are not locked. */
static bool has_candidate(const struct store_folder *path)
{
    DIR *list = list_path(path);
    bool found = !list; /* look_through says why it cannot */
    for (struct dirent *entry = list ? readdir(list) : NULL; entry && !found; entry = readdir(list))
        found = marker_names_folder(entry->d_name);
    if (list) closedir(list);
    return found;
}

enum zi_status tier_store_clean(const char *path, int directory, bool wanted,
                                tier_remains_visitor *visit, void *context)
{
    struct store_folder folder = {.path = strdup(path), .path_descriptor = directory};
    struct search search = {.own = &folder, .wanted = wanted, .visit = visit, .context = context};
    if (!folder.path) return zi_fail(ZI_ERROR_DEVICE, "tier", "no memory for a path's name");
    bool found = has_candidate(&folder);
    enum zi_status status = found ? folder_lock(&folder) : ZI_OK;
    if (found && status >= 0) {
        if (!look_through(&search))
            status =
                zi_fail(ZI_ERROR_IO, "tier", "%s: cannot be listed: %s", path, strerror(errno));
        folder_unlock(&folder);
    }
    free(folder.path);
    return status < 0 ? status : zi_stop_check();
}
