/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes: in-order queues that replay their part of a program.
 *
 * The compute lane runs in the caller's thread; every other lane that the program uses has a
 * thread, which sleeps on one condition variable while it has nothing to do or waits for another
 * lane. An operation is done when its stream has passed it. The first error ends the run: lanes
 * stop before their next operation. With several ranks an error of one ends the job at once, since
 * the others may wait for it inside a collective. */
#include <string.h>

#include "base/log.h"
#include "base/timing.h"
#include "zero/lanes.h"

/* Sleeps until lane `other` has done operation `index`, or the run has failed. */
static void wait_for_lane(struct engine *engine, struct lane *lane, int other, int index)
{
    if (engine->lanes[other].done > index) return;
    double start = zi_time_s();
    engine->waiters++;
    while (engine->lanes[other].done <= index && engine->status >= 0) {
        pthread_cond_wait(&engine->changed, &engine->mutex);
    }
    engine->waiters--;
    lane->wait_s[other] += zi_time_s() - start;
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
    return ready && !*failed;
}

void lane_note_done(struct lane *lane, int index, enum zi_status status)
{
    struct engine *engine = lane->engine;
    if (status < 0 && engine->comm && comm_size(engine->comm) > 1) comm_abort(engine->comm, status);
    pthread_mutex_lock(&engine->mutex);
    if (status >= 0) lane->done = index + 1;
    if (status < 0 && engine->status >= 0) engine->status = status;
    if (engine->waiters > 0) pthread_cond_broadcast(&engine->changed);
    pthread_mutex_unlock(&engine->mutex);
}

void lane_note_time(struct lane *lane, int index, const double times[3] /* ready, start, end */)
{
    const struct engine *engine = lane->engine;
    const struct program_op *op = &engine->program->lists[engine->name].ops[index];
    struct engine_timing *timing = &lane->timings[op->kind];
    timing->wait_s += times[1] - times[0];
    timing->seconds += times[2] - times[1];
    timing->count++;
    timing->bytes += (double)op->bytes;
    timing->flops += op->flops;
    if (!engine->tracing) return;
    trace_note(
        engine->trace, lane->id,
        &(struct trace_event){engine->name, index, times[0], times[1], times[2], engine->number});
}

/* Runs all operations of a lane in the current program. */
static void run_lane(struct lane *lane)
{
    struct engine *engine = lane->engine;
    const struct program_list *list = &engine->program->lists[engine->name];
    if (program_lane_is_disk(lane->id)) {
        disk_lane_run(lane);
        return;
    }
    for (int i = 0; i < list->count; i++) {
        const struct program_op *op = &list->ops[i];
        bool failed;
        if (op->lane != lane->id) continue;
        double times[3] = {zi_time_s(), 0, 0};
        if (!lane_is_ready(lane, op, true, &failed)) return;
        times[1] = zi_time_s();
        enum zi_status status = execute_op(engine, op, lane->stream);
        if (status >= 0) status = device_stream_synchronize(lane->stream);
        times[2] = zi_time_s();
        lane_note_time(lane, i, times);
        lane_note_done(lane, i, status);
        if (status < 0) return;
    }
}

static void finish_lane(struct lane *lane)
{
    struct engine *engine = lane->engine;
    pthread_mutex_lock(&engine->mutex);
    lane->finished = true;
    pthread_cond_broadcast(&engine->changed);
    pthread_mutex_unlock(&engine->mutex);
}

static void *lane_thread(void *argument)
{
    struct lane *lane = argument;
    struct engine *engine = lane->engine;
    long run = 0;
    for (;;) {
        pthread_mutex_lock(&engine->mutex);
        engine->waiters++;
        while (engine->run == run && !engine->closing) {
            pthread_cond_wait(&engine->changed, &engine->mutex);
        }
        engine->waiters--;
        run = engine->run;
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
    pthread_cond_init(&engine->changed, NULL);
}

enum zi_status lanes_start(struct engine *engine)
{
    int threads = device_get_properties(engine->device)->threads;
    for (int l = 0; l < LANE_COUNT; l++) {
        struct lane *lane = &engine->lanes[l];
        lane->engine = engine;
        lane->id = (enum program_lane)l;
        for (int name = 0; name < PROGRAM_COUNT; name++) {
            const struct program_list *list = &engine->program->lists[name];
            for (int i = 0; i < list->count; i++) {
                lane->used = lane->used || (int)list->ops[i].lane == l;
            }
        }
        if (!lane->used && l != LANE_COMPUTE) continue;
        ZI_TRY(
            device_stream_create(engine->device, l == LANE_COMPUTE ? threads : 1, &lane->stream));
        if (program_lane_is_disk(lane->id))
            ZI_TRY(tier_channel_open(engine->store, DISK_LANE_TRANSFERS, &lane->channel));
        if (l == LANE_COMPUTE) continue;
        if (pthread_create(&lane->thread, NULL, lane_thread, lane) != 0) {
            return zi_fail(ZI_ERROR_DEVICE, "zero", "no thread for lane %s",
                           program_lane_name(lane->id));
        }
        lane->threaded = true;
    }
    return ZI_OK;
}

void lanes_stop(struct engine *engine)
{
    pthread_mutex_lock(&engine->mutex);
    engine->closing = true;
    pthread_cond_broadcast(&engine->changed);
    pthread_mutex_unlock(&engine->mutex);
    for (int l = 0; l < LANE_COUNT; l++) {
        if (engine->lanes[l].threaded) pthread_join(engine->lanes[l].thread, NULL);
        if (engine->lanes[l].stream) device_stream_destroy(engine->lanes[l].stream);
        if (engine->lanes[l].channel) tier_channel_close(engine->lanes[l].channel);
    }
    pthread_cond_destroy(&engine->changed);
    pthread_mutex_destroy(&engine->mutex);
}

enum zi_status lanes_run(struct engine *engine, enum program_name name)
{
    pthread_mutex_lock(&engine->mutex);
    engine->name = name;
    engine->status = ZI_OK;
    for (int l = 0; l < LANE_COUNT; l++) {
        engine->lanes[l].done = 0;
        engine->lanes[l].finished = !engine->lanes[l].threaded;
        memset(engine->lanes[l].wait_s, 0, sizeof engine->lanes[l].wait_s);
    }
    engine->run++;
    pthread_cond_broadcast(&engine->changed);
    pthread_mutex_unlock(&engine->mutex);
    run_lane(&engine->lanes[LANE_COMPUTE]);
    pthread_mutex_lock(&engine->mutex);
    engine->waiters++;
    for (int l = 0; l < LANE_COUNT; l++) {
        double start = zi_time_s();
        while (!engine->lanes[l].finished) {
            pthread_cond_wait(&engine->changed, &engine->mutex);
        }
        engine->lanes[LANE_COMPUTE].wait_s[l] += zi_time_s() - start;
    }
    engine->waiters--;
    enum zi_status status = engine->status;
    pthread_mutex_unlock(&engine->mutex);
    return status;
}
