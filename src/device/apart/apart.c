/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of the apart device, and its table.
 *
 * The problem: a program that touches device memory from the host works on the cpu and fails on
 * every other device, so a test has to see it on a machine that has none.
 *
 * The idea: an allocation is two ranges of addresses. Callers get one that is reserved and can
 * neither be read nor written, at any time; work of the device is done on the other, which nobody
 * is told but by device_map. So a host access faults whatever the streams do at that moment, and no
 * protection has to be changed while threads run. Operations refuse host memory, which a device's
 * kernels would reach slowly or not at all; copies take both. */
#include "device/apart/private.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"

static enum apart_schedule next_schedule;
static uint64_t next_seed;

bool apart_reach(struct apart_device *device, struct device_ptr *pointer)
{
    bool found = false;
    pthread_mutex_lock(&device->mutex);
    for (const struct apart_memory *m = device->memories; m && !found; m = m->next) {
        found = pointer->address - m->address < m->bytes;
        if (found) pointer->address = (uintptr_t)(m->alias + (pointer->address - m->address));
    }
    pthread_mutex_unlock(&device->mutex);
    return found;
}

/* A page more than is asked for keeps ranges apart: what runs past one is in none. */
static size_t reserved_bytes(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page + page;
}

static enum zi_status reserve(struct apart_memory *m, size_t bytes, const char *name)
{
    void *alias;
    void *range = mmap(NULL, reserved_bytes(bytes), PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) return zi_fail(ZI_ERROR_DEVICE, "apart", "no addresses for %s", name);
    enum zi_status status = zi_memory_allocate(bytes, ZI_TIER_DEVICE, name, &alias);
    if (status < 0) {
        munmap(range, reserved_bytes(bytes));
        return status;
    }
    m->address = (uintptr_t)range;
    m->bytes = bytes;
    m->alias = alias;
    return ZI_OK;
}

static enum zi_status apart_allocate(struct device *device, enum zi_tier tier, size_t bytes,
                                     const char *name, struct device_ptr *memory)
{
    struct apart_device *d = apart_device_of(device);
    if (tier != ZI_TIER_DEVICE) return device_allocate(d->cpu, tier, bytes, name, memory);
    struct apart_memory *m = calloc(1, sizeof *m);
    enum zi_status status = m ? reserve(m, bytes, name) : ZI_ERROR_DEVICE;
    if (status < 0) {
        free(m);
        return status;
    }
    pthread_mutex_lock(&d->mutex);
    m->next = d->memories;
    d->memories = m;
    pthread_mutex_unlock(&d->mutex);
    memory->address = m->address;
    return ZI_OK;
}

static void apart_free(struct device *device, enum zi_tier tier, struct device_ptr memory)
{
    struct apart_device *d = apart_device_of(device);
    if (tier != ZI_TIER_DEVICE) {
        device_free(d->cpu, tier, memory);
        return;
    }
    pthread_mutex_lock(&d->mutex);
    struct apart_memory **link = &d->memories;
    while (*link && (*link)->address != memory.address) {
        link = &(*link)->next;
    }
    struct apart_memory *m = *link;
    ZI_REQUIRE(m); /* what is freed was allocated */
    *link = m->next;
    pthread_mutex_unlock(&d->mutex);
    munmap((void *)m->address, reserved_bytes(m->bytes));
    zi_memory_free(m->alias);
    free(m);
}

static enum zi_status apart_map(struct device_stream *stream, struct device_ptr memory,
                                size_t bytes, void **host)
{
    struct apart_device *d = apart_device_of(stream->device);
    struct device_ptr last = device_at(memory, bytes > 0 ? bytes - 1 : 0);
    ZI_TRY(apart_stream_synchronize(stream));
    ZI_REQUIRE(apart_reach(d, &memory) == apart_reach(d, &last));
    pthread_mutex_lock(&d->mutex);
    d->mapped++;
    pthread_mutex_unlock(&d->mutex);
    *host = (void *)memory.address;
    return ZI_OK;
}

static void apart_unmap(struct device_stream *stream, struct device_ptr memory)
{
    struct apart_device *d = apart_device_of(stream->device);
    (void)memory;
    pthread_mutex_lock(&d->mutex);
    d->mapped--;
    pthread_mutex_unlock(&d->mutex);
}

static enum zi_status run_copy(const struct device_operations *operations,
                               struct device_stream *stream, const struct apart_call *call)
{
    (void)operations;
    return device_copy(stream, call->at[0], call->at[1], (size_t)call->size[0]);
}

static enum zi_status apart_copy(struct device_stream *stream, struct device_ptr to,
                                 struct device_ptr from, size_t bytes)
{
    struct apart_call call = {.run = run_copy, .at = {to, from}, .size = {(int64_t)bytes}};
    (void)apart_reach(apart_device_of(stream->device), &call.at[0]);
    (void)apart_reach(apart_device_of(stream->device), &call.at[1]);
    return apart_stream_give(stream, &call);
}

static enum zi_status apart_measure_peak(struct device_stream *stream, enum zi_dtype type,
                                         double seconds, struct device_peak *peak)
{
    ZI_TRY(apart_stream_synchronize(stream));
    return device_measure_peak(apart_stream_cpu(stream), type, seconds, peak);
}

static void apart_close(struct device *device)
{
    struct apart_device *d = apart_device_of(device);
    ZI_REQUIRE(!d->memories && d->mapped == 0); /* all has been given back */
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->mutex);
    device_close(d->cpu);
    free(d);
}

static const struct device_table table = {
    .close = apart_close,
    .allocate = apart_allocate,
    .free = apart_free,
    .map = apart_map,
    .unmap = apart_unmap,
    .stream_create = apart_stream_create,
    .stream_destroy = apart_stream_destroy,
    .stream_synchronize = apart_stream_synchronize,
    .event_create = apart_event_create,
    .event_destroy = apart_event_destroy,
    .event_record = apart_event_record,
    .event_wait = apart_event_wait,
    .event_query = apart_event_query,
    .event_synchronize = apart_event_synchronize,
    .copy = apart_copy,
    .measure_peak = apart_measure_peak,
};

/* What it has of the cpu device's properties, and what it has not. */
static struct device_properties properties_from(struct device_properties cpu)
{
    struct device_properties p = cpu;
    snprintf(p.name, sizeof p.name, "apart, %.80s", cpu.name);
    p.is_host = p.unified = false;
    p.asynchronous = true;
    return p;
}

static enum zi_status apart_describe(const struct settings_device *settings,
                                     struct device_share share,
                                     struct device_properties *properties)
{
    ZI_TRY(cpu_device_backend.describe(settings, share, properties));
    *properties = properties_from(*properties);
    return ZI_OK;
}

static enum zi_status apart_open(const struct settings_device *settings, struct device_share share,
                                 struct device **device)
{
    struct apart_device *d = calloc(1, sizeof *d);
    if (!d) return zi_fail(ZI_ERROR_DEVICE, "apart", "no memory for the device");
    enum zi_status status = cpu_device_backend.open(settings, share, &d->cpu);
    if (status < 0) {
        free(d);
        return status;
    }
    d->base.table = &table;
    d->base.properties = properties_from(d->cpu->properties);
    d->schedule = next_schedule;
    d->seed = next_seed;
    apart_calls_register(&d->base.operations);
    pthread_mutex_init(&d->mutex, NULL);
    pthread_cond_init(&d->changed, NULL);
    *device = &d->base;
    return ZI_OK;
}

static const struct device_backend backend = {.describe = apart_describe, .open = apart_open};

void apart_device_use(enum apart_schedule schedule, uint64_t seed)
{
    next_schedule = schedule;
    next_seed = seed;
    device_register(DEVICE_CUDA, &backend);
}

void apart_device_withdraw(void)
{
    device_register(DEVICE_CUDA, NULL);
}
