/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes: in-order queues that replay their part of a program.
 *
 * The compute lane runs in the caller's thread; every other lane that the program uses has a
 * thread, which sleeps while it has nothing to do or waits for another lane. A lane is woken for
 * what it waits for and for nothing else, since each waking takes a core from arithmetic. On a
 * device whose calls return when the work is done, the thread of a lane is its stream. On one that
 * works on its own, lanes run ahead: the thread waits for lanes of the host, and hands the operation
 * to its stream, which waits for other streams by events. A lane of the host waits for the events
 * themselves. All streams are empty at the end of a run.
 *
 * Where no core is left for threads beside those that compute, the compute lane's thread plays the
 * others too (together.c).
 *
 * The first error ends the run: lanes stop before their next operation. In a program with
 * collectives an error of one rank ends the job at once, since the others may wait for it there. */
#include <string.h>

#include "base/log.h"
#include "base/timing.h"
#include "engine/execute.h"
#include "engine/together.h"

/* Sleeps until lane `other` has done operation `index`, or the run has failed. */
static void wait_for_lane(struct engine *engine, struct lane *lane, int other, int index)
{
    if (engine->lanes[other].done > index) return;
    double start = zi_time_s();
    lane->awaited = &engine->lanes[other];
    lane->awaited_index = index;
    while (lane->awaited->done <= index && engine->status >= 0) {
        pthread_cond_wait(&lane->changed, &engine->mutex);
    }
    lane->awaited = NULL;
    if (!lane->ahead) lane->wait_s[other] += zi_time_s() - start;
}

/* Wakes the lanes that wait for what a lane has done; all of them in a failed run. */
static void wake_lanes(struct engine *engine, const struct lane *lane)
{
    for (int l = 0; l < LANE_COUNT; l++) {
        struct lane *waits = &engine->lanes[l];
        bool done = waits->awaited == lane && waits->awaited_index < lane->done;
        if (done || engine->status < 0) pthread_cond_signal(&waits->changed);
    }
}

/* What other lanes have enqueued and not yet done: waits for it, or asks. */
static enum zi_status pass_events(struct lane *lane, const struct program_op *op, bool sleeps,
                                  bool *ready)
{
    struct engine *engine = lane->engine;
    for (int other = 0; other < LANE_COUNT && engine->events; other++) {
        bool done = true;
        if (op->after[other] < 0 || !engine->lanes[other].ahead) continue;
        struct device_event *event = engine->events[op->after[other]];
        if (lane->ahead)
            ZI_TRY(device_event_wait(lane->stream, event));
        else if (!sleeps)
            ZI_TRY(device_event_query(event, &done));
        else {
            double start = zi_time_s();
            ZI_TRY(device_event_synchronize(event, NULL));
            lane->wait_s[other] += zi_time_s() - start;
        }
        *ready = *ready && done;
    }
    return ZI_OK;
}

bool lane_is_ready(struct lane *lane, const struct program_op *op, bool sleeps, bool *failed)
{
    struct engine *engine = lane->engine;
    bool ready = true;
    pthread_mutex_lock(&engine->mutex);
    for (int other = 0; other < LANE_COUNT; other++) {
        if (op->after[other] < 0) continue;
        if (sleeps) wait_for_lane(engine, lane, other, op->after[other]);
        ready = ready && engine->lanes[other].done > op->after[other];
    }
    *failed = engine->status < 0;
    pthread_mutex_unlock(&engine->mutex);
    if (!ready || *failed) return false;
    enum zi_status status = pass_events(lane, op, sleeps, &ready);
    *failed = status < 0;
    if (*failed) lane_note_done(lane, 0, status);
    return ready && !*failed;
}

void lane_note_done(struct lane *lane, int index, enum zi_status status)
{
    struct engine *engine = lane->engine;
    if (status < 0 && engine->collective) comm_abort(engine->comm, status);
    pthread_mutex_lock(&engine->mutex);
    if (status >= 0) lane->done = index + 1;
    if (status < 0 && engine->status >= 0) engine->status = status;
    wake_lanes(engine, lane);
    pthread_mutex_unlock(&engine->mutex);
}

void lane_note_time(struct lane *lane, int index, const struct lane_times *times)
{
    const struct engine *engine = lane->engine;
    const struct program_op *op = &engine->program->lists[engine->name].ops[index];
    struct engine_timing *timing = &lane->timings[op->kind];
    timing->wait_s += times->start_s - times->asked_s;
    timing->seconds += times->end_s - times->start_s;
    timing->count++;
    timing->bytes += (double)op->bytes;
    timing->flops += op->flops;
    if (engine->times) engine->times[index] = *times;
    if (!engine->tracing) return;
    trace_note(engine->trace, lane->id,
               &(struct trace_event){engine->name, index, times->asked_s, times->start_s,
                                     times->end_s, engine->number});
}

/* Operations that are done when their call returns. */
static void run_at_once(struct lane *lane)
{
    struct engine *engine = lane->engine;
    const struct program_list *list = &engine->program->lists[engine->name];
    for (int i = 0; i < list->count; i++) {
        const struct program_op *op = &list->ops[i];
        bool failed;
        if (op->lane != lane->id) continue;
        struct lane_times times = {.asked_s = zi_time_s()};
        if (!lane_is_ready(lane, op, true, &failed)) return;
        times.start_s = zi_time_s();
        enum zi_status status = execute_op(engine, &engine->bound[engine->name].ops[i]);
        if (status >= 0) status = device_stream_synchronize(lane->stream);
        times.end_s = zi_time_s();
        lane_note_time(lane, i, &times);
        lane_note_done(lane, i, status);
        if (status < 0) return;
    }
}

/* Operations that are enqueued; the stream has passed them all at the end, in a failed run too. */
static void run_ahead(struct lane *lane)
{
    struct engine *engine = lane->engine;
    const struct program_list *list = &engine->program->lists[engine->name];
    enum zi_status status = ZI_OK;
    for (int i = 0; i < list->count && status >= 0; i++) {
        bool failed;
        if (list->ops[i].lane != lane->id) continue;
        if (!lane_is_ready(lane, &list->ops[i], true, &failed)) break;
        status = ahead_enqueue(lane, i);
        lane_note_done(lane, i, status);
    }
    enum zi_status end = device_stream_synchronize(lane->stream);
    if (status >= 0 && end < 0) lane_note_done(lane, 0, end);
}

/* Runs all operations of a lane in the current program. */
static void run_lane(struct lane *lane)
{
    if (program_lane_is_disk(lane->id))
        disk_lane_run(lane);
    else if (lane->ahead)
        run_ahead(lane);
    else
        run_at_once(lane);
}

static void finish_lane(struct lane *lane)
{
    struct engine *engine = lane->engine;
    pthread_mutex_lock(&engine->mutex);
    lane->finished = true;
    pthread_cond_signal(&engine->lanes[LANE_COMPUTE].changed);
    pthread_mutex_unlock(&engine->mutex);
}

/* A lane that a program does not use sleeps through it: it must not look at a run that goes on, or
 * ends, without it. */
static void *lane_thread(void *argument)
{
    struct lane *lane = argument;
    struct engine *engine = lane->engine;
    for (;;) {
        pthread_mutex_lock(&engine->mutex);
        while (!lane->starts && !engine->closing) {
            pthread_cond_wait(&lane->changed, &engine->mutex);
        }
        lane->starts = false;
        bool closing = engine->closing;
        pthread_mutex_unlock(&engine->mutex);
        if (closing) return NULL;
        run_lane(lane);
        finish_lane(lane);
    }
}

void lanes_init(struct engine *engine)
{
    pthread_mutex_init(&engine->mutex, NULL);
    for (int l = 0; l < LANE_COUNT; l++) {
        pthread_cond_init(&engine->lanes[l].changed, NULL);
    }
}

static bool has_lane(const struct program_list *list, enum program_lane lane)
{
    for (int i = 0; i < list->count; i++) {
        if (list->ops[i].lane == lane) return true;
    }
    return false;
}

static bool lane_is_used(const struct engine *engine, enum program_lane lane)
{
    for (int name = 0; name < PROGRAM_COUNT; name++) {
        if (has_lane(&engine->program->lists[name], lane)) return true;
    }
    return false;
}

static enum zi_status open_lane(struct engine *engine, struct lane *lane)
{
    bool disk = program_lane_is_disk(lane->id), compute = lane->id == LANE_COMPUTE;
    lane->device = program_lane_is_hosts(lane->id) ? engine->host : engine->device;
    lane->operations = device_get_operations(lane->device);
    const struct device_properties *properties = device_get_properties(lane->device);
    lane->ahead = properties->asynchronous;
    ZI_TRY(device_stream_create(lane->device, compute ? properties->threads : 1, &lane->stream));
    return disk ? tier_channel_open(engine->store, DISK_LANE_TRANSFERS, &lane->channel) : ZI_OK;
}

enum zi_status lanes_start(struct engine *engine)
{
    for (int l = 0; l < LANE_COUNT; l++) {
        struct lane *lane = &engine->lanes[l];
        lane->engine = engine;
        lane->id = (enum program_lane)l;
        lane->used = lane_is_used(engine, lane->id);
        if (lane->used || l == LANE_COMPUTE) ZI_TRY(open_lane(engine, lane));
    }
    ZI_TRY(ahead_start(engine));
    ZI_TRY(together_start(engine));
    for (int l = 0; l < LANE_COUNT; l++) {
        struct lane *lane = &engine->lanes[l];
        if (!lane->used || l == LANE_COMPUTE) continue;
        if (pthread_create(&lane->thread, NULL, lane_thread, lane) != 0) {
            return zi_fail(ZI_ERROR_DEVICE, "engine", "no thread for lane %s",
                           program_lane_name(lane->id));
        }
        lane->threaded = true;
    }
    return ZI_OK;
}

static void wake_all(struct engine *engine)
{
    for (int l = 0; l < LANE_COUNT; l++) {
        pthread_cond_signal(&engine->lanes[l].changed);
    }
}

void lanes_stop(struct engine *engine)
{
    pthread_mutex_lock(&engine->mutex);
    engine->closing = true;
    wake_all(engine);
    pthread_mutex_unlock(&engine->mutex);
    for (int l = 0; l < LANE_COUNT; l++) {
        if (engine->lanes[l].threaded) pthread_join(engine->lanes[l].thread, NULL);
        if (engine->lanes[l].stream) device_stream_destroy(engine->lanes[l].stream);
        if (engine->lanes[l].channel) tier_channel_close(engine->lanes[l].channel);
    }
    ahead_stop(engine);
    together_stop(engine);
    for (int l = 0; l < LANE_COUNT; l++) {
        pthread_cond_destroy(&engine->lanes[l].changed);
    }
    pthread_mutex_destroy(&engine->mutex);
}

enum zi_status lanes_run(struct engine *engine, enum program_name name)
{
    pthread_mutex_lock(&engine->mutex);
    engine->name = name;
    const struct bound_list *list = &engine->bound[name];
    bool together = together_plays(engine, list);
    engine->collective = list->uses[LANE_COMM];
    engine->status = ZI_OK;
    for (int l = 0; l < LANE_COUNT; l++) {
        engine->lanes[l].done = 0;
        engine->lanes[l].starts = engine->lanes[l].threaded && list->uses[l] && !together;
        engine->lanes[l].finished = !engine->lanes[l].starts;
        memset(engine->lanes[l].wait_s, 0, sizeof engine->lanes[l].wait_s);
    }
    engine->start_s = zi_time_s();
    for (int l = 0; l < LANE_COUNT; l++) {
        if (engine->lanes[l].starts) pthread_cond_signal(&engine->lanes[l].changed);
    }
    pthread_mutex_unlock(&engine->mutex);
    if (together)
        together_run(engine);
    else
        run_lane(&engine->lanes[LANE_COMPUTE]);
    pthread_mutex_lock(&engine->mutex);
    for (int l = 0; l < LANE_COUNT; l++) {
        double start = zi_time_s();
        while (!engine->lanes[l].finished) {
            pthread_cond_wait(&engine->lanes[LANE_COMPUTE].changed, &engine->mutex);
        }
        engine->lanes[LANE_COMPUTE].wait_s[l] += zi_time_s() - start;
    }
    enum zi_status status = engine->status;
    pthread_mutex_unlock(&engine->mutex);
    comm_say(engine->comm, NULL, NULL);
    return status >= 0 && engine->events ? ahead_note_times(engine) : status;
}
