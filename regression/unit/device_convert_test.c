/* SPDX-License-Identifier: Apache-2.0 */
/* Conversion between fp32 and bf16, and addition, on every instruction set: all results to the bit.
 * The rounding is written here as the nearer of the two neighbours in double, the even one of a
 * tie. */
#include "regression/unit/kernel_fixture.h"

static double bf16_value(uint32_t bits)
{
    return (double)zi_bf16_to_fp32((uint16_t)bits);
}

/* bf16 nearest to a finite value, whose neighbours are finite too or the least infinity. */
static uint16_t nearest_even(float value)
{
    uint32_t low = zi_fp32_bits(value) >> 16, high = low + 1;
    double to_low = fabs((double)value - bf16_value(low));
    /* infinity stands at 2^128 for this purpose */
    double above =
        (high & 0x7fffu) == 0x7f80u ? copysign(ldexp(1.0, 128), (double)value) : bf16_value(high);
    double to_high = fabs(above - (double)value);
    if (to_low == to_high) return (uint16_t)(low & 1u ? high : low);
    return (uint16_t)(to_low < to_high ? low : high);
}

/* Around every bf16 number: itself, ties, and the neighbours of ties; both signs, denormals too. */
static void test_narrow(struct kernels *k)
{
    static const uint32_t low_bits[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
    enum { EACH = 6 };
    int64_t count = (int64_t)0x7f80 * 2 * EACH;
    struct buffer from = buffer_create(ZI_FP32, count), to = buffer_create(ZI_BF16, count);
    uint32_t *bits = (uint32_t *)from.bytes;
    for (int64_t i = 0; i < count; i++) {
        uint32_t upper = (uint32_t)(i / EACH / 2) | (i & 1 ? 0x8000u : 0u);
        bits[i] = upper << 16 | low_bits[i / 2 % EACH];
    }
    CHECK_INT(k->operations.convert(&k->stream, ZI_BF16, buffer_at(&to, 0), ZI_FP32,
                                    buffer_at(&from, 0), count),
              ZI_OK);
    long wrong = 0;
    for (int64_t i = 0; i < count; i++)
        wrong += ((const uint16_t *)to.bytes)[i] != nearest_even(((const float *)from.bytes)[i]);
    CHECK_INT(wrong, 0);
    kernels_digest(k, to.bytes, (size_t)count * 2);
    buffer_destroy(&from);
    buffer_destroy(&to);
}

/* Infinities stay; NaN stays NaN even where its upper half alone would be an infinity. */
static void test_special(struct kernels *k)
{
    static const uint32_t from_bits[] = {0x7f800000u, 0xff800000u, 0x7fc00000u, 0xffc00000u,
                                         0x7f800001u, 0xff800001u, 0x7fffffffu, 0xffffffffu,
                                         0x7f7fffffu, 0x80000000u};
    enum { COUNT = 50 };
    struct buffer from = buffer_create(ZI_FP32, COUNT), to = buffer_create(ZI_BF16, COUNT);
    for (int i = 0; i < COUNT; i++)
        ((uint32_t *)from.bytes)[i] = from_bits[i % 10];
    CHECK_INT(k->operations.convert(&k->stream, ZI_BF16, buffer_at(&to, 0), ZI_FP32,
                                    buffer_at(&from, 0), COUNT),
              ZI_OK);
    for (int i = 0; i < COUNT; i++) {
        uint16_t got = ((const uint16_t *)to.bytes)[i];
        switch (i % 10) {
        case 0:
            CHECK_INT(got, 0x7f80);
            break;
        case 1:
            CHECK_INT(got, 0xff80);
            break;
        case 8: /* the largest number is nearer to 2^128 than to the largest bf16 */
            CHECK_INT(got, 0x7f80);
            break;
        case 9:
            CHECK_INT(got, 0x8000);
            break;
        default:
            CHECK((got & 0x7fff) > 0x7f80);
        }
    }
    buffer_destroy(&from);
    buffer_destroy(&to);
}

/* Every bf16 number, NaN included, in ranges that are cut for threads. */
static void test_widen(struct kernels *k)
{
    const int64_t count = 3 * 65536 + 17;
    struct buffer from = buffer_create(ZI_BF16, count), to = buffer_create(ZI_FP32, count);
    struct buffer back = buffer_create(ZI_BF16, count), copy = buffer_create(ZI_BF16, count);
    for (int64_t i = 0; i < count; i++)
        ((uint16_t *)from.bytes)[i] = (uint16_t)i;
    CHECK_INT(k->operations.convert(&k->stream, ZI_FP32, buffer_at(&to, 0), ZI_BF16,
                                    buffer_at(&from, 0), count),
              ZI_OK);
    CHECK_INT(k->operations.convert(&k->stream, ZI_BF16, buffer_at(&back, 0), ZI_FP32,
                                    buffer_at(&to, 0), count),
              ZI_OK);
    CHECK_INT(k->operations.convert(&k->stream, ZI_BF16, buffer_at(&copy, 0), ZI_BF16,
                                    buffer_at(&from, 0), count),
              ZI_OK);
    long wrong = 0;
    for (int64_t i = 0; i < count; i++) {
        uint16_t bits = (uint16_t)i;
        bool nan = (bits & 0x7fff) > 0x7f80;
        wrong += ((const uint32_t *)to.bytes)[i] != (uint32_t)bits << 16;
        wrong += ((const uint16_t *)back.bytes)[i] != (nan ? bits | 0x40 : bits);
    }
    CHECK_INT(wrong, 0);
    CHECK(memcmp(copy.bytes, from.bytes, (size_t)count * 2) == 0);
    struct buffer *buffers[] = {&from, &to, &back, &copy};
    for (int i = 0; i < 4; i++)
        buffer_destroy(buffers[i]);
}

/* Sums of two numbers of either type: exact in double, rounded to fp32, then to the type. */
static void test_add(struct kernels *k)
{
    static const int64_t counts[] = {0, 1, 17, 1001, 2 * 65536 + 5};
    for (int which = 0; which < 10; which++) {
        int64_t count = counts[which / 2];
        enum zi_dtype from_type = which & 1 ? ZI_BF16 : ZI_FP32;
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
    if (k->type == ZI_FP32) return; /* the others do not depend on k->type */
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
