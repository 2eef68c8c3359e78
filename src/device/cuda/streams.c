/* SPDX-License-Identifier: Apache-2.0 */
/* Streams, events, copies, and the clock that gives the times of events.
 *
 * Waits sleep: an event that blocks is waited for, since CUDA would otherwise keep a core busy that
 * the optimizer on the host needs. CUDA tells the time between two events as a float of
 * milliseconds, which after a day would be good to 8 ms, so the event that times are taken from is
 * renewed every minute. */
#include "config.h"
#include "device/cuda/calls.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/timing.h"

#define CLOCK_RENEW_S 60.0

static enum zi_status make_stream(struct cuda_stream *s)
{
    ZI_TRY(cuda_enter_device(cuda_device_of(s->base.device)));
    CUDA_TRY(cudaStreamCreateWithFlags, &s->stream, cudaStreamNonBlocking);
    CUDA_TRY(cudaEventCreateWithFlags, &s->passed, cudaEventBlockingSync | cudaEventDisableTiming);
    CUDA_TRY(cudaMalloc, &s->partials, CUDA_PARTIALS * sizeof(double));
    return ZI_OK;
}

enum zi_status cuda_stream_create(struct device *device, int threads, struct device_stream **stream)
{
    struct cuda_stream *s = calloc(1, sizeof *s);
    if (!s) return zi_fail(ZI_ERROR_DEVICE, "cuda", "no memory for a stream");
    s->base.device = device;
    s->base.threads = threads;
    enum zi_status status = make_stream(s);
    if (status < 0) {
        cuda_stream_destroy(&s->base);
        return status;
    }
    *stream = &s->base;
    return ZI_OK;
}

void cuda_stream_destroy(struct device_stream *stream)
{
    struct cuda_stream *s = cuda_stream_of(stream);
    if (cuda_enter_device(cuda_device_of(stream->device)) >= 0) {
        if (s->stream && s->passed) (void)cuda_stream_synchronize(stream);
        cuda_products_destroy(s);
#ifdef HAVE_CUDNN
        cuda_cudnn_destroy(s);
#endif
        if (s->partials) (void)cudaFree(s->partials);
        if (s->passed) (void)cudaEventDestroy(s->passed);
        if (s->stream) (void)cudaStreamDestroy(s->stream);
    }
    free(s);
}

enum zi_status cuda_stream_synchronize(struct device_stream *stream)
{
    struct cuda_stream *s = cuda_stream_of(stream);
    ZI_TRY(cuda_enter_device(cuda_device_of(stream->device)));
    CUDA_TRY(cudaEventRecord, s->passed, s->stream);
    CUDA_TRY(cudaEventSynchronize, s->passed);
    return ZI_OK;
}

void *cuda_stream_handle(struct device_stream *stream)
{
    return cuda_enter(stream);
}

enum zi_status cuda_event_create(struct device *device, struct device_event **event)
{
    ZI_TRY(cuda_enter_device(cuda_device_of(device)));
    struct cuda_event *e = calloc(1, sizeof *e);
    if (!e) return zi_fail(ZI_ERROR_DEVICE, "cuda", "no memory for an event");
    e->base.device = device;
    cudaError_t error = cudaEventCreateWithFlags(&e->event, cudaEventBlockingSync);
    if (error != cudaSuccess) {
        free(e);
        return cuda_failed(error, "cudaEventCreateWithFlags");
    }
    *event = &e->base;
    return ZI_OK;
}

static cudaEvent_t event_of(struct device_event *event)
{
    return ((struct cuda_event *)event)->event;
}

void cuda_event_destroy(struct device_event *event)
{
    if (cuda_enter_device(cuda_device_of(event->device)) >= 0)
        (void)cudaEventDestroy(event_of(event));
    free(event);
}

enum zi_status cuda_event_record(struct device_event *event, struct device_stream *stream)
{
    ZI_TRY(cuda_enter_device(cuda_device_of(stream->device)));
    CUDA_TRY(cudaEventRecord, event_of(event), cuda_stream_of(stream)->stream);
    return ZI_OK;
}

enum zi_status cuda_event_wait(struct device_stream *stream, struct device_event *event)
{
    ZI_TRY(cuda_enter_device(cuda_device_of(stream->device)));
    CUDA_TRY(cudaStreamWaitEvent, cuda_stream_of(stream)->stream, event_of(event), 0);
    return ZI_OK;
}

enum zi_status cuda_event_query(struct device_event *event, bool *done)
{
    ZI_TRY(cuda_enter_device(cuda_device_of(event->device)));
    cudaError_t error = cudaEventQuery(event_of(event));
    *done = error == cudaSuccess;
    if (error == cudaSuccess) return ZI_OK;
    if (error == cudaErrorNotReady) {
        (void)cudaGetLastError(); /* else the next kernel would seem to have failed */
        return ZI_OK;
    }
    return cuda_failed(error, "cudaEventQuery");
}

/* Takes times from now on, unless they are already taken from an event of the last minute. */
static enum zi_status renew(struct cuda_device *device)
{
    struct cuda_clock *clock = &device->clock;
    if (clock->base_s > 0 && zi_time_s() - clock->base_s < CLOCK_RENEW_S) return ZI_OK;
    CUDA_TRY(cudaEventRecord, clock->base, device->service);
    CUDA_TRY(cudaEventSynchronize, clock->base);
    clock->base_s = zi_time_s();
    return ZI_OK;
}

/* When an event that is past was. */
static enum zi_status time_of(struct cuda_device *device, cudaEvent_t event, double *time_s)
{
    struct cuda_clock *clock = &device->clock;
    float after_ms = 0;
    cudaError_t error = cudaSuccess;
    pthread_mutex_lock(&clock->mutex);
    enum zi_status status = renew(device);
    if (status >= 0) error = cudaEventElapsedTime(&after_ms, clock->base, event);
    *time_s = clock->base_s + (double)after_ms * 1e-3;
    pthread_mutex_unlock(&clock->mutex);
    if (status < 0) return status;
    return error == cudaSuccess ? ZI_OK : cuda_failed(error, "cudaEventElapsedTime");
}

enum zi_status cuda_event_synchronize(struct device_event *event, double *time_s)
{
    struct cuda_device *device = cuda_device_of(event->device);
    ZI_TRY(cuda_enter_device(device));
    CUDA_TRY(cudaEventSynchronize, event_of(event));
    return time_s ? time_of(device, event_of(event), time_s) : ZI_OK;
}

enum zi_status cuda_copy(struct device_stream *stream, struct device_ptr to, struct device_ptr from,
                         size_t bytes)
{
    ZI_TRY(cuda_enter_device(cuda_device_of(stream->device)));
    if (bytes == 0) return ZI_OK;
    CUDA_TRY(cudaMemcpyAsync, (void *)to.address, (const void *)from.address, bytes,
             cudaMemcpyDefault, cuda_stream_of(stream)->stream);
    return ZI_OK;
}

enum zi_status cuda_clock_start(struct cuda_device *device)
{
    CUDA_TRY(cudaEventCreateWithFlags, &device->clock.base, cudaEventBlockingSync);
    return renew(device);
}

void cuda_clock_stop(struct cuda_device *device)
{
    if (device->clock.base) (void)cudaEventDestroy(device->clock.base);
}
