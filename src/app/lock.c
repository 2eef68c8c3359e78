/* SPDX-License-Identifier: Apache-2.0 */
/* The lock of a run directory.
 *
 * The problem: two runs in one directory mix their outputs, and --overwrite removes the files of a
 * run that is alive. Whether a run is alive cannot be told from a file that it has left: it may
 * have died, on another host too.
 *
 * The idea: a lock of the open file description, which the kernel (or, over NFS, the server) gives
 * back when the process is gone, however it went. The text of the file is for the message only: it
 * names who has the lock, and nobody judges by it. A finished run removes the file with the lock
 * still held; who has waited at the old file finds that the name is gone, or another file's, and
 * begins again.
 *
 * Invariants: of processes that hold the lock of the file which has the name there is at most one.
 * The file is opened without following links and without waiting, and is a regular file. */
#include "app/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/report.h"
#include "base/file.h"
#include "base/log.h"
#include "base/timing.h"
#include "tier/system.h"

#define LOCK_NAME "run.lock"

enum { TRIES = 100, WAIT_US = 20000 };

struct lock {
    char directory[PATH_MAX], path[PATH_MAX];
    /* The directory, when the lock was taken. */
    struct stat folder;
    char text[LOCK_TEXT];
    int file;
    /* The lock was lost, and that has been said. */
    bool lost;
};

static enum zi_status refuse_kind(const char *path, mode_t mode)
{
    return zi_fail(ZI_ERROR_USAGE, "app",
                   "%s is %s, which zinf has not made; move it, or choose another run.directory",
                   path, zi_file_kind(mode));
}

/* The kind is asked before, since to open a device may do something, and after. */
static enum zi_status open_file(const char *path, int *file)
{
    struct stat is;
    if (lstat(path, &is) == 0 && !S_ISREG(is.st_mode)) return refuse_kind(path, is.st_mode);
    int opened = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
    if (opened < 0)
        return zi_fail(ZI_ERROR_IO, "app", "run.directory: cannot open %s for writing: %s", path,
                       strerror(errno));
    if (fstat(opened, &is) == 0 && S_ISREG(is.st_mode)) {
        *file = opened;
        return ZI_OK;
    }
    close(opened);
    return refuse_kind(path, is.st_mode);
}

/* The first line of the file, of which only what can be printed. */
static void read_text(int file, char text[LOCK_TEXT])
{
    ssize_t length = pread(file, text, LOCK_TEXT - 1, 0);
    text[length > 0 ? length : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    for (char *at = text; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 127) *at = '?';
}

/* Who has just taken the lock may not have said yet who it is. */
static enum zi_status refuse(const char *directory, int file)
{
    char text[LOCK_TEXT];
    for (int i = 0; i < 10; i++) {
        read_text(file, text);
        if (text[0]) break;
        usleep(WAIT_US);
    }
    return zi_fail(ZI_ERROR_USAGE, "app",
                   "run.directory %s is in use by another run: %s; wait for its end or stop it, or "
                   "choose another directory with --set run.directory=...",
                   directory, text[0] ? text : "it does not say which");
}

/* Locks an open file. *held is false where the file system has no locks. */
static enum zi_status set_lock(const char *directory, const char *path, int file, bool *held)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int result;
    do {
        result = fcntl(file, F_OFD_SETLK, &whole);
    } while (result != 0 && errno == EINTR);
    *held = result == 0;
    if (result == 0) return ZI_OK;
    if (errno == EAGAIN || errno == EACCES) return refuse(directory, file);
    if (errno != ENOLCK && errno != EOPNOTSUPP && errno != ENOSYS)
        return zi_fail(ZI_ERROR_IO, "app", "run.directory: cannot lock %s: %s", path,
                       strerror(errno));
    zi_log(ZI_LOG_WARN, "app",
           "run.directory: %s cannot be locked (%s): a second run in this directory would not be "
           "noticed, and their outputs would mix",
           path, strerror(errno));
    return ZI_OK;
}

/* Whether the name is still that of the open file. */
static bool is_named(const char *path, int file)
{
    struct stat name, is;
    return lstat(path, &name) == 0 && fstat(file, &is) == 0 && name.st_ino == is.st_ino &&
           name.st_dev == is.st_dev;
}

static enum zi_status open_locked(const char *directory, struct lock *lock)
{
    bool held;
    for (int i = 0; i < TRIES; i++) {
        ZI_TRY(open_file(lock->path, &lock->file));
        enum zi_status status = set_lock(directory, lock->path, lock->file, &held);
        if (status >= 0 && (!held || is_named(lock->path, lock->file))) return ZI_OK;
        close(lock->file);
        lock->file = -1;
        ZI_TRY(status);
    }
    return zi_fail(ZI_ERROR_IO, "app", "run.directory: %s is removed as often as it is made",
                   lock->path);
}

static enum zi_status write_text(struct lock *lock)
{
    char host[256] = "", stamp[64];
    if (gethostname(host, sizeof host - 1) != 0) strcpy(host, "unknown");
    int length = snprintf(lock->text, sizeof lock->text, "process %ld on host %s since %s",
                          (long)getpid(), host, zi_time_stamp(stamp, sizeof stamp));
    if (ftruncate(lock->file, 0) != 0)
        return zi_fail(ZI_ERROR_IO, "app", "run.directory: cannot write %s: %s", lock->path,
                       strerror(errno));
    lock->text[length] = '\n';
    enum zi_status status =
        zi_file_append("app", lock->path, lock->file, lock->text, (size_t)length + 1);
    lock->text[length] = '\0';
    return status;
}

enum zi_status lock_take(const char *directory, struct lock **lock)
{
    struct lock *made = calloc(1, sizeof *made);
    if (!made) return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for the lock of the run");
    made->file = -1;
    enum zi_status status = report_path(directory, LOCK_NAME, made->path);
    snprintf(made->directory, sizeof made->directory, "%s", directory);
    if (status >= 0) status = open_locked(directory, made);
    if (status >= 0 && stat(directory, &made->folder) != 0)
        status = zi_fail(ZI_ERROR_IO, "app", "cannot examine %s: %s", directory, strerror(errno));
    if (status >= 0) status = write_text(made);
    if (status < 0) {
        if (made->file >= 0)
            lock_release(made);
        else
            free(made);
        return status;
    }
    *lock = made;
    return ZI_OK;
}

void lock_release(struct lock *lock)
{
    if (!lock) return;
    if (is_named(lock->path, lock->file)) (void)unlink(lock->path);
    close(lock->file);
    free(lock);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev;
}

enum zi_status lock_check(struct lock *lock)
{
    struct stat is, file;
    bool stays = stat(lock->directory, &is) == 0 && is_same(&is, &lock->folder);
    /* Of a lock file that is only gone nobody has made use. */
    bool taken =
        lstat(lock->path, &is) == 0 && fstat(lock->file, &file) == 0 && !is_same(&is, &file);
    if (stays && !taken) return ZI_OK;
    if (lock->lost) return ZI_ERROR_IO;
    lock->lost = true;
    return zi_fail(ZI_ERROR_IO, "app",
                   "run.directory %s has been moved, removed or taken by another run meanwhile; "
                   "nothing more is written under this name",
                   lock->directory);
}

const char *lock_text(const struct lock *lock)
{
    return lock->text;
}

/* Whether the text is one that write_text writes; who wrote it, where. */
static bool parse_text(const char *text, char host[256])
{
    long process;
    char since[64];
    return sscanf(text, "process %ld on host %255s since %63s", &process, host, since) == 3;
}

/* Over a network the lock of another machine may not be seen. */
static bool may_be_elsewhere(int file, const char *host)
{
    const char *name;
    char own[256] = "";
    enum system_kind kind = system_kind(file, &name);
    if (kind != SYSTEM_NETWORK && kind != SYSTEM_PROGRAM) return false;
    (void)gethostname(own, sizeof own - 1);
    return strcmp(own, host) != 0;
}

static enum lock_state look_at(int file, struct lock_view *view)
{
    char host[256];
    struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    if (fstat(file, &view->is) != 0 || !S_ISREG(view->is.st_mode)) return LOCK_FOREIGN;
    read_text(file, view->text);
    if (fcntl(file, F_OFD_GETLK, &whole) != 0) return LOCK_UNKNOWN;
    if (whole.l_type != F_UNLCK) return LOCK_HELD;
    if (!parse_text(view->text, host)) return LOCK_FOREIGN;
    return may_be_elsewhere(file, host) ? LOCK_UNKNOWN : LOCK_FREE;
}

void lock_look(int directory, struct lock_view *view)
{
    struct stat is;
    *view = (struct lock_view){.state = LOCK_FOREIGN};
    if (fstatat(directory, LOCK_NAME, &is, AT_SYMLINK_NOFOLLOW) != 0) {
        view->state = errno == ENOENT ? LOCK_NONE : LOCK_UNKNOWN;
        return;
    }
    if (!S_ISREG(is.st_mode)) return;
    int file = openat(directory, LOCK_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) {
        view->state = LOCK_UNKNOWN;
        return;
    }
    view->state = look_at(file, view);
    close(file);
}

/* Whether the name in the folder is still that of the open file. */
static bool is_named_in(int directory, int file)
{
    struct stat name, is;
    return fstatat(directory, LOCK_NAME, &name, AT_SYMLINK_NOFOLLOW) == 0 &&
           fstat(file, &is) == 0 && S_ISREG(is.st_mode) && is_same(&name, &is);
}

bool lock_seize(int directory, int *file)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int opened =
        openat(directory, LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
    if (opened < 0) return false;
    int error = fcntl(opened, F_OFD_SETLK, &whole) != 0 ? errno : 0;
    if (error == EACCES || (error == 0 && !is_named_in(directory, opened))) error = EAGAIN;
    if (error == 0) {
        *file = opened;
        return true;
    }
    close(opened);
    errno = error;
    return false;
}

/* A file without text is one that lock_seize has made. */
bool lock_drop(int directory, int file, bool remove)
{
    struct stat is;
    bool goes = remove || (fstat(file, &is) == 0 && is.st_size == 0);
    bool gone = !goes || !is_named_in(directory, file) || unlinkat(directory, LOCK_NAME, 0) == 0;
    int error = errno;
    close(file);
    errno = error;
    return gone;
}

bool lock_seen(const char *directory, const char *text)
{
    char path[PATH_MAX], found[LOCK_TEXT];
    if (report_path(directory, LOCK_NAME, path) < 0) return false;
    int file = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) return false;
    read_text(file, found);
    close(file);
    return strcmp(found, text) == 0;
}
