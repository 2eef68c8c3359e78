/* SPDX-License-Identifier: Apache-2.0 */
/* Programs with the emulated NCCL: two ranks, each a thread with a device of its own. */
#include <nccl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "regression/emulator/emulator.h"
#include "regression/emulator/tests/board.h"
#include "regression/emulator/tests/faults.h"

#define CHECK_NCCL(call) CHECK_INT(call, ncclSuccess)

enum { RANKS = 2, HALF = COUNT / RANKS };

/* nccl.h declares them without prototypes. */
ncclResult_t ncclGroupStart(void);
ncclResult_t ncclGroupEnd(void);

/* A rank of a program, in its thread. */
struct rank {
    int number;
    bool faulty;
    ncclUniqueId id;
    ncclComm_t comm;
    struct board board;
    void (*body)(struct rank *);
};

static void *rank_thread(void *argument)
{
    struct rank *rank = argument;
    CHECK_CUDA(cudaSetDevice(rank->number));
    rank->board = board_make();
    CHECK_NCCL(ncclCommInitRank(&rank->comm, RANKS, rank->id, rank->number));
    copy_in(rank->board.device, rank->board.host, BYTES, rank->board.one);
    rank->body(rank);
    if (rank->comm) CHECK_NCCL(ncclCommDestroy(rank->comm));
    board_end(&rank->board);
    return NULL;
}

static void run_ranks(bool faulty, void (*body)(struct rank *))
{
    static struct rank ranks[RANKS];
    pthread_t threads[RANKS];
    ncclUniqueId id;
    CHECK_NCCL(ncclGetUniqueId(&id));
    for (int r = 0; r < RANKS; r++) {
        ranks[r] = (struct rank){.number = r, .faulty = faulty, .id = id, .body = body};
        CHECK_INT(pthread_create(&threads[r], NULL, rank_thread, &ranks[r]), 0);
    }
    for (int r = 0; r < RANKS; r++)
        CHECK_INT(pthread_join(threads[r], NULL), 0);
}

/* Both hold 0, 1, 2 ... in device; result[i] must be what `right` gives. */
static void expect_result(struct rank *rank, float (*right)(int rank, int i))
{
    struct board *board = &rank->board;
    int wrong = 0;
    copy_out(board->result, board->second, BYTES, board->one);
    CHECK_CUDA(cudaStreamSynchronize(board->one));
    for (int i = 0; i < COUNT; i++)
        wrong += board->result[i] != right(rank->number, i);
    CHECK_INT(wrong, 0);
}

static float gathered(int rank, int i)
{
    (void)rank;
    return (float)(i % HALF);
}

static float scattered(int rank, int i)
{
    return 2.0f * (float)(i < HALF ? i + rank * HALF : i);
}

static float doubled(int rank, int i)
{
    (void)rank;
    return 2.0f * (float)i;
}

static void collectives_body(struct rank *rank)
{
    struct board *b = &rank->board;
    float *in = b->device, *out = b->second;
    int count = 0, number = -1;
    CHECK_NCCL(ncclCommCount(rank->comm, &count));
    CHECK_NCCL(ncclCommUserRank(rank->comm, &number));
    CHECK(count == RANKS && number == rank->number);
    CHECK_NCCL(ncclAllGather(in, out, HALF, ncclFloat32, rank->comm, b->one));
    expect_result(rank, gathered);
    CHECK_NCCL(ncclAllReduce(in, out, COUNT, ncclFloat32, ncclSum, rank->comm, b->one));
    expect_result(rank, doubled);
    CHECK_NCCL(ncclReduceScatter(in, out, HALF, ncclFloat32, ncclSum, rank->comm, b->one));
    expect_result(rank, scattered);
    CHECK_NCCL(ncclBroadcast(in, out, COUNT, ncclFloat32, 1, rank->comm, b->one));
    CHECK_NCCL(ncclAllReduce(out, out, COUNT, ncclFloat32, ncclSum, rank->comm, b->one));
    expect_result(rank, doubled);
    CHECK_NCCL(ncclGroupStart());
    for (int r = 0; r < RANKS; r++) {
        int from = (rank->number + r) % RANKS;
        CHECK_NCCL(ncclSend(in + from * HALF, HALF, ncclFloat32, from, rank->comm, b->one));
        CHECK_NCCL(ncclRecv(out + r * HALF, HALF, ncclFloat32, from, rank->comm, b->one));
    }
    CHECK_NCCL(ncclGroupEnd());
    copy_out(b->result, out, BYTES, b->one);
    CHECK_CUDA(cudaStreamSynchronize(b->one));
    for (int i = 0; i < COUNT; i += 97)
        CHECK(b->result[i] == (float)(rank->number * HALF + i % HALF));
}

static void collectives(bool faulty)
{
    run_ranks(faulty, collectives_body);
}

static void order_body(struct rank *rank)
{
    struct board *b = &rank->board;
    if (rank->faulty && rank->number == 1)
        CHECK_NCCL(ncclReduceScatter(b->device, b->second, HALF, ncclFloat32, ncclSum, rank->comm,
                                     b->one));
    CHECK_NCCL(ncclAllGather(b->device, b->second, HALF, ncclFloat32, rank->comm, b->one));
    CHECK_CUDA(cudaStreamSynchronize(b->one));
}

static void collectives_in_order(bool faulty)
{
    run_ranks(faulty, order_body);
}

static void count_body(struct rank *rank)
{
    struct board *b = &rank->board;
    size_t count = rank->faulty && rank->number == 1 ? HALF - 1 : HALF;
    CHECK_NCCL(ncclAllGather(b->device, b->second, count, ncclFloat32, rank->comm, b->one));
    CHECK_CUDA(cudaStreamSynchronize(b->one));
}

static void counts_agree(bool faulty)
{
    run_ranks(faulty, count_body);
}

static void absent_body(struct rank *rank)
{
    struct board *b = &rank->board;
    if (rank->faulty && rank->number == 1) nanosleep(&(struct timespec){30, 0}, NULL);
    CHECK_NCCL(ncclAllGather(b->device, b->second, HALF, ncclFloat32, rank->comm, b->one));
    CHECK_CUDA(cudaStreamSynchronize(b->one));
}

static void absent(bool faulty)
{
    run_ranks(faulty, absent_body);
}

/* The other stream reads what is received without waiting for it. */
static void unordered_body(struct rank *rank)
{
    struct board *b = &rank->board;
    CHECK_NCCL(ncclAllGather(b->device, b->second, HALF, ncclFloat32, rank->comm, b->one));
    CHECK_CUDA(cudaEventRecord(b->event, b->one));
    if (!rank->faulty) CHECK_CUDA(cudaStreamWaitEvent(b->other, b->event, 0));
    copy_out(b->result, b->second, BYTES, b->other);
    CHECK_CUDA(cudaStreamSynchronize(b->other));
}

static void unordered(bool faulty)
{
    run_ranks(faulty, unordered_body);
}

/* Beyond the ranges that an operation announces: the tenth receive of a group is seen as well. */
static void many_body(struct rank *rank)
{
    enum { PARTS = 16, PART = COUNT / PARTS };
    struct board *b = &rank->board;
    int other = 1 - rank->number;
    CHECK_NCCL(ncclGroupStart());
    for (int i = 0; i < PARTS; i++) {
        CHECK_NCCL(ncclSend(b->device + i * PART, PART, ncclFloat32, other, rank->comm, b->one));
        CHECK_NCCL(ncclRecv(b->second + i * PART, PART, ncclFloat32, other, rank->comm, b->one));
    }
    CHECK_NCCL(ncclGroupEnd());
    CHECK_CUDA(cudaEventRecord(b->event, b->one));
    if (!rank->faulty) CHECK_CUDA(cudaStreamWaitEvent(b->other, b->event, 0));
    copy_out(b->result + 12 * PART, b->second + 12 * PART, PART * sizeof(float), b->other);
    CHECK_CUDA(cudaStreamSynchronize(b->other));
}

static void many_calls(bool faulty)
{
    run_ranks(faulty, many_body);
}

static void overlap_body(struct rank *rank)
{
    struct board *b = &rank->board;
    int other = 1 - rank->number;
    float *to = rank->faulty ? b->device + 1 : b->second;
    CHECK_NCCL(ncclGroupStart());
    CHECK_NCCL(ncclSend(b->device, HALF, ncclFloat32, other, rank->comm, b->one));
    CHECK_NCCL(ncclRecv(to, HALF, ncclFloat32, other, rank->comm, b->one));
    CHECK_NCCL(ncclGroupEnd());
    CHECK_CUDA(cudaStreamSynchronize(b->one));
}

static void group_overlap(bool faulty)
{
    run_ranks(faulty, overlap_body);
}

/* A rank that gives up frees its own stream, and the other is told. */
static void abort_body(struct rank *rank)
{
    struct board *b = &rank->board;
    ncclResult_t told = ncclSuccess;
    if (rank->number == 0) {
        CHECK_NCCL(ncclCommAbort(rank->comm));
        rank->comm = NULL;
        return;
    }
    CHECK_NCCL(ncclAllGather(b->device, b->second, HALF, ncclFloat32, rank->comm, b->one));
    CHECK_CUDA(cudaEventRecord(b->event, b->one));
    while (told == ncclSuccess) {
        (void)cudaEventQuery(b->event);
        CHECK_NCCL(ncclCommGetAsyncError(rank->comm, &told));
    }
    CHECK_INT(told, ncclRemoteError);
    CHECK(strstr(ncclGetLastError(rank->comm), "rank 0"));
    CHECK_INT(ncclAllGather(b->device, b->second, HALF, ncclFloat32, rank->comm, b->one),
              ncclInvalidUsage);
    CHECK_NCCL(ncclCommAbort(rank->comm));
    rank->comm = NULL;
    CHECK_CUDA(cudaStreamSynchronize(b->one));
}

static void given_up(bool faulty)
{
    run_ranks(faulty, abort_body);
}

static ncclUniqueId shared_id;

/* A communicator that does not block, both ranks on one device. */
static void *duplicate_thread(void *argument)
{
    const int *rank = argument;
    ncclComm_t comm;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclResult_t result = ncclInProgress;
    config.blocking = 0;
    CHECK_CUDA(cudaSetDevice(0));
    CHECK_INT(ncclCommInitRankConfig(&comm, RANKS, shared_id, *rank, &config), ncclInProgress);
    while (result == ncclInProgress)
        CHECK_NCCL(ncclCommGetAsyncError(comm, &result));
    CHECK_INT(result, ncclInvalidUsage);
    CHECK(strstr(ncclGetLastError(comm), "Duplicate GPU"));
    CHECK_NCCL(ncclCommAbort(comm));
    return NULL;
}

static void duplicate(bool faulty)
{
    static const int numbers[RANKS] = {0, 1};
    pthread_t threads[RANKS];
    (void)faulty;
    CHECK_NCCL(ncclGetUniqueId(&shared_id));
    for (int r = 0; r < RANKS; r++)
        CHECK_INT(pthread_create(&threads[r], NULL, duplicate_thread, (void *)&numbers[r]), 0);
    for (int r = 0; r < RANKS; r++)
        CHECK_INT(pthread_join(threads[r], NULL), 0);
}

/* What NCCL refuses of a group of one. */
static void refused(bool faulty)
{
    struct board board = board_make();
    ncclUniqueId id;
    ncclComm_t comm;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    int version = 0;
    (void)faulty;
    CHECK_NCCL(ncclGetVersion(&version));
    CHECK_INT(version, NCCL_VERSION_CODE);
    CHECK_NCCL(ncclGetUniqueId(&id));
    config.magic = 0;
    CHECK_INT(ncclCommInitRankConfig(&comm, 1, id, 0, &config), ncclInvalidArgument);
    CHECK_INT(ncclCommInitRank(&comm, 1, id, 1), ncclInvalidArgument);
    CHECK_NCCL(ncclCommInitRank(&comm, 1, id, 0));
    CHECK_INT(ncclBroadcast(board.device, board.device, 1, ncclFloat32, 1, comm, board.one),
              ncclInvalidArgument);
    CHECK_INT(ncclAllGather(NULL, board.device, 1, ncclFloat32, comm, board.one),
              ncclInvalidArgument);
    CHECK_INT(ncclGroupEnd(), ncclInvalidUsage);
    CHECK(strstr(ncclGetLastError(comm), "ncclGroupEnd"));
    CHECK_NCCL(ncclCommFinalize(comm));
    CHECK_INT(ncclAllGather(board.device, board.second, 1, ncclFloat32, comm, board.one),
              ncclInvalidUsage);
    CHECK_NCCL(ncclCommDestroy(comm));
    board_end(&board);
}

const struct fault faults_nccl[] = {
    {"collectives", 0, NULL, collectives, NULL},
    {"collectives_in_order", EMULATOR_COLLECTIVE, "calls ncclReduceScatter #1 of 2048 float32",
     collectives_in_order, NULL},
    {"counts_agree", EMULATOR_COLLECTIVE, "ncclAllGather #1 of 2047 float32", counts_agree, NULL},
    {"absent", EMULATOR_COLLECTIVE, "rank 0 waits in ncclAllGather #1", absent,
     "EMULATOR_TIMEOUT=2"},
    {"unordered", EMULATOR_RACE, "ncclAllGather", unordered, NULL},
    {"many_calls", EMULATOR_RACE, "a group of NCCL", many_calls, NULL},
    {"group_overlap", EMULATOR_MISUSE, "of one group overlap", group_overlap, NULL},
    {"given_up", 0, NULL, given_up, NULL},
    {"duplicate", 0, NULL, duplicate, NULL},
    {"refused", 0, NULL, refused, NULL},
    {0},
};
