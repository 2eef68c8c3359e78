/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the interpreter of PTX: what a kernel is once it has been read.
 *
 * A thread's frame is an array of 8-byte slots: special registers (%tid.x ...), registers and
 * constants alike, so that every operand of an instruction is the number of a slot. Integers narrower
 * than 64 bits are stored extended to 64. Functions that nvcc did not inline become part of the
 * kernel that calls them, with slots of their own; they cannot call themselves. */
#ifndef ZI_REGRESSION_PTX_PROGRAM_H
#define ZI_REGRESSION_PTX_PROGRAM_H

#include "regression/emulator/ptx/ptx.h"

union ptx_value {
    uint64_t u64;
    int64_t s64;
    uint32_t u32;
    int32_t s32;
    uint16_t u16;
    int16_t s16;
    uint8_t u8;
    int8_t s8;
    float f32;
    double f64;
};

/* Modifiers of arithmetic. LOOSE ones change nothing here. */
enum ptx_flag {
    PTX_RN = 1,
    PTX_RZ = 2,
    PTX_RM = 4,
    PTX_RP = 8,
    PTX_FTZ = 16,
    PTX_SAT = 32,
    PTX_RNI = 64,
    PTX_RZI = 128,
    PTX_RMI = 256,
    PTX_RPI = 512,
    PTX_RELU = 1024,
    PTX_NAN = 2048,
    PTX_APPROX = 4096,
    PTX_FULL = 8192,
    PTX_UNI = 16384
};
enum {
    PTX_ROUNDING = PTX_RN | PTX_RZ | PTX_RM | PTX_RP,
    PTX_INTEGRAL = PTX_RNI | PTX_RZI | PTX_RMI | PTX_RPI,
    PTX_LOOSE = PTX_RN | PTX_APPROX | PTX_FULL | PTX_UNI
};

struct ptx_thread;
struct ptx_instruction;

/* Does an instruction; gives the next one, or NULL when the thread cannot go on: it waits, has
 * exited, or has failed. */
typedef const struct ptx_instruction *ptx_step(const struct ptx_instruction *i, union ptx_value *r,
                                               struct ptx_thread *t);
/* Does an instruction of a warp for the lanes in `mask`, all of which have come to it. False when it
 * failed. */
typedef bool ptx_together(const struct ptx_instruction *i, struct ptx_thread *lanes, uint32_t mask);

enum ptx_space { PTX_GENERIC, PTX_GLOBAL, PTX_SHARED, PTX_LOCAL, PTX_PARAM, PTX_CONST, PTX_SPACES };

enum { PTX_OPERANDS = 6, PTX_ADDRESS = 4 };

struct ptx_instruction {
    ptx_step *run;
    ptx_together *together;
    /* Of branches and calls. */
    const struct ptx_instruction *target;
    /* Added to an address. */
    int64_t offset;
    /* Slots, in the order of the text; of memory instructions, data first and [PTX_ADDRESS] the
     * address. */
    uint16_t o[PTX_OPERANDS];
    uint16_t flags;
    uint8_t space, bytes, count;
    /* Of the text. */
    uint32_t line;
};

/* Special registers, which have the first slots of a frame. */
enum ptx_special {
    PTX_TID,
    PTX_NTID = PTX_TID + 3,
    PTX_CTAID = PTX_NTID + 3,
    PTX_NCTAID = PTX_CTAID + 3,
    PTX_LANEID = PTX_NCTAID + 3,
    PTX_WARPID,
    PTX_NWARPID,
    PTX_LANEMASK_EQ,
    PTX_LANEMASK_LT,
    PTX_LANEMASK_LE,
    PTX_LANEMASK_GT,
    PTX_LANEMASK_GE,
    PTX_DYNAMIC_SMEM_SIZE,
    PTX_TOTAL_SMEM_SIZE,
    /* What is written to "_". */
    PTX_NOWHERE,
    PTX_SPECIALS
};
extern const char *const ptx_special_names[PTX_SPECIALS];

struct ptx_parameter {
    uint32_t offset, bytes;
};

struct ptx_kernel {
    char *name;
    struct ptx_module *module;
    struct ptx_parameter *parameters;
    int parameter_count;
    uint32_t parameter_bytes;
    struct ptx_instruction *code;
    int code_count;
    /* Of a frame, and which of them are constants, with their values. */
    int slot_count;
    uint16_t *constant_slots;
    union ptx_value *constants;
    int constant_count;
    uint32_t shared_bytes, local_bytes;
    /* The narrowest access to shared memory and the narrowest store to global memory, 1, 2 or 4. */
    uint8_t shared_granule, global_granule;
    /* Of a block at most; 0: not said. */
    uint32_t threads_most;
    struct ptx_kernel *next;
};

struct ptx_module {
    struct ptx_kernel *kernels;
    /* Variables of the module: .global ones first, then .const ones, which nobody may write. */
    uint8_t *variables;
    size_t global_bytes, variable_bytes;
    struct ptx_module *next;
};

/* An instruction that the interpreter knows: its name without modifiers of arithmetic. */
struct ptx_form {
    const char *name;
    ptx_step *run;
    /* Instead of run where modifiers call for it; NULL: run looks at them. */
    ptx_step *exact;
    ptx_together *together;
    /* Modifiers that it knows. */
    uint16_t flags;
    /* Operands in the text. */
    uint8_t operands;
    /* The first operand may be two results, %p1|%p2, which have slots 0 and 1. */
    bool pair;
};

/* Each ends with a row without a name. */
extern const struct ptx_form ptx_integer_forms[], ptx_bit_forms[], ptx_float_forms[],
    ptx_half_forms[], ptx_convert_forms[], ptx_compare_forms[], ptx_warp_forms[],
    ptx_control_forms[];

/* Local. The form of an instruction by its name ("add.f32"); NULL when there is none. Thread-safe. */
const struct ptx_form *ptx_form_find(const char *name);

#endif
