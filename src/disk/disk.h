/* SPDX-License-Identifier: Apache-2.0 */
/* Asynchronous direct I/O on many files: what the NVMe store and the checkpoint writer are built
 * on.
 *
 * A queue takes requests of any size (push), chops them into blocks, keeps up to `depth` blocks of
 * each path in the kernel (flush, reap) and gives back results (reap). A request's buffer belongs
 * to the queue from push until its result has been reaped. Short transfers are resubmitted inside;
 * a result is whole or an error. Buffers on huge pages (zi_memory_allocate, from 2 MiB on) can be
 * moved twice as fast: their blocks are one piece for the driver, not one for every 4 KiB. One
 * thread at a time per queue; queues of several threads may use the same file. What lies behind a
 * queue is libaio, or a pool of threads where libaio or direct I/O is refused; the latter is said
 * by a warning. */
#ifndef ZI_DISK_DISK_H
#define ZI_DISK_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct disk_busy;
struct disk_queue;
struct disk_file;

/* Offsets and lengths are multiples of DISK_BLOCK, addresses of buffers of DISK_ALIGNMENT. */
enum { DISK_BLOCK = 4096, DISK_ALIGNMENT = 512 };

enum disk_push { DISK_QUEUED, DISK_FULL };

/* Limits blocks in flight beyond one queue. Called by the queue's thread; `path` is the file's. */
struct disk_admission {
    void *context;
    /* Whether a block may go to the kernel now. Called again later when not. */
    bool (*acquire)(void *context, int path, bool write, size_t bytes);
    /* A block that was let in is done (also after an error). */
    void (*release)(void *context, int path, bool write, size_t bytes);
    /* Sleeps until acquire may succeed, at most timeout_s. Called when a block was refused while
     * the queue has none of its own in the kernel. */
    void (*wait)(void *context, int path, bool write, double timeout_s);
};

struct disk_options {
    /* enum nvme_engine, or ZI_AUTO: libaio where it works, else threads */
    int64_t engine;
    /* Blocks in the kernel at once, per path */
    int depth;
    /* Files have path numbers below this; 0 counts as 1 */
    int paths;
    /* Pushed and not yet reaped, at most */
    int requests;
    /* Bytes of the largest block; a multiple of DISK_BLOCK */
    size_t block;
    /* A block older than this is reported as stalled, and waited for */
    double deadline_s;
    /* Copied; NULL: none */
    const struct disk_admission *admission;
    /* Entered while a block is in the kernel, as seen by the queue's thread; NULL: nobody asks */
    struct disk_busy *busy;
};

struct disk_request {
    struct disk_file *file;
    /* Bytes from the start of the file */
    int64_t offset;
    size_t bytes;
    void *buffer;
    /* From buffer to file; else the file is read into it */
    bool write;
    /* State kind and unit, for error messages; outlives the request */
    const char *label;
    /* The caller's own, returned with the result */
    uint64_t tag;
};

struct disk_result {
    uint64_t tag;
    /* Transferred: all of them, or fewer when error is set */
    size_t bytes;
    /* errno, 0 when whole; logged already */
    int error;
    /* From push until the queue saw the last block done */
    double seconds;
};

/* What a queue has done so far. */
struct disk_counts {
    uint64_t read_bytes, written_bytes;
    /* Reaped or ready to be; handed to the kernel */
    uint64_t requests, blocks;
};

/* Local. Opens a queue; the caller closes it before the files that it uses. ZI_ERROR_IO when the
 * engine that was asked for is refused; ZI_ERROR_DEVICE without memory. */
enum zi_status disk_queue_open(const struct disk_options *options, struct disk_queue **queue);

/* Local. Drops what has not been handed to the kernel, waits for the rest. NULL does nothing. */
void disk_queue_close(struct disk_queue *queue);

/* Local. "libaio" or "threads": what serves the queue now. */
const char *disk_queue_engine(const struct disk_queue *queue);

/* Local, from any thread. What the queue has done so far. */
void disk_queue_count(const struct disk_queue *queue, struct disk_counts *counts);

struct disk_file_options {
    /* Copied */
    const char *name;
    /* Number of the disk that the file is on, for depth and admission */
    int path;
    /* With mode 0600, where none may be; else the file must exist */
    bool create;
    /* Space to claim from the file's start on, without changing its contents */
    int64_t bytes;
    /* A request to stop ends the claim */
    bool stops;
};

/* Local. Opens a regular file, not through a link, for direct I/O, reading and writing, and claims
 * its space. ZI_ERROR_IO with name and cause (wanted and free bytes for a full disk), ZI_STOPPED; a
 * created file is removed then. Where the file system has no direct I/O it warns, and the file goes
 * through the page cache by threads. */
enum zi_status disk_file_open(const struct disk_file_options *options, struct disk_file **file);

/* Local. Makes everything durable that has been written and reaped. ZI_ERROR_IO. */
enum zi_status disk_file_sync(struct disk_file *file);

/* Local. Closes a file that no queue uses any more. */
void disk_file_close(struct disk_file *file);

/* Local. Takes a request, or gives DISK_FULL (reap first). */
enum disk_push disk_push(struct disk_queue *queue, const struct disk_request *request);

/* Local. Hands to the kernel what depth and admission allow; the rest follows in disk_reap. */
void disk_flush(struct disk_queue *queue);

/* Local. Flushes, then waits, asleep, until at least `minimum` results are there, nothing is left
 * to wait for, or `timeout_s` has passed; stores at most `maximum` and gives their number. Errors
 * are in the results and have been logged with file, offset, bytes and label. */
int disk_reap(struct disk_queue *queue, int minimum, int maximum, double timeout_s,
              struct disk_result *results);

#endif
