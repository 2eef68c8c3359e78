/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the interpreter of PTX: steps of loads, stores and atomics, for the reader to choose. */
#ifndef ZI_REGRESSION_PTX_MEMORY_H
#define ZI_REGRESSION_PTX_MEMORY_H

#include "regression/emulator/ptx/program.h"

/* A load or store of an element: signed or not, its bytes; NULL when there is none. */
ptx_step *ptx_load_step(enum ptx_space space, unsigned bytes, bool sign);
ptx_step *ptx_store_step(enum ptx_space space, unsigned bytes);

/* An atomic: its name ("add.u32"), the bytes of its operand, and its sources. */
struct ptx_atomic {
    const char *name;
    ptx_step *run;
    uint8_t bytes, sources;
};
const struct ptx_atomic *ptx_atomic_find(const char *name);

#endif
