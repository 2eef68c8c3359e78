/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of operations on a CUDA device, emulated or real: the same operands lie on it and on the
 * cpu, both do the same, and the results are compared.
 *
 * Every tensor is an allocation of its own and of its own size, so that the emulation sees any access
 * beyond it. What lies in front of one that starts late, and behind it, must not change either. */
#ifndef ZI_REGRESSION_CUDA_PAIR_H
#define ZI_REGRESSION_CUDA_PAIR_H

#include "regression/unit/cuda_fixture.h"
#include "regression/unit/kernel_fixture.h"

enum {
    ON_CPU,
    ON_CUDA,
    PAIR_DEVICES,
    PAIR_TENSORS = 24,
    PAIR_STAGING = 1 << 20,
    PAIR_BEHIND = 16 /* bytes that a tensor has behind its last element */
};

struct tensor {
    enum zi_dtype type;
    int64_t count;
    /* Of element 0 on either device; elements in front of it. */
    struct device_ptr at[PAIR_DEVICES];
    int64_t shift;
};

struct pair {
    struct device *devices[PAIR_DEVICES];
    struct device_stream *streams[PAIR_DEVICES];
    const struct device_operations *operations[PAIR_DEVICES];
    /* Tiny shapes only. */
    bool emulated;
    /* Elements that tensors made from now on have in front of their first. */
    int64_t shift;
    /* For reports. */
    const char *what;
    enum zi_dtype type;
    /* Pinned, PAIR_STAGING bytes. */
    struct device_ptr staging;
    struct device_ptr owned[PAIR_DEVICES][PAIR_TENSORS];
    int count;
};

/* Calls an operation of both devices; `d` in the arguments is the device. */
#define PAIR_CALL(pair, operation, ...)                                                            \
    for (int d = 0; d < PAIR_DEVICES; d++) {                                                       \
        CHECK((pair)->operations[d]->operation);                                                   \
        if ((pair)->operations[d]->operation)                                                      \
            CHECK_INT((pair)->operations[d]->operation((pair)->streams[d], __VA_ARGS__), ZI_OK);   \
    }

/* Opens both, or ends the program as cuda_fixture_open. The cpu's plainest instruction set widens all
 * numbers to fp32, as the kernels of the device do. */
static inline void pair_open(struct pair *p)
{
    const struct settings_device settings = {.type = DEVICE_CPU, .threads = 1, .isa = ISA_GENERIC};
    *p = (struct pair){.what = "", .devices[ON_CUDA] = cuda_fixture_open(DEVICE_ALONE)};
    const char *name = device_get_properties(p->devices[ON_CUDA])->name;
    p->emulated = strstr(name, "mulat");
    printf("device: %s\n", name);
    if (device_open(&settings, DEVICE_ALONE, &p->devices[ON_CPU]) < 0) exit(1);
    for (int d = 0; d < PAIR_DEVICES; d++) {
        p->operations[d] = device_get_operations(p->devices[d]);
        if (device_stream_create(p->devices[d], 1, &p->streams[d]) < 0) exit(1);
    }
    if (device_allocate(p->devices[ON_CUDA], ZI_TIER_HOST, PAIR_STAGING, "staging", &p->staging) <
        0)
        exit(1);
}

/* Frees all tensors. */
static inline void pair_clear(struct pair *p)
{
    for (int d = 0; d < PAIR_DEVICES; d++) {
        CHECK_INT(device_stream_synchronize(p->streams[d]), ZI_OK);
        for (int i = 0; i < p->count; i++)
            device_free(p->devices[d], ZI_TIER_DEVICE, p->owned[d][i]);
    }
    p->count = 0;
}

/* Frees all tensors and closes both devices. */
static inline void pair_close(struct pair *p)
{
    pair_clear(p);
    device_free(p->devices[ON_CUDA], ZI_TIER_HOST, p->staging);
    for (int d = 0; d < PAIR_DEVICES; d++) {
        device_stream_destroy(p->streams[d]);
        device_close(p->devices[d]);
    }
}

/* Copies bytes between a device and memory of this program, by way of pinned memory. */
static inline void pair_move(struct pair *p, int device, struct device_ptr there, void *here,
                             size_t bytes, bool to_device)
{
    char *staging = (char *)p->staging.address;
    for (size_t done = 0; done < bytes; done += PAIR_STAGING) {
        size_t some = bytes - done < PAIR_STAGING ? bytes - done : PAIR_STAGING;
        struct device_ptr place = device_at(there, done);
        if (to_device) memcpy(staging, (char *)here + done, some);
        CHECK_INT(device_copy(p->streams[device], to_device ? place : p->staging,
                              to_device ? p->staging : place, some),
                  ZI_OK);
        CHECK_INT(device_stream_synchronize(p->streams[device]), ZI_OK);
        if (!to_device) memcpy((char *)here + done, staging, some);
    }
}

/* The bytes in front of a tensor's first element, behind its last, and of all. */
struct pair_sizes {
    size_t front, all;
};

/* Those of a tensor. */
static inline struct pair_sizes pair_sizes(const struct tensor *t)
{
    size_t element = zi_dtype_bytes(t->type), front = (size_t)t->shift * element;
    return (struct pair_sizes){front, front + (size_t)t->count * element + PAIR_BEHIND};
}

/* A tensor with the values of a buffer, which is freed. */
static inline struct tensor tensor_of(struct pair *p, struct buffer values)
{
    struct tensor t = {.type = values.type, .count = values.count, .shift = p->shift};
    struct pair_sizes sizes = pair_sizes(&t);
    unsigned char *bytes = malloc(sizes.all);
    ZI_REQUIRE(bytes && p->count < PAIR_TENSORS);
    memset(bytes, 0x5a, sizes.all);
    memcpy(bytes + sizes.front, values.bytes, sizes.all - sizes.front - PAIR_BEHIND);
    for (int d = 0; d < PAIR_DEVICES; d++) {
        struct device_ptr *place = &p->owned[d][p->count];
        if (device_allocate(p->devices[d], ZI_TIER_DEVICE, sizes.all, "tensor", place) < 0) exit(1);
        pair_move(p, d, *place, bytes, sizes.all, true);
        t.at[d] = device_at(*place, sizes.front);
    }
    p->count++;
    free(bytes);
    buffer_destroy(&values);
    return t;
}

/* Normal deviates times `deviation`, other ones for each tensor that lives. */
static inline struct tensor tensor_random(struct pair *p, enum zi_dtype type, int64_t count,
                                          float deviation)
{
    char name[16];
    snprintf(name, sizeof name, "tensor%d", p->count);
    return tensor_of(p, buffer_random(type, count, name, deviation));
}

/* Zeros. */
static inline struct tensor tensor_zeros(struct pair *p, enum zi_dtype type, int64_t count)
{
    return tensor_of(p, buffer_create(type, count));
}

/* What lies on a device now, freed with buffer_destroy; checks the bytes around it. */
static inline struct buffer tensor_get(struct pair *p, const struct tensor *t, int device)
{
    struct buffer values = buffer_create(t->type, t->count);
    struct pair_sizes sizes = pair_sizes(t);
    unsigned char *bytes = malloc(sizes.all);
    int changed = 0;
    ZI_REQUIRE(bytes);
    pair_move(p, device, (struct device_ptr){t->at[device].address - sizes.front}, bytes, sizes.all,
              false);
    for (size_t i = 0; i < sizes.all; i++)
        changed += (i < sizes.front || i >= sizes.all - PAIR_BEHIND) && bytes[i] != 0x5a;
    if (changed)
        fprintf(stderr, "%s, %s: bytes around a tensor of %lld elements have changed\n", p->what,
                zi_dtype_name(p->type), (long long)t->count);
    CHECK_INT(changed, 0);
    memcpy(values.bytes, bytes + sizes.front, sizes.all - sizes.front - PAIR_BEHIND);
    free(bytes);
    return values;
}

/* Says where two results differ, if there is such a place; counts as a check. */
static inline void pair_report(struct pair *p, const struct buffer found[PAIR_DEVICES], int64_t at)
{
    if (at >= 0)
        fprintf(stderr, "%s, %s: element %lld of %lld is %.9g, and %.9g on the cpu\n", p->what,
                zi_dtype_name(p->type), (long long)at, (long long)found[ON_CPU].count,
                buffer_get(&found[ON_CUDA], at), buffer_get(&found[ON_CPU], at));
    CHECK(at < 0);
}

/* Bit for bit; NaN is the same as any other. */
static inline void tensor_equal(struct pair *p, const struct tensor *t)
{
    struct buffer found[PAIR_DEVICES];
    size_t element = zi_dtype_bytes(t->type);
    int64_t at = -1;
    for (int d = 0; d < PAIR_DEVICES; d++)
        found[d] = tensor_get(p, t, d);
    for (int64_t i = 0; i < t->count && at < 0; i++) {
        const unsigned char *a = found[ON_CPU].bytes + (size_t)i * element;
        const unsigned char *b = found[ON_CUDA].bytes + (size_t)i * element;
        bool number = t->type == ZI_FP32 || zi_dtype_is_half(t->type);
        bool nan =
            number && isnan(buffer_get(&found[ON_CPU], i)) && isnan(buffer_get(&found[ON_CUDA], i));
        if (memcmp(a, b, element) != 0 && !nan) at = i;
    }
    pair_report(p, found, at);
    for (int d = 0; d < PAIR_DEVICES; d++)
        buffer_destroy(&found[d]);
}

/* From a number to the next, relative: 2^-7, 2^-10 or 2^-23. */
static inline double pair_unit(enum zi_dtype type)
{
    return type == ZI_BF16 ? 0x1p-7 : type == ZI_FP16 ? 0x1p-10 : 0x1p-23;
}

/* Both devices compute in fp32 and round to the type at the end, so a result may be the next number
 * of the type, and what went before may differ by `roundings` of fp32 at the size of `scale`: what was
 * added up, or whatever is largest on the way. */
static inline void pair_near(struct pair *p, const struct buffer found[PAIR_DEVICES],
                             double roundings, double scale)
{
    enum zi_dtype type = found[ON_CPU].type;
    double smallest = type == ZI_FP16 ? 0x1p-24 : 0;
    int64_t at = -1;
    for (int64_t i = 0; i < found[ON_CPU].count && at < 0; i++) {
        double expected = buffer_get(&found[ON_CPU], i), value = buffer_get(&found[ON_CUDA], i);
        double limit = pair_unit(type) * fabs(expected) + roundings * 0x1p-24 * scale + smallest;
        if (!(fabs(value - expected) <= limit) && value != expected) at = i;
    }
    pair_report(p, found, at);
}

/* The same of what lies on the devices. */
static inline void tensor_near(struct pair *p, const struct tensor *t, double roundings,
                               double scale)
{
    struct buffer found[PAIR_DEVICES];
    for (int d = 0; d < PAIR_DEVICES; d++)
        found[d] = tensor_get(p, t, d);
    pair_near(p, found, roundings, scale);
    for (int d = 0; d < PAIR_DEVICES; d++)
        buffer_destroy(&found[d]);
}

/* Runs a test with each type of arithmetic; gives what main returns. */
static inline int pair_main(const char *name, void (*test)(struct pair *))
{
    struct pair p;
    pair_open(&p);
    for (int i = 0; i < KERNELS_TYPES; i++) {
        p.type = kernels_types[i];
        test(&p);
        pair_clear(&p);
    }
    pair_close(&p);
    return test_finish(name);
}

#endif
