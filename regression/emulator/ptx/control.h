/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the interpreter of PTX: steps that the reader asks for by name. */
#ifndef ZI_REGRESSION_PTX_CONTROL_H
#define ZI_REGRESSION_PTX_CONTROL_H

#include "regression/emulator/ptx/program.h"

/* What setp does with its result and a third operand (instruction->count). */
enum ptx_boolean { PTX_BOOLEAN_NONE, PTX_BOOLEAN_AND, PTX_BOOLEAN_OR, PTX_BOOLEAN_XOR };

/* Branches: always; if o[0] holds; unless it does. */
ptx_step ptx_step_branch, ptx_step_if, ptx_step_unless;
/* o[0] = !o[1]. */
ptx_step ptx_step_not;
/* The bytes of o[PTX_ADDRESS] in pieces of `offset` bytes, `count` of them in o[0..3]; and back. */
ptx_step ptx_step_unpack, ptx_step_pack;
/* The thread's end; a function's: back to where o[0] says. */
ptx_step ptx_step_exit, ptx_step_return;
/* A call: o[0] will say where to go back to. Bytes of parameters: `offset` is the place in local
 * memory, that of the destination in its upper half; `flags` is the number of bytes. */
ptx_step ptx_step_call, ptx_step_copy;

#endif
