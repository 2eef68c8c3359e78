/* SPDX-License-Identifier: Apache-2.0 */
/* The optimizer's kernels: norm of gradients, AdamW with the checksum of what it leaves, checksum.
 *
 * Their bits are those of the cpu (device/update.h): the same operations, each rounded (-fmad=false),
 * and sums in the same order. All are bound by memory. A thread takes four elements at a time, with
 * accesses of 16 bytes, or of 8 where numbers have two; single ones where a piece is not aligned. */
#include "base/half.h"
#include "device/cuda/kernel.cuh"
#include "device/update.h"

extern "C" {
#include "base/log.h"
}

/* A block of threads takes a chunk of the norm, each of its warps a block of that. LOADS: numbers that a
 * thread has under way at once; few would not keep the memory busy. */
enum {
    NORM_THREADS = NORM_FOLD * WARP,
    NORM_CHUNKS = CUDA_PARTIALS / 2,
    NORM_SPANS = NORM_CHUNKS / NORM_FOLD,
    LOADS = 16
};

/* The fold of device/update.h, of the numbers of a warp's lanes. */
static __device__ __forceinline__ double warp_fold(double x)
{
    for (int half = NORM_FOLD / 2; half > 0; half /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, half);
    return x;
}

static __device__ __forceinline__ uint64_t warp_total(uint64_t x)
{
    for (int half = WARP / 2; half > 0; half /= 2)
        x += __shfl_xor_sync(0xffffffffu, (unsigned long long)x, half);
    return x;
}

/* A partial sum: squares of finite elements, and the number of others. */
struct partial {
    double squares;
    uint64_t nonfinite;
};

/* The square is exact, so that fusing it changes nothing. */
static __device__ __forceinline__ void add_square(double *squares, unsigned *nonfinite, float value)
{
    bool finite = (zi_fp32_bits(value) & 0x7f800000u) != 0x7f800000u;
    double wide = finite ? (double)value : 0.0;
    *squares = __fma_rn(wide, wide, *squares);
    *nonfinite += finite ? 0 : 1;
}

/* The partial sum of a lane: every 32nd of up to NORM_BLOCK elements. */
template <class T> static __device__ struct partial block_part(const T *g, int some, int lane)
{
    double squares = 0.0;
    unsigned nonfinite = 0;
    int i = lane;
    for (; i - lane + LOADS * WARP <= some; i += LOADS * WARP) {
        T values[LOADS];
#pragma unroll
        for (int k = 0; k < LOADS; k++)
            values[k] = g[i + k * WARP];
#pragma unroll
        for (int k = 0; k < LOADS; k++)
            add_square(&squares, &nonfinite, to_fp32(values[k]));
    }
    for (; i < some; i += WARP)
        add_square(&squares, &nonfinite, to_fp32(g[i]));
    return {squares, nonfinite};
}

/* One block per chunk; its sum goes to partials[blockIdx.x]. */
template <class T>
static __global__ void __launch_bounds__(NORM_THREADS)
    norm_chunks(const T *g, int64_t count, struct partial *partials)
{
    __shared__ double squares[NORM_FOLD];
    __shared__ uint64_t nonfinite[NORM_FOLD];
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    int64_t first = (int64_t)blockIdx.x * NORM_CHUNK + (int64_t)warp * NORM_BLOCK;
    int64_t rest = count - first;
    int some = rest <= 0 ? 0 : rest < NORM_BLOCK ? (int)rest : NORM_BLOCK;
    struct partial sum = block_part(g + first, some, lane);
    sum.squares = warp_fold(sum.squares);
    sum.nonfinite = warp_total(sum.nonfinite);
    if (lane == 0) {
        squares[warp] = sum.squares;
        nonfinite[warp] = sum.nonfinite;
    }
    __syncthreads();
    if (warp > 0) return;
    sum.squares = warp_fold(squares[lane]);
    sum.nonfinite = warp_total(nonfinite[lane]);
    if (lane == 0) partials[blockIdx.x] = sum;
}

/* One block: adds up to NORM_CHUNKS chunks, span by span, to what *total holds. */
static __global__ void __launch_bounds__(NORM_THREADS)
    norm_spans(const struct partial *partials, int chunks, struct device_norm_sums *total)
{
    __shared__ double squares[NORM_SPANS];
    __shared__ uint64_t nonfinite[NORM_SPANS];
    int lane = (int)threadIdx.x % WARP, spans = (chunks + NORM_FOLD - 1) / NORM_FOLD;
    for (int span = (int)threadIdx.x / WARP; span < spans; span += NORM_THREADS / WARP) {
        int chunk = span * NORM_FOLD + lane;
        struct partial sum = {0.0, 0};
        if (chunk < chunks) sum = partials[chunk];
        sum.squares = warp_fold(sum.squares);
        sum.nonfinite = warp_total(sum.nonfinite);
        if (lane == 0) {
            squares[span] = sum.squares;
            nonfinite[span] = sum.nonfinite;
        }
    }
    __syncthreads();
    if (threadIdx.x > 0) return;
    struct device_norm_sums sums = *total;
    for (int span = 0; span < spans; span++) {
        sums.squares += squares[span];
        sums.nonfinite += nonfinite[span];
    }
    *total = sums;
}

template <class T>
static enum zi_status norm_of(struct device_stream *stream, struct device_ptr gradient,
                              int64_t count, struct device_ptr sums)
{
    const int64_t most = (int64_t)NORM_CHUNKS * NORM_CHUNK;
    cudaStream_t cuda = cuda_enter(stream);
    if (!cuda) return ZI_ERROR_DEVICE;
    struct partial *partials = (struct partial *)cuda_stream_of(stream)->partials;
    for (int64_t first = 0; first < count; first += most) {
        int64_t some = count - first < most ? count - first : most;
        unsigned chunks = blocks_for(some, NORM_CHUNK, NORM_CHUNKS);
        norm_chunks<<<chunks, NORM_THREADS, 0, cuda>>>(at<T>(gradient) + first, some, partials);
        norm_spans<<<1, NORM_THREADS, 0, cuda>>>(partials, (int)chunks,
                                                 at<struct device_norm_sums>(sums));
    }
    return cuda_launched("gradient_norm");
}

static enum zi_status gradient_norm(struct device_stream *stream, enum zi_dtype type,
                                    struct device_ptr gradient, int64_t count,
                                    struct device_ptr sums)
{
    return CUDA_BY_TYPE(type, norm_of, stream, gradient, count, sums);
}

/* Two launches: what one leaves is in the second-level cache for the other, or too much for it. */
static enum zi_status gradient_round(struct device_stream *stream, enum zi_dtype type,
                                     struct device_ptr gradient, struct device_ptr from,
                                     int64_t count, struct device_ptr sums)
{
    ZI_TRY(stream->device->operations.convert(stream, type, gradient, ZI_FP32, from, count));
    return gradient_norm(stream, type, gradient, count, sums);
}

/* Up to W numbers that follow each other, loaded and stored together. */
template <class T, int W> struct alignas(W * sizeof(T)) few {
    T of[W];
};

/* n of them, 0 < n <= W; the others are not set. */
template <int W, class T> static __device__ __forceinline__ few<T, W> few_load(const T *from, int n)
{
    few<T, W> numbers;
    if (n == W) return *reinterpret_cast<const few<T, W> *>(from);
#pragma unroll
    for (int k = 0; k < W; k++)
        numbers.of[k] = k < n ? from[k] : T(0);
    return numbers;
}

template <int W, class T>
static __device__ __forceinline__ void few_store(T *to, const few<T, W> &numbers, int n)
{
    if (n == W) {
        *reinterpret_cast<few<T, W> *>(to) = numbers;
        return;
    }
#pragma unroll
    for (int k = 0; k < W; k++)
        if (k < n) to[k] = numbers.of[k];
}

/* Of elements i .. i + n - 1 of a piece: bits times an odd factor each. The product of an index is
 * wanted modulo 2^32 only; a row is looked for by a division only where there are several. */
template <int W>
static __device__ __forceinline__ uint64_t few_checksum(const struct device_place &place, int64_t i,
                                                        const few<float, W> &w, int n)
{
    int64_t row = 0, column = i;
    if (i >= place.row) {
        row = i / place.row;
        column = i - row * place.row;
    }
    uint32_t skip = (uint32_t)place.stride - (uint32_t)place.row;
    uint32_t index =
        (uint32_t)place.seed + (uint32_t)place.first + (uint32_t)i + (uint32_t)row * skip;
    uint64_t sum = 0;
#pragma unroll
    for (int k = 0; k < W; k++) {
        if (k < n) sum += (uint64_t)zi_fp32_bits(w.of[k]) * (index * 0x9e3779b1u | 1u);
        index++;
        if (++column == place.row) {
            column = 0;
            index += skip;
        }
    }
    return sum;
}

/* Adds what the threads of a block of BLOCK have; integers, so that the order does not count. */
static __device__ void checksum_add(uint64_t *to, uint64_t x)
{
    __shared__ uint64_t sums[BLOCK / WARP];
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    x = warp_total(x);
    if (lane == 0) sums[warp] = x;
    __syncthreads();
    if (warp > 0) return;
    x = warp_total(lane < BLOCK / WARP ? sums[lane] : 0);
    if (lane == 0) atomicAdd((unsigned long long *)to, (unsigned long long)x);
}

template <int W>
static __global__ void __launch_bounds__(BLOCK)
    checksum_of(const float *w, int64_t count, struct device_place place, uint64_t *to)
{
    int64_t step = (int64_t)gridDim.x * BLOCK * W;
    uint64_t sum = 0;
#pragma unroll 1
    for (int64_t i = ((int64_t)blockIdx.x * BLOCK + threadIdx.x) * W; i < count; i += step) {
        int n = W > 1 && count - i < W ? (int)(count - i) : W;
        sum += few_checksum<W>(place, i, few_load<W>(w + i, n), n);
    }
    checksum_add(to, sum);
}

static enum zi_status checksum(struct device_stream *stream, struct device_ptr weights,
                               int64_t count, const struct device_place *place,
                               struct device_ptr sum)
{
    cudaStream_t cuda = cuda_enter(stream);
    if (!cuda) return ZI_ERROR_DEVICE;
    if (count == 0) return ZI_OK;
    ZI_REQUIRE(place->row > 0);
    const float *w = at<float>(weights);
    uint64_t *to = at<uint64_t>(sum);
    unsigned blocks = blocks_for(count, BLOCK * 4, BLOCKS_MOST);
    if (weights.address % (4 * sizeof *w) == 0)
        checksum_of<4><<<blocks, BLOCK, 0, cuda>>>(w, count, *place, to);
    else
        checksum_of<1><<<blocks, BLOCK, 0, cuda>>>(w, count, *place, to);
    return cuda_launched("checksum");
}

/* What a number of a type is loaded as, and what it is. */
template <enum zi_dtype> struct stored {
    typedef uint16_t type;
};
template <> struct stored<ZI_FP32> {
    typedef float type;
};
static __device__ __forceinline__ float number_of(enum zi_dtype, float x)
{
    return x;
}
static __device__ __forceinline__ float number_of(enum zi_dtype type, uint16_t x)
{
    return type == ZI_FP16 ? __half2float(__ushort_as_half(x)) : zi_bf16_to_fp32(x);
}

/* A weight from what is kept of it, and back: whole, or in two halves. Gives the weight as kept. */
static __device__ __forceinline__ float join(enum zi_dtype, float parameter, int16_t)
{
    return parameter;
}
static __device__ __forceinline__ float join(enum zi_dtype type, uint16_t parameter, int16_t rest)
{
    return zi_half_join(type, parameter, rest);
}
static __device__ __forceinline__ float split(enum zi_dtype, float w, float *parameter, int16_t *)
{
    *parameter = w;
    return w;
}
static __device__ __forceinline__ float split(enum zi_dtype type, float w, uint16_t *parameter,
                                              int16_t *rest)
{
    uint32_t bits = type == ZI_FP16 ? zi_fp16_master_bits(w) : zi_fp32_bits(w);
    *parameter = (uint16_t)((bits + 0x8000u) >> 16);
    *rest = (int16_t)(uint16_t)bits;
    return type == ZI_FP16 ? zi_fp16_master_from_bits(bits) : w;
}

/* The arrays of an update. */
template <class P, class G> struct adam_arrays {
    P *parameter;
    int16_t *remainder;
    float *m, *v;
    const G *g;
    /* NULL: not wanted. */
    uint64_t *checksum;
};

/* The new weight; the moments are updated in place. As on the cpu, operation by operation. */
static __device__ __forceinline__ float adam_element(const struct update_factors &f, float w,
                                                     float gradient, float *m, float *v)
{
    gradient *= f.scale;
    *m = f.beta1 * *m + f.rest1 * gradient;
    *v = f.beta2 * *v + f.rest2 * (gradient * gradient);
    return w * f.keep - f.rate * *m / (sqrtf(*v * f.inverse2) + f.epsilon);
}

template <enum zi_dtype P, enum zi_dtype G, int W>
static __global__ void __launch_bounds__(BLOCK)
    adam_step(struct adam_arrays<typename stored<P>::type, typename stored<G>::type> x,
              int64_t count, struct update_factors f, struct device_place place)
{
    int64_t step = (int64_t)gridDim.x * BLOCK * W;
    uint64_t sum = 0;
#pragma unroll 1
    for (int64_t i = ((int64_t)blockIdx.x * BLOCK + threadIdx.x) * W; i < count; i += step) {
        int n = W > 1 && count - i < W ? (int)(count - i) : W;
        few<typename stored<P>::type, W> parameter = few_load<W>(x.parameter + i, n);
        few<int16_t, W> rest = {};
        if (P != ZI_FP32) rest = few_load<W>(x.remainder + i, n);
        few<float, W> m = few_load<W>(x.m + i, n), v = few_load<W>(x.v + i, n), w;
        few<typename stored<G>::type, W> g = few_load<W>(x.g + i, n);
#pragma unroll
        for (int k = 0; k < W; k++) {
            w.of[k] = adam_element(f, join(P, parameter.of[k], rest.of[k]), number_of(G, g.of[k]),
                                   &m.of[k], &v.of[k]);
            w.of[k] = split(P, w.of[k], &parameter.of[k], &rest.of[k]);
        }
        few_store<W>(x.parameter + i, parameter, n);
        if (P != ZI_FP32) few_store<W>(x.remainder + i, rest, n);
        few_store<W>(x.m + i, m, n);
        few_store<W>(x.v + i, v, n);
        if (x.checksum) sum += few_checksum<W>(place, i, w, n);
    }
    if (x.checksum) checksum_add(x.checksum, sum);
}

template <enum zi_dtype P, enum zi_dtype G>
static enum zi_status adam_of(struct device_stream *stream, const struct device_adam *a)
{
    typedef typename stored<P>::type parameter;
    typedef typename stored<G>::type gradient;
    struct adam_arrays<parameter, gradient> x = {
        at<parameter>(a->parameter), at<int16_t>(a->remainder), at<float>(a->states[0]),
            at<float>(a->states[1]), at<gradient>(a->gradient), at<uint64_t>(a->checksum)
    };
    uintptr_t odd = (a->states[0].address | a->states[1].address) % 16 |
                    a->parameter.address % (4 * sizeof(parameter)) | a->remainder.address % 8 |
                    a->gradient.address % (4 * sizeof(gradient));
    unsigned blocks = blocks_for(a->count, BLOCK * 4, BLOCKS_MOST);
    struct update_factors f = update_factors(a);
    cudaStream_t cuda = cuda_enter(stream);
    if (!cuda) return ZI_ERROR_DEVICE;
    if (odd == 0)
        adam_step<P, G, 4><<<blocks, BLOCK, 0, cuda>>>(x, a->count, f, a->place);
    else
        adam_step<P, G, 1><<<blocks, BLOCK, 0, cuda>>>(x, a->count, f, a->place);
    return cuda_launched("adam");
}

template <enum zi_dtype P>
static enum zi_status adam_with(struct device_stream *stream, const struct device_adam *a)
{
    if (a->gradient_type == ZI_FP32) return adam_of<P, ZI_FP32>(stream, a);
    if (a->gradient_type == ZI_BF16) return adam_of<P, ZI_BF16>(stream, a);
    if (a->gradient_type == ZI_FP16) return adam_of<P, ZI_FP16>(stream, a);
    return ZI_ERROR_DEVICE;
}

static enum zi_status adam(struct device_stream *stream, const struct device_adam *a)
{
    if (a->count == 0) return ZI_OK;
    ZI_REQUIRE(device_is_null(a->checksum) || a->place.row > 0);
    ZI_REQUIRE((a->type == ZI_FP32) == device_is_null(a->remainder));
    if (a->type == ZI_FP32) return adam_with<ZI_FP32>(stream, a);
    if (a->type == ZI_BF16) return adam_with<ZI_BF16>(stream, a);
    if (a->type == ZI_FP16) return adam_with<ZI_FP16>(stream, a);
    return ZI_ERROR_DEVICE;
}

void cuda_update_register(struct device_operations *operations)
{
    operations->gradient_norm = gradient_norm;
    operations->gradient_round = gradient_round;
    operations->adam = adam;
    operations->checksum = checksum;
}
