/* SPDX-License-Identifier: Apache-2.0 */
/* Private to device/cuda: what the files of kernels share.
 *
 * Style, which the emulation of the tests relies on (doc/cuda.md): one-dimensional blocks of whole
 * warps; explicit masks of all 32 lanes; no branch on __CUDA_ARCH__, no local memory, no fp64 but in
 * sums that say so, no tensor-core instructions (products are cuBLAS'); every sum in an order that
 * depends on sizes alone. */
#ifndef ZI_DEVICE_CUDA_KERNEL_CUH
#define ZI_DEVICE_CUDA_KERNEL_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

#include "device/cuda/cuda.h"

enum { WARP = 32, BLOCK = 256, BLOCKS_MOST = 65535 };

typedef __nv_bfloat16 bf16;
typedef __half fp16;

/* fp32 of one element, and back, rounded to nearest even. */
static __device__ __forceinline__ float to_fp32(float x)
{
    return x;
}
static __device__ __forceinline__ float to_fp32(bf16 x)
{
    return __bfloat162float(x);
}
static __device__ __forceinline__ float to_fp32(fp16 x)
{
    return __half2float(x);
}
static __device__ __forceinline__ void from_fp32(float *to, float x)
{
    *to = x;
}
static __device__ __forceinline__ void from_fp32(bf16 *to, float x)
{
    *to = __float2bfloat16_rn(x);
}
static __device__ __forceinline__ void from_fp32(fp16 *to, float x)
{
    *to = __float2half_rn(x);
}

/* Elements that are loaded and stored together: 16 bytes of the narrowest type around. */
template <class T> struct alignas(16) pack {
    enum { count = 16 / sizeof(T) };
    T of[16 / sizeof(T)];
};

/* Sum of a warp, in every lane. */
static __device__ __forceinline__ float warp_sum(float x)
{
    for (int lanes = WARP / 2; lanes > 0; lanes /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, lanes);
    return x;
}

/* Largest of a warp, in every lane. */
static __device__ __forceinline__ float warp_max(float x)
{
    for (int lanes = WARP / 2; lanes > 0; lanes /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lanes));
    return x;
}

/* Sum of a block of whole warps, in every thread; `room` is shared memory of 32 numbers, which may be
 * used again at once. */
static __device__ __forceinline__ float block_sum(float x, float *room)
{
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    x = warp_sum(x);
    if (lane == 0) room[warp] = x;
    __syncthreads();
    x = lane < (int)blockDim.x / WARP ? room[lane] : 0.0f;
    x = warp_sum(x);
    __syncthreads();
    return x;
}

/* The place as a pointer of a type. */
/* tanh x, near 0 by the polynomial of the cpu device (device/cpu/vector.h), beyond by an exponential. */
static __device__ __forceinline__ float tanh_fp32(float x)
{
    float square = x * x, p = -5.7049854659e-3f;
    p = fmaf(p, square, 2.0639086142e-2f);
    p = fmaf(p, square, -5.3739715368e-2f);
    p = fmaf(p, square, 1.3331441581e-1f);
    p = fmaf(p, square, -3.3333280683e-1f);
    p = fmaf(p * square, x, x);
    float size = fabsf(x), power = exp2f(fminf(size * 2.88539008f, 126.0f));
    float far = copysignf(1.0f - __fdividef(2.0f, 1.0f + power), x);
    return size < 0.625f ? p : size >= 0.625f ? far : x;
}

template <class T> static inline T *at(struct device_ptr place)
{
    return reinterpret_cast<T *>(place.address);
}

/* Blocks of `block` threads for `count` pieces of work, at most `most`; kernels go on in strides of
 * the whole grid. */
static inline unsigned blocks_for(int64_t count, int64_t block, int64_t most)
{
    int64_t blocks = (count + block - 1) / block;
    return (unsigned)(blocks < most ? blocks : most);
}

/* Calls `function<type>(...)` for a type of arithmetic, and gives what it gives; ZI_ERROR_DEVICE for
 * others. */
#define CUDA_BY_TYPE(type, function, ...)                                                          \
    ((type) == ZI_FP32   ? function<float>(__VA_ARGS__)                                            \
     : (type) == ZI_BF16 ? function<bf16>(__VA_ARGS__)                                             \
     : (type) == ZI_FP16 ? function<fp16>(__VA_ARGS__)                                             \
                         : ZI_ERROR_DEVICE)

#endif
