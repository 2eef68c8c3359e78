/* SPDX-License-Identifier: Apache-2.0 */
#include "comm/map.h"

#include <stdbool.h>

#include "base/log.h"

static size_t shard_bytes(const struct comm_reduction *r)
{
    return (size_t)r->count * sizeof(float);
}

static bool is_apart(const struct comm *comm, const struct comm_reduction *r)
{
    return r->shard.address != device_at(r->full, (size_t)comm->rank * shard_bytes(r)).address;
}

enum zi_status comm_map_reduction(const struct comm *comm, struct device_stream *stream,
                                  const struct comm_reduction *r, struct comm_mapped *mapped)
{
    void *full, *scratch, *shard;
    size_t bytes = shard_bytes(r);
    ZI_TRY(device_map(stream, r->full, (size_t)comm->size * bytes, &full));
    shard = (char *)full + (size_t)comm->rank * bytes;
    enum zi_status status =
        device_map(stream, r->scratch, comm_reduce_scratch(comm->size, r->count), &scratch);
    if (status >= 0 && is_apart(comm, r)) {
        status = device_map(stream, r->shard, bytes, &shard);
        if (status < 0) device_unmap(stream, r->scratch);
    }
    if (status < 0) {
        device_unmap(stream, r->full);
        return status;
    }
    *mapped = (struct comm_mapped){full, shard, scratch};
    return ZI_OK;
}

void comm_unmap_reduction(const struct comm *comm, struct device_stream *stream,
                          const struct comm_reduction *r)
{
    if (is_apart(comm, r)) device_unmap(stream, r->shard);
    device_unmap(stream, r->scratch);
    device_unmap(stream, r->full);
}
