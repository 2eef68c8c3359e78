/* SPDX-License-Identifier: Apache-2.0 */
/* Private to zero: the engine's inside, shared by engine.c (life and entry points), lanes.c
 * (threads that replay a program), disk_lane.c, execute.c (what each kind of operation does) and
 * states.c (initial values, checkpoints). */
#ifndef ZI_ZERO_LANES_H
#define ZI_ZERO_LANES_H

#include <pthread.h>

#include "device/operations.h"
#include "zero/engine.h"
#include "zero/trace.h"

#define DISK_LANE_TRANSFERS 64 /* in flight at once in a disk lane */

struct lane {
    struct engine *engine;
    enum program_lane id;
    bool used, threaded; /* has operations in some program; has a thread of its own */
    pthread_t thread;
    struct device_stream *stream;
    struct tier_channel *channel; /* disk lanes */
    int done;      /* index + 1 of its latest operation that is done; under engine->mutex */
    bool finished; /* has nothing left to do in this run; under engine->mutex */
    double wait_s[LANE_COUNT]; /* in this run, by the lane it waited for */
    struct engine_timing timings[OP_KIND_COUNT];
};

struct engine {
    const struct program *program;
    struct device *device;
    const struct device_operations *operations;
    struct comm *comm;
    const struct settings *settings;
    struct tier_pool *pools[ZI_TIER_COUNT];
    struct device_ptr bases[ZI_TIER_COUNT]; /* of the pools */
    struct tier_store *store;               /* NULL without states on nvme */
    struct tier_channel *channel;           /* of initial values and checkpoints */
    struct trace *trace;                    /* NULL unless steps are traced */
    bool tracing;                           /* this run */
    struct lane lanes[LANE_COUNT];
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int waiters;
    long run; /* number of the program run; a new number starts the lanes */
    bool closing;
    enum program_name name; /* being run */
    enum zi_status status;  /* first error of a run */

    int64_t tokens; /* per sequence of this run */
    int64_t updates;
    double loss;                /* mean, of the last run */
    uint64_t checksum;          /* of the parameters as they are; a pending update is not in it */
    int64_t number;             /* of the step that runs, for the trace */
    struct optimizer_step step; /* of the last training program */
    struct optimizer_step pending; /* deferred: what the next program's update brings */
    bool is_pending;
    struct engine_timing flat[LANE_COUNT * OP_KIND_COUNT];
};

/* engine.c. Local. Rank 0's note where a request to stop has ended the making of states. */
void engine_say_stopped(const struct engine *engine, enum zi_status status);

/* lanes.c */
void lanes_init(struct engine *engine);
enum zi_status lanes_start(struct engine *engine);
void lanes_stop(struct engine *engine);
enum zi_status lanes_run(struct engine *engine, enum program_name name);

/* disk_lane.c: replays a disk lane, with as many transfers in flight as their slots allow. */
void disk_lane_run(struct lane *lane);

/* lanes.c, for disk_lane.c. Whether all that an operation waits for is done; sleeps until it is
 * when `sleeps`. *failed says that the run has failed. */
bool lane_is_ready(struct lane *lane, const struct program_op *op, bool sleeps, bool *failed);
void lane_note_time(struct lane *lane, int index, const double times[3] /* asked, start, end */);
void lane_note_done(struct lane *lane, int index, enum zi_status status);

/* execute.c */
enum zi_status execute_op(struct engine *engine, const struct program_op *op,
                          struct device_stream *stream);
void execute_transfer(const struct engine *engine, const struct program_op *op,
                      struct tier_transfer *transfer);
const struct optimizer_step *engine_update_step(const struct engine *engine);
struct device_ptr engine_slot(const struct engine *engine, int slot);
enum zi_status execute_clear_sums(struct engine *engine);

#endif
