/* SPDX-License-Identifier: Apache-2.0 */
/* The user block of a checkpoint: what is no tensor's number is as it was written, or HDF5 never
 * sees it.
 *
 * The problem: HDF5 trusts the numbers of a file, and one changed byte can be enough for a crash.
 * Any checksum that is an attribute is read by HDF5 itself, too late.
 *
 * The idea: HDF5 leaves the first bytes of a file, its user block, to programs. There stands where
 * the tensors' numbers are, which have checksums of their own in the file, and one checksum of all
 * other bytes: HDF5's metadata, names, header, those checksums, and gaps. It is compared by plain
 * reads before HDF5 opens the file. (Behind HDF5's end it would be lost: HDF5 cuts a file at its end
 * when it closes one that was opened for writing, even where nothing was written.)
 *
 * Nothing is believed before the block's own checksum holds but what bounds the work: numbers are
 * compared with each other and with the size of the file, and all is read in pieces, without memory
 * that grows with the file. */
#include "checkpoint/user_block.h"

#include "base/file.h"
#include "base/log.h"
#include "base/random.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    PAGE = 4096,
    PIECE = 32 * 1024,
    EXTENTS_AT_ONCE = 256,
    EXTENTS_MOST = 1 << 26, /* read.c takes no more datasets */
};

/* A file that is read. */
struct source {
    const char *path;
    int file;
};

static enum zi_status fail_damaged(const char *path, const char *what)
{
    return zi_fail(ZI_ERROR_IO, "checkpoint",
                   "%s: %s: the file is damaged, or another program has changed it; use an older "
                   "checkpoint",
                   path, what);
}

int64_t user_block_bytes(int64_t extent_count)
{
    int64_t needed =
        (int64_t)sizeof(struct user_block) + extent_count * (int64_t)sizeof(struct user_extent);
    int64_t bytes = PAGE;
    while (bytes < needed)
        bytes *= 2;
    return bytes;
}

static enum zi_status read_at(const struct source *source, void *to, size_t count, int64_t offset)
{
    char *next = to;
    while (count > 0) {
        ssize_t done = pread(source->file, next, count, (off_t)offset);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0)
            return zi_fail(ZI_ERROR_IO, "checkpoint", "%s: cannot read %zu bytes at %lld: %s",
                           source->path, count, (long long)offset,
                           done < 0 ? strerror(errno) : "the file ends there");
        next += done;
        offset += done;
        count -= (size_t)done;
    }
    return ZI_OK;
}

/* The hash of bytes that follow others. */
static uint64_t follow(uint64_t before, const void *bytes, size_t count)
{
    const uint64_t both[2] = {before, zi_random_hash(bytes, count)};
    return zi_random_hash(both, sizeof both);
}

/* Adds bytes [first, end) of the file to *sum. */
static enum zi_status add_bytes(const struct source *source, int64_t first, int64_t end,
                                uint64_t *sum)
{
    char piece[PIECE];
    while (first < end) {
        size_t count = end - first < PIECE ? (size_t)(end - first) : PIECE;
        ZI_TRY(read_at(source, piece, count, first));
        *sum = follow(*sum, piece, count);
        first += (int64_t)count;
    }
    return ZI_OK;
}

/* The checksum of the block, whatever its head says of it. */
static enum zi_status sum_block(const struct source *source, const struct user_block *head,
                                uint64_t *sum)
{
    struct user_block plain = *head;
    plain.checksum = 0;
    *sum = follow(0, &plain, sizeof plain);
    return add_bytes(source, (int64_t)sizeof plain, head->block_bytes, sum);
}

/* The checksum of what is behind the block and in no extent. */
static enum zi_status sum_rest(const struct source *source, const struct user_block *head,
                               uint64_t *sum)
{
    struct user_extent extents[EXTENTS_AT_ONCE];
    int64_t place = (int64_t)sizeof *head, done = head->block_bytes;
    *sum = 0;
    for (int64_t i = 0; i < head->extent_count; i++) {
        const struct user_extent *extent = &extents[i % EXTENTS_AT_ONCE];
        if (i % EXTENTS_AT_ONCE == 0) {
            int64_t left = head->extent_count - i;
            size_t taken = (size_t)(left < EXTENTS_AT_ONCE ? left : EXTENTS_AT_ONCE);
            ZI_TRY(read_at(source, extents, taken * sizeof *extents, place));
            place += (int64_t)(taken * sizeof *extents);
        }
        if (extent->offset < done || extent->offset > head->file_bytes || extent->bytes <= 0 ||
            extent->bytes > head->file_bytes - extent->offset)
            return fail_damaged(source->path, "its user block names places that cannot be");
        ZI_TRY(add_bytes(source, done, extent->offset, sum));
        done = extent->offset + extent->bytes;
    }
    return add_bytes(source, done, head->file_bytes, sum);
}

static enum zi_status write_at(const struct source *source, const void *from, size_t count,
                               int64_t offset)
{
    const char *next = from;
    while (count > 0) {
        ssize_t done = pwrite(source->file, next, count, (off_t)offset);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0)
            return zi_fail(ZI_ERROR_IO, "checkpoint", "%s: cannot write its user block: %s",
                           source->path, strerror(done < 0 ? errno : EIO));
        next += done;
        offset += done;
        count -= (size_t)done;
    }
    return ZI_OK;
}

enum zi_status user_block_store(const char *path, int file, const struct user_extent *extents,
                                int64_t count)
{
    const struct source source = {path, file};
    struct user_block head = {USER_BLOCK_MAGIC, .extent_count = count};
    off_t end = lseek(file, 0, SEEK_END);
    if (end < 0)
        return zi_fail(ZI_ERROR_IO, "checkpoint", "%s: cannot be examined: %s", path,
                       strerror(errno));
    head.file_bytes = (int64_t)end;
    head.block_bytes = user_block_bytes(count);
    ZI_TRY(write_at(&source, extents, (size_t)count * sizeof *extents, (int64_t)sizeof head));
    ZI_TRY(sum_rest(&source, &head, &head.rest));
    ZI_TRY(sum_block(&source, &head, &head.checksum));
    return write_at(&source, &head, sizeof head, 0);
}

static enum zi_status check_open(const struct source *source, int64_t bytes, bool *present)
{
    struct user_block head;
    uint64_t sum;
    char what[96];
    if (bytes < (int64_t)sizeof head) return ZI_OK;
    ZI_TRY(read_at(source, &head, sizeof head, 0));
    if (memcmp(head.magic, USER_BLOCK_MAGIC, sizeof head.magic) != 0) return ZI_OK;
    *present = true;
    if (head.file_bytes != bytes) {
        snprintf(what, sizeof what, "it has %lld bytes, not the %lld that its user block says",
                 (long long)bytes, (long long)head.file_bytes);
        return fail_damaged(source->path, what);
    }
    if (head.extent_count < 0 || head.extent_count > EXTENTS_MOST || head.block_bytes > bytes ||
        head.block_bytes != user_block_bytes(head.extent_count))
        return fail_damaged(source->path, "its user block has sizes that cannot be");
    ZI_TRY(sum_block(source, &head, &sum));
    if (sum != head.checksum)
        return fail_damaged(source->path, "the checksum of its user block differs");
    ZI_TRY(sum_rest(source, &head, &sum));
    if (sum == head.rest) return ZI_OK;
    return fail_damaged(source->path,
                        "its header is not what was written: the checksum of all that is no "
                        "tensor's differs");
}

enum zi_status user_block_check(const char *path, bool *present)
{
    struct source source = {path, -1};
    int64_t bytes;
    *present = false;
    ZI_TRY(zi_file_open_input("checkpoint", path, &source.file, &bytes));
    enum zi_status status = check_open(&source, bytes, present);
    close(source.file);
    return status;
}
