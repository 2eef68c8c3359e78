/* SPDX-License-Identifier: Apache-2.0 */
/* Copies, fills, and functions of the host in the order of a stream. */
#include "private.h"

#include <stdlib.h>
#include <string.h>

struct copy {
    void *to;
    const void *from;
    size_t bytes;
    /* Of a fill. */
    int value;
};

static struct operation *operation_make(const char *name, cudaError_t (*run)(void *argument),
                                        const void *argument, size_t bytes)
{
    struct operation *operation = calloc(1, sizeof *operation);
    void *copy = malloc(bytes);
    if (!operation || !copy) abort();
    memcpy(copy, argument, bytes);
    operation->work = (struct emulator_work){.name = name, .run = run, .argument = copy};
    return operation;
}

static void add_range(struct operation *operation, const void *address, size_t bytes, bool writes)
{
    operation->work.ranges[operation->work.range_count++] =
        (struct emulator_range){address, bytes, writes};
}

static cudaError_t run_copy(void *argument)
{
    const struct copy *copy = argument;
    char *to = emulator_alias(copy->to, copy->bytes);
    const char *from = emulator_alias(copy->from, copy->bytes);
    size_t half = copy->bytes / 2;
    uint64_t random = emulator_seed("copy") + operation_now()->number;
    if (!to || !from)
        emulator_fail(EMULATOR_RACE, "memory of a copy was freed before its turn came");
    memcpy(to, from, half);
    random_delay(&random); /* who does not wait sees one half */
    memcpy(to + half, from + half, copy->bytes - half);
    return cudaSuccess;
}

static cudaError_t run_fill(void *argument)
{
    const struct copy *fill = argument;
    void *to = emulator_alias(fill->to, fill->bytes);
    if (!to) emulator_fail(EMULATOR_RACE, "memory of a fill was freed before its turn came");
    memset(to, fill->value, fill->bytes);
    return cudaSuccess;
}

/* Whether an end of a copy is where its kind says; anything will do for cudaMemcpyDefault. */
static bool is_kind(const void *address, enum cudaMemcpyKind kind, enum cudaMemcpyKind one,
                    enum cudaMemcpyKind other)
{
    const struct arena *arena = arena_at(address);
    bool is_device = arena && arena->device >= 0;
    return kind == cudaMemcpyDefault || is_device == (kind == one || kind == other);
}

static void check_copy(const struct copy *copy, enum cudaMemcpyKind kind)
{
    uintptr_t to = (uintptr_t)copy->to, from = (uintptr_t)copy->from;
    runtime_lock();
    if (!is_kind(copy->to, kind, cudaMemcpyHostToDevice, cudaMemcpyDeviceToDevice))
        emulator_fail(EMULATOR_MISUSE, "copy of kind %d to %s", kind, arena_describe(copy->to));
    if (!is_kind(copy->from, kind, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice))
        emulator_fail(EMULATOR_MISUSE, "copy of kind %d from %s", kind, arena_describe(copy->from));
    if (to < from + copy->bytes && from < to + copy->bytes)
        emulator_fail(EMULATOR_MISUSE, "copy of %zu bytes from %p to bytes of its own: %s",
                      copy->bytes, copy->from, arena_describe(copy->to));
    runtime_unlock();
}

/* Whether both are memory of devices. */
static bool is_between_devices(const void *to, const void *from)
{
    runtime_lock();
    const struct arena *one = arena_at(to), *other = arena_at(from);
    bool between = one && other && one->device >= 0 && other->device >= 0;
    runtime_unlock();
    return between;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    static const char *const names[] = {"copy from host to host", "copy to the device",
                                        "copy to the host", "copy on the device", "copy"};
    ENTER(cudaMemcpyAsync);
    if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault)
        return runtime_result(cudaErrorInvalidMemcpyDirection);
    struct copy copy = {.to = to, .from = from, .bytes = bytes};
    if (bytes > 0) check_copy(&copy, kind);
    struct operation *operation = operation_make(names[kind], run_copy, &copy, sizeof copy);
    add_range(operation, from, bytes, false);
    add_range(operation, to, bytes, true);
    operation->any_device = is_between_devices(to, from);
    if (bytes == 0) operation->work.run = NULL;
    return runtime_result(work_give(stream, operation));
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    ENTER(cudaMemsetAsync);
    struct copy fill = {.to = to, .bytes = bytes, .value = value};
    struct operation *operation = operation_make("fill", run_fill, &fill, sizeof fill);
    add_range(operation, to, bytes, true);
    if (bytes == 0) operation->work.run = NULL;
    return runtime_result(work_give(stream, operation));
}

struct host_call {
    cudaHostFn_t function;
    void *data;
};

static cudaError_t run_host(void *argument)
{
    const struct host_call *call = argument;
    call->function(call->data);
    return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data)
{
    ENTER(cudaLaunchHostFunc);
    struct host_call call = {function, data};
    struct operation *operation =
        operation_make("function of the host", run_host, &call, sizeof call);
    operation->is_host = true;
    return runtime_result(work_give(stream, operation));
}
