/* SPDX-License-Identifier: Apache-2.0 */
/* Declarations in a PTX text: registers and variables, with the values that a module gives them. */
#include "regression/emulator/ptx/reader.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* The latest of a name, as inner scopes come later. *number: which of %r<9>. */
struct ptx_symbol *ptx_symbol_find(struct ptx_reader *reader, const char *name, size_t length,
                                   uint32_t *number)
{
    size_t stem = length;
    uint32_t digits = 0, scale = 1;
    while (stem > 0 && isdigit((unsigned char)name[stem - 1]) && length - stem < 9) {
        digits += scale * (uint32_t)(name[--stem] - '0');
        scale *= 10;
    }
    for (int k = reader->symbol_count - 1; k >= 0; k--) {
        struct ptx_symbol *symbol = &reader->symbols[k];
        bool family = symbol->kind == PTX_REGISTERS;
        if (symbol->length != (family ? stem : length) ||
            memcmp(symbol->name, name, symbol->length) != 0)
            continue;
        if (family && (stem == length || digits >= symbol->count)) continue;
        *number = family ? digits : 0;
        return symbol;
    }
    return NULL;
}

/* .reg has been passed: type, then names, each alone or a family of them. */
bool ptx_declare_registers(struct ptx_reader *reader)
{
    const char *word;
    size_t length = ptx_word(reader, &word);
    if (ptx_type_bytes(word, length) == 0)
        return ptx_refuse(reader, "type \"%.*s\" of a register is not known", (int)length, word);
    do {
        struct ptx_symbol symbol = {.kind = PTX_REGISTER, .count = 1};
        symbol.length = ptx_word(reader, &symbol.name);
        if (ptx_accept(reader, "<")) {
            uint64_t count = 0;
            length = ptx_word(reader, &word);
            if (!ptx_number(word, length, &count) || !ptx_expect(reader, ">"))
                return ptx_refuse(reader, "no number of registers");
            symbol.kind = PTX_REGISTERS;
            symbol.count = (uint32_t)count;
        }
        symbol.value = (uint64_t)reader->kernel->slot_count;
        if (symbol.value + symbol.count > UINT16_MAX)
            return ptx_refuse(reader, "too many registers");
        reader->kernel->slot_count += (int)symbol.count;
        *PTX_APPEND(reader->symbols, reader->symbol_count, reader->symbol_room) = symbol;
    } while (ptx_accept(reader, ","));
    return ptx_expect(reader, ";");
}

/* [4][8]: multiplies the bytes. [] is 0. */
static bool dimensions(struct ptx_reader *reader, struct ptx_symbol *symbol)
{
    const char *word;
    while (ptx_accept(reader, "[")) {
        uint64_t count = 0;
        if (!ptx_accept(reader, "]")) {
            size_t length = ptx_word(reader, &word);
            if (!ptx_number(word, length, &count) || !ptx_expect(reader, "]"))
                return ptx_refuse(reader, "an array without a number");
        }
        if (count > UINT32_MAX / (symbol->bytes + 1))
            return ptx_refuse(reader, "an array too large");
        symbol->bytes *= (uint32_t)count;
    }
    return true;
}

/* The space has been passed: alignment, type, name and dimensions. */
bool ptx_declare_variable(struct ptx_reader *reader, enum ptx_kind kind, struct ptx_symbol *symbol)
{
    const char *word;
    size_t length;
    uint64_t align = 0;
    *symbol = (struct ptx_symbol){.kind = kind};
    while ((length = ptx_word(reader, &word)) > 0 && word[0] == '.') {
        if (ptx_same(word, length, ".align")) {
            length = ptx_word(reader, &word);
            if (!ptx_number(word, length, &align) || align == 0 || align & (align - 1) ||
                align > 256)
                return ptx_refuse(reader, "alignment is no power of two");
            /* That of what a parameter points to comes after the type. */
            if (symbol->count == 0) symbol->align = (uint32_t)align;
        } else if (ptx_type_bytes(word, length) > 0) {
            symbol->count = symbol->bytes = ptx_type_bytes(word, length);
        } else if (!(symbol->count > 0 && kind == PTX_KERNEL_PARAMETER &&
                     (ptx_same(word, length, ".ptr") || ptx_same(word, length, ".global") ||
                      ptx_same(word, length, ".const")))) {
            return ptx_refuse(reader, "\"%.*s\" in a declaration is not known", (int)length, word);
        }
    }
    if (symbol->count == 0 || length == 0)
        return ptx_refuse(reader, "a declaration without a type");
    if (symbol->align == 0) symbol->align = symbol->count;
    symbol->name = word;
    symbol->length = length;
    return dimensions(reader, symbol);
}

/* An element of a list of values: a number, or the address of a variable, generic(name)+4. */
static bool value_of(struct ptx_reader *reader, struct ptx_symbol *symbol, size_t place)
{
    const char *word;
    bool generic = ptx_accept(reader, "generic") && ptx_expect(reader, "(");
    bool minus = ptx_accept(reader, "-");
    size_t length = ptx_word(reader, &word), room = reader->variables[symbol->constant].count;
    uint64_t value = 0, more = 0;
    uint32_t number;
    if (place + symbol->count > room) return ptx_refuse(reader, "more values than the array has");
    if (!ptx_number(word, length, &value)) {
        const struct ptx_symbol *other = ptx_symbol_find(reader, word, length, &number);
        if (!other || other->kind != PTX_MODULE_VARIABLE || symbol->count != 8)
            return ptx_refuse(reader, "value \"%.*s\" is not known", (int)length, word);
        if (generic && !ptx_expect(reader, ")")) return false;
        if (ptx_accept(reader, "+")) {
            length = ptx_word(reader, &word);
            if (!ptx_number(word, length, &more))
                return ptx_refuse(reader, "no number after \"+\"");
        }
        *PTX_APPEND(reader->pointers, reader->pointer_count, reader->pointer_room) =
            (struct ptx_pointer){place, symbol->constant, other->constant, other->value + more};
        return true;
    }
    if (minus) value = 0 - value;
    memcpy(reader->variables[symbol->constant].bytes + place, &value, symbol->count);
    return true;
}

static bool values(struct ptx_reader *reader, struct ptx_symbol *symbol)
{
    size_t place = symbol->value;
    if (!ptx_accept(reader, "{")) return value_of(reader, symbol, place);
    if (ptx_accept(reader, "}")) return true;
    do {
        if (!value_of(reader, symbol, place)) return false;
        place += symbol->count;
    } while (ptx_accept(reader, ","));
    return ptx_expect(reader, "}");
}

/* .global, .const or .shared of a module, which is the next word. */
bool ptx_declare_module(struct ptx_reader *reader)
{
    struct ptx_symbol symbol;
    bool shared = ptx_accept(reader, ".shared"), constant = !shared && ptx_accept(reader, ".const");
    if (!shared && !constant && !ptx_expect(reader, ".global")) return false;
    if (!ptx_declare_variable(reader, shared ? PTX_MODULE_SHARED : PTX_MODULE_VARIABLE, &symbol))
        return false;
    symbol.constant = constant;
    if (shared) {
        if (symbol.bytes == 0) symbol.kind = PTX_DYNAMIC;
    } else {
        size_t *count = &reader->variables[constant].count;
        uint8_t **bytes = &reader->variables[constant].bytes;
        symbol.value = (*count + symbol.align - 1) / symbol.align * symbol.align;
        *bytes = realloc(*bytes, symbol.value + symbol.bytes + 1);
        if (!*bytes) abort();
        memset(*bytes + *count, 0, symbol.value + symbol.bytes - *count);
        *count = symbol.value + symbol.bytes;
        if (ptx_accept(reader, "=") && !values(reader, &symbol)) return false;
    }
    *PTX_APPEND(reader->symbols, reader->symbol_count, reader->symbol_room) = symbol;
    return ptx_expect(reader, ";");
}
