/* SPDX-License-Identifier: Apache-2.0 */
/* Two events enclose a collective: it waits, or works, from when the first has been passed until the
 * second has. They are asked about once a second and only when they are older than that, so the
 * thread costs nothing, and what has been passed by then is used again. A wait that lasts becomes a
 * warning that names it, every minute, as with MPI: a rank may be late for good reasons. What ends
 * the job is only what the client knows for certain. */
#include "comm/watch.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "base/timing.h"
#include "comm/transport.h"

#define LOOK_S 1.0

struct watched {
    struct watched *next;
    struct device_event *first, *last;
    struct watch_subject subject;
    double enqueued_s;
    /* Since when the device is at it, as far as the thread has seen; 0: it is not. */
    double begun_s, said_s;
};

struct watch {
    struct device *device;
    struct watch_client client;
    double patience_s;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool stops;
    /* In the order of their enqueueing, and those to be used again. */
    struct watched *first, *last, *spare;
};

static void destroy_list(struct watched *w)
{
    while (w) {
        struct watched *next = w->next;
        device_event_destroy(w->first);
        device_event_destroy(w->last);
        free(w);
        w = next;
    }
}

/* Takes what is done out of the list. The first that is not is what all others wait behind; NULL:
 * there is none that is as old as `age_s`. Others only append meanwhile. */
static struct watched *oldest(struct watch *watch, double now_s, double age_s)
{
    for (;;) {
        bool done = false;
        struct watched *w = watch->first;
        if (!w || now_s - w->enqueued_s < age_s) return NULL;
        pthread_mutex_unlock(&watch->mutex);
        if (w->begun_s == 0 && device_event_query(w->first, &done) >= 0 && done) w->begun_s = now_s;
        done = false;
        enum zi_status status = w->begun_s > 0 ? device_event_query(w->last, &done) : ZI_OK;
        pthread_mutex_lock(&watch->mutex);
        if (status < 0 || !done) return w;
        watch->first = w->next;
        if (!watch->first) watch->last = NULL;
        w->next = watch->spare;
        watch->spare = w;
    }
}

static void say_wait(const struct watch *watch, struct watched *w, double now_s)
{
    double since = w->said_s > 0 ? w->said_s : w->begun_s;
    const struct watch_subject *s = &w->subject;
    if (now_s - since < watch->patience_s) return;
    zi_log(ZI_LOG_WARN, "comm", "%s%s%s waits since %.0f s for other ranks in %s #%lld",
           s->what ? s->what : "a collective", s->subject ? " of " : "",
           s->subject ? s->subject : "", now_s - w->begun_s, s->call, (long long)s->number);
    w->said_s = now_s;
}

/* The job cannot go on; `w`, unless NULL, is the first that cannot end. */
static void end(const struct watch *watch, const struct watched *w, const char *why)
{
    const struct watch_subject *s = &w->subject;
    if (w)
        zi_log(ZI_LOG_ERROR, "comm", "%s%s%s cannot end, in %s #%lld: %s",
               s->what ? s->what : "a collective", s->subject ? " of " : "",
               s->subject ? s->subject : "", s->call, (long long)s->number, why);
    else
        zi_log(ZI_LOG_ERROR, "comm", "%s", why);
    watch->client.end(watch->client.context);
}

static void look(struct watch *watch)
{
    char why[512];
    double now_s = zi_time_s();
    struct watched *w = oldest(watch, now_s, LOOK_S);
    bool waits = w && w->begun_s > 0;
    pthread_mutex_unlock(&watch->mutex);
    bool lost = watch->client.is_lost(watch->client.context, waits, why, sizeof why);
    if (waits && !lost) say_wait(watch, w, now_s);
    pthread_mutex_lock(&watch->mutex);
    if (!lost) return;
    w = oldest(watch, now_s, 0);
    pthread_mutex_unlock(&watch->mutex);
    end(watch, w, why);
}

static void *run(void *argument)
{
    struct watch *watch = argument;
    pthread_mutex_lock(&watch->mutex);
    while (!watch->stops) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += (time_t)LOOK_S;
        int timed_out = 0;
        while (!watch->stops && timed_out == 0)
            timed_out = pthread_cond_timedwait(&watch->changed, &watch->mutex, &until);
        if (!watch->stops) look(watch);
    }
    pthread_mutex_unlock(&watch->mutex);
    return NULL;
}

enum zi_status watch_start(struct device *device, const struct watch_client *client,
                           struct watch **watch)
{
    pthread_condattr_t monotonic;
    struct watch *w = calloc(1, sizeof *w);
    if (!w) return zi_fail(ZI_ERROR_DEVICE, "comm", "no memory for a watch over collectives");
    w->device = device;
    w->client = *client;
    w->patience_s = 1e-9 * (double)comm_patience_ns();
    pthread_mutex_init(&w->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&w->thread, NULL, run, w) != 0) {
        pthread_cond_destroy(&w->changed);
        pthread_mutex_destroy(&w->mutex);
        free(w);
        return zi_fail(ZI_ERROR_DEVICE, "comm", "no thread for a watch over collectives");
    }
    *watch = w;
    return ZI_OK;
}

void watch_stop(struct watch *watch)
{
    if (!watch) return;
    pthread_mutex_lock(&watch->mutex);
    watch->stops = true;
    pthread_cond_signal(&watch->changed);
    pthread_mutex_unlock(&watch->mutex);
    pthread_join(watch->thread, NULL);
    destroy_list(watch->first);
    destroy_list(watch->spare);
    pthread_cond_destroy(&watch->changed);
    pthread_mutex_destroy(&watch->mutex);
    free(watch);
}

/* One that was used before, or a new one. */
static enum zi_status take(struct watch *watch, struct watched **watched)
{
    pthread_mutex_lock(&watch->mutex);
    struct watched *w = watch->spare;
    if (w) watch->spare = w->next;
    pthread_mutex_unlock(&watch->mutex);
    *watched = w;
    if (w) return ZI_OK;
    w = calloc(1, sizeof *w);
    if (!w) return zi_fail(ZI_ERROR_DEVICE, "comm", "no memory for a watch over collectives");
    enum zi_status status = device_event_create(watch->device, &w->first);
    if (status >= 0) status = device_event_create(watch->device, &w->last);
    if (status < 0) {
        device_event_destroy(w->first);
        free(w);
        return status;
    }
    *watched = w;
    return ZI_OK;
}

static void give_back(struct watch *watch, struct watched *w)
{
    pthread_mutex_lock(&watch->mutex);
    w->next = watch->spare;
    watch->spare = w;
    pthread_mutex_unlock(&watch->mutex);
}

enum zi_status watch_begin(struct watch *watch, struct device_stream *stream,
                           const struct watch_subject *subject, struct watched **watched)
{
    ZI_TRY(take(watch, watched));
    struct watched *w = *watched;
    w->next = NULL;
    w->subject = *subject;
    w->begun_s = w->said_s = 0;
    enum zi_status status = device_event_record(w->first, stream);
    if (status < 0) give_back(watch, w);
    return status;
}

enum zi_status watch_end(struct watch *watch, struct device_stream *stream, struct watched *w)
{
    enum zi_status status = device_event_record(w->last, stream);
    if (status < 0) {
        give_back(watch, w);
        return status;
    }
    w->enqueued_s = zi_time_s();
    pthread_mutex_lock(&watch->mutex);
    if (watch->last)
        watch->last->next = w;
    else
        watch->first = w;
    watch->last = w;
    pthread_mutex_unlock(&watch->mutex);
    return ZI_OK;
}
