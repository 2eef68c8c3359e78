/* SPDX-License-Identifier: Apache-2.0 */
/* Encoding and decoding one number after the other. */
#include "base/blocks.h"

#include <string.h>

/* Of a number divided by its scale. */
static unsigned code_of(const struct zi_block_map *map, float x)
{
    bool below = signbit(x), has_sign = map->one_code == 128;
    float size = fabsf(x) < 2 ? fabsf(x) : 2;
    int decade = -1;
    if (size >= map->one && !below) return (unsigned)map->one_code;
    for (int e = 0; e < ZI_BLOCK_DECADES; e++)
        if (size >= map->least[e]) decade = e;
    if (decade < 0) return 0;
    float product = size * map->cells[decade], code = product + map->shift[decade];
    if (code > map->last[decade]) code = map->last[decade];
    unsigned number = code < (float)map->lowest ? (unsigned)map->lowest : (unsigned)code;
    return has_sign && below ? number + 128 : number;
}

/* What a code stands for, of a scale of 1. */
static float value_of(enum zi_dtype type, unsigned code)
{
    const struct zi_block_map *map = zi_block_map(type);
    bool below = type == ZI_SIGNED8 && code > 128;
    if (code == 0) return 0;
    if (code == (unsigned)map->one_code) return 1;
    unsigned number = below ? code - 128 : code;
    int decade = 0;
    while (number >> (decade + 1))
        decade++;
    float product = map->slope[decade] * ldexpf((float)number, -decade);
    float value = product + map->base[decade];
    return below ? -value : value;
}

static void encode_block(enum zi_dtype type, const float *values, unsigned char *block)
{
    float largest = 0, smallest = 0;
    for (int i = 0; i < ZI_BLOCK; i++) {
        if (values[i] > largest) largest = values[i];
        if (values[i] < smallest) smallest = values[i];
    }
    float scale = zi_block_scale(largest, smallest);
    memset(block, 0, ZI_BLOCK);
    memcpy(block + ZI_BLOCK, &scale, sizeof scale);
    if (scale == 0) return;
    float inverse = 1.0f / scale;
    for (int i = 0; i < ZI_BLOCK; i++)
        if (values[i] != 0)
            block[i] = (unsigned char)code_of(zi_block_map(type), values[i] * inverse);
}

void zi_blocks_encode(enum zi_dtype type, const float *values, int64_t count, void *blocks)
{
    for (int64_t b = 0; b < count / ZI_BLOCK; b++)
        encode_block(type, values + b * ZI_BLOCK, (unsigned char *)blocks + b * ZI_BLOCK_BYTES);
}

void zi_blocks_decode(enum zi_dtype type, const void *blocks, int64_t count, float *values)
{
    float table[256];
    for (unsigned code = 0; code < 256; code++)
        table[code] = value_of(type, code);
    for (int64_t i = 0; i < count; i++) {
        const unsigned char *block = (const unsigned char *)blocks + i / ZI_BLOCK * ZI_BLOCK_BYTES;
        float scale;
        memcpy(&scale, block + ZI_BLOCK, sizeof scale);
        values[i] = table[block[i % ZI_BLOCK]] * scale;
    }
}
