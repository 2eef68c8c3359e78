/* SPDX-License-Identifier: Apache-2.0 */
/* Attention in blocks against its definition in double: every score, softmax and gradient written
 * out. The gradients of the definition are themselves held to central differences of its forward.
 *
 * Tolerances. fp32: scores are sums of D products of size 1, values and gradients weighted means of
 * numbers of size 1 to 4 times P, each sum with relative errors of a few 1e-7: 1e-5 absolute, more
 * for gradients, which add up over T queries. bf16: q, k, v, dO are exact, and what is stored is
 * rounded to 2^-8 relative. With the bf16 instruction, P and dS are rounded as well (2^-9 each, of
 * either sign, so that a sum of n terms with squares q errs by about 2^-9 sqrt(q)), and delta is
 * made from the rounded o: 2^-8 of values of size 1 covers a sum with margin. fp16 has three bits
 * more, and P and dS are not rounded. */
#include "regression/unit/kernel_fixture.h"

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#ifdef HAVE_ISA_AVX512BF16
/* Of k_attention.c: less than 0 for bf16 that is widened, more for pairs. */
extern int cpu_attention_pairs_avx512bf16;
#endif

struct attention_case {
    /* `extra`: unused columns of a row. */
    int64_t sequences, tokens, heads, key_heads, width, extra, window;
    /* 0: 1 / sqrt(width); 0: none. */
    double scale, cap;
    /* Of a text; 0: a sequence is one. */
    int64_t longest;
    /* Of each row, how far it is into its text; NULL until the case runs. */
    const int32_t *positions;
};

/* Texts of lengths from 1 to c->longest; NULL for none. */
static int32_t *positions_create(const struct attention_case *c)
{
    int32_t *positions = calloc((size_t)(c->sequences * c->tokens) + 1, sizeof *positions);
    if (!positions) exit(1);
    for (int64_t b = 0, text = 0; b < c->sequences; b++) {
        for (int64_t t = 0; t < c->tokens; text++) {
            int64_t length = 1 + text * text * 7 % c->longest;
            for (int64_t i = 0; i < length && t < c->tokens; i++, t++)
                positions[b * c->tokens + t] = (int32_t)i;
        }
    }
    return positions;
}

/* Offsets of q, k, v in a row, and of o. */
static int64_t row_length(const struct attention_case *c)
{
    return (c->heads + 2 * c->key_heads) * c->width + c->extra;
}

static int64_t out_length(const struct attention_case *c)
{
    return c->heads * c->width + c->extra;
}

/* Where element (row, head, 0) of q, k or v (0, 1, 2) is. */
static int64_t input_at(const struct attention_case *c, int64_t row, int which, int64_t head)
{
    int64_t first = which == 0 ? 0 : which == 1 ? c->heads : c->heads + c->key_heads;
    return row * row_length(c) + (first + head) * c->width;
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static double scale_of(const struct attention_case *c)
{
    return c->scale > 0 ? c->scale : 1.0 / sqrt((double)c->width);
}

/* The slope of the cap where a score is x times the scale. */
static double slope_define(const struct attention_case *c, double x)
{
    double t = c->cap > 0 ? tanh(x * scale_of(c) / c->cap) : 0.0;
    return 1.0 - t * t;
}

/* Probabilities of one query over keys 0..t, 0 before its window and its text; gives the logsumexp. */
static double softmax_define(const struct attention_case *c, const double *x, int64_t row,
                             int64_t t, int64_t head, double *p)
{
    int64_t key_head = head / (c->heads / c->key_heads);
    int64_t first = c->window > 0 && t >= c->window ? t - c->window + 1 : 0;
    if (c->positions && t - c->positions[row] > first) first = t - c->positions[row];
    double largest = -INFINITY, sum = 0.0;
    for (int64_t j = 0; j < first; j++)
        p[j] = 0.0;
    for (int64_t j = first; j <= t; j++) {
        const double *key = x + input_at(c, row - t + j, 1, key_head);
        p[j] = dot(x + input_at(c, row, 0, head), key, c->width) * scale_of(c);
        if (c->cap > 0) p[j] = c->cap * tanh(p[j] / c->cap);
        largest = p[j] > largest ? p[j] : largest;
    }
    for (int64_t j = first; j <= t; j++)
        sum += exp(p[j] - largest);
    for (int64_t j = first; j <= t; j++)
        p[j] = exp(p[j] - largest) / sum;
    return log(sum) + largest;
}

static void forward_define(const struct attention_case *c, const double *x, double *o,
                           double *logsumexp)
{
    double *p = doubles_create(c->tokens);
    for (int64_t row = 0; row < c->sequences * c->tokens; row++) {
        int64_t b = row / c->tokens, t = row % c->tokens;
        for (int64_t h = 0; h < c->heads; h++) {
            double *out = o + row * out_length(c) + h * c->width;
            logsumexp[(b * c->heads + h) * c->tokens + t] = softmax_define(c, x, row, t, h, p);
            for (int64_t d = 0; d < c->width; d++) {
                out[d] = 0.0;
                for (int64_t j = 0; j <= t; j++)
                    out[d] +=
                        p[j] * x[input_at(c, row - t + j, 2, h / (c->heads / c->key_heads)) + d];
            }
        }
    }
    free(p);
}

/* dx [rows][row_length]: gradients of sum(dO o O), in the places of q, k and v. */
static void backward_define(const struct attention_case *c, const double *x, const double *d_o,
                            double *dx)
{
    double *p = doubles_create(c->tokens), *dp = doubles_create(c->tokens);
    for (int64_t row = 0; row < c->sequences * c->tokens; row++) {
        int64_t t = row % c->tokens;
        for (int64_t h = 0; h < c->heads; h++) {
            const double *g = d_o + row * out_length(c) + h * c->width;
            int64_t kh = h / (c->heads / c->key_heads), q = input_at(c, row, 0, h);
            double delta = 0.0;
            softmax_define(c, x, row, t, h, p);
            for (int64_t j = 0; j <= t; j++) {
                dp[j] = dot(g, x + input_at(c, row - t + j, 2, kh), c->width);
                delta += p[j] * dp[j];
            }
            for (int64_t j = 0; j <= t; j++) {
                int64_t k = input_at(c, row - t + j, 1, kh), v = input_at(c, row - t + j, 2, kh);
                double slope = slope_define(c, dot(x + q, x + k, c->width));
                double ds = p[j] * (dp[j] - delta) * slope * scale_of(c);
                for (int64_t d = 0; d < c->width; d++) {
                    dx[q + d] += ds * x[k + d];
                    dx[k + d] += ds * x[q + d];
                    dx[v + d] += p[j] * g[d];
                }
            }
        }
    }
    free(p);
    free(dp);
}

/* sum(dO o O) of the definition */
static double objective(const struct attention_case *c, const double *x, const double *d_o)
{
    int64_t count = c->sequences * c->tokens * out_length(c);
    double *o = doubles_create(count);
    double *logsumexp = doubles_create(c->sequences * c->tokens * c->heads);
    forward_define(c, x, o, logsumexp);
    double sum = dot(o, d_o, count);
    free(o);
    free(logsumexp);
    return sum;
}

static struct device_attention describe(struct kernels *k, const struct attention_case *c,
                                        const struct buffer *x, const struct buffer *o,
                                        const struct buffer *logsumexp)
{
    return (struct device_attention){.type = k->type,
                                     .sequences = c->sequences,
                                     .tokens = c->tokens,
                                     .heads = c->heads,
                                     .key_heads = c->key_heads,
                                     .width = c->width,
                                     .ld = row_length(c),
                                     .ld_o = out_length(c),
                                     .window = c->window,
                                     .scale = (float)c->scale,
                                     .cap = (float)c->cap,
                                     .positions = {(uintptr_t)c->positions},
                                     .q = buffer_at(x, input_at(c, 0, 0, 0)),
                                     .k = buffer_at(x, input_at(c, 0, 1, 0)),
                                     .v = buffer_at(x, input_at(c, 0, 2, 0)),
                                     .o = buffer_at(o, 0),
                                     .logsumexp = buffer_at(logsumexp, 0)};
}

/* Columns that belong to no head hold 7 before and after. */
static void padding_fill(const struct attention_case *c, struct buffer *b, int64_t length)
{
    for (int64_t row = 0; row < c->sequences * c->tokens; row++)
        for (int64_t i = length - c->extra; i < length; i++)
            buffer_set(b, row * length + i, 7.0);
}

static void padding_expect(const struct attention_case *c, double *values, int64_t length)
{
    for (int64_t row = 0; row < c->sequences * c->tokens; row++)
        for (int64_t i = length - c->extra; i < length; i++)
            values[row * length + i] = 7.0;
}

/* Queries and keys in rows of their own give the same bits. */
static void check_apart(struct kernels *k, const struct attention_case *c,
                        const struct device_attention *like, const struct buffer *x,
                        const struct buffer *results[3] /* o, logsumexp, gradients */)
{
    int64_t rows = c->sequences * c->tokens, ld = (c->heads + c->key_heads) * c->width + 3;
    struct buffer qk = buffer_create(k->type, rows * ld);
    struct buffer o = buffer_copy(results[0]), dx = buffer_copy(results[2]);
    struct buffer logsumexp = buffer_create(ZI_FP32, rows * c->heads);
    struct device_attention desc = *like;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < ld - 3; i++)
            buffer_set(&qk, row * ld + i, buffer_get(x, row * row_length(c) + i));
    desc.ld_qk = ld;
    desc.q = buffer_at(&qk, 0);
    desc.k = buffer_at(&qk, c->heads * c->width);
    desc.o = buffer_at(&o, 0);
    desc.logsumexp = buffer_at(&logsumexp, 0);
    desc.dq = buffer_at(&dx, input_at(c, 0, 0, 0));
    desc.dk = buffer_at(&dx, input_at(c, 0, 1, 0));
    desc.dv = buffer_at(&dx, input_at(c, 0, 2, 0));
    CHECK_INT(k->operations.attention(&k->stream, &desc), ZI_OK);
    CHECK_INT(k->operations.attention_backward(&k->stream, &desc), ZI_OK);
    for (int64_t i = 0; i < rows * out_length(c); i++)
        CHECK(buffer_get(&o, i) == buffer_get(results[0], i));
    for (int64_t i = 0; i < rows * c->heads; i++)
        CHECK(buffer_get(&logsumexp, i) == buffer_get(results[1], i));
    for (int64_t i = 0; i < rows * row_length(c); i++)
        CHECK(buffer_get(&dx, i) == buffer_get(results[2], i));
    struct buffer *buffers[] = {&qk, &o, &dx, &logsumexp};
    for (int i = 0; i < 4; i++)
        buffer_destroy(buffers[i]);
}

static void attention_case_run(struct kernels *k, const struct attention_case *of)
{
    struct attention_case with = *of;
    int32_t *positions = of->longest > 0 ? positions_create(of) : NULL;
    const struct attention_case *c = &with;
    with.positions = positions;
    int64_t rows = c->sequences * c->tokens, count = rows * row_length(c);
    int64_t out_count = rows * out_length(c);
    struct buffer x = buffer_random(k->type, count, "qkv", 1.0f);
    struct buffer d_o = buffer_random(k->type, out_count, "d_o", 1.0f);
    struct buffer o = buffer_create(k->type, out_count), dx = buffer_create(k->type, count);
    struct buffer logsumexp = buffer_create(ZI_FP32, rows * c->heads);
    struct device_attention desc = describe(k, c, &x, &o, &logsumexp);
    struct buffer scratch = buffer_random(
        ZI_FP32, (int64_t)(device_attention_backward_scratch(&desc) / 4), "scratch", 1.0f);
    double *xs = doubles_of(&x), *gs = doubles_of(&d_o), *os = doubles_create(out_count);
    double *dxs = doubles_create(count), *sums = doubles_create(rows * c->heads);
    forward_define(c, xs, os, sums);
    backward_define(c, xs, gs, dxs);
    padding_fill(c, &o, out_length(c));
    padding_fill(c, &dx, row_length(c));
    padding_expect(c, os, out_length(c));
    padding_expect(c, dxs, row_length(c));
    desc.d_o = buffer_at(&d_o, 0);
    desc.dq = buffer_at(&dx, input_at(c, 0, 0, 0));
    desc.dk = buffer_at(&dx, input_at(c, 0, 1, 0));
    desc.dv = buffer_at(&dx, input_at(c, 0, 2, 0));
    desc.scratch = buffer_at(&scratch, 0);

    bool rounded = k->type == ZI_BF16;
    double gradient = rounded ? 2e-2 : k->type == ZI_FP16 ? 2.5e-3 : 1e-5;
    CHECK_INT(k->operations.attention(&k->stream, &desc), ZI_OK);
    kernels_compare(k, "attention o", &o, os, kernels_rounding(k->type), rounded ? 4e-3 : 3e-6);
    kernels_compare(k, "attention logsumexp", &logsumexp, sums, 1e-6, 2e-6);
    CHECK_INT(k->operations.attention_backward(&k->stream, &desc), ZI_OK);
    kernels_compare(k, "attention dq, dk, dv", &dx, dxs, kernels_rounding(k->type), gradient);
    check_apart(k, c, &desc, &x, (const struct buffer *[]){&o, &logsumexp, &dx});
    double *doubles[] = {xs, gs, os, dxs, sums};
    for (int i = 0; i < 5; i++)
        free(doubles[i]);
    struct buffer *buffers[] = {&x, &d_o, &o, &dx, &logsumexp, &scratch};
    for (int i = 0; i < 6; i++)
        buffer_destroy(buffers[i]);
    free(positions);
}

/* Sizes around the blocks of the kernels: 32 queries, 128 of them a task; 128 keys, 64 from a width
 * of 129 on. */
static void test_attention(struct kernels *k)
{
    const struct attention_case cases[] = {
        {1, 1, 1, 1, 1, 0, 0, 0, 0, 0, NULL},
        {2, 1, 2, 1, 5, 3, 0, 0, 0, 0, NULL},
        {1, 5, 1, 1, 5, 0, 0, 0, 0, 0, NULL},
        {2, 37, 3, 3, 5, 1, 0, 0, 0, 0, NULL},
        {1, 33, 4, 2, 8, 0, 0, 0, 0, 0, NULL},
        {1, 64, 1, 1, 16, 0, 0, 0, 0, 0, NULL},
        {1, 65, 2, 1, 17, 2, 0, 0, 0, 0, NULL},
        {1, 131, 6, 2, 37, 0, 0, 0, 0, 0, NULL},
        {1, 200, 1, 1, 64, 0, 0, 0, 0, 0, NULL},
        {1, 300, 2, 1, 20, 0, 0, 0, 0, 0, NULL},
        {1, 140, 1, 1, 256, 0, 0, 0, 0, 0, NULL},
        {0, 8, 2, 2, 8, 0, 0, 0, 0, 0, NULL},
        {1, 96, 3, 1, 80, 0, 0, 0, 0, 0, NULL},
        {2, 37, 3, 3, 5, 1, 1, 0, 0, 0, NULL},
        {1, 65, 2, 1, 17, 2, 64, 0, 0, 0, NULL},
        {1, 131, 4, 2, 9, 0, 7, 0, 0, 0, NULL},
        {1, 300, 2, 1, 20, 0, 33, 0, 0, 0, NULL},
        {2, 300, 1, 1, 8, 0, 128, 0, 0, 0, NULL},
        {1, 290, 2, 2, 8, 1, 129, 0, 0, 0, NULL},
        {1, 270, 1, 1, 160, 0, 70, 0, 0, 0, NULL},
        {1, 40, 1, 1, 8, 0, 1000, 0, 0, 0, NULL},
        {1, 65, 2, 1, 17, 2, 0, 0.125, 0, 0, NULL},
        {2, 37, 2, 1, 6, 1, 0, 0, 1.5, 0, NULL},
        {1, 150, 2, 2, 20, 0, 40, 0.4, 3, 0, NULL},
        {1, 70, 1, 1, 130, 0, 0, 0, 50, 0, NULL},
        /* texts, short ones and ones that are longer than a block */
        {.sequences = 2, .tokens = 37, .heads = 3, .key_heads = 3, .width = 5, .longest = 1},
        {.sequences = 2, .tokens = 70, .heads = 4, .key_heads = 2, .width = 8, .longest = 9},
        {.sequences = 1, .tokens = 300, .heads = 2, .key_heads = 1, .width = 20, .longest = 31},
        {.sequences = 2, .tokens = 300, .heads = 1, .key_heads = 1, .width = 8, .longest = 160},
        {.sequences = 1,
         .tokens = 290,
         .heads = 2,
         .key_heads = 2,
         .width = 8,
         .extra = 1,
         .window = 20,
         .longest = 90},
        {.sequences = 1,
         .tokens = 270,
         .heads = 1,
         .key_heads = 1,
         .width = 160,
         .window = 70,
         .longest = 100},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        attention_case_run(k, &cases[i]);
}

/* The gradients of the definition are differences of its forward: h = 1e-4, errors under 1e-7. */
static void test_definition(int64_t window, double scale, double cap)
{
    const double h = 1e-4;
    const struct attention_case c = {2, 6, 4, 2, 5, 0, window, scale, cap, 0, NULL};
    int64_t count = c.sequences * c.tokens * row_length(&c);
    struct buffer x = buffer_random(ZI_FP32, count, "qkv", 1.0f);
    struct buffer d_o = buffer_random(ZI_FP32, c.sequences * c.tokens * out_length(&c), "d", 1.0f);
    double *xs = doubles_of(&x), *gs = doubles_of(&d_o), *dx = doubles_create(count);
    backward_define(&c, xs, gs, dx);
    for (int64_t i = 0; i < count; i++) {
        double value = xs[i], plus, minus;
        xs[i] = value + h, plus = objective(&c, xs, gs);
        xs[i] = value - h, minus = objective(&c, xs, gs);
        xs[i] = value;
        CHECK_NEAR(dx[i], (plus - minus) / (2.0 * h), 1e-7);
    }
    free(xs);
    free(gs);
    free(dx);
    buffer_destroy(&x);
    buffer_destroy(&d_o);
}

/* Large scores: the softmax is a choice of one key, and nothing overflows. A NaN in v reaches the
 * queries from its token on, and no earlier one. */
static void test_extremes(struct kernels *k)
{
    const struct attention_case c = {1, 100, 1, 1, 16, 0, 0, 0, 0, 0, NULL};
    struct buffer x = buffer_random(k->type, 100 * row_length(&c), "qkv", 1.0f);
    struct buffer o = buffer_create(k->type, 100 * out_length(&c));
    struct buffer logsumexp = buffer_create(ZI_FP32, 100);
    for (int64_t row = 0; row < 100; row++)
        for (int64_t d = 0; d < 16; d++) {
            buffer_set(&x, input_at(&c, row, 0, 0) + d, 100.0);
            buffer_set(&x, input_at(&c, row, 1, 0) + d, (double)row);
        }
    struct device_attention desc = describe(k, &c, &x, &o, &logsumexp);
    CHECK_INT(k->operations.attention(&k->stream, &desc), ZI_OK);
    for (int64_t i = 0; i < 1600; i++) {
        double value = buffer_get(&x, input_at(&c, i / 16, 2, 0) + i % 16);
        /* p v / p with p near 1 */
        CHECK_NEAR(buffer_get(&o, i), value, 3.0 * kernels_rounding(k->type) * fabs(value));
    }
    for (int64_t i = 0; i < 100 * row_length(&c); i++)
        buffer_set(&x, i, 0.5);
    buffer_set(&x, input_at(&c, 40, 2, 0) + 3, NAN);
    CHECK_INT(k->operations.attention(&k->stream, &desc), ZI_OK);
    for (int64_t row = 0; row < 100; row++) {
        /* weights of up to 100 equal keys, rounded to bf16 (2^-9) or summed in fp32 */
        CHECK_NEAR(buffer_get(&o, row * 16), 0.5, 2e-3);
        /* the rest of a span of 32 queries may see the NaN early, as 0 times NaN */
        if (row < 32) CHECK_NEAR(buffer_get(&o, row * 16 + 3), 0.5, 2e-3);
        if (row >= 40) CHECK(isnan(buffer_get(&o, row * 16 + 3)));
    }
    buffer_destroy(&x);
    buffer_destroy(&o);
    buffer_destroy(&logsumexp);
}

/* A long sequence, on the best instruction set: many blocks, the same tolerances. */
static void test_long(void)
{
    const struct attention_case cases[] = {{1, 4200, 1, 1, 8, 0, 0, 0, 0, 0, NULL},
                                           {1, 4200, 1, 1, 8, 0, 500, 0, 0, 0, NULL}};
    for (int i = 0; i < 2 * KERNELS_TYPES; i++) {
        int type = i / 2;
        struct kernels k = {
            .isa = cpu_isa_best(), .type = kernels_types[type], .stream = {.threads = 2}};
        cpu_isa_register(k.isa, &k.operations);
        attention_case_run(&k, &cases[i % 2]);
    }
}

#ifdef HAVE_ISA_AVX512BF16
/* Both ways to multiply bf16 on vectors, whichever this processor would take. */
static void test_pairs(void)
{
    struct kernels k = {.isa = CPU_AVX512BF16, .type = ZI_BF16, .stream = {.threads = 2}};
    if (cpu_isa_best() < CPU_AVX512BF16) return;
    cpu_isa_register(k.isa, &k.operations);
    for (int pairs = -1; pairs <= 1; pairs += 2) {
        cpu_attention_pairs_avx512bf16 = pairs;
        test_attention(&k);
        test_extremes(&k);
    }
    cpu_attention_pairs_avx512bf16 = 0;
}
#endif

#if defined(HAVE_ISA_AMX) && defined(HAVE_ISA_AVX512BF16)
/* Digests of o and of the gradients of one case. */
static void digests_of(enum cpu_isa isa, int threads, const struct attention_case *c,
                       uint64_t digests[2])
{
    struct kernels k = {.isa = isa, .type = ZI_BF16, .stream = {.threads = threads}};
    int64_t rows = c->sequences * c->tokens;
    struct buffer x = buffer_random(ZI_BF16, rows * row_length(c), "qkv", 1.0f);
    struct buffer d_o = buffer_random(ZI_BF16, rows * out_length(c), "d_o", 1.0f);
    struct buffer o = buffer_create(ZI_BF16, d_o.count), dx = buffer_create(ZI_BF16, x.count);
    struct buffer logsumexp = buffer_create(ZI_FP32, rows * c->heads);
    cpu_isa_register(isa, &k.operations);
    struct device_attention desc = describe(&k, c, &x, &o, &logsumexp);
    struct buffer scratch =
        buffer_create(ZI_FP32, (int64_t)(device_attention_backward_scratch(&desc) / 4));
    desc.d_o = buffer_at(&d_o, 0);
    desc.dq = buffer_at(&dx, input_at(c, 0, 0, 0));
    desc.dk = buffer_at(&dx, input_at(c, 0, 1, 0));
    desc.dv = buffer_at(&dx, input_at(c, 0, 2, 0));
    desc.scratch = buffer_at(&scratch, 0);
    CHECK_INT(k.operations.attention(&k.stream, &desc), ZI_OK);
    kernels_digest(&k, o.bytes, (size_t)o.count * 2);
    digests[0] = k.digest;
    CHECK_INT(k.operations.attention_backward(&k.stream, &desc), ZI_OK);
    kernels_digest(&k, dx.bytes, (size_t)dx.count * 2);
    digests[1] = k.digest;
    struct buffer *buffers[] = {&x, &d_o, &o, &dx, &logsumexp, &scratch};
    for (int i = 0; i < 6; i++)
        buffer_destroy(buffers[i]);
}

/* On a processor with tiles: their kernels are those of bf16, since other bits come out than of either
 * form of vectors; and sizes around their blocks (chunks of 256 to 2048 keys, blocks of half as many,
 * 64 queries at a time), with all that an attention may ask for at once. */
static void test_tiles(void)
{
    const struct attention_case cases[] = {
        {.sequences = 1, .tokens = 1100, .heads = 1, .key_heads = 1, .width = 40},
        {.sequences = 2, .tokens = 300, .heads = 4, .key_heads = 2, .width = 33, .extra = 1},
        {.sequences = 1, .tokens = 290, .heads = 4, .key_heads = 2, .width = 200},
        {.sequences = 1, .tokens = 530, .heads = 2, .key_heads = 1, .width = 250, .window = 300},
        {.sequences = 1, .tokens = 400, .heads = 1, .key_heads = 1, .width = 200, .longest = 390},
        {.sequences = 1,
         .tokens = 300,
         .heads = 6,
         .key_heads = 2,
         .width = 48,
         .extra = 1,
         .window = 70,
         .scale = 0.2,
         .cap = 2.0,
         .longest = 160},
    };
    struct kernels k = {.isa = CPU_AMX, .type = ZI_BF16, .stream = {.threads = 2}};
    uint64_t tiles[2], others[2];
    if (cpu_isa_best() < CPU_AMX) return;
    digests_of(CPU_AMX, 1, &cases[1], tiles);
    digests_of(CPU_AMX, 3, &cases[1], others); /* in other tasks */
    CHECK(tiles[0] == others[0] && tiles[1] == others[1]);
    for (int pairs = -1; pairs <= 1; pairs += 2) {
        cpu_attention_pairs_avx512bf16 = pairs;
        digests_of(CPU_AVX512BF16, 1, &cases[1], others);
        CHECK(tiles[0] != others[0] && tiles[1] != others[1]);
    }
    cpu_attention_pairs_avx512bf16 = 0;
    cpu_isa_register(k.isa, &k.operations);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        attention_case_run(&k, &cases[i]);
}
#endif

static void test_refusals(void)
{
    struct device_operations operations;
    struct device_stream stream = {.threads = 1};
    cpu_isa_register(CPU_GENERIC, &operations);
    struct device_attention desc = {.type = ZI_FP32, .heads = 1, .key_heads = 1, .width = 257};
    CHECK_INT(operations.attention(&stream, &desc), ZI_ERROR_DEVICE);
    desc.width = 8;
    desc.heads = 3;
    desc.key_heads = 2;
    CHECK_INT(operations.attention_backward(&stream, &desc), ZI_ERROR_DEVICE);
}

int main(void)
{
    test_definition(0, 0, 0);
    test_definition(3, 0, 0);
    test_definition(3, 0.7, 1.5);
    kernels_run(test_attention);
    kernels_run(test_extremes);
    test_long();
#ifdef HAVE_ISA_AVX512BF16
    test_pairs();
#ifdef HAVE_ISA_AMX
    test_tiles();
#endif
#endif
    test_refusals();
    return test_finish("device_attention_test");
}
