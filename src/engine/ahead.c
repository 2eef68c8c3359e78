/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes that run ahead of their device.
 *
 * The problem: a device that works on its own is idle between operations if the host waits for one
 * before it hands over the next, and the host does not see when an operation starts or ends.
 *
 * The idea: every operation of such a lane is followed by an event. Streams wait for each other's
 * events, so the host hands over an operation as soon as lanes of the host have done their part of
 * what it waits for. When a run is over the events tell when operations were done; an operation
 * started when it had been handed over and the last of those before it, in its lane and in others,
 * was done.
 *
 * Invariant: an event is recorded before anything waits for it, because a lane counts an operation
 * only when it has been enqueued, and others wait for that count first. */
#include <stdlib.h>

#include "base/log.h"
#include "base/timing.h"
#include "engine/execute.h"

enum zi_status ahead_start(struct engine *engine)
{
    int count = 0;
    if (!device_get_properties(engine->device)->asynchronous) return ZI_OK;
    for (int name = 0; name < PROGRAM_COUNT; name++) {
        int operations = engine->program->lists[name].count;
        if (operations > count) count = operations;
    }
    engine->events = calloc((size_t)count + 1, sizeof(struct device_event *));
    engine->times = calloc((size_t)count + 1, sizeof *engine->times);
    if (!engine->events || !engine->times)
        return zi_fail(ZI_ERROR_DEVICE, "engine", "no memory for the events of %d operations",
                       count);
    for (; engine->event_count < count; engine->event_count++) {
        ZI_TRY(device_event_create(engine->device, &engine->events[engine->event_count]));
    }
    return ZI_OK;
}

void ahead_stop(struct engine *engine)
{
    for (int i = 0; i < engine->event_count; i++) {
        device_event_destroy(engine->events[i]);
    }
    free(engine->events);
    free(engine->times);
}

enum zi_status ahead_enqueue(struct lane *lane, int index)
{
    struct engine *engine = lane->engine;
    engine->times[index].start_s = zi_time_s();
    ZI_TRY(execute_op(engine, &engine->bound[engine->name].ops[index]));
    return device_event_record(engine->events[index], lane->stream);
}

/* When an operation could start, its lane having been free since `asked_s`; adds to the waits of
 * the lane, for one lane after the other, as lanes of the host do. */
static double find_start(struct lane *lane, const struct program_op *op, double asked_s,
                         double handed_s)
{
    const struct engine *engine = lane->engine;
    double start_s = asked_s;
    for (int other = 0; other < LANE_COUNT; other++) {
        if (op->after[other] < 0) continue;
        double end_s = engine->times[op->after[other]].end_s;
        if (end_s <= start_s) continue;
        lane->wait_s[other] += end_s - start_s;
        start_s = end_s;
    }
    return handed_s > start_s ? handed_s : start_s;
}

enum zi_status ahead_note_times(struct engine *engine)
{
    const struct program_list *list = &engine->program->lists[engine->name];
    double free_s[LANE_COUNT];
    for (int l = 0; l < LANE_COUNT; l++) {
        free_s[l] = engine->start_s;
    }
    for (int i = 0; i < list->count; i++) {
        struct lane *lane = &engine->lanes[list->ops[i].lane];
        struct lane_times times = engine->times[i];
        if (!lane->ahead) continue;
        ZI_TRY(device_event_synchronize(engine->events[i], &times.end_s));
        times.asked_s = free_s[lane->id];
        times.start_s = find_start(lane, &list->ops[i], times.asked_s, times.start_s);
        if (times.start_s > times.end_s) times.start_s = times.end_s;
        free_s[lane->id] = times.end_s;
        lane_note_time(lane, i, &times);
    }
    return ZI_OK;
}
