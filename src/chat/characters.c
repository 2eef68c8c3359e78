/* SPDX-License-Identifier: Apache-2.0 */
#include "chat/characters.h"

#include <utf8proc.h>

size_t character_write(char *text, uint32_t character)
{
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)character, (utf8proc_uint8_t *)text);
}

bool characters_valid(struct text text)
{
    for (size_t at = 0; at < text.bytes;) {
        utf8proc_int32_t character;
        utf8proc_ssize_t length = utf8proc_iterate((const utf8proc_uint8_t *)text.at + at,
                                                   (utf8proc_ssize_t)(text.bytes - at), &character);
        if (length <= 0) return false;
        at += (size_t)length;
    }
    return true;
}

size_t characters_count(struct text text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.bytes; i++)
        count += ((unsigned char)text.at[i] & 0xc0) != 0x80;
    return count;
}

size_t characters_offset(struct text text, size_t index)
{
    size_t at = 0;
    for (; index > 0 && at < text.bytes; index--)
        at += character_length(text.at[at]);
    return at;
}

bool character_is_space(uint32_t c)
{
    if (c < 0x80) return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool character_ends_line(uint32_t c)
{
    return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
}

bool character_is_printable(uint32_t c)
{
    if (c < 0x80) return c >= 0x20 && c < 0x7f;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    default:
        return true;
    }
}

bool characters_are_ascii(struct text text)
{
    for (size_t i = 0; i < text.bytes; i++)
        if ((unsigned char)text.at[i] >= 0x80) return false;
    return true;
}

static bool is_stripped(const char *at, const struct text *which)
{
    if (!which) return character_is_space(character_at(at));
    for (size_t i = 0; i < which->bytes; i += character_length(which->at[i]))
        if (character_at(which->at + i) == character_at(at)) return true;
    return false;
}

struct text text_strip(struct text text, const struct text *which, bool left, bool right)
{
    while (left && text.bytes && is_stripped(text.at, which)) {
        size_t length = character_length(*text.at);
        text.at += length;
        text.bytes -= length;
    }
    while (right && text.bytes) {
        const char *last = character_before(text.at + text.bytes);
        if (!is_stripped(last, which)) break;
        text.bytes = (size_t)(last - text.at);
    }
    return text;
}

ptrdiff_t text_find(struct text text, struct text part)
{
    if (part.bytes == 0) return 0;
    if (part.bytes > text.bytes) return -1;
    const char *found = memmem(text.at, text.bytes, part.at, part.bytes);
    return found ? found - text.at : -1;
}
