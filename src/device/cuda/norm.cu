/* SPDX-License-Identifier: Apache-2.0 */
/* LayerNorm and RMSNorm, forward and backward, with the formulas of the cpu device
 * (device/cpu/k_norm.c).
 *
 * Forward: a row lies in the registers of a warp, or of a block where it is longer than 1024 columns,
 * and is read once; rows of more than 8192 columns, or that do not lie at multiples of 16 bytes, are
 * read by a block in three passes.
 *
 * Backward: a block takes DEVICE_NORM_ROWS rows in turns. In a turn each of its warps first takes the
 * two sums of a row, or of a part of it; then every thread does its columns of all rows of the turn,
 * which are in cache by now, and adds to its columns' sums over rows, in registers. These go to the
 * block's lines of scratch, and are added up over blocks by the column sums of biases.
 *
 * Where a row of the tensor holds groups of columns, a row here is one of these. */
#include "device/cuda/lanes.cuh"

extern "C" {
#include "base/log.h"
}

enum {
    /* Columns of a thread at most, forward. */
    COLUMNS = 32,
    WARP_COLUMNS = WARP * COLUMNS,
    BLOCK_COLUMNS = BLOCK * COLUMNS,
    /* Threads of a block at most, backward; columns beyond which a thread takes more than two. */
    BACKWARD_BLOCK = 640,
    NARROW_COLUMNS = 2 * BACKWARD_BLOCK,
    /* Parts of a row that its two sums are taken in at most, and columns of a part. */
    PARTS_MOST = 4,
    PART_COLUMNS = 2048,
    /* Rows that a thread of few columns reads together. */
    TOGETHER = 4
};

template <class T> struct norm_view {
    const T *x, *weight, *bias;
    T *y;
    float *mean, *rstd;
    /* Of all groups; leading dimensions of x and y. */
    int64_t rows, ld, ld_y;
    int columns, groups;
    bool rms;
    float epsilon, offset;
};

/* Sum over the threads of a row: a warp or the block. */
template <bool wide> static __device__ __forceinline__ float row_sum(float x, float *room)
{
    return wide ? block_sum(x, room) : warp_sum(x);
}

/* Element at which a row begins. */
static __device__ __forceinline__ int64_t row_at(int64_t row, int groups, int64_t ld, int columns)
{
    if (groups == 1) return row * ld;
    int64_t of = row / groups;
    return of * ld + (row - of * groups) * columns;
}

/* y of N columns, which it has from `to` on: (x - mean) rstd (weight + offset) + bias. */
template <class T, int N>
static __device__ __forceinline__ void norm_apply(const norm_view<T> &v, int64_t to, int c,
                                                  const float *x, const float statistics[2])
{
    float y[N], weight[N], bias[N] = {0};
    lanes_load<N>(weight, v.weight + c);
    if (v.bias) lanes_load<N>(bias, v.bias + c);
#pragma unroll
    for (int j = 0; j < N; j++)
        y[j] = fmaf((x[j] - statistics[0]) * statistics[1], weight[j] + v.offset, bias[j]);
    lanes_store<N>(v.y + to + c, y);
}

/* Writes the statistics of a row, by one of its threads; squares: the sum of (x - mean)^2. */
template <class T>
static __device__ __forceinline__ float norm_deviation(const norm_view<T> &v, int64_t row,
                                                       float mean, float squares, bool writes)
{
    float rstd = 1.0f / sqrtf(squares / (float)v.columns + v.epsilon);
    if (writes && v.mean) v.mean[row] = mean;
    if (writes && v.rstd) v.rstd[row] = rstd;
    return rstd;
}

/* A row per block (wide) or per warp, in registers. */
template <class T, bool wide> __global__ void __launch_bounds__(BLOCK) norm_kernel(norm_view<T> v)
{
    constexpr int N = lanes_most<T>, PACKS = COLUMNS / N;
    __shared__ float room[WARP];
    int threads = wide ? (int)blockDim.x : WARP, thread = (int)threadIdx.x % threads;
    int groups = (int)blockDim.x / threads;
    int64_t row = (int64_t)blockIdx.x * groups + threadIdx.x / threads,
            stride = (int64_t)gridDim.x * groups;
    for (; row < v.rows; row += stride) {
        const T *from = v.x + row_at(row, v.groups, v.ld, v.columns);
        float x[PACKS][N], sum = 0.0f, squares = 0.0f;
#pragma unroll
        for (int p = 0; p < PACKS; p++) {
            int c = (thread + p * threads) * N;
#pragma unroll
            for (int j = 0; j < N; j++)
                x[p][j] = 0.0f;
            if (c < v.columns) lanes_load<N>(x[p], from + c);
#pragma unroll
            for (int j = 0; j < N; j++)
                sum += x[p][j];
        }
        float statistics[2] = {v.rms ? 0.0f : row_sum<wide>(sum, room) / (float)v.columns, 0.0f};
#pragma unroll
        for (int p = 0; p < PACKS; p++) {
            if ((thread + p * threads) * N >= v.columns) continue;
#pragma unroll
            for (int j = 0; j < N; j++)
                squares += (x[p][j] - statistics[0]) * (x[p][j] - statistics[0]);
        }
        squares = row_sum<wide>(squares, room);
        statistics[1] = norm_deviation(v, row, statistics[0], squares, thread == 0);
        int64_t to = row_at(row, v.groups, v.ld_y, v.columns);
#pragma unroll
        for (int p = 0; p < PACKS; p++) {
            int c = (thread + p * threads) * N;
            if (c < v.columns) norm_apply<T, N>(v, to, c, x[p], statistics);
        }
    }
}

/* A row per block, of any length, in three passes. */
template <class T> __global__ void __launch_bounds__(BLOCK) norm_any_kernel(norm_view<T> v)
{
    __shared__ float room[WARP];
    for (int64_t row = blockIdx.x; row < v.rows; row += gridDim.x) {
        const T *x = v.x + row_at(row, v.groups, v.ld, v.columns);
        int64_t to = row_at(row, v.groups, v.ld_y, v.columns);
        float sum = 0.0f, squares = 0.0f, statistics[2] = {0.0f, 0.0f};
        for (int c = (int)threadIdx.x; c < v.columns && !v.rms; c += BLOCK)
            sum += to_fp32(x[c]);
        if (!v.rms) statistics[0] = block_sum(sum, room) / (float)v.columns;
        for (int c = (int)threadIdx.x; c < v.columns; c += BLOCK) {
            float d = to_fp32(x[c]) - statistics[0];
            squares += d * d;
        }
        squares = block_sum(squares, room);
        statistics[1] = norm_deviation(v, row, statistics[0], squares, threadIdx.x == 0);
        for (int c = (int)threadIdx.x; c < v.columns; c += BLOCK) {
            float value = to_fp32(x[c]);
            norm_apply<T, 1>(v, to, c, &value, statistics);
        }
    }
}

static enum zi_status norm_check(const struct device_norm *n)
{
    if (n->type != ZI_FP32 && !zi_dtype_is_half(n->type))
        return zi_fail(ZI_ERROR_DEVICE, "device",
                       "norm: type %s is not known; use fp32, bf16 or fp16",
                       zi_dtype_name(n->type));
    if (n->columns > INT32_MAX / 2)
        return zi_fail(ZI_ERROR_DEVICE, "device", "norm: rows of %lld columns are longer than %d",
                       (long long)n->columns, INT32_MAX / 2);
    return ZI_OK;
}

static int64_t groups_of(const struct device_norm *n)
{
    return n->groups > 0 ? n->groups : 1;
}

/* A leading dimension, where 0 stands for that of rows behind each other. */
static int64_t ld_or_dense(const struct device_norm *n, int64_t ld)
{
    return ld > 0 ? ld : groups_of(n) * n->columns;
}

template <class T>
static enum zi_status norm_of(struct device_stream *stream, const struct device_norm *n)
{
    norm_view<T> v = {at<const T>(n->x),
                      at<const T>(n->weight),
                      at<const T>(n->bias),
                      at<T>(n->y),
                      at<float>(n->mean),
                      at<float>(n->rstd),
                      n->rows * groups_of(n),
                      ld_or_dense(n, n->ld),
                      ld_or_dense(n, n->ld_y),
                      (int)n->columns,
                      (int)groups_of(n),
                      n->rms,
                      n->epsilon,
                      n->offset};
    bool fit = lanes_fit(n->x.address | n->weight.address | n->bias.address | n->y.address |
                         (uintptr_t)(n->columns | v.ld | v.ld_y) * sizeof(T));
    int64_t threads = (n->columns + WARP_COLUMNS - 1) / WARP_COLUMNS * WARP;
    cudaStream_t on = cuda_enter(stream);
    if (!on) return ZI_ERROR_DEVICE;
    if (fit && v.columns <= WARP_COLUMNS)
        norm_kernel<T, false><<<blocks_for(v.rows, BLOCK / WARP, BLOCKS_MOST), BLOCK, 0, on>>>(v);
    else if (fit && v.columns <= BLOCK_COLUMNS)
        norm_kernel<T, true><<<blocks_for(v.rows, 1, BLOCKS_MOST), (unsigned)threads, 0, on>>>(v);
    else
        norm_any_kernel<T><<<blocks_for(v.rows, 1, BLOCKS_MOST), BLOCK, 0, on>>>(v);
    return cuda_launched("norm");
}

static enum zi_status norm(struct device_stream *stream, const struct device_norm *n)
{
    ZI_TRY(norm_check(n));
    if (n->rows <= 0 || n->columns <= 0) return ZI_OK;
    return CUDA_BY_TYPE(n->type, norm_of, stream, n);
}

template <class T> struct norm_backward_view {
    const T *x, *dy, *weight;
    T *dx;
    const float *mean, *rstd;
    /* Of all blocks; null: not wanted. */
    float *dweight, *dbias;
    /* Of all groups; leading dimensions of x, and of dy and dx. */
    int64_t rows, ld, ld_y;
    /* Parts of a row, a power of two. */
    int columns, parts, groups;
    /* 1 / columns */
    float inverse, offset;
    bool rms, replace;
};

/* Of a block's rows: where they begin in x, and in dy and dx; sums of g = dy (weight + offset) and of g (x - mean)
 * in parts, mean, reciprocal deviation. */
struct norm_rows {
    int64_t x[DEVICE_NORM_ROWS], y[DEVICE_NORM_ROWS];
    float g[DEVICE_NORM_ROWS][PARTS_MOST], gn[DEVICE_NORM_ROWS][PARTS_MOST];
    float mean[DEVICE_NORM_ROWS], rstd[DEVICE_NORM_ROWS];
};

/* The calling warp's part of its row of the turn that begins with row `turn` of the block. */
template <class T, int N>
static __device__ __forceinline__ void norm_row_sums(const norm_backward_view<T> &v,
                                                     norm_rows &rows, int64_t first, int turn)
{
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    int row = turn + warp / v.parts, part = warp % v.parts;
    if (row >= DEVICE_NORM_ROWS || first + row >= v.rows) return;
    int64_t x_at = row_at(first + row, v.groups, v.ld, v.columns);
    int64_t dy_at = row_at(first + row, v.groups, v.ld_y, v.columns);
    const T *x = v.x + x_at, *dy = v.dy + dy_at;
    float mean = v.rms ? 0.0f : v.mean[first + row], sum_g = 0.0f, sum_gn = 0.0f;
#pragma unroll 2
    for (int c = (part * WARP + lane) * N; c < v.columns; c += v.parts * WARP * N) {
        float a[N], g[N], weight[N];
        lanes_load<N>(a, x + c);
        lanes_load<N>(g, dy + c);
        lanes_load<N>(weight, v.weight + c);
#pragma unroll
        for (int j = 0; j < N; j++) {
            g[j] *= weight[j] + v.offset;
            sum_g += g[j];
            sum_gn = fmaf(g[j], a[j] - mean, sum_gn);
        }
    }
    sum_g = warp_sum(sum_g);
    sum_gn = warp_sum(sum_gn);
    if (lane != 0) return;
    rows.g[row][part] = sum_g;
    rows.gn[row][part] = sum_gn;
    if (part != 0) return;
    rows.x[row] = x_at;
    rows.y[row] = dy_at;
    rows.mean[row] = mean;
    rows.rstd[row] = v.rstd[first + row];
}

/* What the columns of a row need, in every thread. */
struct norm_row {
    float mean, rstd, mean_g, mean_gn;
};

/* What a thread keeps of its columns: their weight, and their sums over the block's rows. */
template <class T, int N> struct norm_columns {
    lanes_bits<T, N> weight;
    float dweight[N], dbias[N];
};

template <class T>
static __device__ __forceinline__ norm_row norm_row_of(const norm_backward_view<T> &v,
                                                       const norm_rows &rows, int row)
{
    float g = 0.0f, gn = 0.0f;
    for (int part = 0; part < v.parts; part++) {
        g += rows.g[row][part];
        gn += rows.gn[row][part];
    }
    float rstd = rows.rstd[row];
    return {rows.mean[row], rstd, v.rms ? 0.0f : g * v.inverse, gn * rstd * v.inverse};
}

/* N columns of R rows from row `row` of the block on: adds to dx, or replaces it, and adds to the sums
 * over rows. All that is read is asked for before anything is written. */
template <class T, int N, int R>
static __device__ __forceinline__ void norm_columns_backward(const norm_backward_view<T> &v,
                                                             const norm_rows &rows, int row, int c,
                                                             norm_columns<T, N> &columns)
{
    lanes_bits<T, N> x[R], dy[R], dx[R];
#pragma unroll
    for (int r = 0; r < R; r++) {
        x[r] = lanes_read<N>(v.x + rows.x[row + r] + c);
        dy[r] = lanes_read<N>(v.dy + rows.y[row + r] + c);
        dx[r] = {};
        if (!v.replace) dx[r] = lanes_read<N>(v.dx + rows.y[row + r] + c);
    }
#pragma unroll
    for (int r = 0; r < R; r++) {
        norm_row of = norm_row_of(v, rows, row + r);
        float sum[N];
#pragma unroll
        for (int j = 0; j < N; j++) {
            float normed = (to_fp32(x[r].of[j]) - of.mean) * of.rstd, slope = to_fp32(dy[r].of[j]);
            float g = fmaf(slope, to_fp32(columns.weight.of[j]) + v.offset, -of.mean_g);
            sum[j] = fmaf(of.rstd, fmaf(-normed, of.mean_gn, g), to_fp32(dx[r].of[j]));
            columns.dweight[j] = fmaf(slope, normed, columns.dweight[j]);
            columns.dbias[j] += slope;
        }
        lanes_store<N>(v.dx + rows.y[row + r] + c, sum);
    }
}

/* Threads take N columns at a time in the second half of a turn, P in the first. */
template <class T, int N, int P>
__global__ void __launch_bounds__(BACKWARD_BLOCK, 1) norm_backward_kernel(norm_backward_view<T> v)
{
    __shared__ norm_rows rows;
    int64_t first = (int64_t)blockIdx.x * DEVICE_NORM_ROWS;
    int count = v.rows - first < DEVICE_NORM_ROWS ? (int)(v.rows - first) : DEVICE_NORM_ROWS;
    int turns = (int)blockDim.x / WARP / v.parts;
    for (int left = 0; left < v.columns; left += (int)blockDim.x * N) {
        int c = left + (int)threadIdx.x * N;
        norm_columns<T, N> columns = {};
        if (c < v.columns) columns.weight = lanes_read<N>(v.weight + c);
        for (int turn = 0; turn < count; turn += turns) {
            if (left == 0) {
                norm_row_sums<T, P>(v, rows, first, turn);
                __syncthreads();
            }
            if (c >= v.columns) continue;
            int row = turn, end = turn + turns < count ? turn + turns : count;
            for (; row + TOGETHER <= end && N < 4; row += TOGETHER)
                norm_columns_backward < T, N, N<4 ? TOGETHER : 1>(v, rows, row, c, columns);
            for (; row < end; row++)
                norm_columns_backward<T, N, 1>(v, rows, row, c, columns);
        }
        int64_t at = 2 * (int64_t)blockIdx.x * v.columns + c;
        if (c < v.columns && v.dweight) lanes_store<N>(v.dweight + at, columns.dweight);
        if (c < v.columns && v.dbias) lanes_store<N>(v.dbias + at, columns.dbias);
    }
}

/* Enqueues the kernel, a block of whole warps per DEVICE_NORM_ROWS rows. */
template <class T, int N, int P>
static enum zi_status norm_backward_launch(cudaStream_t on, norm_backward_view<T> v)
{
    int64_t warps = ((int64_t)v.columns + WARP * N - 1) / (WARP * N), most = BACKWARD_BLOCK / WARP;
    if (warps > most) warps = most;
    while (v.parts < PARTS_MOST && v.columns > PART_COLUMNS * v.parts)
        v.parts *= 2;
    warps = (warps + PARTS_MOST - 1) / PARTS_MOST * PARTS_MOST;
    unsigned blocks = (unsigned)((v.rows + DEVICE_NORM_ROWS - 1) / DEVICE_NORM_ROWS);
    norm_backward_kernel<T, N, P><<<blocks, (unsigned)warps * WARP, 0, on>>>(v);
    return cuda_launched("norm_backward");
}

template <class T>
static enum zi_status norm_backward_of(struct device_stream *stream, const struct device_norm *n)
{
    constexpr int most = lanes_most<T>;
    float *scratch = at<float>(n->scratch);
    norm_backward_view<T> v = {at<const T>(n->x),
                               at<const T>(n->dy),
                               at<const T>(n->weight),
                               at<T>(n->dx),
                               at<const float>(n->mean),
                               at<const float>(n->rstd),
                               device_is_null(n->dweight) ? nullptr : scratch,
                               device_is_null(n->dbias) ? nullptr : scratch + n->columns,
                               n->rows * groups_of(n),
                               ld_or_dense(n, n->ld),
                               ld_or_dense(n, n->ld_y),
                               (int)n->columns,
                               1,
                               (int)groups_of(n),
                               1.0f / (float)n->columns,
                               n->offset,
                               n->rms,
                               n->replace};
    bool fit = lanes_fit(n->x.address | n->dy.address | n->weight.address | n->dx.address |
                         n->scratch.address | (uintptr_t)(n->columns | v.ld | v.ld_y) * sizeof(T));
    cudaStream_t on = cuda_enter(stream);
    if (!on) return ZI_ERROR_DEVICE;
    if (!fit) return norm_backward_launch<T, 1, 1>(on, v);
    if (v.columns <= NARROW_COLUMNS) return norm_backward_launch<T, 2, most>(on, v);
    return norm_backward_launch<T, most, most>(on, v);
}

static enum zi_status norm_backward(struct device_stream *stream, const struct device_norm *n)
{
    ZI_TRY(norm_check(n));
    if (n->rows <= 0 || n->columns <= 0) return ZI_OK;
    ZI_TRY(CUDA_BY_TYPE(n->type, norm_backward_of, stream, n));
    int64_t blocks = (n->rows * groups_of(n) + DEVICE_NORM_ROWS - 1) / DEVICE_NORM_ROWS;
    const int64_t shape[3] = {blocks, n->columns, 2 * n->columns};
    struct device_ptr dbias = device_at(n->scratch, (size_t)n->columns * sizeof(float));
    if (!device_is_null(n->dweight))
        ZI_TRY(cuda_column_sums(stream, ZI_FP32, n->dweight, n->scratch, shape, true));
    return device_is_null(n->dbias)
               ? ZI_OK
               : cuda_column_sums(stream, ZI_FP32, n->dbias, dbias, shape, true);
}

void cuda_norm_register(struct device_operations *operations)
{
    operations->norm = norm;
    operations->norm_backward = norm_backward;
}
