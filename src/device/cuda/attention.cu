/* SPDX-License-Identifier: Apache-2.0 */
/* Causal attention, forward, in blocks (Dao et al. 2022): a block has a tile of queries of one head
 * and takes in keys and values tile by tile, up to the diagonal. Scores stay unscaled; the exponent
 * is S f - max f with f = log2(e) times the scale; capped scores have theirs already. Without a window
 * and texts key 0 is visible to all, so after
 * the first tile every maximum is finite; with them, tiles before are skipped, and a maximum starts at
 * LOWEST, beside which what was summed up before a query's first key comes to nothing. Queries past
 * the end are zero rows, never stored. */
#include "device/cuda/attention.cuh"

extern "C" {
#include "base/log.h"
}
#include <limits.h>
#include <math.h>

enum { WIDTH_MOST = 256 };

#define LOWEST (-1e30f) /* below scores */

/* Of the thread's rows: the maximum so far, and the thread's part of the sum of exponentials. */
template <int M> struct softmax_rows {
    float largest[M], sum[M];
};

/* Largest, or sum, of the SIDE lanes that have the same rows. */
static __device__ __forceinline__ float side_max(float x)
{
#pragma unroll
    for (int lanes = SIDE / 2; lanes > 0; lanes /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lanes));
    return x;
}

static __device__ __forceinline__ float side_sum(float x)
{
#pragma unroll
    for (int lanes = SIDE / 2; lanes > 0; lanes /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, lanes);
    return x;
}

/* -infinity for scores of a tile on the diagonal whose key is later than the query. */
template <int M> static __device__ __forceinline__ void diagonal_mask(float (&s)[M][4])
{
    int row = (int)threadIdx.x / SIDE * M, column = (int)threadIdx.x % SIDE * 4;
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (column + j > row + i) s[i][j] = -INFINITY;
}

/* Scores become P, and what earlier tiles left is brought to the new maximum. */
template <int M, int N>
static __device__ __forceinline__ void softmax_take(float (&s)[M][4], softmax_rows<M> &rows,
                                                    float (&acc)[M][N], float factor)
{
#pragma unroll
    for (int i = 0; i < M; i++) {
        float largest = fmaxf(fmaxf(s[i][0], s[i][1]), fmaxf(s[i][2], s[i][3]));
        largest = fmaxf(side_max(largest), rows.largest[i]);
        float rescale = exp2f((rows.largest[i] - largest) * factor), sum = 0.0f;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            s[i][j] = exp2f(fmaf(s[i][j], factor, -largest * factor));
            sum += s[i][j];
        }
        rows.sum[i] = fmaf(rows.sum[i], rescale, sum);
        rows.largest[i] = largest;
#pragma unroll
        for (int j = 0; j < N; j++)
            acc[i][j] *= rescale;
    }
}

/* Divides by the sums, and stores the logsumexp of rows that are there. */
template <int M, int N>
static __device__ __forceinline__ void softmax_end(float (&acc)[M][N], const softmax_rows<M> &rows,
                                                   float *logsumexp, int count, float factor)
{
    int row = (int)threadIdx.x / SIDE * M;
#pragma unroll
    for (int i = 0; i < M; i++) {
        float sum = side_sum(rows.sum[i]), inverse = 1.0f / sum;
#pragma unroll
        for (int j = 0; j < N; j++)
            acc[i][j] *= inverse;
        if (threadIdx.x % SIDE == 0 && row + i < count)
            logsumexp[row + i] = (rows.largest[i] * factor + log2f(sum)) * LN_2;
    }
}

template <class T, int WIDTH, int THREADS>
static __global__ void __launch_bounds__(THREADS, blocks_least(THREADS, WIDTH))
    attention_kernel(const __grid_constant__ struct attention_call call)
{
    const int m = TILE * SIDE / THREADS;
    __shared__ alignas(16) float room[ROOM], tile[TILE * TILE];
    const struct device_attention &d = call.d;
    int tiles = ((int)d.tokens + TILE - 1) / TILE;
    /* the longest first */
    int first = (tiles - 1 - (int)blockIdx.x % tiles) * TILE, pair = (int)blockIdx.x / tiles;
    int head = pair % (int)d.heads, key_head = head / (int)(d.heads / d.key_heads);
    int64_t sequence = pair / (int)d.heads;
    attention_rows<T> q = rows_at<T>(call, d.q, d.ld_qk, sequence, head, first);
    float acc[m][WIDTH / SIDE] = {}, s[m][4];
    softmax_rows<m> rows;
#pragma unroll
    for (int i = 0; i < m; i++) {
        rows.largest[i] = call.window < INT_MAX || d.positions.address ? LOWEST : -INFINITY;
        rows.sum[i] = 0.0f;
    }
#pragma unroll 1
    for (int key = tile_first(call, sequence, first); key <= first; key += TILE) {
        tile_scores<T, m>(s, room, q, rows_at<T>(call, d.k, d.ld_qk, sequence, key_head, key));
        if (d.cap > 0.0f) tile_cap<m>(s, call);
        if (key == first) diagonal_mask<m>(s);
        if (tile_is_bounded(call, first, key))
            reach_mask<m>(s, call, sequence, first, key, -INFINITY);
        softmax_take(s, rows, acc, call.factor);
        tile_put<m>(tile, s);
        tile_accumulate<T, WIDTH, m>(acc, tile, room,
                                     rows_at<T>(call, d.v, d.ld, sequence, key_head, key), 0,
                                     key == first ? warp_end<m>() : TILE);
    }
    attention_rows<T> o = rows_at<T>(call, d.o, d.ld_o, sequence, head, first);
    float *logsumexp = reinterpret_cast<float *>(d.logsumexp.address) + pair * d.tokens + first;
    softmax_end(acc, rows, logsumexp, o.count, call.factor);
    rows_store<T, WIDTH, m>(o, acc, 1.0f);
}

/* Whether every row of a head of the tensors at the places is whole packs at multiples of 16 bytes. */
static bool rows_are_whole(const struct device_attention *d)
{
    uint64_t bytes = zi_dtype_bytes(d->type), bits = 0;
    const struct device_ptr places[] = {d->q, d->k, d->v, d->o, d->d_o, d->dq, d->dk, d->dv};
    for (const struct device_ptr &place : places)
        bits |= place.address;
    bits |= (uint64_t)d->ld * bytes | (uint64_t)d->ld_o * bytes | (uint64_t)d->width * bytes;
    bits |= (uint64_t)d->ld_qk * bytes;
    return bits % 16 == 0;
}

enum zi_status attention_prepare(const struct device_attention *desc, struct attention_call *call)
{
    if (desc->type != ZI_FP32 && desc->type != ZI_BF16 && desc->type != ZI_FP16)
        return zi_fail(ZI_ERROR_DEVICE, "device",
                       "attention: type %s is not known; use fp32, bf16 or fp16",
                       zi_dtype_name(desc->type));
    if (desc->width < 1 || desc->width > WIDTH_MOST)
        return zi_fail(
            ZI_ERROR_DEVICE, "device",
            "attention: heads of width %lld are not possible, at most %d; use more heads",
            (long long)desc->width, (int)WIDTH_MOST);
    if (desc->key_heads < 1 || desc->heads % desc->key_heads)
        return zi_fail(ZI_ERROR_DEVICE, "device",
                       "attention: %lld key heads do not divide %lld heads",
                       (long long)desc->key_heads, (long long)desc->heads);
    if (desc->tokens > INT_MAX - TILE ||
        (double)desc->sequences * (double)desc->heads * (double)(desc->tokens / TILE + 1) > INT_MAX)
        return zi_fail(ZI_ERROR_DEVICE, "device",
                       "attention: %lld sequences of %lld tokens and %lld heads are too many at "
                       "once; use a smaller micro-batch",
                       (long long)desc->sequences, (long long)desc->tokens, (long long)desc->heads);
    call->d = *desc;
    if (call->d.ld_qk == 0) call->d.ld_qk = desc->ld;
    call->whole = rows_are_whole(&call->d);
    call->window = desc->window > 0 && desc->window < INT_MAX ? (int)desc->window : INT_MAX;
    call->scale = desc->scale > 0.0f ? desc->scale : 1.0f / sqrtf((float)desc->width);
    call->factor = desc->cap > 0.0f ? LOG2_E : LOG2_E * call->scale;
    call->inner = desc->cap > 0.0f ? call->scale / desc->cap : 0.0f;
    return ZI_OK;
}

template <class T, int WIDTH>
static void attention_launch(const struct attention_call &call, cudaStream_t stream)
{
    const struct device_attention &d = call.d;
    int64_t tiles = (d.tokens + TILE - 1) / TILE;
    const int threads = threads_for(WIDTH);
    attention_kernel<T, WIDTH, threads>
        <<<(unsigned)(d.sequences * d.heads * tiles), threads, 0, stream>>>(call);
}

template <class T>
static enum zi_status attention_of(const struct attention_call &call, cudaStream_t stream)
{
    ATTENTION_BY_WIDTH(T, call.d.width, attention_launch, call, stream);
    return cuda_launched("attention");
}

static enum zi_status attention(struct device_stream *stream, const struct device_attention *desc)
{
    struct attention_call call;
    ZI_TRY(attention_prepare(desc, &call));
    if (desc->sequences <= 0 || desc->tokens <= 0 || desc->heads <= 0) return ZI_OK;
    cudaStream_t handle = cuda_enter(stream);
    if (!handle) return ZI_ERROR_DEVICE;
    return CUDA_BY_TYPE(desc->type, attention_of, call, handle);
}

void cuda_attention_register(struct device_operations *operations)
{
    operations->attention = attention;
    operations->attention_backward = attention_backward;
}
