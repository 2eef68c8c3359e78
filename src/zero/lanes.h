/* SPDX-License-Identifier: Apache-2.0 */
/* Private to zero: the engine's inside, shared by engine.c (life and entry points), lanes.c
 * (threads that replay a program), execute.c (what each kind of operation does) and states.c
 * (initial values, checkpoints). */
#ifndef ZI_ZERO_LANES_H
#define ZI_ZERO_LANES_H

#include <pthread.h>

#include "device/operations.h"
#include "zero/engine.h"

struct lane {
    struct engine *engine;
    enum program_lane id;
    bool used, threaded; /* has operations in some program; has a thread of its own */
    pthread_t thread;
    struct device_stream *stream;
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
    double loss; /* mean, of the last run */
    uint64_t checksum;
    struct optimizer_step step;
    struct engine_timing flat[LANE_COUNT * OP_KIND_COUNT];
};

/* lanes.c */
enum zi_status lanes_start(struct engine *engine);
void lanes_stop(struct engine *engine);
enum zi_status lanes_run(struct engine *engine, enum program_name name);

/* execute.c */
enum zi_status execute_op(struct engine *engine, const struct program_op *op,
                          struct device_stream *stream);
struct device_ptr engine_slot(const struct engine *engine, int slot);
enum zi_status execute_clear_sums(struct engine *engine);

#endif
