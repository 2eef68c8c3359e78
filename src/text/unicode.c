/* SPDX-License-Identifier: Apache-2.0 */
#include "text/unicode.h"

#include <stdlib.h>
#include <utf8proc.h>

#include "base/log.h"

static utf8proc_category_t category(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c);
}

bool unicode_is_space(uint32_t c)
{
    if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool unicode_is_punctuation(uint32_t c)
{
    if (c < 0x80)
        return (c >= 0x21 && c <= 0x2f) || (c >= 0x3a && c <= 0x40) || (c >= 0x5b && c <= 0x60) ||
               (c >= 0x7b && c <= 0x7e);
    utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

bool unicode_is_number(uint32_t c)
{
    if (c < 0x80) return c >= '0' && c <= '9';
    utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

/* Alphabetic beside L, M and Nl are only the circled and squared letters, which are So. */
bool unicode_is_word(uint32_t c)
{
    if (c < 0x80)
        return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
               c == '_';
    utf8proc_category_t k = category(c);
    return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_ME) || k == UTF8PROC_CATEGORY_ND ||
           k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_PC || c == 0x200c || c == 0x200d ||
           (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
           (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
}

bool unicode_is_mark(uint32_t c, bool nonspacing)
{
    if (c < 0x300) return false;
    utf8proc_category_t k = category(c);
    return k == UTF8PROC_CATEGORY_MN ||
           (!nonspacing && (k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_ME));
}

bool unicode_is_control(uint32_t c)
{
    utf8proc_category_t k = category(c);
    return k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CO;
}

/* One capital has two characters as its small letter, of which utf8proc gives the first. */
void unicode_put_lower(struct buffer *buffer, uint32_t c)
{
    if (c == 0x130) {
        buffer_put(buffer, 'i');
        buffer_put(buffer, 0x307);
    } else {
        buffer_put(buffer, c < 0x80 ? (c >= 'A' && c <= 'Z' ? c + 32 : c)
                                    : (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
    }
}

/* A piece with characters beyond ASCII, and the one before them, which marks may join. */
static enum zi_status normalize_piece(utf8proc_option_t options, const char *text, size_t bytes,
                                      struct buffer *out)
{
    utf8proc_int32_t few[256], *points = few;
    utf8proc_ssize_t most = 256, count;
    const utf8proc_uint8_t *from = (const utf8proc_uint8_t *)text;
    count = utf8proc_decompose(from, (utf8proc_ssize_t)bytes, points, most - 1, options);
    if (count >= most) {
        most = count + 1;
        points = malloc(sizeof *points * (size_t)most);
        if (!points) return zi_fail(ZI_ERROR_DEVICE, "text", "no memory for a normal form");
        count = utf8proc_decompose(from, (utf8proc_ssize_t)bytes, points, most - 1, options);
    }
    if (count >= 0) count = utf8proc_reencode(points, count, options);
    enum zi_status status =
        count < 0 ? zi_fail(ZI_ERROR_DEVICE, "text", "a normal form cannot be made: %s",
                            utf8proc_errmsg(count))
                  : buffer_add(out, (const char *)points, (size_t)count);
    if (points != few) free(points);
    return status;
}

/* ASCII is in all normal forms, and joins only marks behind it. */
enum zi_status unicode_normalize(enum normal_form form, const char *text, size_t bytes,
                                 struct buffer *out)
{
    static const utf8proc_option_t options[] = {
        [FORM_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
        [FORM_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
        [FORM_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
        [FORM_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT};
    for (size_t at = 0; at < bytes;) {
        size_t end = at;
        while (end < bytes && (unsigned char)text[end] < 0x80)
            end++;
        size_t plain = end == bytes || end == at ? end - at : end - at - 1;
        ZI_TRY(buffer_add(out, text + at, plain));
        at += plain;
        while (end < bytes && (unsigned char)text[end] >= 0x80)
            end++;
        if (at < end) ZI_TRY(normalize_piece(options[form], text + at, end - at, out));
        at = end;
    }
    return ZI_OK;
}

size_t unicode_grapheme(const char *text, size_t bytes)
{
    utf8proc_int32_t state = 0;
    size_t at = utf8_length(*text);
    uint32_t before = utf8_at(text);
    while (at < bytes) {
        uint32_t c = utf8_at(text + at);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)before, (utf8proc_int32_t)c, &state))
            return at;
        before = c;
        at += utf8_length(text[at]);
    }
    return at;
}
