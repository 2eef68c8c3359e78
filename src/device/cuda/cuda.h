/* SPDX-License-Identifier: Apache-2.0 */
/* Private to device/cuda: the device itself, and what its files share. Seen from C and from CUDA C++.
 *
 * All work goes to explicit streams that do not wait for the default stream. Every operation is
 * enqueued in the thread of its caller, after cuda_enter has made the stream's device that thread's.
 * No kernel uses atomics on floating-point numbers: results are the same from call to call. */
#ifndef ZI_DEVICE_CUDA_CUDA_H
#define ZI_DEVICE_CUDA_CUDA_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

#include <pthread.h>

#include "device/table.h"

/* Partial sums that a stream has room for, in 8-byte words: two per block of a reduction. */
enum { CUDA_PARTIALS = 4096 };

struct cuda_memory;
struct cuda_attention;
struct cuda_products;

/* Relates times of the device to those of the host: what zi_time_s was at an event. */
struct cuda_clock {
    pthread_mutex_t mutex;
    cudaEvent_t base;
    double base_s;
};

struct cuda_device {
    struct device base;
    /* CUDA's number of it, in this process. */
    int ordinal;
    /* Of the device's own work: clearing memory, measuring time. */
    cudaStream_t service;
    struct cuda_clock clock;
    /* All that is allocated, under the mutex. */
    pthread_mutex_t mutex;
    struct cuda_memory *memories;
};

struct cuda_stream {
    struct device_stream base;
    cudaStream_t stream;
    /* For waiting asleep until the stream is empty. */
    cudaEvent_t passed;
    /* Of the stream's operations alone: CUDA_PARTIALS words of 8 bytes on the device. */
    void *partials;
    /* Made with the first product. */
    struct cuda_products *products;
    /* Made with the first attention that cuDNN is asked for; see attention_cudnn.cpp. */
    struct cuda_attention *attention;
};

struct cuda_event {
    struct device_event base;
    cudaEvent_t event;
};

/* Local. The whole of a device that is known to be a cuda device. */
static inline struct cuda_device *cuda_device_of(struct device *device)
{
    return (struct cuda_device *)device;
}

/* Local. The whole of a stream that is known to be a cuda stream. */
static inline struct cuda_stream *cuda_stream_of(struct device_stream *stream)
{
    return (struct cuda_stream *)stream;
}

/* Local. Makes the device the calling thread's: CUDA has a current device per thread, and without a
 * word it is the first. */
enum zi_status cuda_enter_device(struct cuda_device *device);

/* Local. The CUDA stream behind `stream`, after making its device the calling thread's. Logs and
 * gives NULL when that fails. */
cudaStream_t cuda_enter(struct device_stream *stream);

/* Local. Logs `call` and what CUDA says of its error; gives ZI_ERROR_DEVICE. */
enum zi_status cuda_failed(cudaError_t error, const char *call);

/* Local. The status of the kernels that this thread has launched since it asked last. */
enum zi_status cuda_launched(const char *operation);

/* Returns from the calling function with ZI_ERROR_DEVICE when the CUDA function does not succeed. */
#define CUDA_TRY(function, ...)                                                                    \
    do {                                                                                           \
        cudaError_t cuda_error_ = function(__VA_ARGS__);                                           \
        if (cuda_error_ != cudaSuccess) return cuda_failed(cuda_error_, #function);                \
    } while (0)

/* The files of kernels, each a family of operations. */
#define CUDA_FAMILIES(FAMILY)                                                                      \
    FAMILY(convert)                                                                                \
    FAMILY(elementwise)                                                                            \
    FAMILY(embedding)                                                                              \
    FAMILY(norm)                                                                                   \
    FAMILY(attention)                                                                              \
    FAMILY(cache)                                                                                  \
    FAMILY(loss)                                                                                   \
    FAMILY(update)

/* Local. Where attention_cudnn.cpp is built (HAVE_CUDNN): enters attention by cuDNN, with own kernels
 * for what cuDNN does not do. */
void cuda_cudnn_register(struct device_operations *operations);

/* Local. There: frees what a stream keeps for it. */
void cuda_cudnn_destroy(struct cuda_stream *stream);

#define CUDA_REGISTER(family) void cuda_##family##_register(struct device_operations *operations);
/* Local. Each enters its operations: cuda_convert_register and so on. */
CUDA_FAMILIES(CUDA_REGISTER)
#undef CUDA_REGISTER

#ifdef __cplusplus
}
#endif
#endif
