/* SPDX-License-Identifier: Apache-2.0 */
/* Channels: transfers of arrays as requests of disk queues.
 *
 * A transfer is cut where its bytes change from one path to another; every part is one request of
 * the channel's queue, which chops it further into blocks. A queue takes a limited number of
 * requests, so a transfer may wait, partly pushed, in a line of its own; whenever results come in
 * the line moves on. A transfer is done when all its parts are; when a part fails, no further parts
 * of it are pushed, and it fails once those under way have ended (its buffer is the caller's
 * again only then).
 *
 * Invariants: slots[i] is free, in the line (not all pushed), under way, or in the list of done
 * ones; `open` of them are not free. The channel is used by one thread at a time; only the counts
 * of its queue are read by others, under the store's lock. */
#include "tier/arbiter.h"

#include "base/log.h"
#include "base/timing.h"

#include <inttypes.h>
#include <stdlib.h>

#define LONGEST_WAIT_S 3600.0

enum { PARTS_PER_PATH = 4, RESULTS = 32, NONE = -1 };

struct slot {
    struct tier_transfer transfer;
    size_t pushed;
    /* Under way */
    int parts;
    bool failed;
    /* In the list that the slot is in */
    int next;
};

struct slot_list {
    int first, last;
};

struct tier_channel {
    struct tier_store *store;
    /* NULL without arbiter */
    struct arbiter_gate *gate;
    struct disk_queue *queue;
    /* Of the store */
    struct tier_channel *previous, *next;
    int transfers, open;
    struct slot_list free, line, done;
    struct slot slots[];
};

static void list_append(struct tier_channel *channel, struct slot_list *list, int slot)
{
    channel->slots[slot].next = NONE;
    if (list->first == NONE)
        list->first = slot;
    else
        channel->slots[list->last].next = slot;
    list->last = slot;
}

static int list_take(struct tier_channel *channel, struct slot_list *list)
{
    int slot = list->first;
    if (slot != NONE) list->first = channel->slots[slot].next;
    return slot;
}

static void count_in(struct tier_store_counts *counts, const struct disk_queue *queue)
{
    struct disk_counts more;
    disk_queue_count(queue, &more);
    counts->read_bytes += more.read_bytes;
    counts->written_bytes += more.written_bytes;
    counts->requests += more.blocks;
}

void tier_store_count(const struct tier_store *store, struct tier_store_counts *counts)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&store->lock; /* counting does not change a store */
    pthread_mutex_lock(lock);
    *counts = store->closed;
    for (struct tier_channel *channel = store->first; channel; channel = channel->next)
        count_in(counts, channel->queue);
    counts->busy_s = disk_busy_seconds((struct disk_busy *)&store->busy);
    pthread_mutex_unlock(lock);
}

static enum zi_status open_queue(struct tier_channel *channel)
{
    struct tier_store *store = channel->store;
    struct disk_admission admission;
    if (store->arbiter) {
        ZI_TRY(arbiter_gate_open(store->arbiter, &channel->gate));
        admission = arbiter_admission(channel->gate);
    }
    int parts = store->path_count == 1 ? 1 : PARTS_PER_PATH * store->path_count;
    struct disk_options options = {
        .engine = store->nvme.engine,
        .depth = (int)store->nvme.depth,
        .paths = store->path_count,
        .requests = channel->transfers * parts,
        .block = (size_t)store->nvme.block,
        .deadline_s = (double)store->nvme.deadline,
        .admission = channel->gate ? &admission : NULL,
        .busy = &store->busy,
    };
    return disk_queue_open(&options, &channel->queue);
}

enum zi_status tier_channel_open(struct tier_store *store, int transfers,
                                 struct tier_channel **channel)
{
    if (transfers < 1)
        return zi_fail(ZI_ERROR_BUG, "tier", "a channel for %d transfers", transfers);
    struct tier_channel *made = calloc(1, sizeof *made + (size_t)transfers * sizeof made->slots[0]);
    if (!made) return zi_fail(ZI_ERROR_DEVICE, "tier", "no memory for a channel");
    made->store = store;
    made->transfers = transfers;
    made->free = made->line = made->done = (struct slot_list){NONE, NONE};
    for (int s = 0; s < transfers; s++)
        list_append(made, &made->free, s);
    enum zi_status status = open_queue(made);
    if (status < 0) {
        arbiter_gate_close(made->gate);
        free(made);
        return status;
    }
    pthread_mutex_lock(&store->lock);
    made->next = store->first;
    if (made->next) made->next->previous = made;
    store->first = made;
    pthread_mutex_unlock(&store->lock);
    *channel = made;
    return ZI_OK;
}

void tier_channel_close(struct tier_channel *channel)
{
    if (!channel) return;
    struct tier_store *store = channel->store;
    pthread_mutex_lock(&store->lock);
    if (channel->previous)
        channel->previous->next = channel->next;
    else
        store->first = channel->next;
    if (channel->next) channel->next->previous = channel->previous;
    count_in(&store->closed, channel->queue);
    pthread_mutex_unlock(&store->lock);
    disk_queue_close(channel->queue);
    arbiter_gate_close(channel->gate);
    free(channel);
}

static enum zi_status check_transfer(const struct tier_store *store,
                                     const struct tier_transfer *transfer)
{
    if (transfer->array < 0 || transfer->array >= store->array_count)
        return zi_fail(ZI_ERROR_BUG, "tier", "transfer of array %d of %d", transfer->array,
                       store->array_count);
    const struct tier_array *array = &store->arrays[transfer->array];
    bool inside =
        transfer->bytes <= array->bytes && transfer->offset <= array->bytes - transfer->bytes;
    if (!inside || transfer->offset % TIER_STORE_BLOCK != 0 ||
        transfer->bytes % TIER_STORE_BLOCK != 0 ||
        (uintptr_t)transfer->buffer % TIER_STORE_ALIGNMENT != 0)
        return zi_fail(ZI_ERROR_BUG, "tier",
                       "transfer of bytes %zu + %zu of %s, which has %zu, at address %" PRIxPTR
                       ": out of range or not aligned",
                       transfer->offset, transfer->bytes, array->name, array->bytes,
                       (uintptr_t)transfer->buffer);
    return ZI_OK;
}

/* Pushes the next part of a transfer; false when the queue is full. */
static bool push_part(struct tier_channel *channel, int s)
{
    struct tier_store *store = channel->store;
    struct slot *slot = &channel->slots[s];
    const struct tier_transfer *transfer = &slot->transfer;
    int path;
    size_t within, bytes;
    stripes_find(&store->stripes, transfer->offset + slot->pushed, &path, &within, &bytes);
    size_t left = transfer->bytes - slot->pushed;
    if (bytes > left) bytes = left;
    int64_t start = store->offsets[path * store->array_count + transfer->array];
    struct disk_request request = {
        .file = store->files[path],
        .offset = start + (int64_t)within,
        .bytes = bytes,
        .buffer = (char *)transfer->buffer + slot->pushed,
        .write = transfer->write,
        .label = store->arrays[transfer->array].name,
        .tag = (uint64_t)s,
    };
    if (disk_push(channel->queue, &request) == DISK_FULL) return false;
    slot->pushed += bytes;
    slot->parts++;
    return true;
}

/* Pushes what the queue takes, in the order in which transfers were started. */
static void push_line(struct tier_channel *channel)
{
    while (channel->line.first != NONE) {
        int s = channel->line.first;
        struct slot *slot = &channel->slots[s];
        while (!slot->failed && slot->pushed < slot->transfer.bytes) {
            if (!push_part(channel, s)) return;
        }
        list_take(channel, &channel->line);
        if (slot->parts == 0) list_append(channel, &channel->done, s);
    }
}

enum zi_status tier_channel_start(struct tier_channel *channel,
                                  const struct tier_transfer *transfer)
{
    ZI_TRY(check_transfer(channel->store, transfer));
    int s = list_take(channel, &channel->free);
    if (s == NONE) return ZI_IN_PROGRESS;
    channel->slots[s] = (struct slot){.transfer = *transfer};
    channel->open++;
    list_append(channel, &channel->line, s);
    push_line(channel);
    disk_flush(channel->queue);
    return ZI_OK;
}

/* Takes results for at most timeout_s and moves on with what they make possible. */
static void take_results(struct tier_channel *channel, double timeout_s)
{
    struct disk_result results[RESULTS];
    int count = disk_reap(channel->queue, 1, RESULTS, timeout_s, results);
    for (int r = 0; r < count; r++) {
        int s = (int)results[r].tag;
        struct slot *slot = &channel->slots[s];
        slot->parts--;
        if (results[r].error != 0) slot->failed = true;
        bool in_line = channel->line.first == s; /* only the first of the line has parts */
        if (slot->parts == 0 && !in_line) list_append(channel, &channel->done, s);
    }
    push_line(channel);
    if (count > 0) disk_flush(channel->queue);
}

enum zi_status tier_channel_reap(struct tier_channel *channel, double timeout_s, uint64_t *tag)
{
    double until = zi_time_s() + timeout_s, left = timeout_s;
    if (channel->open == 0) return ZI_IN_PROGRESS;
    while (channel->done.first == NONE) {
        take_results(channel, left > LONGEST_WAIT_S ? LONGEST_WAIT_S : left > 0 ? left : 0);
        if (channel->done.first == NONE && left <= 0) return ZI_IN_PROGRESS;
        left = until - zi_time_s();
    }
    int s = list_take(channel, &channel->done);
    const struct slot *slot = &channel->slots[s];
    *tag = slot->transfer.tag;
    enum zi_status status = slot->failed ? ZI_ERROR_IO : ZI_OK; /* logged by the queue */
    list_append(channel, &channel->free, s);
    channel->open--;
    return status;
}

enum zi_status tier_channel_move(struct tier_channel *channel, const struct tier_transfer *transfer)
{
    uint64_t tag;
    if (channel->open > 0)
        return zi_fail(ZI_ERROR_BUG, "tier", "one transfer from start to end, but %d are under way",
                       channel->open);
    ZI_TRY(tier_channel_start(channel, transfer));
    enum zi_status status;
    do {
        status = tier_channel_reap(channel, LONGEST_WAIT_S, &tag);
    } while (status == ZI_IN_PROGRESS);
    return status;
}
