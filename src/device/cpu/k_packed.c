/* SPDX-License-Identifier: Apache-2.0 */
/* Frozen weights in 8 or 4 bits (base/packed.h), made to numbers of the compute type: what is read once,
 * and written once. */
#include "device/cpu/kernel.h"

#include <string.h>

#include "base/log.h"
#include "base/packed.h"
#include "device/cpu/vector.h"

/* Blocks that a thread takes at a time. */
#define TAKEN ((int64_t)1024)

typedef int8_t vec_codes __attribute__((vector_size(VEC_LANES)));

static const float numbers[16] = {ZI_NF4_NUMBERS};

/* What codes of 4 bits stand for, of a scale of 1. */
VEC_INLINE vec look_up(vec_int codes)
{
#ifdef VEC_AVX512
    return (vec)_mm512_permutexvar_ps((__m512i)codes, _mm512_loadu_ps(numbers));
#else
    vec v;
    for (int i = 0; i < VEC_LANES; i++)
        v[i] = numbers[codes[i]];
    return v;
#endif
}

VEC_INLINE void unpack_block(enum zi_dtype type, enum zi_dtype packed, const unsigned char *block,
                             void *to, int64_t first)
{
    enum { HALF = ZI_PACK / 2 };
    float scale;
    memcpy(&scale, block + (packed == ZI_PACKED8 ? ZI_PACK : HALF), sizeof scale);
    for (int64_t i = 0; i < (packed == ZI_PACKED8 ? ZI_PACK : HALF); i += VEC_LANES) {
        vec_codes bytes;
        memcpy(&bytes, block + i, sizeof bytes);
        vec_int codes = __builtin_convertvector(bytes, vec_int);
        if (packed == ZI_PACKED8) {
            vec share = __builtin_convertvector(codes, vec) * vec_set(ZI_PACK8_UNIT);
            vec_store_even_part(type, to, first + i, share * vec_set(scale), VEC_LANES);
        } else {
            vec_store_even_part(type, to, first + i, look_up(codes & 15) * vec_set(scale),
                                VEC_LANES);
            vec_store_even_part(type, to, first + HALF + i,
                                look_up(codes >> 4 & 15) * vec_set(scale), VEC_LANES);
        }
    }
}

VEC_INLINE void unpack_as(enum zi_dtype type, enum zi_dtype packed, const unsigned char *from,
                          void *to, int64_t first, int64_t end)
{
    size_t bytes = packed == ZI_PACKED8 ? ZI_PACK8_BYTES : ZI_PACK4_BYTES;
    for (int64_t b = first; b < end; b++)
        unpack_block(type, packed, from + (size_t)b * bytes, to, b * ZI_PACK);
}

static void unpack_some(enum zi_dtype type, enum zi_dtype packed, const unsigned char *from,
                        void *to, int64_t first, int64_t end)
{
    if (packed == ZI_PACKED8)
        KERNEL_BY_TYPE(type, unpack_as, ZI_PACKED8, from, to, first, end);
    else
        KERNEL_BY_TYPE(type, unpack_as, ZI_PACKED4, from, to, first, end);
}

static enum zi_status unpack(struct device_stream *stream, enum zi_dtype type, struct device_ptr to,
                             enum zi_dtype packed, struct device_ptr from, int64_t count)
{
    if (!cpu_type_is_known(type) || !zi_dtype_is_packed(packed) || count % ZI_PACK != 0)
        return zi_fail(ZI_ERROR_DEVICE, "device", "no weights of %s from %lld of %s",
                       zi_dtype_name(type), (long long)count, zi_dtype_name(packed));
    int64_t blocks = count / ZI_PACK, parts = (blocks + TAKEN - 1) / TAKEN;
#pragma omp parallel for num_threads(stream->threads) if (parts > 1 && stream->threads > 1)
    for (int64_t p = 0; p < parts; p++) {
        int64_t first = p * TAKEN, end = first + TAKEN < blocks ? first + TAKEN : blocks;
        unpack_some(type, packed, (const unsigned char *)from.address, (void *)to.address, first,
                    end);
    }
    return ZI_OK;
}

void KERNEL(cpu_packed_register)(struct device_operations *operations)
{
    operations->unpack = unpack;
}
