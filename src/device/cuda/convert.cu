/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes set to a value, conversion between types, and addition: with the bits of the cpu device, but
 * for those of a NaN, which stays one. */
#include <type_traits>

#include "device/cuda/lanes.cuh"

extern "C" {
#include "base/log.h"
}

/* Elements of two types at a time: 16 bytes of the narrower. */
enum { LANES = 8 };

template <class To, class From> struct convert_body {
    To *to;
    const From *from;
    template <int N> __device__ __forceinline__ void run(int64_t i) const
    {
        float x[N];
        lanes_load<N>(x, from + i);
        lanes_store<N>(to + i, x);
    }
};

template <class To, class From> struct add_body {
    To *to;
    const From *from;
    template <int N> __device__ __forceinline__ void run(int64_t i) const
    {
        float sum[N], more[N];
        lanes_load<N>(sum, to + i);
        lanes_load<N>(more, from + i);
#pragma unroll
        for (int j = 0; j < N; j++)
            sum[j] += more[j];
        lanes_store<N>(to + i, sum);
    }
};

/* `count` elements as they are. */
template <class T>
static enum zi_status copy(struct device_stream *stream, T *to, const T *from, int64_t count)
{
    if (count <= 0 || to == from) return ZI_OK;
    cudaStream_t on = cuda_enter(stream);
    if (!on) return ZI_ERROR_DEVICE;
    CUDA_TRY(cudaMemcpyAsync, to, from, (size_t)count * sizeof *to, cudaMemcpyDefault, on);
    return ZI_OK;
}

template <class From, class To>
static enum zi_status convert_of(struct device_stream *stream, To *to, struct device_ptr from,
                                 int64_t count)
{
    if constexpr (std::is_same_v<To, From>) {
        return copy(stream, to, at<From>(from), count);
    } else {
        convert_body<To, From> body = {to, at<From>(from)};
        return each<LANES>(stream, body, count, lanes_fit((uintptr_t)to | from.address), "convert");
    }
}

template <class To>
static enum zi_status convert_to(struct device_stream *stream, struct device_ptr to,
                                 enum zi_dtype from_type, struct device_ptr from, int64_t count)
{
    return CUDA_BY_TYPE(from_type, convert_of, stream, at<To>(to), from, count);
}

static bool type_is_known(enum zi_dtype type)
{
    return type == ZI_FP32 || zi_dtype_is_half(type);
}

static enum zi_status convert(struct device_stream *stream, enum zi_dtype to_type,
                              struct device_ptr to, enum zi_dtype from_type, struct device_ptr from,
                              int64_t count)
{
    if (!type_is_known(to_type) || !type_is_known(from_type))
        return zi_fail(ZI_ERROR_DEVICE, "device", "no conversion of integers");
    return CUDA_BY_TYPE(to_type, convert_to, stream, to, from_type, from, count);
}

template <class From, class To>
static enum zi_status add_of(struct device_stream *stream, To *to, struct device_ptr from,
                             int64_t count)
{
    add_body<To, From> body = {to, at<From>(from)};
    return each<LANES>(stream, body, count, lanes_fit((uintptr_t)to | from.address), "add");
}

template <class To>
static enum zi_status add_to(struct device_stream *stream, struct device_ptr to,
                             enum zi_dtype from_type, struct device_ptr from, int64_t count)
{
    return CUDA_BY_TYPE(from_type, add_of, stream, at<To>(to), from, count);
}

static enum zi_status add(struct device_stream *stream, enum zi_dtype to_type, struct device_ptr to,
                          enum zi_dtype from_type, struct device_ptr from, int64_t count)
{
    if (!type_is_known(to_type) || !type_is_known(from_type))
        return zi_fail(ZI_ERROR_DEVICE, "device", "no addition of integers");
    return CUDA_BY_TYPE(to_type, add_to, stream, to, from_type, from, count);
}

static enum zi_status fill(struct device_stream *stream, struct device_ptr to, size_t bytes,
                           int byte)
{
    if (bytes == 0) return ZI_OK;
    cudaStream_t on = cuda_enter(stream);
    if (!on) return ZI_ERROR_DEVICE;
    CUDA_TRY(cudaMemsetAsync, at<void>(to), byte, bytes, on);
    return ZI_OK;
}

void cuda_convert_register(struct device_operations *operations)
{
    operations->fill = fill;
    operations->convert = convert;
    operations->add = add;
}
