/* SPDX-License-Identifier: Apache-2.0 */
/* The problem: a page cache copies what it takes, throws out what others need, and keeps a core
 * busy that belongs to arithmetic; but direct I/O moves whole blocks of aligned memory only, and
 * ranges of tensors begin and end anywhere.
 *
 * The idea: a range is copied into a buffer at the place that its file offset has in a block, and
 * ranges that continue each other fill the same buffer. A full buffer goes to the disk queue, and
 * another is filled meanwhile. What does not fill a block at either end of a run goes through the
 * page cache: no two ways ever write to the same block of this rank, and blocks that ranks share are
 * written by none of them directly.
 *
 * Invariant: the current buffer holds the bytes [start, start + filled) of the file, and start is a
 * multiple of DISK_BLOCK. */
#include "checkpoint/writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "deck/settings.h"
#include "disk/disk.h"

enum { BUFFERS = 4, BUFFER_BYTES = 4 << 20, DEPTH = 16, DIRECT_LEAST = 16 * DISK_BLOCK };

struct checkpoint_writer {
    char *path;
    /* Through the page cache. */
    int descriptor;
    struct disk_file *file;
    struct disk_queue *queue;
    void *memory;
    /* In it, BUFFERS of BUFFER_BYTES; those in flight by bit. */
    char *buffers;
    unsigned flying;
    /* The buffer that is filled. */
    int current;
    int64_t start;
    size_t filled;
    const char *label;
    /* The first error. */
    enum zi_status status;
};

static enum zi_status open_all(struct checkpoint_writer *w, const char *path)
{
    const struct disk_file_options file = {.name = path};
    const struct disk_options queue = {
        .engine = ZI_AUTO,
        .depth = DEPTH,
        .requests = BUFFERS,
        .block = BUFFER_BYTES / 4,
        .deadline_s = 60,
    };
    w->path = strdup(path);
    if (!w->path) return zi_fail(ZI_ERROR_DEVICE, "checkpoint", "%s: no memory to write it", path);
    ZI_TRY(zi_memory_allocate((size_t)BUFFERS * BUFFER_BYTES + DISK_BLOCK, ZI_TIER_HOST,
                              "checkpoint buffers", &w->memory));
    w->buffers = (char *)w->memory + (-(uintptr_t)w->memory & (DISK_BLOCK - 1));
    ZI_TRY(disk_file_open(&file, &w->file));
    return disk_queue_open(&queue, &w->queue);
}

static void free_all(struct checkpoint_writer *w)
{
    disk_queue_close(w->queue);
    disk_file_close(w->file);
    zi_memory_free(w->memory);
    free(w->path);
    free(w);
}

enum zi_status writer_open(const char *path, int descriptor, struct checkpoint_writer **writer)
{
    struct checkpoint_writer *w = calloc(1, sizeof *w);
    if (!w) return zi_fail(ZI_ERROR_DEVICE, "checkpoint", "%s: no memory to write it", path);
    enum zi_status status = open_all(w, path);
    if (status < 0) {
        free_all(w);
        return status;
    }
    w->descriptor = descriptor;
    *writer = w;
    return ZI_OK;
}

const char *checkpoint_remedy(int error)
{
    return zi_file_remedy(error, "; make room, or write elsewhere (of a run: lower "
                                 "checkpoint.keep, or choose another run.directory)");
}

enum zi_status checkpoint_fail_claim(const char *path, int64_t bytes, int error)
{
    char need[32], free_text[32] = "an unknown amount";
    struct statvfs system;
    if (statvfs(path, &system) == 0)
        zi_memory_text((size_t)system.f_bavail * system.f_frsize, free_text, sizeof free_text);
    return zi_fail_limited(ZI_ERROR_IO, "checkpoint",
                           "%s: cannot claim %s for the checkpoint: %s (%s free there)%s", path,
                           zi_memory_text((size_t)bytes, need, sizeof need), strerror(error),
                           free_text, checkpoint_remedy(error));
}

static void fail(struct checkpoint_writer *w, int64_t offset, size_t bytes, int error)
{
    if (w->status < 0) return;
    w->status = zi_fail_limited(
        ZI_ERROR_IO, "checkpoint", "%s: cannot write %zu bytes of %s at %lld: %s%s", w->path, bytes,
        w->label, (long long)offset, strerror(error), checkpoint_remedy(error));
}

int checkpoint_write_at(int descriptor, const void *values, size_t bytes, int64_t offset)
{
    const char *from = values;
    const size_t most = (size_t)1 << 30;
    while (bytes > 0) {
        ssize_t done = pwrite(descriptor, from, bytes < most ? bytes : most, (off_t)offset);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return errno;
        if (done == 0) return EIO;
        from += done;
        bytes -= (size_t)done;
        offset += done;
    }
    return 0;
}

/* Writes through the page cache. */
static void put_small(struct checkpoint_writer *w, int64_t offset, const char *from, size_t bytes)
{
    int error = w->status < 0 ? 0 : checkpoint_write_at(w->descriptor, from, bytes, offset);
    if (error != 0) fail(w, offset, bytes, error);
}

static char *buffer_at(const struct checkpoint_writer *w, int buffer)
{
    return w->buffers + (size_t)buffer * BUFFER_BYTES;
}

/* Takes back buffers that have been written, at least `minimum`. The queue has said what failed. */
static void reap(struct checkpoint_writer *w, int minimum)
{
    struct disk_result results[BUFFERS];
    int count = disk_reap(w->queue, minimum, BUFFERS, 3600, results);
    for (int i = 0; i < count; i++) {
        w->flying &= ~(1u << results[i].tag);
        if (results[i].error && w->status >= 0) w->status = ZI_ERROR_IO;
    }
}

/* A buffer that is not in flight. */
static void take_buffer(struct checkpoint_writer *w)
{
    while (w->flying == (1u << BUFFERS) - 1) {
        reap(w, 1);
    }
    w->current = __builtin_ctz(~w->flying);
}

static void push(struct checkpoint_writer *w, size_t bytes)
{
    struct disk_request request = {
        .file = w->file,
        .offset = w->start,
        .bytes = bytes,
        .buffer = buffer_at(w, w->current),
        .write = true,
        .label = w->label,
        .tag = (uint64_t)w->current,
    };
    while (disk_push(w->queue, &request) == DISK_FULL) {
        reap(w, 1);
    }
    w->flying |= 1u << w->current;
    disk_flush(w->queue);
}

/* Sends what the current buffer holds on its way. */
static void flush(struct checkpoint_writer *w)
{
    size_t whole = w->filled / DISK_BLOCK * DISK_BLOCK;
    if (whole < DIRECT_LEAST) whole = 0;
    put_small(w, w->start + (int64_t)whole, buffer_at(w, w->current) + whole, w->filled - whole);
    if (whole > 0 && w->status >= 0) push(w, whole);
    w->filled = 0;
}

/* Starts a run at an offset, with the current buffer empty; gives the bytes before the first whole
 * block, which it has written. */
static size_t begin_run(struct checkpoint_writer *w, int64_t offset, const char *from, size_t bytes)
{
    size_t head = (size_t)(-offset & (DISK_BLOCK - 1));
    if (head > bytes) head = bytes;
    put_small(w, offset, from, head);
    w->start = offset + (int64_t)head;
    return head;
}

enum zi_status writer_put(struct checkpoint_writer *w, int64_t offset, const void *values,
                          size_t bytes, const char *label)
{
    const char *from = values;
    size_t done = 0;
    bool goes_on = w->filled > 0 && w->label == label && offset == w->start + (int64_t)w->filled;
    if (!goes_on) {
        if (w->filled > 0) flush(w);
        w->label = label;
        done = begin_run(w, offset, from, bytes);
    }
    while (done < bytes && w->status >= 0) {
        if (w->filled == 0) take_buffer(w);
        size_t room = BUFFER_BYTES - w->filled;
        size_t part = bytes - done < room ? bytes - done : room;
        memcpy(buffer_at(w, w->current) + w->filled, from + done, part);
        w->filled += part;
        done += part;
        if (w->filled < BUFFER_BYTES) continue;
        flush(w);
        w->start += BUFFER_BYTES;
    }
    return w->status;
}

/* Makes durable what both ways have written; some file systems tell of a failed write only here. */
static void sync_all(struct checkpoint_writer *w)
{
    if (w->status < 0) return;
    if (fsync(w->descriptor) != 0)
        w->status = zi_fail_limited(ZI_ERROR_IO, "checkpoint", "%s: cannot be made durable: %s%s",
                                    w->path, strerror(errno), checkpoint_remedy(errno));
}

const char *writer_engine(const struct checkpoint_writer *w)
{
    return disk_queue_engine(w->queue);
}

enum zi_status writer_close(struct checkpoint_writer *w, bool syncs)
{
    if (w->filled > 0 && syncs) flush(w);
    while (w->flying) {
        reap(w, 1);
    }
    if (syncs) sync_all(w);
    if (close(w->descriptor) != 0 && syncs && w->status >= 0)
        w->status = zi_fail_limited(ZI_ERROR_IO, "checkpoint", "%s: cannot be closed: %s%s",
                                    w->path, strerror(errno), checkpoint_remedy(errno));
    enum zi_status status = w->status;
    free_all(w);
    return status;
}
