/* SPDX-License-Identifier: Apache-2.0 */
/* The engine on the kernel's own asynchronous I/O.
 *
 * io_submit takes a batch in one call and returns at once when the file was opened for direct I/O
 * and its space is allocated; both are so for every file that reaches this engine. io_getevents
 * sleeps in the kernel. Each transfer has its control block in the slot that the queue gave it, so
 * nothing is allocated while a queue is at work.
 *
 * io_submit stops at the first control block that the kernel refuses. When that is the first of the
 * batch its error comes back alone, else the number before it: the next call meets it as first. */
#include "disk/engine.h"

#include <errno.h>
#include <libaio.h>
#include <stdlib.h>

enum { EVENTS = 64 };

struct libaio {
    struct disk_engine base;
    io_context_t context;
    int capacity;
    /* One per slot */
    struct iocb *blocks;
    /* Of one call */
    struct iocb **pointers;
};

static int libaio_submit(struct disk_engine *engine, const struct disk_transfer *const *transfers,
                         int count)
{
    struct libaio *self = (struct libaio *)engine;
    if (count > self->capacity) count = self->capacity;
    for (int i = 0; i < count; i++) {
        const struct disk_transfer *t = transfers[i];
        struct iocb *block = &self->blocks[t->slot];
        if (t->write)
            io_prep_pwrite(block, t->descriptor, t->buffer, t->bytes, t->offset);
        else
            io_prep_pread(block, t->descriptor, t->buffer, t->bytes, t->offset);
        block->data = (void *)(intptr_t)t->slot;
        self->pointers[i] = block;
    }
    int taken = io_submit(self->context, count, self->pointers);
    return taken == 0 && count > 0 ? -EAGAIN : taken;
}

static int libaio_wait(struct disk_engine *engine, double timeout_s, struct disk_event *events,
                       int maximum)
{
    struct libaio *self = (struct libaio *)engine;
    struct io_event found[EVENTS];
    struct timespec timeout = disk_timespec(timeout_s);
    int count =
        io_getevents(self->context, 1, maximum < EVENTS ? maximum : EVENTS, found, &timeout);
    for (int i = 0; i < count; i++) {
        /* `res` is unsigned in the header, and carries -errno */
        events[i] = (struct disk_event){(int)(intptr_t)found[i].data, (int64_t)found[i].res};
    }
    return count;
}

static void libaio_close(struct disk_engine *engine)
{
    struct libaio *self = (struct libaio *)engine;
    if (self->context) io_destroy(self->context);
    free(self->blocks);
    free(self->pointers);
    free(self);
}

static const struct disk_engine_calls calls = {"libaio", libaio_submit, libaio_wait, libaio_close};

int disk_libaio_open(int capacity, struct disk_engine **engine)
{
    *engine = NULL;
    if (disk_fault_strikes_now(DISK_FAULT_NO_LIBAIO)) return EAGAIN;
    struct libaio *self = calloc(1, sizeof *self);
    if (!self) return ENOMEM;
    self->base.calls = &calls;
    self->capacity = capacity;
    self->blocks = calloc((size_t)capacity, sizeof *self->blocks);
    self->pointers = calloc((size_t)capacity, sizeof *self->pointers);
    int error = self->blocks && self->pointers ? -io_setup(capacity, &self->context) : ENOMEM;
    if (error) {
        self->context = NULL;
        libaio_close(&self->base);
        return error;
    }
    *engine = &self->base;
    return 0;
}
