/* SPDX-License-Identifier: Apache-2.0 */
/* An interpreter of PTX, NVIDIA's virtual instruction set (PTX ISA 9.0), as far as nvcc 13 uses it
 * for zinf's kernels. What it does not know, opcode or modifier, is refused when a kernel is loaded,
 * never guessed. The threads of a block run one after the other up to the next place where they
 * wait for each other, in an order that the seed chooses. Thread-safe: kernels may run at the same
 * time. */
#ifndef ZI_REGRESSION_PTX_H
#define ZI_REGRESSION_PTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ptx_module;
struct ptx_kernel;

/* Local. Reads a PTX text (target sm_75 to sm_121), which is not kept. NULL, with what and where in
 * error[0..size), when it cannot be read or uses what is not known here. Never freed. */
struct ptx_module *ptx_load(const char *text, char *error, size_t size);

/* Local. A kernel by its name; NULL when there is none. */
struct ptx_kernel *ptx_find(struct ptx_module *module, const char *name);

/* Local. Parameters of a kernel, and the bytes of each. */
int ptx_parameter_count(const struct ptx_kernel *kernel);
size_t ptx_parameter_bytes(const struct ptx_kernel *kernel, int parameter);

/* Local. The shared memory of a block that the kernel declares, in bytes. */
size_t ptx_shared_bytes(const struct ptx_kernel *kernel);

/* One launch. The functions may be called often; reach is asked for each access to global memory
 * (results may be remembered within a launch), touched once for each range of bytes at the end. */
struct ptx_launch {
    unsigned grid[3], block[3];
    /* Of dynamic shared memory. */
    size_t shared_bytes;
    /* Where each parameter's bytes are. */
    void **parameters;
    uint64_t seed;
    /* Results of approximate instructions are moved by up to the manual's bound. */
    bool approximate;
    /* Where [address, address + bytes) can be touched here; NULL: no live memory of this device.
     * *first and *end get the bounds of the allocation around it. */
    void *(*reach)(void *context, uint64_t address, size_t bytes, uint64_t *first, uint64_t *end);
    void (*touched)(void *context, uint64_t first, uint64_t end, bool writes);
    void *context;
};

/* Local. Runs the kernel. False, with kernel, line of PTX, block and thread in error[0..size), when
 * it does what it must not: an access outside live memory or misaligned; a shared access out of
 * bounds; a race for shared memory between two barriers; blocks that write the same global byte in
 * one launch without atomics; a lane that waits for one that has exited; a barrier that not all
 * threads reach; division by zero of integers. */
bool ptx_run(const struct ptx_kernel *kernel, const struct ptx_launch *launch, char *error,
             size_t size);

/* Local. Instructions run so far, of all kernels. */
uint64_t ptx_instructions(void);

#endif
