/* SPDX-License-Identifier: Apache-2.0 */
/* GELU, gated linear units and rope against their definitions in double; backward against central differences
 * of the forward definition (h = 1e-4: errors under 1e-7), or, rope being linear, against the dot
 * product of its definition. */
#include "regression/unit/kernel_fixture.h"

static const double step = 1e-4;

static double gelu_define(double x)
{
    return 0.5 * x * (1.0 + tanh(sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
}

static double gelu_difference(double x)
{
    return (gelu_define(x + step) - gelu_define(x - step)) / (2.0 * step);
}

static double glu_define(double gate, double up, bool gelu)
{
    return (gelu ? gelu_define(gate) : gate / (1.0 + exp(-gate))) * up;
}

/* Every size from nothing to more than two vectors, and one of several runs of a thread. */
static const int64_t counts[] = {0, 1, 3, 4, 7, 8, 15, 16, 17, 31, 33, 37, 9001};

static void gelu_case(struct kernels *k, int64_t count)
{
    struct buffer x = buffer_random(k->type, count, "x", 3.0f), y = buffer_create(k->type, count);
    struct buffer dy = buffer_random(k->type, count, "dy", 1.0f), dx = buffer_copy(&dy);
    struct buffer in_place = buffer_copy(&x);
    double *forward = doubles_create(count), *backward = doubles_create(count);
    for (int64_t i = 0; i < count; i++) {
        forward[i] = gelu_define(buffer_get(&x, i));
        backward[i] = buffer_get(&dy, i) * gelu_difference(buffer_get(&x, i));
    }
    CHECK_INT(k->operations.gelu(&k->stream, k->type, buffer_at(&y, 0), buffer_at(&x, 0), count),
              ZI_OK);
    /* the argument of the exponential, up to 20 where the value counts, has 2 roundings: 2e-6
     * relative; what is smaller than 1e-7 the definition itself loses to 1 + tanh */
    kernels_compare(k, "gelu", &y, forward, kernels_rounding(k->type) + 2e-6, 1e-7);
    CHECK_INT(k->operations.gelu_backward(&k->stream, k->type, buffer_at(&dx, 0), buffer_at(&dx, 0),
                                          buffer_at(&x, 0), count),
              ZI_OK);
    kernels_compare(k, "gelu_backward, dx is dy", &dx, backward, kernels_rounding(k->type) + 2e-6,
                    2e-6);
    CHECK_INT(k->operations.gelu_backward(&k->stream, k->type, buffer_at(&in_place, 0),
                                          buffer_at(&dy, 0), buffer_at(&in_place, 0), count),
              ZI_OK);
    CHECK(memcmp(in_place.bytes, dx.bytes, (size_t)count * zi_dtype_bytes(k->type)) == 0);
    free(forward);
    free(backward);
    struct buffer *buffers[] = {&x, &y, &dy, &dx, &in_place};
    for (int i = 0; i < 5; i++)
        buffer_destroy(buffers[i]);
}

static void glu_case(struct kernels *k, int64_t rows, int64_t inner, bool gelu)
{
    int64_t count = rows * inner;
    struct buffer x = buffer_random(k->type, 2 * count, "gate_up", 3.0f);
    struct buffer dy = buffer_random(k->type, count, "dy", 1.0f), y = buffer_create(k->type, count);
    struct buffer dx = buffer_create(k->type, 2 * count);
    double *forward = doubles_create(count), *backward = doubles_create(2 * count);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < inner; c++) {
            int64_t at = 2 * r * inner + c, i = r * inner + c;
            double gate = buffer_get(&x, at), up = buffer_get(&x, at + inner);
            double g = buffer_get(&dy, i) / (2.0 * step);
            forward[i] = glu_define(gate, up, gelu);
            backward[at] =
                g * (glu_define(gate + step, up, gelu) - glu_define(gate - step, up, gelu));
            backward[at + inner] =
                g * (glu_define(gate, up + step, gelu) - glu_define(gate, up - step, gelu));
        }
    }
    struct device_glu d = {.type = k->type, .gelu = gelu, .rows = rows, .inner = inner};
    d.gate_up = buffer_at(&x, 0);
    d.y = buffer_at(&y, 0);
    d.dy = buffer_at(&dy, 0);
    d.d_gate_up = buffer_at(&dx, 0);
    CHECK_INT(k->operations.glu(&k->stream, &d), ZI_OK);
    /* as for gelu, whose small values are lost to the definition; products of three numbers of size
     * up to 10 */
    kernels_compare(k, gelu ? "geglu" : "swiglu", &y, forward, kernels_rounding(k->type) + 2e-6,
                    gelu ? 1e-6 : 1e-7);
    CHECK_INT(k->operations.glu_backward(&k->stream, &d), ZI_OK);
    kernels_compare(k, gelu ? "geglu backward" : "swiglu backward", &dx, backward,
                    kernels_rounding(k->type) + 2e-6, gelu ? 2e-5 : 5e-6);
    d.d_gate_up = d.gate_up;
    CHECK_INT(k->operations.glu_backward(&k->stream, &d), ZI_OK);
    CHECK(memcmp(x.bytes, dx.bytes, (size_t)(2 * count) * zi_dtype_bytes(k->type)) == 0);
    free(forward);
    free(backward);
    struct buffer *buffers[] = {&x, &dy, &y, &dx};
    for (int i = 0; i < 4; i++)
        buffer_destroy(buffers[i]);
}

/* Rows of 2 heads of width D, then one number that must stay; ld = 2 D + 1. */
/* positions NULL: tokens of a sequence count from 0. */
static void rope_define(double *x, const int64_t shape[5], double base, const int32_t *positions)
{
    int64_t half = shape[3] / 2;
    for (int64_t r = 0; r < shape[0] * shape[1]; r++) {
        for (int64_t h = 0; h < shape[2]; h++) {
            double *head = x + r * shape[4] + h * shape[3];
            double t = positions ? positions[r] : (double)(r % shape[1]);
            for (int64_t i = 0; i < half; i++) {
                double angle = t * pow(base, -2.0 * (double)i / (double)shape[3]);
                double a = head[i], b = head[i + half];
                head[i] = a * cos(angle) - b * sin(angle);
                head[i + half] = a * sin(angle) + b * cos(angle);
            }
        }
    }
}

/* The same as the operation is asked for it. */
static struct device_rope rope_of(struct kernels *k, const struct buffer *x, const int64_t shape[5],
                                  double base)
{
    struct device_rope rope = {.type = k->type,
                               .sequences = shape[0],
                               .tokens = shape[1],
                               .heads = shape[2],
                               .width = shape[3],
                               .ld = shape[4],
                               .scale = 1.0f,
                               .x = buffer_at(x, 0)};
    for (int64_t i = 0; i < shape[3] / 2; i++)
        rope.frequencies[i] = pow(base, -2.0 * (double)i / (double)shape[3]);
    return rope;
}

/* Rows with positions of their own: texts that begin in the middle, and places that jump. Those of
 * a plain sequence give its bits. */
static void rope_positions_case(struct kernels *k, int64_t sequences, int64_t tokens)
{
    const int64_t shape[5] = {sequences, tokens, 2, 10, 21};
    int64_t rows = sequences * tokens;
    struct buffer x = buffer_random(k->type, rows * shape[4], "x", 1.0f), plain = buffer_copy(&x);
    struct buffer counted = buffer_copy(&x), positions = buffer_create(ZI_INT32, rows);
    int32_t *at = (int32_t *)positions.bytes;
    double *expected = doubles_of(&x);
    for (int64_t r = 0; r < rows; r++)
        at[r] = (int32_t)(r % 5 ? r % 41 : r * 1009 % 30000);
    rope_define(expected, shape, 10000.0, at);
    struct device_rope rope = rope_of(k, &x, shape, 10000.0);
    rope.positions = buffer_at(&positions, 0);
    CHECK_INT(k->operations.rope(&k->stream, &rope), ZI_OK);
    kernels_compare(k, "rope of positions", &x, expected, kernels_rounding(k->type), 1e-6);
    for (int64_t r = 0; r < rows; r++)
        at[r] = (int32_t)(r % tokens);
    rope.x = buffer_at(&counted, 0);
    CHECK_INT(k->operations.rope(&k->stream, &rope), ZI_OK);
    rope = rope_of(k, &plain, shape, 10000.0);
    CHECK_INT(k->operations.rope(&k->stream, &rope), ZI_OK);
    CHECK(memcmp(counted.bytes, plain.bytes, (size_t)plain.count * zi_dtype_bytes(k->type)) == 0);
    free(expected);
    struct buffer *buffers[] = {&x, &plain, &counted, &positions};
    for (int i = 0; i < 4; i++)
        buffer_destroy(buffers[i]);
}

static void rope_case(struct kernels *k, int64_t sequences, int64_t tokens, int64_t width)
{
    const int64_t shape[5] = {sequences, tokens, 2, width, 2 * width + 1};
    int64_t count = sequences * tokens * shape[4];
    struct buffer x = buffer_random(k->type, count, "x", 1.0f), back = buffer_copy(&x);
    double *expected = doubles_of(&x);
    rope_define(expected, shape, 10000.0, NULL);
    struct device_rope rope = rope_of(k, &x, shape, 10000.0);
    CHECK_INT(k->operations.rope(&k->stream, &rope), ZI_OK);
    /* angles are exact to 1e-13, sine and cosine rounded once, products of size up to 5 */
    kernels_compare(k, "rope", &x, expected, kernels_rounding(k->type), 1e-6);
    free(expected);

    /* backward is the transpose: x . rope(y) = rope'(x) . y for any x and y; in fp32 */
    struct buffer y = buffer_random(ZI_FP32, count, "y", 1.0f);
    double *ys = doubles_of(&y), *gradient = doubles_of(&back), left = 0.0, right = 0.0;
    rope = rope_of(k, &back, shape, 10000.0);
    rope.reverse = true;
    CHECK_INT(k->operations.rope(&k->stream, &rope), ZI_OK);
    for (int64_t i = 0; i < count; i++)
        right += buffer_get(&back, i) * ys[i];
    rope_define(ys, shape, 10000.0, NULL);
    for (int64_t i = 0; i < count; i++)
        left += gradient[i] * ys[i];
    /* each of `count` products is off by one rounding, of either sign: 4 standard deviations */
    CHECK_NEAR(right, left, 4.0 * sqrt((double)count) * kernels_rounding(k->type));
    /* twice the cosine and sine are twice the result, to the bit where fp16 has all of them */
    struct buffer twice = buffer_random(k->type, count, "x", 1.0f);
    rope = rope_of(k, &twice, shape, 10000.0);
    rope.scale = 2.0f;
    CHECK_INT(k->operations.rope(&k->stream, &rope), ZI_OK);
    for (int64_t i = 0; i < count; i++) {
        double one = buffer_get(&x, i);
        CHECK(fabs(one) < 1e-3 ||
              buffer_get(&twice, i) == (i % shape[4] < 2 * width ? 2.0 : 1.0) * one);
    }
    buffer_destroy(&twice);
    free(ys);
    free(gradient);
    struct buffer *buffers[] = {&x, &back, &y};
    for (int i = 0; i < 3; i++)
        buffer_destroy(buffers[i]);
}

/* NaN stays NaN, or a step would not be found to be non-finite; huge values stay finite. */
static void extremes_case(struct kernels *k)
{
    const double values[] = {NAN, 1e30, -1e30, 30.0, -30.0, 0.0, -0.0, 1e-30};
    struct buffer x = buffer_create(k->type, 8), y = buffer_create(k->type, 8);
    struct buffer dx = buffer_create(k->type, 8), one = buffer_create(k->type, 8);
    for (int64_t i = 0; i < 8; i++) {
        buffer_set(&x, i, values[i]);
        buffer_set(&one, i, 1.0);
    }
    CHECK_INT(k->operations.gelu(&k->stream, k->type, buffer_at(&y, 0), buffer_at(&x, 0), 8),
              ZI_OK);
    CHECK_INT(k->operations.gelu_backward(&k->stream, k->type, buffer_at(&dx, 0),
                                          buffer_at(&one, 0), buffer_at(&x, 0), 8),
              ZI_OK);
    CHECK(isnan(buffer_get(&y, 0)));
    CHECK(isnan(buffer_get(&dx, 0)));
    for (int64_t i = 1; i < 8; i++) {
        double value = buffer_get(&x, i);
        if (isinf(value)) continue; /* where the type has no such number */
        CHECK_NEAR(buffer_get(&y, i), value > 1.0 ? value : value < -1.0 ? 0.0 : value / 2.0, 0.0);
        CHECK_NEAR(buffer_get(&dx, i), value > 1.0 ? 1.0 : value < -1.0 ? 0.0 : 0.5, 0.0);
    }
    struct buffer *buffers[] = {&x, &y, &dx, &one};
    for (int i = 0; i < 4; i++)
        buffer_destroy(buffers[i]);
}

static void test_elementwise(struct kernels *k)
{
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        gelu_case(k, counts[i]);
    extremes_case(k);
    const int64_t inners[] = {1, 5, 16, 37, 131};
    for (int i = 0; i < 5; i++)
        for (int gelu = 0; gelu < 2; gelu++)
            glu_case(k, 7, inners[i], gelu);
    glu_case(k, 0, 8, false);
    rope_case(k, 1, 1, 2);
    rope_case(k, 2, 37, 10);
    rope_case(k, 2, 70, 64);
    rope_case(k, 0, 8, 64);
    rope_case(k, 1, 3, 256);
    rope_positions_case(k, 3, 1);
    rope_positions_case(k, 2, 70);
}

static void test_refusals(void)
{
    struct device_operations operations;
    struct device_stream stream = {.threads = 1};
    float x[5] = {0};
    cpu_isa_register(CPU_GENERIC, &operations);
    struct device_ptr p = {(uintptr_t)x};
    struct device_rope odd = {.type = ZI_FP32, .sequences = 1, .tokens = 1, .heads = 1, .x = p};
    odd.width = odd.ld = 5;
    CHECK_INT(operations.rope(&stream, &odd), ZI_ERROR_DEVICE);
    odd.width = odd.ld = 2 * DEVICE_ROPE_PAIRS + 2;
    CHECK_INT(operations.rope(&stream, &odd), ZI_ERROR_DEVICE);
    CHECK_INT(operations.gelu(&stream, ZI_INT32, p, p, 5), ZI_ERROR_DEVICE);
}

/* The numbers of dropout, put down once more: pairs of elements share 64 bits. */
static uint32_t dropout_define(uint64_t seed, uint64_t element)
{
    uint64_t x = element / 2 * 0x9e3779b97f4a7c15u + seed;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    x ^= x >> 31;
    return (uint32_t)(element % 2 ? x >> 32 : x & 0xffffffffu);
}

/* Rows that are columns `first` .. of rows of `stride` numbers; added as well; and in two parts, which
 * give the same bits. */
static void dropout_case(struct kernels *k, int64_t rows, int64_t columns, double share)
{
    int64_t count = rows * columns, stride = columns + 5, first = 3 * stride + 2, dropped = 0;
    struct buffer x = buffer_random(k->type, count, "x", 2.0f), y = buffer_create(k->type, count);
    struct buffer part = buffer_create(k->type, count);
    struct buffer sum = buffer_random(k->type, count, "sum", 2.0f);
    double *once = doubles_create(count), *added = doubles_create(count);
    for (int64_t i = 0; i < count; i++) {
        uint64_t element = (uint64_t)(first + i / columns * stride + i % columns);
        bool drops = (double)dropout_define(41, element) < floor(share * 0x1p32);
        once[i] = drops ? 0 : buffer_get(&x, i) / (1 - share);
        added[i] = buffer_get(&sum, i) + once[i];
        dropped += drops;
    }
    double spread = sqrt((double)count * share * (1 - share));
    CHECK_NEAR((double)dropped, (double)count * share, 5 * spread + 1e-9);
    struct device_dropout d = {.type = k->type,
                               .rows = rows,
                               .columns = columns,
                               .seed = 41,
                               .first = first,
                               .stride = stride,
                               .share = share,
                               .from = buffer_at(&x, 0),
                               .to = buffer_at(&y, 0)};
    CHECK_INT(k->operations.dropout(&k->stream, &d), ZI_OK);
    kernels_compare(k, "dropout", &y, once, kernels_rounding(k->type) + 2e-7, 1e-7);
    for (int64_t row = 0; row < rows; row++) {
        struct device_dropout one = d;
        one.rows = 1;
        one.first += row * stride;
        one.from = buffer_at(&x, row * columns);
        one.to = buffer_at(&part, row * columns);
        CHECK_INT(k->operations.dropout(&k->stream, &one), ZI_OK);
    }
    CHECK(memcmp(y.bytes, part.bytes, (size_t)count * zi_dtype_bytes(k->type)) == 0);
    d.add = true;
    d.to = buffer_at(&sum, 0);
    CHECK_INT(k->operations.dropout(&k->stream, &d), ZI_OK);
    kernels_compare(k, "dropout added", &sum, added, kernels_rounding(k->type) + 3e-7, 1e-6);
    free(once);
    free(added);
    struct buffer *buffers[] = {&x, &y, &part, &sum};
    for (int i = 0; i < 4; i++)
        buffer_destroy(buffers[i]);
}

static void test_dropout(struct kernels *k)
{
    dropout_case(k, 0, 8, 0.5);
    dropout_case(k, 1, 1, 0.5);
    dropout_case(k, 7, 33, 0.1);
    dropout_case(k, 64, 96, 0.05);
    dropout_case(k, 5, 64, 0);
}

int main(void)
{
    kernels_run(test_elementwise);
    kernels_run(test_dropout);
    test_refusals();
    return test_finish("device_elementwise_test");
}
