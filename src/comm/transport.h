/* SPDX-License-Identifier: Apache-2.0 */
/* What a transport gives the calls of comm/comm.h. Private to the room. */
#ifndef ZI_COMM_TRANSPORT_H
#define ZI_COMM_TRANSPORT_H

#include <stdlib.h>

#include "comm/comm.h"

/* Nanoseconds after which a wait is worth a word; ZINF_PATIENCE, in seconds, is for tests. */
static inline int64_t comm_patience_ns(void)
{
    const char *given = getenv("ZINF_PATIENCE");
    int64_t seconds = given ? strtoll(given, NULL, 10) : 0;
    return (seconds > 0 ? seconds : 60) * 1000000000;
}

/* One reduce_scatter, with the arguments of comm_reduce_scatter. */
struct comm_reduction {
    struct device_ptr full, shard, scratch;
    /* Elements of a shard */
    int64_t count;
    enum zi_dtype wire;
};

/* The functions are only called with arguments that comm.c has checked. `gather_values` collects a
 * few host bytes of every rank in rank order (all holds size * bytes). `abort` does not return. */
struct comm_transport {
    enum zi_status (*all_gather)(struct comm *, struct device_stream *, struct device_ptr shard,
                                 struct device_ptr full, int64_t bytes);
    enum zi_status (*reduce_scatter)(struct comm *, struct device_stream *,
                                     const struct comm_reduction *);
    enum zi_status (*gather_values)(struct comm *, const void *mine, void *all, int bytes);
    enum zi_status (*broadcast)(struct comm *, void *bytes, int64_t count, int root);
    enum zi_status (*barrier)(struct comm *);
    enum zi_status (*minimum)(struct comm *, int *value);
    /* NULL where every collective is done when its call returns. */
    void (*run_ahead)(struct comm *, bool ahead);
    enum zi_status (*advance)(struct comm *, int64_t least, struct comm_progress *);
    /* NULL where nothing waits. */
    void (*say)(struct comm *, const char *what, const char *subject);
    void (*abort)(struct comm *, int exit_code);
};

/* What an implementation in a module calls of the room: not every program that loads the module has
 * the room, so the module must not name its functions. */
struct comm_services {
    enum zi_status (*agree)(struct comm *, enum zi_status);
    enum zi_status (*broadcast)(struct comm *, void *bytes, int64_t count, int root);
    size_t (*reduce_scratch)(int ranks, int64_t count);
    void (*abort)(struct comm *, enum zi_status) __attribute__((noreturn));
};

/* Collectives of memory that the host cannot reach. A module exports its own as comm_nccl. */
struct comm_on_device {
    /* Collective. Gives the group a transport that has all_gather and reduce_scatter for this device
     * and leaves the rest to the one that the group has; group->device_group is its own. */
    enum zi_status (*start)(struct comm *, struct device *, enum sum_order,
                            const struct comm_services *);
    /* Collective, when no stream has a collective any more. Gives back the transport of before. */
    void (*stop)(struct comm *);
};

struct comm {
    const struct comm_transport *transport;
    int rank, size;
    int node_rank, node_size;
    /* struct mpi_library; NULL: no MPI behind this group */
    void *library;
    /* NULL: the transport works for all devices in use. */
    const struct comm_on_device *on_device;
    void *device_group;
};

/* Of a group of one rank: copies. */
extern const struct comm_transport comm_self_transport;

/* Of MPI. */
extern const struct comm_transport comm_mpi_transport;

/* Local. A group with the given transport, rank 0 of 1; the caller fills in the rest and frees it
 * with free(). ZI_ERROR_DEVICE when memory is short. */
enum zi_status comm_new(const struct comm_transport *transport, struct comm **comm);

#endif
