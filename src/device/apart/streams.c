/* SPDX-License-Identifier: Apache-2.0 */
/* Streams and events of the apart device.
 *
 * The problem: a missing wait shows only when work is done at an unlucky moment, and a test must
 * not depend on luck.
 *
 * The idea: a stream is a queue and a thread that takes from it; an entry of the queue may be held,
 * and then stays, with all behind it, until somebody needs it: the host synchronizes with the
 * stream or an event behind it, or another stream reaches a wait for such an event. With none held
 * work is done at once. With every entry held (late) nothing is done before the host waits. Then
 * the first stream, which in a program is that of the arithmetic, goes on until a wait stops it,
 * and only then others do what is needed of them, and no more. So what the first stream reads and
 * does not wait for has not arrived, and what it overwrites without a wait has not been taken away,
 * every time.
 *
 * Invariants: one mutex guards the queues of all streams and all events; it is not held while work
 * is done. An event's record is an entry too; a wait names the record it waits for by number, and
 * the record comes before it in time, so waits have no cycle. */
#include <stdlib.h>

#include "base/log.h"
#include "base/random.h"
#include "base/timing.h"
#include "device/apart/private.h"

/* Of a random schedule: one entry in so many is held. */
#define HELD_ONE_IN 4

struct apart_event {
    struct device_event base;
    /* Records made so far, and those that their stream has passed. */
    int64_t recorded, passed;
    /* Of the latest record: its stream, and its place there. */
    struct apart_stream *stream;
    int64_t place;
    /* Of the latest record that was passed. */
    double time_s;
    enum zi_status status;
};

enum entry_kind { ENTRY_CALL, ENTRY_RECORD, ENTRY_WAIT };

struct entry {
    struct entry *next;
    enum entry_kind kind;
    bool held;
    struct apart_call call;
    struct apart_event *event;
    /* Number of the record that is made or waited for. */
    int64_t record;
};

struct apart_stream {
    struct device_stream base;
    struct device_stream *cpu;
    pthread_t thread;
    struct entry *first, *last;
    /* Entries put into the queue, done, and asked for although they are held. */
    int64_t given, done, demanded;
    uint64_t number;
    enum zi_status status;
    /* Work is being done; the stream ends when its queue is empty. */
    bool working, closing;
};

static struct apart_stream *stream_of(struct device_stream *stream)
{
    return (struct apart_stream *)stream;
}

static struct apart_device *device_of(const struct apart_stream *stream)
{
    return apart_device_of(stream->base.device);
}

struct device_stream *apart_stream_cpu(struct device_stream *stream)
{
    return stream_of(stream)->cpu;
}

/* The first `count` entries of a stream are needed. */
static void demand(struct apart_stream *stream, int64_t count)
{
    if (stream->demanded >= count) return;
    stream->demanded = count;
    pthread_cond_broadcast(&device_of(stream)->changed);
}

static bool is_needed(const struct apart_device *d, const struct apart_stream *s)
{
    bool leads = s == d->lead && d->host_waits > 0;
    return s->first && (!s->first->held || s->done < s->demanded || leads);
}

static bool is_stopped(const struct apart_stream *s)
{
    const struct entry *first = s->first;
    return first && first->kind == ENTRY_WAIT && first->event->passed < first->record;
}

/* Whether the first entry of a stream may be done; in a late schedule after the lead's. */
static bool may_start(const struct apart_device *d, const struct apart_stream *s)
{
    const struct apart_stream *lead = d->lead;
    if (!is_needed(d, s)) return false;
    if (d->schedule != APART_LATE || !lead || s == lead) return true;
    return !lead->working && (!is_needed(d, lead) || is_stopped(lead));
}

/* Does the first entry, or sleeps for it. Under the mutex. */
static void do_first(struct apart_device *d, struct apart_stream *s)
{
    struct entry *entry = s->first;
    struct apart_event *event = entry->event;
    if (is_stopped(s)) {
        demand(event->stream, event->place + 1);
        pthread_cond_wait(&d->changed, &d->mutex);
        return;
    }
    if (entry->kind == ENTRY_RECORD) {
        event->passed = entry->record;
        event->time_s = zi_time_s();
        event->status = s->status;
    }
    if (entry->kind == ENTRY_CALL && s->status >= 0) {
        s->working = true;
        pthread_mutex_unlock(&d->mutex);
        enum zi_status status = entry->call.run(&d->cpu->operations, s->cpu, &entry->call);
        pthread_mutex_lock(&d->mutex);
        s->working = false;
        s->status = status;
    }
    s->first = entry->next;
    if (!s->first) s->last = NULL;
    s->done++;
    free(entry);
    pthread_cond_broadcast(&d->changed);
}

static void *stream_thread(void *argument)
{
    struct apart_stream *s = argument;
    struct apart_device *d = device_of(s);
    pthread_mutex_lock(&d->mutex);
    while (s->first || !s->closing) {
        if (may_start(d, s))
            do_first(d, s);
        else
            pthread_cond_wait(&d->changed, &d->mutex);
    }
    pthread_mutex_unlock(&d->mutex);
    return NULL;
}

static bool is_held(const struct apart_stream *s)
{
    const struct apart_device *d = device_of(s);
    if (d->schedule != APART_RANDOM) return d->schedule == APART_LATE;
    return zi_random_bits(d->seed, s->number, (uint64_t)s->given) % HELD_ONE_IN == 0;
}

/* Puts an entry into the queue; a record and a wait are numbered here. */
static enum zi_status give(struct apart_stream *s, const struct entry *what)
{
    struct apart_device *d = device_of(s);
    struct entry *entry = malloc(sizeof *entry);
    if (!entry) return zi_fail(ZI_ERROR_DEVICE, "apart", "no memory for the work of a stream");
    *entry = *what;
    entry->next = NULL;
    pthread_mutex_lock(&d->mutex);
    struct apart_event *event = entry->event;
    if (entry->kind == ENTRY_RECORD) {
        event->recorded++;
        event->stream = s;
        event->place = s->given;
    }
    if (event) entry->record = event->recorded;
    entry->held = is_held(s);
    if (s->last)
        s->last->next = entry;
    else
        s->first = entry;
    s->last = entry;
    s->given++;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->mutex);
    return ZI_OK;
}

enum zi_status apart_stream_give(struct device_stream *stream, const struct apart_call *call)
{
    return give(stream_of(stream), &(struct entry){.kind = ENTRY_CALL, .call = *call});
}

enum zi_status apart_stream_create(struct device *device, int threads,
                                   struct device_stream **stream)
{
    struct apart_device *d = apart_device_of(device);
    struct apart_stream *s = calloc(1, sizeof *s);
    enum zi_status status = s ? ZI_OK : zi_fail(ZI_ERROR_DEVICE, "apart", "no memory for a stream");
    if (status >= 0) status = device_stream_create(d->cpu, threads, &s->cpu);
    if (status >= 0) {
        s->base = (struct device_stream){device, threads};
        pthread_mutex_lock(&d->mutex);
        s->number = d->streams++;
        if (!d->lead) d->lead = s;
        pthread_mutex_unlock(&d->mutex);
        if (pthread_create(&s->thread, NULL, stream_thread, s) != 0)
            status = zi_fail(ZI_ERROR_DEVICE, "apart", "no thread for a stream");
    }
    if (status < 0) {
        if (d->lead == s) d->lead = NULL;
        if (s) device_stream_destroy(s->cpu);
        free(s);
        return status;
    }
    *stream = &s->base;
    return ZI_OK;
}

void apart_stream_destroy(struct device_stream *stream)
{
    struct apart_stream *s = stream_of(stream);
    struct apart_device *d = device_of(s);
    pthread_mutex_lock(&d->mutex);
    s->closing = true;
    if (d->lead == s) d->lead = NULL;
    demand(s, s->given);
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->mutex);
    pthread_join(s->thread, NULL);
    device_stream_destroy(s->cpu);
    free(s);
}

/* The host begins to wait. Under the mutex. */
static void wait_begin(struct apart_device *d)
{
    d->host_waits++;
    pthread_cond_broadcast(&d->changed);
}

enum zi_status apart_stream_synchronize(struct device_stream *stream)
{
    struct apart_stream *s = stream_of(stream);
    struct apart_device *d = device_of(s);
    pthread_mutex_lock(&d->mutex);
    int64_t given = s->given;
    demand(s, given);
    wait_begin(d);
    while (s->done < given) {
        pthread_cond_wait(&d->changed, &d->mutex);
    }
    d->host_waits--;
    enum zi_status status = s->status;
    pthread_mutex_unlock(&d->mutex);
    return status;
}

enum zi_status apart_event_create(struct device *device, struct device_event **event)
{
    struct apart_event *e = calloc(1, sizeof *e);
    if (!e) return zi_fail(ZI_ERROR_DEVICE, "apart", "no memory for an event");
    e->base.device = device;
    *event = &e->base;
    return ZI_OK;
}

void apart_event_destroy(struct device_event *event)
{
    free(event);
}

enum zi_status apart_event_record(struct device_event *event, struct device_stream *stream)
{
    struct entry entry = {.kind = ENTRY_RECORD, .event = (struct apart_event *)event};
    return give(stream_of(stream), &entry);
}

enum zi_status apart_event_wait(struct device_stream *stream, struct device_event *event)
{
    struct entry entry = {.kind = ENTRY_WAIT, .event = (struct apart_event *)event};
    return give(stream_of(stream), &entry);
}

enum zi_status apart_event_query(struct device_event *event, bool *done)
{
    const struct apart_event *e = (const struct apart_event *)event;
    struct apart_device *d = apart_device_of(event->device);
    pthread_mutex_lock(&d->mutex);
    *done = e->passed == e->recorded;
    enum zi_status status = *done ? e->status : ZI_OK;
    pthread_mutex_unlock(&d->mutex);
    return status;
}

enum zi_status apart_event_synchronize(struct device_event *event, double *time_s)
{
    struct apart_event *e = (struct apart_event *)event;
    struct apart_device *d = apart_device_of(event->device);
    pthread_mutex_lock(&d->mutex);
    int64_t record = e->recorded;
    if (e->passed < record) demand(e->stream, e->place + 1);
    wait_begin(d);
    while (e->passed < record) {
        pthread_cond_wait(&d->changed, &d->mutex);
    }
    d->host_waits--;
    if (time_s) *time_s = e->time_s;
    enum zi_status status = e->status;
    pthread_mutex_unlock(&d->mutex);
    return status;
}
