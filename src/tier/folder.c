/* SPDX-License-Identifier: Apache-2.0 */
/* The folder of a run on one path, and the file of one rank in it.
 *
 * The problem: several runs, and several ranks of each, use one path; some of them have died. A
 * folder must be told to be in use or not at any moment, also by a run that starts while another
 * one is between making its folder and locking the first file in it. And a path is open to others:
 * what has the name of a folder or file of the store may be a link to somewhere else, or be moved
 * or removed while the run uses it.
 *
 * The idea: everything that makes, judges or removes a folder is done with the path itself locked
 * (flock on the directory, so no extra file is needed), and a rank's file is locked before that
 * lock is given back. The file's lock is one of the open file description (fcntl): it goes when
 * the process dies however it dies, and h5py and h5dump, which take flock on what they open, can
 * read the file while it is held. Path and folder are opened once, the folder not through a link,
 * and everything that follows is relative to what was opened.
 *
 * Invariants: seen with the path's lock held, a folder without a locked file belongs to no living
 * process, and one without a marker (marker.c) to no run. A rank removes only its own file; who
 * removes the last one removes the folder. */
#include "tier/private.h"

#include "base/file.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/timing.h"
#include "tier/marker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_WAIT_S 120.0

/* Makes a folder and those above it that are absent. */
static enum zi_status make_path(const char *path)
{
    char *part = strdup(path);
    if (!part) return zi_fail(ZI_ERROR_DEVICE, "tier", "no memory for a path's name");
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

static enum zi_status open_path(const char *path, int *descriptor)
{
    ZI_TRY(make_path(path));
    *descriptor = open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);
    if (*descriptor >= 0) return ZI_OK;
    return zi_fail(ZI_ERROR_IO, "tier",
                   "%s: cannot be opened: %s; choose another folder in nvme.paths", path,
                   strerror(errno));
}

/* Leaving, a folder waits for the lock though a stop was asked for: that is why it leaves. */
static enum zi_status lock_path(const struct store_folder *folder, bool leaving)
{
    double until = zi_time_s() + LOCK_WAIT_S;
    while (flock(folder->path_descriptor, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR) continue;
        if (errno != EWOULDBLOCK)
            return zi_fail(ZI_ERROR_IO, "tier",
                           "%s: cannot be locked: %s; nvme.paths are to be folders on local disks",
                           folder->path, strerror(errno));
        if (!leaving) ZI_TRY(zi_stop_check());
        if (zi_time_s() > until)
            return zi_fail(ZI_ERROR_IO, "tier",
                           "%s: another process has held its lock for %.0f s; `fuser -v %s` names "
                           "it; end it, or choose another folder in nvme.paths",
                           folder->path, LOCK_WAIT_S, folder->path);
        usleep(2000);
    }
    return ZI_OK;
}

enum zi_status folder_lock(const struct store_folder *folder)
{
    return lock_path(folder, false);
}

void folder_unlock(const struct store_folder *folder)
{
    (void)flock(folder->path_descriptor, LOCK_UN);
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

enum zi_status folder_open(const struct tier_store_options *options, const char *path,
                           struct store_folder *folder)
{
    char run[49];
    clean_name(options->run, run, sizeof run);
    *folder = (struct store_folder){.path_descriptor = -1, .directory = -1, .descriptor = -1};
    folder->path = strdup(path);
    if (folder->path &&
        asprintf(&folder->folder, "%s/zinf-%s-%016" PRIx64, folder->path, run, options->id) < 0)
        folder->folder = NULL;
    if (folder->folder &&
        asprintf(&folder->file, "%s/rank-%d.h5", folder->folder, options->rank) < 0)
        folder->file = NULL;
    if (!folder->file)
        return zi_fail(ZI_ERROR_DEVICE, "tier", "no memory for the names of the store's files");
    folder->name = folder->folder + strlen(folder->path) + 1;
    folder->file_name = folder->file + strlen(folder->folder) + 1;
    return open_path(folder->path, &folder->path_descriptor);
}

bool folder_is_same_path(const struct store_folder *one, const struct store_folder *other)
{
    struct stat a, b;
    return fstat(one->path_descriptor, &a) == 0 && fstat(other->path_descriptor, &b) == 0 &&
           a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* The run's folder, made by this rank or by another one of the run. With the path's lock held. */
static enum zi_status make_folder(const char *run, struct store_folder *folder)
{
    struct marker marker;
    struct stat is;
    bool made = mkdirat(folder->path_descriptor, folder->name, 0700) == 0;
    if (!made && errno != EEXIST)
        return zi_fail(ZI_ERROR_IO, "tier",
                       "%s: cannot be made: %s; choose another folder in nvme.paths",
                       folder->folder, strerror(errno));
    int opened = openat(folder->path_descriptor, folder->name,
                        O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (opened < 0 && made)
        return zi_fail(ZI_ERROR_IO, "tier", "%s: cannot be opened: %s", folder->folder,
                       strerror(errno));
    bool ours = made || (opened >= 0 && fstat(opened, &is) == 0 && is.st_uid == geteuid() &&
                         marker_read(opened, &marker));
    if (!ours) {
        if (opened >= 0) close(opened);
        return zi_fail(ZI_ERROR_IO, "tier",
                       "%s: is there already and is no folder that a run has made; remove it, or "
                       "choose another folder in nvme.paths",
                       folder->folder);
    }
    folder->directory = opened;
    return made ? marker_write(opened, folder->folder, run) : ZI_OK;
}

/* With the path's lock held. */
static enum zi_status make_file(struct store_folder *folder)
{
    int made = openat(folder->directory, folder->file_name,
                      O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (made < 0)
        return zi_fail(ZI_ERROR_IO, "tier", "%s: cannot be created: %s%s", folder->file,
                       strerror(errno),
                       zi_file_remedy(errno, "; free some space, or choose another folder in "
                                             "nvme.paths"));
    folder->descriptor = made;
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(made, F_OFD_SETLK, &whole) != 0)
        return zi_fail(ZI_ERROR_IO, "tier",
                       "%s: cannot be locked: %s; nvme.paths are to be folders on local disks",
                       folder->file, strerror(errno));
    return ZI_OK;
}

enum zi_status folder_enter(const struct tier_store_options *options, struct store_folder *folder)
{
    ZI_TRY(folder_lock(folder));
    if (options->node_rank == 0) stale_visit(folder, options->reclaim);
    enum zi_status status = make_folder(options->run, folder);
    if (status == ZI_OK) status = make_file(folder);
    folder_unlock(folder);
    return status;
}

/* Whether no rank has a file in the folder, and nothing says that it is kept. */
static bool is_last(const struct store_folder *folder)
{
    int again = openat(folder->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = again < 0 ? NULL : fdopendir(again);
    bool last = list;
    if (!list && again >= 0) close(again);
    while (last) {
        struct dirent *entry = readdir(list);
        if (!entry) break;
        last = !marker_names_rank(entry->d_name) && strcmp(entry->d_name, "kept") != 0;
    }
    if (list) closedir(list);
    return last;
}

/* With the path's lock held. */
static void remove_when_last(const struct store_folder *folder)
{
    char other[256];
    if (!is_last(folder)) return;
    (void)marker_remove(folder->directory, "node");
    (void)marker_remove(folder->directory, MARKER_NAME);
    if (unlinkat(folder->path_descriptor, folder->name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return;
    int error = errno;
    bool found = marker_find_other(folder->directory, true, other, sizeof other);
    zi_log(ZI_LOG_WARN, "tier", "%s: stays, since %s%s%s", folder->folder,
           found ? "this run has not made what is in it: " : "it cannot be removed: ",
           found ? other : strerror(error), found ? "; remove it by hand" : "");
}

/* An empty file says that the folder is meant to be there; the first rank to leave makes it. */
static void mark_kept(const struct store_folder *folder)
{
    int mark = openat(folder->directory, "kept",
                      O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (mark < 0 && errno != EEXIST)
        zi_log(ZI_LOG_WARN, "tier",
               "%s: cannot be marked as kept (%s): later runs will take it for one that died",
               folder->folder, strerror(errno));
    if (mark >= 0) close(mark);
    (void)marker_remove(folder->directory, "node");
}

static void remove_file(const struct store_folder *folder)
{
    struct stat is;
    bool there = fstat(folder->descriptor, &is) != 0 || is.st_nlink > 0;
    int error = there && unlinkat(folder->directory, folder->file_name, 0) != 0 ? errno : 0;
    if (!there || error == ENOENT)
        zi_log(ZI_LOG_WARN, "tier",
               "%s: somebody else has removed or moved it while the run used it", folder->file);
    else if (error != 0)
        zi_log(ZI_LOG_WARN, "tier", "%s: cannot be removed: %s", folder->file, strerror(error));
}

void folder_leave(struct store_folder *folder, bool keep)
{
    bool made = folder->descriptor >= 0;
    if (folder->directory >= 0) {
        bool locked = lock_path(folder, true) >= 0;
        if (made && keep) mark_kept(folder);
        if (made && !keep) remove_file(folder);
        if (locked) remove_when_last(folder);
        if (locked) folder_unlock(folder);
    }
    if (made) close(folder->descriptor);
    if (folder->directory >= 0) close(folder->directory);
    if (folder->path_descriptor >= 0) close(folder->path_descriptor);
    free(folder->file);
    free(folder->folder);
    free(folder->path);
    *folder = (struct store_folder){.path_descriptor = -1, .directory = -1, .descriptor = -1};
}
