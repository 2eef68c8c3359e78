/* SPDX-License-Identifier: Apache-2.0 */
/* The optimizer's kernels on every instruction set, gradients of both types, 1 to 3 threads: AdamW
 * of whole weights against its definition in double, AdamW of split weights against that of whole
 * ones to the bit, the rounding of parameters of 16 bits and the checksum of any piece to the bit, the
 * norm of gradients against a sum in double, and in its own order to the bit. The outputs have the same
 * bits with every instruction set. */
#include "regression/unit/kernel_fixture.h"

/* More than eight blocks of 4096 elements, so that threads are used, and an odd rest. */
enum { LONG = 70001 };

static const double unit = 1.0 / 16777216.0; /* one rounding of fp32, relative: 2^-24 */

/* The words of device/operations.h: element i is first + (i / row) * stride + i % row of the
 * tensor, f(s, j) = low 32 bits of ((j + s) * 0x9e3779b1) | 1. */
static uint64_t checksum_define(const float *x, int64_t count, const struct device_place *place)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < count; i++) {
        uint64_t element =
            place->first + (uint64_t)(i / place->row * place->stride) + (uint64_t)(i % place->row);
        uint64_t product = (element + place->seed) * (uint64_t)0x9e3779b1u;
        sum += (uint64_t)zi_fp32_bits(x[i]) * ((product & 0xffffffffu) | 1u);
    }
    return sum;
}

/* The number of 16 bits nearest to a finite value, of two equally near ones the larger in magnitude.
 */
static uint16_t nearest_away(enum zi_dtype type, float value)
{
    uint16_t low = zi_half_round_even(type, value);
    double size = fabs((double)value), below = fabs((double)zi_half_to_fp32(type, low));
    if (below > size) low--;
    double to_low = size - fabs((double)zi_half_to_fp32(type, low));
    double to_high = fabs((double)zi_half_to_fp32(type, (uint16_t)(low + 1))) - size;
    return to_low < to_high ? low : (uint16_t)(low + 1);
}

/* Weights are in `weights`, or where `split` is set in upper and lower. */
struct state {
    bool split;
    struct buffer weights, upper, lower, moment1, moment2, gradient;
    uint64_t checksum;
};

/* The 32 bits that are cut in two. Of fp16: those of a number with its exponent of 5 bits and a
 * mantissa of 26, nearest to the weight; 65536 for what has no place there. */
static uint32_t master_bits(enum zi_dtype type, float weight)
{
    double size = fabs((double)weight);
    uint32_t sign = signbit(weight) ? 0x80000000u : 0;
    int exponent;
    if (type == ZI_BF16) return zi_fp32_bits(weight);
    if (!(size < 65536.0)) return 0x7c000000u | sign;
    if (size < ldexp(1.0, -14)) return (uint32_t)nearbyint(ldexp(size, 40)) | sign;
    double fraction = frexp(size, &exponent); /* 1/2 <= fraction < 1, size = fraction 2^exponent */
    uint32_t mantissa = (uint32_t)(ldexp(fraction, 27) - 0x1p26);
    return ((uint32_t)(exponent + 14) << 26 | mantissa) | sign;
}

/* And back. */
static float master_value(enum zi_dtype type, uint32_t bits)
{
    uint32_t code = bits & 0x7fffffffu, mantissa = code & 0x3ffffffu;
    if (type == ZI_BF16) return zi_fp32_from_bits(bits);
    double size = code < 1u << 26 ? ldexp(mantissa, -40)
                                  : ldexp(0x1p26 + mantissa, (int)(code >> 26) - 15 - 26);
    return (float)(bits >> 31 ? -size : size);
}

/* The parts of 32 bits: upper times 2^16 plus lower, -2^15 <= lower < 2^15, is the bits again. */
static void split_bits(uint32_t bits, uint16_t *upper, int16_t *lower)
{
    int64_t nearest = ((int64_t)bits + 0x8000) / 0x10000;
    *upper = (uint16_t)nearest;
    *lower = (int16_t)((int64_t)bits - nearest * 0x10000);
}

/* From now on its weights have 16 bits and a remainder; they are rounded to what these hold. */
static void state_split(struct state *s, enum zi_dtype type)
{
    s->split = true;
    s->upper.type = type;
    long wrong = 0;
    for (int64_t i = 0; i < s->weights.count; i++) {
        float *weight = &((float *)s->weights.bytes)[i];
        uint32_t bits = master_bits(type, *weight);
        split_bits(bits, (uint16_t *)s->upper.bytes + i, (int16_t *)s->lower.bytes + i);
        *weight = master_value(type, bits);
        wrong += zi_half_parameter(type, *weight) != ((uint16_t *)s->upper.bytes)[i];
        wrong += zi_half_remainder(type, *weight) != ((int16_t *)s->lower.bytes)[i];
    }
    CHECK_INT(wrong, 0);
}

/* The weights as fp32 again; how many of them are not split as they should be. */
static long state_join(struct state *s)
{
    long wrong = 0;
    for (int64_t i = 0; i < s->weights.count; i++) {
        uint16_t upper = ((const uint16_t *)s->upper.bytes)[i], expected_upper;
        int16_t lower = ((const int16_t *)s->lower.bytes)[i], expected_lower;
        uint32_t bits = (uint32_t)((int64_t)upper * 0x10000 + lower);
        float joined = zi_half_join(s->upper.type, upper, lower);
        split_bits(bits, &expected_upper, &expected_lower);
        wrong += upper != expected_upper || lower != expected_lower;
        ((float *)s->weights.bytes)[i] = master_value(s->upper.type, bits);
        wrong += memcmp(&joined, (float *)s->weights.bytes + i, sizeof joined) != 0;
    }
    return wrong;
}

static struct state state_create(enum zi_dtype gradient_type, int64_t count)
{
    struct state s = {
        .weights = buffer_random(ZI_FP32, count, "weights", 0.05f),
        .upper = buffer_create(ZI_BF16, count),
        .lower = buffer_create(ZI_INT16, count),
        .moment1 = buffer_random(ZI_FP32, count, "moment1", 0.1f),
        .moment2 = buffer_random(ZI_FP32, count, "moment2", 0.1f),
        .gradient = buffer_random(gradient_type, count, "gradient", 1.0f),
        .checksum = 12345,
    };
    for (int64_t i = 0; i < count; i++) /* second moments are squares */
        buffer_set(&s.moment2, i, buffer_get(&s.moment2, i) * buffer_get(&s.moment2, i));
    return s;
}

static struct state state_copy(const struct state *from)
{
    struct state s = *from;
    struct buffer *buffers[] = {&s.weights, &s.upper,   &s.lower,
                                &s.moment1, &s.moment2, &s.gradient};
    for (int i = 0; i < 6; i++)
        *buffers[i] = buffer_copy(buffers[i]);
    return s;
}

static void state_destroy(struct state *s)
{
    struct buffer *buffers[] = {&s->weights, &s->upper,   &s->lower,
                                &s->moment1, &s->moment2, &s->gradient};
    for (int i = 0; i < 6; i++)
        buffer_destroy(buffers[i]);
}

/* The step of elements [first, first + count), first a multiple of the row. */
static struct device_adam step_of(struct state *s, const struct device_adam *settings,
                                  int64_t first, int64_t count)
{
    struct device_adam a = *settings;
    a.count = count;
    a.place.first += (uint64_t)(first / a.place.row * a.place.stride + first % a.place.row);
    a.type = s->split ? s->upper.type : ZI_FP32;
    a.gradient_type = s->gradient.type;
    a.parameter = s->split ? buffer_at(&s->upper, first) : buffer_at(&s->weights, first);
    if (s->split) a.remainder = buffer_at(&s->lower, first);
    a.states[0] = buffer_at(&s->moment1, first);
    a.states[1] = buffer_at(&s->moment2, first);
    a.gradient = buffer_at(&s->gradient, first);
    a.checksum.address = (uintptr_t)&s->checksum;
    return a;
}

static struct device_adam settings_make(void)
{
    return (struct device_adam){
        .learning_rate = 0.01f,
        .beta1 = 0.9f,
        .beta2 = 0.95f,
        .epsilon = 1e-3f,
        .decay = 0.1f,
        .scale = 0.37f,
        .correction1 = 0.271f,
        .correction2 = 0.142625f,
        .place = {.seed = 0x123456789abcdefu, .first = 0xfffffff0u, .row = LONG, .stride = LONG}};
}

/* One step from the state `before`, element by element. With u = 2^-24, and every input the exact
 * number that the kernel reads: a moment is two products and a sum, 3 u of the magnitudes (4 u for
 * the squares); the quotient of the update takes over the error of the first moment, and adds at
 * most 8 u of its own (rate, product, half the error of the second moment and its product, root,
 * sum, quotient); keep, its product and the difference round w three times. Second order terms and
 * the rounding of 1 / correction2 are covered by counting one more each. */
static long step_errors(const struct state *before, const struct state *after,
                        const struct device_adam *a)
{
    long wrong = 0;
    double beta1 = (double)a->beta1, beta2 = (double)a->beta2;
    double rate = (double)a->learning_rate, decay = (double)a->decay;
    for (int64_t i = 0; i < before->weights.count; i++) {
        double w = buffer_get(&before->weights, i), m = buffer_get(&before->moment1, i);
        double v = buffer_get(&before->moment2, i);
        double g = (double)a->scale * buffer_get(&before->gradient, i);
        double m_error = 4 * unit * (fabs(beta1 * m) + fabs((1 - beta1) * g));
        m = beta1 * m + (1 - beta1) * g;
        v = beta2 * v + (1 - beta2) * g * g;
        double divisor = sqrt(v / (double)a->correction2) + (double)a->epsilon;
        double update = rate * (m / (double)a->correction1) / divisor;
        double update_error =
            rate * m_error / (double)a->correction1 / divisor + 9 * unit * fabs(update);
        double expected = w - update - rate * decay * w;
        double limit = update_error + 4 * unit * (fabs(w) + fabs(update));
        wrong += !(fabs(buffer_get(&after->moment1, i) - m) <= m_error);
        wrong += !(fabs(buffer_get(&after->moment2, i) - v) <= 5 * unit * v);
        wrong += !(fabs(buffer_get(&after->weights, i) - expected) <= limit);
    }
    return wrong;
}

static void test_adam(struct kernels *k)
{
    static const int64_t counts[] = {0, 1, 17, 4097, LONG};
    for (int i = 0; i < 5; i++) {
        int64_t count = counts[i];
        struct state s = state_create(k->type, count), before = state_copy(&s);
        struct device_adam settings = settings_make();
        struct device_adam a = step_of(&s, &settings, 0, count);
        CHECK_INT(k->operations.adam(&k->stream, &a), ZI_OK);
        CHECK_INT(step_errors(&before, &s, &settings), 0);
        CHECK(memcmp(s.gradient.bytes, before.gradient.bytes,
                     (size_t)count * zi_dtype_bytes(k->type)) == 0);
        /* added to what was there */
        CHECK(s.checksum ==
              12345 + checksum_define((const float *)s.weights.bytes, count, &settings.place));
        kernels_digest(k, s.weights.bytes, (size_t)count * 4);
        kernels_digest(k, s.moment1.bytes, (size_t)count * 4);
        kernels_digest(k, s.moment2.bytes, (size_t)count * 4);
        kernels_digest(k, &s.checksum, sizeof s.checksum);
        state_destroy(&s);
        state_destroy(&before);
    }
}

/* A weight, its parameter, and what is kept of it. */
struct special {
    uint32_t weight, parameter, kept;
};

/* Ties and their neighbours, both signs; zeros and denormals; the largest finite numbers, whose
 * parameter is infinite or not; infinity. */
static const struct special special_bf16[] = {
    {0x3f808000u, 0x3f81, 0x3f808000u}, {0x3f818000u, 0x3f82, 0x3f818000u},
    {0xbf808000u, 0xbf81, 0xbf808000u}, {0xbf818000u, 0xbf82, 0xbf818000u},
    {0x3f807fffu, 0x3f80, 0x3f807fffu}, {0x3f808001u, 0x3f81, 0x3f808001u},
    {0xbf807fffu, 0xbf80, 0xbf807fffu}, {0xbf808001u, 0xbf81, 0xbf808001u},
    {0x3fffffffu, 0x4000, 0x3fffffffu}, {0xbfff8000u, 0xc000, 0xbfff8000u},
    {0x00000000u, 0x0000, 0x00000000u}, {0x80000000u, 0x8000, 0x80000000u},
    {0x00000001u, 0x0000, 0x00000001u}, {0x80000001u, 0x8000, 0x80000001u},
    {0x00007fffu, 0x0000, 0x00007fffu}, {0x80007fffu, 0x8000, 0x80007fffu},
    {0x00008000u, 0x0001, 0x00008000u}, {0x80008000u, 0x8001, 0x80008000u},
    {0x00018000u, 0x0002, 0x00018000u}, {0x007fffffu, 0x0080, 0x007fffffu},
    {0x807fffffu, 0x8080, 0x807fffffu}, {0x007f8000u, 0x0080, 0x007f8000u},
    {0x7f7fffffu, 0x7f80, 0x7f7fffffu}, {0xff7fffffu, 0xff80, 0xff7fffffu},
    {0x7f7f8000u, 0x7f80, 0x7f7f8000u}, {0xff7f8000u, 0xff80, 0xff7f8000u},
    {0x7f7f7fffu, 0x7f7f, 0x7f7f7fffu}, {0xff7f7fffu, 0xff7f, 0xff7f7fffu},
    {0x7f7f0000u, 0x7f7f, 0x7f7f0000u}, {0x7f800000u, 0x7f80, 0x7f800000u},
    {0xff800000u, 0xff80, 0xff800000u},
};

/* The same of fp16; around 2^-14, from where its numbers are normal, 2^-25, of which the parameter
 * is no longer zero, 2^-40, of which weights below 2^-17 are multiples; NaN. */
static const struct special special_fp16[] = {
    {0x3f801000u, 0x3c01, 0x3f801000u}, {0x3f803000u, 0x3c02, 0x3f803000u},
    {0xbf801000u, 0xbc01, 0xbf801000u}, {0x3f800fffu, 0x3c00, 0x3f800fffu},
    {0x3f801001u, 0x3c01, 0x3f801001u}, {0xbf800fffu, 0xbc00, 0xbf800fffu},
    {0x3fffffffu, 0x4000, 0x3fffffffu}, {0xbffff000u, 0xc000, 0xbffff000u},
    {0x00000000u, 0x0000, 0x00000000u}, {0x80000000u, 0x8000, 0x80000000u},
    {0x00000001u, 0x0000, 0x00000000u}, {0x807fffffu, 0x8000, 0x80000000u},
    {0x38800000u, 0x0400, 0x38800000u}, {0x387fffffu, 0x0400, 0x387fffffu},
    {0xb87fffffu, 0x8400, 0xb87fffffu}, {0x37800001u, 0x0100, 0x37800001u},
    {0x37000001u, 0x0080, 0x37000001u}, {0x36ffffffu, 0x0080, 0x37000000u},
    {0x33000000u, 0x0001, 0x33000000u}, {0xb3000000u, 0x8001, 0xb3000000u},
    {0x32fffe00u, 0x0000, 0x32fffe00u}, {0x32ffffffu, 0x0001, 0x33000000u},
    {0x2b800000u, 0x0000, 0x2b800000u}, {0x2b000000u, 0x0000, 0x00000000u},
    {0x2b000001u, 0x0000, 0x2b800000u}, {0x2bc00000u, 0x0000, 0x2c000000u},
    {0xabc00000u, 0x8000, 0xac000000u}, {0x477fe000u, 0x7bff, 0x477fe000u},
    {0x477fefffu, 0x7bff, 0x477fefffu}, {0x477ff000u, 0x7c00, 0x477ff000u},
    {0xc77fffffu, 0xfc00, 0xc77fffffu}, {0x47800000u, 0x7c00, 0x47800000u},
    {0x501502f9u, 0x7c00, 0x47800000u}, {0x7f800000u, 0x7c00, 0x47800000u},
    {0xff800000u, 0xfc00, 0xc7800000u}, {0x7fc00000u, 0x7c00, 0x47800000u},
};

/* A special weight of a type by number, which starts anew. */
static const struct special *special_at(enum zi_dtype type, int64_t i)
{
    int64_t count = type == ZI_FP16 ? sizeof special_fp16 / sizeof *special_fp16
                                    : sizeof special_bf16 / sizeof *special_bf16;
    return (type == ZI_FP16 ? special_fp16 : special_bf16) + i % count;
}

/* Every third element gets a special weight; of those every other one has neither gradient nor
 * moment, so that it keeps it. */
static struct state state_create_special(enum zi_dtype gradient_type, enum zi_dtype type,
                                         int64_t count)
{
    struct state s = state_create(gradient_type, count);
    for (int64_t i = 0; i < count; i += 3) {
        ((uint32_t *)s.weights.bytes)[i] = special_at(type, i / 3)->weight;
        if (i % 2) continue;
        buffer_set(&s.moment1, i, 0.0);
        buffer_set(&s.gradient, i, 0.0);
    }
    return s;
}

/* What a split form keeps of weights that were updated whole. */
static void keep_weights(struct state *whole, enum zi_dtype type)
{
    float *weights = (float *)whole->weights.bytes;
    for (int64_t i = 0; i < whole->weights.count; i++)
        weights[i] = master_value(type, master_bits(type, weights[i]));
}

/* Parameters against weights, and special ones that nothing has changed. */
static void parameters_check(const struct state *s, enum zi_dtype type, bool changed)
{
    double most = type == ZI_FP16 ? 65519.0 : 3e38;
    const uint16_t *upper = (const uint16_t *)s->upper.bytes;
    for (int64_t i = 0; i < s->weights.count && !changed; i += 6) { /* those without gradient */
        CHECK_INT(((const uint32_t *)s->weights.bytes)[i], special_at(type, i / 3)->kept);
        CHECK_INT(upper[i], special_at(type, i / 3)->parameter);
    }
    for (int64_t i = 0; i < s->weights.count; i++) {
        float value = ((const float *)s->weights.bytes)[i];
        if (!((double)fabsf(value) < most) || upper[i] == nearest_away(type, value)) continue;
        CHECK(!"a parameter that is not its weight rounded half away from zero");
        break;
    }
}

/* Whole and split weights side by side, from the same bits: after every step all bits of weights,
 * moments and checksum are the same. Without decay special weights live on, with it they change. */
static void split_check(struct kernels *k, enum zi_dtype type, int64_t count, float decay)
{
    struct state whole = state_create_special(k->type, type, count);
    struct state split = state_copy(&whole);
    struct device_adam settings = settings_make();
    size_t bytes = (size_t)count * 4;
    settings.decay = decay;
    settings.place.row = 1000;
    settings.place.stride = 3001;
    state_split(&split, type);
    keep_weights(&whole, type);
    for (int step = 0; step < 5; step++) {
        struct device_adam a = step_of(&whole, &settings, 0, count);
        struct device_adam b = step_of(&split, &settings, 0, count);
        CHECK_INT(k->operations.adam(&k->stream, &a), ZI_OK);
        CHECK_INT(k->operations.adam(&k->stream, &b), ZI_OK);
        keep_weights(&whole, type);
        CHECK_INT(state_join(&split), 0);
        CHECK(memcmp(whole.weights.bytes, split.weights.bytes, bytes) == 0);
        CHECK(memcmp(whole.moment1.bytes, split.moment1.bytes, bytes) == 0);
        CHECK(memcmp(whole.moment2.bytes, split.moment2.bytes, bytes) == 0);
        uint64_t added =
            checksum_define((const float *)whole.weights.bytes, count, &settings.place);
        CHECK(split.checksum == 12345 + added);
        split.checksum = 12345;
        settings.scale *= -1.7f;
    }
    kernels_digest(k, split.weights.bytes, bytes);
    parameters_check(&split, type, decay > 0);
    state_destroy(&whole);
    state_destroy(&split);
}

static void test_split(struct kernels *k)
{
    static const int64_t counts[] = {0, 1, 15, 17, 1024, LONG};
    for (int i = 0; i < 12; i++) {
        enum zi_dtype type = i & 1 ? ZI_FP16 : ZI_BF16;
        split_check(k, type, counts[i / 2], 0.0f);
        split_check(k, type, counts[i / 2], 0.1f);
    }
}

/* Cut anywhere, a range leaves the same bits and checksum: a tensor's shard may lie in pieces. And
 * without a checksum the weights are the same. */
static void test_adam_cut(struct kernels *k)
{
    static const int64_t cuts[] = {0, 1, 2, 18, 4099, 4100, 50003, LONG};
    static const enum zi_dtype types[] = {ZI_FP32, ZI_BF16, ZI_FP16};
    for (int type = 0; type < 3; type++) {
        bool split = types[type] != ZI_FP32;
        struct state whole = state_create(k->type, LONG), cut = state_copy(&whole);
        struct state silent = state_copy(&whole);
        struct state *states[] = {&whole, &cut, &silent};
        struct device_adam settings = settings_make();
        for (int i = 0; i < 3 && split; i++)
            state_split(states[i], types[type]);
        struct device_adam a = step_of(&whole, &settings, 0, LONG);
        CHECK_INT(k->operations.adam(&k->stream, &a), ZI_OK);
        for (int i = 0; i < 7; i++) {
            a = step_of(&cut, &settings, cuts[i], cuts[i + 1] - cuts[i]);
            CHECK_INT(k->operations.adam(&k->stream, &a), ZI_OK);
        }
        a = step_of(&silent, &settings, 0, LONG);
        a.checksum.address = 0;
        a.place = (struct device_place){0};
        CHECK_INT(k->operations.adam(&k->stream, &a), ZI_OK);
        for (int i = 0; i < 3 && split; i++)
            CHECK_INT(state_join(states[i]), 0);
        for (int i = 1; i < 3; i++) {
            CHECK(memcmp(whole.weights.bytes, states[i]->weights.bytes, LONG * 4) == 0);
            CHECK(memcmp(whole.moment1.bytes, states[i]->moment1.bytes, LONG * 4) == 0);
            CHECK(memcmp(whole.moment2.bytes, states[i]->moment2.bytes, LONG * 4) == 0);
        }
        CHECK(whole.checksum == cut.checksum);
        CHECK(silent.checksum == 12345);
        for (int i = 0; i < 3; i++)
            state_destroy(states[i]);
    }
}

/* The checksum of elements [first, end) of a tensor's weights at `place`, added to 99. */
static uint64_t checksum_run(struct kernels *k, struct state *s, int64_t first, int64_t end,
                             const struct device_place *place)
{
    uint64_t sum = 99;
    struct device_adam a = step_of(s, &(struct device_adam){.place = *place}, first, end - first);
    CHECK_INT(k->operations.checksum(&k->stream, a.parameter, end - first, &a.place,
                                     (struct device_ptr){(uintptr_t)&sum}),
              ZI_OK);
    return sum;
}

static void test_checksum(struct kernels *k)
{
    static const int64_t counts[] = {0, 1, 17, 4097, LONG}, rows[] = {1, 7, 1024, 1500};
    static const uint64_t seeds[] = {0, 7, (uint64_t)1 << 40, UINT64_MAX - 3};
    for (int i = 0; i < 40; i++) {
        int64_t count = counts[i % 5], row = i < 20 ? count + 1 : rows[i % 4];
        int64_t half = i < 20 ? count / 2 : count / 2 / row * row;
        struct device_place place = {seeds[i / 5 % 4], seeds[(i + 1) % 4], row, row + i};
        struct state s = state_create(ZI_FP32, count);
        uint64_t expected = checksum_define((const float *)s.weights.bytes, count, &place);
        CHECK(checksum_run(k, &s, 0, count, &place) == 99 + expected);
        /* the order does not count either */
        CHECK(checksum_run(k, &s, half, count, &place) + checksum_run(k, &s, 0, half, &place) ==
              2 * 99 + expected);
        if (count > 1) { /* one bit, and it is another */
            ((uint32_t *)s.weights.bytes)[count - 1] ^= 1u;
            CHECK(checksum_run(k, &s, 0, count, &place) != 99 + expected);
        }
        state_destroy(&s);
    }
}

/* A matrix of 50 x 1400 cut into three tiles of columns, each contiguous: the checksums of the
 * tiles add up to that of the matrix. */
static void test_checksum_tiles(struct kernels *k)
{
    enum { ROWS = 50, COLUMNS = 1400 };
    static const int64_t cuts[] = {0, 16, 1333, COLUMNS};
    struct device_place place = {77, 0, ROWS * COLUMNS, ROWS * COLUMNS};
    struct state matrix = state_create(ZI_FP32, ROWS * COLUMNS);
    uint64_t sum = 0;
    for (int t = 0; t < 3; t++) {
        int64_t width = cuts[t + 1] - cuts[t];
        struct state tile = state_create(ZI_FP32, ROWS * width);
        for (int64_t i = 0; i < ROWS * width; i++)
            buffer_set(&tile.weights, i,
                       buffer_get(&matrix.weights, i / width * COLUMNS + cuts[t] + i % width));
        struct device_place part = {77, (uint64_t)cuts[t], width, COLUMNS};
        sum += checksum_run(k, &tile, 0, ROWS * width, &part) - 99;
        state_destroy(&tile);
    }
    CHECK(sum == checksum_run(k, &matrix, 0, ROWS * COLUMNS, &place) - 99);
    state_destroy(&matrix);
}

/* Sum of squares of the finite elements, and how many are not. */
static double norm_define(const struct buffer *g, uint64_t *nonfinite)
{
    double sum = 0.0;
    *nonfinite = 0;
    for (int64_t i = 0; i < g->count; i++) {
        double value = buffer_get(g, i);
        if (isfinite(value))
            sum += value * value;
        else
            (*nonfinite)++;
    }
    return sum;
}

/* The same of elements [first, first + size) in the order of device/update.h, size 4096 times a power
 * of 32: 32 partial sums, of elements 32 apart or of parts of 1/32, folded in halves. */
static double norm_ordered(const struct buffer *g, int64_t first, int64_t size)
{
    double sums[32] = {0};
    for (int64_t p = 0; p < 32; p++) {
        int64_t part = first + p * (size / 32);
        if (size > 4096 && part < g->count) sums[p] = norm_ordered(g, part, size / 32);
        for (int64_t i = first + p; size == 4096 && i < first + size && i < g->count; i += 32) {
            double value = buffer_get(g, i);
            if (isfinite(value)) sums[p] += value * value;
        }
    }
    for (int half = 16; half > 0; half /= 2)
        for (int p = 0; p < half; p++)
            sums[p] += sums[p + half];
    return sums[0];
}

/* Squares of fp32 are exact in double. Of `count` positive terms and the start, added in any order,
 * both sums are off by at most count + 1 roundings of 2^-53. */
static void norm_check_from(struct kernels *k, const struct buffer *g, double start)
{
    const int64_t span = 4096 * 32 * 32;
    struct device_norm_sums sums = {start, 3};
    double ordered = start;
    uint64_t nonfinite;
    double expected = start + norm_define(g, &nonfinite);
    CHECK_INT(k->operations.gradient_norm(&k->stream, g->type, buffer_at(g, 0), g->count,
                                          (struct device_ptr){(uintptr_t)&sums}),
              ZI_OK);
    CHECK_NEAR(sums.squares, expected, 2 * (double)(g->count + 1) * ldexp(expected, -53));
    CHECK_INT(sums.nonfinite, 3 + nonfinite);
    for (int64_t first = 0; first < g->count; first += span)
        ordered += norm_ordered(g, first, span);
    CHECK(sums.squares == ordered);
}

static void norm_check(struct kernels *k, const struct buffer *g)
{
    norm_check_from(k, g, 0.5);
}

static void test_gradient_norm(struct kernels *k)
{
    static const int64_t counts[] = {0, 1, 17, 255, 257, 4097, LONG};
    for (int i = 0; i < 7; i++) {
        struct buffer g = buffer_random(k->type, counts[i], "gradient", 1.0f);
        int64_t last = counts[i] - 1;
        norm_check(k, &g);
        if (last >= 0) { /* in the rest behind whole vectors */
            buffer_set(&g, last, (double)INFINITY);
            norm_check(k, &g);
        }
        if (last > 16) { /* in a vector */
            buffer_set(&g, 3, (double)NAN);
            buffer_set(&g, last / 2, (double)-INFINITY);
            norm_check(k, &g);
            /* squares of both overflow fp32, and count */
            buffer_set(&g, 5, 1e30);
            buffer_set(&g, last - 1, -3e38);
            norm_check(k, &g);
        }
        buffer_destroy(&g);
    }
}

/* Squares that vanish in fp32 count too: gradients may be scaled down. */
static void test_gradient_norm_tiny(struct kernels *k)
{
    struct buffer g = buffer_random(k->type, LONG, "gradient", 1.0f);
    for (int64_t i = 0; i < LONG; i++)
        buffer_set(&g, i, ldexp(buffer_get(&g, i), -90));
    norm_check_from(k, &g, 0.0);
    buffer_destroy(&g);
}

/* More than a span. */
static void test_gradient_norm_long(struct kernels *k)
{
    const int64_t count = 1024 * 4096 + 4096 * 9 + 5;
    struct buffer g = buffer_create(k->type, count);
    for (int64_t i = 0; i < count; i++)
        buffer_set(&g, i, (double)(int)(i * 2654435761u >> 20 & 1023u) - 400.0);
    norm_check(k, &g);
    buffer_destroy(&g);
}

/* Rounding and norm at once are rounding and norm, bit for bit. */
static void round_check(struct kernels *k, const struct buffer *from)
{
    struct buffer one = buffer_create(k->type, from->count), two = buffer_copy(&one);
    struct device_norm_sums sums[2] = {{0.5, 3}, {0.5, 3}};
    size_t bytes = (size_t)from->count * zi_dtype_bytes(k->type);
    const struct device_operations *ops = &k->operations;
    CHECK_INT(ops->convert(&k->stream, k->type, buffer_at(&one, 0), ZI_FP32, buffer_at(from, 0),
                           from->count),
              ZI_OK);
    CHECK_INT(ops->gradient_norm(&k->stream, k->type, buffer_at(&one, 0), from->count,
                                 (struct device_ptr){(uintptr_t)&sums[0]}),
              ZI_OK);
    CHECK_INT(ops->gradient_round(&k->stream, k->type, buffer_at(&two, 0), buffer_at(from, 0),
                                  from->count, (struct device_ptr){(uintptr_t)&sums[1]}),
              ZI_OK);
    CHECK(memcmp(one.bytes, two.bytes, bytes) == 0);
    CHECK(sums[0].squares == sums[1].squares);
    CHECK(sums[0].nonfinite == sums[1].nonfinite);
    buffer_destroy(&one);
    buffer_destroy(&two);
}

static void test_gradient_round(struct kernels *k)
{
    static const int64_t counts[] = {0, 1, 17, 4097, LONG};
    for (int i = 0; i < 5; i++) {
        struct buffer from = buffer_random(ZI_FP32, counts[i], "gradient", 1.0f);
        if (counts[i] > 5) buffer_set(&from, 5, 1e-39); /* bf16 has it, some instructions not */
        round_check(k, &from);
        if (counts[i] > 0) buffer_set(&from, counts[i] - 1, (double)NAN);
        if (counts[i] > 0) buffer_set(&from, 0, 3.4e38); /* infinite when rounded to 16 bits */
        round_check(k, &from);
        buffer_destroy(&from);
    }
}

/* What goes past the caches. */
static void test_gradient_round_long(struct kernels *k)
{
    const int64_t count = 256 * 4096 + 4096 * 9 + 5;
    struct buffer from = buffer_create(ZI_FP32, count);
    for (int64_t i = 0; i < count; i++)
        buffer_set(&from, i, ((double)(i * 2654435761u >> 12 & 0xfffffu) - 4e5) / 3);
    round_check(k, &from);
    buffer_destroy(&from);
}

static void test_update(struct kernels *k)
{
    test_adam(k);
    test_adam_cut(k);
    test_split(k);
    if (k->type == ZI_FP32) {
        test_checksum(k);
        test_checksum_tiles(k);
    }
    test_gradient_norm(k);
    test_gradient_norm_tiny(k);
    if (k->isa == cpu_isa_best()) test_gradient_norm_long(k);
    test_gradient_round(k);
    if (k->stream.threads == 2) test_gradient_round_long(k);
}

int main(void)
{
    kernels_run_alike(test_update);
    return test_finish("device_update_test");
}
