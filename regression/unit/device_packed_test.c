/* SPDX-License-Identifier: Apache-2.0 */
/* Frozen weights in 8 bits and in NF4: encoding and decoding against numbers that numpy made from the
 * papers' words; what has been decoded and rounded to the compute type is encoded to the same numbers
 * again; every instruction set gives the bits of decoding one by one, in whole and in part. */
#include "regression/goldens/golden_packed.h"
#include "regression/unit/kernel_fixture.h"

#include "base/packed.h"

enum { LONG = 2111 * ZI_PACK, BYTES = LONG / ZI_PACK * ZI_PACK8_BYTES };

static const enum zi_dtype types[] = {ZI_PACKED8, ZI_PACKED4};

static void test_golden(void)
{
    float values[GOLDEN_PACKED_WEIGHTS], decoded[GOLDEN_PACKED_WEIGHTS];
    unsigned char blocks[GOLDEN_PACKED_WEIGHTS / ZI_PACK * ZI_PACK8_BYTES];
    for (int i = 0; i < GOLDEN_PACKED_WEIGHTS; i++)
        values[i] = zi_fp32_from_bits(golden_weights[i]);
    for (int t = 0; t < 2; t++) {
        const uint32_t *expected = t == 0 ? golden_weights8 : golden_weights4;
        int wrong = 0;
        zi_packed_encode(types[t], values, GOLDEN_PACKED_WEIGHTS, blocks);
        zi_packed_decode(types[t], blocks, GOLDEN_PACKED_WEIGHTS, decoded);
        for (int i = 0; i < GOLDEN_PACKED_WEIGHTS; i++)
            wrong += decoded[i] != zi_fp32_from_bits(expected[i]);
        CHECK_INT(wrong, 0);
    }
}

/* Blocks of their own sizes: some too small for a scale, one with a number that is not finite. */
static void values_make(float *values)
{
    static const float sizes[] = {1, 3e-5f, 7e20f, 1e-29f, 1e-33f, 0, 6e-8f, 2e-2f};
    zi_random_normal(1, 7, 0, LONG, 1, values);
    for (int64_t i = 0; i < LONG; i++)
        values[i] *= sizes[i / ZI_PACK % 8];
}

static void test_again(enum zi_dtype packed, enum zi_dtype type)
{
    float *values = malloc(LONG * sizeof *values), *again = malloc(LONG * sizeof *again);
    unsigned char *blocks = malloc(BYTES);
    ZI_REQUIRE(values && again && blocks);
    values_make(values);
    for (int64_t i = 0; i < LONG && zi_dtype_is_half(type); i++) /* what fp16 can have */
        values[i] = values[i] > 1e4f || values[i] < -1e4f
                        ? 1
                        : zi_half_to_fp32(type, zi_half_round_even(type, values[i]));
    zi_packed_encode(packed, values, LONG, blocks);
    zi_packed_decode(packed, blocks, LONG, values);
    for (int64_t i = 0; i < LONG && zi_dtype_is_half(type); i++)
        values[i] = zi_half_to_fp32(type, zi_half_round_even(type, values[i]));
    zi_packed_encode(packed, values, LONG, blocks);
    zi_packed_decode(packed, blocks, LONG, again);
    long wrong = 0;
    for (int64_t i = 0; i < LONG && zi_dtype_is_half(type); i++)
        again[i] = zi_half_to_fp32(type, zi_half_round_even(type, again[i]));
    for (int64_t i = 0; i < LONG; i++)
        wrong += again[i] != values[i];
    CHECK_INT(wrong, 0);
    free(values);
    free(again);
    free(blocks);
}

static void test_special(enum zi_dtype packed)
{
    float values[ZI_PACK] = {1, NAN}, tiny[ZI_PACK] = {0x1p-101f};
    unsigned char block[ZI_PACK8_BYTES];
    zi_packed_encode(packed, values, ZI_PACK, block);
    zi_packed_decode(packed, block, ZI_PACK, values);
    CHECK(isnan(values[0]) && isnan(values[63]));
    zi_packed_encode(packed, tiny, ZI_PACK, block);
    zi_packed_decode(packed, block, ZI_PACK, tiny);
    for (int i = 0; i < ZI_PACK; i++)
        CHECK(tiny[i] == 0);
}

static void test_unpack(struct kernels *k)
{
    float *values = malloc(LONG * sizeof *values);
    unsigned char *blocks = malloc(BYTES);
    ZI_REQUIRE(values && blocks);
    for (int t = 0; t < 2; t++) {
        values_make(values);
        zi_packed_encode(types[t], values, LONG, blocks);
        zi_packed_decode(types[t], blocks, LONG, values);
        struct device_ptr from = {(uintptr_t)blocks};
        for (int64_t count = 0; count <= LONG;
             count += count < 3 * ZI_PACK ? ZI_PACK : LONG - count) {
            struct buffer to = buffer_create(k->type, count),
                          expected = buffer_create(k->type, count);
            for (int64_t i = 0; i < count; i++)
                buffer_set(&expected, i, (double)values[i]);
            CHECK(k->operations.unpack(&k->stream, k->type, buffer_at(&to, 0), types[t], from,
                                       count) >= 0);
            size_t bytes = (size_t)count * zi_dtype_bytes(k->type);
            CHECK(memcmp(to.bytes, expected.bytes, bytes) == 0);
            kernels_digest(k, to.bytes, bytes);
            buffer_destroy(&to);
            buffer_destroy(&expected);
            if (count == LONG) break;
        }
        CHECK(k->operations.unpack(&k->stream, k->type, from, types[t], from, 65) < 0);
        CHECK(k->operations.unpack(&k->stream, k->type, from, ZI_INT16, from, 64) < 0);
    }
    free(values);
    free(blocks);
}

int main(void)
{
    test_golden();
    for (int t = 0; t < 2; t++) {
        test_special(types[t]);
        for (int type = 0; type < KERNELS_TYPES; type++)
            test_again(types[t], kernels_types[type]);
    }
    kernels_run_alike(test_unpack);
    return test_finish("device_packed_test");
}
