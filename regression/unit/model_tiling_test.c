/* SPDX-License-Identifier: Apache-2.0 */
/* Tiles against the whole: the same weights and inputs through a model of one tile per layer and
 * through one of many. Loss, every gradient, the outputs of all layers; buffers, which must shrink,
 * as that is what tiles are for; floating-point operations, to which they must not add.
 *
 * Tolerances. In fp32 tiles only change the order of sums of at most a few hundred terms: 4e-6 of
 * the largest element of the tensor (seen over eight seeds: 2e-6), which is far below what a
 * forgotten row gives. In bf16 both ways round differently, so each is compared with fp32 on the
 * same bf16 weights: the error of the tiled one, as a norm over the tensor, is at most 3 times that
 * of the whole plus 2^-10 of the tensor's norm (seen: 2.1 times, with six tiles). It may be larger,
 * as the output of a layer is rounded once per tile; sums of the backward pass are rounded once. */
#include "regression/unit/model_fixture.h"

struct tiling_case {
    const char *name;
    struct settings_model settings;
    struct settings_tiling tiling;
    int64_t shape[2];
};

#define GPT2                                                                                       \
    .layers = 2, .hidden = 40, .heads = 5, .key_heads = 5, .inner = 200, .context = 16,            \
    .vocabulary = 300, .norm_epsilon = 1e-5
#define OF(name)                                                                                   \
    .family = name, .layers = 2, .hidden = 36, .heads = 6, .inner = 150, .context = 16,            \
    .vocabulary = 200, .norm_epsilon = 1e-5, .rope_base = 10000
#define LLAMA OF(MODEL_LLAMA)

/* Counts that do not divide, one tile per head or group, kinds by themselves, many rows. */
static const struct tiling_case cases[] = {
    {"gpt2, tied", {GPT2, .tied = 1}, {2, 3, 2}, {3, 13}},
    {"gpt2, tied, most", {GPT2, .tied = 1}, {5, 4, 5}, {3, 13}},
    {"gpt2, untied", {GPT2}, {3, 2, 3}, {2, 16}},
    {"gpt2, attention only", {GPT2, .tied = 1}, {4, 1, 1}, {2, 7}},
    {"gpt2, mlp only", {GPT2, .tied = 1}, {1, 3, 1}, {2, 7}},
    {"gpt2, vocabulary only", {GPT2, .tied = 1}, {1, 1, 4}, {2, 7}},
    {"llama, grouped keys", {LLAMA, .key_heads = 3}, {2, 2, 3}, {3, 13}},
    {"llama, tied", {LLAMA, .key_heads = 2, .tied = 1}, {2, 3, 4}, {3, 13}},
    {"llama, one head per tile", {LLAMA, .key_heads = 6}, {6, 3, 2}, {1, 16}},
    {"qwen2, biases and a window",
     {OF(MODEL_QWEN2), .key_heads = 3, .window = 5},
     {2, 2, 3},
     {3, 13}},
    {"qwen3, norms of heads and a window",
     {OF(MODEL_QWEN3), .key_heads = 3, .head_width = 10, .window = 5},
     {2, 2, 3},
     {3, 13}},
    {"qwen3, one key head per tile",
     {OF(MODEL_QWEN3), .key_heads = 6, .head_width = 4},
     {6, 3, 2},
     {2, 16}},
    {"many rows",
     {.layers = 1,
      .hidden = 16,
      .heads = 2,
      .key_heads = 2,
      .inner = 65,
      .context = 300,
      .vocabulary = 150,
      .norm_epsilon = 1e-5},
     {2, 2, 3},
     {8, 300}},
};

static void open_one(struct fixture *f, const struct tiling_case *c, enum zi_dtype type, bool tiled)
{
    fixture_tiling = tiled ? c->tiling : (struct settings_tiling){1, 1, 1};
    fixture_open(f, &c->settings, type, c->shape);
    fixture_randomize(f, 21);
}

/* Weights of `to` become those of `from`, whatever types and tiles. */
static void copy_weights(const struct fixture *from, struct fixture *to)
{
    for (int t = 0; t < from->model->tensor_count; t++) {
        for (int64_t i = 0; i < from->model->tensors[t].elements; i++) {
            fixture_set_weight(to, t, i, (float)fixture_get_weight(from, t, i));
        }
    }
}

/* What is compared of a run: gradients of tensors, then outputs of layers and the gradient of the
 * embedding's output, all in double. */
struct values {
    int count;
    int64_t *sizes;
    double **arrays;
    double loss;
};

static double *widen(const void *from, enum zi_dtype type, int64_t count)
{
    double *to = fixture_zeros((size_t)count, sizeof *to);
    for (int64_t i = 0; i < count; i++) {
        to[i] = type == ZI_FP32 ? (double)((const float *)from)[i]
                                : (double)zi_bf16_to_fp32(((const uint16_t *)from)[i]);
    }
    return to;
}

static struct values run(struct fixture *f, bool recompute)
{
    const struct model *m = f->model;
    struct fixture_way way = {0, f->sequences, recompute, false, 0.7f};
    struct values v = {.count = m->tensor_count + m->layer_count};
    int64_t stream = f->sequences * f->tokens * m->settings.hidden;
    v.sizes = fixture_zeros((size_t)v.count, sizeof *v.sizes);
    v.arrays = fixture_zeros((size_t)v.count, sizeof *v.arrays);
    v.loss = fixture_differentiate(f, &way);
    CHECK_NEAR(fixture_loss(f), v.loss, 1e-6 * v.loss);
    for (int t = 0; t < m->tensor_count; t++) {
        float *gradient = fixture_gradient(f, t);
        v.sizes[t] = m->tensors[t].elements;
        v.arrays[t] = widen(gradient, ZI_FP32, v.sizes[t]);
        free(gradient);
    }
    for (int layer = 0; layer < m->layer_count; layer++) {
        bool last = layer == m->layer_count - 1;
        const void *from = (void *)(last ? f->gradient : f->outputs[layer]).at.address;
        v.sizes[m->tensor_count + layer] = stream;
        v.arrays[m->tensor_count + layer] = widen(from, m->type, stream);
    }
    return v;
}

static void values_free(struct values *v)
{
    for (int i = 0; i < v->count; i++) {
        free(v->arrays[i]);
    }
    free(v->arrays);
    free(v->sizes);
}

static const char *name_of(const struct fixture *f, int i)
{
    static char text[32];
    const struct model *m = f->model;
    if (i < m->tensor_count) return m->tensors[i].name;
    snprintf(text, sizeof text, "stream %d", i - m->tensor_count);
    return text;
}

static double largest_difference(const double *a, const double *b, int64_t count, double *largest)
{
    double difference = 0;
    *largest = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!(fabs(a[i] - b[i]) <= difference)) difference = fabs(a[i] - b[i]);
        if (fabs(b[i]) > *largest) *largest = fabs(b[i]);
    }
    return difference;
}

static double distance(const double *a, const double *b, int64_t count)
{
    double squares = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = a[i] - (b ? b[i] : 0);
        squares += d * d;
    }
    return sqrt(squares);
}

static double worst_fp32, worst_bf16; /* shares of a tolerance */

/* A key's bias moves all scores of a query alike, so its gradient is zero but for rounding, and has
 * no size of its own to compare with. */
static bool is_rounding(const struct fixture *f, int i)
{
    return i < f->model->tensor_count && strstr(f->model->tensors[i].name, "key.bias");
}

static void compare_fp32(const struct fixture *f, const struct values *tiled,
                         const struct values *whole)
{
    CHECK_NEAR(tiled->loss, whole->loss, 1e-6 * whole->loss);
    for (int i = 0; i < whole->count; i++) {
        double largest,
            off = largest_difference(tiled->arrays[i], whole->arrays[i], whole->sizes[i], &largest);
        double tolerance = 4e-6 * largest + (is_rounding(f, i) ? 1e-5 : 0);
        CHECK_NEAR(off, 0, tolerance);
        if (!(off <= tolerance)) fprintf(stderr, "  in %s\n", name_of(f, i));
        if (off / tolerance > worst_fp32) worst_fp32 = off / tolerance;
    }
}

static void compare_bf16(const struct fixture *f, const struct values *tiled,
                         const struct values *whole, const struct values *exact)
{
    CHECK_NEAR(tiled->loss, exact->loss, 4e-3 * exact->loss);
    for (int i = 0; i < exact->count; i++) {
        int64_t n = exact->sizes[i];
        double off = distance(tiled->arrays[i], exact->arrays[i], n);
        double usual = distance(whole->arrays[i], exact->arrays[i], n);
        double tolerance = 3 * usual + ldexp(distance(exact->arrays[i], NULL, n), -10);
        CHECK_NEAR(off, 0, tolerance);
        if (!(off <= tolerance)) fprintf(stderr, "  in %s: whole %g\n", name_of(f, i), usual);
        if (off / tolerance > worst_bf16) worst_bf16 = off / tolerance;
    }
}

static void test_values(const struct tiling_case *c)
{
    struct fixture whole, tiled, whole_bf16, tiled_bf16;
    open_one(&whole, c, ZI_FP32, false);
    open_one(&tiled, c, ZI_FP32, true);
    open_one(&whole_bf16, c, ZI_BF16, false);
    open_one(&tiled_bf16, c, ZI_BF16, true);
    copy_weights(&whole_bf16, &whole);
    copy_weights(&whole_bf16, &tiled);
    copy_weights(&whole_bf16, &tiled_bf16);
    struct values exact = run(&whole, false), parts = run(&tiled, true);
    struct values rounded = run(&whole_bf16, false), rounded_parts = run(&tiled_bf16, true);
    compare_fp32(&whole, &parts, &exact);
    compare_bf16(&whole, &rounded_parts, &rounded, &exact);
    values_free(&exact);
    values_free(&parts);
    values_free(&rounded);
    values_free(&rounded_parts);
    fixture_close(&whole);
    fixture_close(&tiled);
    fixture_close(&whole_bf16);
    fixture_close(&tiled_bf16);
}

/* Of an operation: bytes of its tile's unit and of its buffers. */
struct footprint {
    double unit, saved, scratch;
};

static struct footprint footprint_of(const struct model *m, int op)
{
    struct model_sizes sizes;
    const struct model_op *o = &m->ops[op];
    model_op_sizes(m, op, 2, 128, &sizes);
    int unit = o->units[o->kind == MODEL_HEAD ? 1 : 0];
    return (struct footprint){(double)m->units[unit].elements, (double)sizes.saved,
                              (double)sizes.scratch};
}

/* A tile of one of four needs a quarter of the weights and of what is kept, beside norms and
 * padding, and of the scratch all but what has the size of the stream. */
static void test_sizes(enum model_family family)
{
    const struct settings_model settings = {.family = family,
                                            .layers = 1,
                                            .hidden = 256,
                                            .heads = 8,
                                            .key_heads = 4,
                                            .inner = 1024,
                                            .context = 128,
                                            .vocabulary = 4096};
    struct model *whole, *tiled;
    struct model_sizes none;
    ZI_REQUIRE(model_create(&settings, &(struct settings_tiling){ZI_AUTO, ZI_AUTO, ZI_AUTO},
                            ZI_BF16, &whole) == ZI_OK);
    ZI_REQUIRE(model_create(&settings, &(struct settings_tiling){4, 4, 4}, ZI_BF16, &tiled) ==
               ZI_OK);
    CHECK_INT(whole->op_count, 4); /* auto is 1 */
    CHECK_INT(tiled->op_count, 16);
    for (int op = 0; op < tiled->op_count; op++) {
        const struct model_op *o = &tiled->ops[op];
        struct footprint all = footprint_of(whole, o->layer), part = footprint_of(tiled, op);
        double rows = 2 * 128, stream = rows * 256 * 2;
        CHECK(part.unit <= all.unit / 4);
        CHECK(part.saved <= all.saved / 4);
        CHECK(part.scratch <= all.scratch / 4 + 1.5 * stream);
        model_op_sizes(tiled, op, 2, 128, &none);
        CHECK_INT(none.stream, (int64_t)stream);
        bool norms = family == MODEL_QWEN3 && o->kind == MODEL_ATTENTION; /* of heads of 32 */
        CHECK_INT(none.carry, o->kind == MODEL_EMBED  ? 0
                              : o->kind == MODEL_HEAD ? (int64_t)(2 * stream + rows * 12)
                                                      : (int64_t)(2 * stream) + norms * 256);
        model_op_sizes(whole, o->layer, 2, 128, &none);
        CHECK_INT(none.carry, 0);
    }
    model_destroy(whole);
    model_destroy(tiled);
}

/* Operations of all tiles together are those of the whole. (A program adds the head's forward pass
 * where the head has tiles: its statistics come before its gradients.) */
static void test_flops(const struct tiling_case *c)
{
    struct model *whole, *tiled;
    ZI_REQUIRE(model_create(&c->settings, &(struct settings_tiling){1, 1, 1}, ZI_FP32, &whole) ==
               ZI_OK);
    ZI_REQUIRE(model_create(&c->settings, &c->tiling, ZI_FP32, &tiled) == ZI_OK);
    for (int layer = 0; layer < whole->layer_count; layer++) {
        struct model_flops all, sum = {0}, part;
        model_op_flops(whole, layer, c->shape[0], c->shape[1], &all);
        for (int op = 0; op < tiled->op_count; op++) {
            if (tiled->ops[op].layer != layer) continue;
            model_op_flops(tiled, op, c->shape[0], c->shape[1], &part);
            sum.forward += part.forward;
            sum.backward += part.backward;
            sum.recompute += part.recompute;
        }
        CHECK_NEAR(sum.forward, all.forward, 0.5);
        CHECK_NEAR(sum.backward, all.backward, 0.5);
        CHECK_NEAR(sum.recompute, all.recompute, 0.5);
    }
    CHECK(model_flops_per_token(whole, 16) <= model_flops_per_token(tiled, 16));
    CHECK(model_flops_per_token(whole, 16) >= model_flops_per_token(tiled, 16));
    model_destroy(whole);
    model_destroy(tiled);
}

int main(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        long before = test_failures();
        test_values(&cases[i]);
        test_flops(&cases[i]);
        if (test_failures() > before) fprintf(stderr, "in case %s\n", cases[i].name);
    }
    printf("at most %.2f of a tolerance in fp32, %.2f in bf16\n", worst_fp32, worst_bf16);
    test_sizes(MODEL_GPT2);
    test_sizes(MODEL_LLAMA);
    test_sizes(MODEL_QWEN3);
    return test_finish("model_tiling_test");
}
