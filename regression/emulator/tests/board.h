/* SPDX-License-Identifier: Apache-2.0 */
/* What most of the programs of the emulation's tests begin and end with. */
#ifndef ZI_REGRESSION_EMULATOR_BOARD_H
#define ZI_REGRESSION_EMULATOR_BOARD_H

#include <cuda_runtime_api.h>

#include "regression/unit/test.h"

#define CHECK_CUDA(call) CHECK_INT(call, cudaSuccess)

enum { COUNT = 4096, BYTES = COUNT * sizeof(float) };

/* Two streams, an event, memory on the device and on the host, all of BYTES. */
struct board {
    cudaStream_t one, other;
    cudaEvent_t event;
    float *device, *second, *host, *result;
};

static inline cudaStream_t stream_make(void)
{
    cudaStream_t stream = NULL;
    CHECK_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return stream;
}

static inline void *device_memory(size_t bytes)
{
    void *memory = NULL;
    CHECK_CUDA(cudaMalloc(&memory, bytes));
    return memory;
}

static inline void *host_memory(size_t bytes)
{
    void *memory = NULL;
    CHECK_CUDA(cudaHostAlloc(&memory, bytes, cudaHostAllocPortable));
    return memory;
}

/* host[i] is i. */
static inline struct board board_make(void)
{
    struct board board = {.one = stream_make(),
                          .other = stream_make(),
                          .device = device_memory(BYTES),
                          .second = device_memory(BYTES),
                          .host = host_memory(BYTES),
                          .result = host_memory(BYTES)};
    CHECK_CUDA(cudaEventCreateWithFlags(&board.event, cudaEventBlockingSync));
    for (int i = 0; i < COUNT; i++)
        board.host[i] = (float)i;
    return board;
}

/* Waits for both streams and gives all back. */
static inline void board_end(struct board *board)
{
    CHECK_CUDA(cudaStreamSynchronize(board->one));
    CHECK_CUDA(cudaStreamSynchronize(board->other));
    CHECK_CUDA(cudaFree(board->device));
    CHECK_CUDA(cudaFree(board->second));
    CHECK_CUDA(cudaFreeHost(board->host));
    CHECK_CUDA(cudaFreeHost(board->result));
    CHECK_CUDA(cudaEventDestroy(board->event));
    CHECK_CUDA(cudaStreamDestroy(board->one));
    CHECK_CUDA(cudaStreamDestroy(board->other));
}

static inline void copy_in(void *to, const void *from, size_t bytes, cudaStream_t stream)
{
    CHECK_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream));
}

static inline void copy_out(void *to, const void *from, size_t bytes, cudaStream_t stream)
{
    CHECK_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream));
}

#endif
