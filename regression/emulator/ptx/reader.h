/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the interpreter of PTX: reading a text. All functions are local; after the first error
 * (reader->failed) the others do nothing that matters, so that callers may look at the end. */
#ifndef ZI_REGRESSION_PTX_READER_H
#define ZI_REGRESSION_PTX_READER_H

#include "regression/emulator/ptx/program.h"

enum ptx_kind {
    PTX_REGISTER,
    /* %r<9>: nine registers of a name and a number. */
    PTX_REGISTERS,
    PTX_SHARED_VARIABLE,
    /* The array whose bytes the launch gives. */
    PTX_DYNAMIC,
    PTX_LOCAL_VARIABLE,
    PTX_KERNEL_PARAMETER,
    PTX_MODULE_VARIABLE,
    /* Shared memory that a module declares: a kernel gets it when it names it. */
    PTX_MODULE_SHARED
};

struct ptx_symbol {
    const char *name;
    size_t length;
    enum ptx_kind kind;
    bool constant;
    /* First slot, offset or, of a module's variable, offset among those of its kind. */
    uint64_t value;
    uint32_t count, bytes, align;
};

/* A function that nvcc did not inline: where its text is. */
struct ptx_function {
    const char *name;
    size_t length;
    const char *results, *parameters, *body;
    uint32_t line;
};

/* A function as part of the kernel that is read. */
struct ptx_instance {
    const struct ptx_function *function;
    /* Where it begins, and the slot of where it goes back to. */
    int entry;
    uint16_t link;
    /* Symbols of its results and parameters, in order. */
    struct ptx_symbol *formals;
    int result_count, parameter_count;
};

struct ptx_label {
    const char *name;
    size_t length;
    int instance, index;
};

/* An instruction whose target is a label (name), the entry of a function (name is NULL, instance) or
 * known (index). */
struct ptx_fixup {
    const char *name;
    size_t length;
    int instruction, instance, index;
    uint32_t line;
};

/* Arrays grow by PTX_APPEND. */
struct ptx_reader {
    struct ptx_module *module;
    char *text;
    const char *at;
    uint32_t line;
    /* The instruction at hand, copied from `at`. */
    const char *copy;
    struct ptx_symbol *symbols;
    int symbol_count, symbol_room;
    struct ptx_function *functions;
    int function_count, function_room;
    /* Values of a module's variables of the two kinds, and the places in them that hold addresses. */
    struct {
        uint8_t *bytes;
        size_t count;
    } variables[2];
    struct ptx_pointer {
        size_t place;
        bool constant, to_constant;
        uint64_t value;
    } * pointers;
    int pointer_count, pointer_room;
    /* Of the kernel at hand. */
    struct ptx_kernel *kernel;
    int code_room, constant_room, slot_room, instance_count, instance_room, label_count, label_room,
        fixup_count, fixup_room, instance;
    struct ptx_instance *instances;
    struct ptx_label *labels;
    struct ptx_fixup *fixups;
    int dynamic_slot;
    /* Shared memory of the module that this kernel has named, with its offset. */
    struct ptx_placed {
        const char *name;
        uint64_t offset;
    } * placed;
    int placed_count, placed_room;
    char *error;
    size_t error_size;
    bool failed;
};

/* Makes room for one more and gives its address. */
#define PTX_APPEND(array, count, room)                                                             \
    ((array) = ptx_grow((array), sizeof *(array), (count), &(room)), &(array)[(count)++])
void *ptx_grow(void *array, size_t element, int count, int *room);

/* Notes the first error, with the line. Gives false. */
bool ptx_refuse(struct ptx_reader *reader, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* text.c: the text without comments; the next word (name, directive, or one sign); whether the next
 * word is this one, which is then passed; a number; text up to a sign, passed too. */
void ptx_space(struct ptx_reader *reader);
size_t ptx_word(struct ptx_reader *reader, const char **word);
bool ptx_accept(struct ptx_reader *reader, const char *word);
bool ptx_expect(struct ptx_reader *reader, const char *word);
bool ptx_number(const char *text, size_t length, uint64_t *value);
bool ptx_same(const char *name, size_t length, const char *other);
void ptx_skip_group(struct ptx_reader *reader, char open, char close);
unsigned ptx_type_bytes(const char *type, size_t length);

/* declare.c */
struct ptx_symbol *ptx_symbol_find(struct ptx_reader *reader, const char *name, size_t length,
                                   uint32_t *number);
bool ptx_declare_module(struct ptx_reader *reader);
bool ptx_declare_registers(struct ptx_reader *reader);
bool ptx_declare_variable(struct ptx_reader *reader, enum ptx_kind kind, struct ptx_symbol *symbol);

/* An instruction in pieces. */
enum { PTX_PIECES = 16 };
struct ptx_statement {
    /* "ld", "global", "f32"; and operands between commas, without blanks around. */
    char *parts[PTX_PIECES], *operands[PTX_PIECES];
    int part_count, operand_count;
    /* The mnemonic as it stands. */
    char name[96];
};

/* decode.c: one instruction, [at, end), which the reader has passed. */
bool ptx_decode(struct ptx_reader *reader, char *statement);
uint16_t ptx_constant(struct ptx_reader *reader, uint64_t value);
uint16_t ptx_slot(struct ptx_reader *reader);
struct ptx_instruction *ptx_emit(struct ptx_reader *reader);
void ptx_fixup_add(struct ptx_reader *reader, const struct ptx_fixup *fixup);
bool ptx_operand(struct ptx_reader *reader, char *text, uint16_t *slot);
bool ptx_address(struct ptx_reader *reader, char *text, struct ptx_instruction *out);

/* function.c: a call, with its operands in the text; the functions that a kernel has called. */
bool ptx_decode_call(struct ptx_reader *reader, const struct ptx_statement *statement);

/* kernel.c: the statements of a body, whose { is next. */
bool ptx_read_body(struct ptx_reader *reader);

/* memory_decode.c: loads, stores and atomics; false when the name is none of those. */
bool ptx_decode_memory(struct ptx_reader *reader, const struct ptx_statement *statement);

#endif
