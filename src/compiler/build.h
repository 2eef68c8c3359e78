/* SPDX-License-Identifier: Apache-2.0 */
/* Private to compiler: what a program is written with: slots, arrays of the store, and operations
 * with their dependencies. The first error stays in the builder; later calls do nothing. */
#ifndef ZI_COMPILER_BUILD_H
#define ZI_COMPILER_BUILD_H

#include "program/program.h"

struct builder;

/* The list that is being written. */
struct list_writer {
    struct program_list *list;
    enum program_name name;
    /* Operations are part of a speculative update. */
    bool speculates;
    /* Per slot: its last writer in the list, or -1. */
    int *last_write;
    /* Per slot and lane: its last reader since then, or -1. */
    int (*last_read)[LANE_COUNT];
};

/* Memory that a compilation frees at its end. */
struct builder_block;

/* An array of the store: `bytes` in slots of `slice` bytes each. */
struct builder_array {
    const char *kind, *name;
    enum program_purpose purpose;
    enum zi_dtype type;
    size_t bytes, slice;
};

/* A part of a slot: on rank r from offset + r * per_rank on. */
struct slice {
    int slot;
    size_t offset, bytes, per_rank;
};

/* Local. Zeroed memory for `count` elements, which builder_free frees; or NULL. */
void *builder_memory(struct builder *b, size_t count, size_t size);

/* Local. The same for slots and other numbers, each -1. */
int *builder_numbers(struct builder *b, int count);

/* Local. Frees what a compilation has needed besides its program. */
void builder_free(struct builder *b);

/* Local. A slot of a tier in memory, with a name for people; gives its number, or -1. */
int builder_slot(struct builder *b, enum zi_tier tier, enum program_purpose purpose, size_t bytes,
                 const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Local. Adds an array; gives its first slot, or -1. */
int builder_array(struct builder *b, const struct builder_array *array);

/* Local. Whether a slot (-1: none) is a piece of an array of the store. */
bool slot_is_on_disk(const struct builder *b, int slot);

/* Local. Starts a list. */
void builder_begin(struct builder *b, enum program_name name);

/* Local. Whether the list goes backward. */
bool list_is_training(const struct builder *b);

/* Local. An operation of a kind, without operands. */
struct program_op builder_op(enum program_kind kind);

/* Local. Gives an operation a slot as an operand that it reads; -1 is none. */
void op_reads(struct program_op *op, int operand, int slot);

/* Local. The same, as one that it writes. */
void op_writes(struct program_op *op, int operand, int slot);

/* Local. The same, as one that it reads and writes. */
void op_changes(struct program_op *op, int operand, int slot);

/* Local. Appends an operation, with lane and cost of its row and what it has to wait for. */
void builder_emit(struct builder *b, const struct program_op *op);

/* Local. Appends `op` as a move of a slice to another slot, as far as both have bytes. */
void builder_move(struct builder *b, struct program_op *op, const struct slice *from,
                  const struct slice *to);

/* Local. The same, for an operation that has no more to say than kind and unit (-1: none). */
void emit_move(struct builder *b, enum program_kind kind, int unit, const struct slice *from,
               const struct slice *to);

#endif
