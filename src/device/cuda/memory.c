/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of a CUDA device, and pinned memory of its host.
 *
 * Every allocation has a record, which says whose memory an address is and how much of it is
 * accounted for. Allocations are few and large (pools), so the records are a list. */
#include "device/cuda/calls.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

struct cuda_memory {
    struct cuda_memory *next;
    uintptr_t address;
    size_t bytes;
    enum zi_tier tier;
    /* Of zi_memory_note. */
    size_t mark;
};

static enum zi_status refuse(enum zi_tier tier, size_t bytes, const char *name, cudaError_t error)
{
    char need[32], has[32];
    size_t available = 0, all = 0;
    (void)cudaGetLastError();
    if (tier == ZI_TIER_HOST)
        return zi_fail(ZI_ERROR_DEVICE, "cuda",
                       "no pinned host memory for %s: %s (%zu bytes) asked for, %s available on "
                       "this node: %s; use fewer ranks per node, or lower memory.host of the deck",
                       name, zi_memory_text(bytes, need, sizeof need), bytes,
                       zi_memory_text(zi_memory_node_available(), has, sizeof has),
                       cudaGetErrorString(error));
    (void)cudaMemGetInfo(&available, &all);
    return zi_fail(ZI_ERROR_DEVICE, "cuda",
                   "no device memory for %s: %s (%zu bytes) asked for, %s available on the device: "
                   "%s; see that no other process uses it, or lower memory.device of the deck",
                   name, zi_memory_text(bytes, need, sizeof need), bytes,
                   zi_memory_text(available, has, sizeof has), cudaGetErrorString(error));
}

/* Zeroed memory of device or host. */
static enum zi_status take(struct cuda_device *device, enum zi_tier tier, size_t bytes,
                           const char *name, void **memory)
{
    cudaError_t error = tier == ZI_TIER_HOST ? cudaHostAlloc(memory, bytes, cudaHostAllocPortable)
                                             : cudaMalloc(memory, bytes);
    if (error != cudaSuccess) return refuse(tier, bytes, name, error);
    if (tier == ZI_TIER_HOST) {
        memset(*memory, 0, bytes);
        return ZI_OK;
    }
    CUDA_TRY(cudaMemsetAsync, *memory, 0, bytes, device->service);
    CUDA_TRY(cudaStreamSynchronize, device->service);
    return ZI_OK;
}

static void give_back(enum zi_tier tier, void *memory)
{
    if (tier == ZI_TIER_HOST)
        (void)cudaFreeHost(memory);
    else
        (void)cudaFree(memory);
}

enum zi_status cuda_allocate(struct device *device, enum zi_tier tier, size_t bytes,
                             const char *name, struct device_ptr *memory)
{
    struct cuda_device *d = cuda_device_of(device);
    void *place = NULL;
    ZI_TRY(cuda_enter_device(d));
    struct cuda_memory *m = calloc(1, sizeof *m);
    if (!m) return zi_fail(ZI_ERROR_DEVICE, "cuda", "no memory for the record of %s", name);
    enum zi_status status = take(d, tier, bytes, name, &place);
    if (status >= 0) status = zi_memory_note(bytes, tier, name, &m->mark);
    if (status < 0) {
        give_back(tier, place);
        free(m);
        return status;
    }
    m->address = (uintptr_t)place;
    m->bytes = bytes;
    m->tier = tier;
    pthread_mutex_lock(&d->mutex);
    m->next = d->memories;
    d->memories = m;
    pthread_mutex_unlock(&d->mutex);
    memory->address = m->address;
    return ZI_OK;
}

void cuda_free(struct device *device, enum zi_tier tier, struct device_ptr memory)
{
    struct cuda_device *d = cuda_device_of(device);
    pthread_mutex_lock(&d->mutex);
    struct cuda_memory **link = &d->memories;
    while (*link && (*link)->address != memory.address) {
        link = &(*link)->next;
    }
    struct cuda_memory *m = *link;
    ZI_REQUIRE(m && m->tier == tier); /* what is freed was allocated, there */
    *link = m->next;
    pthread_mutex_unlock(&d->mutex);
    if (cuda_enter_device(d) >= 0) give_back(tier, (void *)m->address);
    zi_memory_forget(m->mark, m->bytes);
    free(m);
}

/* Whether [memory, memory + bytes) is host memory of ours. */
static bool is_pinned(struct cuda_device *device, struct device_ptr memory, size_t bytes)
{
    bool found = false;
    pthread_mutex_lock(&device->mutex);
    for (const struct cuda_memory *m = device->memories; m && !found; m = m->next) {
        size_t offset = memory.address - m->address;
        found = m->tier == ZI_TIER_HOST && offset <= m->bytes && bytes <= m->bytes - offset;
    }
    pthread_mutex_unlock(&device->mutex);
    return found;
}

enum zi_status cuda_map(struct device_stream *stream, struct device_ptr memory, size_t bytes,
                        void **host)
{
    if (!is_pinned(cuda_device_of(stream->device), memory, bytes))
        return zi_fail(ZI_ERROR_DEVICE, "cuda", "the host cannot reach memory of a CUDA device");
    ZI_TRY(cuda_stream_synchronize(stream));
    *host = (void *)memory.address;
    return ZI_OK;
}

void cuda_unmap(struct device_stream *stream, struct device_ptr memory)
{
    (void)stream;
    (void)memory;
}
