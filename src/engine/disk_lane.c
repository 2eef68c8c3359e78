/* SPDX-License-Identifier: Apache-2.0 */
/* A disk lane: reads or writes of the NVMe store.
 *
 * The problem: a disk is fast only with several requests in flight, and one operation of a program
 * is often one small array; but what waits for the lane counts its operations in order.
 *
 * The idea: operations are started in order, as soon as what they wait for is done, without waiting
 * for those before them; they may end in any order, and the lane's count moves on when all before
 * have ended. While transfers are in flight and the next operation is not ready, the lane sleeps on
 * the disk, for at most DISK_LANE_PATIENCE_S, so that it also sees other lanes' progress; with
 * nothing in flight it sleeps like any lane.
 *
 * The time of an operation is counted from its start or the end of the transfer before it, whatever
 * was later: the lane's sum is the time that the disk was busy. */
#include "base/log.h"
#include "base/timing.h"
#include "engine/execute.h"

#define DISK_LANE_PATIENCE_S 0.001

/* Operations in flight: a queue, in order of their start. */
struct flight {
    /* Ring positions. */
    int first, count;
    struct transfer {
        /* In the program's list. */
        int index;
        bool done;
        struct lane_times times;
    } ops[DISK_LANE_TRANSFERS];
    /* In the channel. */
    int outstanding;
    double last_end_s;
};

static struct transfer *flight_at(struct flight *flight, int place)
{
    return &flight->ops[(flight->first + place) % DISK_LANE_TRANSFERS];
}

static void land(struct lane *lane, struct flight *flight, uint64_t tag)
{
    struct transfer *t = &flight->ops[tag % DISK_LANE_TRANSFERS];
    t->done = true;
    t->times.end_s = zi_time_s();
    if (t->times.start_s < flight->last_end_s) t->times.start_s = flight->last_end_s;
    flight->last_end_s = t->times.end_s;
    lane_note_time(lane, t->index, &t->times);
    int last = -1;
    while (flight->count > 0 && flight_at(flight, 0)->done) {
        last = flight_at(flight, 0)->index;
        flight->first = (flight->first + 1) % DISK_LANE_TRANSFERS;
        flight->count--;
    }
    if (last >= 0) lane_note_done(lane, last, ZI_OK);
}

/* Waits for one transfer, at most `patience_s`. False when it failed; it is out of the channel then
 * as well, but the lane's count does not pass it. */
static bool reap(struct lane *lane, struct flight *flight, double patience_s)
{
    uint64_t tag;
    enum zi_status status = tier_channel_reap(lane->channel, patience_s, &tag);
    if (status == ZI_IN_PROGRESS) return true;
    flight->outstanding--;
    if (status == ZI_OK) land(lane, flight, tag);
    if (status < 0) lane_note_done(lane, 0, status);
    return status >= 0;
}

static bool start(struct lane *lane, struct flight *flight, int index, double asked_s)
{
    struct engine *engine = lane->engine;
    int place = (flight->first + flight->count) % DISK_LANE_TRANSFERS;
    struct transfer *t = &flight->ops[place];
    const struct bound_op *b = &engine->bound[engine->name].ops[index];
    struct tier_transfer transfer = b->transfers[engine->speculation.generation];
    transfer.tag = (uint64_t)place;
    *t = (struct transfer){.index = index, .times = {asked_s, zi_time_s(), 0}};
    for (;;) {
        enum zi_status status = tier_channel_start(lane->channel, &transfer);
        if (status == ZI_OK) break;
        if (status < 0) {
            lane_note_done(lane, index, status);
            return false;
        }
        if (!reap(lane, flight, DISK_LANE_PATIENCE_S)) return false;
    }
    flight->count++;
    flight->outstanding++;
    return true;
}

/* Waits until operation `index` can be started: its slots are ready and a place is free. */
static bool prepare(struct lane *lane, struct flight *flight, const struct program_op *op)
{
    bool failed = false;
    for (;;) {
        bool room = flight->count < DISK_LANE_TRANSFERS;
        if (room && lane_is_ready(lane, op, flight->count == 0, &failed)) return true;
        if (failed) return false;
        if (!reap(lane, flight, DISK_LANE_PATIENCE_S)) return false;
    }
}

void disk_lane_run(struct lane *lane)
{
    struct engine *engine = lane->engine;
    const struct program_list *list = &engine->program->lists[engine->name];
    struct flight flight = {.first = 0};
    bool good = true;
    for (int i = 0; i < list->count && good; i++) {
        if (list->ops[i].lane != lane->id) continue;
        double asked_s = zi_time_s();
        good = prepare(lane, &flight, &list->ops[i]) && start(lane, &flight, i, asked_s);
    }
    /* What the kernel still works on must not outlive the buffers, in a failed run either. */
    while (flight.outstanding > 0) {
        reap(lane, &flight, DISK_LANE_PATIENCE_S);
    }
}
