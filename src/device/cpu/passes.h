/* SPDX-License-Identifier: Apache-2.0 */
/* Private to device/cpu: kernels that are no operations of the device, one table of them per
 * instruction set. */
#ifndef ZI_DEVICE_CPU_PASSES_H
#define ZI_DEVICE_CPU_PASSES_H

#include "device/cpu/kernel.h"

/* A panel of a result: c, residual and inner [rows, columns] with leading dimension ld, bias fp32. */
struct cpu_pass {
    /* Of `finish` alone: that of c, residual and inner; with an end, bf16 or fp16. */
    enum zi_dtype type;
    int64_t rows, columns, ld;
    /* Of `finish` alone: the products, rows of leading dimension ld_sum; times scale. */
    const float *sum;
    int64_t ld_sum;
    float scale;
    /* Of `finish` alone, and the place that it needs. */
    enum device_end end;
    void *inner;
    /* These two may be NULL. */
    const float *bias;
    const void *residual;
    void *c;
    /* What c holds counts too. */
    bool accumulate;
    /* Of `finish` alone: c, fp32 with rows that are whole lines, goes past the caches. */
    bool past;
};

/* fp32 copy, rows of ld_to, of a matrix of shape (rows, columns, leading dimension) */
typedef void cpu_widen(float *to, int64_t ld_to, const uint16_t *from, const int64_t shape[3]);

struct cpu_passes {
    /* By type, bf16 or fp16. */
    cpu_widen *widen[ZI_FP16 + 1];
    /* fp32 c = bias + residual (+ c): the product is then added */
    void (*begin)(const struct cpu_pass *pass);
    /* c = scale sum + bias + residual (+ c) in pass->type, rounded once; then the end, of what was
     * rounded, so that bits are those of operations behind each other */
    void (*finish)(const struct cpu_pass *pass);
    /* memcpy that leaves the caches alone: for what is not used again soon */
    void (*copy)(char *to, const char *from, size_t bytes);
    /* The product of a few rows, a [m,k] and b [n,k], with all that is added to it */
    void (*few)(const struct device_matmul *d);
    /* A bf16 product by tiles, with all that is done to it, in the calling thread; `room` has
     * CPU_TILES_BYTES, 64-byte aligned. NULL where the instruction set has no tiles. */
    void (*tiles)(const struct device_matmul *d, void *room);
};

/* Local. In k_few.c: `few` of the table. */
void KERNEL(cpu_few)(const struct device_matmul *d);

/* What a product by tiles has room for: panels of so many rows and columns; numbers of A, those of a
 * group of strips or of as many as are kept, and of B, packed; and sums, between whose rows a gap
 * keeps them apart in the caches. */
enum {
    CPU_TILES_ROWS = 1024,
    CPU_TILES_COLUMNS = 384,
    CPU_TILES_A = 1 << 20,
    CPU_TILES_B = 384 << 10,
    CPU_TILES_LD_SUM = CPU_TILES_COLUMNS + 16,
    CPU_TILES_BYTES = 2 * (CPU_TILES_A + CPU_TILES_B) + 4 * CPU_TILES_ROWS * CPU_TILES_LD_SUM
};

/* Local. In k_tiles.c: `tiles` of the table, in the instruction set amx alone. */
void KERNEL(cpu_tiles)(const struct device_matmul *d, void *room);

/* Local. The table of this instruction set; never freed. */
const struct cpu_passes *KERNEL(cpu_passes_get)(void);

#endif
