/* SPDX-License-Identifier: Apache-2.0 */
/* Asynchronous direct I/O on many files: the seam that the NVMe tier and the checkpoint writer are
 * built on. The engines (libaio, threads, and one that fails on purpose) come with the offload
 * engine; no deck reaches them before.
 *
 * A queue takes requests (push), hands them to the kernel (flush) and gives back results (reap).
 * Buffers, offsets and lengths are multiples of disk_alignment. A request's buffer belongs to the
 * queue from push until its result has been reaped. Short transfers are resubmitted inside; a
 * result is whole or an error. One thread at a time per queue. */
#ifndef ZI_DISK_DISK_H
#define ZI_DISK_DISK_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct disk_queue;
struct disk_file;

enum disk_push { DISK_DONE, DISK_QUEUED, DISK_FULL };

struct disk_request {
    struct disk_file *file;
    int64_t offset; /* bytes from the start of the file */
    size_t bytes;
    void *buffer;
    int write;         /* 0 reads into buffer, 1 writes from it */
    const char *label; /* state kind and unit, for error messages; outlives the request */
    uint64_t tag;      /* the caller's own, returned with the result */
};

struct disk_result {
    uint64_t tag;
    size_t bytes;   /* transferred: all of them, or fewer when error is set */
    int error;      /* errno, 0 when whole */
    double seconds; /* from push to completion */
};

/* Local. Opens a queue of at most `depth` requests in the kernel at once; `deadline_s` is the
 * longest one request may take before it is reported as stalled. ZI_ERROR_IO. */
enum zi_status disk_queue_open(int depth, double deadline_s, struct disk_queue **queue);
void disk_queue_close(struct disk_queue *queue);

/* Local. Opens `path` for direct I/O, claiming `bytes` of space first when it is above 0
 * (ZI_ERROR_IO with what is short when the disk is full). */
enum zi_status disk_file_open(const char *path, int64_t bytes, struct disk_file **file);
enum zi_status disk_file_sync(struct disk_file *file);
void disk_file_close(struct disk_file *file);
size_t disk_alignment(const struct disk_file *file);

/* Local. Takes a request: DISK_DONE (a result is ready to reap), DISK_QUEUED, or DISK_FULL (reap
 * first). */
enum disk_push disk_push(struct disk_queue *queue, const struct disk_request *request);

/* Local. Hands everything queued to the kernel. */
enum zi_status disk_flush(struct disk_queue *queue);

/* Local. Waits, asleep, until at least `minimum` results are there or `timeout_s` has passed, and
 * stores at most `maximum`; gives their number. Errors are in the results and have been logged with
 * file, offset, bytes and label. */
int disk_reap(struct disk_queue *queue, int minimum, int maximum, double timeout_s,
              struct disk_result *results);

#endif
