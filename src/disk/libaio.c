/* SPDX-License-Identifier: Apache-2.0 */
/* The engine on the kernel's own asynchronous I/O.
 *
 * io_submit takes a batch in one call and returns at once when the file was opened for direct I/O
 * and its space is allocated; both are so for every file that reaches this engine. io_getevents
 * sleeps in the kernel. Each transfer has its control block in the slot that the queue gave it, so
 * nothing is allocated while a queue is at work.
 *
 * io_destroy waits for a grace period of the kernel's RCU, 20 to 100 ms. So an engine that is
 * closed keeps its context, from which all events have been taken, and lies idle until a queue is
 * opened that it has room for. IDLE_MAX of them do so at most; the kernel frees their contexts when
 * the process ends. A context is of the process that made it: a child after fork drops what its
 * parent had idle, and closes what its parent had open, without a word to the kernel.
 *
 * io_submit stops at the first control block that the kernel refuses. When that is the first of the
 * batch its error comes back alone, else the number before it: the next call meets it as first. */
#include "disk/engine.h"

#include <errno.h>
#include <libaio.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { EVENTS = 64, IDLE_MAX = 4 };

struct libaio {
    struct disk_engine base;
    io_context_t context;
    /* Whose context it is */
    pid_t process;
    int capacity;
    /* One per slot */
    struct iocb *blocks;
    /* Of one call */
    struct iocb **pointers;
    /* Idle for longer */
    struct libaio *next;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of the following */
static struct libaio *idle;                               /* the one that was closed last */

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

static void end(struct libaio *self)
{
    if (self->context && self->process == getpid()) io_destroy(self->context);
    free(self->blocks);
    free(self->pointers);
    free(self);
}

/* With the mutex held. */
static void drop_inherited(void)
{
    while (idle && idle->process != getpid()) {
        struct libaio *inherited = idle;
        idle = inherited->next;
        end(inherited);
    }
}

static void libaio_close(struct disk_engine *engine)
{
    struct libaio *self = (struct libaio *)engine, *surplus = self;
    if (self->process == getpid()) {
        pthread_mutex_lock(&mutex);
        drop_inherited();
        self->next = idle;
        idle = self;
        struct libaio **place = &idle;
        for (int i = 0; i < IDLE_MAX && *place; i++)
            place = &(*place)->next;
        surplus = *place; /* one at most */
        *place = NULL;
        pthread_mutex_unlock(&mutex);
    }
    if (surplus) end(surplus);
}

/* The idle engine that was closed last of those with room for `capacity` transfers, or NULL. */
static struct libaio *take_idle(int capacity)
{
    pthread_mutex_lock(&mutex);
    drop_inherited();
    struct libaio **place = &idle;
    while (*place && (*place)->capacity < capacity)
        place = &(*place)->next;
    struct libaio *taken = *place;
    if (taken) *place = taken->next;
    pthread_mutex_unlock(&mutex);
    return taken;
}

static const struct disk_engine_calls calls = {"libaio", libaio_submit, libaio_wait, libaio_close};

/* 0 or an errno. Idle contexts count against the system's limit, and make way at it. */
static int set_up(struct libaio *self)
{
    struct libaio *other;
    int error = -io_setup(self->capacity, &self->context);
    while (error == EAGAIN && (other = take_idle(0))) {
        end(other);
        error = -io_setup(self->capacity, &self->context);
    }
    if (error) self->context = NULL;
    return error;
}

int disk_libaio_open(int capacity, struct disk_engine **engine)
{
    *engine = NULL;
    if (disk_fault_strikes_now(DISK_FAULT_NO_LIBAIO)) return EAGAIN;
    struct libaio *self = take_idle(capacity);
    if (self) {
        *engine = &self->base;
        return 0;
    }
    self = calloc(1, sizeof *self);
    if (!self) return ENOMEM;
    self->base.calls = &calls;
    self->process = getpid();
    self->capacity = capacity;
    self->blocks = calloc((size_t)capacity, sizeof *self->blocks);
    self->pointers = calloc((size_t)capacity, sizeof *self->pointers);
    int error = self->blocks && self->pointers ? set_up(self) : ENOMEM;
    if (error) {
        end(self);
        return error;
    }
    *engine = &self->base;
    return 0;
}
