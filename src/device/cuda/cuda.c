/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a CUDA device, and what the module of them exports.
 *
 * A rank has the device of its number among the ranks of its node. Where a launcher shows each rank
 * one device of its own that is the first; where several ranks see fewer devices than they are, two
 * would share one, which NCCL refuses and which would only be slow: it is refused here. */
#include "config.h"
#include "device/cuda/calls.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

enum zi_status cuda_failed(cudaError_t error, const char *call)
{
    (void)cudaGetLastError(); /* an error that was reported is not found again by the next call */
    return zi_fail(ZI_ERROR_DEVICE, "cuda", "%s: %s (%s)", call, cudaGetErrorString(error),
                   cudaGetErrorName(error));
}

enum zi_status cuda_launched(const char *operation)
{
    cudaError_t error = cudaGetLastError();
    return error == cudaSuccess ? ZI_OK : cuda_failed(error, operation);
}

enum zi_status cuda_enter_device(struct cuda_device *device)
{
    static _Thread_local int current = -1;
    if (current == device->ordinal) return ZI_OK;
    CUDA_TRY(cudaSetDevice, device->ordinal);
    current = device->ordinal;
    return ZI_OK;
}

cudaStream_t cuda_enter(struct device_stream *stream)
{
    if (cuda_enter_device(cuda_device_of(stream->device)) < 0) return NULL;
    return cuda_stream_of(stream)->stream;
}

/* Why there is no device to be had, for `error` of the first call. */
static enum zi_status refuse(cudaError_t error)
{
    int driver = 0, runtime = 0;
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    (void)cudaGetLastError();
    if (driver == 0)
        return zi_fail(ZI_ERROR_DEVICE, "cuda",
                       "device.type: cuda: this node has no NVIDIA driver: run on a node with a "
                       "GPU (sbatch --gpus-per-task=1), or use device.type: cpu");
    if (error == cudaErrorInsufficientDriver)
        return zi_fail(ZI_ERROR_DEVICE, "cuda",
                       "device.type: cuda: the NVIDIA driver of this node is too old: it is for "
                       "CUDA %d.%d, and this zinf was built with CUDA %d.%d: build zinf with an "
                       "older toolkit, or ask for a newer driver",
                       driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    if (error == cudaSuccess || error == cudaErrorNoDevice)
        return zi_fail(ZI_ERROR_DEVICE, "cuda",
                       "device.type: cuda: the driver shows this process no device "
                       "(CUDA_VISIBLE_DEVICES is %s%s%s): ask the job for GPUs, as sbatch "
                       "--gpus-per-task=1",
                       visible ? "\"" : "", visible ? visible : "not set", visible ? "\"" : "");
    return cuda_failed(error, "cudaGetDeviceCount");
}

/* Which device the rank has. */
static enum zi_status choose(struct device_share share, int *ordinal)
{
    int count = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess || count == 0) return refuse(error);
    if (count > 1 && share.ranks > count)
        return zi_fail(ZI_ERROR_USAGE, "cuda",
                       "device.type: cuda: %d ranks on this node share %d devices: start one rank "
                       "per device",
                       share.ranks, count);
    *ordinal = share.rank % count;
    return ZI_OK;
}

static enum zi_status describe_one(const struct settings_device *settings,
                                   struct device_share share, int ordinal,
                                   struct device_properties *properties)
{
    struct device_properties host;
    struct cudaDeviceProp found;
    ZI_TRY(cpu_device_backend.describe(settings, share, &host));
    CUDA_TRY(cudaGetDeviceProperties, &found, ordinal);
    *properties = (struct device_properties){
        .memory_bytes = found.totalGlobalMem,
        .asynchronous = true,
        .bf16_native = found.major >= 8,
        .threads = host.threads,
    };
    snprintf(properties->name, sizeof properties->name, "%.64s, sm_%d%d", found.name, found.major,
             found.minor);
    return ZI_OK;
}

static void cuda_close(struct device *device)
{
    struct cuda_device *d = cuda_device_of(device);
    ZI_REQUIRE(!d->memories); /* all has been given back */
    if (cuda_enter_device(d) >= 0) {
        cuda_clock_stop(d);
        if (d->service) (void)cudaStreamDestroy(d->service);
    }
    pthread_mutex_destroy(&d->clock.mutex);
    pthread_mutex_destroy(&d->mutex);
    free(d);
}

static const struct device_table table = {
    .close = cuda_close,
    .allocate = cuda_allocate,
    .free = cuda_free,
    .map = cuda_map,
    .unmap = cuda_unmap,
    .stream_create = cuda_stream_create,
    .stream_destroy = cuda_stream_destroy,
    .stream_synchronize = cuda_stream_synchronize,
    .stream_handle = cuda_stream_handle,
    .event_create = cuda_event_create,
    .event_destroy = cuda_event_destroy,
    .event_record = cuda_event_record,
    .event_wait = cuda_event_wait,
    .event_query = cuda_event_query,
    .event_synchronize = cuda_event_synchronize,
    .copy = cuda_copy,
    .measure_peak = cuda_measure_peak,
};

static void register_operations(const struct settings_device *settings,
                                struct device_operations *operations)
{
    operations->matmul = cuda_matmul;
#define REGISTER(family) cuda_##family##_register(operations);
    CUDA_FAMILIES(REGISTER)
#undef REGISTER
#ifdef HAVE_CUDNN
    if (settings->attention == ZI_AUTO) cuda_cudnn_register(operations);
#else
    (void)settings;
#endif
}

/* What a device needs before it can be used. */
static enum zi_status start(struct cuda_device *device)
{
    ZI_TRY(cuda_enter_device(device));
    CUDA_TRY(cudaStreamCreateWithFlags, &device->service, cudaStreamNonBlocking);
    return cuda_clock_start(device);
}

static enum zi_status cuda_open(const struct settings_device *settings, struct device_share share,
                                struct device **device)
{
    int ordinal = 0;
    struct device_properties properties;
    ZI_TRY(choose(share, &ordinal));
    ZI_TRY(describe_one(settings, share, ordinal, &properties));
    struct cuda_device *d = calloc(1, sizeof *d);
    if (!d) return zi_fail(ZI_ERROR_DEVICE, "cuda", "no memory for the device");
    d->base.table = &table;
    d->base.properties = properties;
    d->ordinal = ordinal;
    register_operations(settings, &d->base.operations);
    pthread_mutex_init(&d->mutex, NULL);
    pthread_mutex_init(&d->clock.mutex, NULL);
    enum zi_status status = start(d);
    if (status < 0) {
        cuda_close(&d->base);
        return status;
    }
    *device = &d->base;
    return ZI_OK;
}

static const struct device_backend backend = {.open = cuda_open};

extern const struct device_module zinf_module;
const struct device_module zinf_module = {.version = PACKAGE_VERSION, .backend = &backend};
