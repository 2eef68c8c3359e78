/* SPDX-License-Identifier: Apache-2.0 */
/* One instruction of a PTX text: its pieces, its form, its operands. */
#include "regression/emulator/ptx/control.h"
#include "regression/emulator/ptx/reader.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const ptx_special_names[PTX_SPECIALS] = {"%tid.x",
                                                     "%tid.y",
                                                     "%tid.z",
                                                     "%ntid.x",
                                                     "%ntid.y",
                                                     "%ntid.z",
                                                     "%ctaid.x",
                                                     "%ctaid.y",
                                                     "%ctaid.z",
                                                     "%nctaid.x",
                                                     "%nctaid.y",
                                                     "%nctaid.z",
                                                     "%laneid",
                                                     "%warpid",
                                                     "%nwarpid",
                                                     "%lanemask_eq",
                                                     "%lanemask_lt",
                                                     "%lanemask_le",
                                                     "%lanemask_gt",
                                                     "%lanemask_ge",
                                                     "%dynamic_smem_size",
                                                     "%total_smem_size",
                                                     "_"};

uint16_t ptx_slot(struct ptx_reader *reader)
{
    if (reader->kernel->slot_count >= UINT16_MAX) {
        ptx_refuse(reader, "too many registers");
        return 0;
    }
    return (uint16_t)reader->kernel->slot_count++;
}

static uint16_t constant_new(struct ptx_reader *reader, uint64_t value)
{
    struct ptx_kernel *kernel = reader->kernel;
    int count = kernel->constant_count;
    *PTX_APPEND(kernel->constants, count, reader->constant_room) = (union ptx_value){.u64 = value};
    return *PTX_APPEND(kernel->constant_slots, kernel->constant_count, reader->slot_room) =
               ptx_slot(reader);
}

uint16_t ptx_constant(struct ptx_reader *reader, uint64_t value)
{
    const struct ptx_kernel *kernel = reader->kernel;
    for (int k = 0; k < kernel->constant_count; k++)
        if (kernel->constants[k].u64 == value &&
            (int)kernel->constant_slots[k] != reader->dynamic_slot)
            return kernel->constant_slots[k];
    return constant_new(reader, value);
}

struct ptx_instruction *ptx_emit(struct ptx_reader *reader)
{
    struct ptx_kernel *kernel = reader->kernel;
    struct ptx_instruction *i = PTX_APPEND(kernel->code, kernel->code_count, reader->code_room);
    *i = (struct ptx_instruction){.line = reader->line};
    for (int k = 0; k < PTX_OPERANDS; k++)
        i->o[k] = PTX_NOWHERE;
    return i;
}

void ptx_fixup_add(struct ptx_reader *reader, const struct ptx_fixup *fixup)
{
    *PTX_APPEND(reader->fixups, reader->fixup_count, reader->fixup_room) = *fixup;
}

/* The offset of a module's shared variable in this kernel, which gets it when it first names it. */
static uint64_t module_shared(struct ptx_reader *reader, const struct ptx_symbol *symbol)
{
    uint32_t *bytes = &reader->kernel->shared_bytes;
    for (int k = 0; k < reader->placed_count; k++)
        if (reader->placed[k].name == symbol->name) return reader->placed[k].offset;
    uint32_t offset = (*bytes + symbol->align - 1) / symbol->align * symbol->align;
    *bytes = offset + symbol->bytes;
    *PTX_APPEND(reader->placed, reader->placed_count, reader->placed_room) =
        (struct ptx_placed){symbol->name, offset};
    return offset;
}

/* The address or offset of a variable, as a constant. */
static bool variable(struct ptx_reader *reader, struct ptx_symbol *symbol, uint64_t more,
                     uint16_t *slot)
{
    uint64_t value = symbol->value;
    switch (symbol->kind) {
    case PTX_DYNAMIC:
        if (more != 0) return ptx_refuse(reader, "an offset of dynamic shared memory");
        if (reader->dynamic_slot < 0) reader->dynamic_slot = constant_new(reader, 0);
        *slot = (uint16_t)reader->dynamic_slot;
        return true;
    case PTX_MODULE_SHARED:
        value = module_shared(reader, symbol);
        break;
    case PTX_MODULE_VARIABLE:
        value += (uint64_t)(uintptr_t)reader->module->variables +
                 (symbol->constant ? reader->module->global_bytes : 0);
        break;
    default:
        break;
    }
    *slot = ptx_constant(reader, value + more);
    return true;
}

/* A register, constant or variable (with +4 or not): the slot that holds it. */
static bool plain(struct ptx_reader *reader, const char *text, size_t length, uint16_t *slot)
{
    uint64_t value, more = 0;
    uint32_t number;
    for (int k = 0; k < PTX_SPECIALS; k++)
        if (ptx_same(text, length, ptx_special_names[k])) {
            *slot = (uint16_t)k;
            return true;
        }
    if (ptx_number(text, length, &value)) {
        *slot = ptx_constant(reader, value);
        return true;
    }
    const char *plus = memchr(text, '+', length);
    size_t stem = plus ? (size_t)(plus - text) : length;
    if (plus && !ptx_number(plus + 1, length - stem - 1, &more))
        return ptx_refuse(reader, "operand \"%.*s\" is not known", (int)length, text);
    struct ptx_symbol *symbol = ptx_symbol_find(reader, text, stem, &number);
    if (!symbol) return ptx_refuse(reader, "operand \"%.*s\" is not known", (int)length, text);
    if (symbol->kind != PTX_REGISTER && symbol->kind != PTX_REGISTERS)
        return variable(reader, symbol, more, slot);
    *slot = (uint16_t)(symbol->value + number);
    return !plus || ptx_refuse(reader, "\"%.*s\": a sum as an operand", (int)length, text);
}

/* As above; !%p is negated by an instruction before. */
bool ptx_operand(struct ptx_reader *reader, char *text, uint16_t *slot)
{
    if (*text != '!') return plain(reader, text, strlen(text), slot);
    uint16_t from;
    if (!plain(reader, text + 1, strlen(text + 1), &from)) return false;
    struct ptx_instruction *i = ptx_emit(reader);
    i->run = ptx_step_not;
    i->o[1] = from;
    *slot = i->o[0] = ptx_slot(reader);
    return true;
}

/* [%rd1+4], [name+4], [%r1], [16]; a function's parameters are local memory. */
bool ptx_address(struct ptx_reader *reader, char *text, struct ptx_instruction *out)
{
    size_t length = strlen(text);
    uint64_t offset = 0;
    uint32_t number;
    if (length < 3 || text[0] != '[' || text[length - 1] != ']')
        return ptx_refuse(reader, "\"%s\" is no address", text);
    text[length - 1] = 0;
    char *base = text + 1, *plus = strpbrk(base, "+");
    if (plus) {
        *plus++ = 0;
        while (*plus == ' ')
            plus++;
        if (!ptx_number(plus, strlen(plus), &offset))
            return ptx_refuse(reader, "\"%s\" is no offset", plus);
    }
    for (size_t end = strlen(base); end > 0 && base[end - 1] == ' ';)
        base[--end] = 0;
    const struct ptx_symbol *symbol = ptx_symbol_find(reader, base, strlen(base), &number);
    if (out->space == PTX_PARAM && symbol && symbol->kind == PTX_LOCAL_VARIABLE)
        out->space = PTX_LOCAL;
    out->offset = (int64_t)offset;
    return plain(reader, base, strlen(base), &out->o[PTX_ADDRESS]);
}

static char *trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    for (size_t end = strlen(text); end > 0 && isspace((unsigned char)text[end - 1]);)
        text[--end] = 0;
    return text;
}

/* Cuts a mnemonic at its dots and operands at their commas. */
static bool cut(struct ptx_reader *reader, char *text, struct ptx_statement *out)
{
    size_t length = strcspn(text, " \t\n");
    bool more = text[length] != 0;
    text[length] = 0;
    snprintf(out->name, sizeof out->name, "%s", text);
    for (char *part = text; part;) {
        char *dot = strchr(part, '.');
        if (dot) *dot = 0;
        if (out->part_count == PTX_PIECES) return ptx_refuse(reader, "%s: too long", out->name);
        out->parts[out->part_count++] = part;
        part = dot ? dot + 1 : NULL;
    }
    if (!more) return true;
    int depth = 0;
    char *start = text + length + 1;
    for (char *p = start;; p++) {
        depth += *p == '{' || *p == '[' || *p == '(';
        depth -= *p == '}' || *p == ']' || *p == ')';
        if (*p && (*p != ',' || depth > 0)) continue;
        bool last = !*p;
        *p = 0;
        if (out->operand_count == PTX_PIECES) return ptx_refuse(reader, "%s: operands", out->name);
        start = trim(start);
        if (*start || !last || out->operand_count > 0) out->operands[out->operand_count++] = start;
        if (last) return true;
        start = p + 1;
    }
}

static uint16_t flag_of(const char *part)
{
    static const struct {
        const char *name;
        uint16_t flag;
    } flags[] = {{"rn", PTX_RN},         {"rz", PTX_RZ},     {"rm", PTX_RM},     {"rp", PTX_RP},
                 {"ftz", PTX_FTZ},       {"sat", PTX_SAT},   {"rni", PTX_RNI},   {"rzi", PTX_RZI},
                 {"rmi", PTX_RMI},       {"rpi", PTX_RPI},   {"relu", PTX_RELU}, {"NaN", PTX_NAN},
                 {"approx", PTX_APPROX}, {"full", PTX_FULL}, {"uni", PTX_UNI}};
    for (size_t k = 0; k < sizeof flags / sizeof *flags; k++)
        if (strcmp(part, flags[k].name) == 0) return flags[k].flag;
    return 0;
}

/* mov.b64 {%r1, %r2}, %rd1 and the other way. */
static bool decode_pieces(struct ptx_reader *reader, const struct ptx_statement *statement)
{
    bool unpacks = statement->operands[0][0] == '{';
    char *list = statement->operands[!unpacks], *other = statement->operands[unpacks];
    uint16_t slots[4];
    uint8_t count = 0;
    size_t length = strlen(list);
    unsigned bytes = statement->part_count == 2 && strlen(statement->parts[1]) == 3
                         ? (unsigned)atoi(statement->parts[1] + 1) / 8
                         : 0;
    if (list[0] != '{' || list[length - 1] != '}') return ptx_refuse(reader, "\"%s\"", list);
    list[length - 1] = 0;
    for (char *item = list + 1, *comma; item; item = comma) {
        comma = strchr(item, ',');
        if (comma) *comma++ = 0;
        if (count == 4 || !ptx_operand(reader, trim(item), &slots[count++]))
            return ptx_refuse(reader, "%s: too many pieces", statement->name);
    }
    if (!((bytes == 4 && count == 2) || (bytes == 8 && (count == 2 || count == 4))))
        return ptx_refuse(reader, "%s is not known with %d pieces", statement->name, count);
    uint16_t whole;
    if (!ptx_operand(reader, other, &whole)) return false;
    struct ptx_instruction *i = ptx_emit(reader);
    i->run = unpacks ? ptx_step_unpack : ptx_step_pack;
    for (int k = 0; k < count; k++)
        i->o[k] = slots[k];
    i->o[PTX_ADDRESS] = whole;
    i->count = count;
    i->offset = (int64_t)(bytes / count);
    return true;
}

/* Takes modifiers of arithmetic, and the boolean operation of setp, out of the name. */
static uint16_t normalise(const struct ptx_statement *statement, char name[96], uint8_t *boolean)
{
    uint16_t flags = 0;
    int written = snprintf(name, 96, "%s", statement->parts[0]);
    bool setp = strcmp(statement->parts[0], "setp") == 0 || strcmp(statement->parts[0], "set") == 0;
    *boolean = PTX_BOOLEAN_NONE;
    for (int k = 1; k < statement->part_count; k++) {
        const char *part = statement->parts[k];
        uint16_t flag = flag_of(part);
        uint8_t operation = strcmp(part, "and") == 0   ? PTX_BOOLEAN_AND
                            : strcmp(part, "or") == 0  ? PTX_BOOLEAN_OR
                            : strcmp(part, "xor") == 0 ? PTX_BOOLEAN_XOR
                                                       : PTX_BOOLEAN_NONE;
        if (flag != 0 && !(flags & flag))
            flags |= flag;
        else if (setp && k == 2 && operation != PTX_BOOLEAN_NONE)
            *boolean = operation;
        else
            written += snprintf(name + written, 96 - (size_t)written, ".%s", part);
        if (written >= 96) written = 95;
    }
    return flags;
}

/* Instructions of ptx_form tables. */
static bool decode_form(struct ptx_reader *reader, struct ptx_statement *statement)
{
    char name[96];
    uint8_t boolean;
    uint16_t flags = normalise(statement, name, &boolean), slots[PTX_OPERANDS];
    const struct ptx_form *form = ptx_form_find(name);
    if (!form) return ptx_refuse(reader, "%s is not known", statement->name);
    if (flags & ~form->flags || (flags & PTX_ROUNDING & ((flags & PTX_ROUNDING) - 1)))
        return ptx_refuse(reader, "a modifier of %s is not known", statement->name);
    int wanted = form->operands + (boolean != PTX_BOOLEAN_NONE), slot = 0;
    if (statement->operand_count != wanted)
        return ptx_refuse(reader, "%s has %d operands, not %d", statement->name, wanted,
                          statement->operand_count);
    for (int k = 0; k < wanted; k++) {
        char *text = statement->operands[k], *bar = k == 0 && form->pair ? strchr(text, '|') : NULL;
        if (bar) *bar = 0;
        bool typed = tolower((unsigned char)text[1]) == 'f' && text[0] == '0';
        if (typed && strstr(name, "f64"))
            return ptx_refuse(reader, "%s: %s", statement->name, text);
        if (!ptx_operand(reader, trim(text), &slots[slot++])) return false;
        if (k > 0 || !form->pair) continue;
        slots[slot] = PTX_NOWHERE;
        if (bar && !ptx_operand(reader, trim(bar + 1), &slots[slot])) return false;
        slot++;
    }
    struct ptx_instruction *i = ptx_emit(reader);
    memcpy(i->o, slots, sizeof *slots * (size_t)slot);
    i->flags = flags;
    i->count = boolean;
    i->together = form->together;
    i->run =
        form->exact && (flags & ~PTX_LOOSE || boolean || (form->pair && i->o[1] != PTX_NOWHERE))
            ? form->exact
            : form->run;
    return true;
}

static bool decode_branch(struct ptx_reader *reader, const struct ptx_statement *statement,
                          uint16_t guard, bool negated)
{
    bool uniform = statement->part_count == 2 && strcmp(statement->parts[1], "uni") == 0;
    if ((statement->part_count != 1 && !uniform) || statement->operand_count != 1)
        return ptx_refuse(reader, "%s is not known", statement->name);
    const char *label = statement->operands[0];
    struct ptx_instruction *i = ptx_emit(reader);
    i->run = guard == PTX_NOWHERE ? ptx_step_branch : negated ? ptx_step_unless : ptx_step_if;
    i->o[0] = guard;
    ptx_fixup_add(reader, &(struct ptx_fixup){reader->at + (label - reader->copy), strlen(label),
                                              reader->kernel->code_count - 1, reader->instance, 0,
                                              reader->line});
    return true;
}

static bool decode_guarded(struct ptx_reader *reader, struct ptx_statement *statement)
{
    const char *name = statement->parts[0];
    if (strcmp(name, "call") == 0) return ptx_decode_call(reader, statement);
    if (strcmp(name, "ret") == 0 && statement->part_count == 1) {
        struct ptx_instruction *i = ptx_emit(reader);
        i->run = reader->instance > 0 ? ptx_step_return : ptx_step_exit;
        if (reader->instance > 0) i->o[0] = reader->instances[reader->instance - 1].link;
        return true;
    }
    if (strcmp(name, "ld") == 0 || strcmp(name, "ldu") == 0 || strcmp(name, "st") == 0 ||
        strcmp(name, "atom") == 0 || strcmp(name, "red") == 0)
        return ptx_decode_memory(reader, statement);
    if (strcmp(name, "mov") == 0 && statement->operand_count == 2 &&
        (statement->operands[0][0] == '{' || statement->operands[1][0] == '{'))
        return decode_pieces(reader, statement);
    return decode_form(reader, statement);
}

bool ptx_decode(struct ptx_reader *reader, char *text)
{
    struct ptx_statement statement = {0};
    uint16_t guard = PTX_NOWHERE;
    bool negated = false;
    reader->copy = text;
    text = trim(text);
    if (*text == '@') {
        text++;
        negated = *text == '!';
        text += negated;
        size_t length = strcspn(text, " \t\n");
        if (!text[length] || !plain(reader, text, length, &guard))
            return ptx_refuse(reader, "a guard without an instruction");
        text = trim(text + length);
    }
    if (!cut(reader, text, &statement)) return false;
    if (strcmp(statement.parts[0], "bra") == 0)
        return decode_branch(reader, &statement, guard, negated);
    if (guard == PTX_NOWHERE) return decode_guarded(reader, &statement);
    /* Over it when the guard says no. */
    struct ptx_instruction *i = ptx_emit(reader);
    int skip = reader->kernel->code_count - 1;
    i->run = negated ? ptx_step_if : ptx_step_unless;
    i->o[0] = guard;
    if (!decode_guarded(reader, &statement)) return false;
    ptx_fixup_add(reader,
                  &(struct ptx_fixup){.instruction = skip, .index = reader->kernel->code_count});
    return true;
}
