/* SPDX-License-Identifier: Apache-2.0 */
/* Private to device/cpu: kernels that are no operations of the device, one table of them per
 * instruction set. */
#ifndef ZI_DEVICE_CPU_PASSES_H
#define ZI_DEVICE_CPU_PASSES_H

#include "device/cpu/kernel.h"

/* A panel of a result: c and residual [rows, columns] with leading dimension ld, bias fp32. */
struct cpu_pass {
    /* Of `finish` alone: that of c and residual, bf16 or fp16. */
    enum zi_dtype type;
    int64_t rows, columns, ld;
    /* Of `finish` alone: the products, rows of `columns`. */
    const float *sum;
    /* These two may be NULL. */
    const float *bias;
    const void *residual;
    void *c;
    /* What c holds counts too. */
    bool accumulate;
};

/* fp32 copy, rows of ld_to, of a matrix of shape (rows, columns, leading dimension) */
typedef void cpu_widen(float *to, int64_t ld_to, const uint16_t *from, const int64_t shape[3]);

struct cpu_passes {
    /* By type, bf16 or fp16. */
    cpu_widen *widen[ZI_FP16 + 1];
    /* fp32 c = bias + residual (+ c): the product is then added */
    void (*begin)(const struct cpu_pass *pass);
    /* c = sum + bias + residual (+ c) in pass->type, rounded once */
    void (*finish)(const struct cpu_pass *pass);
    /* memcpy that leaves the caches alone: for what is not used again soon */
    void (*copy)(char *to, const char *from, size_t bytes);
    /* The product of a few rows, a [m,k] and b [n,k], with all that is added to it */
    void (*few)(const struct device_matmul *d);
};

/* Local. In k_few.c: `few` of the table. */
void KERNEL(cpu_few)(const struct device_matmul *d);

/* Local. The table of this instruction set; never freed. */
const struct cpu_passes *KERNEL(cpu_passes_get)(void);

#endif
