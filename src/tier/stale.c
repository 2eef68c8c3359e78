/* SPDX-License-Identifier: Apache-2.0 */
/* What dead runs left on a path.
 *
 * A run that is killed cannot remove its store, and hundreds of gigabytes stay on a disk that the
 * next run needs. The first rank of each node looks through the path when a run starts: a folder
 * named zinf-* none of whose rank files is locked has no living owner. It is reported with what it
 * holds and how to get rid of it, or removed when the user has asked for that.
 *
 * Left alone, silently: folders in use, folders that were kept on purpose (they have a file
 * `kept`), and those of other users, which cannot be looked into. Only files that a store makes are
 * removed, never through a symbolic link; anything else in the folder keeps it in place. */
#include "tier/private.h"

#include "base/log.h"
#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_rank_file(const char *name)
{
    size_t length = strlen(name);
    return strncmp(name, "rank-", 5) == 0 && length > 3 && strcmp(name + length - 3, ".h5") == 0;
}

static bool is_store_file(const char *name)
{
    return is_rank_file(name) || strcmp(name, "node") == 0 || strncmp(name, "speed-", 6) == 0;
}

/* Whether a process holds the lock of a file; one that cannot be asked counts as locked. */
static bool is_locked(int directory, const char *name)
{
    int file = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0) return true;
    struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    bool locked = fcntl(file, F_OFD_GETLK, &whole) != 0 || whole.l_type != F_UNLCK;
    close(file);
    return locked;
}

/* Whether no living run owns the folder, and the bytes that its files hold. */
static bool is_stale(DIR *folder, size_t *bytes)
{
    *bytes = 0;
    rewinddir(folder);
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        struct stat is;
        if (strcmp(entry->d_name, "kept") == 0) return false;
        if (is_rank_file(entry->d_name) && is_locked(dirfd(folder), entry->d_name)) return false;
        if (fstatat(dirfd(folder), entry->d_name, &is, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(is.st_mode))
            *bytes += (size_t)is.st_blocks * 512;
    }
    return true;
}

static void reclaim_folder(int path_descriptor, const char *path, const char *name, DIR *folder,
                           size_t bytes)
{
    char size[32];
    rewinddir(folder);
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        if (is_store_file(entry->d_name)) (void)unlinkat(dirfd(folder), entry->d_name, 0);
    }
    if (unlinkat(path_descriptor, name, AT_REMOVEDIR) != 0) {
        zi_log(ZI_LOG_WARN, "tier",
               "%s/%s was left by a run that died and cannot be removed: %s; remove it by hand",
               path, name, strerror(errno));
        return;
    }
    zi_log(ZI_LOG_NOTE, "tier", "%s/%s, left by a run that died, is removed: %s are free again",
           path, name, zi_memory_text(bytes, size, sizeof size));
}

static void visit_folder(int path_descriptor, const char *path, const char *name, bool reclaim)
{
    int descriptor = openat(path_descriptor, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (descriptor < 0) return;
    DIR *folder = fdopendir(descriptor);
    if (folder == NULL) {
        close(descriptor);
        return;
    }
    size_t bytes;
    char size[32];
    if (is_stale(folder, &bytes)) {
        if (reclaim)
            reclaim_folder(path_descriptor, path, name, folder, bytes);
        else
            zi_log(ZI_LOG_WARN, "tier",
                   "%s/%s was left by a run that died and holds %s; `zinf run DECK --reclaim` "
                   "removes it",
                   path, name, zi_memory_text(bytes, size, sizeof size));
    }
    closedir(folder);
}

void stale_visit(const char *path, const char *own_name, bool reclaim)
{
    DIR *list = opendir(path);
    if (list == NULL) {
        zi_log(ZI_LOG_WARN, "tier", "%s: cannot be looked through for what dead runs left: %s",
               path, strerror(errno));
        return;
    }
    for (struct dirent *entry = readdir(list); entry != NULL; entry = readdir(list)) {
        if (strncmp(entry->d_name, "zinf-", 5) == 0 && strcmp(entry->d_name, own_name) != 0)
            visit_folder(dirfd(list), path, entry->d_name, reclaim);
    }
    closedir(list);
}
