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

#include "device/table.h"

/* Partial sums that a stream has room for, in 8-byte words: two per block of a reduction. */
enum { CUDA_PARTIALS = 4096 };

struct cuda_stream {
    struct device_stream base;
    cudaStream_t stream;
    /* Of the stream's operations alone: CUDA_PARTIALS words of 8 bytes on the device. */
    void *partials;
    /* For cuBLAS, on the device; made with the first product. */
    void *workspace;
};

/* Local. The CUDA stream behind `stream`, after making its device the calling thread's. Logs and
 * gives NULL when that fails. */
cudaStream_t cuda_enter(struct device_stream *stream);

/* Local. The whole of a stream that is known to be a cuda stream. */
static inline struct cuda_stream *cuda_stream_of(struct device_stream *stream)
{
    return (struct cuda_stream *)stream;
}

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
