/* SPDX-License-Identifier: Apache-2.0 */
/* The queue: requests of any size in, blocks to the kernel, results out.
 *
 * A request is waiting until its last block has been cut off it, and finished when all its blocks
 * have come back. Blocks are cut in the order of requests, while the path of the file has fewer
 * than `depth` of them and the admission lets them in; a request whose path is full does not hold
 * up one of another path. A block that has been cut is ready until the engine takes it. It keeps
 * its slot and its admission through short transfers and retries, until it is whole or has failed.
 *
 *     waiting requests -- cut --> ready blocks -- submit --> engine -- event --> done, or ready
 * again
 *
 * After an error nothing more is cut off the request; its result comes when the blocks that are out
 * are back, so the buffer is the caller's again with the result, never before.
 *
 * Waiting is always asleep: in the engine while it has blocks of ours, in the admission's wait when
 * all were refused, in nanosleep when the engine takes none (doubling up to BACKOFF_MAX). */
#include "disk/engine.h"

#include "base/file.h"
#include "base/log.h"
#include "base/timing.h"
#include "disk/busy.h"
#include "deck/settings.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { EVENTS = 64 };
/* Seconds: sleeps between tries of an engine that takes nothing; how long to sleep on own events
 * before an admission that refused is asked again; and on the admission itself. */
static const double BACKOFF_MIN = 0.0005, BACKOFF_MAX = 0.1, ASK_AGAIN = 0.005, REFUSED = 0.05;

struct pending {
    struct disk_request asked;
    /* Bytes given to blocks; bytes transferred */
    size_t cut, moved;
    /* Out */
    int blocks;
    int error;
    double start, end;
    /* In the list that it is in */
    struct pending *next;
};

struct block {
    /* What is left of it */
    struct disk_transfer transfer;
    struct pending *request;
    /* Bytes, as the admission was told */
    size_t admitted;
    /* First handed over; when to report it as stalled */
    double start, complain;
    /* The engine has it */
    bool inside;
    struct block *next;
};

struct pending_list {
    struct pending *first, *last;
};

struct block_list {
    struct block *first, *last;
};

struct disk_queue {
    struct disk_options options;
    struct disk_admission admission;
    struct disk_engine *engine;
    const char *engine_name;
    /* The engine is, beneath a fault */
    bool threads;
    /* Of blocks: depth times paths */
    int capacity;
    struct pending *requests;
    struct block *blocks;
    /* Blocks cut and not done, per path */
    int *out;
    struct pending_list free_requests, waiting, finished;
    struct block_list free_blocks, ready;
    /* Of one submit */
    const struct disk_transfer **batch;
    /* Not finished; blocks in the engine */
    int requests_out, inside;
    /* Per path: the admission let no block in when last asked */
    bool *refused;
    /* One of them, -1 without any, and the direction */
    int refused_path;
    bool refused_write;
    /* 0: the engine takes blocks; else its next try */
    double backoff, retry_at;
    /* The earliest `complain` */
    double next_look;
    _Atomic uint64_t read_bytes, written_bytes, requests_done, blocks_submitted;
};

static void put_request(struct pending_list *list, struct pending *request)
{
    request->next = NULL;
    *(list->last ? &list->last->next : &list->first) = request;
    list->last = request;
}

static struct pending *take_request(struct pending_list *list)
{
    struct pending *request = list->first;
    if (request) list->first = request->next;
    if (!list->first) list->last = NULL;
    return request;
}

static void put_block(struct block_list *list, struct block *block)
{
    block->next = NULL;
    *(list->last ? &list->last->next : &list->first) = block;
    list->last = block;
}

static struct block *take_block(struct block_list *list)
{
    struct block *block = list->first;
    if (block) list->first = block->next;
    if (!list->first) list->last = NULL;
    return block;
}

static void finish(struct disk_queue *queue, struct pending *request)
{
    request->end = zi_time_s();
    put_request(&queue->finished, request);
    queue->requests_out--;
    queue->requests_done++;
}

static const char *advice(int error)
{
    if (error == EINVAL) return "; the disk may need larger alignment: try nvme.engine: threads";
    return zi_file_remedy(
        error, "; the space was not claimed, or was taken away: make room and run again");
}

static const char *label(const struct pending *request)
{
    return request->asked.label ? request->asked.label : "no label";
}

/* Ends the cutting of a request, and logs its first error. */
static void fail_request(struct disk_queue *queue, struct block *block, int error)
{
    struct pending *request = block->request, *other;
    const struct disk_transfer *t = &block->transfer;
    if (request->error) return;
    request->error = error;
    const char *text = error != ENODATA ? strerror(error)
                       : t->write       ? "nothing was written"
                                        : "the file ends there";
    zi_log(ZI_LOG_ERROR, "disk", "%s: cannot %s %zu bytes at offset %lld (%s): %s%s",
           request->asked.file->name, t->write ? "write" : "read", t->bytes, (long long)t->offset,
           label(request), text, advice(error));
    struct pending_list left = {NULL, NULL};
    while ((other = take_request(&queue->waiting)))
        if (other != request) put_request(&left, other);
    queue->waiting = left;
    request->cut = request->asked.bytes;
}

/* Cuts a block off a request whose path has room; false when the admission refuses it. */
static bool cut(struct disk_queue *queue, struct pending *request)
{
    const struct disk_request *asked = &request->asked;
    int path = asked->file->path;
    size_t bytes = asked->bytes - request->cut;
    if (bytes > queue->options.block) bytes = queue->options.block;
    if (queue->admission.acquire &&
        !queue->admission.acquire(queue->admission.context, path, asked->write, bytes)) {
        queue->refused[path] = true;
        queue->refused_path = path;
        queue->refused_write = asked->write;
        return false;
    }
    struct block *block = take_block(&queue->free_blocks);
    ZI_REQUIRE(block);
    int slot = block->transfer.slot;
    block->transfer = (struct disk_transfer){asked->file->descriptor,
                                             slot,
                                             asked->write,
                                             asked->offset + (int64_t)request->cut,
                                             bytes,
                                             (char *)asked->buffer + request->cut};
    block->request = request;
    block->admitted = bytes;
    block->start = zi_time_s();
    block->complain = block->start + queue->options.deadline_s;
    if (block->complain < queue->next_look) queue->next_look = block->complain;
    request->cut += bytes;
    request->blocks++;
    queue->out[path]++;
    put_block(&queue->ready, block);
    return true;
}

/* Cuts blocks as long as there is room, off the oldest requests first. */
static void cut_blocks(struct disk_queue *queue)
{
    struct pending_list left = {NULL, NULL};
    struct pending *request;
    queue->refused_path = -1;
    memset(queue->refused, 0, (size_t)queue->options.paths * sizeof *queue->refused);
    while ((request = take_request(&queue->waiting))) {
        int path = request->asked.file->path;
        while (request->cut < request->asked.bytes && queue->out[path] < queue->options.depth &&
               !queue->refused[path] && cut(queue, request)) {
        }
        if (request->cut < request->asked.bytes) put_request(&left, request);
    }
    queue->waiting = left;
}

static void end_block(struct disk_queue *queue, struct block *block)
{
    struct pending *request = block->request;
    const struct disk_file *file = request->asked.file;
    queue->out[file->path]--;
    if (queue->admission.release)
        queue->admission.release(queue->admission.context, file->path, request->asked.write,
                                 block->admitted);
    block->request = NULL;
    put_block(&queue->free_blocks, block);
    request->blocks--;
    if (request->blocks == 0 && request->cut == request->asked.bytes) finish(queue, request);
}

/* The engine takes nothing, or gave a block back untouched: it is tried again after a while. */
static void back_off(struct disk_queue *queue)
{
    queue->backoff = queue->backoff == 0 ? BACKOFF_MIN : 2 * queue->backoff;
    if (queue->backoff > BACKOFF_MAX) queue->backoff = BACKOFF_MAX;
    queue->retry_at = zi_time_s() + queue->backoff;
}

/* What became of a block: whole, failed, or to be handed over again for the rest. */
static void take_result(struct disk_queue *queue, struct block *block, int64_t result)
{
    struct disk_transfer *t = &block->transfer;
    struct pending *request = block->request;
    bool again = result == -EAGAIN || result == -EINTR;
    ZI_REQUIRE(result <= (int64_t)t->bytes);
    size_t moved = result > 0 ? (size_t)result : 0;
    if (moved < t->bytes) moved -= moved % DISK_BLOCK; /* the rest must be aligned */
    request->moved += moved;
    atomic_fetch_add(t->write ? &queue->written_bytes : &queue->read_bytes, moved);
    if (!again && result < 0)
        fail_request(queue, block, (int)-result);
    else if (!again && moved == 0)
        fail_request(queue, block, ENODATA);
    else if (again)
        back_off(queue);
    if (moved == t->bytes || request->error) {
        end_block(queue, block);
        return;
    }
    t->offset += (int64_t)moved;
    t->buffer = (char *)t->buffer + moved;
    t->bytes -= moved;
    put_block(&queue->ready, block);
}

static void submit_blocks(struct disk_queue *queue)
{
    while (queue->ready.first && (queue->backoff == 0 || zi_time_s() >= queue->retry_at)) {
        int count = 0;
        for (const struct block *block = queue->ready.first; block; block = block->next)
            queue->batch[count++] = &block->transfer;
        int taken = queue->engine->calls->submit(queue->engine, queue->batch, count);
        if (taken < 0) take_result(queue, take_block(&queue->ready), taken);
        if (taken > 0) queue->backoff = 0;
        if (taken > 0 && queue->inside == 0 && queue->options.busy)
            disk_busy_enter(queue->options.busy);
        for (int i = 0; i < taken; i++) {
            take_block(&queue->ready)->inside = true;
            queue->inside++;
            queue->blocks_submitted++;
        }
    }
}

/* Reports blocks older than the deadline: at the deadline, and whenever that age has doubled. */
static void look_for_stalls(struct disk_queue *queue)
{
    double now = zi_time_s();
    if (now < queue->next_look) return;
    queue->next_look = INFINITY;
    for (int i = 0; i < queue->capacity; i++) {
        struct block *block = &queue->blocks[i];
        const struct disk_transfer *t = &block->transfer;
        if (!block->request) continue;
        if (now >= block->complain) {
            zi_log(ZI_LOG_WARN, "disk",
                   "%s: the disk is stalled: %s of %zu bytes at offset %lld (%s) %s for %.1f s; "
                   "waiting on",
                   block->request->asked.file->name, t->write ? "a write" : "a read", t->bytes,
                   (long long)t->offset, label(block->request),
                   block->inside ? "has not come back" : "is not taken by the kernel",
                   now - block->start);
            while (block->complain <= now)
                block->complain += block->complain - block->start;
        }
        if (block->complain < queue->next_look) queue->next_look = block->complain;
    }
}

static void pump(struct disk_queue *queue)
{
    do {
        cut_blocks(queue);
        submit_blocks(queue);
        /* once more when the engine refused all of them for good, and made room for others */
    } while (queue->waiting.first && queue->inside == 0 && !queue->ready.first &&
             queue->refused_path < 0);
    look_for_stalls(queue);
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

static void sleep_s(double seconds)
{
    struct timespec span = disk_timespec(seconds);
    nanosleep(&span, NULL); /* ended early by a signal: the caller looks at the clock */
}

/* Takes in what the engine has done; sleeps until there is something, or it is time to look again,
 * at most timeout_s. */
static void wait_for_events(struct disk_queue *queue, double timeout_s)
{
    struct disk_event events[EVENTS];
    double now = zi_time_s();
    if (queue->inside > 0 || queue->ready.first)
        timeout_s = least(timeout_s, queue->next_look - now);
    if (queue->ready.first) timeout_s = least(timeout_s, queue->retry_at - now);
    if (queue->inside == 0) {
        const struct disk_admission *admission = &queue->admission;
        if (timeout_s <= 0) return;
        if (queue->ready.first || queue->refused_path < 0)
            sleep_s(timeout_s);
        else
            admission->wait(admission->context, queue->refused_path, queue->refused_write,
                            least(timeout_s, REFUSED));
        return;
    }
    if (queue->refused_path >= 0) timeout_s = least(timeout_s, ASK_AGAIN);
    int count =
        queue->engine->calls->wait(queue->engine, timeout_s > 0 ? timeout_s : 0, events, EVENTS);
    ZI_REQUIRE(count >= 0 || count == -EINTR);
    for (int i = 0; i < count; i++) {
        struct block *block = &queue->blocks[events[i].slot];
        ZI_REQUIRE(block->inside);
        block->inside = false;
        if (--queue->inside == 0 && queue->options.busy) disk_busy_leave(queue->options.busy);
        take_result(queue, block, events[i].result);
    }
}

void disk_flush(struct disk_queue *queue)
{
    pump(queue);
}

int disk_reap(struct disk_queue *queue, int minimum, int maximum, double timeout_s,
              struct disk_result *results)
{
    double until = zi_time_s() + timeout_s;
    int count = 0;
    ZI_REQUIRE(minimum <= maximum);
    if (queue->inside > 0) wait_for_events(queue, 0);
    for (;;) {
        struct pending *request;
        pump(queue);
        while (count < maximum && (request = take_request(&queue->finished))) {
            results[count++] = (struct disk_result){request->asked.tag, request->moved,
                                                    request->error, request->end - request->start};
            put_request(&queue->free_requests, request);
        }
        double left = until - zi_time_s();
        if (count >= minimum || queue->requests_out == 0 || left <= 0) return count;
        wait_for_events(queue, left);
    }
}

/* Opens the engine that is asked for, with the fault of the process before it; 0 or an errno. */
static int open_engine(struct disk_queue *queue, bool threads)
{
    struct disk_engine *engine;
    int error = threads ? disk_threads_open(queue->capacity, &engine)
                        : disk_libaio_open(queue->capacity, &engine);
    if (error) return error;
    const char *name = engine->calls->name;
    error = disk_fault_wrap(queue->capacity, &engine);
    if (error) {
        engine->calls->close(engine);
        return error;
    }
    if (queue->engine) queue->engine->calls->close(queue->engine);
    queue->engine = engine;
    queue->engine_name = name;
    queue->threads = threads;
    return 0;
}

/* A file without direct I/O has come: libaio would block in io_submit. That it goes through threads
 * was said when the file was opened. */
static void change_to_threads(struct disk_queue *queue, const struct disk_file *file)
{
    while (queue->inside > 0) {
        wait_for_events(queue, 1);
        look_for_stalls(queue);
    }
    int error = open_engine(queue, true);
    if (error)
        zi_log(ZI_LOG_WARN, "disk", "%s: no threads for blocking I/O (%s); the caller blocks",
               file->name, strerror(error));
    queue->threads = true; /* not tried again */
}

enum disk_push disk_push(struct disk_queue *queue, const struct disk_request *asked)
{
    const struct disk_file *file = asked->file;
    ZI_REQUIRE(asked->offset >= 0 && asked->offset % DISK_BLOCK == 0);
    ZI_REQUIRE(asked->bytes % DISK_BLOCK == 0 && (uintptr_t)asked->buffer % DISK_ALIGNMENT == 0);
    ZI_REQUIRE(file->path < queue->options.paths);
    struct pending *request = take_request(&queue->free_requests);
    if (!request) return DISK_FULL;
    if (!file->direct && !queue->threads) change_to_threads(queue, file);
    *request = (struct pending){.asked = *asked, .start = zi_time_s()};
    queue->requests_out++;
    if (asked->bytes > 0)
        put_request(&queue->waiting, request);
    else
        finish(queue, request);
    return DISK_QUEUED;
}

const char *disk_queue_engine(const struct disk_queue *queue)
{
    return queue->engine_name;
}

void disk_queue_count(const struct disk_queue *queue, struct disk_counts *counts)
{
    *counts = (struct disk_counts){queue->read_bytes, queue->written_bytes, queue->requests_done,
                                   queue->blocks_submitted};
}

static enum zi_status choose_engine(struct disk_queue *queue)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    bool libaio = queue->options.engine != NVME_THREADS;
    int error = libaio ? open_engine(queue, false) : 0;
    if (libaio && !error) return ZI_OK;
    const char *remedy = error == EAGAIN ? "; raise fs.aio-max-nr (sysctl)" : "";
    if (queue->options.engine == NVME_LIBAIO)
        return zi_fail(ZI_ERROR_IO, "disk",
                       "libaio is refused for %d blocks (%s)%s, or set nvme.engine: threads",
                       queue->capacity, strerror(error), remedy);
    if (libaio && !atomic_flag_test_and_set(&said))
        zi_log(ZI_LOG_WARN, "disk",
               "libaio is refused for %d blocks (%s): blocking I/O in threads instead%s",
               queue->capacity, strerror(error), remedy);
    error = open_engine(queue, true);
    if (!error) return ZI_OK;
    return zi_fail(ZI_ERROR_DEVICE, "disk", "cannot start threads for I/O: %s", strerror(error));
}

static enum zi_status allocate(struct disk_queue *queue)
{
    const struct disk_options *options = &queue->options;
    queue->requests = calloc((size_t)options->requests, sizeof *queue->requests);
    queue->blocks = calloc((size_t)queue->capacity, sizeof *queue->blocks);
    queue->batch = calloc((size_t)queue->capacity, sizeof *queue->batch);
    queue->out = calloc((size_t)options->paths, sizeof *queue->out);
    queue->refused = calloc((size_t)options->paths, sizeof *queue->refused);
    if (!queue->requests || !queue->blocks || !queue->batch || !queue->out || !queue->refused)
        return zi_fail(ZI_ERROR_DEVICE, "disk", "no memory for a queue of %d blocks",
                       queue->capacity);
    for (int i = 0; i < options->requests; i++)
        put_request(&queue->free_requests, &queue->requests[i]);
    for (int i = 0; i < queue->capacity; i++) {
        queue->blocks[i].transfer.slot = i;
        put_block(&queue->free_blocks, &queue->blocks[i]);
    }
    return ZI_OK;
}

enum zi_status disk_queue_open(const struct disk_options *options, struct disk_queue **opened)
{
    *opened = NULL;
    ZI_TRY(disk_fault_prepare());
    if (options->block == 0 || options->block % DISK_BLOCK != 0)
        return zi_fail(ZI_ERROR_USAGE, "disk",
                       "blocks of %zu bytes: nvme.block must be a multiple "
                       "of %d bytes",
                       options->block, DISK_BLOCK);
    ZI_REQUIRE(options->depth > 0 && options->paths >= 0 && options->requests > 0);
    ZI_REQUIRE(options->deadline_s > 0);
    const struct disk_admission *admission = options->admission;
    ZI_REQUIRE(!admission || (admission->acquire && admission->release && admission->wait));
    struct disk_queue *queue = calloc(1, sizeof *queue);
    if (!queue) return zi_fail(ZI_ERROR_DEVICE, "disk", "no memory for a queue");
    queue->options = *options;
    if (options->paths == 0) queue->options.paths = 1;
    if (admission) queue->admission = *admission;
    queue->capacity = options->depth * queue->options.paths;
    queue->next_look = INFINITY;
    queue->refused_path = -1;
    enum zi_status status = allocate(queue);
    if (status >= 0) status = choose_engine(queue);
    if (status < 0) {
        disk_queue_close(queue);
        return status;
    }
    *opened = queue;
    return ZI_OK;
}

void disk_queue_close(struct disk_queue *queue)
{
    struct block *block;
    if (!queue) return;
    queue->waiting = (struct pending_list){NULL, NULL};
    for (int i = 0; queue->blocks && i < queue->capacity; i++) {
        /* so that nothing is tried again or logged, and what is back is dropped */
        struct pending *request = queue->blocks[i].request;
        if (!request) continue;
        request->error = ECANCELED;
        request->cut = request->asked.bytes;
    }
    while ((block = take_block(&queue->ready)))
        end_block(queue, block);
    while (queue->inside > 0) {
        wait_for_events(queue, 1);
        look_for_stalls(queue);
    }
    if (queue->engine) queue->engine->calls->close(queue->engine);
    free(queue->requests);
    free(queue->blocks);
    free(queue->batch);
    free(queue->out);
    free(queue->refused);
    free(queue);
}
