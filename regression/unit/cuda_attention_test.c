/* SPDX-License-Identifier: Apache-2.0 */
/* Causal attention on a CUDA device against the cpu: by own kernels, and in a build with cuDNN by that,
 * which falls back on own kernels where there is none, as under the emulation. */
#include "config.h"
#include "regression/unit/capture_fixture.h"
#include "regression/unit/cuda_pair.h"

/* B, T, H, G, D, window. The last is run in parts by cuDNN where its backward graph needs T^2 of
 * workspace. */
static const int64_t shapes[][6] = {
    {1, 1, 1, 1, 1, 0},      {1, 5, 2, 1, 7, 0},    {2, 33, 2, 2, 16, 0},    {1, 65, 4, 2, 32, 0},
    {1, 20, 1, 1, 64, 0},    {1, 9, 2, 1, 80, 0},   {1, 70, 1, 1, 128, 0},   {1, 18, 1, 1, 256, 0},
    {1, 5, 2, 1, 7, 1},      {1, 70, 2, 1, 8, 7},   {2, 150, 1, 1, 8, 64},   {1, 140, 2, 2, 16, 65},
    {2, 1000, 8, 2, 128, 0}, {1, 600, 3, 3, 64, 0}, {1, 900, 3, 3, 64, 200}, {1, 4100, 9, 3, 8, 0}};
enum { SHAPES = sizeof shapes / sizeof *shapes, LARGE = 4 };

/* Queries and keys of an even width are in rows of their own. */
struct operands {
    struct tensor qkv, qk, o, logsumexp, d_o, dqkv, scratch, positions;
};

/* How far each row is into its text; texts have 1 to `longest` tokens. */
static struct tensor positions_create(struct pair *p, const int64_t *shape, int64_t longest)
{
    struct buffer b = buffer_create(ZI_INT32, shape[0] * shape[1]);
    int64_t row = 0, end = 0;
    for (int64_t text = 0; row < b.count; text++) {
        if (row == end) end += shape[1];
        int64_t length = 1 + text * text * 7 % longest;
        for (int64_t t = 0; t < length && row < end; t++, row++)
            ((int32_t *)b.bytes)[row] = (int32_t)t;
    }
    return tensor_of(p, b);
}

/* q, k and v side by side in rows of ld, and what follows them; o in rows of ld_o. */
static struct device_attention attention_of(struct pair *p, const int64_t *shape)
{
    int64_t inner = (shape[2] + 2 * shape[3]) * shape[4];
    return (struct device_attention){.type = p->type,
                                     .sequences = shape[0],
                                     .tokens = shape[1],
                                     .heads = shape[2],
                                     .key_heads = shape[3],
                                     .width = shape[4],
                                     .ld = inner + inner % 3,
                                     .ld_o = shape[2] * shape[4] + shape[1] % 2,
                                     .ld_qk = shape[4] % 2 ? 0 : (shape[2] + shape[3]) * shape[4],
                                     .window = shape[5]};
}

static void attention_place(struct device_attention *a, const struct operands *o, int d)
{
    size_t element = zi_dtype_bytes(a->type);
    size_t k = (size_t)(a->heads * a->width) * element;
    size_t v = k + (size_t)(a->key_heads * a->width) * element;
    a->q = a->ld_qk > 0 ? o->qk.at[d] : o->qkv.at[d];
    a->k = device_at(a->q, k);
    a->v = device_at(o->qkv.at[d], v);
    a->dq = o->dqkv.at[d];
    a->dk = device_at(a->dq, k);
    a->dv = device_at(a->dq, v);
    a->o = o->o.at[d];
    a->d_o = o->d_o.at[d];
    a->logsumexp = o->logsumexp.at[d];
    a->scratch = o->scratch.at[d];
}

/* What attention is asked for beside its shape; 0: nothing. */
struct asked {
    int64_t longest;
    float scale, cap;
};

/* A score is a product over D, with factors of size 1, so up to 4 sqrt(D), and divided by sqrt(D): its
 * roundings are those of D sums at 4 and go into the probability, which is at most 1, relative. Results
 * are means of T values under 5; gradients are products of three such, sums over T. cuDNN rounds
 * probabilities to the type. */
static void attention_check(struct pair *p, const int64_t *shape, struct asked asked)
{
    struct operands o;
    struct device_attention a[PAIR_DEVICES];
    a[0] = attention_of(p, shape);
    a[0].scale = asked.scale;
    a[0].cap = asked.cap;
    int64_t rows = shape[0] * shape[1];
    double roundings = 16 + 4 * sqrt((double)shape[4]) + 4 * sqrt((double)shape[1]);
    double type = pair_unit(p->type) / 0x1p-23;
    double probabilities = cuda_fixture_attention == ATTENTION_OWN ? 0 : type;
    int64_t scratch = (int64_t)(device_attention_backward_scratch(&a[0]) / sizeof(float));
    p->shift = shape[4] % 2;
    o.qkv = tensor_random(p, p->type, rows * a[0].ld, 1.0f);
    o.qk = tensor_random(p, p->type, rows * (shape[2] + shape[3]) * shape[4], 1.0f);
    o.d_o = tensor_random(p, p->type, rows * a[0].ld_o, 1.0f);
    o.o = tensor_zeros(p, p->type, rows * a[0].ld_o);
    o.dqkv = tensor_zeros(p, p->type, rows * a[0].ld);
    p->shift = 0;
    o.logsumexp = tensor_zeros(p, ZI_FP32, rows * shape[2]);
    o.scratch = tensor_zeros(p, ZI_FP32, scratch);
    if (asked.longest > 0) o.positions = positions_create(p, shape, asked.longest);
    a[1] = a[0];
    for (int d = 0; d < PAIR_DEVICES; d++) {
        attention_place(&a[d], &o, d);
        if (asked.longest > 0) a[d].positions = o.positions.at[d];
    }
    p->what = "attention";
    PAIR_CALL(p, attention, &a[d]);
    tensor_near(p, &o.o, roundings + probabilities, 8.0);
    tensor_near(p, &o.logsumexp, roundings, 8.0);
    /* backward takes what forward left, which is rounded to the type on either */
    p->what = "attention_backward";
    PAIR_CALL(p, attention_backward, &a[d]);
    tensor_near(p, &o.dqkv, 4 * roundings + 8 * type, 8.0);
    tensor_equal(p, &o.qkv);
    tensor_equal(p, &o.d_o);
    pair_clear(p);
}

static void test_attention(struct pair *p)
{
    static const int64_t none[] = {0, 4, 2, 2, 8, 0};
    static const int64_t packed[][6] = {{1, 5, 2, 1, 7, 0},     {2, 150, 1, 1, 8, 0},
                                        {1, 140, 2, 2, 16, 30}, {1, 200, 1, 1, 32, 0},
                                        {2, 1000, 4, 2, 64, 0}, {1, 900, 3, 3, 64, 200}};
    static const int64_t longest[] = {2, 31, 90, 150, 400, 500};
    attention_check(p, none, (struct asked){0, 0.0f, 0.0f});
    for (int i = 0; i < SHAPES - (p->emulated ? LARGE : 0); i++) {
        attention_check(p, shapes[i], (struct asked){0, 0.0f, 0.0f});
        /* a scale that is no larger, so that the tolerances hold, with and without a cap */
        if (i % 3 == 0)
            attention_check(p, shapes[i], (struct asked){0, 0.0625f, i % 2 ? 0.0f : 1.5f});
    }
    for (int i = 0; i < (p->emulated ? 4 : 6); i++)
        attention_check(p, packed[i], (struct asked){longest[i], 0.0f, i % 2 ? 0.0f : 1.5f});
}

#ifdef HAVE_CUDNN
/* The run says which way attention goes, and why where it is not cuDNN's. */
static void test_cudnn(void)
{
    static struct capture capture;
    cuda_fixture_attention = ZI_AUTO;
    capture_begin(&capture, stdout);
    (void)pair_main("cuda_attention_test, cuDNN", test_attention);
    const char *text = capture_end(&capture);
    fputs(text, stdout);
    CHECK(strstr(text, "attention: cuDNN 9.") ||
          strstr(text, "attention: own kernels, because cuDNN cannot be had: "));
}
#endif

int main(void)
{
    int status = pair_main("cuda_attention_test", test_attention);
#ifdef HAVE_CUDNN
    test_cudnn();
    status = test_finish("cuda_attention_test");
#endif
    return status;
}
