/* SPDX-License-Identifier: Apache-2.0 */
/* The peak that the cpu device measures: which instructions it is of, that it is not more than
 * these can do, that threads which share cores share it, and that no matrix product passes it,
 * whichever instructions oneDNN is held to. */
#include "base/half.h"
#include "device/cpu/cpu.h"

#include <dnnl.h>

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/timing.h"
#include "regression/unit/test.h"

/* Of a core and cycle at most, for the names that a peak has: two units of FMA, or of
 * multiplication and two of addition, and a tile's product of 2^14 in 16 cycles. */
static const struct {
    const char *name;
    double flops;
} units[] = {
    {"sse", 16},        {"avx", 32},          {"avx2 fma", 32},
    {"avx512 fma", 64}, {"avx512 bf16", 128}, {"amx bf16", 1024},
};

static double flops_of_cycle(const char *name)
{
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(units[i].name, name) == 0) return units[i].flops;
    return 0;
}

/* What oneDNN may use, and so what products of fp32 and of bf16 are made of. */
static void test_units(void)
{
    static const struct {
        int isa;
        enum cpu_unit fp32, bf16;
    } rows[] = {
        {dnnl_cpu_isa_all, CPU_UNIT_PLAIN, CPU_UNIT_PLAIN},
        {dnnl_cpu_isa_sse41, CPU_UNIT_PLAIN, CPU_UNIT_PLAIN},
        {dnnl_cpu_isa_avx, CPU_UNIT_AVX, CPU_UNIT_AVX},
        {dnnl_cpu_isa_avx2, CPU_UNIT_FMA, CPU_UNIT_FMA},
        {dnnl_cpu_isa_avx2_vnni, CPU_UNIT_FMA, CPU_UNIT_FMA},
        {dnnl_cpu_isa_avx512_mic, CPU_UNIT_AVX512, CPU_UNIT_AVX512},
        {dnnl_cpu_isa_avx512_core, CPU_UNIT_AVX512, CPU_UNIT_AVX512},
        {dnnl_cpu_isa_avx512_core_vnni, CPU_UNIT_AVX512, CPU_UNIT_AVX512},
        {dnnl_cpu_isa_avx512_core_bf16, CPU_UNIT_AVX512, CPU_UNIT_AVX512BF16},
        {dnnl_cpu_isa_avx512_core_amx, CPU_UNIT_AVX512, CPU_UNIT_AMX},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CHECK_INT(cpu_peak_unit(rows[i].isa, false), rows[i].fp32);
        CHECK_INT(cpu_peak_unit(rows[i].isa, true), rows[i].bf16);
    }
}

enum { SIDE = 512, ELEMENTS = SIDE * SIDE };

/* Matrices of small numbers of either type. */
static float a[ELEMENTS], b[ELEMENTS], c[ELEMENTS];

static void fill_matrices(enum zi_dtype type)
{
    for (int i = 0; i < ELEMENTS; i++) {
        float value = (float)(i % 7 + 1) / 8;
        a[i] = b[i] = value;
        if (type == ZI_BF16) {
            ((uint16_t *)a)[i] = ((uint16_t *)b)[i] = zi_bf16_round_even(value);
        }
        c[i] = 0;
    }
}

/* FLOP/s of the fastest of some products: forms of a forward pass and of a gradient. */
static double product_rate(struct device_stream *stream, enum zi_dtype type)
{
    const struct device_operations *operations = device_get_operations(stream->device);
    double best = 0;
    for (int i = 0; i < 4; i++) {
        const struct device_matmul matmul = {.type = type,
                                             .type_c = ZI_FP32,
                                             .m = SIDE,
                                             .n = SIDE,
                                             .k = SIDE,
                                             .lda = SIDE,
                                             .ldb = SIDE,
                                             .ldc = SIDE,
                                             .transpose_a = i % 2 == 1,
                                             .transpose_b = i % 2 == 0,
                                             .a = {(uintptr_t)a},
                                             .b = {(uintptr_t)b},
                                             .c = {(uintptr_t)c}};
        double start = zi_time_s();
        CHECK_INT(operations->matmul(stream, &matmul), ZI_OK);
        double rate = 2.0 * SIDE * SIDE * SIDE / (zi_time_s() - start);
        if (rate > best) best = rate;
    }
    return best;
}

/* Peak and products in turns, the best of each, so that what else the machine does meets both. A
 * peak that was disturbed in every turn so far gets more of them; 2 % are for the clock. */
static void check_ceiling(struct device_stream *stream, enum zi_dtype type)
{
    enum { TURNS = 3, TURNS_MOST = 60 };
    double best = 0, product = 0;
    struct device_peak peak = {0, NULL};
    fill_matrices(type);
    for (int turn = 0; turn < TURNS || (turn < TURNS_MOST && product > best); turn++) {
        CHECK_INT(device_measure_peak(stream, type, 0.02, &peak), ZI_OK);
        if (peak.flops_per_s > best) best = peak.flops_per_s;
        double rate = product_rate(stream, type);
        if (rate > product) product = rate;
    }
    printf("%s on %d: products %.1f of %.1f GFLOP/s of %s\n", zi_dtype_name(type), stream->threads,
           product * 1e-9, best * 1e-9, peak.instructions);
    CHECK(product <= 1.02 * best);
    /* A loop that did nothing would be faster than any core; and none that runs this does less. */
    CHECK(best <= 6e9 * flops_of_cycle(peak.instructions) * stream->threads);
    CHECK(best > 1e8);
}

/* In a process of its own, since oneDNN is held to an instruction set before its first product. */
static int ceiling_of(dnnl_cpu_isa_t isa, int device_isa)
{
    const struct settings_device settings = {.type = DEVICE_CPU, .threads = 1, .isa = device_isa};
    struct device *device = NULL;
    CHECK_INT(dnnl_set_max_cpu_isa(isa), dnnl_success);
    CHECK_INT(device_open(&settings, DEVICE_ALONE, &device), ZI_OK);
    for (int threads = 1; device && threads <= 2; threads++) {
        struct device_stream *stream = NULL;
        CHECK_INT(device_stream_create(device, threads, &stream), ZI_OK);
        check_ceiling(stream, ZI_FP32);
        check_ceiling(stream, ZI_BF16);
        device_stream_destroy(stream);
    }
    device_close(device);
    fflush(stdout);
    return test_failures() > 0;
}

static void test_ceiling(void)
{
    static const struct {
        dnnl_cpu_isa_t dnnl;
        int settings;
        /* That the kernels beside the products need. */
        enum cpu_isa least;
    } rows[] = {
        {dnnl_cpu_isa_sse41, ISA_GENERIC, CPU_GENERIC},
        {dnnl_cpu_isa_avx, ISA_GENERIC, CPU_GENERIC},
        {dnnl_cpu_isa_avx2, ISA_AVX2, CPU_AVX2},
        {dnnl_cpu_isa_avx512_core, ISA_AVX512, CPU_AVX512},
        {dnnl_cpu_isa_avx512_core_bf16, ISA_AVX512, CPU_AVX512BF16},
        {dnnl_cpu_isa_all, ISA_GENERIC, CPU_GENERIC},
        {dnnl_cpu_isa_all, (int)ZI_AUTO, CPU_GENERIC},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].least > cpu_isa_best()) continue;
        int status = -1;
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) _exit(ceiling_of(rows[i].dnnl, rows[i].settings));
        CHECK(child > 0 && waitpid(child, &status, 0) == child);
        CHECK_INT(status, 0);
    }
}

/* A device of a rank that shares its node with others, and its best peak of some turns. */
static double peak_of(int node_ranks, double *cores)
{
    const struct settings_device settings = {.type = DEVICE_CPU, .threads = 1, .isa = ZI_AUTO};
    struct device *device = NULL;
    struct device_stream *stream = NULL;
    struct device_peak peak = {0, NULL};
    double best = 0;
    ZI_REQUIRE(device_open(&settings, (struct device_share){node_ranks, 0}, &device) == ZI_OK);
    ZI_REQUIRE(device_stream_create(device, 1, &stream) == ZI_OK);
    for (int turn = 0; turn < 5; turn++) {
        CHECK_INT(device_measure_peak(stream, ZI_FP32, 0.02, &peak), ZI_OK);
        if (peak.flops_per_s > best) best = peak.flops_per_s;
    }
    *cores = cpu_device_of(device)->cores;
    device_stream_destroy(stream);
    device_close(device);
    return best;
}

/* Eight ranks a core have an eighth of its peak each; a factor of two is for the clock. */
static void test_shared_cores(void)
{
    double own, shared;
    int online = (int)sysconf(_SC_NPROCESSORS_ONLN);
    double whole = peak_of(1, &own), part = peak_of(8 * online, &shared);
    CHECK(own >= 1 && own <= online);
    CHECK_NEAR(shared, 0.125, 1e-12);
    CHECK(part > whole / 16 && part < whole / 4);
}

int main(void)
{
    test_units();
    test_ceiling();
    test_shared_cores();
    return test_finish("device_peak_test");
}
