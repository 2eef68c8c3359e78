/* SPDX-License-Identifier: Apache-2.0 */
/* The emulation's NCCL: the calls of a program. They gather in groups (a call outside of one is a
 * group of its own), and a group becomes one operation on its stream. What NCCL leaves undefined is
 * a fault: buffers of one group that overlap, and several streams for one communicator. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "regression/emulator/libraries/nccl_comm.h"

enum { CALLS_MOST = 1024 };

/* The group of the calling thread. */
static _Thread_local struct {
    int depth, count;
    ncclResult_t failed;
    struct nccl_call calls[CALLS_MOST];
} group;

static const struct {
    const char *name;
    size_t bytes;
} types[ncclNumTypes] = {
    [ncclInt8] = {"int8", 1},       [ncclUint8] = {"uint8", 1},
    [ncclInt32] = {"int32", 4},     [ncclUint32] = {"uint32", 4},
    [ncclInt64] = {"int64", 8},     [ncclUint64] = {"uint64", 8},
    [ncclFloat16] = {"float16", 2}, [ncclFloat32] = {"float32", 4},
    [ncclFloat64] = {"float64", 8}, [ncclBfloat16] = {"bfloat16", 2},
};

size_t nccl_bytes(ncclDataType_t type)
{
    return (unsigned)type < ncclNumTypes ? types[type].bytes : 0;
}

void nccl_describe(const struct nccl_call *call, int rank, char *text, size_t size)
{
    static const char *const names[] = {"ncclAllGather", "ncclReduceScatter", "ncclAllReduce",
                                        "ncclBroadcast", "ncclSend",          "ncclRecv"};
    bool pair = call->kind == NCCL_SEND || call->kind == NCCL_RECV;
    char caller[32] = "", number[32] = "", peer[32] = "";
    if (rank >= 0) snprintf(caller, sizeof caller, "rank %d calls ", rank);
    if (!pair) snprintf(number, sizeof number, " #%llu", (unsigned long long)call->number);
    if (pair || call->kind == NCCL_BROADCAST)
        snprintf(peer, sizeof peer,
                 call->kind == NCCL_RECV ? " from rank %d"
                 : pair                  ? " to rank %d"
                                         : " of root %d",
                 call->peer);
    snprintf(text, size, "%s%s%s%s of %zu %s", caller, names[call->kind], number, peer, call->count,
             types[call->type].name);
}

/* Elements that a call reads and writes. */
static void call_sizes(const struct nccl_call *call, size_t *sends, size_t *receives)
{
    size_t ranks = (size_t)call->comm->ranks;
    bool root = call->comm->rank == call->peer;
    *sends = call->kind == NCCL_RECV                 ? 0
             : call->kind == NCCL_REDUCE_SCATTER     ? ranks * call->count
             : call->kind == NCCL_BROADCAST && !root ? 0
                                                     : call->count;
    *receives = call->kind == NCCL_SEND         ? 0
                : call->kind == NCCL_ALL_GATHER ? ranks * call->count
                                                : call->count;
}

/* Where the call's own contribution lies when it works in place. */
static bool is_in_place(const struct nccl_call *call)
{
    const char *send = call->send, *recv = call->recv;
    size_t own = (size_t)call->comm->rank * call->count * nccl_bytes(call->type);
    if (call->kind == NCCL_ALL_GATHER) return send == recv + own;
    if (call->kind == NCCL_REDUCE_SCATTER) return recv == send + own;
    return send == recv;
}

/* The ranges of one call, two at most; gives their number. */
static int call_ranges(const struct nccl_call *call, struct emulator_range ranges[2])
{
    size_t sends, receives, bytes = nccl_bytes(call->type);
    int count = 0;
    call_sizes(call, &sends, &receives);
    if (receives > 0) ranges[count++] = (struct emulator_range){call->recv, receives * bytes, true};
    bool covered = call->kind == NCCL_REDUCE_SCATTER ? false : receives > 0 && is_in_place(call);
    if (sends > 0 && !covered)
        ranges[count++] = (struct emulator_range){call->send, sends * bytes, false};
    return count;
}

static bool do_overlap(const struct emulator_range *a, const struct emulator_range *b)
{
    const char *first = a->address, *second = b->address;
    return (a->writes || b->writes) && first < second + b->bytes && second < first + a->bytes;
}

/* No call of a group touches what another writes. */
static void check_overlap(const struct nccl_call *call, const struct nccl_call *other)
{
    struct emulator_range mine[2], theirs[2];
    int count = call_ranges(call, mine), others = call_ranges(other, theirs);
    char text[160], other_text[160];
    for (int i = 0; i < count; i++)
        for (int j = 0; j < others; j++) {
            if (call == other && (i >= j || is_in_place(call))) continue;
            if (!do_overlap(&mine[i], &theirs[j])) continue;
            nccl_describe(call, -1, text, sizeof text);
            nccl_describe(other, -1, other_text, sizeof other_text);
            emulator_fail(EMULATOR_MISUSE, "%s and %s of one group overlap", text, other_text);
        }
}

static void add_ranges(struct emulator_work *work, const struct nccl_call *call)
{
    struct emulator_range ranges[2];
    int count = call_ranges(call, ranges);
    for (int i = 0; i < count && work->range_count < EMULATOR_RANGES; i++)
        work->ranges[work->range_count++] = ranges[i];
}

/* The calls of the thread's group on one communicator, as one operation. */
static ncclResult_t enqueue(struct ncclComm *comm)
{
    struct nccl_group *made = malloc(sizeof *made + (size_t)group.count * sizeof made->calls[0]);
    if (!made) return nccl_refuse(ncclSystemError, "no memory for a group");
    made->comm = comm;
    made->count = 0;
    struct emulator_work work = {.name = "a group of NCCL", .run = nccl_run, .argument = made};
    for (int i = 0; i < group.count; i++) {
        const struct nccl_call *call = &group.calls[i];
        if (call->comm != comm) continue;
        if (made->count > 0 && call->stream != made->calls[0].stream)
            emulator_fail(EMULATOR_MISUSE, "one group of NCCL has calls on two streams");
        for (int j = 0; j <= made->count; j++)
            check_overlap(call, j < made->count ? &made->calls[j] : call);
        made->calls[made->count++] = *call;
        add_ranges(&work, call);
    }
    static const char *const names[] = {"ncclAllGather", "ncclReduceScatter", "ncclAllReduce",
                                        "ncclBroadcast", "ncclSend",          "ncclRecv"};
    if (made->count == 1) work.name = names[made->calls[0].kind];
    atomic_fetch_add(&comm->pending, 1);
    atomic_fetch_add(&comm->users, 1);
    cudaError_t error = emulator_enqueue(made->calls[0].stream, &work);
    if (error == cudaSuccess) return ncclSuccess;
    atomic_fetch_sub(&comm->pending, 1);
    nccl_release(comm);
    return nccl_refuse(ncclUnhandledCudaError, "%s: %s", work.name, cudaGetErrorString(error));
}

static ncclResult_t end_group(void)
{
    ncclResult_t result = group.failed;
    for (int i = 0; i < group.count && result == ncclSuccess; i++) {
        struct ncclComm *comm = group.calls[i].comm;
        bool seen = false;
        for (int j = 0; j < i; j++)
            seen = seen || group.calls[j].comm == comm;
        if (seen) continue;
        result = enqueue(comm);
        if (result == ncclSuccess && !comm->blocking) atomic_store(&comm->progress, 1);
    }
    bool waits = false;
    for (int i = 0; i < group.count; i++)
        waits = waits || !group.calls[i].comm->blocking;
    group.count = 0;
    group.failed = ncclSuccess;
    return result == ncclSuccess && waits ? ncclInProgress : result;
}

ncclResult_t ncclGroupStart(void)
{
    group.depth++;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void)
{
    if (group.depth == 0)
        return nccl_refuse(ncclInvalidUsage, "ncclGroupEnd without ncclGroupStart");
    if (--group.depth > 0) return ncclSuccess;
    if (emulator_fails(__func__)) group.failed = nccl_refuse(ncclSystemError, "connection lost");
    return end_group();
}

static ncclResult_t check(const struct nccl_call *call, const char *function)
{
    struct ncclComm *comm = call->comm;
    size_t sends, receives;
    if (!comm) return nccl_refuse(ncclInvalidArgument, "%s: no communicator", function);
    if (emulator_fails(function))
        return nccl_refuse(ncclSystemError, "%s: connection lost", function);
    if (atomic_load(&comm->state) == (int)ncclInProgress || atomic_load(&comm->progress) > 0)
        return nccl_refuse(ncclInvalidArgument,
                           "%s: the communicator's last operation is still in progress", function);
    if (atomic_load(&comm->state) != (int)ncclSuccess || atomic_load(&comm->finalized))
        return nccl_refuse(ncclInvalidUsage, "%s: the communicator has failed or ended", function);
    if (nccl_bytes(call->type) == 0)
        return nccl_refuse(ncclInvalidArgument, "%s: no such type", function);
    if (call->peer < 0 || call->peer >= comm->ranks)
        return nccl_refuse(ncclInvalidArgument, "%s: rank %d of %d", function, call->peer,
                           comm->ranks);
    call_sizes(call, &sends, &receives);
    if ((sends > 0 && !call->send) || (receives > 0 && !call->recv))
        return nccl_refuse(ncclInvalidArgument, "%s: no buffer", function);
    return group.count < CALLS_MOST
               ? ncclSuccess
               : nccl_refuse(ncclInternalError, "more than %d calls in a group", CALLS_MOST);
}

/* Takes a call into the group of the thread, or runs it as one. */
static ncclResult_t take(struct nccl_call call, const char *function)
{
    ncclResult_t result = check(&call, function);
    if (result == ncclSuccess && call.kind != NCCL_SEND && call.kind != NCCL_RECV)
        call.comm->collectives++;
    if (result == ncclSuccess) {
        call.number = call.comm->collectives;
        group.calls[group.count++] = call;
    } else if (group.depth > 0) {
        group.failed = result;
    }
    return group.depth > 0 || result != ncclSuccess ? result : end_group();
}

static ncclResult_t check_sum(ncclDataType_t type, ncclRedOp_t op, const char *function)
{
    bool number = type == ncclFloat32 || type == ncclFloat16 || type == ncclBfloat16;
    if (op == ncclSum && number) return ncclSuccess;
    group.failed =
        nccl_refuse(ncclInvalidArgument,
                    "%s: the emulation makes sums of float32, float16 and bfloat16 only", function);
    return group.failed;
}

ncclResult_t ncclAllGather(const void *send, void *recv, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream)
{
    return take((struct nccl_call){NCCL_ALL_GATHER, comm, stream, send, recv, count, type, 0, 0},
                __func__);
}

ncclResult_t ncclReduceScatter(const void *send, void *recv, size_t count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream)
{
    ncclResult_t result = check_sum(type, op, __func__);
    if (result != ncclSuccess) return result;
    return take(
        (struct nccl_call){NCCL_REDUCE_SCATTER, comm, stream, send, recv, count, type, 0, 0},
        __func__);
}

ncclResult_t ncclAllReduce(const void *send, void *recv, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream)
{
    ncclResult_t result = check_sum(type, op, __func__);
    if (result != ncclSuccess) return result;
    return take((struct nccl_call){NCCL_ALL_REDUCE, comm, stream, send, recv, count, type, 0, 0},
                __func__);
}

ncclResult_t ncclBroadcast(const void *send, void *recv, size_t count, ncclDataType_t type,
                           int root, ncclComm_t comm, cudaStream_t stream)
{
    return take((struct nccl_call){NCCL_BROADCAST, comm, stream, send, recv, count, type, root, 0},
                __func__);
}

ncclResult_t ncclSend(const void *send, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream)
{
    return take((struct nccl_call){NCCL_SEND, comm, stream, send, NULL, count, type, peer, 0},
                __func__);
}

ncclResult_t ncclRecv(void *recv, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream)
{
    return take((struct nccl_call){NCCL_RECV, comm, stream, NULL, recv, count, type, peer, 0},
                __func__);
}
