/* SPDX-License-Identifier: Apache-2.0 */
/* What the room keeps of MPI. Private to the room, as is every use of mpi.h in zinf. */
#ifndef ZI_COMM_LIBRARY_H
#define ZI_COMM_LIBRARY_H

#include "base/status.h"
#include "comm/bell.h"
#include "comm/direct.h"
#include "comm/transport.h"

#include <mpi.h>

struct mpi_library {
    /* A duplicate of MPI_COMM_WORLD whose errors are returned */
    MPI_Comm comm;
    /* Of each of the two sets: a send and a receive per other rank */
    int request_limit;
    MPI_Request *requests[2];
    MPI_Status *statuses;
    /* Of this rank's node */
    struct bells *bells;
    bool one_node;
    /* NULL: messages are exchanged. */
    struct direct *direct;
    /* What the group is at, of whom, for who waits; NULL: nothing to speak of. */
    const char *what, *subject;
    /* A wait of so long is worth a word. */
    int64_t patience_ns;
};

/* Local. What is behind a group of the mpi transport. */
static inline struct mpi_library *library_of(const struct comm *comm)
{
    return comm->library;
}

/* Local. Logs the text of an MPI error code; gives ZI_ERROR_COMM. */
enum zi_status mpi_failed(int code, const char *call);

/* Local. `say` of a transport with MPI behind it. */
void mpi_say(struct comm *comm, const char *what, const char *subject);

/* Local. `abort` of one; does not return. */
void mpi_abort(struct comm *comm, int exit_code);

/* Returns from the calling function with ZI_ERROR_COMM when the MPI function does not succeed. */
#define MPI_TRY(function, ...)                                                                     \
    do {                                                                                           \
        int mpi_code_ = function(__VA_ARGS__);                                                     \
        if (mpi_code_ != MPI_SUCCESS) return mpi_failed(mpi_code_, #function);                     \
    } while (0)

#endif
