/* SPDX-License-Identifier: Apache-2.0 */
/* Embedding rows, and the column sums that gradients of biases are.
 *
 * The backward pass adds rows of dy to rows of the table in token order, with the bits of the cpu
 * device. Ids are dealt to blocks, id i to block i mod 2^bits; a block walks all ids of the call
 * (4 bytes a token, from cache), keeps those that are its own in order, sorts up to LIST_MOST of them
 * by id without changing the order within an id, and its warps then add each id's rows of dy, of some
 * columns, in registers. No memory beside shared memory, no atomics. A frequent id is bounded by how
 * fast a block can read its rows. */
#include "device/cuda/lanes.cuh"

extern "C" {
#include "base/log.h"
}

enum {
    WARPS = BLOCK / WARP,
    /* Tokens that a block looks at at a time, and that each of its threads does. */
    CHUNK = 1024,
    LOOKS = CHUNK / BLOCK,
    /* Tokens that it keeps at most before it adds their rows. */
    LIST_MOST = 2 * CHUNK,
    /* Columns of a block, blocks that fill a device, ids of a block at least unless that needs more. */
    TILE = 1024,
    BLOCKS_GOOD = 1024,
    IDS_GOOD = 4,
    /* Columns of a thread, where addresses allow; rows that it reads before it adds them. */
    SCATTER_LANES = 4,
    SCATTER_ROWS = 8,
    /* Threads of a block of column sums, rows of a warp there, and its rows at least. */
    SUMS_BLOCK = 1024,
    SUMS_ROWS = 8,
    SUMS_BLOCK_ROWS = 256
};

static float scale_of(const struct device_embedding *e)
{
    return e->scale > 0.0f ? e->scale : 1.0f;
}

template <class T> struct embed_view {
    T *y;
    const int32_t *ids;
    const T *table, *position;
    /* Of each row; null: its place in the sequence. */
    const int32_t *positions;
    int64_t rows, tokens, columns, first, count;
    bool add;
    float scale;
};

/* One row: y = scale from + below, either of which may be null. x + -0 is x, whatever its sign. */
template <class T, int N>
static __device__ __forceinline__ void embed_row(T *y, const T *from, const T *below, int columns,
                                                 float scale)
{
    float none = from || below ? -0.0f : 0.0f;
    for (int c = (int)threadIdx.x % WARP * N; c < columns; c += WARP * N) {
        float sum[N], x[N];
#pragma unroll
        for (int j = 0; j < N; j++)
            sum[j] = x[j] = none;
        if (from) lanes_load<N>(sum, from + c);
        if (below) lanes_load<N>(x, below + c);
#pragma unroll
        for (int j = 0; j < N; j++)
            sum[j] = fmaf(sum[j], scale, x[j]);
        lanes_store<N>(y + c, sum);
    }
}

/* A warp per row. */
template <class T, int N> __global__ void __launch_bounds__(BLOCK) embed_kernel(embed_view<T> v)
{
    int64_t warps = (int64_t)gridDim.x * WARPS;
    for (int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP; row < v.rows;
         row += warps) {
        int64_t id = v.ids[row] - v.first;
        T *y = v.y + row * v.columns;
        const T *from = id >= 0 && id < v.count ? v.table + id * v.columns : nullptr;
        int64_t place = v.positions ? v.positions[row] : row % v.tokens;
        const T *below = v.position ? v.position + place * v.columns : nullptr;
        if (v.add) below = y;
        if (from || !v.add) embed_row<T, N>(y, from, below, (int)v.columns, v.scale);
    }
}

template <class T>
static enum zi_status embed_of(struct device_stream *stream, const struct device_embedding *e)
{
    embed_view<T> v = {at<T>(e->y),
                       at<const int32_t>(e->token_ids),
                       at<const T>(e->table),
                       at<const T>(e->position),
                       at<const int32_t>(e->positions),
                       e->sequences * e->tokens,
                       e->tokens,
                       e->columns,
                       e->first,
                       e->ids,
                       e->add,
                       scale_of(e)};
    if (v.rows <= 0 || v.columns <= 0) return ZI_OK;
    bool fit = lanes_fit(e->y.address | e->table.address | e->position.address |
                         (uintptr_t)v.columns * sizeof(T));
    unsigned blocks = blocks_for(v.rows, WARPS, BLOCKS_MOST);
    cudaStream_t on = cuda_enter(stream);
    if (!on) return ZI_ERROR_DEVICE;
    if (fit)
        embed_kernel<T, lanes_most<T>><<<blocks, BLOCK, 0, on>>>(v);
    else
        embed_kernel<T, 1><<<blocks, BLOCK, 0, on>>>(v);
    return cuda_launched("embed");
}

static enum zi_status embed(struct device_stream *stream, const struct device_embedding *e)
{
    return CUDA_BY_TYPE(e->type, embed_of, stream, e);
}

template <class T> struct scatter_view {
    const T *dy;
    const int32_t *ids;
    float *table;
    int64_t rows, columns, first, count;
    int bits;
    float scale;
};

/* What a block keeps: tokens and their ids' numbers in the block, in token order; their places by id
 * and, within an id, in token order; where each id begins there. */
struct scatter_list {
    uint32_t row[LIST_MOST];
    uint8_t number[LIST_MOST];
    uint16_t order[LIST_MOST];
    int start[BLOCK + 1];
    /* Of warps, for two turns: one is read while the next is written. */
    int found[2][WARPS];
};

/* Sum of x over the threads before this one; `room`: a number per warp. All threads of the block. */
static __device__ __forceinline__ int block_before(int x, int *room)
{
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP, sum = x;
    for (int lanes = 1; lanes < WARP; lanes *= 2) {
        int more = __shfl_up_sync(0xffffffffu, sum, lanes);
        if (lane >= lanes) sum += more;
    }
    if (lane == WARP - 1) room[warp] = sum;
    __syncthreads();
    int before = sum - x;
    for (int w = 0; w < WARPS; w++)
        before += w < warp ? room[w] : 0;
    return before;
}

/* Looks at the CHUNK tokens from `base` on and appends the block's own to the n on its list; gives how
 * many it has then. All threads of the block. */
template <class T>
static __device__ __forceinline__ int scatter_collect(const scatter_view<T> &v, scatter_list &list,
                                                      int64_t base, int n)
{
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    int64_t first = base + warp * (WARP * LOOKS) + lane;
    int64_t id[LOOKS];
    unsigned own[LOOKS];
    int found = 0;
#pragma unroll
    for (int k = 0; k < LOOKS; k++) {
        int64_t row = first + k * WARP;
        id[k] = row < v.rows ? v.ids[row] - v.first : -1;
        bool is_own = id[k] >= 0 && id[k] < v.count && (id[k] & ((1 << v.bits) - 1)) == blockIdx.x;
        own[k] = __ballot_sync(0xffffffffu, is_own);
        found += __popc(own[k]);
    }
    int *turn = list.found[base / CHUNK % 2];
    if (lane == 0) turn[warp] = found;
    __syncthreads();
    int at = n;
    for (int w = 0; w < WARPS; w++) {
        at += w < warp ? turn[w] : 0;
        n += turn[w];
    }
#pragma unroll
    for (int k = 0; k < LOOKS; k++) {
        if (own[k] >> lane & 1) {
            int place = at + __popc(own[k] & ((1u << lane) - 1));
            list.row[place] = (uint32_t)(first + k * WARP);
            list.number[place] = (uint8_t)(id[k] >> v.bits);
        }
        at += __popc(own[k]);
    }
    return n;
}

/* Sorts the n on the list by id: thread i gathers the tokens of id number i. All threads. */
static __device__ __forceinline__ void scatter_sort(scatter_list &list, int n, int numbers)
{
    __shared__ int room[WARPS];
    int number = (int)threadIdx.x, count = 0;
    __syncthreads();
    if (number < numbers)
        for (int i = 0; i < n; i++)
            count += list.number[i] == number;
    int place = block_before(count, room);
    list.start[number] = place;
    if (number == BLOCK - 1) list.start[BLOCK] = place + count;
    if (count > 0)
        for (int i = 0; i < n; i++)
            if (list.number[i] == number) list.order[place++] = (uint16_t)i;
    __syncthreads();
}

/* Adds scale times the rows of dy of the tokens order[0..count), from column c on, to `to`, in that order. */
template <class T, int N>
static __device__ __forceinline__ void scatter_add(const scatter_view<T> &v,
                                                   const scatter_list &list, const uint16_t *order,
                                                   int count, int64_t c, float *to)
{
    float sum[N];
    int i = 0;
    lanes_load<N>(sum, to);
    for (; i + SCATTER_ROWS <= count; i += SCATTER_ROWS) {
        float x[SCATTER_ROWS][N];
#pragma unroll
        for (int k = 0; k < SCATTER_ROWS; k++)
            lanes_load<N>(x[k], v.dy + list.row[order[i + k]] * v.columns + c);
#pragma unroll
        for (int k = 0; k < SCATTER_ROWS; k++)
#pragma unroll
            for (int j = 0; j < N; j++)
                sum[j] = fmaf(x[k][j], v.scale, sum[j]);
    }
    for (; i < count; i++) {
        float x[N];
        lanes_load<N>(x, v.dy + list.row[order[i]] * v.columns + c);
#pragma unroll
        for (int j = 0; j < N; j++)
            sum[j] = fmaf(x[j], v.scale, sum[j]);
    }
    lanes_store<N>(to, sum);
}

/* A block takes ids number 0, 1 .. of those that are blockIdx.x modulo 2^bits, and a tile of columns,
 * which its warps cut into strips. */
template <class T, int N>
__global__ void __launch_bounds__(BLOCK) scatter_kernel(const scatter_view<T> v)
{
    __shared__ scatter_list list;
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP, n = 0;
    int numbers = (int)((v.count - 1 - blockIdx.x) >> v.bits) + 1;
    int64_t left = (int64_t)blockIdx.y * TILE,
            right = left + TILE < v.columns ? left + TILE : v.columns;
    int strips = (int)(right - left + WARP * N - 1) / (WARP * N);
    for (int64_t base = 0; base < v.rows; base += CHUNK) {
        n = scatter_collect(v, list, base, n);
        if (n == 0 || (n <= LIST_MOST - CHUNK && base + CHUNK < v.rows)) continue;
        scatter_sort(list, n, numbers);
        for (int item = warp; item < numbers * strips; item += WARPS) {
            int number = item / strips, start = list.start[number];
            int64_t c = left + (item - number * strips) * (WARP * N) + lane * N;
            int count = list.start[number + 1] - start;
            if (count == 0 || c >= right) continue;
            int64_t id = ((int64_t)number << v.bits) + blockIdx.x;
            scatter_add<T, N>(v, list, list.order + start, count, c, v.table + id * v.columns + c);
        }
        n = 0;
    }
}

template <class T>
static enum zi_status scatter(struct device_stream *stream, const struct device_embedding *e)
{
    scatter_view<T> v = {at<const T>(e->y),
                         at<const int32_t>(e->token_ids),
                         at<float>(e->table),
                         e->sequences * e->tokens,
                         e->columns,
                         e->first,
                         e->ids,
                         0,
                         scale_of(e)};
    int64_t tiles = (v.columns + TILE - 1) / TILE;
    while ((v.count - 1) >> v.bits >= BLOCK)
        v.bits++;
    while (v.count > (int64_t)IDS_GOOD << v.bits && tiles << v.bits < BLOCKS_GOOD)
        v.bits++;
    dim3 blocks(1u << v.bits, (unsigned)tiles);
    bool fit = lanes_fit(e->y.address | e->table.address | (uintptr_t)v.columns * sizeof(float));
    cudaStream_t on = cuda_enter(stream);
    if (!on) return ZI_ERROR_DEVICE;
    if (fit)
        scatter_kernel<T, SCATTER_LANES><<<blocks, BLOCK, 0, on>>>(v);
    else
        scatter_kernel<T, 1><<<blocks, BLOCK, 0, on>>>(v);
    return cuda_launched("embed_backward");
}

/* position [T,C] += dy of all sequences, in their order. */
template <class T> struct position_body {
    float *position;
    const T *dy;
    int64_t sequences, stride;
    template <int N> __device__ __forceinline__ void run(int64_t i) const
    {
        float sum[N], x[N];
        lanes_load<N>(sum, position + i);
#pragma unroll 4
        for (int64_t b = 0; b < sequences; b++) {
            lanes_load<N>(x, dy + b * stride + i);
#pragma unroll
            for (int j = 0; j < N; j++)
                sum[j] += x[j];
        }
        lanes_store<N>(position + i, sum);
    }
};

/* The same where rows say their position: as ids of a table of T rows. */
template <class T>
static enum zi_status scatter_positions(struct device_stream *stream,
                                        const struct device_embedding *e)
{
    struct device_embedding as_ids = *e;
    as_ids.token_ids = e->positions;
    as_ids.table = e->position;
    as_ids.first = 0;
    as_ids.ids = e->tokens;
    return scatter<T>(stream, &as_ids);
}

template <class T>
static enum zi_status embed_backward_of(struct device_stream *stream,
                                        const struct device_embedding *e)
{
    int64_t stride = e->tokens * e->columns;
    if (e->sequences <= 0 || stride <= 0) return ZI_OK;
    if (!device_is_null(e->table) && e->ids > 0) ZI_TRY(scatter<T>(stream, e));
    if (device_is_null(e->position)) return ZI_OK;
    if (!device_is_null(e->positions)) return scatter_positions<T>(stream, e);
    position_body<T> body = {at<float>(e->position), at<const T>(e->y), e->sequences, stride};
    bool fit = lanes_fit(e->position.address | e->y.address | (uintptr_t)stride * sizeof(T));
    return each<lanes_most<T>>(stream, body, stride, fit, "embed_backward");
}

static enum zi_status embed_backward(struct device_stream *stream, const struct device_embedding *e)
{
    if (e->sequences * e->tokens > UINT32_MAX)
        return zi_fail(ZI_ERROR_DEVICE, "device",
                       "embed_backward: more than %u tokens in a call; use smaller micro-batches",
                       UINT32_MAX);
    return CUDA_BY_TYPE(e->type, embed_backward_of, stream, e);
}

template <class T> struct sums_view {
    float *to;
    const T *from;
    int64_t rows, columns, ld;
    /* Rows of a block. */
    int64_t share;
    bool accumulate;
};

/* Sums of WARP * N columns of the rows of block blockIdx.y, added up over its warps in order, to line
 * blockIdx.y of `to`. */
template <class T, int N> __global__ void __launch_bounds__(SUMS_BLOCK) sums_kernel(sums_view<T> v)
{
    __shared__ float part[SUMS_BLOCK / WARP][WARP * N];
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP,
        warps = (int)blockDim.x / WARP;
    int64_t first = (int64_t)blockIdx.x * (WARP * N), c = first + lane * N;
    int64_t row = blockIdx.y * v.share, end = row + v.share < v.rows ? row + v.share : v.rows;
    float sum[N] = {0}, x[N];
    if (c < v.columns) {
#pragma unroll 8
        for (row += warp; row < end; row += warps) {
            lanes_load<N>(x, v.from + row * v.ld + c);
#pragma unroll
            for (int j = 0; j < N; j++)
                sum[j] += x[j];
        }
    }
#pragma unroll
    for (int j = 0; j < N; j++)
        part[warp][lane * N + j] = sum[j];
    __syncthreads();
    for (int i = (int)threadIdx.x; i < WARP * N && first + i < v.columns; i += (int)blockDim.x) {
        float *to = v.to + blockIdx.y * v.columns + first + i, total = 0.0f;
        for (int w = 0; w < warps; w++)
            total += part[w][i];
        *to = v.accumulate ? *to + total : total;
    }
}

/* Rows [blocks, columns] of fp32 sums that lie without gaps, in order. */
static __global__ void __launch_bounds__(BLOCK) sums_finish_kernel(sums_view<float> v)
{
    int64_t c = (int64_t)blockIdx.x * BLOCK + threadIdx.x;
    if (c >= v.columns) return;
    float total = 0.0f;
    for (int64_t row = 0; row < v.rows; row++)
        total += v.from[row * v.ld + c];
    v.to[c] = v.accumulate ? v.to[c] + total : total;
}

template <class T>
static enum zi_status sums_of(struct device_stream *stream, struct device_ptr sums,
                              struct device_ptr from, const int64_t shape[3], bool accumulate)
{
    int64_t rows = shape[0], columns = shape[1], ld = shape[2];
    bool pairs = from.address % (2 * sizeof(T)) == 0 && (ld | columns) % 2 == 0;
    int64_t room = 2 * CUDA_PARTIALS / columns,
            splits = (rows + SUMS_BLOCK_ROWS - 1) / SUMS_BLOCK_ROWS;
    if (splits > room) splits = room;
    if (splits < 1) splits = 1;
    float *parts = (float *)cuda_stream_of(stream)->partials;
    sums_view<T> v = {
        splits > 1 ? parts : at<float>(sums), at<const T>(from),        rows, columns, ld,
        (rows + splits - 1) / splits,         accumulate && splits == 1};
    int64_t width = pairs ? 2 * WARP : WARP, warps = (v.share + SUMS_ROWS - 1) / SUMS_ROWS;
    unsigned threads = (unsigned)(warps < 1                   ? 1
                                  : warps < SUMS_BLOCK / WARP ? warps
                                                              : SUMS_BLOCK / WARP) *
                       WARP;
    dim3 blocks((unsigned)((columns + width - 1) / width), (unsigned)splits);
    cudaStream_t on = cuda_enter(stream);
    if (!on) return ZI_ERROR_DEVICE;
    if (pairs)
        sums_kernel<T, 2><<<blocks, threads, 0, on>>>(v);
    else
        sums_kernel<T, 1><<<blocks, threads, 0, on>>>(v);
    if (splits > 1) {
        sums_view<float> finish = {at<float>(sums), parts,  splits,    columns,
                                   columns,         splits, accumulate};
        sums_finish_kernel<<<(unsigned)((columns + BLOCK - 1) / BLOCK), BLOCK, 0, on>>>(finish);
    }
    return cuda_launched("bias_backward");
}

enum zi_status cuda_column_sums(struct device_stream *stream, enum zi_dtype type,
                                struct device_ptr sums, struct device_ptr from,
                                const int64_t shape[3], bool accumulate)
{
    if (shape[1] <= 0) return ZI_OK;
    return CUDA_BY_TYPE(type, sums_of, stream, sums, from, shape, accumulate);
}

static enum zi_status bias_backward(struct device_stream *stream, enum zi_dtype type,
                                    struct device_ptr dbias, struct device_ptr dy, int64_t rows,
                                    int64_t columns, int64_t ld, bool accumulate)
{
    const int64_t shape[3] = {rows, columns, ld};
    return cuda_column_sums(stream, type, dbias, dy, shape, accumulate);
}

void cuda_embedding_register(struct device_operations *operations)
{
    operations->embed = embed;
    operations->embed_backward = embed_backward;
    operations->bias_backward = bias_backward;
}
