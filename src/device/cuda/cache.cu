/* SPDX-License-Identifier: Apache-2.0 */
/* Attention of new tokens to a cache, for generation. One kernel puts the keys and values of the new
 * tokens into it; then a block takes a query, its warps every fourth key of those that it sees, with a
 * running maximum and sum each (Milakov and Gimelshein 2018), and what the warps have is joined. The
 * lanes of a warp hold the columns of a head, so that rows of the cache are read whole; with few
 * queries, as generation has them, that reading is all there is to do. */
#include "device/cuda/kernel.cuh"

extern "C" {
#include "base/log.h"
}
#include <math.h>

enum {
    CACHE_BLOCK = 128,
    CACHE_WARPS = CACHE_BLOCK / WARP,
    WIDTH_MOST = 256,
    /* Columns of a lane. */
    COLUMNS = WIDTH_MOST / WARP
};

#define LOG2_E 1.44269504f
#define LOWEST (-1e30f) /* below scores */

/* Of a launch: the description, its leading dimension of q and k, and the scale of scores. */
struct cache_call {
    struct device_attention_cached d;
    int64_t ld_qk;
    float scale;
};

/* The first row of the keys (part 0) or values (1) of a head in the cache. */
template <class T>
static __device__ __forceinline__ T *cache_rows(const cache_call &call, int64_t sequence, int part,
                                                int64_t key_head)
{
    const struct device_attention_cached &d = call.d;
    int64_t row = ((sequence * 2 + part) * d.key_heads + key_head) * d.capacity;
    return reinterpret_cast<T *>(d.cache.address) + row * d.width;
}

static __device__ __forceinline__ int64_t position_of(const cache_call &call, int64_t row)
{
    return reinterpret_cast<const int32_t *>(call.d.positions.address)[row];
}

/* An element of the new keys and values per thread and turn. */
template <class T>
static __global__ void __launch_bounds__(BLOCK)
    cache_put_kernel(const __grid_constant__ cache_call call)
{
    const struct device_attention_cached &d = call.d;
    int64_t inner = d.key_heads * d.width, count = d.sequences * d.tokens * 2 * inner;
    int64_t stride = (int64_t)gridDim.x * BLOCK;
    for (int64_t i = (int64_t)blockIdx.x * BLOCK + threadIdx.x; i < count; i += stride) {
        int64_t row = i / (2 * inner), part = i / inner % 2, column = i % inner;
        const T *from = part ? reinterpret_cast<const T *>(d.v.address) + row * d.ld
                             : reinterpret_cast<const T *>(d.k.address) + row * call.ld_qk;
        T *to = cache_rows<T>(call, row / d.tokens, (int)part, column / d.width);
        to[position_of(call, row) * d.width + column % d.width] = from[column];
    }
}

/* What a warp, or a block, has of a query. */
struct cache_sums {
    float largest, sum, o[COLUMNS];
};

/* Takes in the keys first + warp, + CACHE_WARPS .. up to `last`. */
template <class T>
static __device__ __forceinline__ void cache_pass(const cache_call &call, const T *q, const T *keys,
                                                  const T *values, int64_t first, int64_t last,
                                                  cache_sums &sums)
{
    int lane = (int)threadIdx.x % WARP, width = (int)call.d.width;
    float x[COLUMNS], cap = call.d.cap;
#pragma unroll
    for (int i = 0; i < COLUMNS; i++)
        x[i] = lane + i * WARP < width ? to_fp32(q[lane + i * WARP]) : 0.0f;
    for (int64_t key = first + threadIdx.x / WARP; key <= last; key += CACHE_WARPS) {
        const T *k = keys + key * width + lane, *v = values + key * width + lane;
        float s = 0.0f;
#pragma unroll
        for (int i = 0; i < COLUMNS; i++)
            if (lane + i * WARP < width) s = fmaf(to_fp32(k[i * WARP]), x[i], s);
        s = warp_sum(s) * call.scale;
        /* cap tanh(s / cap) */
        if (cap > 0.0f) s = cap - 2.0f * cap / (1.0f + exp2f(s * (2.0f * LOG2_E) / cap));
        float largest = fmaxf(sums.largest, s), p = exp2f((s - largest) * LOG2_E);
        float rescale = exp2f((sums.largest - largest) * LOG2_E);
        sums.largest = largest;
        sums.sum = fmaf(sums.sum, rescale, p);
#pragma unroll
        for (int i = 0; i < COLUMNS; i++)
            if (lane + i * WARP < width)
                sums.o[i] = fmaf(p, to_fp32(v[i * WARP]), sums.o[i] * rescale);
    }
}

/* Joins what the warps have and stores it. */
template <class T>
static __device__ __forceinline__ void cache_join(const cache_sums &sums, T *o, int width)
{
    __shared__ float o_of[CACHE_WARPS][WIDTH_MOST], largest_of[CACHE_WARPS], sum_of[CACHE_WARPS];
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
#pragma unroll
    for (int i = 0; i < COLUMNS; i++)
        o_of[warp][lane + i * WARP] = sums.o[i];
    if (lane == 0) {
        largest_of[warp] = sums.largest;
        sum_of[warp] = sums.sum;
    }
    __syncthreads();
    float largest = LOWEST, sum = 0.0f;
    for (int w = 0; w < CACHE_WARPS; w++)
        largest = fmaxf(largest, largest_of[w]);
    for (int w = 0; w < CACHE_WARPS; w++)
        sum = fmaf(sum_of[w], exp2f((largest_of[w] - largest) * LOG2_E), sum);
    for (int c = (int)threadIdx.x; c < width; c += CACHE_BLOCK) {
        float x = 0.0f;
        for (int w = 0; w < CACHE_WARPS; w++)
            x = fmaf(o_of[w][c], exp2f((largest_of[w] - largest) * LOG2_E), x);
        from_fp32(o + c, x / sum);
    }
    __syncthreads();
}

template <class T>
static __global__ void __launch_bounds__(CACHE_BLOCK)
    cache_attend_kernel(const __grid_constant__ cache_call call)
{
    const struct device_attention_cached &d = call.d;
    int64_t count = d.sequences * d.tokens * d.heads;
    for (int64_t i = blockIdx.x; i < count; i += gridDim.x) {
        int64_t row = i / d.heads, head = i % d.heads, key_head = head / (d.heads / d.key_heads);
        int64_t last = position_of(call, row), sequence = row / d.tokens;
        int64_t first = d.window > 0 && last >= d.window ? last - d.window + 1 : 0;
        cache_sums sums = {LOWEST, 0.0f, {}};
        cache_pass<T>(call,
                      reinterpret_cast<const T *>(d.q.address) + row * call.ld_qk + head * d.width,
                      cache_rows<const T>(call, sequence, 0, key_head),
                      cache_rows<const T>(call, sequence, 1, key_head), first, last, sums);
        cache_join<T>(sums, reinterpret_cast<T *>(d.o.address) + row * d.ld_o + head * d.width,
                      (int)d.width);
    }
}

template <class T> static enum zi_status cached_of(const cache_call &call, cudaStream_t stream)
{
    const struct device_attention_cached &d = call.d;
    int64_t rows = d.sequences * d.tokens;
    cache_put_kernel<T>
        <<<blocks_for(rows * 2 * d.key_heads * d.width, BLOCK, BLOCKS_MOST), BLOCK, 0, stream>>>(
            call);
    ZI_TRY(cuda_launched("attention_cached"));
    cache_attend_kernel<T>
        <<<blocks_for(rows * d.heads, 1, BLOCKS_MOST), CACHE_BLOCK, 0, stream>>>(call);
    return cuda_launched("attention_cached");
}

static enum zi_status attention_cached(struct device_stream *stream,
                                       const struct device_attention_cached *desc)
{
    bool known = desc->type == ZI_FP32 || desc->type == ZI_BF16 || desc->type == ZI_FP16;
    if (!known || desc->width < 1 || desc->width > WIDTH_MOST || desc->key_heads < 1 ||
        desc->heads % desc->key_heads)
        return zi_fail(ZI_ERROR_DEVICE, "device",
                       "attention_cached: %lld heads on %lld key heads of width %lld in %s are not "
                       "possible; widths are at most %d, and key heads divide heads",
                       (long long)desc->heads, (long long)desc->key_heads, (long long)desc->width,
                       zi_dtype_name(desc->type), (int)WIDTH_MOST);
    if (desc->sequences <= 0 || desc->tokens <= 0) return ZI_OK;
    struct cache_call call = {*desc, desc->ld_qk > 0 ? desc->ld_qk : desc->ld,
                              desc->scale > 0 ? desc->scale : 1.0f / sqrtf((float)desc->width)};
    cudaStream_t handle = cuda_enter(stream);
    if (!handle) return ZI_ERROR_DEVICE;
    return CUDA_BY_TYPE(desc->type, cached_of, call, handle);
}

void cuda_cache_register(struct device_operations *operations)
{
    operations->attention_cached = attention_cached;
}
