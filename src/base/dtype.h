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

enum zi_dtype { ZI_FP32, ZI_BF16, ZI_FP16, ZI_INT32, ZI_INT16 };

/* Bytes of one element. */
static inline size_t zi_dtype_bytes(enum zi_dtype type)
{
    return type == ZI_FP32 || type == ZI_INT32 ? 4 : 2;
}

/* Whether it is a type of arithmetic that takes half of fp32. */
static inline bool zi_dtype_is_half(enum zi_dtype type)
{
    return type == ZI_BF16 || type == ZI_FP16;
}

/* "fp32", "bf16" and so on. */
static inline const char *zi_dtype_name(enum zi_dtype type)
{
    static const char *const names[] = {"fp32", "bf16", "fp16", "int32", "int16"};
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
