/* SPDX-License-Identifier: Apache-2.0 */
/* Encoding and decoding one weight after the other. */
#include "base/packed.h"

enum { NUMBERS = 16, HALF = ZI_PACK / 2 };

static const float numbers[NUMBERS] = {ZI_NF4_NUMBERS};

static size_t block_bytes(enum zi_dtype type)
{
    return zi_dtype_size(type, ZI_PACK);
}

/* NaN where a number is not finite. */
static float scale_of(const float *values)
{
    float most = 0;
    for (int i = 0; i < ZI_PACK; i++) {
        if (!isfinite(values[i])) return NAN;
        if (fabsf(values[i]) > most) most = fabsf(values[i]);
    }
    return most < ZI_PACK_SMALLEST ? 0.0f : most;
}

/* How many middles of neighbours a weight of a scale of 1 lies above; in double they are exact. */
static unsigned code4(float share)
{
    unsigned code = 0;
    for (int n = 0; n + 1 < NUMBERS; n++)
        code += (double)share > ((double)numbers[n] + (double)numbers[n + 1]) / 2;
    return code;
}

static void encode_block(enum zi_dtype type, const float *values, unsigned char *block)
{
    float scale = scale_of(values);
    memset(block, 0, block_bytes(type));
    memcpy(block + block_bytes(type) - sizeof scale, &scale, sizeof scale);
    for (int i = 0; i < ZI_PACK; i++) {
        float share = scale > 0 ? values[i] / scale : 0;
        if (type == ZI_PACKED8)
            block[i] = (unsigned char)(int8_t)nearbyintf(share * 127.0f);
        else
            block[i % HALF] |= (unsigned char)(code4(share) << (i < HALF ? 0 : 4));
    }
}

void zi_packed_encode(enum zi_dtype type, const float *values, int64_t count, void *blocks)
{
    unsigned char *block = blocks;
    for (int64_t i = 0; i < count; i += ZI_PACK, block += block_bytes(type))
        encode_block(type, values + i, block);
}

void zi_packed_decode(enum zi_dtype type, const void *blocks, int64_t count, float *values)
{
    const unsigned char *block = blocks;
    for (int64_t first = 0; first < count; first += ZI_PACK, block += block_bytes(type)) {
        float scale;
        memcpy(&scale, block + block_bytes(type) - sizeof scale, sizeof scale);
        for (int i = 0; i < ZI_PACK; i++) {
            float share = type == ZI_PACKED8 ? (float)(int8_t)block[i] * ZI_PACK8_UNIT
                                             : numbers[block[i % HALF] >> (i < HALF ? 0 : 4) & 15];
            values[first + i] = share * scale;
        }
    }
}
