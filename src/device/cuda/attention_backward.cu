/* SPDX-License-Identifier: Apache-2.0 */
/* Causal attention, backward, in blocks: the scores are recomputed tile by tile from q, k and the
 * logsumexp that forward kept. With P = exp(S / sqrt(D) - logsumexp), delta = rowsum(dO o O):
 *     dV = P^T dO,                  dP = dO V^T,            dS = P o (dP - delta),
 *     dK = dS^T Q / sqrt(D),        dQ = dS K / sqrt(D),
 * or with another scale. Where scores have a cap P is that of capped ones, and dS has 1 - (S / cap)^2 as
 * a factor more.
 *
 * Three kernels: delta, which is all that the scratch is used for, [B,H,T]; dK and dV, a block having
 * a tile of keys and passing over the queries of each query head of the group in order; dQ, a block
 * having a tile of queries, with scores and dP computed once more. So each sum is done by one thread
 * in one order, without atomics, for 7 products instead of 5. Tiles that a window or
 * texts hide are skipped. */
#include "device/cuda/attention.cuh"

/* What a query's scores need to become P and dS: logsumexp log2(e), delta. */
struct query_terms {
    float shift, delta;
};

/* Of query `token` of a sequence and head, which may be past the end. */
static __device__ __forceinline__ struct query_terms terms_at(const struct device_attention &d,
                                                              int64_t sequence, int head, int token)
{
    int64_t at = (sequence * d.heads + head) * d.tokens + token;
    if (token >= d.tokens) return {0.0f, 0.0f};
    return {reinterpret_cast<const float *>(d.logsumexp.address)[at] * LOG2_E,
            reinterpret_cast<const float *>(d.scratch.address)[at]};
}

/* A warp for each query of each head. */
template <class T>
static __global__ void __launch_bounds__(BLOCK)
    attention_delta_kernel(const __grid_constant__ struct attention_call call)
{
    const struct device_attention &d = call.d;
    const int64_t rows = d.sequences * d.heads * d.tokens, warps = gridDim.x * (BLOCK / WARP);
    int lane = (int)threadIdx.x % WARP;
    int64_t row = (int64_t)blockIdx.x * (BLOCK / WARP) + threadIdx.x / WARP;
    for (; row < rows; row += warps) {
        int64_t pair = row / d.tokens, token = row % d.tokens, head = pair % d.heads;
        int64_t at = (pair / d.heads * d.tokens + token) * d.ld_o + head * d.width;
        const T *o = reinterpret_cast<const T *>(d.o.address) + at;
        const T *d_o = reinterpret_cast<const T *>(d.d_o.address) + at;
        float sum = 0.0f;
        for (int c = lane; c < (int)d.width; c += WARP)
            sum = fmaf(to_fp32(o[c]), to_fp32(d_o[c]), sum);
        sum = warp_sum(sum);
        if (lane == 0) reinterpret_cast<float *>(d.scratch.address)[row] = sum;
    }
}

/* Behind the last query of a sequence that sees a key of the tile that begins with `first`. */
static __device__ __forceinline__ int queries_end(const struct attention_call &call,
                                                  int64_t sequence, int first)
{
    int tokens = (int)call.d.tokens, last = first + TILE - 1;
    if (tokens - last <= 1 || !call.d.positions.address)
        return tokens - last > call.window ? last + call.window : tokens;
    int low = last, high = tokens; /* what low sees, high does not; starts of texts do not fall */
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (middle - reach_of(call, sequence, middle) < last)
            low = middle;
        else
            high = middle;
    }
    return high;
}

/* S^T [key][query] becomes P^T. */
template <int M>
static __device__ __forceinline__ void keys_exponentials(float (&s)[M][4],
                                                         const struct query_terms (&terms)[4],
                                                         const struct attention_call &call,
                                                         int64_t sequence, int query, int key)
{
    int row = (int)threadIdx.x / SIDE * M, column = (int)threadIdx.x % SIDE * 4;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        unsigned reach = (unsigned)reach_of(call, sequence, query + column + j);
#pragma unroll
        for (int i = 0; i < M; i++) {
            /* how far the key is from the query, a great number where it is later */
            bool visible = (unsigned)(query - key + column - row + j - i) < reach &&
                           query + column + j < (int)call.d.tokens;
            s[i][j] = visible ? exp2f(fmaf(s[i][j], call.factor, -terms[j].shift)) : 0.0f;
        }
    }
}

/* The slope of the cap where its result is x. */
static __device__ __forceinline__ float cap_slope(float x, float cap)
{
    float share = __fdividef(x, cap);
    return fmaf(-share, share, 1.0f);
}

/* P^T into P^T times the slope of the cap, the score being told by P. */
template <int M>
static __device__ __forceinline__ void keys_slopes(float (&p)[M], float shift, float cap)
{
#pragma unroll
    for (int i = 0; i < M; i++) {
        float score = (log2f(p[i]) + shift) * LN_2;
        if (p[i] > 0.0f) p[i] *= cap_slope(score, cap);
    }
}

/* dP^T becomes dS^T, with the thread's own P^T of the tile; what is hidden is 0. */
template <int M>
static __device__ __forceinline__ void keys_differences(float (&s)[M][4], const float *tile,
                                                        const struct query_terms (&terms)[4],
                                                        float cap)
{
    int row = (int)threadIdx.x / SIDE * M, column = (int)threadIdx.x % SIDE * 4;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        float p[M];
        load_rows<M>(p, tile, column + j, row);
        if (cap > 0.0f) keys_slopes(p, terms[j].shift, cap);
#pragma unroll
        for (int i = 0; i < M; i++)
            s[i][j] = p[i] * (s[i][j] - terms[j].delta);
    }
}

template <class T, int WIDTH, int THREADS>
static __global__ void __launch_bounds__(THREADS, blocks_least(THREADS, 2 * WIDTH))
    attention_keys_kernel(const __grid_constant__ struct attention_call call)
{
    const int m = TILE * SIDE / THREADS;
    __shared__ alignas(16) float room[ROOM], tile[TILE * TILE];
    const struct device_attention &d = call.d;
    int tiles = ((int)d.tokens + TILE - 1) / TILE, group = (int)(d.heads / d.key_heads);
    int first = (int)blockIdx.x % tiles * TILE, pair = (int)blockIdx.x / tiles;
    int key_head = pair % (int)d.key_heads, column = (int)threadIdx.x % SIDE * 4;
    int64_t sequence = pair / (int)d.key_heads;
    int end = queries_end(call, sequence, first);
    float dk[m][WIDTH / SIDE] = {}, dv[m][WIDTH / SIDE] = {}, s[m][4];
#pragma unroll 1
    for (int head = key_head * group; head < (key_head + 1) * group; head++) {
#pragma unroll 1
        for (int query = first; query < end; query += TILE) {
            attention_rows<T> q = rows_at<T>(call, d.q, d.ld_qk, sequence, head, query);
            attention_rows<T> d_o = rows_at<T>(call, d.d_o, d.ld_o, sequence, head, query);
            struct query_terms terms[4];
#pragma unroll
            for (int j = 0; j < 4; j++)
                terms[j] = terms_at(d, sequence, head, query + column + j);
            /* queries that none of the warp's keys is visible to */
            int begin = query == first ? warp_end<m>() - 2 * m : 0;
            tile_scores<T, m>(s, room, rows_at<T>(call, d.k, d.ld_qk, sequence, key_head, first),
                              q);
            if (d.cap > 0.0f) tile_cap<m>(s, call);
            keys_exponentials<m>(s, terms, call, sequence, query, first);
            tile_put<m>(tile, s);
            tile_accumulate<T, WIDTH, m>(dv, tile, room, d_o, begin, TILE);
            tile_scores<T, m>(s, room, rows_at<T>(call, d.v, d.ld, sequence, key_head, first), d_o);
            keys_differences<m>(s, tile, terms, d.cap);
            tile_put<m>(tile, s);
            tile_accumulate<T, WIDTH, m>(dk, tile, room, q, begin, TILE);
        }
    }
    rows_store<T, WIDTH, m>(rows_at<T>(call, d.dk, d.ld, sequence, key_head, first), dk,
                            call.scale);
    rows_store<T, WIDTH, m>(rows_at<T>(call, d.dv, d.ld, sequence, key_head, first), dv, 1.0f);
}

/* S and dP [query][key] become dS, in s; `behind`: the first query less the first key. */
template <int M>
static __device__ __forceinline__ void queries_differences(float (&s)[M][4],
                                                           const float (&dp)[M][4],
                                                           const struct query_terms (&terms)[M],
                                                           float factor, int behind)
{
    int row = (int)threadIdx.x / SIDE * M, column = (int)threadIdx.x % SIDE * 4;
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            float p = exp2f(fmaf(s[i][j], factor, -terms[i].shift));
            s[i][j] = column + j <= behind + row + i ? p * (dp[i][j] - terms[i].delta) : 0.0f;
        }
}

/* Scores of a tile become capped ones, and dP - delta is multiplied with the slope of the cap. */
template <int M>
static __device__ __forceinline__ void queries_cap(float (&s)[M][4], float (&dp)[M][4],
                                                   const struct query_terms (&terms)[M],
                                                   const struct attention_call &call)
{
    tile_cap<M>(s, call);
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            dp[i][j] =
                fmaf(dp[i][j] - terms[i].delta, cap_slope(s[i][j], call.d.cap), terms[i].delta);
}

/* Addresses of keys and of values do not go together, as they may have leading dimensions of their own:
 * in fp32 registers are short for three blocks of the narrowest heads. */
template <class T, int WIDTH, int THREADS>
static __global__ void __launch_bounds__(THREADS,
                                         blocks_least(THREADS, (sizeof(T) > 2 ? 3 : 2) * WIDTH))
    attention_queries_kernel(const __grid_constant__ struct attention_call call)
{
    const int m = TILE * SIDE / THREADS;
    __shared__ alignas(16) float room[ROOM], tile[TILE * TILE];
    const struct device_attention &d = call.d;
    int tiles = ((int)d.tokens + TILE - 1) / TILE;
    /* the longest first */
    int first = (tiles - 1 - (int)blockIdx.x % tiles) * TILE, pair = (int)blockIdx.x / tiles;
    int head = pair % (int)d.heads, key_head = head / (int)(d.heads / d.key_heads);
    int64_t sequence = pair / (int)d.heads;
    struct query_terms terms[m];
#pragma unroll
    for (int i = 0; i < m; i++)
        terms[i] = terms_at(d, sequence, head, first + (int)threadIdx.x / SIDE * m + i);
    float dq[m][WIDTH / SIDE] = {}, s[m][4], dp[m][4];
#pragma unroll 1
    for (int key = tile_first(call, sequence, first); key <= first; key += TILE) {
        attention_rows<T> k = rows_at<T>(call, d.k, d.ld_qk, sequence, key_head, key);
        tile_scores<T, m>(s, room, rows_at<T>(call, d.q, d.ld_qk, sequence, head, first), k);
        tile_scores<T, m>(dp, room, rows_at<T>(call, d.d_o, d.ld_o, sequence, head, first),
                          rows_at<T>(call, d.v, d.ld, sequence, key_head, key));
        if (d.cap > 0.0f) queries_cap<m>(s, dp, terms, call);
        queries_differences<m>(s, dp, terms, call.factor, first - key);
        if (tile_is_bounded(call, first, key)) reach_mask<m>(s, call, sequence, first, key, 0.0f);
        tile_put<m>(tile, s);
        tile_accumulate<T, WIDTH, m>(dq, tile, room, k, 0, key == first ? warp_end<m>() : TILE);
    }
    rows_store<T, WIDTH, m>(rows_at<T>(call, d.dq, d.ld, sequence, head, first), dq, call.scale);
}

template <class T, int WIDTH>
static void backward_launch(const struct attention_call &call, cudaStream_t stream)
{
    const struct device_attention &d = call.d;
    int64_t tiles = d.sequences * ((d.tokens + TILE - 1) / TILE);
    const int threads = threads_for(WIDTH), threads_keys = threads_for(2 * WIDTH);
    attention_keys_kernel<T, WIDTH, threads_keys>
        <<<(unsigned)(tiles * d.key_heads), threads_keys, 0, stream>>>(call);
    attention_queries_kernel<T, WIDTH, threads>
        <<<(unsigned)(tiles * d.heads), threads, 0, stream>>>(call);
}

template <class T>
static enum zi_status backward_of(const struct attention_call &call, cudaStream_t stream)
{
    const struct device_attention &d = call.d;
    attention_delta_kernel<T>
        <<<blocks_for(d.sequences * d.heads * d.tokens, BLOCK / WARP, BLOCKS_MOST), BLOCK, 0,
           stream>>>(call);
    ATTENTION_BY_WIDTH(T, d.width, backward_launch, call, stream);
    return cuda_launched("attention_backward");
}

enum zi_status attention_backward(struct device_stream *stream, const struct device_attention *desc)
{
    struct attention_call call;
    ZI_TRY(attention_prepare(desc, &call));
    if (desc->sequences <= 0 || desc->tokens <= 0 || desc->heads <= 0) return ZI_OK;
    cudaStream_t handle = cuda_enter(stream);
    if (!handle) return ZI_ERROR_DEVICE;
    return CUDA_BY_TYPE(desc->type, backward_of, call, handle);
}
