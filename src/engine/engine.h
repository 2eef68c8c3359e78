/* SPDX-License-Identifier: Apache-2.0 */
/* The executor: pools, lanes and streams of one rank, replaying the step program. Every lane that
 * the program uses has a host thread that sleeps while it waits. Nothing is allocated after
 * engine_create. */
#ifndef ZI_ENGINE_ENGINE_H
#define ZI_ENGINE_ENGINE_H

#include "comm/comm.h"
#include "optimizer/optimizer.h"
#include "program/program.h"

struct engine;

/* Speculative updates of a step: none were tried; they hold; they were dropped, and are deferred. */
enum engine_guess { GUESS_NONE, GUESS_KEPT, GUESS_DROPPED };

/* What one step or validation gave; equal on all ranks. */
struct engine_result {
    /* Mean over the targets of the global batch that count, 0 where none does; their number. */
    double loss;
    int64_t targets;
    /* Global gradient norm; NaN when not finite. */
    double norm, learning_rate;
    int64_t loss_scale;
    bool skipped;
    /* For its loss scale alone, which is lower from the next step on. */
    bool overflowed;
    enum engine_guess guess;
    /* Of all trainable parameters before the update of the step; independent of partition. */
    uint64_t checksum;
    /* Of this rank, of which at least one block was on its way to or from the nvme store. */
    double seconds, disk_busy_s;
    /* The compute lane was idle because it waited for an operation of that lane. */
    double wait_s[LANE_COUNT];
    /* Of the nvme store, of this rank in this step. */
    uint64_t read_bytes, written_bytes;
};

/* Per kind and lane of operation, summed since the engine was made or engine_timings_clear. */
struct engine_timing {
    enum program_kind kind;
    enum program_lane lane;
    int64_t count;
    double seconds, wait_s, bytes, flops;
};

/* Collective. Allocates the pools (ZI_ERROR_FIT past the budgets), makes lanes; opens the host for
 * operations on host memory, where the device is another. The program, device, comm and settings
 * stay the caller's and outlive the engine. Ranks whose programs differ are refused (ZI_ERROR_BUG).
 * ZI_STOPPED, on all ranks, when a stop is asked for meanwhile. */
enum zi_status engine_create(const struct program *program, struct device *device,
                             struct comm *comm, const struct settings *settings,
                             struct engine **engine);

/* Local. Ends the lanes and frees all; NULL is nothing to destroy. */
void engine_destroy(struct engine *engine);

/* Collective. Brings an update that is still pending (deferred updates); afterwards the states are
 * those after the last step. Nothing to do is no error. */
enum zi_status engine_flush(struct engine *engine);

/* Local. The checksum of all trainable parameters; after a flush, of those after the last step. */
uint64_t engine_checksum(const struct engine *engine);

struct trace;

/* Local. Records the operations of the training steps that the trace covers (trace.h), of a job that
 * begins after `first` steps; call once, before them. */
enum zi_status engine_trace(struct engine *engine, int64_t first, int64_t steps);

/* Local. The trace, which stays the engine's; NULL when there is none. */
const struct trace *engine_get_trace(const struct engine *engine);

/* Collective. Initial values of all states, each rank its own: parameters from (seed, name, index),
 * moments zero. ZI_STOPPED, on all ranks, when a stop is asked for meanwhile. */
enum zi_status engine_initialize(struct engine *engine);

/* Local. Where a rank puts its sequences of the next step, int32, [sequences of all its
 * micro-batches, tokens]: host memory of the engine, in the order of zero_sequences. */
int32_t *engine_inputs(struct engine *engine);

/* Local. Where it puts their targets, in the same shape. */
int32_t *engine_targets(struct engine *engine);

/* Local. Where it puts how far each token is into its text, which is all that it sees, in the same
 * shape. NULL where the program is not for packed sequences: each is one text. */
int32_t *engine_positions(struct engine *engine);

/* Local, on all ranks alike. From now on a target may be -1, which counts for nothing: losses are
 * means over those that count, which the ranks add up first, and gradients are those of that mean. */
void engine_mask(struct engine *engine);

/* Collective. Training step number `step` (first 0) on the sequences of engine_inputs. */
enum zi_status engine_train(struct engine *engine, int64_t step, struct engine_result *result);

/* Collective. Loss only, over one global batch in engine_inputs. */
enum zi_status engine_validate(struct engine *engine, struct engine_result *result);

/* Collective. fp32 logits [vocabulary] of the last of `tokens` ids (the same on all ranks) into
 * host memory. */
enum zi_status engine_logits(struct engine *engine, const int32_t *ids, int64_t tokens,
                             float *logits);

/* Local. Updates made so far; skipped steps make none. */
int64_t engine_updates(const struct engine *engine);

/* Local. Sets that number, when states are loaded. */
void engine_set_updates(struct engine *engine, int64_t updates);

/* Local. The loss scale of the next step. */
struct optimizer_scaling engine_scaling(const struct engine *engine);

/* Local. Sets it, when a run goes on. */
void engine_set_scaling(struct engine *engine, struct optimizer_scaling scaling);

/* What lies outside of a program: called for each run of a tensor, elements [first, first + count),
 * with the host address of its values, which is good until it returns. The kinds are those that are
 * saved, in the types in which they are (tier/kinds.h). Called in a thread of the engine, one call
 * at a time. */
typedef enum zi_status engine_visit(void *context, enum tier_kind kind, int tensor, int64_t first,
                                    int64_t count, void *values);

/* Collective. Takes the states to `visit`, each rank its own. An update that is pending is brought in
 * the same pass: states go to the checkpoint from where it leaves them. */
enum zi_status engine_save(struct engine *engine, engine_visit *visit, void *context);

/* Called when the last range has been visited, in the same thread. */
typedef void engine_visited(void *context);

/* Local. The next engine_train takes the states to `visit`, as they are before its own update, while
 * it trains; an update that is pending is brought first. `visited` is called, which may be long
 * before it returns. `context` is used until then. */
void engine_save_over(struct engine *engine, engine_visit *visit, engine_visited *visited,
                      void *context);

/* Collective. Makes all states that a rank has of what `visit` writes. A master gives the
 * parameters with it, which are then not asked for where this rank has the same elements of both.
 * ZI_STOPPED, on all ranks, when a stop is asked for meanwhile. */
enum zi_status engine_load(struct engine *engine, engine_visit *visit, void *context);

/* Local. Timings of this rank: *count entries, owned by the engine. */
const struct engine_timing *engine_timings(struct engine *engine, int *count);

/* Local. Sets all timings to zero. */
void engine_timings_clear(struct engine *engine);

/* Local. The engine's compute stream, for measuring the device's peak before training. */
struct device_stream *engine_stream(struct engine *engine);

#endif
