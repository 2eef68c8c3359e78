/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that fail on purpose, so that what a queue, a store and a whole run do then can be tested
 * without a broken disk.
 *
 * There is one fault per process, set by a test or by the environment. It counts blocks over all
 * queues, and strikes the first-th one and some after it. An engine of its own stands between a
 * queue and the real engine: errors are events that the real engine never saw, short transfers are
 * shorter ones, a stall is an event that is held back. What is not struck passes untouched.
 *
 * A block cannot be held back in the kernel by a program without a slow disk; a held event is the
 * same to the queue, which knows nothing of the kernel but events. */
#include "disk/engine.h"

#include "base/log.h"
#include "base/timing.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of the following */
static struct disk_fault fault;
static bool active, environment_read;
static int64_t seen, strikes;

void disk_fault_set(const struct disk_fault *wanted)
{
    pthread_mutex_lock(&mutex);
    environment_read = true;
    active = wanted;
    if (active) fault = *wanted;
    if (fault.first < 1) fault.first = 1;
    if (fault.times < 1) fault.times = 1;
    seen = strikes = 0;
    pthread_mutex_unlock(&mutex);
}

int64_t disk_fault_strikes(void)
{
    pthread_mutex_lock(&mutex);
    int64_t count = strikes;
    pthread_mutex_unlock(&mutex);
    return count;
}

/* With the mutex held: counts one more, and whether it is struck. */
static bool count_one(void)
{
    seen++;
    bool struck = seen >= fault.first && seen - fault.first < fault.times;
    strikes += struck;
    return struck;
}

static bool concerns_blocks(enum disk_fault_kind kind)
{
    return kind != DISK_FAULT_NO_DIRECT && kind != DISK_FAULT_NO_LIBAIO;
}

bool disk_fault_strikes_now(enum disk_fault_kind kind)
{
    pthread_mutex_lock(&mutex);
    bool struck = active && fault.kind == kind && count_one();
    pthread_mutex_unlock(&mutex);
    return struck;
}

/* Whether a block is struck; *copy is the fault then. */
static bool strikes_block(bool write, struct disk_fault *copy)
{
    pthread_mutex_lock(&mutex);
    bool struck = active && concerns_blocks(fault.kind) && (write ? fault.writes : fault.reads) &&
                  count_one();
    *copy = fault;
    pthread_mutex_unlock(&mutex);
    return struck;
}

static const struct word {
    const char *name;
    enum disk_fault_kind kind;
    int error;
} words[] = {
    {"EIO", DISK_FAULT_ERROR, EIO},        {"ENOSPC", DISK_FAULT_ERROR, ENOSPC},
    {"EAGAIN", DISK_FAULT_ERROR, EAGAIN},  {"EINTR", DISK_FAULT_ERROR, EINTR},
    {"EINVAL", DISK_FAULT_ERROR, EINVAL},  {"short", DISK_FAULT_SHORT, 0},
    {"refuse", DISK_FAULT_REFUSE, 0},      {"interrupt", DISK_FAULT_INTERRUPT, 0},
    {"stall", DISK_FAULT_STALL, 0},        {"nodirect", DISK_FAULT_NO_DIRECT, 0},
    {"nolibaio", DISK_FAULT_NO_LIBAIO, 0},
};

static bool parse(const char *text, struct disk_fault *parsed)
{
    char operation[8], name[12];
    long long first = 1, times = 1;
    double seconds = 1;
    int end = 0; /* of the last number that was found */
    int found = sscanf(text, "%7[a-z]:%11[A-Za-z]:%lld%n:%lld%n:%lf%n", operation, name, &first,
                       &end, &times, &end, &seconds, &end);
    if (found < 3 || text[end] != 0 || first < 1 || times < 1 || !(seconds >= 0)) return false;
    bool any = strcmp(operation, "any") == 0;
    *parsed = (struct disk_fault){.reads = any || strcmp(operation, "read") == 0,
                                  .writes = any || strcmp(operation, "write") == 0,
                                  .first = first,
                                  .times = times,
                                  .seconds = seconds};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i].name, name) != 0) continue;
        parsed->kind = words[i].kind;
        parsed->error = words[i].error;
        return parsed->reads || parsed->writes;
    }
    return false;
}

enum zi_status disk_fault_prepare(void)
{
    pthread_mutex_lock(&mutex);
    bool read_it = !environment_read;
    pthread_mutex_unlock(&mutex);
    const char *text = read_it ? getenv("ZINF_DISK_FAULT") : NULL;
    if (!text || text[0] == 0) return ZI_OK;
    struct disk_fault parsed;
    if (!parse(text, &parsed))
        return zi_fail(ZI_ERROR_USAGE, "disk",
                       "ZINF_DISK_FAULT=%s is not OPERATION:FAULT:FIRST[:TIMES[:SECONDS]] "
                       "(read, write or any; EIO, ENOSPC, EAGAIN, EINTR, EINVAL, short, refuse, "
                       "interrupt, stall, nodirect or nolibaio); unset it for a real run",
                       text);
    zi_log(ZI_LOG_WARN, "disk", "ZINF_DISK_FAULT=%s: disk faults are made on purpose", text);
    disk_fault_set(&parsed);
    return ZI_OK;
}

struct faulty {
    struct disk_engine base;
    struct disk_engine *inner;
    /* Events of its own, with the times from which they can be seen */
    struct disk_event *held;
    double *due;
    int held_count;
    /* Per slot; 0: passes */
    double *stalled_until;
    bool interrupt;
};

static void hold(struct faulty *self, struct disk_event event, double due)
{
    self->held[self->held_count] = event;
    self->due[self->held_count++] = due;
}

/* 1 when the transfer was taken, else -errno. */
static int submit_one(struct faulty *self, const struct disk_transfer *transfer)
{
    struct disk_fault copy;
    struct disk_transfer changed = *transfer;
    const struct disk_transfer *pointer = &changed;
    self->stalled_until[transfer->slot] = 0;
    if (strikes_block(transfer->write, &copy)) {
        size_t half = transfer->bytes / 2 / DISK_BLOCK * DISK_BLOCK;
        switch (copy.kind) {
        case DISK_FAULT_ERROR:
            hold(self, (struct disk_event){transfer->slot, -copy.error}, 0);
            return 1;
        case DISK_FAULT_SHORT:
            if (half > 0) changed.bytes = half;
            break;
        case DISK_FAULT_REFUSE:
            return -EAGAIN;
        case DISK_FAULT_INTERRUPT:
            self->interrupt = true;
            break;
        case DISK_FAULT_STALL:
            self->stalled_until[transfer->slot] = zi_time_s() + copy.seconds;
            break;
        default:
            break;
        }
    }
    return self->inner->calls->submit(self->inner, &pointer, 1);
}

static int faulty_submit(struct disk_engine *engine, const struct disk_transfer *const *transfers,
                         int count)
{
    struct faulty *self = (struct faulty *)engine;
    for (int i = 0; i < count; i++) {
        int taken = submit_one(self, transfers[i]);
        if (taken != 1) return i > 0 ? i : taken;
    }
    return count;
}

/* Moves held events whose time has come to `events`; *next is when the next one's comes. */
static int release(struct faulty *self, struct disk_event *events, int maximum, double *next)
{
    double now = zi_time_s();
    int count = 0, kept = 0;
    for (int i = 0; i < self->held_count; i++) {
        if (self->due[i] <= now && count < maximum) {
            events[count++] = self->held[i];
            continue;
        }
        if (self->due[i] < *next) *next = self->due[i];
        self->held[kept] = self->held[i];
        self->due[kept++] = self->due[i];
    }
    self->held_count = kept;
    return count;
}

static int faulty_wait(struct disk_engine *engine, double timeout_s, struct disk_event *events,
                       int maximum)
{
    struct faulty *self = (struct faulty *)engine;
    if (self->interrupt) {
        self->interrupt = false;
        return -EINTR;
    }
    double until = zi_time_s() + timeout_s;
    for (;;) {
        double next = until;
        int count = release(self, events, maximum, &next);
        if (count > 0) return count;
        double span = next - zi_time_s();
        int found = self->inner->calls->wait(self->inner, span > 0 ? span : 0, events, maximum);
        if (found < 0) return found;
        for (int i = 0; i < found; i++) {
            double due = self->stalled_until[events[i].slot];
            if (due > 0)
                hold(self, events[i], due);
            else
                events[count++] = events[i];
        }
        if (count > 0) return count;
        if (zi_time_s() >= until) return 0;
    }
}

static void faulty_close(struct disk_engine *engine)
{
    struct faulty *self = (struct faulty *)engine;
    if (self->inner) self->inner->calls->close(self->inner);
    free(self->held);
    free(self->due);
    free(self->stalled_until);
    free(self);
}

int disk_fault_wrap(int capacity, struct disk_engine **engine)
{
    static const struct disk_engine_calls calls = {"fault", faulty_submit, faulty_wait,
                                                   faulty_close};
    pthread_mutex_lock(&mutex);
    bool wanted = active && concerns_blocks(fault.kind);
    pthread_mutex_unlock(&mutex);
    if (!wanted) return 0;
    struct faulty *self = calloc(1, sizeof *self);
    if (!self) return ENOMEM;
    self->base.calls = &calls;
    self->held = calloc((size_t)capacity, sizeof *self->held);
    self->due = calloc((size_t)capacity, sizeof *self->due);
    self->stalled_until = calloc((size_t)capacity, sizeof *self->stalled_until);
    if (!self->held || !self->due || !self->stalled_until) {
        faulty_close(&self->base);
        return ENOMEM;
    }
    self->inner = *engine;
    *engine = &self->base;
    return 0;
}
