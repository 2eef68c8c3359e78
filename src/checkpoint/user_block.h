/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the checkpoint room: the user block of a checkpoint file, by which every byte of it is
 * judged that HDF5 goes by, before HDF5 sees the file.
 *
 *   head      struct user_block
 *   extents   struct user_extent of each tensor's numbers, sorted, without overlap
 *   zeros     up to a power of 2, as HDF5 wants it, that is a multiple of pages
 *   HDF5      the file as HDF5 knows it
 *
 * Little-endian; every number has 8 bytes, so there is no padding. */
#ifndef ZI_CHECKPOINT_USER_BLOCK_H
#define ZI_CHECKPOINT_USER_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

#define USER_BLOCK_MAGIC "zinf-user-block" /* with its final 0 */

struct user_block {
    char magic[16];
    /* Of the block, with 0 in this place */
    uint64_t checksum;
    /* Of all bytes behind the block that are in no extent */
    uint64_t rest;
    /* Of the block, and of the file */
    int64_t block_bytes, file_bytes;
    int64_t extent_count;
};

/* Where the numbers of a tensor are in the file. */
struct user_extent {
    int64_t offset, bytes;
};

/* Local. Bytes of the block of a file of so many extents. */
int64_t user_block_bytes(int64_t extent_count);

/* Local. Writes the block of a file that is whole but for it, open for reading and writing, whose
 * first user_block_bytes(count) bytes are the block's and otherwise 0; `path` is for messages. The
 * extents are sorted by offset. ZI_ERROR_IO. */
enum zi_status user_block_store(const char *path, int file, const struct user_extent *extents,
                                int64_t count);

/* Local. Whether a file has the block (*present), and, where it has, is of the size and has the
 * bytes that the block says; numbers of tensors are not read. ZI_ERROR_IO naming file, cause and
 * remedy when it is not; ZI_ERROR_USAGE as zi_file_open_input. */
enum zi_status user_block_check(const char *path, bool *present);

#endif
