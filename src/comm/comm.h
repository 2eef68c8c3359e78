/* SPDX-License-Identifier: Apache-2.0 */
/* Groups of ranks and their collectives: `self` (one rank, no library), `direct` and `mpi` (buffers
 * the host can map; without messages between ranks of one node, by messages) and `nccl` (buffers of
 * a CUDA device). A transport is a vtable behind these calls.
 *
 * Buffers are device_ptr, of the stream's device or of the host, and stay untouched until the
 * call's stream has passed it. The self transport enqueues copies. The direct and mpi transports wait
 * for the stream, map the buffers, work in the calling thread and return when they are done; while
 * they wait they sleep, so that the core they share with the arithmetic stays free; ZI_ERROR_DEVICE
 * where the device is not mappable. The nccl transport enqueues; an error that comes later, or the end of a
 * rank that others wait for, ends the job from a thread of its own.
 *
 * Collectives of one group must come in the same order on every rank and from one thread at a time.
 * Sums are made in rank order, so equal inputs give equal bits from run to run and on all devices,
 * and reduce_scatter and all_reduce give the same bits; the one exception is SUM_LIBRARY
 * (comm_use_device). Every call may return ZI_ERROR_COMM. */
#ifndef ZI_COMM_COMM_H
#define ZI_COMM_COMM_H

#include "base/status.h"
#include "device/device.h"

struct comm;

/* Collective. Starts the library (MPI with threads) and gives the group of all ranks. When the
 * process was not started by a launcher it is a group of one. Refuses a Slurm job of several tasks
 * that sees a world of one (wrong --mpi). */
enum zi_status comm_start(int *argc, char ***argv, struct comm **world);

/* Local. How many processes the launcher has started together with this one, by its environment; 1
 * without a launcher. Starts nothing. */
int comm_launched(void);

/* Collective. Ends the library; the job, where the ranks do not find together any more. */
void comm_finish(struct comm *world);

/* Local. A group of this rank alone, without any library. */
enum zi_status comm_self(struct comm **comm);

/* Collective. Device buffers of later collectives are `device`'s, which every rank has opened: a
 * device that the host cannot map needs NCCL, which the module of the device brings; for others, and
 * in a group of one, nothing changes. Values of the host stay where they were. `order`: who adds there.
 * SUM_ORDERED adds in rank order, on the device. SUM_LIBRARY leaves reduce_scatter to NCCL, which
 * moves fewer bytes between many nodes but adds in an order of its own, on a 16-bit wire in 16 bits.
 * NULL: no longer, before the device is closed. */
enum zi_status comm_use_device(struct comm *world, struct device *device, enum sum_order order);

/* Local. Frees what comm_self gave. NULL does nothing. */
void comm_destroy(struct comm *comm);

/* Local. This rank's number, from 0. */
int comm_rank(const struct comm *comm);

/* Local. Ranks of the group. */
int comm_size(const struct comm *comm);

/* Local. Ranks of the group on this node. */
int comm_node_size(const struct comm *comm);

/* Local. This rank's place among the ranks of its node, from 0. */
int comm_node_rank(const struct comm *comm);

/* Local. The MPI communicator as a pointer to MPI_Comm, for parallel HDF5; NULL for self. */
const void *comm_mpi(const struct comm *comm);

/* Collective. full[i * bytes .. (i+1) * bytes) = rank i's shard; shard may be its own place inside
 * full. */
enum zi_status comm_all_gather(struct comm *comm, struct device_stream *stream,
                               struct device_ptr shard, struct device_ptr full, int64_t bytes);

/* Collective. shard[0..count) = sum over ranks of that rank's full[rank * count ..], fp32 elements;
 * `wire` is the type that crosses the network (ZI_BF16 and ZI_FP16 halve the traffic; sums stay
 * fp32, and every contribution is rounded, a rank's own too; in a group of one nothing is). full is left
 * undefined; shard may be its own place inside full. scratch holds at least
 * comm_reduce_scratch(ranks, count) bytes. */
enum zi_status comm_reduce_scatter(struct comm *comm, struct device_stream *stream,
                                   struct device_ptr full, struct device_ptr shard, int64_t count,
                                   enum zi_dtype wire, struct device_ptr scratch);

/* Collective. As reduce_scatter, then every rank has the sum of all size * count elements in full.
 */
enum zi_status comm_all_reduce(struct comm *comm, struct device_stream *stream,
                               struct device_ptr full, int64_t count, enum zi_dtype wire,
                               struct device_ptr scratch);

/* Local. Bytes of scratch for shards of count elements, whatever the wire; 0 for one rank. */
size_t comm_reduce_scratch(int ranks, int64_t count);

/* Collective. Sums of host values, in rank order, in place. */
enum zi_status comm_sum_doubles(struct comm *comm, double *values, int count);

/* Collective. The same of integers, modulo 2^64. */
enum zi_status comm_sum_uint64(struct comm *comm, uint64_t *values, int count);

/* Collective. Host bytes from rank `root` to all. */
enum zi_status comm_broadcast(struct comm *comm, void *bytes, int64_t count, int root);

/* Collective. Returns when all ranks are there. */
enum zi_status comm_barrier(struct comm *comm);

/* Collective. The most negative status of all ranks, so that all leave by the same door. */
enum zi_status comm_agree(struct comm *comm, enum zi_status status);

/* Collectives that have begun, and those of them that are done, since the start of the group. */
struct comm_progress {
    int64_t begun, done;
};

/* Local. Where the transport can (it says so), all_gather, reduce_scatter and all_reduce only begin
 * from here on: they go on in later calls of this group and in comm_advance. What they read stays as
 * it is, and what they write is not looked at, until they are done; they are done in the order in
 * which they began, as if each had been waited for. Host values wait for all before. With `ahead`
 * false, before which all are done, calls return when they are done again. */
bool comm_run_ahead(struct comm *comm, bool ahead);

/* Local. Does what can be done of collectives that have begun; waits until `least` are done, of those
 * that have begun. */
enum zi_status comm_advance(struct comm *comm, int64_t least, struct comm_progress *progress);

/* Local. Says what the next operations are and of what ("gather", "blocks.3.mlp"; NULL: no longer):
 * a wait in them that lasts a minute is then a warning, which names it and the ranks of the node
 * that have not come, and again every minute. The texts are not copied. */
void comm_say(struct comm *comm, const char *what, const char *subject);

/* Local. Ends the job from one rank, with rank, host and the memory table in the message. */
void comm_abort(struct comm *comm, enum zi_status status) __attribute__((noreturn));

#endif
