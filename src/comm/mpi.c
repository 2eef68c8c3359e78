/* SPDX-License-Identifier: Apache-2.0 */
/* The transport over MPI, for buffers that the host can reach: it maps them for the time of a call
 * (device_map), which waits until their stream has made them.
 *
 * The problem is waiting. MPI's blocking calls poll without pause, and here the core that would
 * poll is the one that another thread of the rank does arithmetic on. So every operation is
 * nonblocking, and wait_all tests, sleeps, and tests again: a few tens of microseconds of polling,
 * then pauses that grow from 20 to 200 us. A test that took long has moved data itself (messages
 * inside a node are copied by the receiver's progress), so more may follow, and polling starts
 * over. With that, large transfers in a node run at the speed of MPI's own blocking collectives.
 *
 * Data moves by pairwise exchange: in turn k every rank sends to rank + k and receives from
 * rank - k. A sum needs every contribution in rank order anyway, so no tree or ring could move
 * fewer bytes. Messages are pieces of bounded size: counts stay inside MPI's int, and memory for
 * received contributions is bounded too (comm_reduce_scratch), as two halves, one being added while
 * the other arrives. Messages between two ranks do not overtake each other, so one tag is enough.
 *
 * Small host values use MPI's nonblocking collectives, and are summed by comm.c in rank order. */
#include "comm/transport.h"

#include "base/log.h"
#include "comm/library.h"
#include "comm/map.h"
#include "comm/reduce.h"
#include "comm/wait.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PIECE_BYTES    ((int64_t)16 << 20) /* of an all_gather or broadcast */
#define PEERS_AT_ONCE  16                  /* of an all_gather */
#define DATA_TAG       1
#define POLL_NS        30000
#define PAUSE_FIRST_NS 20000
#define PAUSE_MOST_NS  200000
#define PAUSE_RUNG_NS  1000000
#define ABORT_MOST_S   10
#define MOVED_DATA_NS  20000 /* a test that takes this long has copied something */

enum zi_status mpi_failed(int code, const char *call)
{
    char text[MPI_MAX_ERROR_STRING + 1] = "";
    int length = 0;
    if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) length = 0;
    text[length] = '\0';
    return zi_fail(ZI_ERROR_COMM, "comm", "%s failed: %s", call,
                   length > 0 ? text : "no text for this error");
}

static enum zi_status requests_failed(int code, int count, const MPI_Status *statuses)
{
    if (code == MPI_ERR_IN_STATUS)
        for (int i = 0; i < count; i++)
            if (statuses[i].MPI_ERROR != MPI_SUCCESS && statuses[i].MPI_ERROR != MPI_ERR_PENDING)
                return mpi_failed(statuses[i].MPI_ERROR, "a message to or from another rank");
    return mpi_failed(code, "MPI_Testall");
}

/* The pause until a rank of the node comes, which will ring. The library is looked after meanwhile:
 * other nodes do not ring, and what was sent may still need this rank's calls to leave. */
static long pause_most(const struct mpi_library *library)
{
    return library->one_node ? PAUSE_RUNG_NS : PAUSE_MOST_NS;
}

/* Waits until all requests are done, asleep for most of a long wait. */
static enum zi_status wait_all(struct mpi_library *library, int count, MPI_Request *requests,
                               MPI_Status *statuses)
{
    long pause_ns = PAUSE_FIRST_NS;
    struct wait wait = wait_begin(library);
    int64_t before = wait.start_ns, poll_until = before + POLL_NS;
    for (;;) {
        int done = 0;
        uint32_t rung = bells_count(library->bells);
        int code = MPI_Testall(count, requests, &done, statuses);
        if (code != MPI_SUCCESS) return requests_failed(code, count, statuses);
        if (done) {
            wait_end(&wait);
            bells_ring(library->bells);
            return ZI_OK;
        }
        int64_t after = wait_look(&wait);
        if (after - before > MOVED_DATA_NS) {
            poll_until = after + POLL_NS;
            pause_ns = PAUSE_FIRST_NS;
        } else if (!bells_all_here(library->bells)) {
            wait_sleep(&wait, rung, pause_most(library));
            poll_until = wait_now_ns() + POLL_NS;
        } else if (after > poll_until) {
            wait_sleep(&wait, rung, pause_ns);
            pause_ns += pause_ns / 2;
            if (pause_ns > PAUSE_MOST_NS) pause_ns = PAUSE_MOST_NS;
        }
        before = wait_now_ns();
    }
}

/* Of an operation of this rank and its node's others. */
static enum zi_status wait_one(struct mpi_library *library, MPI_Request *request)
{
    MPI_Status status;
    bells_enter(library->bells);
    ZI_TRY(wait_all(library, 1, request, &status));
    bells_leave(library->bells);
    return ZI_OK;
}

/* Exchanges one piece of the shards with peers first_turn, first_turn + 1, ... */
static enum zi_status exchange_piece(struct comm *comm, char *full, int64_t shard_bytes,
                                     int64_t offset, int first_turn)
{
    struct mpi_library *library = library_of(comm);
    int64_t left = shard_bytes - offset;
    int bytes = (int)(left < PIECE_BYTES ? left : PIECE_BYTES);
    int size = comm->size, posted = 0;
    for (int k = first_turn; k < size && k < first_turn + PEERS_AT_ONCE; k++) {
        int to = (comm->rank + k) % size, from = (comm->rank - k + size) % size;
        char *received = full + (int64_t)from * shard_bytes + offset;
        const char *own = full + (int64_t)comm->rank * shard_bytes + offset;
        MPI_TRY(MPI_Irecv, received, bytes, MPI_BYTE, from, DATA_TAG, library->comm,
                &library->requests[0][posted++]);
        MPI_TRY(MPI_Isend, own, bytes, MPI_BYTE, to, DATA_TAG, library->comm,
                &library->requests[0][posted++]);
    }
    bells_enter(library->bells);
    ZI_TRY(wait_all(library, posted, library->requests[0], library->statuses));
    bells_leave(library->bells);
    return ZI_OK;
}

static enum zi_status all_gather(struct comm *comm, char *full, int64_t bytes)
{
    for (int64_t offset = 0; offset < bytes; offset += PIECE_BYTES)
        for (int turn = 1; turn < comm->size; turn += PEERS_AT_ONCE)
            ZI_TRY(exchange_piece(comm, full, bytes, offset, turn));
    return ZI_OK;
}

static enum zi_status mpi_all_gather(struct comm *comm, struct device_stream *stream,
                                     struct device_ptr shard, struct device_ptr full, int64_t bytes)
{
    void *host;
    struct device_ptr own = device_at(full, (size_t)(comm->rank * bytes));
    if (shard.address != own.address) ZI_TRY(device_copy(stream, own, shard, (size_t)bytes));
    ZI_TRY(device_map(stream, full, (size_t)(comm->size * bytes), &host));
    enum zi_status status = all_gather(comm, host, bytes);
    device_unmap(stream, full);
    return status;
}

/* One reduce_scatter under way, at the host's addresses. Chunk c of a shard is received into half
 * c % 2 of the scratch. */
struct exchange {
    struct comm *comm;
    struct comm_mapped mapped;
    /* Elements of a shard */
    int64_t count;
    enum zi_dtype wire;
    int64_t chunk;
};

static int64_t chunk_length(const struct exchange *exchange, int64_t index)
{
    int64_t left = exchange->count - index * exchange->chunk;
    return left < exchange->chunk ? left : exchange->chunk;
}

/* Where chunk `index` of rank `from` arrives. */
static void *chunk_place(const struct exchange *exchange, int64_t index, int from)
{
    const struct comm *comm = exchange->comm;
    int64_t slot = from < comm->rank ? from : from - 1;
    int64_t element = ((index % 2) * (comm->size - 1) + slot) * exchange->chunk;
    return exchange->mapped.scratch + (size_t)element * zi_dtype_bytes(exchange->wire);
}

/* Sends this rank's contributions to chunk `index` of all other ranks' shards, and posts the
 * receives of theirs to its own. */
static enum zi_status chunk_start(const struct exchange *exchange, int64_t index)
{
    struct comm *comm = exchange->comm;
    struct mpi_library *library = library_of(comm);
    int64_t length = chunk_length(exchange, index);
    int bytes = (int)(length * (int64_t)zi_dtype_bytes(exchange->wire));
    int size = comm->size, posted = 0;
    MPI_Request *requests = library->requests[index % 2];
    for (int k = 1; k < size; k++) {
        int from = (comm->rank - k + size) % size;
        MPI_TRY(MPI_Irecv, chunk_place(exchange, index, from), bytes, MPI_BYTE, from, DATA_TAG,
                library->comm, &requests[posted++]);
    }
    for (int k = 1; k < size; k++) {
        int to = (comm->rank + k) % size;
        float *piece =
            exchange->mapped.full + (int64_t)to * exchange->count + index * exchange->chunk;
        if (exchange->wire != ZI_FP32) comm_round_in_place(exchange->wire, piece, length);
        MPI_TRY(MPI_Isend, piece, bytes, MPI_BYTE, to, DATA_TAG, library->comm,
                &requests[posted++]);
    }
    return ZI_OK;
}

static enum zi_status chunk_finish(const struct exchange *exchange, int64_t index)
{
    struct comm *comm = exchange->comm;
    struct mpi_library *library = library_of(comm);
    ZI_TRY(
        wait_all(library, 2 * (comm->size - 1), library->requests[index % 2], library->statuses));
    int64_t first = index * exchange->chunk;
    struct comm_contributions contributions = {
        .own = exchange->mapped.full + (int64_t)comm->rank * exchange->count + first,
        .others = chunk_place(exchange, index, comm->rank == 0 ? 1 : 0),
        .stride = exchange->chunk,
        .count = chunk_length(exchange, index),
        .rank = comm->rank,
        .size = comm->size,
        .wire = exchange->wire,
        .others_type = exchange->wire,
    };
    comm_add_in_rank_order(&contributions, exchange->mapped.shard + first);
    return ZI_OK;
}

static enum zi_status reduce_scatter(const struct exchange *exchange)
{
    int64_t chunks = (exchange->count + exchange->chunk - 1) / exchange->chunk;
    struct bells *bells = library_of(exchange->comm)->bells;
    ZI_TRY(chunk_start(exchange, 0));
    bells_enter(bells);
    for (int64_t index = 0; index < chunks; index++) {
        if (index + 1 < chunks) ZI_TRY(chunk_start(exchange, index + 1));
        ZI_TRY(chunk_finish(exchange, index));
    }
    bells_leave(bells);
    return ZI_OK;
}

static enum zi_status mpi_reduce_scatter(struct comm *comm, struct device_stream *stream,
                                         const struct comm_reduction *reduction)
{
    struct comm_mapped mapped;
    ZI_TRY(comm_map_reduction(comm, stream, reduction, &mapped));
    struct exchange exchange = {
        .comm = comm,
        .mapped = mapped,
        .count = reduction->count,
        .wire = reduction->wire,
        .chunk = comm_reduce_chunk(comm->size, reduction->count),
    };
    enum zi_status status = reduce_scatter(&exchange);
    comm_unmap_reduction(comm, stream, reduction);
    return status;
}

static enum zi_status mpi_gather_values(struct comm *comm, const void *mine, void *all, int bytes)
{
    MPI_Request request;
    MPI_TRY(MPI_Iallgather, mine, bytes, MPI_BYTE, all, bytes, MPI_BYTE, library_of(comm)->comm,
            &request);
    return wait_one(library_of(comm), &request);
}

static enum zi_status mpi_broadcast(struct comm *comm, void *bytes, int64_t count, int root)
{
    for (int64_t offset = 0; offset < count; offset += PIECE_BYTES) {
        int64_t left = count - offset;
        int length = (int)(left < PIECE_BYTES ? left : PIECE_BYTES);
        MPI_Request request;
        MPI_TRY(MPI_Ibcast, (char *)bytes + offset, length, MPI_BYTE, root, library_of(comm)->comm,
                &request);
        ZI_TRY(wait_one(library_of(comm), &request));
    }
    return ZI_OK;
}

static enum zi_status mpi_barrier(struct comm *comm)
{
    MPI_Request request;
    MPI_TRY(MPI_Ibarrier, library_of(comm)->comm, &request);
    return wait_one(library_of(comm), &request);
}

static enum zi_status mpi_minimum(struct comm *comm, int *value)
{
    int least = *value;
    MPI_Request request;
    MPI_TRY(MPI_Iallreduce, value, &least, 1, MPI_INT, MPI_MIN, library_of(comm)->comm, &request);
    ZI_TRY(wait_one(library_of(comm), &request));
    *value = least;
    return ZI_OK;
}

void mpi_say(struct comm *comm, const char *what, const char *subject)
{
    struct mpi_library *library = library_of(comm);
    if (library->patience_ns == 0) library->patience_ns = comm_patience_ns();
    library->what = what;
    library->subject = subject;
}

static int abort_code;

static void leave_at_once(void)
{
    _exit(abort_code);
}

static void *leave_soon(void *unused)
{
    nanosleep(&(struct timespec){ABORT_MOST_S, 0}, NULL);
    _exit(abort_code);
    return unused;
}

/* MPI_Abort ends in exit(), whose handlers unmap what other threads of the rank still work on: the
 * process would die of that, with another exit code. The handler registered last runs first. Where a
 * rank has ended and the launcher has not ended the others, MPI_Abort of MPICH 4.0 waits for ever. */
void mpi_abort(struct comm *comm, int exit_code)
{
    pthread_t thread;
    abort_code = exit_code;
    (void)atexit(leave_at_once);
    (void)pthread_create(&thread, NULL, leave_soon, NULL); /* without it, the wait may be long */
    MPI_Abort(library_of(comm)->comm, exit_code);
}

const struct comm_transport comm_mpi_transport = {
    .all_gather = mpi_all_gather,
    .reduce_scatter = mpi_reduce_scatter,
    .gather_values = mpi_gather_values,
    .broadcast = mpi_broadcast,
    .barrier = mpi_barrier,
    .minimum = mpi_minimum,
    .say = mpi_say,
    .abort = mpi_abort,
};

const void *comm_mpi(const struct comm *comm)
{
    return comm->library ? &library_of(comm)->comm : NULL;
}
