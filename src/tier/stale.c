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
#include "tier/marker.h"
#include "tier/system.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A folder of a run under examination. */
struct remains {
    /* For the path */
    const struct store_folder *own;
    const char *name;
    DIR *list;
    size_t bytes;
    char host[MARKER_HOST];
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

static bool made_elsewhere(const struct remains *remains)
{
    char host[MARKER_HOST] = "";
    if (is_local(remains->own)) return false;
    (void)gethostname(host, sizeof host - 1);
    return strcmp(host, remains->host) != 0;
}

/* Whether a run has made the folder and no living one owns it; counts the bytes of its files. */
static bool is_stale(struct remains *remains)
{
    int directory = dirfd(remains->list);
    char other[256];
    if (!marker_read(directory, remains->host)) /* empty: its maker died, or is not seen to live */
        return is_local(remains->own) && !marker_find_other(directory, true, other, sizeof other);
    rewinddir(remains->list);
    for (struct dirent *entry = readdir(remains->list); entry; entry = readdir(remains->list)) {
        size_t bytes = 0;
        if (strcmp(entry->d_name, "kept") == 0) return false;
        if (!marker_is_store_file(directory, entry->d_name, &bytes)) continue;
        if (marker_names_rank(entry->d_name) && is_locked(directory, entry->d_name)) return false;
        remains->bytes += bytes;
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

static void reclaim(struct remains *remains)
{
    const char *path = remains->own->path;
    int directory = dirfd(remains->list), error = remove_files(remains->list);
    char size[32], other[256];
    zi_memory_text(remains->bytes, size, sizeof size);
    bool shared = error == 0 && marker_find_other(directory, false, other, sizeof other);
    if (error == 0) error = marker_remove(directory, MARKER_NAME);
    if (error == 0 && !shared &&
        unlinkat(remains->own->path_descriptor, remains->name, AT_REMOVEDIR) != 0)
        error = errno;
    if (error != 0)
        zi_log(ZI_LOG_WARN, "tier",
               "%s/%s was left by a run that died and cannot be removed: %s; remove it by hand",
               path, remains->name, strerror(error));
    else if (shared)
        zi_log(ZI_LOG_WARN, "tier",
               "%s/%s, left by a run that died: its files are removed (%s), but the folder stays, "
               "since zinf has not made %s in it",
               path, remains->name, size, other);
    else
        zi_log(ZI_LOG_NOTE, "tier", "%s/%s, left by a run that died, is removed: %s are free again",
               path, remains->name, size);
}

static void judge(struct remains *remains, bool wanted)
{
    char size[32];
    if (!is_stale(remains)) return;
    if (made_elsewhere(remains))
        zi_log(ZI_LOG_WARN, "tier",
               "%s/%s was made on %s and holds %s; whether its run lives is known there only: if "
               "not, remove it there with `zinf run DECK --reclaim`",
               remains->own->path, remains->name, remains->host,
               zi_memory_text(remains->bytes, size, sizeof size));
    else if (wanted)
        reclaim(remains);
    else
        zi_log(ZI_LOG_WARN, "tier",
               "%s/%s was left by a run that died and holds %s; `zinf run DECK --reclaim` "
               "removes it",
               remains->own->path, remains->name,
               zi_memory_text(remains->bytes, size, sizeof size));
}

static void visit_folder(const struct store_folder *own, const char *name, bool wanted)
{
    int descriptor = openat(own->path_descriptor, name,
                            O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (descriptor < 0) return;
    struct remains remains = {.own = own, .name = name, .list = fdopendir(descriptor)};
    if (!remains.list) {
        close(descriptor);
        return;
    }
    judge(&remains, wanted);
    closedir(remains.list);
}

void stale_visit(const struct store_folder *own, bool wanted)
{
    int again = openat(own->path_descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = again < 0 ? NULL : fdopendir(again);
    if (!list) {
        zi_log(ZI_LOG_WARN, "tier", "%s: cannot be looked through for what dead runs left: %s",
               own->path, strerror(errno));
        if (again >= 0) close(again);
        return;
    }
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
        if (zi_stop_signal() != 0) break; /* many gigabytes take a while to be removed */
        if (marker_names_folder(entry->d_name) && strcmp(entry->d_name, own->name) != 0)
            visit_folder(own, entry->d_name, wanted);
    }
    closedir(list);
}
