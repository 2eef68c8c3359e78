/* SPDX-License-Identifier: Apache-2.0 */
/* GELU, gated linear units, dropout and rotary position embedding: each element is read once and written
 * once, so the ceiling is memory, and the arithmetic has to fit beside the loads.
 *
 * GELU is in gelu.h, where products have it from too; SiLU is the same with u = x / 2.
 *
 * Rope needs the sine and cosine of t theta_i for T tokens and D/2 frequencies. They are products
 * of two complex numbers, angle (t - t % SPAN) theta_i times angle (t % SPAN) theta_i, each from
 * the library in double: T/SPAN + SPAN calls per frequency in place of T, and errors near 1e-16
 * before the rounding to fp32. Every (sequence, head) of a token uses the one set. */
#include "device/cpu/kernel.h"

#include "base/log.h"
#include "device/cpu/gelu.h"
#include "device/cpu/vector.h"
#include "device/dropout.h"

enum {
    RUN = 4096,    /* elements that a thread takes at a time */
    DROPS = 512,   /* elements whose numbers dropout makes at a time */
    ROPE_SPAN = 32 /* tokens that share a base angle */
};

#define LOG2_E 1.44269504f

static enum zi_status type_check(const char *operation, enum zi_dtype type)
{
    if (cpu_type_is_known(type)) return ZI_OK;
    return zi_fail(ZI_ERROR_DEVICE, "device", "%s: type %s is not known; use fp32, bf16 or fp16",
                   operation, zi_dtype_name(type));
}

VEC_INLINE void gelu_run(enum zi_dtype type, void *y, const void *x, int64_t first, int64_t end)
{
    int64_t i = first;
    for (; i + VEC_LANES <= end; i += VEC_LANES)
        vec_store_as(type, y, i, gelu_lanes(vec_load_as(type, x, i)));
    if (i < end)
        vec_store_as_part(type, y, i, gelu_lanes(vec_load_as_part(type, x, i, end - i)), end - i);
}

VEC_INLINE void gelu_backward_run(enum zi_dtype type, void *dx, const void *dy, const void *x,
                                  int64_t first, int64_t end)
{
    int64_t i = first;
    for (; i + VEC_LANES <= end; i += VEC_LANES)
        vec_store_as(type, dx, i,
                     vec_load_as(type, dy, i) * gelu_slope_lanes(vec_load_as(type, x, i)));
    if (i < end) {
        vec slope = gelu_slope_lanes(vec_load_as_part(type, x, i, end - i));
        vec_store_as_part(type, dx, i, vec_load_as_part(type, dy, i, end - i) * slope, end - i);
    }
}

static int64_t run_end(int64_t first, int64_t count)
{
    return first + RUN < count ? first + RUN : count;
}

static enum zi_status gelu(struct device_stream *stream, enum zi_dtype type, struct device_ptr y,
                           struct device_ptr x, int64_t count)
{
    ZI_TRY(type_check("gelu", type));
    void *to = (void *)y.address;
    const void *from = (const void *)x.address;
#pragma omp parallel for num_threads(stream->threads) schedule(static)
    for (int64_t first = 0; first < count; first += RUN)
        KERNEL_BY_TYPE(type, gelu_run, to, from, first, run_end(first, count));
    return ZI_OK;
}

static enum zi_status gelu_backward(struct device_stream *stream, enum zi_dtype type,
                                    struct device_ptr dx, struct device_ptr dy, struct device_ptr x,
                                    int64_t count)
{
    ZI_TRY(type_check("gelu_backward", type));
    void *to = (void *)dx.address;
    const void *gradient = (const void *)dy.address, *from = (const void *)x.address;
#pragma omp parallel for num_threads(stream->threads) schedule(static)
    for (int64_t first = 0; first < count; first += RUN)
        KERNEL_BY_TYPE(type, gelu_backward_run, to, gradient, from, first, run_end(first, count));
    return ZI_OK;
}

/* What a gated linear unit makes of its buffers, row by row. */
struct glu_view {
    void *to;
    const void *gate_up, *dy;
    int64_t inner;
};

VEC_INLINE void glu_row(enum zi_dtype type, const struct glu_view *v, const bool gelu, int64_t row)
{
    for (int64_t c = 0; c < v->inner; c += VEC_LANES) {
        int64_t at = 2 * row * v->inner + c, n = v->inner - c;
        vec gate = vec_load_as_part(type, v->gate_up, at, n);
        vec up = vec_load_as_part(type, v->gate_up, at + v->inner, n);
        vec open = gelu ? gelu_lanes(gate) : gate * vec_logistic2(gate * vec_set(LOG2_E));
        vec_store_as_part(type, v->to, row * v->inner + c, open * up, n);
    }
}

/* `to` may be gate_up: both halves of a lane are read before either is written. */
VEC_INLINE void glu_backward_row(enum zi_dtype type, const struct glu_view *v, const bool gelu,
                                 int64_t row)
{
    for (int64_t c = 0; c < v->inner; c += VEC_LANES) {
        int64_t at = 2 * row * v->inner + c, n = v->inner - c;
        vec gate = vec_load_as_part(type, v->gate_up, at, n);
        vec up = vec_load_as_part(type, v->gate_up, at + v->inner, n);
        vec dout = vec_load_as_part(type, v->dy, row * v->inner + c, n);
        vec s = vec_logistic2(gate * vec_set(LOG2_E));
        vec slope = gelu ? gelu_slope_lanes(gate) : vec_fma(gate * s, 1.0f - s, s);
        vec d_up = gelu ? dout * gelu_lanes(gate) : dout * gate * s;
        vec_store_as_part(type, v->to, at, dout * up * slope, n);
        vec_store_as_part(type, v->to, at + v->inner, d_up, n);
    }
}

VEC_INLINE void silu_rows(enum zi_dtype type, const struct glu_view *v, bool backward, int64_t row)
{
    if (backward)
        glu_backward_row(type, v, false, row);
    else
        glu_row(type, v, false, row);
}

VEC_INLINE void gelu_rows(enum zi_dtype type, const struct glu_view *v, bool backward, int64_t row)
{
    if (backward)
        glu_backward_row(type, v, true, row);
    else
        glu_row(type, v, true, row);
}

static enum zi_status glu_run(struct device_stream *stream, const struct device_glu *d,
                              bool backward)
{
    const struct glu_view v = {
        .to = (void *)(backward ? d->d_gate_up : d->y).address,
        .gate_up = (const void *)d->gate_up.address,
        .dy = (const void *)d->dy.address,
        .inner = d->inner,
    };
    ZI_TRY(type_check(backward ? "glu_backward" : "glu", d->type));
#pragma omp parallel for num_threads(stream->threads) schedule(static)
    for (int64_t row = 0; row < d->rows; row++) {
        if (d->gelu)
            KERNEL_BY_TYPE(d->type, gelu_rows, &v, backward, row);
        else
            KERNEL_BY_TYPE(d->type, silu_rows, &v, backward, row);
    }
    return ZI_OK;
}

static enum zi_status glu(struct device_stream *stream, const struct device_glu *desc)
{
    return glu_run(stream, desc, false);
}

static enum zi_status glu_backward(struct device_stream *stream, const struct device_glu *desc)
{
    return glu_run(stream, desc, true);
}

/* What a run of elements is multiplied with: pairs are made in one loop and their halves read in
 * another, from the half on that the first element has. */
struct drops {
    uint64_t pairs[DROPS / 2 + VEC_LANES];
    /* Elements in front of the first. */
    uint64_t skip;
    vec_bits limit;
    vec kept;
};

VEC_INLINE void drops_make(struct drops *drops, uint64_t seed, uint64_t element, int64_t count)
{
    drops->skip = element & 1;
    for (int64_t i = 0; i < count / 2 + VEC_LANES; i++)
        drops->pairs[i] = dropout_pair(seed, element / 2 + (uint64_t)i);
}

/* Of elements i .. i + VEC_LANES - 1 of the run. */
VEC_INLINE vec drops_at(const struct drops *drops, int64_t i)
{
    vec_bits bits;
    memcpy(&bits, (const char *)drops->pairs + ((uint64_t)i + drops->skip) * sizeof(uint32_t),
           sizeof bits);
    return (vec)((bits >= drops->limit) & (vec_int)drops->kept);
}

/* Row r of a dropout. */
VEC_INLINE void dropout_row(enum zi_dtype type, const struct device_dropout *d, int64_t row)
{
    const void *from = (const void *)d->from.address;
    void *to = (void *)d->to.address;
    struct drops drops = {.limit = (vec_bits){0} + dropout_limit(d->share),
                          .kept = vec_set((float)(1 / (1 - d->share)))};
    for (int64_t run = 0; run < d->columns; run += DROPS) {
        int64_t count = d->columns - run < DROPS ? d->columns - run : DROPS;
        drops_make(&drops, d->seed, (uint64_t)(d->first + row * d->stride + run), count);
        for (int64_t c = 0; c < count; c += VEC_LANES) {
            int64_t at = row * d->columns + run + c, n = count - c;
            vec y = vec_load_as_part(type, from, at, n) * drops_at(&drops, c);
            if (d->add) y = y + vec_load_as_part(type, to, at, n);
            vec_store_as_part(type, to, at, y, n);
        }
    }
}

static enum zi_status dropout(struct device_stream *stream, const struct device_dropout *desc)
{
    ZI_TRY(type_check("dropout", desc->type));
#pragma omp parallel for num_threads(stream->threads) schedule(static)
    for (int64_t row = 0; row < desc->rows; row++)
        KERNEL_BY_TYPE(desc->type, dropout_row, desc, row);
    return ZI_OK;
}

struct rope_view {
    void *x;
    int64_t sequences, tokens, heads, pairs, ld;
    double sign, scale;
    const double *theta;
    /* Of each row, or NULL: the token's number. */
    const int32_t *positions;
    /* Cosine and sine of (t % SPAN) theta, of those that occur. */
    double step[ROPE_SPAN][DEVICE_ROPE_PAIRS][2];
};

/* Cosines and sines of a position; `first`: the position, a multiple of SPAN, that `base` is of. */
struct rope_angles {
    int64_t first;
    double base[DEVICE_ROPE_PAIRS][2];
    float cosine[DEVICE_ROPE_PAIRS + VEC_LANES], sine[DEVICE_ROPE_PAIRS + VEC_LANES];
};

VEC_INLINE void rope_rotate(enum zi_dtype type, const struct rope_view *view, int64_t row,
                            const struct rope_angles *angles)
{
    int64_t pairs = view->pairs;
    for (int64_t h = 0; h < view->heads; h++) {
        int64_t at = row * view->ld + h * 2 * pairs;
        for (int64_t i = 0; i < pairs; i += VEC_LANES) {
            int64_t n = pairs - i;
            vec c = vec_load(angles->cosine + i), s = vec_load(angles->sine + i);
            vec first = vec_load_as_part(type, view->x, at + i, n);
            vec second = vec_load_as_part(type, view->x, at + pairs + i, n);
            vec_store_as_part(type, view->x, at + i, vec_fma(first, c, -(second * s)), n);
            vec_store_as_part(type, view->x, at + pairs + i, vec_fma(second, c, first * s), n);
        }
    }
}

static void rope_turn(const struct rope_view *view, struct rope_angles *angles, int64_t position)
{
    int64_t t = position % ROPE_SPAN, first = position - t;
    for (int64_t i = 0; i < view->pairs && angles->first != first; i++) {
        angles->base[i][0] = view->scale * cos((double)first * view->theta[i]);
        angles->base[i][1] = view->scale * view->sign * sin((double)first * view->theta[i]);
    }
    angles->first = first;
    for (int64_t i = 0; i < view->pairs; i++) {
        const double *base = angles->base[i], *step = view->step[t][i];
        angles->cosine[i] = (float)(base[0] * step[0] - base[1] * step[1]);
        angles->sine[i] = (float)(base[1] * step[0] + base[0] * step[1]);
    }
}

/* Rotates the tokens [first, first + ROPE_SPAN) of all sequences. */
static void rope_span(enum zi_dtype type, const struct rope_view *view, int64_t first)
{
    struct rope_angles angles = {.first = -1};
    for (int64_t t = first; t < first + ROPE_SPAN && t < view->tokens; t++) {
        rope_turn(view, &angles, t);
        for (int64_t b = 0; b < view->sequences; b++)
            KERNEL_BY_TYPE(type, rope_rotate, view, b * view->tokens + t, &angles);
    }
}

/* The same of rows that each have a position of their own; in a text they share a base. */
static void rope_rows(enum zi_dtype type, const struct rope_view *view, int64_t first)
{
    struct rope_angles angles = {.first = -1};
    int64_t rows = view->sequences * view->tokens;
    for (int64_t row = first; row < first + ROPE_SPAN && row < rows; row++) {
        rope_turn(view, &angles, view->positions[row]);
        KERNEL_BY_TYPE(type, rope_rotate, view, row, &angles);
    }
}

/* Fills the steps of the positions that occur. */
static void rope_steps(struct rope_view *view)
{
    bool occurs[ROPE_SPAN] = {false};
    int64_t rows = view->positions ? view->sequences * view->tokens : view->tokens;
    for (int64_t row = 0; row < rows && (view->positions || row < ROPE_SPAN); row++)
        occurs[(view->positions ? view->positions[row] : row) % ROPE_SPAN] = true;
    for (int64_t t = 0; t < ROPE_SPAN; t++) {
        for (int64_t i = 0; i < view->pairs && occurs[t]; i++) {
            view->step[t][i][0] = cos((double)t * view->theta[i]);
            view->step[t][i][1] = view->sign * sin((double)t * view->theta[i]);
        }
    }
}

static enum zi_status rope(struct device_stream *stream, const struct device_rope *desc)
{
    ZI_TRY(type_check("rope", desc->type));
    if (desc->width % 2 || desc->width > 2 * DEVICE_ROPE_PAIRS)
        return zi_fail(ZI_ERROR_DEVICE, "device",
                       "rope: a head of width %lld cannot be rotated; the width must be even and "
                       "at most %d",
                       (long long)desc->width, 2 * DEVICE_ROPE_PAIRS);
    struct rope_view view = {.x = (void *)desc->x.address,
                             .sequences = desc->sequences,
                             .tokens = desc->tokens,
                             .heads = desc->heads,
                             .pairs = desc->width / 2,
                             .ld = desc->ld,
                             .sign = desc->reverse ? -1 : 1,
                             .scale = (double)desc->scale,
                             .theta = desc->frequencies,
                             .positions = (const int32_t *)desc->positions.address};
    int64_t rows = view.positions ? view.sequences * view.tokens : view.tokens;
    rope_steps(&view);
#pragma omp parallel for num_threads(stream->threads) schedule(static) if (rows > ROPE_SPAN)
    for (int64_t first = 0; first < rows; first += ROPE_SPAN) {
        if (view.positions)
            rope_rows(desc->type, &view, first);
        else
            rope_span(desc->type, &view, first);
    }
    return ZI_OK;
}

void KERNEL(cpu_elementwise_register)(struct device_operations *operations)
{
    operations->gelu = gelu;
    operations->gelu_backward = gelu_backward;
    operations->glu = glu;
    operations->glu_backward = glu_backward;
    operations->dropout = dropout;
    operations->rope = rope;
}
