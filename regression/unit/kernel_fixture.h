/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of the cpu kernels: every instruction set that processor and build have, every type,
 * 1 to 3 threads; buffers that notice a write past their end; comparison with values in double. */
#ifndef ZI_REGRESSION_KERNEL_FIXTURE_H
#define ZI_REGRESSION_KERNEL_FIXTURE_H

#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/log.h"
#include "base/random.h"
#include "device/cpu/cpu.h"
#include "regression/unit/test.h"

/* One way to run a test. */
struct kernels {
    enum cpu_isa isa;
    enum zi_dtype type;
    struct device_operations operations;
    struct device_stream stream;
    /* Of all outputs so far. */
    uint64_t digest;
};

enum { GUARD_BYTES = 64 };

struct buffer {
    enum zi_dtype type;
    int64_t count;
    unsigned char *bytes;
};

/* Zeros, with a guard behind the last element. */
static inline struct buffer buffer_create(enum zi_dtype type, int64_t count)
{
    size_t size = (size_t)count * zi_dtype_bytes(type);
    size_t whole = (size + GUARD_BYTES + 63) / 64 * 64;
    struct buffer b = {type, count, aligned_alloc(64, whole)};
    ZI_REQUIRE(b.bytes);
    memset(b.bytes, 0, size);
    memset(b.bytes + size, 0xa5, whole - size);
    return b;
}

/* Element i. */
static inline double buffer_get(const struct buffer *b, int64_t i)
{
    if (zi_dtype_is_half(b->type))
        return (double)zi_half_to_fp32(b->type, ((const uint16_t *)b->bytes)[i]);
    return (double)((const float *)b->bytes)[i];
}

/* Sets element i, rounded to the type. */
static inline void buffer_set(const struct buffer *b, int64_t i, double value)
{
    if (zi_dtype_is_half(b->type))
        ((uint16_t *)b->bytes)[i] = zi_half_round_even(b->type, (float)value);
    else
        ((float *)b->bytes)[i] = (float)value;
}

/* Normal deviates times `deviation`, the same in every run; rounded to the type. */
static inline struct buffer buffer_random(enum zi_dtype type, int64_t count, const char *name,
                                          float deviation)
{
    struct buffer b = buffer_create(type, count);
    float *values = malloc((size_t)(count + 1) * sizeof *values);
    ZI_REQUIRE(values);
    zi_random_normal(1, zi_random_stream(name), 0, count, deviation, values);
    for (int64_t i = 0; i < count; i++)
        buffer_set(&b, i, (double)values[i]);
    free(values);
    return b;
}

/* A buffer with the same elements. */
static inline struct buffer buffer_copy(const struct buffer *from)
{
    struct buffer b = buffer_create(from->type, from->count);
    memcpy(b.bytes, from->bytes, (size_t)from->count * zi_dtype_bytes(from->type));
    return b;
}

/* The place of element i. */
static inline struct device_ptr buffer_at(const struct buffer *b, int64_t i)
{
    return (struct device_ptr){(uintptr_t)b->bytes + (size_t)i * zi_dtype_bytes(b->type)};
}

/* Checks the guard and frees. */
static inline void buffer_destroy(struct buffer *b)
{
    size_t size = (size_t)b->count * zi_dtype_bytes(b->type);
    int overwritten = 0;
    for (size_t i = 0; i < GUARD_BYTES; i++)
        overwritten += b->bytes[size + i] != 0xa5;
    CHECK_INT(overwritten, 0);
    free(b->bytes);
    b->bytes = NULL;
}

/* Takes the bytes of an output into the digest of the run (FNV-1a). */
static inline void kernels_digest(struct kernels *k, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        k->digest = (k->digest ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u;
}

/* Compares an output with its reference: |found - expected| <= absolute + relative |expected| for
 * each element; says the worst where one is off. Adds the output to the digest. */
static inline void kernels_compare(struct kernels *k, const char *what, const struct buffer *found,
                                   const double *expected, double relative, double absolute)
{
    double worst = 0.0;
    int64_t at = 0;
    for (int64_t i = 0; i < found->count; i++) {
        double limit = absolute + relative * fabs(expected[i]);
        double share = fabs(buffer_get(found, i) - expected[i]) / limit;
        if (share <= worst) continue; /* NaN goes on */
        worst = share;
        at = i;
        if (isnan(share)) break;
    }
    if (!(worst <= 1.0) && found->count > 0)
        fprintf(stderr, "%s, %s, %s, %d threads: element %lld of %lld is %.9g, not %.9g\n", what,
                cpu_isa_name(k->isa), zi_dtype_name(k->type), k->stream.threads, (long long)at,
                (long long)found->count, buffer_get(found, at), expected[at]);
    CHECK(worst <= 1.0);
    kernels_digest(k, found->bytes, (size_t)found->count * zi_dtype_bytes(found->type));
}

/* The types of arithmetic. */
static const enum zi_dtype kernels_types[] = {ZI_FP32, ZI_BF16, ZI_FP16};
enum { KERNELS_TYPES = 3 };

/* What one rounding to nearest may do, relative: 2^-8 (8 significant bits), 2^-11 or 2^-24. */
static inline double kernels_rounding(enum zi_dtype type)
{
    return type == ZI_BF16 ? 0x1p-8 : type == ZI_FP16 ? 0x1p-11 : 6e-8;
}

/* And absolute: half of the last place of the smallest numbers, which with fp16 are not so small. */
static inline double kernels_smallest(enum zi_dtype type)
{
    return type == ZI_FP16 ? 0x1p-25 : 0;
}

/* Runs `test` with 1, 2, 3 threads and checks that the outputs have the same bits with any number;
 * gives their digest. */
static inline uint64_t kernels_run_threads(void (*test)(struct kernels *), int isa,
                                           enum zi_dtype type)
{
    uint64_t first = 0;
    for (int threads = 1; threads <= 3; threads++) {
        struct kernels k = {.isa = (enum cpu_isa)isa,
                            .type = type,
                            .stream = {.threads = threads},
                            .digest = 0xcbf29ce484222325u};
        cpu_isa_register(k.isa, &k.operations);
        test(&k);
        if (threads == 1) first = k.digest;
        CHECK(k.digest == first);
    }
    return first;
}

/* The same for every instruction set and every type. */
static inline void kernels_run(void (*test)(struct kernels *))
{
    for (int isa = CPU_GENERIC; isa <= (int)cpu_isa_best(); isa++)
        for (int type = 0; type < KERNELS_TYPES; type++)
            kernels_run_threads(test, isa, kernels_types[type]);
}

/* The same, of operations that have the same bits with every instruction set. */
static inline void kernels_run_alike(void (*test)(struct kernels *))
{
    for (int type = 0; type < KERNELS_TYPES; type++) {
        uint64_t first = kernels_run_threads(test, CPU_GENERIC, kernels_types[type]);
        for (int isa = CPU_GENERIC + 1; isa <= (int)cpu_isa_best(); isa++)
            CHECK(kernels_run_threads(test, isa, kernels_types[type]) == first);
    }
}

/* Zeros, freed with free(). */
static inline double *doubles_create(int64_t count)
{
    double *values = calloc((size_t)count + 1, sizeof *values);
    ZI_REQUIRE(values);
    return values;
}

/* All elements of a buffer, freed with free(). */
static inline double *doubles_of(const struct buffer *b)
{
    double *values = doubles_create(b->count);
    for (int64_t i = 0; i < b->count; i++)
        values[i] = buffer_get(b, i);
    return values;
}

#endif
