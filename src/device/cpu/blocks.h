/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of 8-bit numbers (base/blocks.h) in vectors: the decade of a code is its exponent as a
 * floating-point number, that of a magnitude the number of limits that it reaches; what a decade
 * has is looked up in tables of eight that fit into registers. The bits are those of
 * zi_blocks_encode and zi_blocks_decode. */
#ifndef ZI_DEVICE_CPU_BLOCKS_H
#define ZI_DEVICE_CPU_BLOCKS_H

#include "base/blocks.h"
#include "device/cpu/vector.h"

typedef uint8_t vec_codes __attribute__((vector_size(VEC_LANES)));

/* Eight numbers to look up. */
struct vec_table {
#ifdef VEC_AVX512
    __m512 twice;
#elif defined(VEC_AVX2)
    __m256 once;
#else
    float numbers[ZI_BLOCK_DECADES];
#endif
};

/* Up to ZI_BLOCK_DECADES numbers, to be looked up lane by lane. */
VEC_INLINE struct vec_table vec_table(const float *numbers)
{
    struct vec_table table;
#ifdef VEC_AVX512
    __m256 once = _mm256_loadu_ps(numbers);
    table.twice = _mm512_insertf32x8(_mm512_castps256_ps512(once), once, 1);
#elif defined(VEC_AVX2)
    table.once = _mm256_loadu_ps(numbers);
#else
    memcpy(table.numbers, numbers, sizeof table.numbers);
#endif
    return table;
}

/* By the lowest three bits of `index`. */
VEC_INLINE vec vec_look_up(const struct vec_table *table, vec_int index)
{
#ifdef VEC_AVX512
    return (vec)_mm512_permutexvar_ps((__m512i)index, table->twice);
#elif defined(VEC_AVX2)
    return (vec)_mm256_permutevar8x32_ps(table->once, (__m256i)index);
#else
    vec found;
    for (int i = 0; i < VEC_LANES; i++)
        found[i] = table->numbers[index[i] & 7];
    return found;
#endif
}

/* `a` where the mask is all ones, `b` where it is 0. */
VEC_INLINE vec_int vec_pick(vec_int mask, vec_int a, vec_int b)
{
    return (mask & a) | (~mask & b);
}

/* VEC_LANES codes from p on as integers. */
VEC_INLINE vec_int vec_load_codes(const unsigned char *p)
{
#ifdef VEC_AVX512
    return (vec_int)_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p));
#elif defined(VEC_AVX2)
    return (vec_int)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p));
#else
    vec_codes bytes;
    memcpy(&bytes, p, sizeof bytes);
    return __builtin_convertvector(bytes, vec_int);
#endif
}

/* Integers of 0 to 255 to p, as codes. */
VEC_INLINE void vec_store_codes(unsigned char *p, vec_int codes)
{
#ifdef VEC_AVX512
    _mm_storeu_si128((void *)p, _mm512_cvtepi32_epi8((__m512i)codes));
#elif defined(VEC_AVX2)
    __m256i words = _mm256_packus_epi32((__m256i)codes, (__m256i)codes);
    __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(words, words),
                                                _mm256_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4));
    _mm_storel_epi64((void *)p, _mm256_castsi256_si128(bytes));
#else
    vec_codes bytes = __builtin_convertvector(codes, vec_codes);
    memcpy(p, &bytes, sizeof bytes);
#endif
}

/* How many of eight ascending limits each magnitude reaches, less one. */
VEC_INLINE vec_int vec_decade(const float *limits, vec size)
{
    vec_int decade = (vec_int){0} - 1;
#pragma GCC unroll 8
    for (int e = 0; e < ZI_BLOCK_DECADES; e++) {
#ifdef VEC_AVX512
        __mmask16 reached = _mm512_cmp_ps_mask((__m512)size, _mm512_set1_ps(limits[e]), _CMP_GE_OQ);
        decade = (vec_int)_mm512_mask_add_epi32((__m512i)decade, reached, (__m512i)decade,
                                                _mm512_set1_epi32(1));
#else
        decade -= size >= vec_set(limits[e]);
#endif
    }
    return decade;
}

/* The integers below numbers that are not negative. */
VEC_INLINE vec_int vec_whole(vec x)
{
#ifdef VEC_AVX512
    return (vec_int)_mm512_cvttps_epi32((__m512)x);
#elif defined(VEC_AVX2)
    return (vec_int)_mm256_cvttps_epi32((__m256)x);
#else
    return __builtin_convertvector(x, vec_int);
#endif
}

/* What codes from p on stand for, of a scale of 1; `type` is a constant here and below. */
VEC_INLINE vec vec_decode(enum zi_dtype type, const struct vec_table *slope,
                          const struct vec_table *base, const unsigned char *p)
{
    vec_int code = vec_load_codes(p);
    vec_int number = type == ZI_SIGNED8 ? code & 127 : code;
    vec_int bits = (vec_int) __builtin_convertvector(number, vec);
    vec_int decade = (bits >> 23) - 127; /* of 0: -127, which is 1 in a table */
    vec fraction = (vec)((bits & 0x7fffff) | 0x3f800000);
    vec value = vec_look_up(slope, decade) * fraction + vec_look_up(base, decade);
    value = (vec)(~(number == 0) & (vec_int)value);
    if (type != ZI_SIGNED8) return value;
    vec_int one = code == 128;
    return (vec)vec_pick(one, (vec_int)vec_set(1.0f), (vec_int)value ^ ((code & 128) << 24));
}

/* Numbers of whole blocks. */
VEC_INLINE void decode_blocks(enum zi_dtype type, const unsigned char *blocks, int64_t count,
                              float *restrict values)
{
    const struct zi_block_map *map = zi_block_map(type);
    const struct vec_table slope = vec_table(map->slope), base = vec_table(map->base);
    for (int64_t first = 0; first < count; first += ZI_BLOCK, blocks += ZI_BLOCK_BYTES) {
        float scale;
        memcpy(&scale, blocks + ZI_BLOCK, sizeof scale);
        for (int64_t i = 0; i < ZI_BLOCK; i += VEC_LANES)
            vec_store(values + first + i,
                      vec_decode(type, &slope, &base, blocks + i) * vec_set(scale));
    }
}

struct vec_encoder {
    struct vec_table cells, shift, last;
    const struct zi_block_map *map;
};

/* Codes of numbers that are to be multiplied with the inverse of their scale. */
VEC_INLINE vec_int vec_encode(enum zi_dtype type, const struct vec_encoder *by, vec value,
                              vec inverse)
{
    vec x = value * inverse;
    vec size = vec_min((vec)((vec_int)x & 0x7fffffff), vec_set(2.0f));
    vec_int decade = vec_decade(by->map->least, size), below = (vec_int)x >> 31;
    vec code = size * vec_look_up(&by->cells, decade) + vec_look_up(&by->shift, decade);
    code = vec_max(vec_min(code, vec_look_up(&by->last, decade)), vec_set((float)by->map->lowest));
    vec_int number = vec_whole(code);
    vec_int one = size >= vec_set(by->map->one);
    if (type == ZI_SIGNED8) {
        one &= ~below;
        number |= below & 128;
    }
    number = vec_pick(one, (vec_int){0} + by->map->one_code, number);
    number &= ~((decade < 0) | (vec_int)(value == 0));
    return number;
}

/* Into whole blocks. */
VEC_INLINE void encode_blocks(enum zi_dtype type, const float *restrict values, int64_t count,
                              unsigned char *blocks)
{
    const struct zi_block_map *map = zi_block_map(type);
    const struct vec_encoder by = {vec_table(map->cells), vec_table(map->shift),
                                   vec_table(map->last), map};
    for (int64_t first = 0; first < count; first += ZI_BLOCK, blocks += ZI_BLOCK_BYTES) {
        vec largest = {0}, smallest = {0};
        for (int64_t i = 0; i < ZI_BLOCK; i += VEC_LANES) {
            vec value = vec_load(values + first + i);
            largest = vec_max(value, largest);
            smallest = vec_min(value, smallest);
        }
        float scale = zi_block_scale(vec_largest(largest), -vec_largest(-smallest));
        vec inverse = vec_set(scale == 0.0f ? 0.0f : 1.0f / scale);
        for (int64_t i = 0; i < ZI_BLOCK; i += VEC_LANES) {
            vec value = scale == 0.0f ? (vec){0} : vec_load(values + first + i);
            vec_store_codes(blocks + i, vec_encode(type, &by, value, inverse));
        }
        memcpy(blocks + ZI_BLOCK, &scale, sizeof scale);
    }
}

#endif
