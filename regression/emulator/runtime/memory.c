/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of the devices and pinned memory.
 *
 * Each device has an arena of its own and the process one of pinned memory, each a file in memory
 * that is mapped twice: where the program sees it, and where the emulation works on it. The
 * program's side of a device is out of reach for good; that of pinned memory is open where there are
 * allocations, but for pages in flight. Allocations go to the first gap that is large enough, so
 * memory can be fragmented as well as full. New memory holds 0xFF (NaN in all formats), freed memory
 * 0xFB, and a red zone behind each allocation is looked at when it is freed. */
#include "private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { RED_ZONE = 256, FRESH = 0xff, FREED = 0xfb, RED = 0xa5 };

/* The last is pinned. */
static struct arena arenas[DEVICES_MOST + 1];

static void arena_start(struct arena *arena, int device, size_t capacity)
{
    capacity = (capacity + PAGE - 1) / PAGE * PAGE;
    int file = memfd_create("emulator", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, (off_t)capacity) != 0)
        emulator_fail(EMULATOR_MISUSE, "no memory of %zu bytes for device %d", capacity, device);
    void *alias = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
    void *user = mmap(NULL, capacity, PROT_NONE, MAP_SHARED | MAP_NORESERVE, file, 0);
    close(file);
    if (alias == MAP_FAILED || user == MAP_FAILED)
        emulator_fail(EMULATOR_MISUSE, "no addresses for %zu bytes of device %d", capacity, device);
    *arena = (struct arena){.user = user, .alias = alias, .capacity = capacity, .device = device};
}

struct arena *arena_of(int device)
{
    struct arena *arena = &arenas[device < 0 ? DEVICES_MOST : device];
    if (!arena->user)
        arena_start(arena, device, device < 0 ? settings()->pinned : settings()->memory);
    return arena;
}

struct arena *arena_at(const void *address)
{
    for (int i = 0; i <= DEVICES_MOST; i++) {
        struct arena *arena = &arenas[i];
        if (arena->user && (uintptr_t)address - (uintptr_t)arena->user < arena->capacity)
            return arena;
    }
    return NULL;
}

void arena_each(void (*visit)(struct arena *arena, void *context), void *context)
{
    for (int i = 0; i <= DEVICES_MOST; i++)
        if (arenas[i].user) visit(&arenas[i], context);
}

void *arena_alias(const struct arena *arena, const void *address)
{
    return arena->alias + ((uintptr_t)address - (uintptr_t)arena->user);
}

/* The number of allocations that begin at or before the address. */
static int rank_of(const struct arena *arena, uintptr_t address)
{
    int low = 0, high = arena->count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (arena->allocations[middle].first <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct allocation *arena_find(const struct arena *arena, const void *address, size_t bytes)
{
    int rank = rank_of(arena, (uintptr_t)address);
    if (rank == 0) return NULL;
    struct allocation *allocation = &arena->allocations[rank - 1];
    size_t offset = (uintptr_t)address - allocation->first;
    bool inside = offset < allocation->bytes && bytes <= allocation->bytes - offset;
    return inside ? allocation : NULL;
}

const char *arena_describe(const void *address)
{
    enum { ROOM = 200, PLACE = 32 };
    static char text[ROOM];
    char place[PLACE] = "pinned memory";
    const struct arena *arena = arena_at(address);
    if (!arena) {
        snprintf(text, sizeof text, "%p, pageable memory or none", address);
        return text;
    }
    if (arena->device >= 0) snprintf(place, sizeof place, "device %d", arena->device);
    int rank = rank_of(arena, (uintptr_t)address);
    const struct allocation *before = rank > 0 ? &arena->allocations[rank - 1] : NULL;
    if (!before)
        snprintf(text, sizeof text, "%p, before all allocations of %s", address, place);
    else
        snprintf(text, sizeof text, "%p, offset %zu%s the allocation of %zu bytes at %p of %s",
                 address, (size_t)((uintptr_t)address - before->first),
                 (uintptr_t)address - before->first < before->bytes ? " in" : ", beyond",
                 before->bytes, (const void *)before->first, place);
    return text;
}

/* Puts an allocation into its place of the sorted list. */
static struct allocation *insert(struct arena *arena, int rank, struct allocation allocation)
{
    if (arena->count == arena->room) {
        arena->room = 2 * arena->room + 64;
        arena->allocations =
            realloc(arena->allocations, (size_t)arena->room * sizeof *arena->allocations);
        if (!arena->allocations) abort();
    }
    struct allocation *place = arena->allocations + rank;
    memmove(place + 1, place, (size_t)(arena->count - rank) * sizeof *place);
    *place = allocation;
    arena->count++;
    arena->used += allocation.span;
    return place;
}

/* The first gap of the arena that is large enough. NULL: there is none. */
static struct allocation *arena_allocate(struct arena *arena, size_t bytes)
{
    size_t unit = arena->device < 0 ? PAGE : RED_ZONE;
    if (bytes == 0 || bytes > arena->capacity) return NULL;
    size_t span = (bytes + RED_ZONE + unit - 1) / unit * unit;
    uintptr_t at = (uintptr_t)arena->user;
    int rank = 0;
    for (; rank < arena->count && arena->allocations[rank].first - at < span; rank++)
        at = arena->allocations[rank].first + arena->allocations[rank].span;
    if (at + span > (uintptr_t)arena->user + arena->capacity) return NULL;
    uint8_t *memory = arena_alias(arena, (const void *)at);
    memset(memory, FRESH, bytes);
    memset(memory + bytes, RED, span - bytes);
    return insert(
        arena, rank,
        (struct allocation){.first = at, .bytes = bytes, .span = span, .born = operations_given()});
}

/* Operations that are not done must not know memory that is freed. */
static void check_pending(const struct operation *operation, void *context)
{
    const struct allocation *freed = context;
    for (int i = 0; i < operation->work.range_count; i++) {
        const struct emulator_range *range = &operation->work.ranges[i];
        if ((uintptr_t)range->address - freed->first < freed->bytes)
            emulator_fail(EMULATOR_RACE,
                          "memory is freed while %s of stream %u, which uses it, is not done: %s",
                          operation->mark.name, operation->mark.slot,
                          arena_describe(range->address));
    }
}

static void check_red_zone(const struct arena *arena, const struct allocation *allocation)
{
    const uint8_t *memory = arena_alias(arena, (const void *)allocation->first);
    for (size_t i = allocation->bytes; i < allocation->span; i++)
        if (memory[i] != RED)
            emulator_fail(EMULATOR_MISUSE, "something has written beyond its memory: %s",
                          arena_describe((const void *)(allocation->first + i)));
}

static void arena_free(struct arena *arena, void *memory, const char *function)
{
    if (arena != arena_at(memory))
        emulator_fail(EMULATOR_MISUSE, "%s of what is no memory of its kind: %s", function,
                      arena_describe(memory));
    struct allocation *allocation = arena_find(arena, memory, 1);
    if (!allocation || allocation->first != (uintptr_t)memory)
        emulator_fail(EMULATOR_MISUSE, "%s of what is no allocation, or has been freed: %s",
                      function, arena_describe(memory));
    operations_each(check_pending, allocation);
    history_free(arena, memory, allocation->bytes);
    check_red_zone(arena, allocation);
    memset(arena_alias(arena, memory), FREED, allocation->bytes);
    if (arena->device < 0) guards_open(arena, memory, allocation->bytes, false);
    arena->used -= allocation->span;
    int rank = (int)(allocation - arena->allocations);
    arena->count--;
    memmove(allocation, allocation + 1, (size_t)(arena->count - rank) * sizeof *allocation);
}

cudaError_t cudaMalloc(void **memory, size_t bytes)
{
    ENTER(cudaMalloc);
    *memory = NULL;
    runtime_lock();
    struct allocation *allocation = arena_allocate(arena_of(device_now()), bytes);
    if (allocation) *memory = (void *)allocation->first;
    runtime_unlock();
    return runtime_result(allocation || bytes == 0 ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void *memory)
{
    ENTER(cudaFree);
    if (!memory) return cudaSuccess;
    runtime_lock();
    struct arena *arena = arena_at(memory);
    if (!arena || arena->device < 0)
        emulator_fail(EMULATOR_MISUSE, "cudaFree of what is no memory of a device: %s",
                      arena_describe(memory));
    arena_free(arena, memory, "cudaFree");
    runtime_unlock();
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned flags)
{
    ENTER(cudaHostAlloc);
    if (flags & ~(unsigned)(cudaHostAllocPortable | cudaHostAllocMapped))
        emulator_fail(EMULATOR_MISUSE, "cudaHostAlloc: flags %u are unknown here", flags);
    *memory = NULL;
    runtime_lock();
    struct arena *arena = arena_of(-1);
    struct allocation *allocation = arena_allocate(arena, bytes);
    if (allocation) {
        *memory = (void *)allocation->first;
        guards_open(arena, *memory, bytes, true);
    }
    runtime_unlock();
    return runtime_result(allocation || bytes == 0 ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void *memory)
{
    ENTER(cudaFreeHost);
    if (!memory) return cudaSuccess;
    runtime_lock();
    arena_free(arena_of(-1), memory, "cudaFreeHost");
    runtime_unlock();
    return cudaSuccess;
}

cudaError_t cudaHostRegister(void *memory, size_t bytes, unsigned flags)
{
    (void)flags;
    emulator_fail(
        EMULATOR_MISUSE,
        "cudaHostRegister(%p, %zu): memory of others cannot be guarded; use cudaHostAlloc", memory,
        bytes);
}

cudaError_t cudaHostUnregister(void *memory)
{
    emulator_fail(EMULATOR_MISUSE, "cudaHostUnregister(%p): nothing is registered", memory);
}

cudaError_t cudaMemGetInfo(size_t *left, size_t *all)
{
    ENTER(cudaMemGetInfo);
    runtime_lock();
    const struct arena *arena = arena_of(device_now());
    *left = arena->capacity - arena->used;
    *all = arena->capacity;
    runtime_unlock();
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *address)
{
    ENTER(cudaPointerGetAttributes);
    runtime_lock();
    memset(attributes, 0, sizeof *attributes);
    const struct arena *arena = arena_at(address);
    if (arena && !arena_find(arena, address, 1)) arena = NULL;
    attributes->type = !arena              ? cudaMemoryTypeUnregistered
                       : arena->device < 0 ? cudaMemoryTypeHost
                                           : cudaMemoryTypeDevice;
    attributes->device = !arena ? cudaInvalidDeviceId : arena->device < 0 ? 0 : arena->device;
    if (arena) attributes->devicePointer = (void *)(uintptr_t)address;
    if (!arena || arena->device < 0) attributes->hostPointer = (void *)(uintptr_t)address;
    runtime_unlock();
    return cudaSuccess;
}

void *emulator_alias(const void *address, size_t bytes)
{
    const struct operation *operation = operation_now();
    runtime_lock();
    const struct arena *arena = arena_at(address);
    const struct allocation *allocation = arena ? arena_find(arena, address, bytes) : NULL;
    if (allocation && operation) {
        if (arena->device >= 0 && arena->device != operation->device && !operation->any_device)
            emulator_fail(EMULATOR_MISUSE, "%s on device %d touches memory of another: %s",
                          operation->mark.name, operation->device, arena_describe(address));
        /* Memory that was made after the operation was given cannot be what it was given. */
        if (allocation->born >= operation->number) allocation = NULL;
    }
    void *alias = allocation ? arena_alias(arena, address) : NULL;
    runtime_unlock();
    return alias;
}
