/* SPDX-License-Identifier: Apache-2.0 */
/* The peak that shares of a run are stated against: multiply-adds of the instructions that matrix
 * products are made of, on registers alone.
 *
 * Products by tiles are made of tiles. oneDNN takes its instructions by the processor and by
 * ONEDNN_MAX_CPU_ISA, whatever device.isa says of the other kernels, so it is asked which. They differ
 * by more than their width: on a Xeon with AMX, tiles do 16 times the multiply-adds of fp32 vectors,
 * and vectors of bf16 half of them.
 *
 * The loops are assembly, so that they are what is written here under any options of the compiler.
 * Accumulators are as many as hide the latency of the unit beside the two factors; values are not
 * zero and stay finite. */
#include "device/cpu/cpu.h"

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "base/log.h"
#include "base/timing.h"

#include <dnnl.h>

/* How a unit is kept busy. */
struct burn {
    const char *name;
    /* Floating-point operations of a round. */
    double flops;
    /* Rounds of a stretch, some 50 us: on a busy machine few are left alone for longer. */
    int64_t rounds;
    /* Does `rounds` in the calling thread. NULL where the build lacks the instructions. */
    void (*run)(int64_t rounds);
};

#if defined __x86_64__

#define REGISTERS                                                                                  \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",       \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

/* Lines for registers of consecutive numbers. */
#define FIRST_SIX(line)   line(0) line(1) line(2) line(3) line(4) line(5)
#define FIRST_SEVEN(line) FIRST_SIX(line) line(6)
#define NEXT_SEVEN(line)  line(7) line(8) line(9) line(10) line(11) line(12) line(13)
#define ALL_TWELVE(line)  FIRST_SIX(line) line(6) line(7) line(8) line(9) line(10) line(11)

/* One instruction, its factors in registers 14 and 15; tiles: 6 and 7. */
#define XMM_SET(n)      "movaps %%xmm14, %%xmm" #n "\n\t"
#define XMM_MULTIPLY(n) "mulps %%xmm14, %%xmm" #n "\n\t"
#define XMM_ADD(n)      "addps %%xmm15, %%xmm" #n "\n\t"
#define YMM_SET(n)      "vmovaps %%ymm14, %%ymm" #n "\n\t"
#define YMM_MULTIPLY(n) "vmulps %%ymm14, %%ymm" #n ", %%ymm" #n "\n\t"
#define YMM_ADD(n)      "vaddps %%ymm15, %%ymm" #n ", %%ymm" #n "\n\t"
#define YMM_FMA(n)      "vfmadd213ps %%ymm15, %%ymm14, %%ymm" #n "\n\t"
#define ZMM_SET(n)      "vmovaps %%zmm14, %%zmm" #n "\n\t"
#define ZMM_FMA(n)      "vfmadd213ps %%zmm15, %%zmm14, %%zmm" #n "\n\t"
#define ZMM_PAIRS(n)    "vdpbf16ps %%zmm15, %%zmm14, %%zmm" #n "\n\t"
#define TILE_ZERO(n)    "tilezero %%tmm" #n "\n\t"
#define TILE_PRODUCT(n) "tdpbf16ps %%tmm7, %%tmm6, %%tmm" #n "\n\t"

/* Defines a function that repeats the lines of a round; what follows are inputs, from %1 on. */
#define BURN(name, begin, round, end, ...)                                                         \
    static void name(int64_t rounds)                                                               \
    {                                                                                              \
        __asm__ volatile(begin "1:\n\t" round "sub $1, %0\n\tjnz 1b\n\t" end                       \
                         : "+&r"(rounds)                                                           \
                         : __VA_ARGS__                                                             \
                         : "cc", "memory", REGISTERS);                                             \
    }

static const float factor = 1.0f, addend = 1e-3f;
#define FACTORS "m"(factor), "m"(addend)

/* Without FMA a multiply-add is a multiplication and an addition: seven of each, which do not wait
 * for each other. */
BURN(burn_sse,
     "movss %1, %%xmm14\n\tshufps $0, %%xmm14, %%xmm14\n\t"
     "movss %2, %%xmm15\n\tshufps $0, %%xmm15, %%xmm15\n\t" FIRST_SEVEN(XMM_SET)
         NEXT_SEVEN(XMM_SET),
     FIRST_SEVEN(XMM_MULTIPLY) NEXT_SEVEN(XMM_ADD), "", FACTORS)

#define YMM_BEGIN "vbroadcastss %1, %%ymm14\n\tvbroadcastss %2, %%ymm15\n\t"
BURN(burn_avx, YMM_BEGIN FIRST_SEVEN(YMM_SET) NEXT_SEVEN(YMM_SET),
     FIRST_SEVEN(YMM_MULTIPLY) NEXT_SEVEN(YMM_ADD), "vzeroupper", FACTORS)
BURN(burn_avx2, YMM_BEGIN ALL_TWELVE(YMM_SET), ALL_TWELVE(YMM_FMA), "vzeroupper", FACTORS)

#ifdef HAVE_ISA_AVX512
#define ZMM_BEGIN "vbroadcastss %1, %%zmm14\n\tvbroadcastss %2, %%zmm15\n\t" ALL_TWELVE(ZMM_SET)
BURN(burn_avx512, ZMM_BEGIN, ALL_TWELVE(ZMM_FMA), "vzeroupper", FACTORS)
#else
#define burn_avx512 NULL
#endif

#define PAIR 0x3f803f80 /* two ones in bf16 */
#ifdef HAVE_ISA_AVX512BF16
static const uint32_t pair = PAIR;
BURN(burn_avx512bf16, ZMM_BEGIN, ALL_TWELVE(ZMM_PAIRS), "vzeroupper", "m"(pair), "m"(pair))
#else
#define burn_avx512bf16 NULL
#endif

#ifdef HAVE_AMX
/* Shapes of the tiles as ldtilecfg reads them: 16 rows of 64 bytes each. */
static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} shapes = {
    .palette = 1,
    .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {16, 16, 16, 16, 16, 16, 16, 16},
};

/* Products of 16 x 32 and 32 x 16 elements. Every row of the factors is the same row of ones. The
 * tiles are free: oneDNN sets them up for each of its calls. */
static const uint32_t ones[16] = {PAIR, PAIR, PAIR, PAIR, PAIR, PAIR, PAIR, PAIR,
                                  PAIR, PAIR, PAIR, PAIR, PAIR, PAIR, PAIR, PAIR};
BURN(burn_amx,
     "ldtilecfg %1\n\ttileloadd (%2,%3), %%tmm6\n\ttileloadd (%2,%3), %%tmm7\n\t" FIRST_SIX(
         TILE_ZERO),
     FIRST_SIX(TILE_PRODUCT), "tilerelease", "m"(shapes), "r"(ones), "r"((int64_t)0))
#else
#define burn_amx NULL
#endif

static const struct burn burns[CPU_UNIT_COUNT] = {
    [CPU_UNIT_PLAIN] = {"sse", 2 * 7 * 4, 20000, burn_sse},
    [CPU_UNIT_AVX] = {"avx", 2 * 7 * 8, 20000, burn_avx},
    [CPU_UNIT_FMA] = {"avx2 fma", 2 * 12 * 8, 20000, burn_avx2},
    [CPU_UNIT_AVX512] = {"avx512 fma", 2 * 12 * 16, 20000, burn_avx512},
    [CPU_UNIT_AVX512BF16] = {"avx512 bf16", 4 * 12 * 16, 20000, burn_avx512bf16},
    [CPU_UNIT_AMX] = {"amx bf16", 2 * 6 * 16 * 16 * 32, 1000, burn_amx},
};

#else /* another architecture: what the compiler makes of vectors of four */

typedef float four __attribute__((vector_size(16)));

static volatile float sink;

static void burn_plain(int64_t rounds)
{
    four sum[12] = {{0}}, factor = {1, 1, 1, 1}, addend = {1e-3f, 1e-3f, 1e-3f, 1e-3f};
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++)
            sum[i] = sum[i] * factor + addend;
    }
    for (int i = 0; i < 12; i++)
        sink = sum[i][0];
}

static const struct burn burns[CPU_UNIT_COUNT] = {
    [CPU_UNIT_PLAIN] = {"vectors of four", 2 * 12 * 4, 20000, burn_plain}};

#endif

enum cpu_unit cpu_peak_unit(int isa, bool bf16)
{
    /* An instruction set of oneDNN is the bits of all that it includes. */
    static const struct {
        int bits;
        bool bf16;
        enum cpu_unit unit;
    } rows[] = {
        {dnnl_cpu_isa_avx512_core_amx, true, CPU_UNIT_AMX},
        {dnnl_cpu_isa_avx512_core_bf16, true, CPU_UNIT_AVX512BF16},
        {dnnl_cpu_isa_avx512_core, false, CPU_UNIT_AVX512},
        {dnnl_cpu_isa_avx512_mic, false, CPU_UNIT_AVX512},
        {dnnl_cpu_isa_avx2, false, CPU_UNIT_FMA},
        {dnnl_cpu_isa_avx, false, CPU_UNIT_AVX},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if ((isa & rows[i].bits) == rows[i].bits && (bf16 || !rows[i].bf16)) return rows[i].unit;
    }
    return CPU_UNIT_PLAIN;
}

/* The unit of a device's products, or the best below it that this build and system have. */
static const struct burn *choose_burn(const struct cpu_device *device, enum zi_dtype type)
{
    bool bf16 = type == ZI_BF16 && device->base.properties.bf16_native;
    int unit = cpu_peak_unit((int)dnnl_get_effective_cpu_isa(), bf16);
    if (bf16 && device->by_tiles) unit = CPU_UNIT_AMX;
    if (unit == CPU_UNIT_AMX && !cpu_isa_may_use_tiles()) unit = CPU_UNIT_AVX512BF16;
    while (!burns[unit].run)
        unit--;
    return &burns[unit];
}

/* FLOP/s of the calling thread: the fastest of several stretches, since one that was interrupted
 * says nothing of the peak. */
static double burn_for(const struct burn *burn, double seconds)
{
    double start = zi_time_s(), now = start, best = 0;
    while (now - start < seconds) {
        double from = zi_time_s();
        burn->run(burn->rounds);
        now = zi_time_s();
        double rate = now > from ? burn->flops * (double)burn->rounds / (now - from) : 0;
        if (rate > best) best = rate;
    }
    return best;
}

enum zi_status cpu_measure_peak(struct device_stream *stream, enum zi_dtype type, double seconds,
                                struct device_peak *peak)
{
    const struct cpu_device *device = cpu_device_of(stream->device);
    const struct burn *burn = choose_burn(device, type);
    double total = 0;
#pragma omp parallel num_threads(stream->threads) reduction(+ : total)
    total += burn_for(burn, seconds);
    if (total <= 0) return zi_fail(ZI_ERROR_DEVICE, "device", "the peak could not be measured");
    /* Threads that share a core have had it by turns, each a stretch to itself. */
    if (stream->threads > device->cores) total *= device->cores / stream->threads;
    *peak = (struct device_peak){.flops_per_s = total, .instructions = burn->name};
    return ZI_OK;
}
