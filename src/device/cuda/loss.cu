/* SPDX-License-Identifier: Apache-2.0 */
/* Cross-entropy of logits against targets, and its gradient in the place of the logits.
 *
 * A block has a row at a time and reads it twice: for its maximum m and the sum of exp(x - m), kept
 * up to date as larger values turn up (Milakov and Gimelshein 2018), then to replace x by scale
 * (exp(x - m) / sum - onehot).
 *
 * A gradient of 16 bits takes the first half of its row's bytes. Columns are replaced STEP at a time,
 * in ascending order: all threads have read theirs when one writes, and what is written (bytes 2i)
 * never lands on a logit of a later step (bytes 4j, j > i).
 *
 * Where logits are capped the gradient is that of what was capped: times 1 - (x / cap)^2.
 *
 * Losses are doubles. A block adds those of its rows, blocks are added at the end: the order depends
 * on the number of rows alone.
 *
 * A target beyond the columns cannot be refused here, for targets are on the device and calls return
 * before their work is done. It makes the loss NaN, and the gradient of its row with it, so that the
 * step is skipped and its loss shows why. */
#include "device/cuda/kernel.cuh"

#include <float.h>
#include <math.h>

enum {
    /* Columns of a thread, and of a block, that are in registers at a time. */
    COLUMNS = 4,
    STEP = COLUMNS * BLOCK,
    /* Blocks that leave a partial sum. */
    LOSS_BLOCKS = CUDA_PARTIALS
};

/* The maximum of some columns, and the sum of exp(x - maximum). */
struct softmax {
    float largest, sum;
};

/* Largest of a block, in every thread; `room` as of block_sum. */
static __device__ __forceinline__ float block_max(float x, float *room)
{
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    x = warp_max(x);
    if (lane == 0) room[warp] = x;
    __syncthreads();
    x = warp_max(room[lane % (BLOCK / WARP)]);
    __syncthreads();
    return x;
}

/* Sum of a block's doubles, in thread 0. */
static __device__ __forceinline__ double block_total(double x, double *room)
{
    room[threadIdx.x] = x;
    __syncthreads();
#pragma unroll 1
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        if ((int)threadIdx.x < half) room[threadIdx.x] += room[threadIdx.x + half];
        __syncthreads();
    }
    return room[0];
}

/* Of a row, in every thread. A NaN is in the sum. */
static __device__ __forceinline__ struct softmax row_softmax(const float *x, int64_t columns,
                                                             float *room)
{
    /* -FLT_MAX, not -infinity: a thread that holds nothing must not turn into infinity - infinity */
    float largest = -FLT_MAX, sum = 0.0f;
#pragma unroll 1
    for (int64_t first = threadIdx.x; first < columns; first += STEP) {
        float values[COLUMNS], before = largest;
#pragma unroll
        for (int i = 0; i < COLUMNS; i++) {
            values[i] = first + i * BLOCK < columns ? x[first + i * BLOCK] : -INFINITY;
            largest = fmaxf(values[i], largest);
        }
        sum *= expf(before - largest);
#pragma unroll
        for (int i = 0; i < COLUMNS; i++)
            sum += expf(values[i] - largest);
    }
    float of_all = block_max(largest, room);
    return {of_all, block_sum(sum * expf(largest - of_all), room)};
}

/* Gradients of capped logits, of which `count` are at x, become those of what was capped. */
static __device__ __forceinline__ void row_slopes(float (&values)[COLUMNS], const float *x,
                                                  int64_t count, float cap)
{
    float inverse = 1.0f / cap;
#pragma unroll
    for (int i = 0; i < COLUMNS; i++) {
        float share = i * BLOCK < count ? x[i * BLOCK] * inverse : 0.0f;
        values[i] *= fmaf(-share, share, 1.0f);
    }
}

/* Replaces the logits of a row by its gradient, of type T; all threads of a block. `target` counts
 * from the first column of x, and may be none of them. */
template <class T>
static __device__ __forceinline__ void row_replace(float *x, int64_t columns, int64_t target,
                                                   struct softmax of,
                                                   const struct device_softmax &d)
{
    T *to = reinterpret_cast<T *>(x);
    float factor = d.scale / of.sum;
#pragma unroll 1
    for (int64_t first = 0; first < columns; first += STEP) {
        int64_t column = first + threadIdx.x;
        float values[COLUMNS];
#pragma unroll
        for (int i = 0; i < COLUMNS; i++) {
            int64_t c = column + i * BLOCK;
            float e = expf((c < columns ? x[c] : 0.0f) - of.largest);
            values[i] = c == target ? d.scale * (e / of.sum - 1.0f) : e * factor;
        }
        if (d.cap > 0.0f) row_slopes(values, x + column, columns - column, d.cap);
        __syncthreads();
#pragma unroll
        for (int i = 0; i < COLUMNS; i++)
            if (column + i * BLOCK < columns) from_fp32(&to[column + i * BLOCK], values[i]);
    }
}

/* The gradient of a row that is not counted. */
template <class T> static __device__ __forceinline__ void row_clear(float *x, int64_t columns)
{
    for (int64_t c = threadIdx.x; c < columns; c += BLOCK)
        from_fp32(reinterpret_cast<T *>(x) + c, 0.0f);
}

/* -log p of a target's logit. */
static __device__ __forceinline__ double loss_of(struct softmax of, float logit)
{
    return log((double)of.sum) + ((double)of.largest - (double)logit);
}

static __device__ __forceinline__ float *row_logits(const struct device_softmax &d, int64_t row)
{
    return reinterpret_cast<float *>(d.logits.address) + row * d.ld;
}

static __device__ __forceinline__ int32_t row_target(const struct device_softmax &d, int64_t row)
{
    return reinterpret_cast<const int32_t *>(d.targets.address)[row];
}

/* Losses, and with REPLACE gradients of type T, of rows that have all their columns; partials[block]
 * gets the sum of the block's rows. */
template <class T, bool REPLACE>
static __global__ void __launch_bounds__(BLOCK)
    cross_entropy_kernel(const __grid_constant__ struct device_softmax d, double *partials)
{
    __shared__ float room[WARP];
    double total = 0.0;
#pragma unroll 1
    for (int64_t row = blockIdx.x; row < d.rows; row += gridDim.x) {
        float *x = row_logits(d, row);
        int32_t target = row_target(d, row);
        if (target < 0) {
            if (REPLACE) row_clear<T>(x, d.columns);
            continue;
        }
        struct softmax of = row_softmax(x, d.columns, room);
        if (target >= d.columns) of.sum = NAN;
        if (threadIdx.x == 0) total += loss_of(of, target < d.columns ? x[target] : 0.0f);
        if (REPLACE) row_replace<T>(x, d.columns, target, of, d);
    }
    if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

/* Adds the partial sums to *loss; one block. */
static __global__ void __launch_bounds__(BLOCK)
    loss_total_kernel(const double *partials, int count, double *loss)
{
    __shared__ double room[BLOCK];
    double total = 0.0;
    for (int i = (int)threadIdx.x; i < count; i += BLOCK)
        total += partials[i];
    total = block_total(total, room);
    if (threadIdx.x == 0) *loss += total;
}

/* Joins the statistics of rows with those of more of their columns. */
static __global__ void __launch_bounds__(BLOCK)
    softmax_statistics_kernel(const __grid_constant__ struct device_softmax d)
{
    __shared__ float room[WARP];
#pragma unroll 1
    for (int64_t row = blockIdx.x; row < d.rows; row += gridDim.x) {
        const float *x = row_logits(d, row);
        struct softmax of = row_softmax(x, d.columns, room);
        if (threadIdx.x != 0) continue;
        float *of_row = reinterpret_cast<float *>(d.statistics.address) + 3 * row;
        if (!d.begin) {
            float both = fmaxf(of_row[0], of.largest);
            of.sum = of.sum * expf(of.largest - both) + of_row[1] * expf(of_row[0] - both);
            of.largest = both;
        }
        of_row[0] = of.largest;
        of_row[1] = of.sum;
        int64_t target = row_target(d, row) - d.first;
        if (target >= 0 && target < d.columns)
            of_row[2] = x[target];
        else if (d.begin)
            of_row[2] = 0.0f;
    }
}

/* The losses of rows from their statistics; partials as of cross_entropy_kernel. */
static __global__ void __launch_bounds__(BLOCK)
    softmax_loss_kernel(const __grid_constant__ struct device_softmax d, double *partials)
{
    __shared__ double room[BLOCK];
    double total = 0.0;
    int64_t row = (int64_t)blockIdx.x * BLOCK + threadIdx.x;
    for (; row < d.rows; row += (int64_t)gridDim.x * BLOCK) {
        const float *of_row = reinterpret_cast<const float *>(d.statistics.address) + 3 * row;
        int32_t target = row_target(d, row);
        if (target < 0) continue;
        float sum = target < d.first + d.columns ? of_row[1] : NAN;
        total += loss_of({of_row[0], sum}, of_row[2]);
    }
    total = block_total(total, room);
    if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

/* Gradients of rows of some columns, of type T, from their statistics. */
template <class T>
static __global__ void __launch_bounds__(BLOCK)
    softmax_gradient_kernel(const __grid_constant__ struct device_softmax d)
{
#pragma unroll 1
    for (int64_t row = blockIdx.x; row < d.rows; row += gridDim.x) {
        const float *of_row = reinterpret_cast<const float *>(d.statistics.address) + 3 * row;
        int32_t target = row_target(d, row);
        if (target < 0)
            row_clear<T>(row_logits(d, row), d.columns);
        else
            row_replace<T>(row_logits(d, row), d.columns, target - d.first, {of_row[0], of_row[1]},
                           d);
    }
}

template <class T, bool REPLACE>
static enum zi_status cross_entropy_of(const struct device_softmax &d, struct cuda_stream *stream,
                                       struct device_ptr loss)
{
    unsigned blocks = blocks_for(d.rows, 1, LOSS_BLOCKS);
    double *partials = static_cast<double *>(stream->partials);
    cross_entropy_kernel<T, REPLACE><<<blocks, BLOCK, 0, stream->stream>>>(d, partials);
    loss_total_kernel<<<1, BLOCK, 0, stream->stream>>>(partials, (int)blocks, at<double>(loss));
    return cuda_launched("cross_entropy");
}

template <class T>
static enum zi_status cross_entropy_replace(const struct device_softmax &d,
                                            struct cuda_stream *stream, struct device_ptr loss)
{
    return cross_entropy_of<T, true>(d, stream, loss);
}

static enum zi_status cross_entropy(struct device_stream *stream, const struct device_softmax *d,
                                    struct device_ptr loss)
{
    if (d->rows <= 0) return ZI_OK;
    if (!cuda_enter(stream)) return ZI_ERROR_DEVICE;
    struct cuda_stream *to = cuda_stream_of(stream);
    if (d->gradient_type == ZI_INT32) return cross_entropy_of<float, false>(*d, to, loss);
    return CUDA_BY_TYPE(d->gradient_type, cross_entropy_replace, *d, to, loss);
}

/* Caps a row of logits per block and turn. */
static __global__ void __launch_bounds__(BLOCK)
    cap_kernel(float *logits, int64_t rows, int64_t columns, int64_t ld, float cap)
{
    float inverse = 1.0f / cap;
    for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
        float *x = logits + row * ld;
        for (int64_t c = threadIdx.x; c < columns; c += BLOCK)
            x[c] = cap * tanh_fp32(x[c] * inverse);
    }
}

static enum zi_status cap(struct device_stream *stream, struct device_ptr logits, int64_t rows,
                          int64_t columns, int64_t ld, float cap)
{
    if (rows <= 0 || columns <= 0) return ZI_OK;
    cudaStream_t handle = cuda_enter(stream);
    if (!handle) return ZI_ERROR_DEVICE;
    cap_kernel<<<blocks_for(rows, 1, BLOCKS_MOST), BLOCK, 0, handle>>>(at<float>(logits), rows,
                                                                       columns, ld, cap);
    return cuda_launched("cap");
}

static enum zi_status softmax_statistics(struct device_stream *stream,
                                         const struct device_softmax *d)
{
    if (d->rows <= 0) return ZI_OK;
    cudaStream_t handle = cuda_enter(stream);
    if (!handle) return ZI_ERROR_DEVICE;
    softmax_statistics_kernel<<<blocks_for(d->rows, 1, BLOCKS_MOST), BLOCK, 0, handle>>>(*d);
    return cuda_launched("softmax_statistics");
}

static enum zi_status softmax_loss(struct device_stream *stream, const struct device_softmax *d,
                                   struct device_ptr loss)
{
    if (d->rows <= 0) return ZI_OK;
    cudaStream_t handle = cuda_enter(stream);
    if (!handle) return ZI_ERROR_DEVICE;
    unsigned blocks = blocks_for(d->rows, BLOCK, LOSS_BLOCKS);
    double *partials = static_cast<double *>(cuda_stream_of(stream)->partials);
    softmax_loss_kernel<<<blocks, BLOCK, 0, handle>>>(*d, partials);
    loss_total_kernel<<<1, BLOCK, 0, handle>>>(partials, (int)blocks, at<double>(loss));
    return cuda_launched("softmax_loss");
}

template <class T>
static enum zi_status softmax_gradient_of(const struct device_softmax &d, cudaStream_t stream)
{
    softmax_gradient_kernel<T><<<blocks_for(d.rows, 1, BLOCKS_MOST), BLOCK, 0, stream>>>(d);
    return cuda_launched("softmax_gradient");
}

static enum zi_status softmax_gradient(struct device_stream *stream, const struct device_softmax *d)
{
    if (d->rows <= 0) return ZI_OK;
    cudaStream_t handle = cuda_enter(stream);
    if (!handle) return ZI_ERROR_DEVICE;
    return CUDA_BY_TYPE(d->gradient_type, softmax_gradient_of, *d, handle);
}

void cuda_loss_register(struct device_operations *operations)
{
    operations->cap = cap;
    operations->cross_entropy = cross_entropy;
    operations->softmax_statistics = softmax_statistics;
    operations->softmax_loss = softmax_loss;
    operations->softmax_gradient = softmax_gradient;
}
