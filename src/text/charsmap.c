/* SPDX-License-Identifier: Apache-2.0 */
#include "text/charsmap.h"

#include <stdlib.h>

#include "base/log.h"
#include "text/unicode.h"

#define GRAPHEME_MOST 5 /* bytes of a grapheme that is looked up whole */

struct charsmap {
    /* Units of the double array: label, value or offset to the children. */
    uint32_t *units;
    size_t unit_count;
    /* Replacements, each ended by a zero. */
    const char *texts;
    size_t text_bytes;
    unsigned char *memory;
};

static int sextet(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* *bytes < 0: it is no base64. */
static void decode_base64(const char *text, unsigned char *out, ptrdiff_t *bytes)
{
    uint32_t bits = 0;
    int held = 0;
    *bytes = 0;
    for (; *text && *text != '='; text++) {
        int value = sextet(*text);
        if (value < 0) {
            *bytes = -1;
            return;
        }
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held < 8) continue;
        held -= 8;
        out[(*bytes)++] = (unsigned char)(bits >> held);
    }
}

enum zi_status charsmap_read(const struct zi_json_place *place, const char *base64,
                             struct charsmap **map)
{
    struct charsmap *made = calloc(1, sizeof *made);
    unsigned char *memory = malloc(strlen(base64) + 8);
    ptrdiff_t bytes;
    uint32_t array_bytes = 0;
    *map = NULL;
    if (!made || !memory) {
        free(made);
        free(memory);
        return zi_fail(ZI_ERROR_DEVICE, "text", "no memory for precompiled_charsmap");
    }
    made->memory = memory;
    decode_base64(base64, memory, &bytes);
    if (bytes >= 8) memcpy(&array_bytes, memory, 4);
    if (bytes < 8 || array_bytes % 4 || array_bytes == 0 || array_bytes > (uint64_t)bytes - 4) {
        charsmap_free(made);
        return zi_fail(ZI_ERROR_USAGE, "text",
                       "%s: precompiled_charsmap is damaged: copy the file again", place->file);
    }
    made->units = malloc(array_bytes);
    made->unit_count = array_bytes / 4;
    made->texts = (const char *)memory + 4 + array_bytes;
    made->text_bytes = (size_t)bytes - 4 - array_bytes;
    if (!made->units) {
        charsmap_free(made);
        return zi_fail(ZI_ERROR_DEVICE, "text", "no memory for precompiled_charsmap");
    }
    memcpy(made->units, memory + 4, array_bytes);
    *map = made;
    return ZI_OK;
}

void charsmap_free(struct charsmap *map)
{
    if (!map) return;
    free(map->units);
    free(map->memory);
    free(map);
}

static uint32_t offset_of(uint32_t unit)
{
    return unit >> 10 << ((unit & 1u << 9) >> 6);
}

/* The replacement of the shortest beginning of text[0..bytes) that has one; NULL: none. */
static const char *find(const struct charsmap *map, const char *text, size_t bytes, size_t *length)
{
    size_t node = offset_of(map->units[0]);
    for (size_t i = 0; i < bytes && text[i]; i++) {
        unsigned char byte = (unsigned char)text[i];
        node ^= byte;
        if (node >= map->unit_count) return NULL;
        uint32_t unit = map->units[node];
        if ((unit & (1u << 31 | 0xff)) != byte) return NULL;
        node ^= offset_of(unit);
        if (!(unit >> 8 & 1)) continue;
        size_t at = node < map->unit_count ? map->units[node] & 0x7fffffffu : SIZE_MAX;
        if (at >= map->text_bytes) return NULL;
        *length = strnlen(map->texts + at, map->text_bytes - at);
        return map->texts + at;
    }
    return NULL;
}

enum zi_status charsmap_apply(const struct charsmap *map, const char *text, size_t bytes,
                              struct buffer *out, bool *lost)
{
    size_t begun = out->bytes;
    for (size_t at = 0; at < bytes;) {
        size_t end = at + unicode_grapheme(text + at, bytes - at), length;
        *lost |= at > 0 && out->bytes == begun;
        const char *replacement =
            end - at <= GRAPHEME_MOST ? find(map, text + at, end - at, &length) : NULL;
        if (replacement) {
            ZI_TRY(buffer_add(out, replacement, length));
            at = end;
        }
        while (at < end) {
            *lost |= at > 0 && out->bytes == begun;
            size_t own = utf8_length(text[at]);
            replacement = find(map, text + at, own, &length);
            ZI_TRY(replacement ? buffer_add(out, replacement, length)
                               : buffer_add(out, text + at, own));
            at += own;
        }
    }
    return ZI_OK;
}
