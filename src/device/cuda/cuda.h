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

/* memory.c: device_allocate, device_free, device_map of the device. */
enum zi_status cuda_allocate(struct device *device, enum zi_tier tier, size_t bytes,
                             const char *name, struct device_ptr *memory);
void cuda_free(struct device *device, enum zi_tier tier, struct device_ptr memory);
enum zi_status cuda_map(struct device_stream *stream, struct device_ptr memory, size_t bytes,
                        void **host);
void cuda_unmap(struct device_stream *stream, struct device_ptr memory);

/* streams.c: streams, events and copies of the device; the clock is made with the device. */
enum zi_status cuda_stream_create(struct device *device, int threads,
                                  struct device_stream **stream);
void cuda_stream_destroy(struct device_stream *stream);
enum zi_status cuda_stream_synchronize(struct device_stream *stream);
void *cuda_stream_handle(struct device_stream *stream);
enum zi_status cuda_event_create(struct device *device, struct device_event **event);
void cuda_event_destroy(struct device_event *event);
enum zi_status cuda_event_record(struct device_event *event, struct device_stream *stream);
enum zi_status cuda_event_wait(struct device_stream *stream, struct device_event *event);
enum zi_status cuda_event_query(struct device_event *event, bool *done);
enum zi_status cuda_event_synchronize(struct device_event *event, double *time_s);
enum zi_status cuda_copy(struct device_stream *stream, struct device_ptr to, struct device_ptr from,
                         size_t bytes);
enum zi_status cuda_clock_start(struct cuda_device *device);
void cuda_clock_stop(struct cuda_device *device);

/* products.c: the operation matmul of the device, and what a stream keeps for it. */
enum zi_status cuda_matmul(struct device_stream *stream, const struct device_matmul *desc);
void cuda_products_destroy(struct cuda_stream *stream);

/* peak.c: device_measure_peak of the device. */
enum zi_status cuda_measure_peak(struct device_stream *stream, enum zi_dtype type, double seconds,
                                 struct device_peak *peak);

/* attention_cudnn.cpp, where it is built (HAVE_CUDNN): enters attention by cuDNN, with own kernels for
 * what cuDNN does not do; frees what a stream keeps for it. */
void cuda_cudnn_register(struct device_operations *operations);
void cuda_cudnn_destroy(struct cuda_stream *stream);

/* The files of kernels, each of a family, enter their operations. */
void cuda_convert_register(struct device_operations *operations);
void cuda_elementwise_register(struct device_operations *operations);
void cuda_embedding_register(struct device_operations *operations);
void cuda_norm_register(struct device_operations *operations);
void cuda_attention_register(struct device_operations *operations);
void cuda_loss_register(struct device_operations *operations);
void cuda_update_register(struct device_operations *operations);

#ifdef __cplusplus
}
#endif
#endif
