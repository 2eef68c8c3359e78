/* SPDX-License-Identifier: Apache-2.0 */
/* Events: places in the order of a stream. One that was never recorded holds nothing back. */
#include "private.h"

#include <stdlib.h>

/* Destroyed events that are kept, so that one that is used again is found. */
enum { KEPT = 4096, ALIVE = 0x45766e74, DESTROYED = 0x44656164 };

struct CUevent_st {
    uint32_t magic;
    int device;
    unsigned flags;
    /* point.number 0: never recorded. */
    struct point point;
    /* NULL: never recorded, or without times. */
    struct stamp *stamp;
};

static struct CUevent_st *kept[KEPT];
static int next_kept, alive;

int events_alive(void)
{
    return alive;
}

void stamp_release(struct stamp *stamp)
{
    if (stamp && --stamp->references == 0) free(stamp);
}

static struct CUevent_st *event_of(cudaEvent_t event, const char *what)
{
    if (!event || event->magic != ALIVE)
        emulator_fail(EMULATOR_MISUSE, "%s: %p is no event, or has been destroyed", what,
                      (void *)event);
    return event;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *handle, unsigned flags)
{
    ENTER(cudaEventCreateWithFlags);
    if (flags & ~(unsigned)(cudaEventBlockingSync | cudaEventDisableTiming))
        return runtime_result(cudaErrorInvalidValue);
    struct CUevent_st *event = calloc(1, sizeof *event);
    if (!event) abort();
    event->magic = ALIVE;
    event->device = device_now();
    event->flags = flags;
    runtime_lock();
    alive++;
    runtime_unlock();
    *handle = event;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t handle)
{
    ENTER(cudaEventDestroy);
    runtime_lock();
    struct CUevent_st *event = event_of(handle, "cudaEventDestroy");
    event->magic = DESTROYED;
    stamp_release(event->stamp);
    free(kept[next_kept]);
    kept[next_kept] = event;
    next_kept = (next_kept + 1) % KEPT;
    alive--;
    runtime_unlock();
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream_handle)
{
    ENTER(cudaEventRecord);
    runtime_lock();
    struct CUevent_st *event = event_of(handle, "cudaEventRecord");
    struct CUstream_st *stream = stream_of(stream_handle, "cudaEventRecord");
    bool same = event->device == stream->device;
    if (same) {
        struct operation *operation = calloc(1, sizeof *operation);
        struct stamp *stamp = calloc(1, sizeof *stamp);
        if (!operation || !stamp) abort();
        operation->work.name = "cudaEventRecord";
        operation->stamp = stamp;
        stamp->references = 2;
        stamp_release(event->stamp);
        event->stamp = stamp;
        stream_give(stream, operation);
        stream_point(stream, &event->point);
    }
    runtime_unlock();
    return runtime_result(same ? cudaSuccess : cudaErrorInvalidResourceHandle);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream_handle, cudaEvent_t handle, unsigned flags)
{
    ENTER(cudaStreamWaitEvent);
    if (flags != cudaEventWaitDefault) return runtime_result(cudaErrorInvalidValue);
    runtime_lock();
    struct CUstream_st *stream = stream_of(stream_handle, "cudaStreamWaitEvent");
    const struct CUevent_st *event = event_of(handle, "cudaStreamWaitEvent");
    if (event->point.number > 0) {
        struct operation *operation = calloc(1, sizeof *operation);
        if (!operation) abort();
        operation->work.name = "cudaStreamWaitEvent";
        operation->wait = event->point;
        stream_give(stream, operation);
    }
    runtime_unlock();
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t handle)
{
    ENTER(cudaEventQuery);
    runtime_lock();
    const struct CUevent_st *event = event_of(handle, "cudaEventQuery");
    bool done = point_query(&event->point);
    cudaError_t error = device_error(event->device);
    runtime_unlock();
    return runtime_result(error != cudaSuccess ? error : done ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle)
{
    ENTER(cudaEventSynchronize);
    runtime_lock();
    /* The event may be recorded again, or destroyed, meanwhile. */
    const struct CUevent_st *event = event_of(handle, "cudaEventSynchronize");
    struct point point = event->point;
    int device = event->device;
    point_wait(&point);
    cudaError_t error = device_error(device);
    runtime_unlock();
    return runtime_result(error);
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start_handle, cudaEvent_t end_handle)
{
    ENTER(cudaEventElapsedTime);
    runtime_lock();
    const struct CUevent_st *start = event_of(start_handle, "cudaEventElapsedTime");
    const struct CUevent_st *end = event_of(end_handle, "cudaEventElapsedTime");
    cudaError_t error = cudaSuccess;
    if (!start->stamp || !end->stamp || start->device != end->device ||
        ((start->flags | end->flags) & cudaEventDisableTiming))
        error = cudaErrorInvalidResourceHandle;
    else if (!point_done(&start->point) || !point_done(&end->point))
        error = cudaErrorNotReady;
    else
        *ms = (float)((end->stamp->time_s - start->stamp->time_s) * 1e3);
    runtime_unlock();
    return runtime_result(error);
}
