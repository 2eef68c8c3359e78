/* SPDX-License-Identifier: Apache-2.0 */
/* Collectives of memory of CUDA devices, by NCCL. Part of the module of CUDA devices, and the only
 * user of NCCL in zinf.
 *
 * all_gather is NCCL's. A sum is not: ncclReduceScatter adds in an order that depends on the
 * algorithm that NCCL picks for sizes and networks, and on a wire of 16 bits it adds in 16 bits. So
 * contributions are exchanged like those of the mpi transport, each rounded to the wire type, and
 * are added in rank order in fp32 by the device's own operations: the bits are those of any other
 * device and of any other network. Bytes moved are as many as any algorithm moves that does not add
 * on the way; SUM_LIBRARY is there for networks where that counts.
 *
 * No memory is made for it. The scratch of comm_reduce_scratch takes a chunk of every other rank,
 * and, where the wire is of 16 bits, in its other half what is sent. A chunk that has been sent is
 * of no use to its owner any more, so sums of the ranks before this one are made in such a place,
 * and added to this rank's own contribution, which gives the same bits as adding that to the sum.
 *
 * The communicator does not block: a call says that it is in progress, and the library is asked until
 * it is done, so a rank that is lost meanwhile becomes an error here. What is lost while the device
 * waits and the host sleeps is found by the watch (comm/watch.h): errors of NCCL's connections, and
 * ranks of this node whose process has ended, of which NCCL learns nothing when it moves bytes
 * through memory. */
#include <errno.h>
#include <nccl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/timing.h"
#include "comm/transport.h"
#include "comm/watch.h"
#include "device/operations.h"

#define START_MOST_S 300.0 /* until all ranks have met in NCCL */
#define STOP_MOST_S  30.0

/* nccl.h declares them without prototypes. */
ncclResult_t ncclGroupStart(void);
ncclResult_t ncclGroupEnd(void);

/* A process of the group; the same on all ranks. */
struct process {
    char host[120];
    int64_t id;
};

struct nccl_group {
    /* What the group of ranks uses from start to stop. */
    struct comm_transport transport;
    const struct comm_transport *before;
    const struct comm_services *services;
    struct comm *comm;
    struct device *device;
    const struct device_operations *operations;
    enum sum_order order;
    ncclComm_t handle;
    /* Held while the library is called: it works on what a call left to be done when it is asked. */
    pthread_mutex_t calls;
    struct watch *watch;
    const char *what, *subject;
    /* Collectives so far. */
    int64_t number;
    /* Processes of this node that can be watched, per rank; 0: none. */
    pid_t *neighbours;
};

static struct nccl_group *group_of(const struct comm *comm)
{
    return comm->device_group;
}

/* What NCCL says of an error. */
static enum zi_status nccl_failed(const struct nccl_group *group, ncclResult_t result,
                                  const char *call)
{
    const char *more = ncclGetLastError(group->handle);
    bool shared = more && strstr(more, "Duplicate GPU");
    return zi_fail(ZI_ERROR_COMM, "comm", "%s: %s%s%s%s", call, ncclGetErrorString(result),
                   more && more[0] ? ": " : "", more ? more : "",
                   shared ? "; start one rank per device, or give each rank a device of its own "
                            "(sbatch --gpus-per-task=1)"
                          : "");
}

/* Waits until a call is done that may have been left in progress. */
static enum zi_status settle(const struct nccl_group *group, ncclResult_t result, const char *call,
                             double most_s)
{
    double start_s = zi_time_s();
    for (long pause_ns = 1000; result == ncclInProgress; pause_ns += pause_ns / 2) {
        ncclResult_t asked = ncclCommGetAsyncError(group->handle, &result);
        if (asked != ncclSuccess) result = asked;
        if (result != ncclInProgress) break;
        if (zi_time_s() - start_s > most_s)
            return zi_fail(ZI_ERROR_COMM, "comm",
                           "%s is not done after %.0f s: another rank of "
                           "%d has not come, or cannot be reached",
                           call, most_s, group->comm->size);
        if (pause_ns > 1000000) pause_ns = 1000000;
        nanosleep(&(struct timespec){0, pause_ns}, NULL);
    }
    return result == ncclSuccess ? ZI_OK : nccl_failed(group, result, call);
}

static ncclDataType_t type_of(enum zi_dtype type)
{
    return type == ZI_FP32 ? ncclFloat32 : type == ZI_BF16 ? ncclBfloat16 : ncclFloat16;
}

/* One operation on a stream that other ranks take part in. */
struct task {
    struct nccl_group *group;
    struct device_stream *stream;
    cudaStream_t on;
    struct watched *watched;
};

static enum zi_status task_begin(struct task *task, struct comm *comm, struct device_stream *stream,
                                 const char *call)
{
    struct nccl_group *group = group_of(comm);
    *task = (struct task){.group = group, .stream = stream, .on = device_stream_handle(stream)};
    if (!task->on) return zi_fail(ZI_ERROR_DEVICE, "comm", "%s: no stream of a CUDA device", call);
    struct watch_subject subject = {call, group->what, group->subject, ++group->number};
    ZI_TRY(watch_begin(group->watch, stream, &subject, &task->watched));
    pthread_mutex_lock(&group->calls);
    return ZI_OK;
}

/* The call has given `result`. */
static enum zi_status task_end(struct task *task, ncclResult_t result, const char *call)
{
    enum zi_status status = settle(task->group, result, call, START_MOST_S);
    pthread_mutex_unlock(&task->group->calls);
    enum zi_status marked = watch_end(task->group->watch, task->stream, task->watched);
    return status < 0 ? status : marked;
}

static enum zi_status nccl_all_gather(struct comm *comm, struct device_stream *stream,
                                      struct device_ptr shard, struct device_ptr full,
                                      int64_t bytes)
{
    struct task task;
    ZI_TRY(task_begin(&task, comm, stream, "ncclAllGather"));
    ncclResult_t result = ncclAllGather((const void *)shard.address, (void *)full.address,
                                        (size_t)bytes, ncclInt8, task.group->handle, task.on);
    return task_end(&task, result, "ncclAllGather");
}

/* A reduce_scatter, chunk by chunk: [first, first + length) of all shards. */
struct reduction {
    const struct comm_reduction *of;
    struct comm *comm;
    struct device_stream *stream;
    const struct device_operations *operations;
    int64_t chunk, first, length;
    size_t wire_bytes;
};

/* The chunk of this rank's contribution to a rank's shard. */
static struct device_ptr piece(const struct reduction *r, int rank)
{
    return device_at(r->of->full, (size_t)(rank * r->of->count + r->first) * sizeof(float));
}

/* The place of another rank's chunk in scratch. */
static struct device_ptr received(const struct reduction *r, int from)
{
    int64_t slot = from < r->comm->rank ? from : from - 1;
    return device_at(r->of->scratch, (size_t)(slot * r->chunk) * r->wire_bytes);
}

/* What goes to another rank: the rounded chunk behind what is received, or the chunk itself. */
static struct device_ptr sent(const struct reduction *r, int to)
{
    if (r->of->wire == ZI_FP32) return piece(r, to);
    size_t all = (size_t)((r->comm->size - 1) * r->chunk) * r->wire_bytes;
    return device_at(received(r, to), all);
}

static enum zi_status convert(const struct reduction *r, enum zi_dtype to_type,
                              struct device_ptr to, enum zi_dtype type, struct device_ptr from)
{
    return r->operations->convert(r->stream, to_type, to, type, from, r->length);
}

static enum zi_status add(const struct reduction *r, struct device_ptr to, enum zi_dtype type,
                          struct device_ptr from)
{
    return r->operations->add(r->stream, ZI_FP32, to, type, from, r->length);
}

static ncclResult_t send_and_receive(const struct reduction *r, const struct task *task)
{
    int size = r->comm->size;
    ncclDataType_t type = type_of(r->of->wire);
    ncclResult_t result = ncclGroupStart();
    for (int k = 1; k < size && result == ncclSuccess; k++) {
        int to = (r->comm->rank + k) % size, from = (r->comm->rank - k + size) % size;
        result = ncclSend((const void *)sent(r, to).address, (size_t)r->length, type, to,
                          task->group->handle, task->on);
        if (result != ncclSuccess) break;
        result = ncclRecv((void *)received(r, from).address, (size_t)r->length, type, from,
                          task->group->handle, task->on);
    }
    ncclResult_t ended = ncclGroupEnd();
    return result != ncclSuccess ? result : ended;
}

static enum zi_status exchange(const struct reduction *r)
{
    static const char call[] = "ncclSend and ncclRecv";
    enum zi_dtype wire = r->of->wire;
    struct task task;
    for (int to = 0; to < r->comm->size && wire != ZI_FP32; to++) {
        if (to != r->comm->rank) ZI_TRY(convert(r, wire, sent(r, to), ZI_FP32, piece(r, to)));
    }
    ZI_TRY(task_begin(&task, r->comm, r->stream, call));
    return task_end(&task, send_and_receive(r, &task), call);
}

/* Adds what has come in rank order: own is added to the sum of those before it, and then the others
 * are added to that. */
static enum zi_status add_in_rank_order(const struct reduction *r)
{
    enum zi_dtype wire = r->of->wire;
    int rank = r->comm->rank, size = r->comm->size;
    struct device_ptr own = piece(r, rank), spare = piece(r, (rank + 1) % size);
    struct device_ptr to = device_at(r->of->shard, (size_t)r->first * sizeof(float));
    if (wire != ZI_FP32) {
        ZI_TRY(convert(r, wire, spare, ZI_FP32, own));
        ZI_TRY(convert(r, ZI_FP32, to, wire, spare));
    } else if (to.address != own.address) {
        ZI_TRY(device_copy(r->stream, to, own, (size_t)r->length * sizeof(float)));
    }
    if (rank == 1) ZI_TRY(add(r, to, wire, received(r, 0)));
    if (rank > 1) {
        ZI_TRY(convert(r, ZI_FP32, spare, wire, received(r, 0)));
        for (int from = 1; from < rank; from++) {
            ZI_TRY(add(r, spare, wire, received(r, from)));
        }
        ZI_TRY(add(r, to, ZI_FP32, spare));
    }
    for (int from = rank + 1; from < size; from++) {
        ZI_TRY(add(r, to, wire, received(r, from)));
    }
    return ZI_OK;
}

/* All contributions to a chunk of all shards lie one after the other in scratch, and behind them the
 * sum of this rank's. */
static enum zi_status reduce_by_library(const struct reduction *r)
{
    static const char call[] = "ncclReduceScatter";
    enum zi_dtype wire = r->of->wire;
    struct device_ptr from = r->of->full, to = r->of->shard;
    struct task task;
    if (wire != ZI_FP32) {
        size_t bytes = (size_t)r->length * r->wire_bytes;
        from = r->of->scratch;
        to = device_at(from, (size_t)r->comm->size * bytes);
        for (int rank = 0; rank < r->comm->size; rank++) {
            ZI_TRY(
                convert(r, wire, device_at(from, (size_t)rank * bytes), ZI_FP32, piece(r, rank)));
        }
    }
    ZI_TRY(task_begin(&task, r->comm, r->stream, call));
    ncclResult_t result =
        ncclReduceScatter((const void *)from.address, (void *)to.address, (size_t)r->length,
                          type_of(wire), ncclSum, task.group->handle, task.on);
    ZI_TRY(task_end(&task, result, call));
    if (wire == ZI_FP32) return ZI_OK;
    struct device_ptr shard = device_at(r->of->shard, (size_t)r->first * sizeof(float));
    return convert(r, ZI_FP32, shard, wire, to);
}

/* Elements that scratch has room for at once; a whole shard where nothing needs scratch. */
static int64_t chunk_of(const struct nccl_group *group, const struct comm_reduction *reduction)
{
    int size = group->comm->size;
    int64_t bytes = (int64_t)group->services->reduce_scratch(size, reduction->count);
    int64_t chunk = bytes / ((size - 1) * (int64_t)sizeof(float));
    if (group->order == SUM_LIBRARY)
        chunk = reduction->wire == ZI_FP32 ? reduction->count : bytes / (2 * (size + 1));
    if (chunk >= reduction->count) return reduction->count;
    return chunk > 64 ? chunk / 64 * 64 : chunk; /* so that chunks stay aligned */
}

static enum zi_status nccl_reduce_scatter(struct comm *comm, struct device_stream *stream,
                                          const struct comm_reduction *reduction)
{
    const struct nccl_group *group = group_of(comm);
    struct reduction r = {
        .of = reduction,
        .comm = comm,
        .stream = stream,
        .operations = group->operations,
        .chunk = chunk_of(group, reduction),
        .wire_bytes = zi_dtype_bytes(reduction->wire),
    };
    for (; r.first < reduction->count; r.first += r.chunk) {
        int64_t left = reduction->count - r.first;
        r.length = left < r.chunk ? left : r.chunk;
        if (group->order == SUM_LIBRARY) {
            ZI_TRY(reduce_by_library(&r));
            continue;
        }
        ZI_TRY(exchange(&r));
        ZI_TRY(add_in_rank_order(&r));
    }
    return ZI_OK;
}

static void nccl_say(struct comm *comm, const char *what, const char *subject)
{
    struct nccl_group *group = group_of(comm);
    group->what = what;
    group->subject = subject;
    if (group->before->say) group->before->say(comm, what, subject);
}

/* A process of this node that has ended; -1: none. */
static int ended_rank(const struct nccl_group *group)
{
    for (int rank = 0; rank < group->comm->size; rank++) {
        pid_t id = group->neighbours[rank];
        if (id > 0 && kill(id, 0) != 0 && errno == ESRCH) return rank;
    }
    return -1;
}

static bool is_lost(void *context, bool waits, char *text, size_t size)
{
    struct nccl_group *group = context;
    ncclResult_t result = ncclSuccess;
    int rank = waits ? ended_rank(group) : -1;
    if (rank >= 0) {
        snprintf(text, size, "rank %d of this node has ended", rank);
        return true;
    }
    if (pthread_mutex_trylock(&group->calls) != 0) return false; /* who calls will see it */
    ncclResult_t asked = ncclCommGetAsyncError(group->handle, &result);
    const char *more = ncclGetLastError(group->handle);
    pthread_mutex_unlock(&group->calls);
    if (asked != ncclSuccess) result = asked;
    if (result == ncclSuccess || result == ncclInProgress) return false;
    snprintf(text, size, "NCCL: %s: %s", ncclGetErrorString(result), more ? more : "");
    return true;
}

static void end_job(void *context)
{
    const struct nccl_group *group = context;
    group->services->abort(group->comm, ZI_ERROR_COMM);
}

/* Collective. The processes of this node, unless they are in other PID namespaces. */
static enum zi_status find_neighbours(struct nccl_group *group)
{
    struct comm *comm = group->comm;
    struct process own = {.id = (int64_t)getpid()};
    struct process *all = calloc((size_t)comm->size, sizeof *all);
    group->neighbours = calloc((size_t)comm->size, sizeof *group->neighbours);
    enum zi_status status = ZI_OK;
    if (!all || !group->neighbours)
        status = zi_fail(ZI_ERROR_DEVICE, "comm", "no memory for a group of %d ranks", comm->size);
    if (gethostname(own.host, sizeof own.host - 1) != 0) own.host[0] = '\0';
    status = group->services->agree(comm, status);
    if (status >= 0) status = group->before->gather_values(comm, &own, all, (int)sizeof own);
    for (int rank = 0; rank < comm->size && status >= 0; rank++) {
        bool other = rank != comm->rank && own.host[0] && strcmp(own.host, all[rank].host) == 0;
        if (other && kill((pid_t)all[rank].id, 0) == 0)
            group->neighbours[rank] = (pid_t)all[rank].id;
    }
    free(all);
    return status;
}

/* Collective. The ranks meet in NCCL. */
static enum zi_status meet(struct nccl_group *group)
{
    struct comm *comm = group->comm;
    ncclUniqueId id;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    struct device_stream *stream = NULL;
    enum zi_status status = ZI_OK;
    memset(&id, 0, sizeof id);
    config.blocking = 0;
    ncclResult_t result = comm->rank == 0 ? ncclGetUniqueId(&id) : ncclSuccess;
    if (result != ncclSuccess) status = nccl_failed(group, result, "ncclGetUniqueId");
    /* NCCL takes the device of the calling thread, which a stream's handle makes it. */
    if (status >= 0) status = device_stream_create(group->device, 1, &stream);
    if (status >= 0 && !device_stream_handle(stream)) status = ZI_ERROR_DEVICE;
    status = group->services->agree(comm, status);
    if (status >= 0) status = group->services->broadcast(comm, &id, (int64_t)sizeof id, 0);
    if (status >= 0) {
        static const char call[] = "ncclCommInitRankConfig";
        result = ncclCommInitRankConfig(&group->handle, comm->size, id, comm->rank, &config);
        status = group->services->agree(comm, settle(group, result, call, START_MOST_S));
    }
    device_stream_destroy(stream);
    return status;
}

static void group_free(struct nccl_group *group)
{
    watch_stop(group->watch);
    if (group->handle) (void)ncclCommAbort(group->handle);
    pthread_mutex_destroy(&group->calls);
    free(group->neighbours);
    free(group);
}

/* Collective. With the transport as it was. */
static enum zi_status group_start(struct nccl_group *group)
{
    const struct watch_client client = {group, is_lost, end_job};
    ZI_TRY(find_neighbours(group));
    ZI_TRY(meet(group));
    return group->services->agree(group->comm, watch_start(group->device, &client, &group->watch));
}

static enum zi_status nccl_start(struct comm *comm, struct device *device, enum sum_order order,
                                 const struct comm_services *services)
{
    struct nccl_group *group = calloc(1, sizeof *group);
    enum zi_status status = ZI_OK;
    if (!group) status = zi_fail(ZI_ERROR_DEVICE, "comm", "no memory for a group of ranks");
    status = services->agree(comm, status);
    if (status < 0) {
        free(group);
        return status;
    }
    group->before = comm->transport;
    group->services = services;
    group->comm = comm;
    group->device = device;
    group->operations = device_get_operations(device);
    group->order = order;
    pthread_mutex_init(&group->calls, NULL);
    status = group_start(group);
    if (status < 0) {
        group_free(group);
        return status;
    }
    group->transport = *comm->transport;
    group->transport.all_gather = nccl_all_gather;
    group->transport.reduce_scatter = nccl_reduce_scatter;
    group->transport.say = nccl_say;
    comm->device_group = group;
    comm->transport = &group->transport;
    return ZI_OK;
}

/* The watch ends first: from here on ranks may end. What cannot be ended in order is given up. */
static void nccl_stop(struct comm *comm)
{
    struct nccl_group *group = group_of(comm);
    watch_stop(group->watch);
    group->watch = NULL;
    comm->transport = group->before;
    comm->device_group = NULL;
    static const char call[] = "ncclCommFinalize";
    if (settle(group, ncclCommFinalize(group->handle), call, STOP_MOST_S) >= 0) {
        (void)ncclCommDestroy(group->handle);
        group->handle = NULL;
    }
    group_free(group);
}

extern const struct comm_on_device comm_nccl;
const struct comm_on_device comm_nccl = {nccl_start, nccl_stop};
