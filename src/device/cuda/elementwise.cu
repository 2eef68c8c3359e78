/* SPDX-License-Identifier: Apache-2.0 */
/* GELU, SwiGLU, dropout and rotary position embedding: each element is read once and written once. The
 * formulas are those of the cpu device (device/cpu/k_elementwise.c). */
#include <math.h>

#include "device/cuda/lanes.cuh"
#include "device/dropout.h"

extern "C" {
#include "base/log.h"
}

enum {
    ROPE_BLOCKS = 2048 /* blocks that fill a device */
};

/* 2 u log2(e) = x (GELU_A + GELU_B x^2), u = sqrt(2/pi) (x + 0.044715 x^3) */
static constexpr float GELU_A = 2.30220820f, GELU_B = 0.102943240f;
/* d(2 u)/dx = GELU_C + GELU_D x^2 */
static constexpr float GELU_C = 1.59576912f, GELU_D = 0.214064488f;
static constexpr float LOG2_E = 1.44269504f;

/* 1 / (1 + 2^-x), the logistic function of x ln 2; off by 4 last places at most. */
static __device__ __forceinline__ float logistic2(float x)
{
    return __fdividef(1.0f, 1.0f + exp2f(-x));
}

/* The same, s, with s (1 - s) as s s 2^-x: without a difference that would have to cancel beside large
 * factors. Where s is next to nothing its square is 0, and 2^-x stays finite. x is no NaN in `power`:
 * callers multiply by what it came from. */
static __device__ __forceinline__ float logistic2_slope(float x, float *slope)
{
    float power = exp2f(fminf(-x, 127.5f)), s = __fdividef(1.0f, 1.0f + power);
    *slope = s * s * power;
    return s;
}

static enum zi_status type_check(const char *operation, enum zi_dtype type)
{
    if (type == ZI_FP32 || zi_dtype_is_half(type)) return ZI_OK;
    return zi_fail(ZI_ERROR_DEVICE, "device", "%s: type %s is not known; use fp32, bf16 or fp16",
                   operation, zi_dtype_name(type));
}

template <class T> struct gelu_body {
    T *y;
    const T *x;
    template <int N> __device__ __forceinline__ void run(int64_t i) const
    {
        float v[N];
        lanes_load<N>(v, x + i);
#pragma unroll
        for (int j = 0; j < N; j++)
            v[j] *= logistic2(v[j] * fmaf(v[j] * v[j], GELU_B, GELU_A));
        lanes_store<N>(y + i, v);
    }
};

/* dy times s + x s (1 - s) d(2u)/dx, with s the logistic of 2u. Where s (1 - s) is 0, x^2 may
 * overflow: then the second term is left out. */
template <class T> struct gelu_backward_body {
    T *dx;
    const T *dy, *x;
    template <int N> __device__ __forceinline__ void run(int64_t i) const
    {
        float v[N], g[N];
        lanes_load<N>(v, x + i);
        lanes_load<N>(g, dy + i);
#pragma unroll
        for (int j = 0; j < N; j++) {
            float square = v[j] * v[j];
            float both, s = logistic2_slope(v[j] * fmaf(square, GELU_B, GELU_A), &both);
            float inner = v[j] * fmaf(fminf(1e4f, square), GELU_D, GELU_C);
            g[j] *= fmaf(both, inner, s);
        }
        lanes_store<N>(dx + i, g);
    }
};

template <class T>
static enum zi_status gelu_of(struct device_stream *stream, struct device_ptr y,
                              struct device_ptr x, int64_t count)
{
    gelu_body<T> body = {at<T>(y), at<T>(x)};
    return each<lanes_most<T>>(stream, body, count, lanes_fit(y.address | x.address), "gelu");
}

static enum zi_status gelu(struct device_stream *stream, enum zi_dtype type, struct device_ptr y,
                           struct device_ptr x, int64_t count)
{
    ZI_TRY(type_check("gelu", type));
    return CUDA_BY_TYPE(type, gelu_of, stream, y, x, count);
}

template <class T>
static enum zi_status gelu_backward_of(struct device_stream *stream, struct device_ptr dx,
                                       struct device_ptr dy, struct device_ptr x, int64_t count)
{
    gelu_backward_body<T> body = {at<T>(dx), at<T>(dy), at<T>(x)};
    bool fit = lanes_fit(dx.address | dy.address | x.address);
    return each<lanes_most<T>>(stream, body, count, fit, "gelu_backward");
}

static enum zi_status gelu_backward(struct device_stream *stream, enum zi_dtype type,
                                    struct device_ptr dx, struct device_ptr dy, struct device_ptr x,
                                    int64_t count)
{
    ZI_TRY(type_check("gelu_backward", type));
    return CUDA_BY_TYPE(type, gelu_backward_of, stream, dx, dy, x, count);
}

/* What a gated linear unit is made of; its kernels take a row of `inner` elements per block and turn. */
template <class T> struct glu_view {
    T *to;
    const T *dy, *gate_up;
    int64_t rows, inner;
};

template <class T, int N, bool GELU>
__global__ void __launch_bounds__(BLOCK) glu_kernel(glu_view<T> v)
{
    for (int64_t row = blockIdx.x; row < v.rows; row += gridDim.x) {
        const T *gates = v.gate_up + 2 * row * v.inner;
        for (int64_t c = (int64_t)threadIdx.x * N; c < v.inner; c += (int64_t)blockDim.x * N) {
            float gate[N], up[N];
            lanes_load<N>(gate, gates + c);
            lanes_load<N>(up, gates + v.inner + c);
#pragma unroll
            for (int j = 0; j < N; j++) {
                float x = gate[j], u = GELU ? x * fmaf(x * x, GELU_B, GELU_A) : x * LOG2_E;
                up[j] *= x * logistic2(u);
            }
            lanes_store<N>(v.to + row * v.inner + c, up);
        }
    }
}

/* What a gate multiplies with, over x, and its slope there. */
template <bool GELU> static __device__ __forceinline__ float gate_slope(float x, float *slope)
{
    float square = x * x, both;
    float s = logistic2_slope(GELU ? x * fmaf(square, GELU_B, GELU_A) : x * LOG2_E, &both);
    float inner = GELU ? x * fmaf(fminf(1e4f, square), GELU_D, GELU_C) : x;
    *slope = fmaf(both, inner, s);
    return s;
}

/* `to` may be gate_up: a thread reads both halves of its elements before it writes either. */
template <class T, int N, bool GELU>
__global__ void __launch_bounds__(BLOCK) glu_backward_kernel(glu_view<T> v)
{
    for (int64_t row = blockIdx.x; row < v.rows; row += gridDim.x) {
        const T *gates = v.gate_up + 2 * row * v.inner;
        T *to = v.to + 2 * row * v.inner;
        for (int64_t c = (int64_t)threadIdx.x * N; c < v.inner; c += (int64_t)blockDim.x * N) {
            float gate[N], up[N], dout[N];
            lanes_load<N>(gate, gates + c);
            lanes_load<N>(up, gates + v.inner + c);
            lanes_load<N>(dout, v.dy + row * v.inner + c);
#pragma unroll
            for (int j = 0; j < N; j++) {
                float slope, s = gate_slope<GELU>(gate[j], &slope);
                float d_up = dout[j] * gate[j] * s;
                gate[j] = dout[j] * up[j] * slope;
                up[j] = d_up;
            }
            lanes_store<N>(to + c, gate);
            lanes_store<N>(to + v.inner + c, up);
        }
    }
}

/* Whole warps for `count` pieces of a row, at most a block. */
static unsigned threads_for(int64_t count)
{
    int64_t threads = (count + WARP - 1) / WARP * WARP;
    return threads < BLOCK ? (unsigned)threads : (unsigned)BLOCK;
}

/* One of the two kernels on all rows, N elements of a thread at a time. */
template <class T, int N, bool GELU> static void glu_launch(const glu_view<T> &v, cudaStream_t on)
{
    unsigned blocks = blocks_for(v.rows, 1, BLOCKS_MOST), threads = threads_for(v.inner / N);
    if (v.dy)
        glu_backward_kernel<T, N, GELU><<<blocks, threads, 0, on>>>(v);
    else
        glu_kernel<T, N, GELU><<<blocks, threads, 0, on>>>(v);
}

template <class T>
static enum zi_status glu_of(struct device_stream *stream, const struct device_glu *d,
                             bool backward)
{
    constexpr int N = lanes_most<T>;
    struct device_ptr to = backward ? d->d_gate_up : d->y, dy = {backward ? d->dy.address : 0};
    glu_view<T> v = {at<T>(to), at<T>(dy), at<T>(d->gate_up), d->rows, d->inner};
    bool fit =
        lanes_fit(to.address | dy.address | d->gate_up.address | (uintptr_t)d->inner * sizeof(T));
    cudaStream_t on = cuda_enter(stream);
    if (!on) return ZI_ERROR_DEVICE;
    if (fit && d->gelu)
        glu_launch<T, N, true>(v, on);
    else if (fit)
        glu_launch<T, N, false>(v, on);
    else if (d->gelu)
        glu_launch<T, 1, true>(v, on);
    else
        glu_launch<T, 1, false>(v, on);
    return cuda_launched(backward ? "glu_backward" : "glu");
}

static enum zi_status glu(struct device_stream *stream, const struct device_glu *d)
{
    ZI_TRY(type_check("glu", d->type));
    if (d->rows <= 0 || d->inner <= 0) return ZI_OK;
    return CUDA_BY_TYPE(d->type, glu_of, stream, d, false);
}

static enum zi_status glu_backward(struct device_stream *stream, const struct device_glu *d)
{
    ZI_TRY(type_check("glu_backward", d->type));
    if (d->rows <= 0 || d->inner <= 0) return ZI_OK;
    return CUDA_BY_TYPE(d->type, glu_of, stream, d, true);
}

template <class T> struct dropout_view {
    T *to;
    const T *from;
    int64_t rows, columns, first, stride;
    uint64_t seed;
    uint32_t limit;
    float kept;
    bool add;
};

/* With N > 1 rows begin with the first element of a pair. */
template <class T, int N> __global__ void __launch_bounds__(BLOCK) dropout_kernel(dropout_view<T> v)
{
    for (int64_t row = blockIdx.x; row < v.rows; row += gridDim.x) {
        for (int64_t c = (int64_t)threadIdx.x * N; c < v.columns; c += (int64_t)blockDim.x * N) {
            int64_t at = row * v.columns + c;
            uint64_t element = (uint64_t)(v.first + row * v.stride + c);
            float x[N], y[N] = {0};
            lanes_load<N>(x, v.from + at);
            if (v.add) lanes_load<N>(y, v.to + at);
            uint64_t bits = 0;
#pragma unroll
            for (int j = 0; j < N; j++) {
                if (j % 2 == 0) bits = dropout_pair(v.seed, (element + j) / 2);
                y[j] += x[j] * (dropout_half(bits, element + j) < v.limit ? 0 : v.kept);
            }
            lanes_store<N>(v.to + at, y);
        }
    }
}

template <class T>
static enum zi_status dropout_of(struct device_stream *stream, const struct device_dropout *d)
{
    constexpr int N = lanes_most<T>;
    dropout_view<T> v = {at<T>(d->to), at<T>(d->from), d->rows, d->columns, d->first, d->stride,
                         d->seed, dropout_limit(d->share), (float)(1 / (1 - d->share)), d->add};
    bool fit = lanes_fit(d->to.address | d->from.address | (uintptr_t)d->columns * sizeof(T)) &&
               (d->first | d->stride) % 2 == 0;
    unsigned blocks = blocks_for(v.rows, 1, BLOCKS_MOST);
    cudaStream_t on = cuda_enter(stream);
    if (!on) return ZI_ERROR_DEVICE;
    if (fit)
        dropout_kernel<T, N><<<blocks, threads_for(v.columns / N), 0, on>>>(v);
    else
        dropout_kernel<T, 1><<<blocks, threads_for(v.columns), 0, on>>>(v);
    return cuda_launched("dropout");
}

static enum zi_status dropout(struct device_stream *stream, const struct device_dropout *d)
{
    ZI_TRY(type_check("dropout", d->type));
    if (d->rows <= 0 || d->columns <= 0) return ZI_OK;
    return CUDA_BY_TYPE(d->type, dropout_of, stream, d);
}

/* The frequency of pair i is turns[i] 2^-64 turns per token, negative ones modulo 2^64: the angle of
 * token t is t turns[i] in integers, whole turns falling off at the top. Its error is t 2^-65 turns and
 * that of base^(-2i/D) in double: 4e-10 at a million tokens. */
struct rope_view {
    int64_t sequences, tokens, heads, ld;
    int pairs;
    /* Of each row, or null: the token's number. */
    const int32_t *positions;
    /* Of cosine and sine. */
    float scale;
    uint64_t turns[DEVICE_ROPE_PAIRS];
};

/* Cosine and sine of `angle` 2^-64 turns. The nearest quarter of a turn is taken off in integers; what
 * is left is at most 1/8 turn, so that its rounding to fp32 is 2^-26 of it. */
static __device__ __forceinline__ float2 cosine_sine(uint64_t angle)
{
    unsigned quarter = (unsigned)((angle + (1ull << 61)) >> 62);
    float half_turns = (float)(int64_t)(angle - ((uint64_t)quarter << 62)) * 0x1p-63f;
    float sine, cosine;
    sincospif(half_turns, &sine, &cosine);
    float c = quarter & 1 ? -sine : cosine, s = quarter & 1 ? cosine : sine;
    return quarter & 2 ? make_float2(-c, -s) : make_float2(c, s);
}

/* A block takes the token blockIdx.x in the sequences blockIdx.y, + gridDim.y .., all heads; where
 * rows have positions of their own they are the tokens of one sequence. */
template <class T, int N>
__global__ void __launch_bounds__(BLOCK) rope_kernel(T *x, const __grid_constant__ rope_view v)
{
    alignas(16) __shared__ float cosine[DEVICE_ROPE_PAIRS], sine[DEVICE_ROPE_PAIRS];
    int packs = v.pairs / N;
    uint64_t position = v.positions ? (uint64_t)v.positions[blockIdx.x] : blockIdx.x;
    for (int i = (int)threadIdx.x; i < v.pairs; i += BLOCK) {
        float2 cs = cosine_sine(position * v.turns[i]);
        cosine[i] = cs.x * v.scale;
        sine[i] = cs.y * v.scale;
    }
    __syncthreads();
    for (int64_t b = blockIdx.y; b < v.sequences; b += gridDim.y) {
        T *row = x + (b * v.tokens + blockIdx.x) * v.ld;
        for (int k = (int)threadIdx.x; k < (int)v.heads * packs; k += BLOCK) {
            int head = k / packs, i = (k - head * packs) * N;
            T *low = row + 2 * head * v.pairs + i;
            float first[N], second[N];
            lanes_load<N>(first, low);
            lanes_load<N>(second, low + v.pairs);
#pragma unroll
            for (int j = 0; j < N; j++) {
                float c = cosine[i + j], s = sine[i + j], a = first[j];
                first[j] = fmaf(a, c, -(second[j] * s));
                second[j] = fmaf(second[j], c, a * s);
            }
            lanes_store<N>(low, first);
            lanes_store<N>(low + v.pairs, second);
        }
    }
}

template <class T>
static enum zi_status rope_of(struct device_stream *stream, struct device_ptr x,
                              const struct rope_view *v)
{
    constexpr int N = lanes_most<T>;
    bool fit =
        lanes_fit(x.address | (uintptr_t)v->ld * sizeof(T) | (uintptr_t)v->pairs * sizeof(T));
    int64_t share = (ROPE_BLOCKS + v->tokens - 1) / v->tokens;
    dim3 blocks((unsigned)v->tokens, (unsigned)(share < v->sequences ? share : v->sequences));
    cudaStream_t on = cuda_enter(stream);
    if (!on) return ZI_ERROR_DEVICE;
    if (fit)
        rope_kernel<T, N><<<blocks, BLOCK, 0, on>>>(at<T>(x), *v);
    else
        rope_kernel<T, 1><<<blocks, BLOCK, 0, on>>>(at<T>(x), *v);
    return cuda_launched("rope");
}

static enum zi_status rope(struct device_stream *stream, const struct device_rope *desc)
{
    ZI_TRY(type_check("rope", desc->type));
    int64_t width = desc->width;
    if (width % 2 || width > 2 * DEVICE_ROPE_PAIRS)
        return zi_fail(
            ZI_ERROR_DEVICE, "device",
            "rope: a head of width %lld cannot be rotated; the width must be even and at most %d",
            (long long)width, 2 * DEVICE_ROPE_PAIRS);
    if (desc->sequences <= 0 || desc->tokens <= 0 || desc->heads <= 0 || width <= 0) return ZI_OK;
    bool own = !device_is_null(desc->positions);
    struct rope_view v = {own ? 1 : desc->sequences,
                          own ? desc->sequences * desc->tokens : desc->tokens,
                          desc->heads,
                          desc->ld,
                          (int)(width / 2),
                          at<const int32_t>(desc->positions),
                          desc->scale,
                          {0}};
    for (int i = 0; i < v.pairs; i++) {
        double turns = desc->frequencies[i] / (2.0 * M_PI);
        uint64_t fraction = (uint64_t)ldexp(turns - floor(turns), 64);
        v.turns[i] = desc->reverse ? -fraction : fraction;
    }
    return CUDA_BY_TYPE(desc->type, rope_of, stream, desc->x, &v);
}

void cuda_elementwise_register(struct device_operations *operations)
{
    operations->gelu = gelu;
    operations->gelu_backward = gelu_backward;
    operations->glu = glu;
    operations->glu_backward = glu_backward;
    operations->dropout = dropout;
    operations->rope = rope;
}
