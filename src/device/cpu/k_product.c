/* SPDX-License-Identifier: Apache-2.0 */
/* What surrounds a matrix product on the cpu, compiled per instruction set: operands widened to
 * fp32 where the processor does not multiply their type, bias and residual, the rounding of a bf16
 * or fp16 result, GELU; and copies past the caches.
 *
 * The passes work on panels of at most a few MiB, just before or after the product of that panel,
 * so that they find it in the caches. */
#include "device/cpu/passes.h"

#include <string.h>

#include "device/cpu/gelu.h"
#include "device/cpu/vector.h"

VEC_INLINE void widen_row(enum zi_dtype type, float *to, const uint16_t *from, int64_t columns)
{
    int64_t c = 0;
    for (; c + VEC_LANES <= columns; c += VEC_LANES)
        vec_store(to + c, vec_load_half(type, from + c));
    if (c < columns)
        vec_store_part(to + c, vec_load_half_part(type, from + c, columns - c), columns - c);
}

static void widen_bf16(float *to, int64_t ld_to, const uint16_t *from, const int64_t shape[3])
{
    for (int64_t r = 0; r < shape[0]; r++)
        widen_row(ZI_BF16, to + r * ld_to, from + r * shape[2], shape[1]);
}

static void widen_fp16(float *to, int64_t ld_to, const uint16_t *from, const int64_t shape[3])
{
    for (int64_t r = 0; r < shape[0]; r++)
        widen_row(ZI_FP16, to + r * ld_to, from + r * shape[2], shape[1]);
}

VEC_INLINE vec begin_lanes(const struct cpu_pass *p, const float *c, const float *plus, int64_t j,
                           int64_t n)
{
    vec value = vec_set(0.0f);
    if (p->accumulate) value += vec_load_as_part(ZI_FP32, c, j, n);
    if (p->bias) value += vec_load_as_part(ZI_FP32, p->bias, j, n);
    if (plus) value += vec_load_as_part(ZI_FP32, plus, j, n);
    return value;
}

static void begin(const struct cpu_pass *p)
{
    for (int64_t i = 0; i < p->rows; i++) {
        float *c = (float *)p->c + i * p->ld;
        const float *plus = p->residual ? (const float *)p->residual + i * p->ld : NULL;
        int64_t j = 0;
        for (; j + VEC_LANES <= p->columns; j += VEC_LANES)
            vec_store(c + j, begin_lanes(p, c, plus, j, VEC_LANES));
        if (j < p->columns)
            vec_store_part(c + j, begin_lanes(p, c, plus, j, p->columns - j), p->columns - j);
    }
}

/* A vector past the caches, where the instruction set can. */
VEC_INLINE void store_past(float *to, vec value)
{
#ifdef VEC_AVX512
    _mm512_stream_ps(to, value);
#else
    vec_store(to, value);
#endif
}

VEC_INLINE void finish_lanes(enum zi_dtype type, const struct cpu_pass *p, enum device_end end,
                             bool past, const int64_t at[3] /* row, column, n */)
{
    int64_t j = at[1], n = at[2], place = at[0] * p->ld + j;
    vec value = vec_load_as_part(ZI_FP32, p->sum, at[0] * p->ld_sum + j, n) * vec_set(p->scale);
    if (p->bias) value += vec_load_as_part(ZI_FP32, p->bias, j, n);
    if (p->residual) value += vec_load_as_part(type, p->residual, place, n);
    if (p->accumulate) value += vec_load_as_part(type, p->c, place, n);
    void *rounded = end == DEVICE_END_GELU ? p->inner : p->c;
    if (past) {
        store_past((float *)p->c + place, value);
        return;
    }
    vec_store_as_part(type, rounded, place, value, n);
    if (end == DEVICE_END_PLAIN) return;
    value = vec_load_as_part(type, rounded, place, n);
    if (end == DEVICE_END_GELU)
        value = gelu_lanes(value);
    else
        value *= gelu_slope_lanes(vec_load_as_part(type, p->inner, place, n));
    vec_store_as_part(type, p->c, place, value, n);
}

VEC_INLINE void finish_rows(enum zi_dtype type, const struct cpu_pass *p, enum device_end end,
                            bool past)
{
    for (int64_t i = 0; i < p->rows; i++) {
        int64_t j = 0;
        for (; j + VEC_LANES <= p->columns; j += VEC_LANES)
            finish_lanes(type, p, end, past, (int64_t[]){i, j, VEC_LANES});
        if (j < p->columns) finish_lanes(type, p, end, false, (int64_t[]){i, j, p->columns - j});
    }
}

VEC_INLINE void finish_as(enum zi_dtype type, const struct cpu_pass *p)
{
    if (p->end == DEVICE_END_GELU)
        finish_rows(type, p, DEVICE_END_GELU, false);
    else if (p->end == DEVICE_END_GELU_BACKWARD)
        finish_rows(type, p, DEVICE_END_GELU_BACKWARD, false);
    else
        finish_rows(type, p, DEVICE_END_PLAIN, false);
}

static void finish(const struct cpu_pass *p)
{
    if (p->type == ZI_FP16)
        finish_as(ZI_FP16, p);
    else if (p->type == ZI_BF16)
        finish_as(ZI_BF16, p);
    else if (p->past)
        finish_rows(ZI_FP32, p, DEVICE_END_PLAIN, true);
    else
        finish_rows(ZI_FP32, p, DEVICE_END_PLAIN, false);
}

/* Past the caches: a plain store reads the line that it is about to overwrite. */
static void copy(char *restrict to, const char *restrict from, size_t bytes)
{
#if defined(VEC_AVX512) || defined(VEC_AVX2)
    size_t head = (64 - (uintptr_t)to % 64) % 64, i = head < bytes ? head : bytes;
    memcpy(to, from, i);
    for (; i + 64 <= bytes; i += 64) {
#ifdef VEC_AVX512
        _mm512_stream_si512((void *)(to + i), _mm512_loadu_si512(from + i));
#else
        _mm256_stream_si256((void *)(to + i), _mm256_loadu_si256((const void *)(from + i)));
        _mm256_stream_si256((void *)(to + i + 32),
                            _mm256_loadu_si256((const void *)(from + i + 32)));
#endif
    }
    memcpy(to + i, from + i, bytes - i);
    _mm_sfence();
#else
    memcpy(to, from, bytes);
#endif
}

const struct cpu_passes *KERNEL(cpu_passes_get)(void)
{
    static const struct cpu_passes passes = {
        .widen = {[ZI_BF16] = widen_bf16, [ZI_FP16] = widen_fp16},
        .begin = begin,
        .finish = finish,
        .copy = copy,
#if defined(__AMX_TILE__) && defined(__AMX_BF16__)
        .tiles = KERNEL(cpu_tiles),
#endif
        .few = KERNEL(cpu_few)
    };
    return &passes;
}
