/* SPDX-License-Identifier: Apache-2.0 */
/* Conversion between fp32, bf16 and fp16, and addition. Ranges are cut into blocks that do not depend
 * on the number of threads. */
#include "device/cpu/kernel.h"

#include <string.h>

#include "base/log.h"
#include "device/cpu/vector.h"

#define BLOCK ((int64_t)64 * 1024)

VEC_INLINE void convert_lanes(enum zi_dtype to_type, enum zi_dtype from_type, void *to,
                              const void *from, int64_t count)
{
    for (int64_t i = 0; i < count; i += VEC_LANES)
        vec_store_even_part(to_type, to, i, vec_load_as_part(from_type, from, i, count - i),
                            count - i);
}

VEC_INLINE void convert_to(enum zi_dtype to_type, enum zi_dtype from_type, void *to,
                           const void *from, int64_t count)
{
    if (from_type == ZI_FP16)
        convert_lanes(to_type, ZI_FP16, to, from, count);
    else if (from_type == ZI_BF16)
        convert_lanes(to_type, ZI_BF16, to, from, count);
    else
        convert_lanes(to_type, ZI_FP32, to, from, count);
}

static void convert_block(enum zi_dtype to_type, char *to, enum zi_dtype from_type,
                          const char *from, int64_t count)
{
    if (to_type == from_type)
        memmove(to, from, (size_t)count * zi_dtype_bytes(to_type));
    else
        KERNEL_BY_TYPE(to_type, convert_to, from_type, to, from, count);
}

static enum zi_status convert(struct device_stream *stream, enum zi_dtype to_type,
                              struct device_ptr to, enum zi_dtype from_type, struct device_ptr from,
                              int64_t count)
{
    if (!cpu_type_is_known(to_type) || !cpu_type_is_known(from_type))
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

VEC_INLINE void add_lanes(enum zi_dtype to_type, enum zi_dtype from_type, void *to,
                          const void *from, int64_t count)
{
    for (int64_t i = 0; i < count; i += VEC_LANES) {
        int64_t n = count - i;
        vec sum = vec_load_as_part(to_type, to, i, n) + vec_load_as_part(from_type, from, i, n);
        vec_store_even_part(to_type, to, i, sum, n);
    }
}

VEC_INLINE void add_to(enum zi_dtype to_type, enum zi_dtype from_type, void *to, const void *from,
                       int64_t count)
{
    if (from_type == ZI_FP16)
        add_lanes(to_type, ZI_FP16, to, from, count);
    else if (from_type == ZI_BF16)
        add_lanes(to_type, ZI_BF16, to, from, count);
    else
        add_lanes(to_type, ZI_FP32, to, from, count);
}

static enum zi_status add(struct device_stream *stream, enum zi_dtype to_type, struct device_ptr to,
                          enum zi_dtype from_type, struct device_ptr from, int64_t count)
{
    if (!cpu_type_is_known(to_type) || !cpu_type_is_known(from_type))
        return zi_fail(ZI_ERROR_DEVICE, "device", "no addition of integers");
    int64_t blocks = (count + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads(stream->threads) if (blocks > 1 && stream->threads > 1)
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = b * BLOCK, some = count - first < BLOCK ? count - first : BLOCK;
        void *block = (char *)to.address + (size_t)first * zi_dtype_bytes(to_type);
        const void *more = (const char *)from.address + (size_t)first * zi_dtype_bytes(from_type);
        KERNEL_BY_TYPE(to_type, add_to, from_type, block, more, some);
    }
    return ZI_OK;
}

void KERNEL(cpu_convert_register)(struct device_operations *operations)
{
    operations->convert = convert;
    operations->add = add;
}
