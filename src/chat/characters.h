/* SPDX-License-Identifier: Apache-2.0 */
/* Characters of UTF-8 that is known to be valid, and the kinds that Python knows. Private to the room;
 * all are Local. */
#ifndef ZI_CHAT_CHARACTERS_H
#define ZI_CHAT_CHARACTERS_H

#include <string.h>

#include "chat/arena.h"

/* Bytes of the character that begins with this byte. */
static inline size_t character_length(char first)
{
    unsigned char byte = (unsigned char)first;
    return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

/* The character at `text`. */
static inline uint32_t character_at(const char *text)
{
    size_t length = character_length(*text);
    uint32_t c = (unsigned char)*text;
    if (length > 1) c &= 0x7fu >> length;
    for (size_t i = 1; i < length; i++)
        c = c << 6 | ((unsigned char)text[i] & 0x3f);
    return c;
}

/* The beginning of the character that ends before `end`. */
static inline const char *character_before(const char *end)
{
    do
        end--;
    while (((unsigned char)*end & 0xc0) == 0x80);
    return end;
}

/* Writes a character to 4 bytes of room; its length. */
size_t character_write(char *text, uint32_t character);

/* Whether all bytes are valid UTF-8. */
bool characters_valid(struct text text);

/* How many characters a text has. */
size_t characters_count(struct text text);

/* Byte where character `index` begins; bytes of the text where it is the number of characters. */
size_t characters_offset(struct text text, size_t index);

/* What str.isspace calls white space; so does \s of a pattern. */
bool character_is_space(uint32_t character);

/* Where str.splitlines ends a line. */
bool character_ends_line(uint32_t character);

/* What repr() writes as it is. */
bool character_is_printable(uint32_t character);

/* Whether a text is of ASCII alone. */
bool characters_are_ascii(struct text text);

/* Takes white space away, or the characters of `which` (NULL: white space), at the ends asked for. */
struct text text_strip(struct text text, const struct text *which, bool left, bool right);

/* Where `part` first stands in a text; -1: nowhere. */
ptrdiff_t text_find(struct text text, struct text part);

/* Whether two texts are the same. */
static inline bool text_same(struct text a, struct text b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.at, b.at, a.bytes) == 0);
}

/* Whether a text is that of zero-ended bytes. */
static inline bool text_is(struct text text, const char *other)
{
    return text_same(text, (struct text){other, strlen(other)});
}

#endif
