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

/* The last two are codes of 8 bits in blocks with a scale (base/blocks.h): of numbers of either sign,
 * and of such as are not negative. */
enum zi_dtype { ZI_FP32, ZI_BF16, ZI_FP16, ZI_INT32, ZI_INT16, ZI_SIGNED8, ZI_UNSIGNED8 };

/* Elements of a block, and its bytes: those of the codes, then an fp32 scale. */
enum { ZI_BLOCK = 256, ZI_BLOCK_BYTES = ZI_BLOCK + 4 };

/* Whether elements have no place of their own, but lie in blocks. */
static inline bool zi_dtype_is_blocks(enum zi_dtype type)
{
    return type == ZI_SIGNED8 || type == ZI_UNSIGNED8;
}

/* Bytes of one element; in blocks, of its code. */
static inline size_t zi_dtype_bytes(enum zi_dtype type)
{
    if (zi_dtype_is_blocks(type)) return 1;
    return type == ZI_FP32 || type == ZI_INT32 ? 4 : 2;
}

/* Bytes of `count` elements; in blocks, of whole ones. */
static inline size_t zi_dtype_size(enum zi_dtype type, int64_t count)
{
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
    static const char *const names[] = {"fp32",  "bf16",         "fp16",          "int32",
                                        "int16", "signed 8-bit", "unsigned 8-bit"};
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
