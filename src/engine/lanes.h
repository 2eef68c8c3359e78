/* SPDX-License-Identifier: Apache-2.0 */
/* Private to engine: its inside, shared by engine.c (life and entry points), lanes.c and together.c
 * (threads that replay a program), disk_lane.c, ahead.c (what is enqueued), execute*.c (operations). */
#ifndef ZI_ENGINE_LANES_H
#define ZI_ENGINE_LANES_H

#include <pthread.h>

#include "device/operations.h"
#include "engine/bind.h"
#include "engine/engine.h"
#include "engine/speculation.h"
#include "program/trace.h"

#define DISK_LANE_TRANSFERS 64 /* in flight at once in a disk lane */

/* When the lane turned to an operation, when that started, and when it was done. */
struct lane_times {
    double asked_s, start_s, end_s;
};

struct lane {
    struct engine *engine;
    enum program_lane id;
    /* Has operations in some program; has a thread of its own. */
    bool used, threaded;
    /* Its operations are enqueued, on a device that works on its own, as soon as what they wait for
     * on the host is done; otherwise an operation is done when its call returns. */
    bool ahead;
    pthread_t thread;
    /* What does its operations: the device, or the host. */
    struct device *device;
    const struct device_operations *operations;
    struct device_stream *stream;
    /* Of a disk lane. */
    struct tier_channel *channel;
    /* Index + 1 of its latest operation that is done, or enqueued by a lane that runs ahead; under
     * engine->mutex. */
    int done;
    /* Has a run to begin; has nothing left to do in this run; under engine->mutex. */
    bool starts, finished;
    /* Sleeps on it, for a new run, or until `awaited` (NULL: no lane) has done operation
     * `awaited_index`; under engine->mutex. */
    pthread_cond_t changed;
    const struct lane *awaited;
    int awaited_index;
    /* In this run, by the lane it waited for. */
    double wait_s[LANE_COUNT];
    struct engine_timing timings[OP_KIND_COUNT];
};

struct engine {
    const struct program *program;
    /* Of comm. */
    int rank;
    /* The lists of the program, for this rank and its memory. */
    struct bound_list bound[PROGRAM_COUNT];
    struct device *device;
    /* Operations on host memory are the cpu's: the device itself where that is one. */
    struct device *host;
    struct comm *comm;
    const struct settings *settings;
    struct tier_pool *pools[ZI_TIER_COUNT];
    /* Of the pools: where they start, and the host's address of that, NULL where it has none. */
    struct device_ptr bases[ZI_TIER_COUNT];
    char *hosts[ZI_TIER_COUNT];
    /* NULL without states on nvme. */
    struct tier_store *store;
    /* NULL unless steps are traced; whether this run is. */
    struct trace *trace;
    bool tracing;
    /* By operation of the program that runs, for lanes that run ahead; NULL without such lanes. */
    struct device_event **events;
    struct lane_times *times;
    int event_count;
    /* NULL: each lane has a thread (together.c). */
    struct together *together;
    /* When the program that runs was started. */
    double start_s;
    /* Of the save or load that runs, or is laid over the next training step. */
    engine_visit *visit;
    engine_visited *visited;
    void *visitor;
    bool saves;
    struct lane lanes[LANE_COUNT];
    pthread_mutex_t mutex;
    bool closing;
    /* The program that runs, and its first error; ranks wait for each other in it (`collective`), so an
     * error of one ends the job. */
    enum program_name name;
    bool collective;
    enum zi_status status;
    /* Some targets may be -1. */
    bool masked;
    /* Of this run: tokens per sequence; targets that count, at least 1; of a batch (batch.h), else 0. */
    int64_t tokens, targets, sequences;
    const int32_t *ends;
    int64_t updates;
    /* Mean, of the last run. */
    double loss;
    /* Of the parameters as they are; a pending update is not in it. */
    uint64_t checksum;
    /* Of the step that runs, for the trace; after so many the job began. */
    int64_t number, first;
    /* Of the last training program. */
    struct optimizer_step step;
    /* Of its loss, and of the next step's when it is over. */
    struct optimizer_scaling scaling;
    /* Deferred: what the next program's update brings, and of which units. */
    struct optimizer_step pending;
    enum engine_pending is_pending;
    struct speculation speculation;
    struct engine_timing flat[LANE_COUNT * OP_KIND_COUNT];
};

/* lanes.c */
/* Local. First; lanes_stop may be called from then on. */
void lanes_init(struct engine *engine);
/* Local. Makes streams, channels, events and threads of the lanes that any program uses. */
enum zi_status lanes_start(struct engine *engine);
/* Local. Ends the threads and frees what lanes_start has made, all of it or a part. */
void lanes_stop(struct engine *engine);
/* Collective. Runs a program; all lanes are done, and all streams empty, when it returns. */
enum zi_status lanes_run(struct engine *engine, enum program_name name);

/* lanes.c, for disk_lane.c and ahead.c. */
/* Whether all that an operation waits for is done; sleeps until it is when `sleeps`. A lane that
 * runs ahead lets its stream wait for what others have enqueued. *failed says that the run has
 * failed. */
bool lane_is_ready(struct lane *lane, const struct program_op *op, bool sleeps, bool *failed);
/* Adds an operation's times to those of its kind, and to the trace. */
void lane_note_time(struct lane *lane, int index, const struct lane_times *times);
/* All of the lane up to an operation is done (or enqueued); an error ends the run. */
void lane_note_done(struct lane *lane, int index, enum zi_status status);

/* disk_lane.c */
/* Replays a disk lane, with as many transfers in flight as their slots allow. */
void disk_lane_run(struct lane *lane);

/* ahead.c */
/* Makes the events of the operations of lanes that run ahead. */
enum zi_status ahead_start(struct engine *engine);
/* Frees them. */
void ahead_stop(struct engine *engine);
/* Enqueues an operation whose waits have been enqueued, and records its event. */
enum zi_status ahead_enqueue(struct lane *lane, int index);
/* After a run: finds out when operations were done, and notes the times of lanes that ran ahead. */
enum zi_status ahead_note_times(struct engine *engine);

#endif
