// SPDX-License-Identifier: Apache-2.0
// Kernels of the emulation's own tests.
#include "regression/emulator/tests/kernels.h"

static __global__ void double_all(float *x, int count)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < count) x[i] = 2.0f * x[i];
}

static __global__ void reverse(float *x)
{
    extern __shared__ float room[];
    int i = (int)threadIdx.x;
    room[i] = x[i];
    __syncthreads();
    x[i] = room[(int)blockDim.x - 1 - i];
}

cudaError_t kernels_double(float *x, int count, cudaStream_t stream)
{
    double_all<<<(unsigned)(count + 63) / 64, 64, 0, stream>>>(x, count);
    return cudaGetLastError();
}

cudaError_t kernels_reverse(float *x, int count, size_t shared, cudaStream_t stream)
{
    reverse<<<1, (unsigned)count, shared, stream>>>(x);
    return cudaGetLastError();
}

cudaError_t kernels_allow_shared(size_t bytes)
{
    return cudaFuncSetAttribute(reverse, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
}

cudaError_t kernels_occupancy(int threads, size_t shared, int *blocks)
{
    return cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, reverse, threads, shared);
}
