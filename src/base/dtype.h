/* SPDX-License-Identifier: Apache-2.0 */
/* Element types, the bits of fp32, and NaN as it is shown. */
#ifndef ZI_BASE_DTYPE_H
#define ZI_BASE_DTYPE_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Before functions that kernels of CUDA devices call too. */
#ifdef __CUDACC__
#define ZI_ANYWHERE __host__ __device__
#else
#define ZI_ANYWHERE
#endif

/* SIGNED8 and UNSIGNED8 are codes of 8 bits in blocks with a scale (base/blocks.h): of numbers of either
 * sign, and of such as are not negative. PACKED8 and PACKED4 are weights in smaller blocks
 * (base/packed.h). */
enum zi_dtype {
    ZI_FP32,
    ZI_BF16,
    ZI_FP16,
    ZI_INT32,
    ZI_INT16,
    ZI_SIGNED8,
    ZI_UNSIGNED8,
    ZI_PACKED8,
    ZI_PACKED4
};

/* Elements of a block, and its bytes: those of the codes, then an fp32 scale. */
enum { ZI_BLOCK = 256, ZI_BLOCK_BYTES = ZI_BLOCK + 4 };

/* The same of weights. */
enum { ZI_PACK = 64, ZI_PACK8_BYTES = ZI_PACK + 4, ZI_PACK4_BYTES = ZI_PACK / 2 + 4 };

/* Whether elements have no place of their own, but lie in blocks. */
static inline bool zi_dtype_is_blocks(enum zi_dtype type)
{
    return type == ZI_SIGNED8 || type == ZI_UNSIGNED8;
}

/* Whether elements are weights in blocks. */
static inline bool zi_dtype_is_packed(enum zi_dtype type)
{
    return type == ZI_PACKED8 || type == ZI_PACKED4;
}

/* Bytes of one element; in blocks, of its code; 1 where that is less than one. */
static inline size_t zi_dtype_bytes(enum zi_dtype type)
{
    if (zi_dtype_is_blocks(type) || zi_dtype_is_packed(type)) return 1;
    return type == ZI_FP32 || type == ZI_INT32 ? 4 : 2;
}

/* Bytes of `count` elements; in blocks, of whole ones. */
static inline size_t zi_dtype_size(enum zi_dtype type, int64_t count)
{
    size_t packs = (size_t)((count + ZI_PACK - 1) / ZI_PACK);
    if (type == ZI_PACKED8) return packs * ZI_PACK8_BYTES;
    if (type == ZI_PACKED4) return packs * ZI_PACK4_BYTES;
    if (!zi_dtype_is_blocks(type)) return (size_t)count * zi_dtype_bytes(type);
    return (size_t)((count + ZI_BLOCK - 1) / ZI_BLOCK) * ZI_BLOCK_BYTES;
}

/* Whether it is a type of arithmetic that takes half of fp32. */
static inline bool zi_dtype_is_half(enum zi_dtype type)
{
    return type == ZI_BF16 || type == ZI_FP16;
}

/* "fp32", "bf16" and so on. */
static inline const char *zi_dtype_name(enum zi_dtype type)
{
    static const char *const names[] = {"fp32",           "bf16",          "fp16",
                                        "int32",          "int16",         "signed 8-bit",
                                        "unsigned 8-bit", "8-bit weights", "nf4"};
    return names[type];
}

/* The number of these bits. */
ZI_ANYWHERE static inline float zi_fp32_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The bits of a number. */
ZI_ANYWHERE static inline uint32_t zi_fp32_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* A number as it is printed: the sign of a NaN means nothing, and "-nan" only puzzles. */
static inline double zi_nan_plain(double value)
{
    return isnan(value) ? (double)NAN : value;
}

#endif
