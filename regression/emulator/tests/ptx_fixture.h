/* SPDX-License-Identifier: Apache-2.0 */
/* Running PTX texts in tests: memory that kernels may touch, and what they have touched. */
#ifndef ZI_REGRESSION_PTX_FIXTURE_H
#define ZI_REGRESSION_PTX_FIXTURE_H

#include <stdlib.h>
#include <string.h>

#include "regression/emulator/ptx/ptx.h"
#include "regression/unit/test.h"

#define PTX_HEAD ".version 9.0\n.target sm_80\n.address_size 64\n"

enum { ROOMS = 8, RANGES = 4096 };

/* Live memory of the tests' device, which starts anew with each test, and the error of the last load
 * or run. */
static struct {
    uint8_t *room[ROOMS];
    size_t bytes[ROOMS];
    int rooms;
    struct {
        uint64_t first, end;
        bool writes;
    } ranges[RANGES];
    int range_count;
    char error[512];
} memory;

static inline void memory_clear(void)
{
    for (int k = 0; k < memory.rooms; k++)
        free(memory.room[k]);
    memory.rooms = 0;
}

/* Zeros. */
static inline void *memory_new(size_t bytes)
{
    memory.room[memory.rooms] = aligned_alloc(256, (bytes + 255) / 256 * 256);
    memset(memory.room[memory.rooms], 0, bytes);
    memory.bytes[memory.rooms] = bytes;
    return memory.room[memory.rooms++];
}

static inline void *memory_reach(void *context, uint64_t address, size_t bytes, uint64_t *first,
                                 uint64_t *end)
{
    (void)context;
    for (int k = 0; k < memory.rooms; k++) {
        *first = (uint64_t)(uintptr_t)memory.room[k];
        *end = *first + memory.bytes[k];
        if (address >= *first && address - *first + bytes <= memory.bytes[k])
            return memory.room[k] + (address - *first);
    }
    return NULL;
}

static inline void memory_touched(void *context, uint64_t first, uint64_t end, bool writes)
{
    (void)context;
    if (memory.range_count == RANGES) return;
    memory.ranges[memory.range_count].first = first;
    memory.ranges[memory.range_count].end = end;
    memory.ranges[memory.range_count++].writes = writes;
}

/* A launch of `blocks` of `threads`, one-dimensional. */
struct shape {
    unsigned blocks, threads;
    size_t shared_bytes;
    uint64_t seed;
    bool approximate;
};

/* The kernel "k" of the text runs. False, with memory.error, when it was refused or failed. */
static inline bool run_text(const char *text, struct shape shape, void **parameters)
{
    memory.error[0] = 0;
    memory.range_count = 0;
    struct ptx_module *module = ptx_load(text, memory.error, sizeof memory.error);
    if (!module) return false;
    const struct ptx_kernel *kernel = ptx_find(module, "k");
    CHECK(kernel);
    struct ptx_launch launch = {.grid = {shape.blocks, 1, 1},
                                .block = {shape.threads, 1, 1},
                                .shared_bytes = shape.shared_bytes,
                                .parameters = parameters,
                                .seed = shape.seed,
                                .approximate = shape.approximate,
                                .reach = memory_reach,
                                .touched = memory_touched};
    return ptx_run(kernel, &launch, memory.error, sizeof memory.error);
}

/* That the last load or run failed, and said so. */
#define CHECK_SAID(words)                                                                          \
    do {                                                                                           \
        test_checks_done++;                                                                        \
        if (!strstr(memory.error, (words))) {                                                      \
            test_checks_failed++;                                                                  \
            fprintf(stderr, "%s:%d: failed: \"%s\" does not say \"%s\"\n", __FILE__, __LINE__,     \
                    memory.error, (words));                                                        \
        }                                                                                          \
    } while (0)

static inline uint64_t random_next(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state ^ *state >> 29;
}

static inline float float_of(uint64_t bits)
{
    uint32_t low = (uint32_t)bits;
    float x;
    memcpy(&x, &low, sizeof x);
    return x;
}

static inline uint64_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline double double_of(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint64_t bits_of_double(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

#endif
