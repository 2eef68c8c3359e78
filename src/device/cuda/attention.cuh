/* SPDX-License-Identifier: Apache-2.0 */
/* Private to attention.cu and attention_backward.cu: tiles of rows, and their products.
 *
 * A block works on a tile of TILE own rows (queries or keys) of one head and passes over tiles of
 * other rows, with two kinds of products:
 *     scores    S[own][other] = sum_d own[d] other[d]         (tile_scores),
 *     values    acc[own][d] += sum_other P[own][other] other[d]   (tile_accumulate).
 * Both read fp32 copies of CHUNK columns, or of some rows, of their operands in shared memory, 16
 * KiB at a time, so that heads of any width need 32 KiB, the tile of P included. Products of bf16 or
 * fp16 are fp32 as well: there are no tensor-core instructions here (kernel.cuh).
 *
 * Threads are SIDE along the columns of a tile, and THREADS / SIDE along its rows: each has M rows
 * that are neighbours, 4 columns of scores, and WIDTH / SIDE columns of acc. SIDE lanes of a warp
 * have the same rows, so sums of a row stay within a warp; a warp has 2 M rows.
 *
 * The operand that is read by columns, and P, lie in shared memory with the rows of a column next to
 * each other, in groups of 4 that are permuted (across), so that neither those who write one row nor
 * those who read one column meet in a bank. */
#ifndef ZI_DEVICE_CUDA_ATTENTION_CUH
#define ZI_DEVICE_CUDA_ATTENTION_CUH

#include "device/cuda/kernel.cuh"

enum {
    /* Rows of a tile. */
    TILE = 64,
    /* Columns of rows that scores take at a time. */
    CHUNK = 32,
    /* Threads along the columns. */
    SIDE = 16,
    /* fp32 numbers of the operands in shared memory. */
    ROOM = 2 * CHUNK * TILE
};

#define LOG2_E 1.44269504f
#define LN_2   0.693147181f

/* What the kernels are given. */
struct attention_call {
    /* ld_qk is set. */
    struct device_attention d;
    /* INT_MAX: none. */
    int window;
    /* All rows of all heads begin at multiples of 16 bytes and are whole packs. */
    bool whole;
    /* What products of queries and keys are multiplied with; log2(e) times that, or log2(e) where scores
     * have a cap; the scale over the cap. */
    float scale, factor, inner;
};

/* How many keys query `query` of a sequence sees, itself and those before it. Past the end, the window. */
static __device__ __forceinline__ int reach_of(const struct attention_call &call, int64_t sequence,
                                               int query)
{
    const int32_t *positions = reinterpret_cast<const int32_t *>(call.d.positions.address);
    if (!positions || query >= (int)call.d.tokens) return call.window;
    int reach = positions[sequence * call.d.tokens + query] + 1;
    return reach < call.window ? reach : call.window;
}

/* The first key of the first tile that queries from `query` on see. */
static __device__ __forceinline__ int tile_first(const struct attention_call &call,
                                                 int64_t sequence, int query)
{
    int reach = reach_of(call, sequence, query);
    return query >= reach ? (query - reach + 1) / TILE * TILE : 0;
}

/* Whether some of the queries from `query` on may not see some of the keys from `key` on that lie before
 * them. */
static __device__ __forceinline__ bool tile_is_bounded(const struct attention_call &call, int query,
                                                       int key)
{
    return call.d.positions.address || query - key + TILE > call.window;
}

/* `hidden` for what a tile has of keys that lie before the window or the text of their query. */
template <int M>
static __device__ __forceinline__ void reach_mask(float (&s)[M][4],
                                                  const struct attention_call &call,
                                                  int64_t sequence, int query, int key,
                                                  float hidden)
{
    int row = (int)threadIdx.x / SIDE * M, column = (int)threadIdx.x % SIDE * 4;
#pragma unroll
    for (int i = 0; i < M; i++) {
        int reach = reach_of(call, sequence, query + row + i);
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (query - key + row + i - column - j >= reach) s[i][j] = hidden;
    }
}

/* Scores of a tile become capped ones. */
template <int M>
static __device__ __forceinline__ void tile_cap(float (&s)[M][4], const struct attention_call &call)
{
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            s[i][j] = call.d.cap * tanh_fp32(s[i][j] * call.inner);
}

/* Some rows of one head of a tensor, from the first row of a tile on. */
template <class T> struct attention_rows {
    T *base;
    int ld;
    /* Rows of the tile that are there, at least 1; others count as zeros. */
    int count;
    int width;
    bool whole;
};

/* Rows of a tile that begins with token `first` of a sequence. */
template <class T>
static __device__ __forceinline__ attention_rows<T> rows_at(const struct attention_call &call,
                                                            struct device_ptr base, int64_t ld,
                                                            int64_t sequence, int64_t head,
                                                            int first)
{
    int rest = (int)call.d.tokens - first;
    return {reinterpret_cast<T *>(base.address) + (sequence * call.d.tokens + first) * ld +
                head * call.d.width,
            (int)ld, rest < TILE ? rest : TILE, (int)call.d.width, call.whole};
}

/* Columns `column` on of a row, a pack of them; zeros where there are none. WHOLE as from.whole. */
template <bool WHOLE, class T>
static __device__ __forceinline__ void pack_load(float (&x)[pack<T>::count],
                                                 const attention_rows<T> &from, int row, int column)
{
    const T *at = from.base + (row * from.ld + column);
    if (WHOLE) {
        uint4 bits = make_uint4(0, 0, 0, 0);
        if (row < from.count && column < from.width) bits = *reinterpret_cast<const uint4 *>(at);
        pack<T> values;
        memcpy(&values, &bits, sizeof values);
#pragma unroll
        for (int i = 0; i < pack<T>::count; i++)
            x[i] = to_fp32(values.of[i]);
    } else {
#pragma unroll
        for (int i = 0; i < pack<T>::count; i++)
            x[i] = row < from.count && column + i < from.width ? to_fp32(at[i]) : 0.0f;
    }
}

/* Where element `row` of column `column` of an operand lies that has TILE rows. */
static __device__ __forceinline__ int across(int column, int row)
{
    return column * TILE + (row ^ (column >> 2 & 7) << 2);
}

/* Pack `item` of CHUNK columns of a tile, from `column` on: a column of the tile becomes a row. */
template <bool WHOLE, class T>
static __device__ __forceinline__ void item_across(float *to, const attention_rows<T> &from,
                                                   int column, int item)
{
    const int count = pack<T>::count, packs = CHUNK / count;
    int row = item / packs, first = item % packs * count;
    float x[count];
    pack_load<WHOLE>(x, from, row, column + first);
#pragma unroll
    for (int j = 0; j < count; j++)
        to[across(first + j, row)] = x[j];
}

/* Pack `item` of rows of a tile, from row `first` on, all WIDTH columns. */
template <bool WHOLE, int WIDTH, class T>
static __device__ __forceinline__ void item_along(float *to, const attention_rows<T> &from,
                                                  int first, int item)
{
    const int count = pack<T>::count, packs = WIDTH / count;
    int row = item / packs, column = item % packs * count;
    float x[count];
    pack_load<WHOLE>(x, from, first + row, column);
#pragma unroll
    for (int j = 0; j < count; j += 4)
        *reinterpret_cast<float4 *>(to + row * WIDTH + column + j) =
            make_float4(x[j], x[j + 1], x[j + 2], x[j + 3]);
}

/* CHUNK columns of the rows of a tile, from `column` on. Single elements are loaded without haste. */
template <class T, int THREADS>
static __device__ __forceinline__ void load_across(float *to, const attention_rows<T> &from,
                                                   int column)
{
    const int items = TILE * CHUNK / pack<T>::count;
    if (from.whole) {
#pragma unroll
        for (int i = 0; i < items; i += THREADS)
            item_across<true>(to, from, column, i + (int)threadIdx.x);
    } else {
#pragma unroll 1
        for (int i = 0; i < items; i += THREADS)
            item_across<false>(to, from, column, i + (int)threadIdx.x);
    }
}

/* Rows first .. first + KEYS - 1 of a tile, all WIDTH columns, as they are stored. */
template <class T, int WIDTH, int KEYS, int THREADS>
static __device__ __forceinline__ void load_along(float *to, const attention_rows<T> &from,
                                                  int first)
{
    const int items = KEYS * WIDTH / pack<T>::count;
    static_assert(items % THREADS == 0, "threads have the same number of items");
    if (from.whole) {
#pragma unroll
        for (int i = 0; i < items; i += THREADS)
            item_along<true, WIDTH>(to, from, first, i + (int)threadIdx.x);
    } else {
#pragma unroll 1
        for (int i = 0; i < items; i += THREADS)
            item_along<false, WIDTH>(to, from, first, i + (int)threadIdx.x);
    }
}

/* N numbers of shared memory at a multiple of their size, which is 8 or 16 bytes or multiples of 16.
 */
template <int N> static __device__ __forceinline__ void shared_load(float *x, const float *from)
{
    static_assert(N == 2 || N == 4, "one access");
    if (N == 2) {
        float2 of = *reinterpret_cast<const float2 *>(from);
        x[0] = of.x;
        x[1] = of.y;
    } else {
        float4 of = *reinterpret_cast<const float4 *>(from);
        x[0] = of.x;
        x[1] = of.y;
        x[2] = of.z;
        x[3] = of.w;
    }
}

/* The thread's rows of one column. */
template <int M>
static __device__ __forceinline__ void load_rows(float (&x)[M], const float *from, int column,
                                                 int first)
{
#pragma unroll
    for (int i = 0; i < M; i += 4)
        shared_load<4>(x + i, from + across(column, first + i));
}

/* The thread's rows and columns of scores. */
template <class T, int M>
static __device__ __forceinline__ void tile_scores(float (&s)[M][4], float *room,
                                                   const attention_rows<T> &own,
                                                   const attention_rows<T> &other)
{
    const int threads = TILE * SIDE / M;
    int row = (int)threadIdx.x / SIDE * M, column = (int)threadIdx.x % SIDE * 4;
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            s[i][j] = 0.0f;
#pragma unroll 1
    for (int first = 0; first < own.width; first += CHUNK) {
        __syncthreads(); /* all have read what was in the room */
        load_across<T, threads>(room, own, first);
        load_across<T, threads>(room + CHUNK * TILE, other, first);
        __syncthreads();
        int depth = own.width - first < CHUNK ? own.width - first : CHUNK;
#pragma unroll 1
        for (int d = 0; d < depth; d += 4)
#pragma unroll
            for (int k = d; k < d + 4; k++) {
                float a[M], b[4];
                load_rows<M>(a, room, k, row);
                load_rows<4>(b, room + CHUNK * TILE, k, column);
#pragma unroll
                for (int i = 0; i < M; i++)
#pragma unroll
                    for (int j = 0; j < 4; j++)
                        s[i][j] = fmaf(a[i], b[j], s[i][j]);
            }
    }
}

/* The thread's scores, or what became of them, into the tile. Between two of these, or one and a
 * reading of others, lies a tile_scores or a tile_accumulate, which begins with a barrier. */
template <int M>
static __device__ __forceinline__ void tile_put(float *tile, const float (&s)[M][4])
{
    int row = (int)threadIdx.x / SIDE * M, column = (int)threadIdx.x % SIDE * 4;
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
        for (int i = 0; i < M; i += 4)
            *reinterpret_cast<float4 *>(tile + across(column + j, row + i)) =
                make_float4(s[i][j], s[i + 1][j], s[i + 2][j], s[i + 3][j]);
}

/* How the columns of acc are dealt: neighbours of a thread, and groups of them. */
template <int WIDTH> struct deal {
    enum { near = WIDTH % (4 * SIDE) == 0 ? 4 : 2, groups = WIDTH / SIDE / near };
};

/* Adds columns begin .. end - 1 of the tile, multiples of 8, times the other rows. All threads of a
 * warp have the same begin and end. */
template <class T, int WIDTH, int M>
static __device__ __forceinline__ void tile_accumulate(float (&acc)[M][WIDTH / SIDE],
                                                       const float *tile, float *room,
                                                       const attention_rows<T> &other, int begin,
                                                       int end)
{
    const int near = deal<WIDTH>::near, most = ROOM / WIDTH;
    const int keys = most >= 64 ? 64 : most >= 32 ? 32 : 16;
    int row = (int)threadIdx.x / SIDE * M, column = (int)threadIdx.x % SIDE * near;
#pragma unroll 1
    for (int first = 0; first < other.count; first += keys) {
        __syncthreads(); /* the tile is there, and all have read what was in the room */
        load_along<T, WIDTH, keys, TILE * SIDE / M>(room, other, first);
        __syncthreads();
        int k_begin = begin > first ? begin : first;
        int k_end = end < first + keys ? end : first + keys;
#pragma unroll 1
        for (int k4 = k_begin; k4 < k_end; k4 += 4)
#pragma unroll
            for (int k = k4; k < k4 + 4; k++) {
                float a[M], b[WIDTH / SIDE];
                load_rows<M>(a, tile, k, row);
#pragma unroll
                for (int g = 0; g < deal<WIDTH>::groups; g++)
                    shared_load<near>(b + g * near,
                                      room + (k - first) * WIDTH + g * SIDE * near + column);
#pragma unroll
                for (int i = 0; i < M; i++)
#pragma unroll
                    for (int j = 0; j < WIDTH / SIDE; j++)
                        acc[i][j] = fmaf(a[i], b[j], acc[i][j]);
            }
    }
}

/* Some neighbours of a row, stored at once. */
template <class T, int N> struct alignas(N * sizeof(T)) neighbours {
    T of[N];
};

/* Stores acc as rows. */
template <class T, int WIDTH, int M>
static __device__ __forceinline__ void rows_store(const attention_rows<T> &to,
                                                  const float (&acc)[M][WIDTH / SIDE], float scale)
{
    const int near = deal<WIDTH>::near;
    int row = (int)threadIdx.x / SIDE * M, first = (int)threadIdx.x % SIDE * near;
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int g = 0; g < deal<WIDTH>::groups; g++) {
            int column = g * SIDE * near + first;
            T *at = to.base + (row + i) * to.ld + column;
            neighbours<T, near> values;
#pragma unroll
            for (int j = 0; j < near; j++)
                from_fp32(&values.of[j], acc[i][g * near + j] * scale);
            if (row + i >= to.count || column >= to.width) continue;
            if (to.whole) {
                *reinterpret_cast<neighbours<T, near> *>(at) = values;
                continue;
            }
#pragma unroll
            for (int j = 0; j < near; j++)
                if (column + j < to.width) at[j] = values.of[j];
        }
}

/* Rows up to the last of the thread's warp, which ends those that it sees of a tile on the diagonal.
 */
template <int M> static __device__ __forceinline__ int warp_end(void)
{
    return ((int)threadIdx.x / WARP + 1) * 2 * M;
}

/* Host. Fills in a call after checking its description. ZI_ERROR_DEVICE for a type or a shape that
 * the kernels cannot do. */
enum zi_status attention_prepare(const struct device_attention *desc, struct attention_call *call);

/* The operation attention_backward, in attention_backward.cu. */
enum zi_status attention_backward(struct device_stream *stream,
                                  const struct device_attention *desc);

/* Threads of a block whose acc have `columns` columns in all: sums of more than 96 numbers in a thread,
 * beside all else, would not stay in registers. */
static constexpr int threads_for(int columns)
{
    return columns > 192 ? 256 : 128;
}

/* Blocks that a multiprocessor is to have at least, which says how many registers a thread may use. */
static constexpr int blocks_least(int threads, int columns)
{
    return threads > 128 ? 1 : columns > 64 ? 2 : 3;
}

/* Calls `run<type, width>(...)` for the least width that heads fit in. */
#define ATTENTION_BY_WIDTH(T, width, run, ...)                                                     \
    ((width) <= 32    ? run<T, 32>(__VA_ARGS__)                                                    \
     : (width) <= 64  ? run<T, 64>(__VA_ARGS__)                                                    \
     : (width) <= 96  ? run<T, 96>(__VA_ARGS__)                                                    \
     : (width) <= 128 ? run<T, 128>(__VA_ARGS__)                                                   \
                      : run<T, 256>(__VA_ARGS__))

#endif
