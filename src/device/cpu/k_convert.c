/* SPDX-License-Identifier: Apache-2.0 */
/* Conversion between fp32 and bf16, and addition. Loops are plain and without aliasing, so that the
 * compiler vectorises them for every instruction set; ranges are cut into blocks that do not depend
 * on the number of threads. */
#include "device/cpu/kernel.h"

#include <string.h>

#include "base/log.h"

#define BLOCK ((int64_t)64 * 1024)

static void widen(float *restrict to, const uint16_t *restrict from, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        to[i] = zi_bf16_to_fp32(from[i]);
    }
}

static void narrow(uint16_t *restrict to, const float *restrict from, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        to[i] = zi_bf16_round_even(from[i]);
    }
}

static bool is_integer(enum zi_dtype type)
{
    return type != ZI_FP32 && type != ZI_BF16;
}

static void convert_block(enum zi_dtype to_type, char *to, enum zi_dtype from_type,
                          const char *from, int64_t count)
{
    if (to_type == from_type)
        memmove(to, from, (size_t)count * zi_dtype_bytes(to_type));
    else if (to_type == ZI_FP32)
        widen((float *)to, (const uint16_t *)from, count);
    else
        narrow((uint16_t *)to, (const float *)from, count);
}

static enum zi_status convert(struct device_stream *stream, enum zi_dtype to_type,
                              struct device_ptr to, enum zi_dtype from_type, struct device_ptr from,
                              int64_t count)
{
    if (is_integer(to_type) || is_integer(from_type))
        return zi_fail(ZI_ERROR_DEVICE, "device", "no conversion of integers");
    int64_t blocks = (count + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads(stream->threads) if (blocks > 1 && stream->threads > 1)
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = b * BLOCK, some = count - first < BLOCK ? count - first : BLOCK;
        convert_block(to_type, (char *)to.address + (size_t)first * zi_dtype_bytes(to_type),
                      from_type,
                      (const char *)from.address + (size_t)first * zi_dtype_bytes(from_type), some);
    }
    return ZI_OK;
}

static void add_fp32(float *restrict to, const float *restrict from, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        to[i] += from[i];
    }
}

static void add_bf16_to_fp32(float *restrict to, const uint16_t *restrict from, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        to[i] += zi_bf16_to_fp32(from[i]);
    }
}

static void add_fp32_to_bf16(uint16_t *restrict to, const float *restrict from, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        to[i] = zi_bf16_round_even(zi_bf16_to_fp32(to[i]) + from[i]);
    }
}

static void add_bf16(uint16_t *restrict to, const uint16_t *restrict from, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        to[i] = zi_bf16_round_even(zi_bf16_to_fp32(to[i]) + zi_bf16_to_fp32(from[i]));
    }
}

static enum zi_status add(struct device_stream *stream, enum zi_dtype to_type, struct device_ptr to,
                          enum zi_dtype from_type, struct device_ptr from, int64_t count)
{
    if (is_integer(to_type) || is_integer(from_type))
        return zi_fail(ZI_ERROR_DEVICE, "device", "no addition of integers");
    int64_t blocks = (count + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads(stream->threads) if (blocks > 1 && stream->threads > 1)
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = b * BLOCK, some = count - first < BLOCK ? count - first : BLOCK;
        if (to_type == ZI_FP32 && from_type == ZI_FP32)
            add_fp32(cpu_fp32(to) + first, cpu_fp32(from) + first, some);
        else if (to_type == ZI_FP32)
            add_bf16_to_fp32(cpu_fp32(to) + first, cpu_bf16(from) + first, some);
        else if (from_type == ZI_FP32)
            add_fp32_to_bf16(cpu_bf16(to) + first, cpu_fp32(from) + first, some);
        else
            add_bf16(cpu_bf16(to) + first, cpu_bf16(from) + first, some);
    }
    return ZI_OK;
}

void KERNEL(cpu_convert_register)(struct device_operations *operations)
{
    operations->convert = convert;
    operations->add = add;
}
