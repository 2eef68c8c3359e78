/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the user block of a changed checkpoint hold again: for changes that are meant to get past
 * it. */
#ifndef ZI_TEST_USER_BLOCK_FIXTURE_H
#define ZI_TEST_USER_BLOCK_FIXTURE_H

#include "checkpoint/user_block.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RENEWED_EXTENTS_MOST = 1 << 16 };

/* Of the extents that the block has, those that can be in the file, in place; gives their number.
 */
static inline int64_t user_extents_keep(struct user_extent *extents, int64_t count, int64_t size)
{
    int64_t kept = 0, end = user_block_bytes(count);
    for (int64_t i = 0; i < count; i++) {
        struct user_extent extent = extents[i];
        if (extent.offset < end || extent.offset > size || extent.bytes <= 0 ||
            extent.bytes > size - extent.offset)
            continue;
        extents[kept++] = extent;
        end = extent.offset + extent.bytes;
    }
    return kept;
}

/* Whether the file had a block that could be renewed. */
static inline bool user_block_renew(const char *path)
{
    struct user_block head;
    struct stat is;
    bool renewed = false;
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return false;
    if (fstat(file, &is) == 0 && pread(file, &head, sizeof head, 0) == (ssize_t)sizeof head &&
        head.extent_count >= 0 && head.extent_count <= RENEWED_EXTENTS_MOST &&
        user_block_bytes(head.extent_count) <= is.st_size) {
        size_t bytes = (size_t)head.extent_count * sizeof(struct user_extent);
        struct user_extent *extents = malloc(bytes + 1);
        if (extents && pread(file, extents, bytes, (off_t)sizeof head) == (ssize_t)bytes) {
            int64_t kept = user_extents_keep(extents, head.extent_count, is.st_size);
            renewed = user_block_store(path, file, extents, kept) >= 0;
        }
        free(extents);
    }
    close(file);
    return renewed;
}

#endif
