/* SPDX-License-Identifier: Apache-2.0 */
/* Conversion between fp32, bf16 and fp16, and addition, on every instruction set: all results to the
 * bit. What 16 bits mean is written here anew, in double, and the rounding as the nearer of two
 * neighbours, the even one of a tie. */
#include "regression/unit/kernel_fixture.h"

#include <float.h>

/* Bits of the exponent, and of the mantissa. */
static int exponent_bits(enum zi_dtype type)
{
    return type == ZI_FP16 ? 5 : 8;
}

static int mantissa_bits(enum zi_dtype type)
{
    return 15 - exponent_bits(type);
}

/* The code of infinity; those below are in the order of their values. */
static uint32_t infinity_of(enum zi_dtype type)
{
    return 0x7fffu >> mantissa_bits(type) << mantissa_bits(type);
}

/* The value of a code without sign; infinity stands for what would follow the largest number. */
static double value_of(enum zi_dtype type, uint32_t code)
{
    int bits = mantissa_bits(type), bias = (1 << (exponent_bits(type) - 1)) - 1;
    int exponent = (int)(code >> bits), mantissa = (int)(code & ((1u << bits) - 1));
    if (exponent == 0) return ldexp(mantissa, 1 - bias - bits);
    return ldexp((1 << bits) + mantissa, exponent - bias - bits);
}

/* Of a finite value. */
static uint16_t nearest_even(enum zi_dtype type, float value)
{
    double size = fabs((double)value);
    uint32_t low = 0, above = infinity_of(type), sign = signbit(value) ? 0x8000u : 0;
    if (size >= value_of(type, above)) return (uint16_t)(above | sign);
    while (above - low > 1) { /* value_of(low) <= size < value_of(above) */
        uint32_t middle = (low + above) / 2;
        if (value_of(type, middle) <= size)
            low = middle;
        else
            above = middle;
    }
    double to_low = size - value_of(type, low), to_above = value_of(type, above) - size;
    bool up = to_low == to_above ? low & 1u : to_low > to_above;
    return (uint16_t)((up ? above : low) | sign);
}

/* One of six values around a code: itself, the tie with the next, and their neighbours. */
static float around(enum zi_dtype type, uint32_t code, int which)
{
    double low = value_of(type, code), above = value_of(type, code + 1), tie = (low + above) / 2;
    double values[6] = {low, low, tie, tie, tie, above};
    float value = (float)values[which], up = FLT_MAX;
    if (which == 1 || which == 4) return nextafterf(value, up);
    if (which == 2 || which == 5) return isinf(value) ? FLT_MAX : nextafterf(value, -1.0f);
    return value;
}

/* Both signs, denormals too. */
static void test_narrow(struct kernels *k)
{
    int64_t count = (int64_t)infinity_of(k->type) * 12;
    struct buffer from = buffer_create(ZI_FP32, count), to = buffer_create(k->type, count);
    float *values = (float *)from.bytes;
    for (int64_t i = 0; i < count; i++) {
        values[i] = around(k->type, (uint32_t)(i / 12), (int)(i / 2 % 6));
        if (i & 1) values[i] = -values[i];
    }
    CHECK_INT(k->operations.convert(&k->stream, k->type, buffer_at(&to, 0), ZI_FP32,
                                    buffer_at(&from, 0), count),
              ZI_OK);
    long wrong = 0;
    for (int64_t i = 0; i < count; i++) {
        uint16_t got = ((const uint16_t *)to.bytes)[i], right = nearest_even(k->type, values[i]);
        wrong += got != right || zi_half_round_even(k->type, values[i]) != right;
    }
    CHECK_INT(wrong, 0);
    kernels_digest(k, to.bytes, (size_t)count * 2);
    buffer_destroy(&from);
    buffer_destroy(&to);
}

/* Infinities stay, and what is larger than the largest number is one; NaN stays NaN even where its
 * upper half alone would be an infinity; what is smaller than the smallest number is zero. */
static void test_special(struct kernels *k)
{
    static const uint32_t from_bits[] = {
        0x7f800000u, 0xff800000u, 0x7f7fffffu, 0xff7fffffu, 0x00000001u, 0x80000001u, 0x80000000u,
        0x7fc00000u, 0xffc00000u, 0x7f800001u, 0xff800001u, 0x7fffffffu, 0xffffffffu};
    enum { KINDS = 13, COUNT = 52 };
    const uint32_t infinite = infinity_of(k->type);
    const uint32_t right[KINDS] = {
        infinite, infinite | 0x8000, infinite, infinite | 0x8000, 0, 0x8000, 0x8000};
    struct buffer from = buffer_create(ZI_FP32, COUNT), to = buffer_create(k->type, COUNT);
    for (int i = 0; i < COUNT; i++)
        ((uint32_t *)from.bytes)[i] = from_bits[i % KINDS];
    CHECK_INT(k->operations.convert(&k->stream, k->type, buffer_at(&to, 0), ZI_FP32,
                                    buffer_at(&from, 0), COUNT),
              ZI_OK);
    for (int i = 0; i < COUNT; i++) {
        uint16_t got = ((const uint16_t *)to.bytes)[i];
        uint16_t scalar = zi_half_round_even(k->type, ((const float *)from.bytes)[i]);
        if (i % KINDS < 7) {
            CHECK_INT(got, right[i % KINDS]);
            CHECK_INT(scalar, right[i % KINDS]);
        } else {
            CHECK((got & 0x7fffu) > infinite && (scalar & 0x7fffu) > infinite);
            CHECK_INT(got & 0x8000u, from_bits[i % KINDS] >> 16 & 0x8000u);
        }
    }
    buffer_destroy(&from);
    buffer_destroy(&to);
}

/* Every number of 16 bits, NaN included, in ranges that are cut for threads. */
static void test_widen(struct kernels *k)
{
    const int64_t count = 3 * 65536 + 17;
    const uint32_t infinite = infinity_of(k->type);
    struct buffer from = buffer_create(k->type, count), to = buffer_create(ZI_FP32, count);
    struct buffer back = buffer_create(k->type, count), copy = buffer_create(k->type, count);
    for (int64_t i = 0; i < count; i++)
        ((uint16_t *)from.bytes)[i] = (uint16_t)i;
    CHECK_INT(k->operations.convert(&k->stream, ZI_FP32, buffer_at(&to, 0), k->type,
                                    buffer_at(&from, 0), count),
              ZI_OK);
    CHECK_INT(k->operations.convert(&k->stream, k->type, buffer_at(&back, 0), ZI_FP32,
                                    buffer_at(&to, 0), count),
              ZI_OK);
    CHECK_INT(k->operations.convert(&k->stream, k->type, buffer_at(&copy, 0), k->type,
                                    buffer_at(&from, 0), count),
              ZI_OK);
    long wrong = 0;
    for (int64_t i = 0; i < count; i++) {
        uint32_t code = (uint32_t)i & 0x7fffu, quiet = 1u << (mantissa_bits(k->type) - 1);
        float got = ((const float *)to.bytes)[i], scalar = zi_half_to_fp32(k->type, (uint16_t)i);
        uint16_t returned = ((const uint16_t *)back.bytes)[i];
        wrong += !!signbit(got) != !!(i & 0x8000) || !!signbit(scalar) != !!(i & 0x8000);
        if (code > infinite) {
            wrong += !isnan(got) || !isnan(scalar) || returned != (uint16_t)((uint32_t)i | quiet);
            continue;
        }
        double right = code == infinite ? (double)INFINITY : value_of(k->type, code);
        wrong += (double)fabsf(got) != right || (double)fabsf(scalar) != right;
        wrong += returned != (uint16_t)i;
    }
    CHECK_INT(wrong, 0);
    CHECK(memcmp(copy.bytes, from.bytes, (size_t)count * 2) == 0);
    struct buffer *buffers[] = {&from, &to, &back, &copy};
    for (int i = 0; i < 4; i++)
        buffer_destroy(buffers[i]);
}

/* Sums of two numbers of any types: exact in double, rounded to fp32, then to the type. */
static void test_add(struct kernels *k)
{
    static const int64_t counts[] = {0, 1, 17, 1001, 2 * 65536 + 5};
    for (int which = 0; which < 5 * KERNELS_TYPES; which++) {
        int64_t count = counts[which / KERNELS_TYPES];
        enum zi_dtype from_type = kernels_types[which % KERNELS_TYPES];
        struct buffer to = buffer_random(k->type, count, "to", 1.0f);
        struct buffer from = buffer_random(from_type, count, "from", 1.0f);
        struct buffer expected = buffer_create(k->type, count);
        for (int64_t i = 0; i < count; i++)
            buffer_set(&expected, i, buffer_get(&to, i) + buffer_get(&from, i));
        CHECK_INT(k->operations.add(&k->stream, k->type, buffer_at(&to, 0), from_type,
                                    buffer_at(&from, 0), count),
                  ZI_OK);
        CHECK(memcmp(to.bytes, expected.bytes, (size_t)count * zi_dtype_bytes(k->type)) == 0);
        kernels_digest(k, to.bytes, (size_t)count * zi_dtype_bytes(k->type));
        struct buffer *buffers[] = {&to, &from, &expected};
        for (int i = 0; i < 3; i++)
            buffer_destroy(buffers[i]);
    }
}

static void test_refusals(struct kernels *k)
{
    struct buffer x = buffer_create(ZI_FP32, 4), y = buffer_create(ZI_FP32, 4);
    struct device_ptr to = buffer_at(&x, 0), from = buffer_at(&y, 0);
    CHECK_INT(k->operations.convert(&k->stream, ZI_INT32, to, ZI_FP32, from, 4), ZI_ERROR_DEVICE);
    CHECK_INT(k->operations.convert(&k->stream, ZI_FP32, to, ZI_INT32, from, 4), ZI_ERROR_DEVICE);
    CHECK_INT(k->operations.convert(&k->stream, ZI_INT16, to, ZI_INT16, from, 4), ZI_ERROR_DEVICE);
    CHECK_INT(k->operations.add(&k->stream, ZI_INT32, to, ZI_FP32, from, 4), ZI_ERROR_DEVICE);
    CHECK_INT(k->operations.add(&k->stream, ZI_FP32, to, ZI_INT32, from, 4), ZI_ERROR_DEVICE);
    CHECK_INT(k->operations.add(&k->stream, ZI_FP32, to, ZI_INT16, from, 4), ZI_ERROR_DEVICE);
    buffer_destroy(&x);
    buffer_destroy(&y);
}

static void test_convert(struct kernels *k)
{
    test_add(k);
    if (k->type == ZI_FP32) return; /* the others are of 16 bits */
    test_narrow(k);
    test_special(k);
    test_widen(k);
    if (k->stream.threads == 1) test_refusals(k);
}

int main(void)
{
    kernels_run(test_convert);
    return test_finish("device_convert_test");
}
