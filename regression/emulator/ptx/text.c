/* SPDX-License-Identifier: Apache-2.0 */
/* Words and numbers of a PTX text. */
#include "regression/emulator/ptx/reader.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *ptx_grow(void *array, size_t element, int count, int *room)
{
    if (count < *room) return array;
    *room = *room > 0 ? 2 * *room : 16;
    void *grown = realloc(array, element * (size_t)*room);
    if (!grown) abort();
    memset((char *)grown + element * (size_t)count, 0, element * (size_t)(*room - count));
    return grown;
}

bool ptx_refuse(struct ptx_reader *reader, const char *format, ...)
{
    if (reader->failed) return false;
    reader->failed = true;
    int prefix = snprintf(reader->error, reader->error_size, "line %u of the PTX: ", reader->line);
    if (prefix < 0 || (size_t)prefix >= reader->error_size) return false;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reader->error + prefix, reader->error_size - (size_t)prefix, format, arguments);
    va_end(arguments);
    return false;
}

void ptx_space(struct ptx_reader *reader)
{
    for (; isspace((unsigned char)*reader->at); reader->at++)
        if (*reader->at == '\n') reader->line++;
}

static bool in_name(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '%' || c == '.';
}

size_t ptx_word(struct ptx_reader *reader, const char **word)
{
    ptx_space(reader);
    *word = reader->at;
    if (!*reader->at) return 0;
    /* ".reg.b32" is two words. */
    do
        reader->at++;
    while (in_name((*word)[0]) && in_name(*reader->at) &&
           !((*word)[0] == '.' && *reader->at == '.'));
    return (size_t)(reader->at - *word);
}

bool ptx_accept(struct ptx_reader *reader, const char *expected)
{
    const char *before = reader->at, *word;
    uint32_t line = reader->line;
    size_t length = ptx_word(reader, &word);
    if (ptx_same(word, length, expected)) return true;
    reader->at = before;
    reader->line = line;
    return false;
}

bool ptx_expect(struct ptx_reader *reader, const char *expected)
{
    if (ptx_accept(reader, expected)) return true;
    ptx_space(reader);
    return ptx_refuse(reader, "\"%.20s\" where \"%s\" is expected", reader->at, expected);
}

bool ptx_same(const char *name, size_t length, const char *other)
{
    return strlen(other) == length && memcmp(name, other, length) == 0;
}

/* 0f3F800000 and 0d3FF0000000000000 are bits; others are integers, with U at the end or not. */
bool ptx_number(const char *text, size_t length, uint64_t *value)
{
    char copy[40], *end;
    if (length == 0 || length >= sizeof copy) return false;
    memcpy(copy, text, length);
    copy[length] = 0;
    const char *digits = copy[0] == '-' ? copy + 1 : copy;
    if (!isdigit((unsigned char)*digits)) return false;
    char kind = digits[0] == '0' ? (char)tolower((unsigned char)digits[1]) : 0;
    if (kind == 'f' || kind == 'd') {
        *value = strtoull(digits + 2, &end, 16);
        return digits == copy && end == digits + (kind == 'f' ? 10 : 18) && !*end;
    }
    *value = strtoull(digits, &end, 0);
    if (*end == 'U') end++;
    if (digits != copy) *value = 0 - *value;
    return !*end;
}

void ptx_skip_group(struct ptx_reader *reader, char open, char close)
{
    for (int depth = 0; *reader->at;) {
        char c = *reader->at++;
        if (c == '\n') reader->line++;
        depth += c == open;
        depth -= c == close;
        if (depth == 0 && c == close) return;
    }
    ptx_refuse(reader, "no \"%c\" for a \"%c\"", close, open);
}

unsigned ptx_type_bytes(const char *type, size_t length)
{
    static const struct {
        const char *name;
        unsigned bytes;
    } types[] = {{".b8", 1},  {".u8", 1},    {".s8", 1},     {".b16", 2},  {".u16", 2},
                 {".s16", 2}, {".f16", 2},   {".b32", 4},    {".bf16", 2}, {".u32", 4},
                 {".s32", 4}, {".f32", 4},   {".b64", 8},    {".u64", 8},  {".s64", 8},
                 {".f64", 8}, {".f16x2", 4}, {".bf16x2", 4}, {".pred", 1}};
    for (size_t k = 0; k < sizeof types / sizeof *types; k++)
        if (ptx_same(type, length, types[k].name)) return types[k].bytes;
    return 0;
}
