/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of comm/comm.h that do not depend on the transport: they check their arguments, pick
 * the transport's function, and build the larger collectives out of the smaller ones.
 *
 * Two rules of the header are kept here for all transports. all_reduce IS reduce_scatter into the
 * rank's own place followed by all_gather, so both give the same bits. Sums of host values are made
 * in rank order on every rank from the same gathered values, so they do not depend on the shape of
 * a reduction tree that a library might choose. */
#include "comm/comm.h"

#include "base/log.h"
#include "base/memory.h"
#include "comm/transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum zi_status comm_new(const struct comm_transport *transport, struct comm **comm)
{
    struct comm *group = calloc(1, sizeof *group);
    if (!group) return zi_fail(ZI_ERROR_DEVICE, "comm", "no memory for a group of ranks");
    group->transport = transport;
    group->size = 1;
    group->node_size = 1;
    *comm = group;
    return ZI_OK;
}

int comm_rank(const struct comm *comm)
{
    return comm->rank;
}

int comm_size(const struct comm *comm)
{
    return comm->size;
}

int comm_node_size(const struct comm *comm)
{
    return comm->node_size;
}

int comm_node_rank(const struct comm *comm)
{
    return comm->node_rank;
}

enum zi_status comm_all_gather(struct comm *comm, struct device_stream *stream,
                               struct device_ptr shard, struct device_ptr full, int64_t bytes)
{
    ZI_REQUIRE(bytes >= 0);
    if (bytes == 0) return ZI_OK;
    return comm->transport->all_gather(comm, stream, shard, full, bytes);
}

enum zi_status comm_reduce_scatter(struct comm *comm, struct device_stream *stream,
                                   struct device_ptr full, struct device_ptr shard, int64_t count,
                                   enum zi_dtype wire, struct device_ptr scratch)
{
    ZI_REQUIRE(count >= 0);
    ZI_REQUIRE(wire == ZI_FP32 || zi_dtype_is_half(wire));
    if (count == 0) return ZI_OK;
    struct comm_reduction reduction = {full, shard, scratch, count, wire};
    return comm->transport->reduce_scatter(comm, stream, &reduction);
}

enum zi_status comm_all_reduce(struct comm *comm, struct device_stream *stream,
                               struct device_ptr full, int64_t count, enum zi_dtype wire,
                               struct device_ptr scratch)
{
    size_t shard_bytes = (size_t)count * sizeof(float);
    struct device_ptr own = device_at(full, (size_t)comm->rank * shard_bytes);
    ZI_TRY(comm_reduce_scatter(comm, stream, full, own, count, wire, scratch));
    return comm_all_gather(comm, stream, own, full, (int64_t)shard_bytes);
}

static const struct comm_services services = {
    .agree = comm_agree,
    .broadcast = comm_broadcast,
    .reduce_scratch = comm_reduce_scratch,
    .abort = comm_abort,
};

enum zi_status comm_use_device(struct comm *world, struct device *device, enum sum_order order)
{
    if (world->on_device) world->on_device->stop(world);
    world->on_device = NULL;
    if (!device || world->size == 1) return ZI_OK;
    const struct device_properties *properties = device_get_properties(device);
    if (properties->mappable || properties->unified) return ZI_OK;
    const struct comm_on_device *found = device_symbol(device, "comm_nccl");
    enum zi_status status = ZI_OK;
    if (!found)
        status =
            zi_fail(ZI_ERROR_DEVICE, "comm",
                    "no collectives for memory of the device %s: run one rank", properties->name);
    ZI_TRY(comm_agree(world, status));
    ZI_TRY(found->start(world, device, order, &services));
    world->on_device = found;
    return ZI_OK;
}

/* Gives all ranks' bytes in rank order, in memory that the caller frees. */
static enum zi_status gather_values(struct comm *comm, const void *mine, int count, void **all)
{
    size_t bytes = (size_t)count * 8;
    void *values = malloc((size_t)comm->size * bytes);
    if (!values)
        return zi_fail(ZI_ERROR_DEVICE, "comm", "no memory for %d values of %d ranks", count,
                       comm->size);
    enum zi_status status = comm->transport->gather_values(comm, mine, values, (int)bytes);
    if (status < 0) {
        free(values);
        return status;
    }
    *all = values;
    return ZI_OK;
}

enum zi_status comm_sum_doubles(struct comm *comm, double *values, int count)
{
    ZI_REQUIRE(count >= 0 && count <= 1 << 20);
    if (count == 0 || comm->size == 1) return ZI_OK;
    void *memory = NULL;
    ZI_TRY(gather_values(comm, values, count, &memory));
    const double *all = memory;
    memcpy(values, all, (size_t)count * sizeof *values);
    for (int rank = 1; rank < comm->size; rank++)
        for (int i = 0; i < count; i++)
            values[i] += all[(size_t)rank * (size_t)count + (size_t)i];
    free(memory);
    return ZI_OK;
}

enum zi_status comm_sum_uint64(struct comm *comm, uint64_t *values, int count)
{
    ZI_REQUIRE(count >= 0 && count <= 1 << 20);
    if (count == 0 || comm->size == 1) return ZI_OK;
    void *memory = NULL;
    ZI_TRY(gather_values(comm, values, count, &memory));
    const uint64_t *all = memory;
    memcpy(values, all, (size_t)count * sizeof *values);
    for (int rank = 1; rank < comm->size; rank++)
        for (int i = 0; i < count; i++)
            values[i] += all[(size_t)rank * (size_t)count + (size_t)i];
    free(memory);
    return ZI_OK;
}

enum zi_status comm_broadcast(struct comm *comm, void *bytes, int64_t count, int root)
{
    ZI_REQUIRE(count >= 0);
    ZI_REQUIRE(root >= 0 && root < comm->size);
    if (count == 0) return ZI_OK;
    return comm->transport->broadcast(comm, bytes, count, root);
}

enum zi_status comm_barrier(struct comm *comm)
{
    return comm->transport->barrier(comm);
}

enum zi_status comm_agree(struct comm *comm, enum zi_status status)
{
    int value = status < 0 ? (int)status : (int)ZI_OK;
    ZI_TRY(comm->transport->minimum(comm, &value));
    return (enum zi_status)value;
}

struct abort_message {
    char text[8192];
    size_t length;
};

static void message_add(struct abort_message *message, int written)
{
    size_t room = sizeof message->text - message->length;
    if (written > 0) message->length += (size_t)written < room ? (size_t)written : room - 1;
}

static void message_add_memory(void *context, const char *name, enum zi_tier tier, size_t bytes,
                               size_t peak_bytes)
{
    struct abort_message *message = context;
    char now[32], peak[32];
    message_add(message,
                snprintf(message->text + message->length, sizeof message->text - message->length,
                         "  %-36s %-6s %12s %12s\n", name, zi_tier_name(tier),
                         zi_memory_text(bytes, now, sizeof now),
                         zi_memory_text(peak_bytes, peak, sizeof peak)));
}

/* The message is put together first and written at once, so that lines of ranks that fail together
 * do not mix. */
void comm_abort(struct comm *comm, enum zi_status status)
{
    static struct abort_message message;
    char host[64] = "unknown host", now[32], peak[32];
    if (gethostname(host, sizeof host - 1) == 0) host[sizeof host - 1] = '\0';
    message.length = 0;
    message_add(&message, snprintf(message.text, sizeof message.text,
                                   "zinf: rank %d of %d on %s ends the job: %s\n"
                                   "memory of this rank: resident %s, at most %s\n"
                                   "  %-36s %-6s %12s %12s\n",
                                   comm->rank, comm->size, host, zi_status_name(status),
                                   zi_memory_text(zi_memory_resident(), now, sizeof now),
                                   zi_memory_text(zi_memory_resident_peak(), peak, sizeof peak),
                                   "name", "tier", "now", "at most"));
    zi_memory_visit(message_add_memory, &message);
    fflush(stdout);
    fwrite(message.text, 1, message.length, stderr);
    fflush(stderr);
    int code = zi_status_exit_code(status);
    comm->transport->abort(comm, code);
    _exit(code);
}

bool comm_run_ahead(struct comm *comm, bool ahead)
{
    if (!comm->transport->run_ahead) return false;
    comm->transport->run_ahead(comm, ahead);
    return true;
}

enum zi_status comm_advance(struct comm *comm, int64_t least, struct comm_progress *progress)
{
    ZI_REQUIRE(comm->transport->advance);
    return comm->transport->advance(comm, least, progress);
}

void comm_say(struct comm *comm, const char *what, const char *subject)
{
    if (comm->transport->say) comm->transport->say(comm, what, subject);
}
