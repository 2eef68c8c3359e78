/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes that are played by one thread.
 *
 * The problem: where the threads that compute take all cores, the thread of another lane can only
 * work in their place, and gets a core when the kernel thinks so. Of an operation that takes 10 us the
 * others wait for a hundred.
 *
 * The idea: the compute lane's thread does what other lanes have ready between two of its own
 * operations. Collectives only begin there (comm_run_ahead), and are done when the other ranks have
 * come by as well; so this thread waits where its next operation needs their result, and nowhere else.
 *
 * Invariant: of each lane operations are begun in order, when what they wait for is done; so whatever
 * the others do, the first operation that is not done can go on. */
#include <stdlib.h>

#include "base/log.h"
#include "base/timing.h"
#include "engine/execute.h"

static bool plays(enum program_lane lane)
{
    return lane == LANE_COMPUTE || lane == LANE_COMM || lane == LANE_HOST;
}

bool together_plays(const struct engine *engine, const struct bound_list *list)
{
    if (!engine->together || !list->uses[LANE_COMM]) return false;
    for (int l = 0; l < LANE_COUNT; l++) {
        if (list->uses[l] && !plays((enum program_lane)l)) return false;
    }
    return true;
}

static const struct program_list *list_of(const struct engine *engine)
{
    return &engine->program->lists[engine->name];
}

/* The first operation of a lane from `index` on; the number of operations where there is none. */
static int find_next(const struct engine *engine, const struct lane *lane, int index)
{
    const struct program_list *list = list_of(engine);
    while (index < list->count && list->ops[index].lane != lane->id)
        index++;
    return index;
}

static bool has_next(const struct engine *engine, const struct lane *lane)
{
    return lane->next < list_of(engine)->count;
}

/* The lane that the next operation of a lane has to wait for; -1: it can begin. */
static int find_awaited(const struct engine *engine, const struct lane *lane)
{
    const int *after = list_of(engine)->ops[lane->next].after;
    for (int other = 0; other < LANE_COUNT; other++) {
        if (after[other] >= 0 && engine->lanes[other].done <= after[other]) return other;
    }
    return -1;
}

static bool can_begin(const struct engine *engine, const struct lane *lane)
{
    return engine->status >= 0 && has_next(engine, lane) && find_awaited(engine, lane) < 0;
}

/* Does the next operation of a lane of the processor. */
static void do_next(struct engine *engine, struct lane *lane, double asked_s)
{
    int index = lane->next;
    struct lane_times times = {.asked_s = asked_s, .start_s = zi_time_s()};
    enum zi_status status = execute_op(engine, &engine->bound[engine->name].ops[index]);
    if (status >= 0) status = device_stream_synchronize(lane->stream);
    times.end_s = zi_time_s();
    lane_note_time(lane, index, &times);
    lane_note_done(lane, index, status);
    lane->next = find_next(engine, lane, index + 1);
}

/* Notes which collectives are done, after waiting for `least` of all that have begun. */
static void settle(struct engine *engine, int64_t least)
{
    struct lane *lane = &engine->lanes[LANE_COMM];
    struct comm_progress progress;
    enum zi_status status = comm_advance(engine->comm, least, &progress);
    if (status < 0) {
        lane_note_done(lane, lane->oldest, status);
        return;
    }
    while (lane->oldest < lane->next && engine->begun[lane->oldest].number <= progress.done) {
        struct begun_op *op = &engine->begun[lane->oldest];
        op->times.end_s = zi_time_s();
        lane_note_time(lane, lane->oldest, &op->times);
        lane_note_done(lane, lane->oldest, ZI_OK);
        lane->oldest = find_next(engine, lane, lane->oldest + 1);
    }
}

/* Begins the next collective. What has begun nothing is done with those before it. */
static void begin_next(struct engine *engine)
{
    struct lane *lane = &engine->lanes[LANE_COMM];
    int index = lane->next;
    struct begun_op *op = &engine->begun[index];
    struct comm_progress progress;
    op->times.asked_s = op->times.start_s = zi_time_s();
    enum zi_status status = execute_op(engine, &engine->bound[engine->name].ops[index]);
    if (status >= 0) status = comm_advance(engine->comm, 0, &progress);
    if (status < 0) {
        lane_note_done(lane, index, status);
        return;
    }
    op->number = progress.begun;
    lane->next = find_next(engine, lane, index + 1);
}

/* Does all that can be done of the lanes beside compute. */
static void serve(struct engine *engine)
{
    struct lane *comm = &engine->lanes[LANE_COMM], *host = &engine->lanes[LANE_HOST];
    bool moves = true;
    settle(engine, 0);
    while (moves) {
        moves = false;
        while (can_begin(engine, host)) {
            do_next(engine, host, zi_time_s());
            moves = true;
        }
        while (can_begin(engine, comm)) {
            begin_next(engine);
            moves = true;
        }
        if (moves) settle(engine, 0);
    }
}

/* The same; where nothing was left to do, waits until a collective is done. */
static void serve_or_wait(struct engine *engine)
{
    struct lane *comm = &engine->lanes[LANE_COMM];
    int oldest = comm->oldest;
    serve(engine);
    if (engine->status < 0 || comm->oldest != oldest || comm->oldest == comm->next) return;
    settle(engine, engine->begun[oldest].number);
}

static void begin_lanes(struct engine *engine)
{
    for (int l = 0; l < LANE_COUNT; l++) {
        struct lane *lane = &engine->lanes[l];
        lane->next = lane->oldest = find_next(engine, lane, 0);
    }
    (void)comm_run_ahead(engine->comm, true);
}

/* Serves the other lanes until the compute lane's next operation can begin, or, behind its last,
 * until they are done. */
static void wait_for_others(struct engine *engine)
{
    struct lane *compute = &engine->lanes[LANE_COMPUTE], *comm = &engine->lanes[LANE_COMM];
    struct lane *host = &engine->lanes[LANE_HOST];
    double start_s = zi_time_s();
    bool at_end = !has_next(engine, compute);
    int awaited = at_end ? LANE_COMM : find_awaited(engine, compute);
    if (awaited < 0) return;
    while (engine->status >= 0 &&
           (at_end ? comm->oldest < list_of(engine)->count || has_next(engine, host)
                   : find_awaited(engine, compute) >= 0))
        serve_or_wait(engine);
    compute->wait_s[awaited] += zi_time_s() - start_s;
}

void together_run(struct engine *engine)
{
    struct lane *compute = &engine->lanes[LANE_COMPUTE];
    begin_lanes(engine);
    serve(engine);
    while (engine->status >= 0 && has_next(engine, compute)) {
        double asked_s = zi_time_s();
        wait_for_others(engine);
        if (engine->status < 0) break;
        do_next(engine, compute, asked_s);
        serve(engine);
    }
    wait_for_others(engine);
    (void)comm_run_ahead(engine->comm, false);
}

enum zi_status together_start(struct engine *engine)
{
    const struct device_properties *properties = device_get_properties(engine->device);
    int count = 0;
    engine->together =
        properties->fills_cores && !properties->asynchronous && comm_run_ahead(engine->comm, false);
    for (int name = 0; name < PROGRAM_COUNT && engine->together; name++) {
        if (engine->program->lists[name].count > count) count = engine->program->lists[name].count;
    }
    engine->begun = calloc((size_t)count + 1, sizeof *engine->begun);
    if (engine->begun) return ZI_OK;
    return zi_fail(ZI_ERROR_DEVICE, "engine", "no memory for %d collectives under way", count);
}

void together_stop(struct engine *engine)
{
    free(engine->begun);
}
