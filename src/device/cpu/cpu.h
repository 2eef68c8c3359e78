/* SPDX-License-Identifier: Apache-2.0 */
/* Private to device/cpu: the device itself, and what its files share. */
#ifndef ZI_DEVICE_CPU_CPU_H
#define ZI_DEVICE_CPU_CPU_H

#include "device/cpu/kernel.h"
#include "device/cpu/passes.h"

/* Instruction sets that kernels are compiled for, from plain to best. */
enum cpu_isa { CPU_GENERIC, CPU_AVX2, CPU_AVX512, CPU_AVX512BF16, CPU_ISA_COUNT };

struct matmul_cache;

struct cpu_device {
    struct device base;
    const struct cpu_passes *passes;
    enum cpu_isa isa;
    struct matmul_cache *matmuls;
};

/* Work of a cpu stream is done when its call returns, so all an event holds is when that was. */
struct cpu_event {
    struct device_event base;
    double time_s;
};

static inline struct cpu_device *cpu_device_of(struct device *device)
{
    return (struct cpu_device *)device;
}

/* isa.c */
/* Local. The best instruction set that this processor and this build both have. */
enum cpu_isa cpu_isa_best(void);
/* Local. What a deck's device.isa (enum device_isa or ZI_AUTO) means where `best` is the best there
 * is: avx512 includes bf16. ZI_ERROR_DEVICE when it asks for more. */
enum zi_status cpu_isa_choose(int64_t setting, enum cpu_isa best, enum cpu_isa *isa);
const char *cpu_isa_name(enum cpu_isa isa);
/* Local. Enters the kernels of one instruction set into the table. */
void cpu_isa_register(enum cpu_isa isa, struct device_operations *operations);
/* Local. The kernels of one instruction set that are no operations. */
const struct cpu_passes *cpu_isa_passes(enum cpu_isa isa);

/* matmul.c */
enum zi_status cpu_matmul_create(struct cpu_device *device);
void cpu_matmul_destroy(struct cpu_device *device);
enum zi_status cpu_matmul(struct device_stream *stream, const struct device_matmul *desc);

#endif
