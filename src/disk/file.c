/* SPDX-License-Identifier: Apache-2.0 */
/* Files for direct I/O: opened once, with their space claimed before the first byte is written.
 *
 * Claimed space is what makes direct writes asynchronous (a write that extends a file blocks in the
 * call that submits it), and what makes a full disk an error of the start and not of the night. The
 * claim is made before direct I/O is switched on, because where a file system cannot claim space
 * the C library writes a byte into every block instead, which direct I/O would refuse.
 *
 * Direct I/O is switched on by fcntl, tried with the smallest transfer at the strictest alignment
 * that callers may use, and given up with a warning, once per file system, where either fails: the
 * file then goes through the page cache. */
#include "disk/engine.h"

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/stop.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { TEXT = 64, SYSTEMS = 16, CLAIM_PIECE = 256 << 20 };

static enum zi_status fail_file(const char *name, const char *what, int error)
{
    return zi_fail(ZI_ERROR_IO, "disk", "%s: cannot %s: %s%s", name, what, strerror(error),
                   zi_file_remedy(error, "; make room, or name another folder"));
}

/* Claims [0, bytes) in pieces, between which a request to stop is seen. 0 or an errno; ECANCELED
 * for such a request. */
static int claim_pieces(const struct disk_file *file, int64_t bytes, bool stops)
{
    for (int64_t from = 0; from < bytes; from += CLAIM_PIECE) {
        int64_t piece = bytes - from < CLAIM_PIECE ? bytes - from : CLAIM_PIECE;
        int error;
        if (stops && zi_stop_signal() != 0) return ECANCELED;
        do {
            error = posix_fallocate(file->descriptor, from, piece);
        } while (error == EINTR);
        if (error != 0) return error;
    }
    return 0;
}

/* Claims bytes [0, options->bytes) of a file. */
static enum zi_status claim(const struct disk_file *file, const struct disk_file_options *options)
{
    struct stat before;
    int64_t bytes = options->bytes;
    if (fstat(file->descriptor, &before) != 0)
        return fail_file(file->name, "ask for the size", errno);
    int error = claim_pieces(file, bytes, options->stops);
    if (error == 0) return ZI_OK;
    /* what a failed claim got is given back first, so that the free bytes are those of before */
    if (before.st_size < bytes && ftruncate(file->descriptor, before.st_size) != 0)
        zi_log(ZI_LOG_WARN, "disk", "%s: cannot give back space: %s", file->name, strerror(errno));
    if (error == ECANCELED) return ZI_STOPPED;
    if (error != ENOSPC && error != EDQUOT) return fail_file(file->name, "claim its space", error);
    struct statvfs system;
    char wanted[TEXT], left[TEXT] = "an unknown number of bytes";
    zi_memory_text((size_t)bytes, wanted, sizeof wanted);
    if (fstatvfs(file->descriptor, &system) == 0)
        zi_memory_text((size_t)system.f_bavail * system.f_frsize, left, sizeof left);
    return zi_fail(ZI_ERROR_IO, "disk",
                   "%s: cannot claim %s (%lld bytes): %s; the file system has %s free; make room, "
                   "or name another folder",
                   file->name, wanted, (long long)bytes, strerror(error), left);
}

/* 0 when direct I/O works on the file, else an errno. */
static int make_direct(const struct disk_file *file)
{
    if (disk_fault_strikes_now(DISK_FAULT_NO_DIRECT)) return EINVAL;
    int flags = fcntl(file->descriptor, F_GETFL);
    if (flags < 0 || fcntl(file->descriptor, F_SETFL, flags | O_DIRECT) != 0) return errno;
    char *memory = aligned_alloc(DISK_BLOCK, 2 * DISK_BLOCK);
    if (!memory) return ENOMEM;
    ssize_t got;
    do {
        got = pread(file->descriptor, memory + DISK_ALIGNMENT, DISK_BLOCK, 0);
    } while (got < 0 && errno == EINTR);
    /* any other error is left to the transfers, which report it with what they were about */
    int error = got < 0 && errno == EINVAL ? EINVAL : 0;
    free(memory);
    if (error && fcntl(file->descriptor, F_SETFL, flags) != 0) return errno;
    return error;
}

/* Once per file system. */
static void warn_buffered(const struct disk_file *file, int error)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static dev_t known[SYSTEMS];
    static int count;
    struct stat info;
    bool is_new = true;
    if (fstat(file->descriptor, &info) == 0) {
        pthread_mutex_lock(&mutex);
        for (int i = 0; i < count; i++)
            if (known[i] == info.st_dev) is_new = false;
        if (is_new && count < SYSTEMS) known[count++] = info.st_dev;
        pthread_mutex_unlock(&mutex);
    }
    if (is_new)
        zi_log(ZI_LOG_WARN, "disk",
               "%s: the file system refuses direct I/O (%s); its files go through the page cache, "
               "by blocking calls in threads: slower, and memory that is not in the table",
               file->name, strerror(error));
}

/* A regular file, or an error; what has the name may be a fifo, whose open would wait, or a link to
 * somewhere else. O_NONBLOCK is taken back, though it has no meaning for regular files. */
static enum zi_status open_regular(struct disk_file *file, bool create)
{
    int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    struct stat is;
    do {
        file->descriptor = open(file->name, flags | (create ? O_CREAT | O_EXCL : 0), 0600);
    } while (file->descriptor < 0 && errno == EINTR);
    if (file->descriptor < 0 && errno == ELOOP)
        return zi_fail(ZI_ERROR_IO, "disk", "%s: is a link, and only regular files are used",
                       file->name);
    if (file->descriptor < 0) return fail_file(file->name, create ? "create it" : "open it", errno);
    if (fstat(file->descriptor, &is) != 0) return fail_file(file->name, "examine it", errno);
    if (!S_ISREG(is.st_mode))
        return zi_fail(ZI_ERROR_IO, "disk", "%s: is %s, and only regular files are used",
                       file->name, zi_file_kind(is.st_mode));
    flags = fcntl(file->descriptor, F_GETFL);
    if (flags < 0 || fcntl(file->descriptor, F_SETFL, flags & ~O_NONBLOCK) != 0)
        return fail_file(file->name, "examine it", errno);
    return ZI_OK;
}

enum zi_status disk_file_open(const struct disk_file_options *options, struct disk_file **opened)
{
    *opened = NULL;
    ZI_TRY(disk_fault_prepare());
    ZI_REQUIRE(options->path >= 0 && options->bytes >= 0);
    struct disk_file *file = calloc(1, sizeof *file);
    if (file) file->name = strdup(options->name);
    if (!file || !file->name) {
        free(file);
        return zi_fail(ZI_ERROR_DEVICE, "disk", "%s: no memory to open it", options->name);
    }
    file->path = options->path;
    enum zi_status status = open_regular(file, options->create);
    if (status >= 0 && options->bytes > 0) status = claim(file, options);
    if (status < 0) {
        bool made = file->descriptor >= 0 && options->create;
        if (made && unlink(file->name) != 0)
            zi_log(ZI_LOG_WARN, "disk", "%s: cannot remove it: %s", file->name, strerror(errno));
        disk_file_close(file);
        return status;
    }
    int error = make_direct(file);
    file->direct = error == 0;
    if (error) warn_buffered(file, error);
    *opened = file;
    return ZI_OK;
}

enum zi_status disk_file_sync(struct disk_file *file)
{
    int failed;
    do {
        failed = fdatasync(file->descriptor);
    } while (failed != 0 && errno == EINTR);
    return failed == 0 ? ZI_OK : fail_file(file->name, "make its contents durable", errno);
}

void disk_file_close(struct disk_file *file)
{
    if (!file) return;
    if (file->descriptor >= 0 && close(file->descriptor) != 0)
        zi_log(ZI_LOG_WARN, "disk", "%s: closing it failed: %s", file->name, strerror(errno));
    free(file->name);
    free(file);
}
