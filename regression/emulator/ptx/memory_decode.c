/* SPDX-License-Identifier: Apache-2.0 */
/* Reading loads, stores and atomics: space, modifiers of caches and order, vectors. */
#include "regression/emulator/ptx/memory.h"
#include "regression/emulator/ptx/reader.h"

#include <stdio.h>
#include <string.h>

static bool one_of(const char *part, const char *const *names)
{
    for (; *names; names++)
        if (strcmp(part, *names) == 0) return true;
    return false;
}

/* The space that a part names; PTX_SPACES when it names none. */
static enum ptx_space space_of(const char *part)
{
    static const struct {
        const char *name;
        enum ptx_space space;
    } spaces[] = {{"global", PTX_GLOBAL},     {"shared", PTX_SHARED}, {"shared::cta", PTX_SHARED},
                  {"local", PTX_LOCAL},       {"param", PTX_PARAM},   {"param::entry", PTX_PARAM},
                  {"param::func", PTX_PARAM}, {"const", PTX_CONST}};
    for (size_t k = 0; k < sizeof spaces / sizeof *spaces; k++)
        if (strcmp(part, spaces[k].name) == 0) return spaces[k].space;
    return PTX_SPACES;
}

/* Hints to caches, and orders that are weaker than what happens here anyway. */
static bool harmless(const char *part, bool load)
{
    static const char *const loads[] = {"ca", "cg", "cs", "lu", "cv", "nc", "acquire", NULL};
    static const char *const stores[] = {"wb", "cg", "cs", "wt", "release", NULL};
    static const char *const both[] = {"weak", "relaxed", "volatile", "cta", "gpu", "sys", NULL};
    static const char *const cached[] = {"L1::evict_normal", "L1::evict_unchanged",
                                         "L1::evict_first",  "L1::evict_last",
                                         "L1::no_allocate",  "L2::64B",
                                         "L2::128B",         "L2::256B",
                                         "L2::evict_first",  "L2::evict_last",
                                         "L2::evict_normal", NULL};
    return one_of(part, load ? loads : stores) || one_of(part, both) || one_of(part, cached);
}

/* {%r1, %r2} or one operand: slots of the data. */
static bool data_of(struct ptx_reader *reader, const struct ptx_statement *statement, char *text,
                    struct ptx_instruction *out)
{
    size_t length = strlen(text);
    if (out->count == 1) return ptx_operand(reader, text, &out->o[0]);
    if (length < 2 || text[0] != '{' || text[length - 1] != '}')
        return ptx_refuse(reader, "%s with \"%s\"", statement->name, text);
    text[length - 1] = 0;
    char *item = text + 1;
    for (int k = 0; k < out->count; k++) {
        char *comma = item ? strchr(item, ',') : NULL;
        if (!item) return ptx_refuse(reader, "%s with too few elements", statement->name);
        if (comma) *comma++ = 0;
        while (*item == ' ')
            item++;
        for (size_t end = strlen(item); end > 0 && item[end - 1] == ' ';)
            item[--end] = 0;
        if (!ptx_operand(reader, item, &out->o[k])) return false;
        item = comma;
    }
    return !item || ptx_refuse(reader, "%s with too many elements", statement->name);
}

static bool decode_access(struct ptx_reader *reader, const struct ptx_statement *statement)
{
    struct ptx_instruction out = {.space = PTX_GENERIC, .count = 1};
    bool load = statement->parts[0][0] == 'l', has_space = false;
    int last = statement->part_count - 1;
    char type[32];
    for (int k = 1; k < last; k++) {
        const char *part = statement->parts[k];
        enum ptx_space space = space_of(part);
        if (space != PTX_SPACES && !has_space) {
            has_space = true;
            out.space = (uint8_t)space;
        } else if (k == last - 1 && (strcmp(part, "v2") == 0 || strcmp(part, "v4") == 0)) {
            out.count = (uint8_t)(part[1] - '0');
        } else if (!harmless(part, load)) {
            return ptx_refuse(reader, "modifier .%s of %s is not known", part, statement->name);
        }
    }
    int written = snprintf(type, sizeof type, ".%s", last > 0 ? statement->parts[last] : "");
    out.bytes = (uint8_t)ptx_type_bytes(type, (size_t)written);
    if (out.bytes == 0 || strcmp(type, ".pred") == 0 || out.bytes * out.count > 16)
        return ptx_refuse(reader, "type of %s is not known", statement->name);
    if (statement->operand_count != 2) return ptx_refuse(reader, "%s: operands", statement->name);
    if (!data_of(reader, statement, statement->operands[!load], &out) ||
        !ptx_address(reader, statement->operands[load], &out))
        return false;
    out.run = load ? ptx_load_step(out.space, out.bytes, type[1] == 's')
                   : ptx_store_step(out.space, out.bytes);
    if (!out.run) return ptx_refuse(reader, "%s: a store to constant memory", statement->name);
    out.line = reader->line;
    *ptx_emit(reader) = out;
    return true;
}

/* atom has a result, red has none. */
static bool decode_atomic(struct ptx_reader *reader, const struct ptx_statement *statement)
{
    static const char *const harmless_parts[] = {"relaxed", "acquire", "release", "acq_rel",
                                                 "cta",     "gpu",     "sys",     NULL};
    struct ptx_instruction out = {.space = PTX_GENERIC, .count = 1};
    bool result = statement->parts[0][0] == 'a';
    char name[96] = "";
    int written = 0;
    for (int k = 1; k < statement->part_count; k++) {
        const char *part = statement->parts[k];
        enum ptx_space space = space_of(part);
        if (written == 0 && (space == PTX_GLOBAL || space == PTX_SHARED))
            out.space = (uint8_t)space;
        else if (written > 0 || !one_of(part, harmless_parts))
            written += snprintf(name + written, sizeof name - (size_t)written, "%s%s",
                                written > 0 ? "." : "", part);
        if (written >= (int)sizeof name) return ptx_refuse(reader, "%s: too long", statement->name);
    }
    const struct ptx_atomic *atomic = ptx_atomic_find(name);
    if (!atomic || (!result && strncmp(name, "cas", 3) == 0))
        return ptx_refuse(reader, "%s is not known", statement->name);
    if (statement->operand_count != atomic->sources + 1 + result)
        return ptx_refuse(reader, "%s: operands", statement->name);
    for (int k = 0; k < PTX_OPERANDS; k++)
        out.o[k] = PTX_NOWHERE;
    if (result && !ptx_operand(reader, statement->operands[0], &out.o[0])) return false;
    if (!ptx_address(reader, statement->operands[result], &out)) return false;
    for (int k = 0; k < atomic->sources; k++)
        if (!ptx_operand(reader, statement->operands[result + 1 + k], &out.o[1 + k])) return false;
    out.run = atomic->run;
    out.bytes = atomic->bytes;
    out.line = reader->line;
    *ptx_emit(reader) = out;
    return true;
}

bool ptx_decode_memory(struct ptx_reader *reader, const struct ptx_statement *statement)
{
    const char *name = statement->parts[0];
    if (strcmp(name, "atom") == 0 || strcmp(name, "red") == 0)
        return decode_atomic(reader, statement);
    return decode_access(reader, statement);
}
