/* SPDX-License-Identifier: Apache-2.0 */
/* The transport of a group of one rank. Nothing crosses a network, so nothing is rounded to the
 * wire type: a sum over one rank is that rank's value, bit for bit. Where shard is its own place
 * inside full, as the header allows, there is nothing to do at all.
 *
 * Copies are the stream's, so any device's memory will do. The group may have MPI behind it
 * (comm_start without a launcher); this file does not know of it. */
#include "comm/transport.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum zi_status copy(struct device_stream *stream, struct device_ptr to,
                           struct device_ptr from, size_t bytes)
{
    return to.address == from.address ? ZI_OK : device_copy(stream, to, from, bytes);
}

static enum zi_status self_all_gather(struct comm *comm, struct device_stream *stream,
                                      struct device_ptr shard, struct device_ptr full,
                                      int64_t bytes)
{
    (void)comm;
    return copy(stream, full, shard, (size_t)bytes);
}

static enum zi_status self_reduce_scatter(struct comm *comm, struct device_stream *stream,
                                          const struct comm_reduction *reduction)
{
    (void)comm;
    return copy(stream, reduction->shard, reduction->full,
                (size_t)reduction->count * sizeof(float));
}

static enum zi_status self_gather_values(struct comm *comm, const void *mine, void *all, int bytes)
{
    (void)comm;
    memcpy(all, mine, (size_t)bytes);
    return ZI_OK;
}

static enum zi_status self_broadcast(struct comm *comm, void *bytes, int64_t count, int root)
{
    (void)comm;
    (void)bytes;
    (void)count;
    (void)root;
    return ZI_OK;
}

static enum zi_status self_barrier(struct comm *comm)
{
    (void)comm;
    return ZI_OK;
}

static enum zi_status self_minimum(struct comm *comm, int *value)
{
    (void)comm;
    (void)value;
    return ZI_OK;
}

/* Not exit(): other threads of the rank may still run, and handlers could wait for them. */
static void self_abort(struct comm *comm, int exit_code)
{
    (void)comm;
    _exit(exit_code);
}

const struct comm_transport comm_self_transport = {
    .all_gather = self_all_gather,
    .reduce_scatter = self_reduce_scatter,
    .gather_values = self_gather_values,
    .broadcast = self_broadcast,
    .barrier = self_barrier,
    .minimum = self_minimum,
    .abort = self_abort,
};

enum zi_status comm_self(struct comm **comm)
{
    return comm_new(&comm_self_transport, comm);
}

void comm_destroy(struct comm *comm)
{
    if (!comm) return;
    ZI_REQUIRE(!comm->library); /* the group of all ranks ends with comm_finish */
    free(comm);
}
