/* SPDX-License-Identifier: Apache-2.0 */
/* Private to compiler: what a program is written with (program.c): slots, arrays of the store, and
 * operations with their dependencies. The first error stays in the builder; later calls do nothing.
 */
#ifndef ZI_COMPILER_BUILD_H
#define ZI_COMPILER_BUILD_H

#include "program/program.h"

struct builder;

/* Local. A slot of a tier in memory, with a name for people; gives its number, or -1. */
int builder_slot(struct builder *b, enum zi_tier tier, enum program_purpose purpose, size_t bytes,
                 const char *format, ...) __attribute__((format(printf, 5, 6)));

/* An array of the store: `bytes` in slots of `slice` bytes each. */
struct builder_array {
    const char *kind, *name;
    enum program_purpose purpose;
    enum zi_dtype type;
    size_t bytes, slice;
};

/* Local. Adds an array; gives its first slot, or -1. */
int builder_array(struct builder *b, const struct builder_array *array);

/* Local. Starts a list. */
void builder_begin(struct builder *b, enum program_name name);

/* Local. An operation of a kind, without operands. */
struct program_op builder_op(enum program_kind kind);

/* Local. Gives an operation a slot as an operand, which it reads, writes, or both; -1 is none. */
void op_reads(struct program_op *op, int operand, int slot);
void op_writes(struct program_op *op, int operand, int slot);
void op_changes(struct program_op *op, int operand, int slot);

/* Local. Appends an operation, with lane and cost of its row and what it has to wait for. */
void builder_emit(struct builder *b, const struct program_op *op);

#endif
