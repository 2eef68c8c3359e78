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
#include "engine/together.h"

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

static struct cursor *cursor_of(const struct engine *engine, enum program_lane lane)
{
    return &engine->together->cursors[lane];
}

/* The first operation of a lane from `index` on; the number of operations where there is none. */
static int find_next(const struct engine *engine, enum program_lane lane, int index)
{
    const struct program_list *list = list_of(engine);
    while (index < list->count && list->ops[index].lane != lane)
        index++;
    return index;
}

/* Whether a lane has operations that have not begun. */
static bool has_next(const struct engine *engine, enum program_lane lane)
{
    return cursor_of(engine, lane)->next < list_of(engine)->count;
}

/* The lane that the next operation of a lane has to wait for; -1: it can begin. */
static int find_awaited(const struct engine *engine, enum program_lane lane)
{
    const int *after = list_of(engine)->ops[cursor_of(engine, lane)->next].after;
    for (int other = 0; other < LANE_COUNT; other++) {
        if (after[other] >= 0 && engine->lanes[other].done <= after[other]) return other;
    }
    return -1;
}

static bool can_begin(const struct engine *engine, enum program_lane lane)
{
    return engine->status >= 0 && has_next(engine, lane) && find_awaited(engine, lane) < 0;
}

/* Does the next operation of a lane of the processor. */
static void do_next(struct engine *engine, enum program_lane id, double asked_s)
{
    struct lane *lane = &engine->lanes[id];
    struct cursor *cursor = cursor_of(engine, id);
    int index = cursor->next;
    struct lane_times times = {.asked_s = asked_s, .start_s = zi_time_s()};
    enum zi_status status = execute_op(engine, &engine->bound[engine->name].ops[index]);
    if (status >= 0) status = device_stream_synchronize(lane->stream);
    times.end_s = zi_time_s();
    lane_note_time(lane, index, &times);
    lane_note_done(lane, index, status);
    cursor->next = cursor->oldest = find_next(engine, id, index + 1);
}

/* Notes which collectives are done, after waiting for `least` of all that have begun. */
static void settle(struct engine *engine, int64_t least)
{
    struct lane *lane = &engine->lanes[LANE_COMM];
    struct cursor *cursor = cursor_of(engine, LANE_COMM);
    struct comm_progress progress;
    enum zi_status status = comm_advance(engine->comm, least, &progress);
    if (status < 0) {
        lane_note_done(lane, cursor->oldest, status);
        return;
    }
    while (cursor->oldest < cursor->next) {
        struct begun_op *op = &engine->together->begun[cursor->oldest];
        if (op->number > progress.done) break;
        op->times.end_s = zi_time_s();
        lane_note_time(lane, cursor->oldest, &op->times);
        lane_note_done(lane, cursor->oldest, ZI_OK);
        cursor->oldest = find_next(engine, LANE_COMM, cursor->oldest + 1);
    }
}

/* Begins the next collective. What has begun nothing is done with those before it. */
static void begin_next(struct engine *engine)
{
    struct cursor *cursor = cursor_of(engine, LANE_COMM);
    struct begun_op *op = &engine->together->begun[cursor->next];
    struct comm_progress progress;
    op->times.asked_s = op->times.start_s = zi_time_s();
    enum zi_status status = execute_op(engine, &engine->bound[engine->name].ops[cursor->next]);
    if (status >= 0) status = comm_advance(engine->comm, 0, &progress);
    if (status < 0) {
        lane_note_done(&engine->lanes[LANE_COMM], cursor->next, status);
        return;
    }
    op->number = progress.begun;
    cursor->next = find_next(engine, LANE_COMM, cursor->next + 1);
}

/* Does all that can be done of the lanes beside compute. */
static void serve(struct engine *engine)
{
    bool moves = true;
    settle(engine, 0);
    while (moves) {
        moves = false;
        while (can_begin(engine, LANE_HOST)) {
            do_next(engine, LANE_HOST, zi_time_s());
            moves = true;
        }
        while (can_begin(engine, LANE_COMM)) {
            begin_next(engine);
            moves = true;
        }
        if (moves) settle(engine, 0);
    }
}

/* The same; where nothing was left to do, waits until a collective is done. */
static void serve_or_wait(struct engine *engine)
{
    const struct cursor *cursor = cursor_of(engine, LANE_COMM);
    int oldest = cursor->oldest;
    serve(engine);
    if (engine->status < 0 || cursor->oldest != oldest || cursor->oldest == cursor->next) return;
    settle(engine, engine->together->begun[oldest].number);
}

static void begin_lanes(struct engine *engine)
{
    for (int l = 0; l < LANE_COUNT; l++) {
        struct cursor *cursor = cursor_of(engine, (enum program_lane)l);
        cursor->next = cursor->oldest = find_next(engine, (enum program_lane)l, 0);
    }
    (void)comm_run_ahead(engine->comm, true);
}

/* Whether the compute lane's next operation, or, behind its last, the end of the program, has to wait. */
static bool has_to_wait(const struct engine *engine)
{
    if (has_next(engine, LANE_COMPUTE)) return find_awaited(engine, LANE_COMPUTE) >= 0;
    return cursor_of(engine, LANE_COMM)->oldest < list_of(engine)->count ||
           has_next(engine, LANE_HOST);
}

/* Serves the other lanes until that has nothing to wait for. */
static void wait_for_others(struct engine *engine)
{
    if (!has_to_wait(engine)) return;
    double start_s = zi_time_s();
    int awaited = has_next(engine, LANE_COMPUTE) ? find_awaited(engine, LANE_COMPUTE) : LANE_COMM;
    while (engine->status >= 0 && has_to_wait(engine))
        serve_or_wait(engine);
    engine->lanes[LANE_COMPUTE].wait_s[awaited] += zi_time_s() - start_s;
}

void together_run(struct engine *engine)
{
    begin_lanes(engine);
    serve(engine);
    while (engine->status >= 0 && has_next(engine, LANE_COMPUTE)) {
        double asked_s = zi_time_s();
        wait_for_others(engine);
        if (engine->status < 0) break;
        do_next(engine, LANE_COMPUTE, asked_s);
        serve(engine);
    }
    wait_for_others(engine);
    (void)comm_run_ahead(engine->comm, false);
}

enum zi_status together_start(struct engine *engine)
{
    const struct device_properties *properties = device_get_properties(engine->device);
    int count = 0;
    if (!properties->fills_cores || properties->asynchronous ||
        !comm_run_ahead(engine->comm, false))
        return ZI_OK;
    for (int name = 0; name < PROGRAM_COUNT; name++) {
        if (engine->program->lists[name].count > count) count = engine->program->lists[name].count;
    }
    struct together *together = calloc(1, sizeof *together);
    engine->together = together;
    if (together) together->begun = calloc((size_t)count + 1, sizeof *together->begun);
    if (together && together->begun) return ZI_OK;
    return zi_fail(ZI_ERROR_DEVICE, "engine", "no memory for %d collectives under way", count);
}

void together_stop(struct engine *engine)
{
    if (engine->together) free(engine->together->begun);
    free(engine->together);
}
