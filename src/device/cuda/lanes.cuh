/* SPDX-License-Identifier: Apache-2.0 */
/* Private to device/cuda: N neighbouring elements that a thread loads as fp32, and stores rounded to
 * nearest even, with accesses of up to 16 bytes. */
#ifndef ZI_DEVICE_CUDA_LANES_CUH
#define ZI_DEVICE_CUDA_LANES_CUH

#include "device/cuda/kernel.cuh"

/* Elements of T in 16 bytes. */
template <class T> constexpr int lanes_most = 16 / (int)sizeof(T);

/* The bits of N elements of T; what is longer than 16 bytes is moved in pieces of 16. */
template <class T, int N> struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) lanes_bits {
    T of[N];
};

/* N elements as they are, from `from` on, which lies at a multiple of their bytes (of 16 if they are
 * more). */
template <int N, class T>
static __device__ __forceinline__ lanes_bits<T, N> lanes_read(const T *from)
{
    return *reinterpret_cast<const lanes_bits<T, N> *>(from);
}

/* The same as fp32. */
template <int N, class T>
static __device__ __forceinline__ void lanes_load(float *to, const T *from)
{
    lanes_bits<T, N> bits = lanes_read<N>(from);
#pragma unroll
    for (int i = 0; i < N; i++)
        to[i] = to_fp32(bits.of[i]);
}

/* The reverse. */
template <int N, class T>
static __device__ __forceinline__ void lanes_store(T *to, const float *from)
{
    lanes_bits<T, N> bits;
#pragma unroll
    for (int i = 0; i < N; i++)
        from_fp32(&bits.of[i], from[i]);
    *reinterpret_cast<lanes_bits<T, N> *>(to) = bits;
}

/* Whether addresses and counts allow accesses of 16 bytes: `mix` is all addresses and all strides in
 * bytes, or-ed. */
static inline bool lanes_fit(uintptr_t mix)
{
    return mix % 16 == 0;
}

/* Runs body.run<N>(i) for i = 0, N, 2N .. and body.run<1>(i) for what is left of `count`. */
template <int N, class Body>
__global__ void __launch_bounds__(BLOCK, 4) each_kernel(Body body, int64_t count)
{
    int64_t first = (int64_t)blockIdx.x * BLOCK + threadIdx.x, stride = (int64_t)gridDim.x * BLOCK;
    for (int64_t i = first; i < count / N; i += stride)
        body.template run<N>(i * N);
    for (int64_t i = count / N * N + first; i < count; i += stride)
        body.template run<1>(i);
}

/* Enqueues `body` for `count` elements, N at a time where `fit`. */
template <int N, class Body>
static inline enum zi_status each(struct device_stream *stream, const Body &body, int64_t count,
                                  bool fit, const char *operation)
{
    if (count <= 0) return ZI_OK;
    cudaStream_t on = cuda_enter(stream);
    if (!on) return ZI_ERROR_DEVICE;
    if (fit)
        each_kernel<N>
            <<<blocks_for(count, (int64_t)BLOCK * N, BLOCKS_MOST), BLOCK, 0, on>>>(body, count);
    else
        each_kernel<1><<<blocks_for(count, BLOCK, BLOCKS_MOST), BLOCK, 0, on>>>(body, count);
    return cuda_launched(operation);
}

/* Column sums of [rows, columns] with leading dimension ld, see bias_backward, for other families. */
enum zi_status cuda_column_sums(struct device_stream *stream, enum zi_dtype type,
                                struct device_ptr sums, struct device_ptr from,
                                const int64_t shape[3], bool accumulate);

#endif
