/* SPDX-License-Identifier: Apache-2.0 */
/* The engine of blocking calls in a few threads, for kernels without libaio and file systems
 * without direct I/O (libaio on buffered files blocks in io_submit).
 *
 * The queue's thread puts transfers into a ring; workers take them in order, call pread or pwrite
 * once each, and put what came of it into a second ring, on which the queue's thread sleeps. Both
 * rings have room for every slot, so no one waits for room. Workers block all signals: those are
 * for the threads of the program. */
#include "disk/engine.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { WORKERS_MAX = 8 };

struct threads {
    struct disk_engine base;
    /* Of everything below */
    pthread_mutex_t mutex;
    /* todo has grown, or stop; ended has grown */
    pthread_cond_t work, done;
    /* Ring of `capacity` */
    struct disk_transfer *todo;
    /* Ring of `capacity` */
    struct disk_event *ended;
    int capacity;
    int todo_first, todo_count, ended_first, ended_count;
    bool stop;
    int workers;
    pthread_t worker[WORKERS_MAX];
};

static int64_t move(const struct disk_transfer *t)
{
    ssize_t bytes = t->write ? pwrite(t->descriptor, t->buffer, t->bytes, t->offset)
                             : pread(t->descriptor, t->buffer, t->bytes, t->offset);
    return bytes < 0 ? -errno : bytes;
}

static void *work(void *argument)
{
    struct threads *self = argument;
    pthread_mutex_lock(&self->mutex);
    for (;;) {
        while (self->todo_count == 0 && !self->stop)
            pthread_cond_wait(&self->work, &self->mutex);
        if (self->todo_count == 0) break;
        struct disk_transfer transfer = self->todo[self->todo_first];
        self->todo_first = (self->todo_first + 1) % self->capacity;
        self->todo_count--;
        pthread_mutex_unlock(&self->mutex);
        struct disk_event event = {transfer.slot, move(&transfer)};
        pthread_mutex_lock(&self->mutex);
        self->ended[(self->ended_first + self->ended_count++) % self->capacity] = event;
        pthread_cond_signal(&self->done);
    }
    pthread_mutex_unlock(&self->mutex);
    return NULL;
}

static int threads_submit(struct disk_engine *engine, const struct disk_transfer *const *transfers,
                          int count)
{
    struct threads *self = (struct threads *)engine;
    pthread_mutex_lock(&self->mutex);
    int taken = 0;
    while (taken < count && self->todo_count < self->capacity) {
        self->todo[(self->todo_first + self->todo_count++) % self->capacity] = *transfers[taken];
        taken++;
    }
    pthread_cond_broadcast(&self->work);
    pthread_mutex_unlock(&self->mutex);
    return taken == 0 && count > 0 ? -EAGAIN : taken;
}

static int threads_wait(struct disk_engine *engine, double timeout_s, struct disk_event *events,
                        int maximum)
{
    struct threads *self = (struct threads *)engine;
    struct timespec until, span = disk_timespec(timeout_s);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += span.tv_sec;
    until.tv_nsec += span.tv_nsec;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&self->mutex);
    while (self->ended_count == 0 &&
           pthread_cond_timedwait(&self->done, &self->mutex, &until) != ETIMEDOUT) {
    }
    int count = 0;
    while (count < maximum && self->ended_count > 0) {
        events[count++] = self->ended[self->ended_first];
        self->ended_first = (self->ended_first + 1) % self->capacity;
        self->ended_count--;
    }
    pthread_mutex_unlock(&self->mutex);
    return count;
}

static void threads_close(struct disk_engine *engine)
{
    struct threads *self = (struct threads *)engine;
    pthread_mutex_lock(&self->mutex);
    self->stop = true;
    pthread_cond_broadcast(&self->work);
    pthread_mutex_unlock(&self->mutex);
    for (int i = 0; i < self->workers; i++)
        pthread_join(self->worker[i], NULL);
    pthread_cond_destroy(&self->work);
    pthread_cond_destroy(&self->done);
    pthread_mutex_destroy(&self->mutex);
    free(self->todo);
    free(self->ended);
    free(self);
}

static const struct disk_engine_calls calls = {"threads", threads_submit, threads_wait,
                                               threads_close};

/* As many as there are transfers, at most WORKERS_MAX; fewer will do. An errno without any. */
static int start_workers(struct threads *self)
{
    sigset_t all, before;
    sigfillset(&all);
    int error = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (error) return error;
    while (self->workers < WORKERS_MAX && self->workers < self->capacity && !error) {
        error = pthread_create(&self->worker[self->workers], NULL, work, self);
        if (!error) self->workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return self->workers > 0 ? 0 : error;
}

int disk_threads_open(int capacity, struct disk_engine **engine)
{
    *engine = NULL;
    struct threads *self = calloc(1, sizeof *self);
    if (!self) return ENOMEM;
    self->base.calls = &calls;
    self->capacity = capacity;
    self->todo = calloc((size_t)capacity, sizeof *self->todo);
    self->ended = calloc((size_t)capacity, sizeof *self->ended);
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->work, NULL);
    pthread_cond_init(&self->done, &clock);
    pthread_condattr_destroy(&clock);
    int error = self->todo && self->ended ? start_workers(self) : ENOMEM;
    if (error) {
        threads_close(&self->base);
        return error;
    }
    *engine = &self->base;
    return 0;
}
