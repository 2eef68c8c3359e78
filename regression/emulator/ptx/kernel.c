/* SPDX-License-Identifier: Apache-2.0 */
/* The body of a kernel or function: declarations, labels, and instructions one by one. */
#include "regression/emulator/ptx/reader.h"

#include <stdlib.h>
#include <string.h>

static uint32_t place(uint32_t *bytes, const struct ptx_symbol *symbol)
{
    uint32_t at = (*bytes + symbol->align - 1) / symbol->align * symbol->align;
    *bytes = at + symbol->bytes;
    return at;
}

static bool declare(struct ptx_reader *reader, enum ptx_kind kind)
{
    struct ptx_kernel *kernel = reader->kernel;
    struct ptx_symbol symbol;
    if (!ptx_declare_variable(reader, kind, &symbol)) return false;
    if (symbol.bytes == 0) return ptx_refuse(reader, "an array without a number");
    symbol.value =
        place(kind == PTX_SHARED_VARIABLE ? &kernel->shared_bytes : &kernel->local_bytes, &symbol);
    *PTX_APPEND(reader->symbols, reader->symbol_count, reader->symbol_room) = symbol;
    return ptx_expect(reader, ";");
}

/* Hints to the compiler of machine code. */
static bool pragma(struct ptx_reader *reader)
{
    ptx_space(reader);
    if (strncmp(reader->at, "\"nounroll\"", 10) != 0 &&
        strncmp(reader->at, "\"used_bytes_mask ", 17) != 0)
        return ptx_refuse(reader, "pragma %.30s is not known", reader->at);
    while (*reader->at && *reader->at != ';' && *reader->at != '\n')
        reader->at++;
    return ptx_expect(reader, ";");
}

static bool instruction(struct ptx_reader *reader)
{
    size_t length = strcspn(reader->at, ";");
    if (!reader->at[length]) return ptx_refuse(reader, "an instruction without \";\"");
    char *statement = strndup(reader->at, length);
    if (!statement) abort();
    bool fine = ptx_decode(reader, statement);
    for (size_t k = 0; k < length; k++)
        reader->line += reader->at[k] == '\n';
    reader->at += length + 1;
    free(statement);
    return fine;
}

static bool statement(struct ptx_reader *reader)
{
    const char *word, *before = reader->at;
    if (ptx_accept(reader, ".reg")) return ptx_declare_registers(reader);
    if (ptx_accept(reader, ".shared")) return declare(reader, PTX_SHARED_VARIABLE);
    if (ptx_accept(reader, ".local") || ptx_accept(reader, ".param"))
        return declare(reader, PTX_LOCAL_VARIABLE);
    if (ptx_accept(reader, ".pragma")) return pragma(reader);
    if (ptx_accept(reader, ".loc")) {
        while (*reader->at && *reader->at != '\n')
            reader->at++;
        return true;
    }
    uint32_t line = reader->line;
    size_t length = ptx_word(reader, &word);
    /* "ld.global.L1::no_allocate" is no label. */
    if (strncmp(reader->at, "::", 2) != 0 && ptx_accept(reader, ":")) {
        *PTX_APPEND(reader->labels, reader->label_count, reader->label_room) =
            (struct ptx_label){word, length, reader->instance, reader->kernel->code_count};
        return true;
    }
    if (word[0] == '.') return ptx_refuse(reader, "\"%.*s\" is not known", (int)length, word);
    reader->at = before;
    reader->line = line;
    return instruction(reader);
}

bool ptx_read_body(struct ptx_reader *reader)
{
    int scopes[32], depth = 0;
    if (!ptx_expect(reader, "{")) return false;
    scopes[depth++] = reader->symbol_count;
    while (depth > 0) {
        ptx_space(reader);
        if (!*reader->at) return ptx_refuse(reader, "a body without its end");
        if (ptx_accept(reader, "{")) {
            if (depth == 32) return ptx_refuse(reader, "scopes too deep");
            scopes[depth++] = reader->symbol_count;
        } else if (ptx_accept(reader, "}")) {
            reader->symbol_count = scopes[--depth];
        } else if (!statement(reader)) {
            return false;
        }
    }
    /* The end of a body is a return. */
    char ret[] = "ret";
    return ptx_decode(reader, ret);
}
