/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of functions that nvcc did not inline. A function has one place in each kernel that calls it,
 * registers, parameters and all, in each thread. */
#include "regression/emulator/ptx/control.h"
#include "regression/emulator/ptx/reader.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Results or parameters of a function, as local memory. */
static bool formals(struct ptx_reader *reader, const char *text, struct ptx_instance *instance,
                    int *count)
{
    int room = instance->result_count + instance->parameter_count;
    if (!text) return true;
    reader->at = text;
    if (ptx_accept(reader, ")")) return true;
    do {
        struct ptx_symbol symbol;
        if (!ptx_expect(reader, ".param") ||
            !ptx_declare_variable(reader, PTX_LOCAL_VARIABLE, &symbol))
            return false;
        uint32_t *bytes = &reader->kernel->local_bytes;
        symbol.value = (*bytes + symbol.align - 1) / symbol.align * symbol.align;
        *bytes = (uint32_t)symbol.value + symbol.bytes;
        int all = instance->result_count + instance->parameter_count;
        *PTX_APPEND(instance->formals, all, room) = symbol;
        (*count)++;
    } while (ptx_accept(reader, ","));
    return ptx_expect(reader, ")");
}

/* The function's place in this kernel, made when it is first called; 0 when there is none. */
static int instance_of(struct ptx_reader *reader, const char *name)
{
    for (int k = 0; k < reader->instance_count; k++)
        if (ptx_same(reader->instances[k].function->name, reader->instances[k].function->length,
                     name))
            return k + 1;
    for (int k = 0; k < reader->function_count; k++) {
        const struct ptx_function *function = &reader->functions[k];
        if (!ptx_same(function->name, function->length, name)) continue;
        struct ptx_instance instance = {.function = function, .link = ptx_slot(reader)};
        const char *at = reader->at;
        uint32_t line = reader->line;
        bool fine = formals(reader, function->results, &instance, &instance.result_count) &&
                    formals(reader, function->parameters, &instance, &instance.parameter_count);
        reader->at = at;
        reader->line = line;
        *PTX_APPEND(reader->instances, reader->instance_count, reader->instance_room) = instance;
        return fine ? reader->instance_count : 0;
    }
    ptx_refuse(reader, "call of %s, which has no body here", name);
    return 0;
}

/* Copies between arguments "(a, b)" of a call and the function's formals. */
static bool copies(struct ptx_reader *reader, char *list, const struct ptx_symbol *formal,
                   int count, bool back)
{
    size_t length = list ? strlen(list) : 0;
    if (length > 0) list[--length] = 0;
    char *item = length > 1 ? list + 1 : NULL;
    for (int k = 0; k < count; k++) {
        char *end = item ? strchr(item, ',') : NULL;
        uint32_t number;
        if (!item) return ptx_refuse(reader, "a call with too few arguments");
        if (end) *end++ = 0;
        while (isspace((unsigned char)*item))
            item++;
        const struct ptx_symbol *actual =
            ptx_symbol_find(reader, item, strcspn(item, " \t\n"), &number);
        if (!actual || actual->kind != PTX_LOCAL_VARIABLE || actual->bytes != formal[k].bytes)
            return ptx_refuse(reader, "argument \"%s\" of a call", item);
        uint64_t from = back ? formal[k].value : actual->value;
        uint64_t to = back ? actual->value : formal[k].value;
        struct ptx_instruction *i = ptx_emit(reader);
        i->run = ptx_step_copy;
        i->offset = (int64_t)(to << 32 | from);
        i->flags = (uint16_t)formal[k].bytes;
        item = end;
    }
    return !item || ptx_refuse(reader, "a call with too many arguments");
}

bool ptx_decode_call(struct ptx_reader *reader, const struct ptx_statement *statement)
{
    char *const *operands = statement->operands;
    int count = statement->operand_count;
    bool uniform = statement->part_count == 2 && strcmp(statement->parts[1], "uni") == 0;
    if (statement->part_count != 1 && !uniform)
        return ptx_refuse(reader, "%s is not known", statement->name);
    char *results = count > 1 && operands[0][0] == '(' ? operands[0] : NULL;
    int name = results ? 1 : 0;
    char *arguments = count > name + 1 ? operands[name + 1] : NULL;
    if (count <= name || count > name + 2 || operands[name][0] == '%')
        return ptx_refuse(reader, "a call by address");
    int place = instance_of(reader, operands[name]);
    if (place == 0) return false;
    const struct ptx_instance *instance = &reader->instances[place - 1];
    const struct ptx_symbol *formal = instance->formals;
    int result_count = instance->result_count;
    if (!copies(reader, arguments, formal + result_count, instance->parameter_count, false))
        return false;
    struct ptx_instruction *i = ptx_emit(reader);
    i->run = ptx_step_call;
    i->o[0] = instance->link;
    ptx_fixup_add(reader, &(struct ptx_fixup){.instruction = reader->kernel->code_count - 1,
                                              .instance = place});
    return copies(reader, results, formal, result_count, true);
}
