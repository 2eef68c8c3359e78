/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the emulation of NCCL: communicators between processes of one machine, and the calls
 * that are exchanged through memory which they share. */
#ifndef ZI_REGRESSION_NCCL_COMM_H
#define ZI_REGRESSION_NCCL_COMM_H

#include <nccl.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "regression/emulator/emulator.h"

enum { NCCL_RANKS_MOST = 16, NCCL_CHANNEL_BYTES = 64 << 10 };

/* nccl.h declares them without prototypes. */
ncclResult_t ncclGroupStart(void);
ncclResult_t ncclGroupEnd(void);

/* A rank, as the others see it. */
struct nccl_member {
    _Atomic int joined, left;
    pid_t pid;
    char device[32];
};

/* Bytes on their way from one rank to another: a ring, and how much was ever written and read. */
struct nccl_channel {
    _Alignas(64) _Atomic uint64_t written;
    _Alignas(64) _Atomic uint64_t read;
    char data[NCCL_CHANNEL_BYTES];
};

/* What the processes share; starts as zeros. */
struct nccl_shared {
    /* Ranks, as the first to come says. */
    _Atomic int ranks;
    struct nccl_member members[NCCL_RANKS_MOST];
    /* From rank i to rank j: [i * ranks + j]. */
    struct nccl_channel channels[];
};

struct ncclComm {
    int rank, ranks;
    struct nccl_shared *shared;
    size_t shared_bytes;
    char name[64], device[32];
    bool blocking;
    /* Collectives that the program has called. */
    uint64_t collectives;
    /* Operations given to streams and not yet done; the comm itself counts as one more user. */
    _Atomic int pending, users;
    _Atomic bool aborted, finalized;
    /* What ncclCommGetAsyncError gives, and how often it says ncclInProgress first. */
    _Atomic int state, progress;
};

enum nccl_kind {
    NCCL_ALL_GATHER,
    NCCL_REDUCE_SCATTER,
    NCCL_ALL_REDUCE,
    NCCL_BROADCAST,
    NCCL_SEND,
    NCCL_RECV
};

/* One call of a program. */
struct nccl_call {
    enum nccl_kind kind;
    struct ncclComm *comm;
    cudaStream_t stream;
    const void *send;
    void *recv;
    size_t count;
    ncclDataType_t type;
    /* Root of a broadcast, other side of a send or receive; 0 otherwise. */
    int peer;
    /* From 1; of sends and receives that of the collective before. */
    uint64_t number;
};

/* The calls of one group on one communicator. */
struct nccl_group {
    struct ncclComm *comm;
    int count;
    struct nccl_call calls[];
};

/* Local. "rank 1 calls ncclAllGather #7 of 10 float32", without the rank if it is negative. */
void nccl_describe(const struct nccl_call *call, int rank, char *text, size_t size);

/* Local. Bytes of an element; 0: no type. */
size_t nccl_bytes(ncclDataType_t type);

/* In a stream. Runs a group together with the other ranks (an emulator_work). */
cudaError_t nccl_run(void *group);

/* Local. A rank that has ended without the others' knowing, of those that `comm` has; -1: none. */
int nccl_lost_rank(const struct ncclComm *comm);

/* Local. Seconds after which a wait for others is a fault (EMULATOR_TIMEOUT). */
double nccl_timeout(void);

/* Local. Monotonic time in seconds. */
double nccl_now(void);

/* Local. Sets the text of ncclGetLastError, and gives `result`. */
ncclResult_t nccl_refuse(ncclResult_t result, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Local. One user of the comm less; the last one frees it. */
void nccl_release(struct ncclComm *comm);

#endif
