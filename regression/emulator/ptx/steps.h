/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the interpreter of PTX: how files of instructions write them. */
#ifndef ZI_REGRESSION_PTX_STEPS_H
#define ZI_REGRESSION_PTX_STEPS_H

#include "regression/emulator/ptx/machine.h"

#define PTX_STEP(name)                                                                             \
    static const struct ptx_instruction *name(const struct ptx_instruction *i, union ptx_value *r, \
                                              struct ptx_thread *t)

/* Operands of the instruction at hand: its result and its sources. */
#define D r[i->o[0]]
#define A r[i->o[1]]
#define B r[i->o[2]]
#define C r[i->o[3]]

/* An instruction whose result needs neither the thread nor faults. */
#define PTX_SIMPLE(name, statement)                                                                \
    PTX_STEP(name)                                                                                 \
    {                                                                                              \
        (void)t;                                                                                   \
        statement;                                                                                 \
        return i + 1;                                                                              \
    }

#endif
