/* SPDX-License-Identifier: Apache-2.0 */
/* The benchmark of a device: every operation against its ceiling, at the sizes of a real step.
 *
 * A case is timed for a fixed while, repeatedly; the median of the repetitions is printed, since
 * machines are shared and single times say little. The ceiling of arithmetic is the peak of the
 * instructions that products of the type are made of. Memory has two: the triad of STREAM, a = b +
 * s c in fp64, counted as STREAM does (24 bytes per element, though its plain stores also read the
 * line they overwrite), and the device's copy past the caches (2 streams). Activations of 1024
 * tokens may stay in the last cache, as they do in a step: such a case passes 100 %. AdamW is timed
 * in turns with both, so that what else the machine does meets all of them alike. On a device that
 * is not the host there is no triad, and values come to it through host memory. */
#include "device/bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/timing.h"
#include "device/operations.h"

#define BUFFER_COUNT  4
#define BUFFER_BYTES  ((size_t)50304 * 1024 * 4)
#define CEILING_BYTES ((size_t)TRIAD * 8 + 16384)
#define CASE_SECONDS  0.25
#define SAMPLES_MOST  200

enum { B = 4, T = 256, R = B * T, C = 768, H = 12, D = 64, F = 3072, V = 50257, LD = 50304 };
enum { MANY = 32 << 20, TRIAD = MANY / 2, TOKENS_AT = 256 << 10, RESULT_AT = 128 << 10 };

struct bench {
    struct device *device;
    const struct device_operations *ops;
    struct device_stream *stream;
    /* `ceiling`: of triad and copy alone. */
    struct device_ptr x[BUFFER_COUNT], ceiling[3], small;
    /* Where the host makes what a device that is not the host gets; its address. */
    struct device_ptr staging;
    void *staged;
    enum zi_dtype type;
    /* Of the type. */
    struct device_peak peak;
    /* Byte/s; triad is 0 where the device has none. */
    double triad, copy;
    int threads;
    FILE *out;
    enum zi_status status;
};

struct bench_case {
    const char *name;
    /* One of them is 0. */
    double flops, bytes;
    enum zi_status (*run)(struct bench *, const struct bench_case *);
    struct device_matmul matmul;
    int which;
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_seconds(struct bench *bench, const struct bench_case *c)
{
    double samples[SAMPLES_MOST], start = zi_time_s();
    int count = 0;
    for (int warm = 0; warm < 2 && bench->status >= 0; warm++) {
        bench->status = c->run(bench, c);
    }
    start = zi_time_s();
    while (bench->status >= 0 && count < SAMPLES_MOST &&
           (count < 3 || zi_time_s() - start < CASE_SECONDS)) {
        double from = zi_time_s();
        bench->status = c->run(bench, c);
        if (bench->status >= 0) bench->status = device_stream_synchronize(bench->stream);
        samples[count++] = zi_time_s() - from;
        if (bench->status >= 0) bench->status = zi_stop_check();
    }
    if (count == 0) return 1;
    qsort(samples, (size_t)count, sizeof *samples, by_value);
    return samples[count / 2];
}

static void print_rate(const struct bench *bench, const struct bench_case *c, double seconds)
{
    double rate = c->bytes / seconds;
    fprintf(bench->out, "  %-42s %9.3f ms %8.1f GB/s    ", c->name, seconds * 1e3, rate / 1e9);
    if (bench->triad > 0) fprintf(bench->out, "%6.1f %% of triad ", 100 * rate / bench->triad);
    fprintf(bench->out, "%6.1f %% of copy\n", 100 * rate / bench->copy);
}

static void print_case(struct bench *bench, const struct bench_case *c)
{
    if (bench->status < 0) return;
    double seconds = median_seconds(bench, c);
    if (bench->status < 0) return;
    if (c->flops > 0) {
        fprintf(bench->out, "  %-42s %9.3f ms %8.1f GFLOP/s %6.1f %% of peak\n", c->name,
                seconds * 1e3, c->flops / seconds / 1e9,
                100 * c->flops / seconds / bench->peak.flops_per_s);
    } else {
        print_rate(bench, c, seconds);
    }
}

static enum zi_status run_matmul(struct bench *bench, const struct bench_case *c)
{
    return bench->ops->matmul(bench->stream, &c->matmul);
}

static void bench_product(struct bench *bench, const int64_t shape[2] /* N, K */, int form)
{
    static const char *const forms[] = {"forward", "input gradient", "weight gradient"};
    char name[64];
    int64_t n = shape[0], k = shape[1];
    bool head = n == V;
    int64_t ld = head ? LD * (bench->type != ZI_FP32 && form > 0 ? 2 : 1) : n;
    struct bench_case c = {.name = name, .run = run_matmul, .flops = 2.0 * R * (double)(n * k)};
    struct device_matmul *d = &c.matmul;
    d->a = bench->x[0];
    d->b = bench->x[1];
    d->c = bench->x[2];
    d->type = bench->type;
    d->type_c = form == 2 || (form == 0 && head) ? ZI_FP32 : bench->type;
    d->m = form == 2 ? n : R;
    d->n = form == 0 ? n : k;
    d->k = form == 0 ? k : form == 1 ? n : R;
    d->lda = form == 0 ? k : ld;
    d->ldb = k;
    d->ldc = form == 0 ? ld : k;
    d->transpose_a = d->accumulate = form == 2;
    d->transpose_b = form == 0;
    snprintf(name, sizeof name, "matmul %d x %ld x %ld %s", R, (long)n, (long)k, forms[form]);
    print_case(bench, &c);
}

static struct device_norm norm_of(const struct bench *b, const struct bench_case *c)
{
    return (struct device_norm){
        .type = b->type,
        .rms = c->which & 2,
        .rows = R,
        .columns = C,
        .epsilon = 1e-5f,
        .x = b->x[0],
        .weight = b->small,
        .bias = c->which & 2 ? (struct device_ptr){0} : device_at(b->small, 8192),
        .y = b->x[1],
        .mean = device_at(b->small, 16384),
        .rstd = device_at(b->small, 32768),
        .dy = b->x[1],
        .dx = b->x[2],
        .dweight = device_at(b->small, 49152),
        .dbias = device_at(b->small, 65536),
        .scratch = b->x[3],
    };
}

static enum zi_status run_norm(struct bench *b, const struct bench_case *c)
{
    struct device_norm norm = norm_of(b, c);
    return c->which & 1 ? b->ops->norm_backward(b->stream, &norm) : b->ops->norm(b->stream, &norm);
}

static enum zi_status run_gelu(struct bench *b, const struct bench_case *c)
{
    if (c->which)
        return b->ops->gelu_backward(b->stream, b->type, b->x[2], b->x[1], b->x[0], R * F);
    return b->ops->gelu(b->stream, b->type, b->x[1], b->x[0], R * F);
}

static enum zi_status run_glu(struct bench *b, const struct bench_case *c)
{
    struct device_glu glu = {
        .type = b->type,
        .gelu = c->which & 2,
        .rows = R,
        .inner = F,
        .gate_up = b->x[0],
        .y = b->x[1],
        .dy = b->x[1],
        .d_gate_up = b->x[2],
    };
    return c->which & 1 ? b->ops->glu_backward(b->stream, &glu) : b->ops->glu(b->stream, &glu);
}

static enum zi_status run_dropout(struct bench *b, const struct bench_case *c)
{
    struct device_dropout dropout = {
        .type = b->type,
        .rows = R,
        .columns = F,
        .seed = 1,
        .stride = F,
        .share = 0.1,
        .add = c->which,
        .from = b->x[0],
        .to = b->x[1],
    };
    return b->ops->dropout(b->stream, &dropout);
}

static enum zi_status run_attention(struct bench *b, const struct bench_case *c)
{
    size_t type = zi_dtype_bytes(b->type);
    int64_t tokens = c->which & 2 ? 1024 : T;
    struct device_attention a = {
        .type = b->type,
        .sequences = R / tokens,
        .tokens = tokens,
        .heads = H,
        .key_heads = H,
        .width = D,
        .ld = 3 * C,
        .ld_o = C,
        .q = b->x[0],
        .k = device_at(b->x[0], C * type),
        .v = device_at(b->x[0], 2 * C * type),
        .o = b->x[1],
        .logsumexp = device_at(b->x[1], (size_t)R * C * 4),
        .d_o = b->x[1],
        .dq = b->x[2],
        .dk = device_at(b->x[2], C * type),
        .dv = device_at(b->x[2], 2 * C * type),
        .scratch = b->x[3],
    };
    if (c->which & 1) return b->ops->attention_backward(b->stream, &a);
    return b->ops->attention(b->stream, &a);
}

static enum zi_status run_cross_entropy(struct bench *b, const struct bench_case *c)
{
    (void)c;
    struct device_softmax softmax = {
        .rows = R,
        .columns = V,
        .ld = LD,
        .gradient_type = b->type,
        .scale = 1e-3f,
        .logits = b->x[0],
        .targets = device_at(b->small, TOKENS_AT),
    };
    return b->ops->cross_entropy(b->stream, &softmax, device_at(b->small, RESULT_AT));
}

static enum zi_status run_rope(struct bench *b, const struct bench_case *c)
{
    struct device_rope rope = {.type = b->type,
                               .sequences = B,
                               .tokens = T,
                               .heads = H,
                               .width = D,
                               .ld = 3 * C,
                               .scale = 1,
                               .reverse = c->which != 0,
                               .x = b->x[0]};
    for (int i = 0; i < D / 2; i++)
        rope.frequencies[i] = pow(1e4, -2.0 * i / D);
    return b->ops->rope(b->stream, &rope);
}

static enum zi_status run_embed(struct bench *b, const struct bench_case *c)
{
    struct device_embedding e = {.type = b->type,
                                 .sequences = B,
                                 .tokens = T,
                                 .columns = C,
                                 .ids = V,
                                 .y = b->x[0],
                                 .token_ids = device_at(b->small, TOKENS_AT),
                                 .table = b->x[1],
                                 .position = b->x[2]};
    return c->which ? b->ops->embed_backward(b->stream, &e) : b->ops->embed(b->stream, &e);
}

/* The type of 16 bits in a table of `type`. */
static enum zi_dtype half_of(const struct bench *b)
{
    return b->type == ZI_FP16 ? ZI_FP16 : ZI_BF16;
}

/* which: 0 = fp32 weights, 1 = split weights (parameter and remainder) */
static enum zi_status run_adam(struct bench *b, const struct bench_case *c)
{
    struct device_adam a = {.count = MANY,
                            .gradient_type = b->type,
                            .learning_rate = 1e-4f,
                            .beta1 = 0.9f,
                            .beta2 = 0.95f,
                            .epsilon = 1e-8f,
                            .scale = 1,
                            .correction1 = 0.1f,
                            .correction2 = 0.05f,
                            .place = {.seed = 1, .row = MANY, .stride = MANY}};
    a.parameter = b->x[0];
    if (c->which) {
        a.type = half_of(b);
        /* behind the fp32 arrays, so that neither form reads what the other wrote */
        a.parameter = device_at(b->x[0], (size_t)MANY * 4 + 17408);
        a.remainder = device_at(b->x[2], (size_t)MANY * 4 + 21760);
    }
    a.states[0] = device_at(b->x[1], 4352);
    a.states[1] = device_at(b->x[2], 8704);
    a.gradient = device_at(b->x[3], 13056);
    a.checksum = device_at(b->small, RESULT_AT);
    return b->ops->adam(b->stream, &a);
}

static enum zi_status run_gradient_norm(struct bench *b, const struct bench_case *c)
{
    (void)c;
    return b->ops->gradient_norm(b->stream, b->type, b->x[0], MANY, device_at(b->small, RESULT_AT));
}

static enum zi_status run_gradient_round(struct bench *b, const struct bench_case *c)
{
    (void)c;
    return b->ops->gradient_round(b->stream, half_of(b), b->x[1], b->x[0], MANY,
                                  device_at(b->small, RESULT_AT));
}

static enum zi_status run_checksum(struct bench *b, const struct bench_case *c)
{
    (void)c;
    const struct device_place place = {.seed = 1, .row = MANY, .stride = MANY};
    return b->ops->checksum(b->stream, b->x[0], MANY, &place, device_at(b->small, RESULT_AT));
}

static enum zi_status run_convert(struct bench *b, const struct bench_case *c)
{
    if (c->which) return b->ops->convert(b->stream, ZI_FP32, b->x[1], half_of(b), b->x[0], MANY);
    return b->ops->convert(b->stream, half_of(b), b->x[1], ZI_FP32, b->x[0], MANY);
}

static enum zi_status run_unpack(struct bench *b, const struct bench_case *c)
{
    enum zi_dtype packed = c->which ? ZI_PACKED4 : ZI_PACKED8;
    return b->ops->unpack(b->stream, b->type, b->x[1], packed, b->x[0], MANY);
}

static enum zi_status run_add(struct bench *b, const struct bench_case *c)
{
    (void)c;
    return b->ops->add(b->stream, ZI_FP32, b->x[1], b->type, b->x[0], MANY);
}

static enum zi_status run_fill(struct bench *b, const struct bench_case *c)
{
    (void)c;
    return b->ops->fill(b->stream, b->x[3], (size_t)MANY * 4, 0);
}

static enum zi_status run_bias(struct bench *b, const struct bench_case *c)
{
    (void)c;
    return b->ops->bias_backward(b->stream, b->type, b->small, b->x[0], R, F, F, true);
}

static enum zi_status run_copy(struct bench *b, const struct bench_case *c)
{
    (void)c;
    return device_copy(b->stream, b->ceiling[1], b->ceiling[0], (size_t)MANY * 4);
}

static enum zi_status run_triad(struct bench *bench, const struct bench_case *c)
{
    (void)c;
    double *restrict a = (double *)bench->ceiling[0].address;
    const double *restrict x = (const double *)(bench->ceiling[1].address + 4352);
    const double *restrict y = (const double *)(bench->ceiling[2].address + 8704);
#pragma omp parallel for num_threads(bench->threads) schedule(static)
    for (int64_t i = 0; i < TRIAD; i++) {
        a[i] = x[i] + 3.0 * y[i];
    }
    return ZI_OK;
}

/* Values of -1/2 to 1/2 of the type, so that no kernel meets infinities or denormals. */
static void make_values(struct bench *b, void *to)
{
    float *values = to;
    uint16_t *narrow = to;
#pragma omp parallel for num_threads(b->threads)
    for (size_t j = 0; j < BUFFER_BYTES / 4; j++) {
        float value = (float)((j * 2654435761u >> 20) & 1023) / 1024.0f - 0.5f;
        if (b->type == ZI_FP32)
            values[j] = value;
        else
            narrow[2 * j] = narrow[2 * j + 1] = zi_half_round_even(b->type, value);
    }
}

static bool is_host(const struct bench *b)
{
    return device_get_properties(b->device)->is_host;
}

static void fill_buffers(struct bench *b)
{
    if (!is_host(b)) make_values(b, b->staged);
    for (int i = 0; i < BUFFER_COUNT && b->status >= 0; i++) {
        if (is_host(b))
            make_values(b, (void *)b->x[i].address);
        else
            b->status = device_copy(b->stream, b->x[i], b->staging, BUFFER_BYTES);
    }
    if (b->status >= 0) b->status = device_stream_synchronize(b->stream);
}

/* Ids all over the vocabulary. */
static void fill_tokens(struct bench *b)
{
    struct device_ptr at = device_at(b->small, TOKENS_AT);
    int32_t *tokens = is_host(b) ? (void *)at.address : b->staged;
    for (int r = 0; r < R; r++) {
        tokens[r] = (int32_t)(r * 2654435761u % V);
    }
    if (is_host(b)) return;
    b->status = device_copy(b->stream, at, b->staging, R * sizeof *tokens);
    if (b->status >= 0) b->status = device_stream_synchronize(b->stream);
}

static const struct bench_case triad_case = {"triad", 0, 24.0 * TRIAD, run_triad, {0}, 0};
static const struct bench_case copy_case = {"copy", 0, 8.0 * MANY, run_copy, {0}, 0};

/* AdamW in turns with triad and copy, medians of each. Weights and moments are read and written,
 * the gradient is read: 24 bytes and those of the gradient in both forms. The cases before may have
 * left anything in the buffers; they get values again, second moments start at 0. */
static void bench_adam(struct bench *b)
{
    enum { CASES = 4, TURNS = 9 };
    double bytes = MANY * (24 + (double)zi_dtype_bytes(b->type)), seconds[CASES][TURNS];
    const struct bench_case cases[CASES] = {
        triad_case,
        copy_case,
        {"adamw, fp32 weights", 0, bytes, run_adam, {0}, 0},
        {"adamw, weights of 16 bits with remainder", 0, bytes, run_adam, {0}, 1},
    };
    if (b->status < 0) return;
    fill_buffers(b);
    b->status = b->ops->fill(b->stream, b->x[2], BUFFER_BYTES, 0);
    int first = is_host(b) ? 0 : 1;
    for (int turn = -1; turn < TURNS; turn++) { /* the first is not counted */
        for (int i = first; i < CASES && b->status >= 0; i++) {
            double start = zi_time_s();
            b->status = cases[i].run(b, &cases[i]);
            if (b->status >= 0) b->status = device_stream_synchronize(b->stream);
            if (turn >= 0) seconds[i][turn] = zi_time_s() - start;
        }
    }
    if (b->status < 0) return;
    for (int i = first; i < CASES; i++)
        qsort(seconds[i], TURNS, sizeof *seconds[i], by_value);
    if (first == 0) b->triad = triad_case.bytes / seconds[0][TURNS / 2];
    b->copy = copy_case.bytes / seconds[1][TURNS / 2];
    fprintf(b->out, "  in turns:\n");
    for (int i = first; i < CASES; i++)
        print_rate(b, &cases[i], seconds[i][TURNS / 2]);
}

/* Bytes are those that a case reads and writes, each once. */
static void bench_memory_bound(struct bench *b)
{
    const struct device_operations *o = b->ops;
    double e = (double)zi_dtype_bytes(b->type), rc = (double)R * C * e, rf = (double)R * F * e;
    double many = MANY, rc4 = (double)R * C * 4;
    double packed8 = (double)zi_dtype_size(ZI_PACKED8, MANY);
    double packed4 = (double)zi_dtype_size(ZI_PACKED4, MANY);
    const struct {
        bool there;
        struct bench_case timed;
    } cases[] = {
        {o->norm, {"layernorm", 0, 2 * rc, run_norm, {0}, 0}},
        {o->norm_backward, {"layernorm backward", 0, 4 * rc, run_norm, {0}, 1}},
        {o->norm, {"rmsnorm", 0, 2 * rc, run_norm, {0}, 2}},
        {o->norm_backward, {"rmsnorm backward", 0, 4 * rc, run_norm, {0}, 3}},
        {o->gelu, {"gelu", 0, 2 * rf, run_gelu, {0}, 0}},
        {o->gelu_backward, {"gelu backward", 0, 3 * rf, run_gelu, {0}, 1}},
        {o->glu, {"swiglu", 0, 3 * rf, run_glu, {0}, 0}},
        {o->glu_backward, {"swiglu backward", 0, 5 * rf, run_glu, {0}, 1}},
        {o->glu, {"geglu", 0, 3 * rf, run_glu, {0}, 2}},
        {o->glu_backward, {"geglu backward", 0, 5 * rf, run_glu, {0}, 3}},
        {o->dropout, {"dropout", 0, 2 * rf, run_dropout, {0}, 0}},
        {o->dropout, {"dropout added", 0, 3 * rf, run_dropout, {0}, 1}},
        {o->rope, {"rope", 0, 2 * rc, run_rope, {0}, 0}},
        {o->embed, {"embedding", 0, 3 * rc, run_embed, {0}, 0}},
        {o->embed_backward, {"embedding backward", 0, rc + 4 * rc4, run_embed, {0}, 1}},
        {o->bias_backward, {"bias backward", 0, rf, run_bias, {0}, 0}},
        {o->add, {"add to fp32", 0, many * (8 + e), run_add, {0}, 0}},
        {o->convert, {"fp32 to 16 bits", 0, many * 6, run_convert, {0}, 0}},
        {o->convert, {"16 bits to fp32", 0, many * 6, run_convert, {0}, 1}},
        {o->gradient_norm, {"gradient norm", 0, many * e, run_gradient_norm, {0}, 0}},
        {o->gradient_round, {"fp32 to 16 bits with norm", 0, many * 6, run_gradient_round, {0}, 0}},
        {o->checksum, {"checksum", 0, many * 4, run_checksum, {0}, 0}},
        {o->unpack, {"weights of 8 bits", 0, many * e + packed8, run_unpack, {0}, 0}},
        {o->unpack, {"weights of nf4", 0, many * e + packed4, run_unpack, {0}, 1}},
        {o->fill, {"fill", 0, many * 4, run_fill, {0}, 0}},
    };
    fill_buffers(b);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cases[i].there) print_case(b, &cases[i].timed);
    }
    fill_buffers(b);
    const struct bench_case loss = {
        "cross-entropy with gradient", 0, (double)R * V * (8 + e), run_cross_entropy, {0}, 0};
    if (o->cross_entropy) print_case(b, &loss);
}

static void bench_type(struct bench *b)
{
    static const int64_t shapes[][2] = {{C, C}, {3 * C, C}, {F, C}, {C, F}, {V, C}};
    double scores = 2.0 * B * H * D * T * (T + 1), long_scores = 2.0 * H * D * 1024 * 1025;
    const struct bench_case attention[] = {
        {"attention 4 x 12 heads x 256 (causal half)", scores, 0, run_attention, {0}, 0},
        {"attention backward 4 x 12 x 256", 2.5 * scores, 0, run_attention, {0}, 1},
        {"attention 12 heads x 1024", long_scores, 0, run_attention, {0}, 2},
        {"attention backward 12 x 1024", 2.5 * long_scores, 0, run_attention, {0}, 3},
    };
    for (int form = 0; form < 3 && b->ops->matmul; form++) {
        for (int s = 0; s < 5; s++) {
            bench_product(b, shapes[s], form);
        }
    }
    for (int i = 0; i < 4; i++) {
        bool there = i & 1 ? !!b->ops->attention_backward : !!b->ops->attention;
        if (there) print_case(b, &attention[i]);
    }
    bench_memory_bound(b);
    if (b->ops->adam && b->ops->fill) bench_adam(b);
}

static void print_ceilings(const struct bench *b)
{
    fprintf(b->out, "%s, %d thread%s: peak %.1f GFLOP/s of %s, ", zi_dtype_name(b->type),
            b->threads, b->threads > 1 ? "s" : "", b->peak.flops_per_s / 1e9, b->peak.instructions);
    if (b->triad > 0) fprintf(b->out, "triad %.1f GB/s, ", b->triad / 1e9);
    fprintf(b->out, "copy %.1f GB/s\n", b->copy / 1e9);
}

static void bench_threads(struct bench *b, int threads)
{
    static const enum zi_dtype types[] = {ZI_FP32, ZI_BF16, ZI_FP16};
    b->threads = threads;
    b->status = device_stream_create(b->device, threads, &b->stream);
    if (b->status < 0) return;
    b->type = ZI_FP32;
    fill_tokens(b);
    fill_buffers(b);
    if (is_host(b)) b->triad = triad_case.bytes / median_seconds(b, &triad_case);
    b->copy = copy_case.bytes / median_seconds(b, &copy_case);
    for (int type = 0; type < 3 && b->status >= 0; type++) {
        b->type = types[type];
        b->status = device_measure_peak(b->stream, b->type, 0.3, &b->peak);
        if (b->status < 0) break;
        print_ceilings(b);
        fill_buffers(b);
        bench_type(b);
    }
    device_stream_destroy(b->stream);
}

/* Memory that only a device with memory of its own needs. */
static enum zi_status allocate_staging(struct bench *b)
{
    struct device_stream *stream;
    if (is_host(b)) return ZI_OK;
    ZI_TRY(device_allocate(b->device, ZI_TIER_HOST, BUFFER_BYTES, "bench", &b->staging));
    ZI_TRY(device_stream_create(b->device, 1, &stream));
    enum zi_status status = device_map(stream, b->staging, BUFFER_BYTES, &b->staged);
    device_stream_destroy(stream);
    return status;
}

static enum zi_status allocate(struct bench *b)
{
    for (int i = 0; i < BUFFER_COUNT; i++) {
        ZI_TRY(device_allocate(b->device, ZI_TIER_DEVICE, BUFFER_BYTES, "bench", &b->x[i]));
    }
    for (int i = 0; i < 3; i++) {
        ZI_TRY(device_allocate(b->device, ZI_TIER_DEVICE, CEILING_BYTES, "bench", &b->ceiling[i]));
    }
    ZI_TRY(device_allocate(b->device, ZI_TIER_DEVICE, 1 << 20, "bench", &b->small));
    return allocate_staging(b);
}

enum zi_status device_bench(struct device *device, FILE *out)
{
    struct bench b = {.device = device, .ops = device_get_operations(device), .out = out};
    const struct device_properties *p = device_get_properties(device);
    b.status = allocate(&b);
    fprintf(out, "%s\n", p->name);
    int threads = is_host(&b) ? p->threads : 1;
    if (b.status >= 0) bench_threads(&b, threads);
    if (b.status >= 0 && threads > 1) bench_threads(&b, 1);
    for (int i = 0; i < BUFFER_COUNT; i++) {
        device_free(device, ZI_TIER_DEVICE, b.x[i]);
    }
    for (int i = 0; i < 3; i++) {
        device_free(device, ZI_TIER_DEVICE, b.ceiling[i]);
    }
    device_free(device, ZI_TIER_DEVICE, b.small);
    device_free(device, ZI_TIER_HOST, b.staging);
    return b.status;
}
