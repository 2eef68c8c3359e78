/* SPDX-License-Identifier: Apache-2.0 */
/* The folder of a run on one path, and the file of one rank in it.
 *
 * The problem: several runs, and several ranks of each, use one path; some of them have died. A
 * folder must be told to be in use or not at any moment, also by a run that starts while another
 * one is between making its folder and locking the first file in it.
 *
 * The idea: everything that makes, judges or removes a folder is done with the path itself locked
 * (flock on the directory, so no extra file is needed), and a rank's file is locked before that
 * lock is given back. The file's lock is one of the open file description (fcntl): it goes when
 * the process dies however it dies, and h5py and h5dump, which take flock on what they open, can
 * read the file while it is held.
 *
 * Invariants: seen with the path's lock held, a folder without a locked file belongs to no living
 * process. A rank removes only its own file; who removes the last one removes the folder. */
#include "tier/private.h"

#include "base/log.h"
#include "base/timing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_WAIT_S 120.0

/* Makes a folder and those above it that are absent. */
static enum zi_status make_path(const char *path)
{
    char *part = strdup(path);
    if (part == NULL) return zi_fail(ZI_ERROR_DEVICE, "tier", "no memory for a path's name");
    enum zi_status status = ZI_OK;
    for (char *at = part + 1; status == ZI_OK; at++) {
        if (*at != '/' && *at != '\0') continue;
        char end = *at;
        *at = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST && errno != EISDIR)
            status = zi_fail(ZI_ERROR_IO, "tier",
                             "%s: cannot make the folder %s: %s; choose another folder in "
                             "nvme.paths",
                             path, part, strerror(errno));
        if (end == '\0') break;
        *at = end;
    }
    free(part);
    return status;
}

enum zi_status folder_path_lock(const char *path, int *descriptor)
{
    ZI_TRY(make_path(path));
    int made = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (made < 0)
        return zi_fail(ZI_ERROR_IO, "tier",
                       "%s: cannot be opened: %s; choose another folder in "
                       "nvme.paths",
                       path, strerror(errno));
    double until = zi_time_s() + LOCK_WAIT_S;
    while (flock(made, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR) continue;
        if (errno != EWOULDBLOCK) {
            int error = errno;
            close(made);
            return zi_fail(ZI_ERROR_IO, "tier",
                           "%s: cannot be locked: %s; nvme.paths are to be folders on local disks",
                           path, strerror(error));
        }
        if (zi_time_s() > until) {
            close(made);
            return zi_fail(ZI_ERROR_IO, "tier",
                           "%s: another process has held its lock for %.0f s; `fuser -v %s` names "
                           "it; end it, or choose another folder in nvme.paths",
                           path, LOCK_WAIT_S, path);
        }
        usleep(2000);
    }
    *descriptor = made;
    return ZI_OK;
}

/* The run's name as a part of a file name. */
static void clean_name(const char *run, char *name, size_t size)
{
    size_t length = 0;
    for (; run[length] != '\0' && length + 1 < size; length++) {
        char c = run[length];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     c == '-' || c == '_' || c == '.';
        name[length] = c;
        if (!plain) name[length] = '_';
    }
    name[length] = '\0';
}

/* The strings of `folder`, and the descriptor that says that there is no file yet. */
static enum zi_status name_all(const struct tier_store_options *options, const char *path,
                               size_t length, struct store_folder *folder)
{
    char run[49];
    clean_name(options->run, run, sizeof run);
    *folder = (struct store_folder){.descriptor = -1};
    if (asprintf(&folder->path, "%.*s", (int)length, path) < 0) folder->path = NULL;
    if (folder->path != NULL &&
        asprintf(&folder->folder, "%s/zinf-%s-%016" PRIx64, folder->path, run, options->id) < 0)
        folder->folder = NULL;
    if (folder->folder != NULL &&
        asprintf(&folder->file, "%s/rank-%d.h5", folder->folder, options->rank) < 0)
        folder->file = NULL;
    if (folder->file == NULL)
        return zi_fail(ZI_ERROR_DEVICE, "tier", "no memory for the names of the store's files");
    return ZI_OK;
}

/* With the path's lock held. */
static enum zi_status make_and_lock(struct store_folder *folder)
{
    if (mkdir(folder->folder, 0700) != 0 && errno != EEXIST)
        return zi_fail(ZI_ERROR_IO, "tier",
                       "%s: cannot be made: %s; choose another folder in nvme.paths",
                       folder->folder, strerror(errno));
    int made = open(folder->file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (made < 0 && errno == EEXIST)
        return zi_fail(ZI_ERROR_IO, "tier",
                       "%s: is there already; is a folder listed twice in nvme.paths?",
                       folder->file);
    if (made < 0)
        return zi_fail(ZI_ERROR_IO, "tier",
                       "%s: cannot be created: %s; free some space, or choose "
                       "another folder in nvme.paths",
                       folder->file, strerror(errno));
    folder->descriptor = made;
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(made, F_OFD_SETLK, &whole) != 0)
        return zi_fail(ZI_ERROR_IO, "tier",
                       "%s: cannot be locked: %s; nvme.paths are to be folders on local disks",
                       folder->file, strerror(errno));
    return ZI_OK;
}

enum zi_status folder_enter(const struct tier_store_options *options, const char *path,
                            size_t length, struct store_folder *folder)
{
    ZI_TRY(name_all(options, path, length, folder));
    int lock = -1;
    ZI_TRY(folder_path_lock(folder->path, &lock));
    if (options->node_rank == 0)
        stale_visit(folder->path, folder->folder + strlen(folder->path) + 1, options->reclaim);
    enum zi_status status = make_and_lock(folder);
    close(lock);
    return status;
}

/* Removes the folder unless ranks still have files there, or it is kept. The path's lock is held.
 */
static void remove_when_last(const struct store_folder *folder)
{
    DIR *list = opendir(folder->folder);
    if (list == NULL) return;
    bool last = true;
    for (struct dirent *entry = readdir(list); entry != NULL && last; entry = readdir(list))
        last = strncmp(entry->d_name, "rank-", 5) != 0 && strcmp(entry->d_name, "kept") != 0;
    if (last) {
        (void)unlinkat(dirfd(list), "node", 0);
        if (rmdir(folder->folder) != 0)
            zi_log(ZI_LOG_WARN, "tier", "%s: cannot be removed: %s", folder->folder,
                   strerror(errno));
    }
    closedir(list);
}

/* An empty file says that the folder is meant to be there. */
static void mark_kept(const struct store_folder *folder)
{
    int directory = open(folder->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int mark = directory < 0 ? -1 : openat(directory, "kept", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (mark < 0)
        zi_log(ZI_LOG_WARN, "tier",
               "%s: cannot be marked as kept (%s): later runs will take it for one that died",
               folder->folder, strerror(errno));
    if (mark >= 0) close(mark);
    if (directory < 0) return;
    (void)unlinkat(directory, "node", 0);
    close(directory);
}

void folder_leave(struct store_folder *folder, bool keep)
{
    int lock = -1;
    bool entered = folder->folder != NULL && access(folder->folder, F_OK) == 0;
    if (entered && folder_path_lock(folder->path, &lock) >= 0) {
        bool made = folder->descriptor >= 0;
        if (made && keep) mark_kept(folder);
        if (made && !keep && unlink(folder->file) != 0)
            zi_log(ZI_LOG_WARN, "tier", "%s: cannot be removed: %s", folder->file, strerror(errno));
        remove_when_last(folder);
        close(lock);
    }
    if (folder->descriptor >= 0) close(folder->descriptor);
    free(folder->file);
    free(folder->folder);
    free(folder->path);
    *folder = (struct store_folder){.descriptor = -1};
}
