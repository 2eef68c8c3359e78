/* SPDX-License-Identifier: Apache-2.0 */
/* What the devices are, which one a thread uses, and the names of errors. */
#include "private.h"

#include <stdio.h>
#include <string.h>

enum { VERSION = 13000, OLD_VERSION = 11040, WARP = 32, THREADS = 2048, REGISTERS = 65536 };

static __thread int device;

int device_now(void)
{
    return device;
}

size_t shared_bytes_most(void)
{
    enum { SM_80 = 163 << 10, SM_90 = 227 << 10, NEXT = 90 };
    return settings()->target < NEXT ? SM_80 : SM_90;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    enum driver driver = settings()->driver;
    if (emulator_fails("cudaDriverGetVersion")) return runtime_result(cudaErrorUnknown);
    *version = driver == DRIVER_NONE ? 0 : driver == DRIVER_OLD ? OLD_VERSION : VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    if (emulator_fails("cudaRuntimeGetVersion")) return runtime_result(cudaErrorUnknown);
    *version = VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 0;
    ENTER(cudaGetDeviceCount);
    *count = settings()->devices;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int number)
{
    ENTER(cudaSetDevice);
    if (number < 0 || number >= settings()->devices) return runtime_result(cudaErrorInvalidDevice);
    device = number;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *number)
{
    ENTER(cudaGetDevice);
    *number = device;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int number)
{
    enum { TEN = 10, L2 = 4 << 20, BUS_BITS = 512 };
    ENTER(cudaGetDeviceProperties);
    if (number < 0 || number >= settings()->devices) return runtime_result(cudaErrorInvalidDevice);
    memset(properties, 0, sizeof *properties);
    snprintf(properties->name, sizeof properties->name, "emulated GPU");
    properties->uuid.bytes[0] = (char)(number + 1);
    runtime_lock();
    properties->totalGlobalMem = arena_of(number)->capacity;
    runtime_unlock();
    properties->sharedMemPerBlock = SHARED_BYTES;
    properties->sharedMemPerBlockOptin = shared_bytes_most();
    properties->sharedMemPerMultiprocessor = shared_bytes_most() + 1024;
    properties->regsPerBlock = REGISTERS;
    properties->regsPerMultiprocessor = REGISTERS;
    properties->warpSize = WARP;
    properties->maxThreadsPerBlock = THREADS_MOST;
    properties->maxThreadsPerMultiProcessor = THREADS;
    properties->maxThreadsDim[0] = properties->maxThreadsDim[1] = THREADS_MOST;
    properties->maxThreadsDim[2] = 64;
    properties->maxGridSize[0] = INT32_MAX;
    properties->maxGridSize[1] = properties->maxGridSize[2] = UINT16_MAX;
    properties->major = settings()->target / TEN;
    properties->minor = settings()->target % TEN;
    properties->multiProcessorCount = MULTIPROCESSORS;
    properties->asyncEngineCount = 2;
    properties->concurrentKernels = 1;
    properties->unifiedAddressing = 1;
    properties->canMapHostMemory = 1;
    properties->l2CacheSize = L2;
    properties->memoryBusWidth = BUS_BITS;
    properties->pciBusID = number + 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int number)
{
    ENTER(cudaDeviceGetAttribute);
    struct cudaDeviceProp properties;
    cudaError_t error = cudaGetDeviceProperties(&properties, number);
    if (error != cudaSuccess) return error;
    const struct {
        enum cudaDeviceAttr attribute;
        int value;
    } known[] = {
        {cudaDevAttrComputeCapabilityMajor, properties.major},
        {cudaDevAttrComputeCapabilityMinor, properties.minor},
        {cudaDevAttrMultiProcessorCount, properties.multiProcessorCount},
        {cudaDevAttrWarpSize, properties.warpSize},
        {cudaDevAttrMaxThreadsPerBlock, properties.maxThreadsPerBlock},
        {cudaDevAttrMaxThreadsPerMultiProcessor, properties.maxThreadsPerMultiProcessor},
        {cudaDevAttrMaxSharedMemoryPerBlock, (int)properties.sharedMemPerBlock},
        {cudaDevAttrMaxSharedMemoryPerBlockOptin, (int)properties.sharedMemPerBlockOptin},
        {cudaDevAttrMaxSharedMemoryPerMultiprocessor, (int)properties.sharedMemPerMultiprocessor},
        {cudaDevAttrL2CacheSize, properties.l2CacheSize},
        {cudaDevAttrAsyncEngineCount, properties.asyncEngineCount},
        {cudaDevAttrUnifiedAddressing, properties.unifiedAddressing},
        {cudaDevAttrPciBusId, properties.pciBusID},
        {cudaDevAttrPciDeviceId, 0},
        {cudaDevAttrPciDomainId, 0},
        /* of the memory, in kHz, and of the bus in bits */
        {cudaDevAttrMemoryClockRate, 1000000},
        {cudaDevAttrGlobalMemoryBusWidth, properties.memoryBusWidth},
        {cudaDevAttrClockRate, 1000000},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].attribute == attribute) {
            *value = known[i].value;
            return cudaSuccess;
        }
    emulator_fail(EMULATOR_MISUSE, "cudaDeviceGetAttribute: attribute %d is unknown here",
                  attribute);
}

static const struct {
    cudaError_t error;
    const char *name, *text;
} errors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
     "invalid configuration argument"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection",
     "invalid copy direction for memcpy"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction", "invalid device function"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorNoKernelImageForDevice, "cudaErrorNoKernelImageForDevice",
     "no kernel image is available for execution on the device"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress",
     "an illegal memory access was encountered"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};

const char *cudaGetErrorName(cudaError_t error)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].error == error) return errors[i].name;
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].error == error) return errors[i].text;
    return "unrecognized error code";
}
