/* SPDX-License-Identifier: Apache-2.0 */
#include "chat/texts.h"

#include "chat/characters.h"

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 0x20) : c;
}

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 0x20) : c;
}

/* Whether the letter at `at` is to be large. */
static bool is_large(struct text text, size_t at, enum text_case how)
{
    char before = at ? text.at[at - 1] : ' ';
    switch (how) {
    case CASE_LOWER:
        return false;
    case CASE_UPPER:
        return true;
    case CASE_CAPITALIZE:
        return at == 0;
    case CASE_TITLE:
        return !is_letter(before);
    default:
        return character_is_space((unsigned char)before) || memchr("-({[<", before, 5);
    }
}

enum zi_status text_in_case(struct render *r, struct text text, enum text_case how,
                            struct value *value)
{
    size_t first = r->bytes;
    ZI_TRY(value_work(&r->budget, text.bytes));
    if (!characters_are_ascii(text))
        return render_fail(r, "large and small letters beyond ASCII are not done");
    ZI_TRY(render_write(r, text));
    for (size_t i = 0; i < text.bytes; i++)
        r->out[first + i] = is_large(text, i, how) ? upper(text.at[i]) : lower(text.at[i]);
    return render_capture(r, first, value);
}

/* An empty part stands before each character and at the end. */
static enum zi_status insert_between(struct render *r, struct text text, struct text part,
                                     int64_t most)
{
    for (size_t at = 0;; most -= most > 0) {
        ZI_TRY(value_work(&r->budget, 1));
        if (most != 0) ZI_TRY(render_write(r, part));
        if (at == text.bytes) return ZI_OK;
        size_t length = character_length(text.at[at]);
        ZI_TRY(render_write(r, (struct text){text.at + at, length}));
        at += length;
    }
}

enum zi_status text_replace(struct render *r, struct text text, const struct text parts[2],
                            int64_t most, struct value *value)
{
    size_t first = r->bytes;
    ZI_TRY(value_work(&r->budget, text.bytes / 16));
    if (parts[0].bytes == 0) {
        ZI_TRY(insert_between(r, text, parts[1], most));
        return render_capture(r, first, value);
    }
    for (; most != 0; most -= most > 0) {
        ptrdiff_t found = text_find(text, parts[0]);
        if (found < 0) break;
        ZI_TRY(value_work(&r->budget, 1));
        ZI_TRY(render_write(r, (struct text){text.at, (size_t)found}));
        ZI_TRY(render_write(r, parts[1]));
        text.at += (size_t)found + parts[0].bytes;
        text.bytes -= (size_t)found + parts[0].bytes;
    }
    ZI_TRY(render_write(r, text));
    return render_capture(r, first, value);
}

/* Bytes of the line that a text begins with, without its end; *end gets the bytes of that. */
static size_t line_length(struct text text, size_t *end)
{
    size_t at = 0;
    *end = 0;
    while (at < text.bytes && !character_ends_line(character_at(text.at + at)))
        at += character_length(text.at[at]);
    if (at < text.bytes) {
        bool both = text.at[at] == '\r' && at + 1 < text.bytes && text.at[at + 1] == '\n';
        *end = both ? 2 : character_length(text.at[at]);
    }
    return at;
}

enum zi_status text_lines(struct render *r, struct text text, bool ends, struct value *value)
{
    struct text rest = text;
    size_t count = 0, end;
    ZI_TRY(value_work(&r->budget, text.bytes / 4));
    for (; rest.bytes; count++) {
        size_t length = line_length(rest, &end);
        rest.at += length + end;
        rest.bytes -= length + end;
    }
    ZI_TRY(value_list(&r->budget, LIST_LIST, count, value));
    for (size_t i = 0; i < count; i++) {
        size_t length = line_length(text, &end);
        value->list->items[i] =
            (struct value){.type = VALUE_TEXT, .text = {text.at, length + (ends ? end : 0)}};
        text.at += length + end;
        text.bytes -= length + end;
    }
    return ZI_OK;
}

enum zi_status text_join(struct render *r, struct text between, const struct list *items,
                         bool strict, struct value *value)
{
    size_t first = r->bytes;
    for (size_t i = 0; i < items->count; i++) {
        if (strict && items->items[i].type != VALUE_TEXT)
            return render_fail(r, "join: a %s where a str should be",
                               value_type_name(&items->items[i]));
        ZI_TRY(value_work(&r->budget, 1));
        if (i) ZI_TRY(render_write(r, between));
        ZI_TRY(render_write_value(r, &items->items[i]));
    }
    return render_capture(r, first, value);
}
