/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the tests of the disk room: a folder, buffers whose bytes tell file, place and version,
 * and whole transfers. */
#ifndef ZI_REGRESSION_DISK_FIXTURE_H
#define ZI_REGRESSION_DISK_FIXTURE_H

#include "disk/disk.h"

#include "base/log.h"
#include "deck/settings.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char disk_folder[256], disk_name[1024];

/* Below TMPDIR or where the test runs. */
static inline void disk_folder_make(void)
{
    const char *parent = getenv("TMPDIR");
    snprintf(disk_folder, sizeof disk_folder, "%s/zinf-disk-XXXXXX", parent ? parent : ".");
    if (!mkdtemp(disk_folder)) {
        perror(disk_folder);
        exit(1);
    }
}

/* A path inside the folder. Valid until the next call. */
static inline const char *disk_path(const char *name)
{
    snprintf(disk_name, sizeof disk_name, "%s/%s", disk_folder, name);
    return disk_name;
}

/* Removes the folder with the files in it. */
static inline void disk_folder_remove(void)
{
    DIR *folder = opendir(disk_folder);
    struct dirent *entry;
    while (folder && (entry = readdir(folder)))
        if (entry->d_name[0] != '.') unlink(disk_path(entry->d_name));
    if (folder) closedir(folder);
    rmdir(disk_folder);
}

/* Whether the folder's file system has direct I/O. */
static inline bool disk_folder_direct(void)
{
    int file = open(disk_path("direct"), O_CREAT | O_RDWR | O_DIRECT, 0600);
    if (file >= 0) close(file);
    unlink(disk_path("direct"));
    return file >= 0;
}

/* The descriptor of a file of this process, or -1. */
static inline int disk_descriptor(const char *name)
{
    char link[64], target[1024];
    for (int file = 3; file < 64; file++) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        ssize_t length = readlink(link, target, sizeof target - 1);
        if (length <= 0) continue;
        target[length] = 0;
        const char *last = strrchr(target, '/');
        if (last && strcmp(last + 1, name) == 0) return file;
    }
    return -1;
}

/* Whether a file of the folder is open with direct I/O. */
static inline bool disk_is_direct(const char *name)
{
    return (fcntl(disk_descriptor(name), F_GETFL) & O_DIRECT) != 0;
}

enum { DISK_GUARD = 64 };

/* Aligned to DISK_ALIGNMENT and not to twice that, with a guard behind it; freed with
 * disk_buffer_free. */
static inline unsigned char *disk_buffer(size_t bytes)
{
    size_t whole = DISK_BLOCK + DISK_ALIGNMENT + bytes + DISK_GUARD;
    unsigned char *memory =
        aligned_alloc(DISK_BLOCK, (whole + DISK_BLOCK - 1) / DISK_BLOCK * DISK_BLOCK);
    if (!memory) exit(1);
    memset(memory + DISK_ALIGNMENT, 0xa5, bytes + DISK_GUARD);
    return memory + DISK_ALIGNMENT;
}

/* Frees it; NULL is nothing to free. */
static inline void disk_buffer_free(unsigned char *buffer)
{
    if (buffer) free(buffer - DISK_ALIGNMENT);
}

/* Whether the guard behind a buffer is as it was. */
static inline bool disk_guarded(const unsigned char *buffer, size_t bytes)
{
    for (int i = 0; i < DISK_GUARD; i++)
        if (buffer[bytes + (size_t)i] != 0xa5) return false;
    return true;
}

/* The byte at a place of a file, in this version. */
static inline unsigned char disk_byte(int version, int64_t place)
{
    uint64_t x = ((uint64_t)place / 8 + (uint64_t)version * 1000003u) * 0x9e3779b97f4a7c15u;
    return (unsigned char)(x >> 56) ^ (unsigned char)place;
}

/* The bytes from `offset` on, in this version. */
static inline void disk_fill(unsigned char *buffer, int version, int64_t offset, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        buffer[i] = disk_byte(version, offset + (int64_t)i);
}

/* Whether a buffer holds them. */
static inline bool disk_matches(const unsigned char *buffer, int version, int64_t offset,
                                size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (buffer[i] != disk_byte(version, offset + (int64_t)i)) return false;
    return true;
}

/* A queue that is there. */
static inline struct disk_queue *disk_queue_of(int64_t engine, int depth, size_t block,
                                               double deadline_s)
{
    struct disk_queue *queue = NULL;
    struct disk_options options = {
        .engine = engine, .depth = depth, .requests = 64, .block = block, .deadline_s = deadline_s};
    if (disk_queue_open(&options, &queue) < 0) exit(1);
    return queue;
}

/* A new file of the folder that is there. */
static inline struct disk_file *disk_file_of(const char *name, int64_t bytes)
{
    struct disk_file *file = NULL;
    struct disk_file_options options = {.name = disk_path(name), .create = true, .bytes = bytes};
    if (disk_file_open(&options, &file) < 0) exit(1);
    return file;
}

/* One request from push to result. */
static inline struct disk_result disk_move(struct disk_queue *queue, struct disk_file *file,
                                           bool write, int64_t offset, size_t bytes, void *buffer)
{
    struct disk_request request = {file, offset, bytes, buffer, write, "test state", 77};
    struct disk_result result = {0};
    if (disk_push(queue, &request) != DISK_QUEUED) exit(1);
    if (disk_reap(queue, 1, 1, 60, &result) != 1) exit(1);
    return result;
}

#endif
