/* SPDX-License-Identifier: Apache-2.0 */
/* The cpu device itself: how it is opened and what it refuses, its properties, memory, streams,
 * events, copies and fills of any size and place. */
#include "device/device.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "device/cpu/cpu.h"
#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"

static const struct settings_device defaults = {
    .type = DEVICE_CPU, .threads = ZI_AUTO, .isa = ZI_AUTO};

static struct capture capture;

static struct device *open_device(const struct settings_device *settings, int node_ranks)
{
    struct device *device = NULL;
    if (device_open(settings, (struct device_share){node_ranks, 0}, &device) < 0) exit(1);
    return device;
}

static void test_isa(void)
{
    static const int settings_of[] = {ISA_GENERIC, ISA_AVX2, ISA_AVX512};
    static const enum cpu_isa kernels_of[] = {CPU_GENERIC, CPU_AVX2, CPU_AVX512};
    enum cpu_isa best = cpu_isa_best();
    for (int i = 0; i < 3; i++) {
        struct settings_device settings = defaults;
        struct device *device = NULL;
        settings.isa = settings_of[i];
        if (kernels_of[i] > best) {
            CHECK_INT(device_open(&settings, DEVICE_ALONE, &device), ZI_ERROR_DEVICE);
            CHECK(!device);
            continue;
        }
        enum cpu_isa expected =
            settings.isa == ISA_AVX512 && best > CPU_AVX512 ? CPU_AVX512BF16 : kernels_of[i];
        CHECK_INT(device_open(&settings, DEVICE_ALONE, &device), ZI_OK);
        CHECK_INT(cpu_device_of(device)->isa, expected);
        const struct device_properties *p = device_get_properties(device);
        const char *comma = strrchr(p->name, ',');
        CHECK(comma && strcmp(comma + 2, cpu_isa_name(expected)) == 0);
        CHECK_INT(p->bf16_native, expected >= CPU_AVX512BF16);
        device_close(device);
    }
    struct device *device = open_device(&defaults, 1);
    CHECK_INT(cpu_device_of(device)->isa, best);
    device_close(device);
    device_close(NULL);
}

/* Tiles where kernels are for amx, unless the deck says oneDNN, which the name of the device tells. */
static void test_products(void)
{
    static const int64_t isas[] = {ISA_GENERIC, ZI_AUTO};
    static const int64_t choices[] = {ZI_AUTO, PRODUCTS_ONEDNN, PRODUCTS_TILES};
    for (int i = 0; i < 6; i++) {
        struct settings_device settings = defaults;
        struct device *device = NULL;
        settings.isa = isas[i / 3];
        settings.products = choices[i % 3];
        bool amx = settings.isa == ZI_AUTO && cpu_isa_best() == CPU_AMX;
        capture_begin(&capture, stderr);
        enum zi_status status = device_open(&settings, DEVICE_ALONE, &device);
        const char *text = capture_end(&capture);
        bool refused = settings.products == PRODUCTS_TILES && !amx;
        CHECK_INT(status, refused ? ZI_ERROR_DEVICE : ZI_OK);
        CHECK(!strstr(text, "device.products") == !refused);
        if (refused) continue;
        CHECK_INT(cpu_device_of(device)->by_tiles, amx && settings.products != PRODUCTS_ONEDNN);
        CHECK(!strstr(device_get_properties(device)->name, "oneDNN") ==
              !(amx && settings.products == PRODUCTS_ONEDNN));
        device_close(device);
    }
}

/* What every processor answers to every deck, on whichever processor this runs. */
static void test_isa_choice(void)
{
    enum { NO = -1 };
    static const struct {
        int64_t setting;
        /* By the best that there is. */
        int chosen[CPU_ISA_COUNT];
    } cases[] = {
        {ZI_AUTO, {CPU_GENERIC, CPU_AVX2, CPU_AVX512, CPU_AVX512BF16, CPU_AMX}},
        {ISA_GENERIC, {CPU_GENERIC, CPU_GENERIC, CPU_GENERIC, CPU_GENERIC, CPU_GENERIC}},
        {ISA_AVX2, {NO, CPU_AVX2, CPU_AVX2, CPU_AVX2, CPU_AVX2}},
        {ISA_AVX512, {NO, NO, CPU_AVX512, CPU_AVX512BF16, CPU_AVX512BF16}},
        {ISA_AMX, {NO, NO, NO, NO, CPU_AMX}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int best = 0; best < CPU_ISA_COUNT; best++) {
            int expected = cases[i].chosen[best];
            enum cpu_isa isa = CPU_ISA_COUNT;
            capture_begin(&capture, stderr);
            enum zi_status status = cpu_isa_choose(cases[i].setting, (enum cpu_isa)best, &isa);
            const char *text = capture_end(&capture);
            CHECK_INT(status, expected == NO ? ZI_ERROR_DEVICE : ZI_OK);
            CHECK_INT(isa, expected == NO ? CPU_ISA_COUNT : expected);
            CHECK(!strstr(text, "device.isa") == (expected != NO));
        }
    }
}

static void test_refuse_cuda(void)
{
    struct settings_device settings = defaults;
    struct device *device = NULL;
    settings.type = DEVICE_CUDA;
    capture_begin(&capture, stderr);
    enum zi_status status = device_open(&settings, DEVICE_ALONE, &device);
    const char *text = capture_end(&capture);
    CHECK_INT(status, ZI_ERROR_DEVICE);
    CHECK(!device);
    CHECK(strstr(text, "cuda") && strstr(text, "cpu"));
}

/* What cannot be opened here is described as far as it is known: not how much memory it has. */
static void test_describe(void)
{
    const enum device_isa isas[] = {ISA_GENERIC, ISA_AVX2, ISA_AVX512};
    struct settings_device settings = defaults;
    for (int i = -1; i < 3; i++) {
        struct device_properties described;
        settings.isa = i < 0 ? ZI_AUTO : (int64_t)isas[i];
        settings.threads = i < 0 ? ZI_AUTO : 1;
        capture_begin(&capture, stderr);
        enum zi_status status = device_describe(&settings, (struct device_share){2, 0}, &described);
        capture_end(&capture);
        if (status < 0) continue; /* a processor without it */
        struct device *device = open_device(&settings, 2);
        const struct device_properties *opened = device_get_properties(device);
        CHECK(strcmp(described.name, opened->name) == 0);
        CHECK_INT(described.memory_bytes, opened->memory_bytes);
        CHECK_INT(described.threads, opened->threads);
        CHECK(described.is_host && described.unified && described.mappable);
        CHECK(!described.asynchronous && described.bf16_native == opened->bf16_native);
        device_close(device);
    }
    struct device_properties elsewhere;
    settings.type = DEVICE_CUDA;
    CHECK_INT(device_describe(&settings, (struct device_share){8, 0}, &elsewhere), ZI_OK);
    CHECK_INT(elsewhere.memory_bytes, 0);
    CHECK(!elsewhere.is_host && !elsewhere.unified && !elsewhere.mappable);
    CHECK(elsewhere.asynchronous && strstr(elsewhere.name, "cuda"));
}

static int threads_of(int64_t setting, int node_ranks)
{
    struct settings_device settings = defaults;
    settings.threads = setting;
    struct device *device = open_device(&settings, node_ranks);
    int threads = device_get_properties(device)->threads;
    device_close(device);
    return threads;
}

static void test_threads(void)
{
    cpu_set_t all, one;
    if (sched_getaffinity(0, sizeof all, &all) != 0) exit(1);
    int cores = CPU_COUNT(&all), first = 0;
    CHECK_INT(threads_of(ZI_AUTO, 1), cores);
    CHECK_INT(threads_of(ZI_AUTO, 2), cores > 1 ? cores / 2 : 1);
    CHECK_INT(threads_of(ZI_AUTO, cores), 1);
    CHECK_INT(threads_of(ZI_AUTO, 100 * cores), 1);
    CHECK_INT(threads_of(3, 1), 3);
    CHECK_INT(threads_of(3, 100 * cores), 3); /* what the deck says is not divided */
    /* cores that the launcher took away do not count */
    while (!CPU_ISSET(first, &all))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) return;
    CHECK_INT(threads_of(ZI_AUTO, 1), 1);
    CHECK_INT(sched_setaffinity(0, sizeof all, &all), 0);
}

static void test_properties(void)
{
    struct device *device = open_device(&defaults, 1), *host = NULL;
    const struct device_properties *p = device_get_properties(device);
    CHECK(p->is_host && p->unified && p->mappable && !p->asynchronous);
    CHECK(p->memory_bytes > (size_t)16 << 20);
    CHECK_INT(device_open_host(device, &defaults, DEVICE_ALONE, &host), ZI_OK);
    CHECK(host == device);
    device_close(device);
}

/* The cpu device lacks no operation. */
static void test_operations(void)
{
    struct device *device = open_device(&defaults, 1);
    const struct device_operations *operations = device_get_operations(device);
    void (*functions[sizeof *operations / sizeof(void (*)(void))])(void);
    memcpy(functions, operations, sizeof functions);
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        CHECK(functions[i]);
    device_close(device);
}

static void test_allocate(void)
{
    static const size_t sizes[] = {1, 64, 4097, (2 << 20) - 1, (2 << 20) + 1, 5 << 20};
    struct device *device = open_device(&defaults, 1);
    size_t before[2] = {zi_memory_used(ZI_TIER_DEVICE), zi_memory_used(ZI_TIER_HOST)};
    for (int tier = 0; tier < 2; tier++) {
        enum zi_tier where = tier ? ZI_TIER_HOST : ZI_TIER_DEVICE;
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            struct device_ptr memory = {0};
            CHECK(device_is_null(memory));
            CHECK_INT(device_allocate(device, where, sizes[i], "test", &memory), ZI_OK);
            CHECK(!device_is_null(memory));
            CHECK_INT(memory.address % 64, 0);
            CHECK_INT(zi_memory_used(where), before[tier] + sizes[i]);
            const char *bytes = (const char *)memory.address;
            size_t other = 0;
            for (size_t b = 0; b < sizes[i]; b++)
                other += bytes[b] != 0;
            CHECK_INT(other, 0);
            device_free(device, where, memory);
            CHECK_INT(zi_memory_used(where), before[tier]);
        }
    }
    device_free(device, ZI_TIER_DEVICE, (struct device_ptr){0});
    device_close(device);
}

/* Work is done when a synchronize or a wait has returned, and the calls can be made in any order
 * that a program makes them. */
static void test_events(void)
{
    struct device *device = open_device(&defaults, 1);
    struct device_stream *streams[2] = {NULL, NULL};
    struct device_event *event = NULL;
    static char from[1000], between[1000], to[1000];
    memset(from, 7, sizeof from);
    for (int i = 0; i < 2; i++)
        CHECK_INT(device_stream_create(device, i, &streams[i]), ZI_OK); /* 0 threads mean 1 */
    CHECK_INT(device_event_create(device, &event), ZI_OK);
    CHECK_INT(device_copy(streams[0], (struct device_ptr){(uintptr_t)between},
                          (struct device_ptr){(uintptr_t)from}, sizeof from),
              ZI_OK);
    CHECK_INT(device_event_record(event, streams[0]), ZI_OK);
    CHECK_INT(device_event_wait(streams[1], event), ZI_OK);
    CHECK_INT(device_copy(streams[1], (struct device_ptr){(uintptr_t)to},
                          (struct device_ptr){(uintptr_t)between}, sizeof from),
              ZI_OK);
    CHECK_INT(device_event_record(event, streams[1]), ZI_OK);
    CHECK_INT(device_event_synchronize(event, NULL), ZI_OK);
    CHECK(memcmp(from, to, sizeof from) == 0);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(device_stream_synchronize(streams[i]), ZI_OK);
        device_stream_destroy(streams[i]);
    }
    device_event_destroy(event);
    device_close(device);
}

enum { MARGIN = 300 };

/* Copies to and fills bytes [at, at + size) of `to`, which has a margin behind. */
static void copy_check(struct device_stream *stream, unsigned char *to, const unsigned char *from,
                       size_t at, size_t size)
{
    const struct device_operations *operations = device_get_operations(stream->device);
    struct device_ptr target = {(uintptr_t)(to + at)}, source = {(uintptr_t)from};
    for (int fill = 0; fill < 2; fill++) {
        memset(to, 0xa5, size + MARGIN);
        CHECK_INT(fill ? operations->fill(stream, target, size, 7)
                       : device_copy(stream, target, source, size),
                  ZI_OK);
        CHECK_INT(device_stream_synchronize(stream), ZI_OK);
        long wrong = 0;
        for (size_t i = 0; i < size + MARGIN; i++) {
            bool inside = i >= at && i - at < size;
            wrong += to[i] != (!inside ? 0xa5 : fill ? 7 : from[i - at]);
        }
        CHECK_INT(wrong, 0);
    }
}

/* Copies and fills write what they are asked to and nothing beside it, at places that are aligned
 * to nothing, and by pieces and past the caches where they are large. */
static void test_copy(void)
{
    enum { MIB = 1 << 20, LARGEST = 8 * MIB + 77 };
    static const size_t sizes[] = {0,   1,       63,          64,      4097,   MIB - 1,
                                   MIB, MIB + 1, 3 * MIB + 5, 8 * MIB, LARGEST};
    unsigned char *from = malloc(LARGEST + MARGIN), *to = malloc(LARGEST + MARGIN);
    if (!from || !to) exit(1);
    for (size_t i = 0; i < LARGEST + MARGIN; i++)
        from[i] = (unsigned char)(i * 2654435761u >> 13);
    for (int isa = ISA_GENERIC; isa <= ISA_AVX512; isa++) {
        struct settings_device settings = defaults;
        settings.isa = isa;
        if (isa > (int)cpu_isa_best()) continue; /* both go from plain to best */
        struct device *device = open_device(&settings, 1);
        for (int threads = 1; threads <= 3; threads++) {
            struct device_stream *stream = NULL;
            CHECK_INT(device_stream_create(device, threads, &stream), ZI_OK);
            for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
                copy_check(stream, to, from + i, 13 * i + 1, sizes[i]);
            device_stream_destroy(stream);
        }
        device_close(device);
    }
    free(from);
    free(to);
}

int main(void)
{
    test_isa();
    test_products();
    test_isa_choice();
    test_refuse_cuda();
    test_describe();
    test_threads();
    test_properties();
    test_operations();
    test_allocate();
    test_events();
    test_copy();
    return test_finish("device_memory_test");
}
