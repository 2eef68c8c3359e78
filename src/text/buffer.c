/* SPDX-License-Identifier: Apache-2.0 */
#include "text/buffer.h"

#include <stdlib.h>

#include "base/log.h"

enum zi_status array_reserve(void **array, size_t *capacity, size_t count, size_t size)
{
    if (count <= *capacity) return ZI_OK;
    size_t wanted = *capacity < 16 ? 16 : *capacity + *capacity / 2;
    if (wanted < count) wanted = count;
    void *grown = wanted <= PTRDIFF_MAX / size ? realloc(*array, wanted * size) : NULL;
    if (!grown) return zi_fail(ZI_ERROR_DEVICE, "text", "no memory for %zu x %zu", wanted, size);
    *array = grown;
    *capacity = wanted;
    return ZI_OK;
}

enum zi_status buffer_reserve(struct buffer *buffer, size_t bytes)
{
    void *text = buffer->text;
    if (buffer->bytes + bytes <= buffer->capacity) return ZI_OK;
    ZI_TRY(array_reserve(&text, &buffer->capacity, buffer->bytes + bytes, 1));
    buffer->text = text;
    return ZI_OK;
}

enum zi_status buffer_add(struct buffer *buffer, const char *text, size_t bytes)
{
    ZI_TRY(buffer_reserve(buffer, bytes));
    if (bytes) memcpy(buffer->text + buffer->bytes, text, bytes);
    buffer->bytes += bytes;
    return ZI_OK;
}

void buffer_put(struct buffer *buffer, uint32_t character)
{
    buffer->bytes += utf8_write(buffer->text + buffer->bytes, character);
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->text);
    *buffer = (struct buffer){.text = NULL};
}

size_t utf8_write(char *text, uint32_t c)
{
    if (c < 0x80) {
        text[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        text[0] = (char)(0xc0 | c >> 6);
        text[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        text[0] = (char)(0xe0 | c >> 12);
        text[1] = (char)(0x80 | (c >> 6 & 63));
        text[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    text[0] = (char)(0xf0 | c >> 18);
    text[1] = (char)(0x80 | (c >> 12 & 63));
    text[2] = (char)(0x80 | (c >> 6 & 63));
    text[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* The second byte of E0, ED, F0 and F4 has a narrower range than others: no overlong forms, no
 * surrogates, nothing above U+10FFFF. */
size_t utf8_check(const char *text, size_t bytes, bool *valid)
{
    const unsigned char *b = (const unsigned char *)text;
    size_t length = b[0] < 0x80   ? 1
                    : b[0] < 0xc2 ? 0
                    : b[0] < 0xe0 ? 2
                    : b[0] < 0xf0 ? 3
                    : b[0] < 0xf5 ? 4
                                  : 0;
    *valid = false;
    if (length == 0) return 1;
    for (size_t i = 1; i < length; i++) {
        unsigned char low = 0x80, high = 0xbf;
        if (i == 1 && b[0] == 0xe0) low = 0xa0;
        if (i == 1 && b[0] == 0xed) high = 0x9f;
        if (i == 1 && b[0] == 0xf0) low = 0x90;
        if (i == 1 && b[0] == 0xf4) high = 0x8f;
        if (i >= bytes || b[i] < low || b[i] > high) return i;
    }
    *valid = true;
    return length;
}

size_t utf8_valid(const char *text, size_t bytes)
{
    size_t at = 0;
    while (at < bytes) {
        uint64_t word;
        if (bytes - at >= 8) {
            memcpy(&word, text + at, 8);
            if (!(word & 0x8080808080808080u)) {
                at += 8;
                continue;
            }
        }
        bool valid;
        size_t length = utf8_check(text + at, bytes - at, &valid);
        if (!valid) return at;
        at += length;
    }
    return at;
}

enum zi_status utf8_repair(struct buffer *buffer, const char *text, size_t bytes)
{
    while (bytes) {
        size_t good = utf8_valid(text, bytes);
        ZI_TRY(buffer_add(buffer, text, good));
        text += good;
        bytes -= good;
        if (bytes == 0) return ZI_OK;
        bool valid;
        size_t broken = utf8_check(text, bytes, &valid);
        ZI_TRY(buffer_add(buffer, "\xef\xbf\xbd", 3));
        text += broken;
        bytes -= broken;
    }
    return ZI_OK;
}

/* Bytes that are printable characters of Latin-1 stand for themselves; the 68 others are the
 * characters from U+0100 on, in their order. */
static bool is_itself(unsigned byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

uint32_t byte_character(unsigned char byte)
{
    if (is_itself(byte)) return byte;
    uint32_t others = 0;
    for (unsigned b = 0; b < byte; b++)
        others += !is_itself(b);
    return 0x100 + others;
}

int byte_of_character(uint32_t character)
{
    if (character < 0x100) return is_itself(character) ? (int)character : -1;
    if (character < 0x121) return (int)(character - 0x100);        /* 0x00 to 0x20 */
    if (character < 0x143) return (int)(character - 0x121) + 0x7f; /* 0x7f to 0xa0 */
    return character == 0x143 ? 0xad : -1;
}
