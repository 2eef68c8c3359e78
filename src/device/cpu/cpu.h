/* SPDX-License-Identifier: Apache-2.0 */
/* Private to device/cpu: the device itself, and what its files share. */
#ifndef ZI_DEVICE_CPU_CPU_H
#define ZI_DEVICE_CPU_CPU_H

#include "device/cpu/kernel.h"
#include "device/cpu/passes.h"

/* Instruction sets that kernels are compiled for, from plain to best. */
enum cpu_isa { CPU_GENERIC, CPU_AVX2, CPU_AVX512, CPU_AVX512BF16, CPU_AMX, CPU_ISA_COUNT };

/* What matrix products are made of, from slow to fast; of plain x86 or, elsewhere, whatever the
 * compiler makes of vectors. oneDNN chooses, so it may be better than enum cpu_isa. */
enum cpu_unit {
    CPU_UNIT_PLAIN,
    CPU_UNIT_AVX,
    CPU_UNIT_FMA,
    CPU_UNIT_AVX512,
    CPU_UNIT_AVX512BF16,
    CPU_UNIT_AMX,
    CPU_UNIT_COUNT
};

struct matmul_cache;

struct cpu_device {
    struct device base;
    const struct cpu_passes *passes;
    enum cpu_isa isa;
    /* bf16 products are made by tiles; otherwise by oneDNN. */
    bool by_tiles;
    /* That the rank has while all ranks of its node compute; may be a fraction. */
    double cores;
    struct matmul_cache *matmuls;
};

/* Work of a cpu stream is done when its call returns, so all an event holds is when that was. */
struct cpu_event {
    struct device_event base;
    double time_s;
};

/* Local. The whole of a device that is known to be a cpu device. */
static inline struct cpu_device *cpu_device_of(struct device *device)
{
    return (struct cpu_device *)device;
}

/* isa.c */
/* Local. The best instruction set that this processor and this build both have. */
enum cpu_isa cpu_isa_best(void);

/* Local. Whether the system lets this process use tiles, which it does when asked, for all threads
 * from then on. Asking again does no harm. */
bool cpu_isa_may_use_tiles(void);

/* Local. What a deck's device.isa (enum device_isa or ZI_AUTO) means where `best` is the best there
 * is: avx512 includes bf16, but not tiles. ZI_ERROR_DEVICE when it asks for more. */
enum zi_status cpu_isa_choose(int64_t setting, enum cpu_isa best, enum cpu_isa *isa);

/* Local. As people read it; never freed. */
const char *cpu_isa_name(enum cpu_isa isa);

/* Local. Enters the kernels of one instruction set into the table. */
void cpu_isa_register(enum cpu_isa isa, struct device_operations *operations);

/* Local. The kernels of one instruction set that are no operations. */
const struct cpu_passes *cpu_isa_passes(enum cpu_isa isa);

/* matmul.c */
/* Local. Makes what the products of a device need, in device->matmuls. */
enum zi_status cpu_matmul_create(struct cpu_device *device);

/* Local. Frees it; nothing where it was not made. */
void cpu_matmul_destroy(struct cpu_device *device);

/* Local. The operation matmul of the device. */
enum zi_status cpu_matmul(struct device_stream *stream, const struct device_matmul *desc);

/* peak.c */
/* Local. The unit of products where oneDNN has the instruction set `isa` (enum dnnl_cpu_isa_t), and
 * of bf16 operands that are not widened first, or of fp32. */
enum cpu_unit cpu_peak_unit(int isa, bool bf16);

/* Local. device_measure_peak of the device. */
enum zi_status cpu_measure_peak(struct device_stream *stream, enum zi_dtype type, double seconds,
                                struct device_peak *peak);

#endif
