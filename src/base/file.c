/* SPDX-License-Identifier: Apache-2.0 */
/* Files by name.
 *
 * rename() replaces whatever has the name: a device node, a fifo, a link instead of its target. So
 * an output's name is looked at before anything is written, its links are followed by hand, as far
 * as a name that does not exist yet, and the temporary file is made in the folder of the target:
 * only then is rename a change of one name in one folder, which is what makes it atomic.
 *
 * The temporary name ends in six characters that mkostemp chooses, so two programs that write the
 * same output do not write into each other's file: the last one to finish has the name. A program
 * that is killed leaves its temporary file, but not its lock on it: by that, and not by a guess, a
 * file in a folder of zinf's own is known to have no writer any more, and removed. The lock is one
 * of an open file (F_OFD_SETLK), which a close of the same file elsewhere in the program leaves
 * alone, and which is held until the file has its final name.
 *
 * Opening is with O_NONBLOCK, since the open of a fifo waits for its other end, and the kind is
 * asked of the open file, not of the name, which may change in between. O_NONBLOCK has no meaning
 * for regular files. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/log.h"

#define TEMPORARY ".tmp-XXXXXX" /* the ending of a temporary name; X: chosen by mkostemp */

enum {
    LINKS_MOST = 40, /* followed, as the kernel does */
    TRIES_MOST = 100
};

const char *zi_file_kind(mode_t mode)
{
    if (S_ISREG(mode)) return "a regular file";
    if (S_ISDIR(mode)) return "a folder";
    if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
    if (S_ISFIFO(mode)) return "a fifo";
    if (S_ISSOCK(mode)) return "a socket";
    if (S_ISLNK(mode)) return "a link";
    return "no regular file";
}

void zi_file_keep_standard(void)
{
    for (int file = STDIN_FILENO; file <= STDERR_FILENO; file++) {
        /* The lowest free number is this one; a folder cannot be read as a file, nor written. */
        if (fcntl(file, F_GETFD) < 0 && errno == EBADF) (void)!open("/", O_RDONLY | O_DIRECTORY);
    }
}

static enum zi_status no_memory(const char *room)
{
    return zi_fail(ZI_ERROR_DEVICE, room, "no memory for the name of a file");
}

enum zi_status zi_file_open_input(const char *room, const char *path, int *file, int64_t *bytes)
{
    struct stat is;
    int opened = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (opened < 0)
        return zi_fail(ZI_ERROR_USAGE, room, "cannot open %s: %s", path, strerror(errno));
    if (fstat(opened, &is) != 0) {
        int error = errno;
        close(opened);
        return zi_fail(ZI_ERROR_IO, room, "cannot examine %s: %s", path, strerror(error));
    }
    if (!S_ISREG(is.st_mode)) {
        close(opened);
        return zi_fail(ZI_ERROR_USAGE, room, "%s is %s; name a regular file", path,
                       zi_file_kind(is.st_mode));
    }
    *file = opened;
    *bytes = (int64_t)is.st_size;
    return ZI_OK;
}

const char *zi_file_remedy(int error, const char *room)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
        return room;
    case EFBIG:
        return "; raise the limit on the size of files (ulimit -f), or write to a file system that "
               "takes larger ones";
    case EMFILE:
        return "; raise the limit on open files of a process (ulimit -n)";
    case ENFILE:
        return "; too many files are open on this node: end what has them open, or raise "
               "fs.file-max (sysctl)";
    case EACCES:
        return "; give this user the right to write there (chmod, chown), or write elsewhere";
    case EPERM:
        return "; it may be immutable (lsattr), or another user's: have that changed, or write "
               "elsewhere";
    case EROFS:
        return "; have the file system mounted for writing, or write elsewhere";
    case ENOENT:
    case ENOTDIR:
        return "; its folder is not there (any more)";
    case EIO:
        return "; see the kernel's messages (dmesg): the disk may be failing";
    case ENOMEM:
        return "; raise the limit on the memory of a process (ulimit -v), or use less of it";
    default:
        return "";
    }
}

static const char *remedy_of(int error)
{
    return zi_file_remedy(error, "; make room, or write elsewhere");
}

enum zi_status zi_file_create_new(const char *room, const char *path, mode_t mode, int *file)
{
    int made = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (made < 0)
        return zi_fail_limited(
            ZI_ERROR_IO, room, "%s cannot be created: %s%s", path, strerror(errno),
            errno == EEXIST ? "; something that zinf did not make has this name: move it"
                            : remedy_of(errno));
    *file = made;
    return ZI_OK;
}

/* 0 or an errno. */
static int write_whole(int file, const char *bytes, size_t count)
{
    while (count > 0) {
        ssize_t done = write(file, bytes, count);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return done < 0 ? errno : EIO;
        bytes += done;
        count -= (size_t)done;
    }
    return 0;
}

enum zi_status zi_file_append(const char *room, const char *path, int file, const void *bytes,
                              size_t count)
{
    off_t end = lseek(file, 0, SEEK_END);
    int error = end < 0 ? errno : write_whole(file, bytes, count);
    if (error == 0) return ZI_OK;
    if (end >= 0 && ftruncate(file, end) != 0)
        zi_log(ZI_LOG_WARN, room, "%s: its last line is not whole: %s", path, strerror(errno));
    return zi_fail(ZI_ERROR_IO, room, "cannot write %s: %s%s", path, strerror(error),
                   remedy_of(error));
}

int zi_file_claim(int file, bool grows, int64_t first, int64_t bytes)
{
    int result;
    do {
        result = fallocate(file, grows ? 0 : FALLOC_FL_KEEP_SIZE, (off_t)first, (off_t)bytes);
    } while (result != 0 && errno == EINTR);
    if (result == 0) return 0;
    if (errno != EOPNOTSUPP && errno != ENOSYS) return errno;
    struct statvfs system;
    if (fstatvfs(file, &system) != 0) return errno;
    bool lacks = (double)system.f_bavail * (double)system.f_frsize < (double)bytes;
    return system.f_blocks > 0 && lacks ? ENOSPC : 0;
}

enum zi_status zi_file_sync_folder(const char *room, const char *folder)
{
    int opened = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* Some file systems have no such operation and say so with EINVAL. */
    int error = opened < 0 || (fsync(opened) != 0 && errno != EINVAL) ? errno : 0;
    if (opened >= 0) close(opened);
    if (error == 0) return ZI_OK;
    return zi_fail(ZI_ERROR_IO, room, "cannot make folder %s durable: %s", folder, strerror(error));
}

/* The folder of a path, allocated; NULL without memory. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

/* What a link at `path` points to, seen from where `path` is seen from; allocated, NULL with errno.
 */
static char *link_target(const char *path)
{
    char target[PATH_MAX];
    ssize_t length = readlink(path, target, sizeof target);
    if (length < 0) return NULL;
    if (length == (ssize_t)sizeof target) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    const char *slash = target[0] == '/' ? NULL : strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash - path) + 1 : 0;
    char *joined = malloc(folder + (size_t)length + 1);
    if (!joined) return NULL;
    memcpy(joined, path, folder);
    memcpy(joined + folder, target, (size_t)length);
    joined[folder + (size_t)length] = '\0';
    return joined;
}

/* Follows links, also to a name that does not exist, and refuses what is there and no regular file.
 * *found is allocated. */
static enum zi_status find_target(const char *room, const char *path, char **found)
{
    struct stat is;
    char *at = strdup(path);
    for (int links = 0; at; links++) {
        if (lstat(at, &is) != 0) {
            int error = errno;
            if (error == ENOENT) break;
            free(at);
            return zi_fail(ZI_ERROR_IO, room, "%s cannot be written: %s", path, strerror(error));
        }
        if (S_ISREG(is.st_mode)) break;
        if (!S_ISLNK(is.st_mode) || links == LINKS_MOST) {
            free(at);
            return zi_fail(ZI_ERROR_USAGE, room,
                           "%s is %s, which is not replaced by a file; choose another name", path,
                           links == LINKS_MOST ? "a link that leads nowhere"
                                               : zi_file_kind(is.st_mode));
        }
        char *target = link_target(at);
        free(at);
        at = target;
    }
    if (!at) return no_memory(room);
    *found = at;
    return ZI_OK;
}

/* 0, also where the file system has no locks, or an errno: EAGAIN where another holds it. */
static int take_lock(int file)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(file, F_OFD_SETLK, &whole) == 0) return 0;
    return errno == EACCES ? EAGAIN : errno;
}

/* Makes the temporary file and locks it. Between the two another program may take it for one without
 * a writer: then the next is made. -1 with errno. */
static int make_temporary(char *name)
{
    size_t end = strlen(name) - strlen("XXXXXX");
    for (int i = 0; i < TRIES_MOST; i++) {
        struct stat is;
        memcpy(name + end, "XXXXXX", strlen("XXXXXX"));
        int file = mkostemp(name, O_CLOEXEC);
        if (file < 0) return -1;
        if (take_lock(file) != EAGAIN && fstat(file, &is) == 0 && is.st_nlink > 0) return file;
        close(file);
    }
    errno = EAGAIN;
    return -1;
}

enum zi_status zi_output_begin(const char *room, const char *path, mode_t mode,
                               struct zi_output *output)
{
    *output = (struct zi_output){.room = room, .file = -1};
    ZI_TRY(find_target(room, path, &output->path));
    if (asprintf(&output->temporary, "%s" TEMPORARY, output->path) < 0) {
        output->temporary = NULL;
        zi_output_discard(output);
        return no_memory(room);
    }
    output->file = make_temporary(output->temporary);
    mode_t mask = umask(0);
    (void)umask(mask);
    if (output->file >= 0 && fchmod(output->file, mode & ~mask) == 0) return ZI_OK;
    int error = errno;
    if (output->file < 0) {
        free(output->temporary);
        output->temporary = NULL;
    }
    char *folder = folder_of(output->path);
    enum zi_status status =
        zi_fail(ZI_ERROR_IO, room, "%s cannot be written: no file can be made in %s: %s%s", path,
                folder ? folder : "its folder", strerror(error), remedy_of(error));
    free(folder);
    zi_output_discard(output);
    return status;
}

enum zi_status zi_output_check(const char *room, const char *path)
{
    struct zi_output output;
    ZI_TRY(zi_output_begin(room, path, 0600, &output));
    zi_output_discard(&output);
    return ZI_OK;
}

enum zi_status zi_output_write(struct zi_output *output, const void *bytes, size_t count)
{
    int error = write_whole(output->file, bytes, count);
    if (error == 0) return ZI_OK;
    return zi_fail(ZI_ERROR_IO, output->room, "cannot write %s: %s%s", output->path,
                   strerror(error), remedy_of(error));
}

/* Syncs and closes; some file systems tell of a failed write only here. */
static enum zi_status close_synced(struct zi_output *output)
{
    int error = fsync(output->file) != 0 ? errno : 0;
    if (close(output->file) != 0 && error == 0) error = errno;
    output->file = -1;
    if (error == 0) return ZI_OK;
    return zi_fail(ZI_ERROR_IO, output->room, "cannot write %s: %s%s", output->path,
                   strerror(error), remedy_of(error));
}

static enum zi_status move_to_name(struct zi_output *output)
{
    struct stat is;
    if (lstat(output->path, &is) == 0 && !S_ISREG(is.st_mode))
        return zi_fail(ZI_ERROR_USAGE, output->room,
                       "%s has become %s meanwhile, which is not replaced by a file", output->path,
                       zi_file_kind(is.st_mode));
    if (rename(output->temporary, output->path) != 0)
        return zi_fail(ZI_ERROR_IO, output->room, "cannot rename %s to %s: %s", output->temporary,
                       output->path, strerror(errno));
    free(output->temporary);
    output->temporary = NULL;
    char *folder = folder_of(output->path);
    if (!folder) return no_memory(output->room);
    enum zi_status status = zi_file_sync_folder(output->room, folder);
    free(folder);
    return status;
}

/* A second descriptor holds the lock until the file has its name; from now on as a reader, since under
 * that name others may lock it to read. */
enum zi_status zi_output_commit(struct zi_output *output)
{
    struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    int locked = fcntl(output->file, F_DUPFD_CLOEXEC, 0);
    if (locked >= 0) (void)fcntl(locked, F_OFD_SETLK, &whole);
    enum zi_status status = close_synced(output);
    if (status >= 0) status = move_to_name(output);
    if (locked >= 0) close(locked);
    zi_output_discard(output);
    return status;
}

void zi_output_discard(struct zi_output *output)
{
    if (!output->room) return;
    if (output->file >= 0) close(output->file);
    if (output->temporary) (void)unlink(output->temporary);
    free(output->temporary);
    free(output->path);
    *output = (struct zi_output){.file = -1};
}

enum zi_status zi_output_text(const char *room, const char *path, const char *text)
{
    struct zi_output output;
    ZI_TRY(zi_output_begin(room, path, 0666, &output));
    enum zi_status status = zi_output_write(&output, text, strlen(text));
    if (status >= 0) return zi_output_commit(&output);
    zi_output_discard(&output);
    return status;
}

static bool is_temporary(const char *name)
{
    const char *mark = strstr(name, ".tmp-");
    return mark && mark > name && strlen(mark) == strlen(TEMPORARY);
}

/* Removes a file that nobody has locked; says whether it has. */
static bool remove_dead(int folder, const char *name)
{
    struct stat is;
    int file = openat(folder, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (file < 0) return false;
    bool removed = fstat(file, &is) == 0 && S_ISREG(is.st_mode) && take_lock(file) == 0 &&
                   unlinkat(folder, name, 0) == 0;
    close(file);
    return removed;
}

void zi_output_remove_dead(const char *room, const char *folder)
{
    DIR *list = opendir(folder);
    if (!list) return;
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
        if (is_temporary(entry->d_name) && remove_dead(dirfd(list), entry->d_name))
            zi_log(ZI_LOG_NOTE, room, "removed %s/%s, which a killed program has left unfinished",
                   folder, entry->d_name);
    }
    closedir(list);
}
