/* SPDX-License-Identifier: Apache-2.0 */
/* Which instruction set the kernels use. Kernel files are compiled once per set; here the sets that
 * were compiled meet the one that the processor has, when the device is opened. */
#include "device/cpu/cpu.h"

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "base/log.h"

#ifdef HAVE_ISA_AMX
#include <cpuid.h>
#endif
#include <sys/syscall.h>
#include <unistd.h>

#define REGISTER_ALL(isa)                                                                          \
    do {                                                                                           \
        cpu_convert_register_##isa(operations);                                                    \
        cpu_elementwise_register_##isa(operations);                                                \
        cpu_embedding_register_##isa(operations);                                                  \
        cpu_norm_register_##isa(operations);                                                       \
        cpu_attention_register_##isa(operations);                                                  \
        cpu_cache_register_##isa(operations);                                                      \
        cpu_loss_register_##isa(operations);                                                       \
        cpu_update_register_##isa(operations);                                                     \
        cpu_packed_register_##isa(operations);                                                     \
    } while (0)

const struct cpu_passes *cpu_passes_get_generic(void);
const struct cpu_passes *cpu_passes_get_avx2(void);
const struct cpu_passes *cpu_passes_get_avx512(void);
const struct cpu_passes *cpu_passes_get_avx512bf16(void);
const struct cpu_passes *cpu_passes_get_amx(void);

bool cpu_isa_may_use_tiles(void)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
#if defined __x86_64__ && defined SYS_arch_prctl
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}

#ifdef HAVE_ISA_AMX
/* Tiles and their products of bf16: older compilers have no names for them. */
static bool has_tiles(void)
{
    enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24, NEEDED = AMX_BF16 | AMX_TILE };
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    return (d & NEEDED) == NEEDED && cpu_isa_may_use_tiles();
}
#endif

enum cpu_isa cpu_isa_best(void)
{
    enum cpu_isa best = CPU_GENERIC;
#ifdef HAVE_ISA_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("f16c"))
        best = CPU_AVX2;
#endif
#ifdef HAVE_ISA_AVX512
    bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vl");
    if (v4) best = CPU_AVX512;
#ifdef HAVE_ISA_AVX512BF16
    if (v4 && __builtin_cpu_supports("avx512bf16")) best = CPU_AVX512BF16;
#ifdef HAVE_ISA_AMX
    if (best == CPU_AVX512BF16 && has_tiles()) best = CPU_AMX;
#endif
#endif
#endif
    return best;
}

enum zi_status cpu_isa_choose(int64_t setting, enum cpu_isa best, enum cpu_isa *isa)
{
    enum cpu_isa wanted = setting == ZI_AUTO      ? best
                          : setting == ISA_AMX    ? CPU_AMX
                          : setting == ISA_AVX512 ? CPU_AVX512
                          : setting == ISA_AVX2   ? CPU_AVX2
                                                  : CPU_GENERIC;
    if (wanted > best) {
        return zi_fail(ZI_ERROR_DEVICE, "device",
                       "device.isa: this processor and build have %s at best, not %s; use auto",
                       cpu_isa_name(best), cpu_isa_name(wanted));
    }
    if (wanted == CPU_AVX512 && best > CPU_AVX512) wanted = CPU_AVX512BF16;
    *isa = wanted;
    return ZI_OK;
}

const char *cpu_isa_name(enum cpu_isa isa)
{
    static const char *const names[CPU_ISA_COUNT] = {"generic", "avx2", "avx512",
                                                     "avx512 with bf16", "avx512 with amx"};
    return names[isa];
}

void cpu_isa_register(enum cpu_isa isa, struct device_operations *operations)
{
    switch (isa) {
#ifdef HAVE_ISA_AMX
    case CPU_AMX:
        REGISTER_ALL(amx);
        return;
#endif
#ifdef HAVE_ISA_AVX512BF16
    case CPU_AVX512BF16:
        REGISTER_ALL(avx512bf16);
        return;
#endif
#ifdef HAVE_ISA_AVX512
    case CPU_AVX512:
        REGISTER_ALL(avx512);
        return;
#endif
#ifdef HAVE_ISA_AVX2
    case CPU_AVX2:
        REGISTER_ALL(avx2);
        return;
#endif
    default:
        REGISTER_ALL(generic);
    }
}

const struct cpu_passes *cpu_isa_passes(enum cpu_isa isa)
{
    switch (isa) {
#ifdef HAVE_ISA_AMX
    case CPU_AMX:
        return cpu_passes_get_amx();
#endif
#ifdef HAVE_ISA_AVX512BF16
    case CPU_AVX512BF16:
        return cpu_passes_get_avx512bf16();
#endif
#ifdef HAVE_ISA_AVX512
    case CPU_AVX512:
        return cpu_passes_get_avx512();
#endif
#ifdef HAVE_ISA_AVX2
    case CPU_AVX2:
        return cpu_passes_get_avx2();
#endif
    default:
        return cpu_passes_get_generic();
    }
}
