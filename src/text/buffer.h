/* SPDX-License-Identifier: Apache-2.0 */
/* Texts that grow, and the characters of UTF-8. Private to the room; all are Local. */
#ifndef ZI_TEXT_BUFFER_H
#define ZI_TEXT_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/status.h"

/* Begins as all zero. */
struct buffer {
    char *text;
    size_t bytes, capacity;
};

/* Makes room for `bytes` more. ZI_ERROR_DEVICE. */
enum zi_status buffer_reserve(struct buffer *buffer, size_t bytes);

/* Appends. ZI_ERROR_DEVICE. */
enum zi_status buffer_add(struct buffer *buffer, const char *text, size_t bytes);

/* Appends a character, for which there is room (4 bytes at most). */
void buffer_put(struct buffer *buffer, uint32_t character);

/* Frees the text; the buffer is empty again. */
void buffer_free(struct buffer *buffer);

/* Grows an array to hold `count` elements of `size` bytes. ZI_ERROR_DEVICE. */
enum zi_status array_reserve(void **array, size_t *capacity, size_t count, size_t size);

/* Bytes of the character that begins with this byte of valid UTF-8. */
static inline size_t utf8_length(char first)
{
    unsigned char byte = (unsigned char)first;
    return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

/* The character at `text`, which is valid UTF-8. */
static inline uint32_t utf8_at(const char *text)
{
    const unsigned char *b = (const unsigned char *)text;
    if (b[0] < 0x80) return b[0];
    if (b[0] < 0xe0) return (uint32_t)(b[0] & 31) << 6 | (b[1] & 63);
    if (b[0] < 0xf0) return (uint32_t)(b[0] & 15) << 12 | (uint32_t)(b[1] & 63) << 6 | (b[2] & 63);
    return (uint32_t)(b[0] & 7) << 18 | (uint32_t)(b[1] & 63) << 12 | (uint32_t)(b[2] & 63) << 6 |
           (b[3] & 63);
}

/* The character that ends before `end`; text < end. */
static inline uint32_t utf8_before(const char *text, const char *end)
{
    do
        end--;
    while (end > text && ((unsigned char)*end & 0xc0) == 0x80);
    return utf8_at(end);
}

/* Writes a character to 4 bytes of room; its length. */
size_t utf8_write(char *text, uint32_t character);

/* Bytes of the character that text[0..bytes) begins with, bytes > 0, or of the longest piece that a
 * character could begin with; *valid says which. */
size_t utf8_check(const char *text, size_t bytes, bool *valid);

/* How many bytes from the beginning are valid UTF-8. */
size_t utf8_valid(const char *text, size_t bytes);

/* Appends a text, broken pieces replaced by U+FFFD. ZI_ERROR_DEVICE. */
enum zi_status utf8_repair(struct buffer *buffer, const char *text, size_t bytes);

/* The character that byte-level tokenizers write for a byte, which is printable. */
uint32_t byte_character(unsigned char byte);

/* The byte of such a character; -1: it is none. */
int byte_of_character(uint32_t character);

/* Hash of a text. */
static inline uint64_t text_hash(const char *text, size_t bytes)
{
    uint64_t hash = bytes * 0x9e3779b97f4a7c15u, word;
    for (; bytes >= 8; text += 8, bytes -= 8) {
        memcpy(&word, text, 8);
        hash = (hash ^ word) * 0xd6e8feb86659fd93u;
        hash ^= hash >> 32;
    }
    if (bytes) {
        word = 0;
        memcpy(&word, text, bytes);
        hash = (hash ^ word) * 0xd6e8feb86659fd93u;
        hash ^= hash >> 32;
    }
    return hash * 0x9e3779b97f4a7c15u;
}

#endif
