/* SPDX-License-Identifier: Apache-2.0 */
/* What a render writes: values as {{ }} shows them, as Python's repr() does inside of lists and dicts,
 * and as JSON. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "chat/characters.h"
#include "chat/render.h"

enum zi_status render_write(struct render *r, struct text text)
{
    ZI_TRY(value_work(&r->budget, text.bytes / 16));
    if (text.bytes > RENDER_OUTPUT_MOST - r->bytes)
        return render_fail(r, "the text gets longer than %zu bytes", RENDER_OUTPUT_MOST);
    if (r->bytes + text.bytes >= r->capacity) {
        size_t capacity = r->bytes + text.bytes + r->capacity / 2 + 1024;
        char *out = realloc(r->out, capacity);
        if (!out) return zi_fail(ZI_ERROR_DEVICE, "chat", "no memory for %zu bytes", capacity);
        r->out = out;
        r->capacity = capacity;
    }
    if (text.bytes) memcpy(r->out + r->bytes, text.at, text.bytes);
    r->bytes += text.bytes;
    return ZI_OK;
}

static enum zi_status write_plain(struct render *r, const char *text)
{
    return render_write(r, (struct text){text, strlen(text)});
}

enum zi_status render_capture(struct render *r, size_t first, struct value *value)
{
    *value = (struct value){.type = VALUE_TEXT};
    ZI_TRY(arena_copy(&r->texts, (struct text){r->out + first, r->bytes - first}, &value->text));
    r->bytes = first;
    return ZI_OK;
}

/* The least digits that give the number back, with the exponent where Python writes it. */
static void print_float(double number, char text[40])
{
    char digits[40];
    if (!isfinite(number)) {
        snprintf(text, 40, "%s", isnan(number) ? "nan" : number < 0 ? "-inf" : "inf");
        return;
    }
    int precision = 0;
    do
        snprintf(digits, sizeof digits, "%.*e", precision, number);
    while (strtod(digits, NULL) != number && ++precision < 17);
    int exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent < -4 || exponent >= 16)
        snprintf(text, 40, "%s", digits);
    else if (precision <= exponent)
        snprintf(text, 40, "%.1f", number);
    else
        snprintf(text, 40, "%.*f", precision - exponent, number);
}

static enum zi_status write_escape(struct render *r, const char *format, unsigned number)
{
    char text[16];
    snprintf(text, sizeof text, format, number);
    return write_plain(r, text);
}

/* 'text', or "text" where it has a ' and no ". */
static enum zi_status write_quoted(struct render *r, struct text text)
{
    bool has_single = text.bytes && memchr(text.at, '\'', text.bytes);
    bool has_double = text.bytes && memchr(text.at, '"', text.bytes);
    const char *quote = has_single && !has_double ? "\"" : "'";
    ZI_TRY(write_plain(r, quote));
    for (size_t at = 0; at < text.bytes;) {
        uint32_t c = character_at(text.at + at);
        size_t length = character_length(text.at[at]);
        const char *simple = c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : NULL;
        if (c == '\\' || (c == (uint32_t)*quote)) {
            ZI_TRY(write_plain(r, "\\"));
            ZI_TRY(render_write(r, (struct text){text.at + at, 1}));
        } else if (simple) {
            ZI_TRY(write_plain(r, simple));
        } else if (character_is_printable(c)) {
            ZI_TRY(render_write(r, (struct text){text.at + at, length}));
        } else {
            ZI_TRY(write_escape(r, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c));
        }
        ZI_TRY(value_work(&r->budget, 1));
        at += length;
    }
    return write_plain(r, quote);
}

static enum zi_status write_repr(struct render *r, const struct value *value, int depth);

static enum zi_status write_list(struct render *r, const struct list *list, int depth)
{
    bool tuple = list->kind == LIST_TUPLE;
    ZI_TRY(write_plain(r, tuple ? "(" : "["));
    for (size_t i = 0; i < list->count; i++) {
        if (i) ZI_TRY(write_plain(r, ", "));
        ZI_TRY(write_repr(r, &list->items[i], depth + 1));
    }
    if (tuple && list->count == 1) ZI_TRY(write_plain(r, ","));
    return write_plain(r, tuple ? ")" : "]");
}

static enum zi_status write_dict(struct render *r, const struct dict *dict, int depth)
{
    ZI_TRY(write_plain(r, "{"));
    for (size_t i = 0; i < dict->count; i++) {
        if (i) ZI_TRY(write_plain(r, ", "));
        ZI_TRY(write_repr(r, &dict->entries[i].key, depth + 1));
        ZI_TRY(write_plain(r, ": "));
        ZI_TRY(write_repr(r, &dict->entries[i].value, depth + 1));
    }
    return write_plain(r, "}");
}

static enum zi_status write_number(struct render *r, const struct value *value)
{
    char text[40];
    if (value->type == VALUE_FLOAT)
        print_float(value->number, text);
    else
        snprintf(text, sizeof text, "%" PRId64, value->integer);
    return write_plain(r, text);
}

static enum zi_status write_repr(struct render *r, const struct value *value, int depth)
{
    if (depth > VALUE_DEPTH) return render_fail(r, "values are deeper than %d", VALUE_DEPTH);
    ZI_TRY(value_work(&r->budget, 1));
    switch (value->type) {
    case VALUE_NONE:
        return write_plain(r, "None");
    case VALUE_BOOL:
        return write_plain(r, value->truth ? "True" : "False");
    case VALUE_INTEGER:
    case VALUE_FLOAT:
        return write_number(r, value);
    case VALUE_TEXT:
        return write_quoted(r, value->text);
    case VALUE_UNDEFINED:
        return write_plain(r, "Undefined");
    case VALUE_DICT:
        return write_dict(r, value->dict, depth);
    case VALUE_LIST:
        if (value->list->kind <= LIST_TUPLE) return write_list(r, value->list, depth);
        break;
    default:
        break;
    }
    return render_fail(r, "a %s is not written: it has no text of its own", value_type_name(value));
}

enum zi_status render_write_value(struct render *r, const struct value *value)
{
    if (value->type == VALUE_TEXT) return render_write(r, value->text);
    if (value->type == VALUE_UNDEFINED) return ZI_OK;
    return write_repr(r, value, 0);
}

enum zi_status render_text(struct render *r, const struct value *value, struct text *text)
{
    struct value whole;
    size_t first = r->bytes;
    if (value->type == VALUE_TEXT) {
        *text = value->text;
        return ZI_OK;
    }
    *text = (struct text){"", 0};
    if (value->type == VALUE_UNDEFINED) return ZI_OK;
    ZI_TRY(write_repr(r, value, 0));
    ZI_TRY(render_capture(r, first, &whole));
    *text = whole.text;
    return ZI_OK;
}

static enum zi_status write_json_escape(struct render *r, uint32_t c)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *simple = c < 0x80 && c ? strchr(from, (int)c) : NULL;
    if (simple) return write_escape(r, "\\%c", (unsigned char)to[simple - from]);
    if (c < 0x10000) return write_escape(r, "\\u%04x", c);
    ZI_TRY(write_escape(r, "\\u%04x", 0xd800 + ((c - 0x10000) >> 10)));
    return write_escape(r, "\\u%04x", 0xdc00 + ((c - 0x10000) & 0x3ff));
}

static enum zi_status write_json_text(struct render *r, struct text text, bool ascii)
{
    ZI_TRY(write_plain(r, "\""));
    for (size_t at = 0; at < text.bytes;) {
        uint32_t c = character_at(text.at + at);
        size_t length = character_length(text.at[at]);
        if (c == '"' || c == '\\' || c < 0x20 || (ascii && c >= 0x7f))
            ZI_TRY(write_json_escape(r, c));
        else
            ZI_TRY(render_write(r, (struct text){text.at + at, length}));
        ZI_TRY(value_work(&r->budget, 1));
        at += length;
    }
    return write_plain(r, "\"");
}

/* A new line with its blanks, where lines are asked for. */
static enum zi_status write_json_line(struct render *r, const struct json_form *form, int depth)
{
    if (form->indent < 0) return ZI_OK;
    ZI_TRY(write_plain(r, "\n"));
    for (int64_t i = 0; i < form->indent * depth; i++) {
        ZI_TRY(value_work(&r->budget, 1));
        ZI_TRY(write_plain(r, " "));
    }
    return ZI_OK;
}

static enum zi_status write_json_list(struct render *r, const struct list *list,
                                      const struct json_form *form, int depth)
{
    if (list->count == 0) return write_plain(r, "[]");
    ZI_TRY(write_plain(r, "["));
    for (size_t i = 0; i < list->count; i++) {
        if (i) ZI_TRY(render_write(r, form->between));
        ZI_TRY(write_json_line(r, form, depth + 1));
        ZI_TRY(render_write_json(r, &list->items[i], form, depth + 1));
    }
    ZI_TRY(write_json_line(r, form, depth));
    return write_plain(r, "]");
}

/* Keys are texts, or numbers and names that become such. */
static enum zi_status write_json_key(struct render *r, const struct value *key,
                                     const struct json_form *form)
{
    if (key->type == VALUE_TEXT) return write_json_text(r, key->text, form->ascii);
    ZI_TRY(write_plain(r, "\""));
    ZI_TRY(render_write_json(r, key, form, 0));
    return write_plain(r, "\"");
}

static int compare_keys(const void *a, const void *b)
{
    const struct text *x = &(*(const struct entry *const *)a)->key.text;
    const struct text *y = &(*(const struct entry *const *)b)->key.text;
    size_t least = x->bytes < y->bytes ? x->bytes : y->bytes;
    int order = least ? memcmp(x->at, y->at, least) : 0;
    return order ? order : x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* The entries of a dict in the order in which they are to be written. */
static enum zi_status ordered_entries(struct render *r, const struct dict *dict, bool sorted,
                                      const struct entry ***entries)
{
    void *memory;
    ZI_TRY(arena_take(&r->values, dict->count * sizeof **entries, &memory));
    *entries = memory;
    for (size_t i = 0; i < dict->count; i++) {
        (*entries)[i] = &dict->entries[i];
        if (sorted && dict->entries[i].key.type != VALUE_TEXT)
            return render_fail(r, "to sort keys that are no texts is not done");
    }
    if (!sorted) return ZI_OK;
    ZI_TRY(value_work(&r->budget, 16 * dict->count));
    qsort(*entries, dict->count, sizeof **entries, compare_keys);
    return ZI_OK;
}

static enum zi_status write_json_dict(struct render *r, const struct dict *dict,
                                      const struct json_form *form, int depth)
{
    const struct entry **entries;
    if (dict->count == 0) return write_plain(r, "{}");
    ZI_TRY(ordered_entries(r, dict, form->sorted, &entries));
    ZI_TRY(write_plain(r, "{"));
    for (size_t i = 0; i < dict->count; i++) {
        if (i) ZI_TRY(render_write(r, form->between));
        ZI_TRY(write_json_line(r, form, depth + 1));
        ZI_TRY(write_json_key(r, &entries[i]->key, form));
        ZI_TRY(render_write(r, form->colon));
        ZI_TRY(render_write_json(r, &entries[i]->value, form, depth + 1));
    }
    ZI_TRY(write_json_line(r, form, depth));
    return write_plain(r, "}");
}

static enum zi_status write_json_float(struct render *r, const struct value *value)
{
    if (isnan(value->number)) return write_plain(r, "NaN");
    if (isinf(value->number)) return write_plain(r, value->number < 0 ? "-Infinity" : "Infinity");
    return write_number(r, value);
}

enum zi_status render_write_json(struct render *r, const struct value *value,
                                 const struct json_form *form, int depth)
{
    if (depth > VALUE_DEPTH) return render_fail(r, "values are deeper than %d", VALUE_DEPTH);
    ZI_TRY(value_work(&r->budget, 1));
    switch (value->type) {
    case VALUE_NONE:
        return write_plain(r, "null");
    case VALUE_BOOL:
        return write_plain(r, value->truth ? "true" : "false");
    case VALUE_INTEGER:
        return write_number(r, value);
    case VALUE_FLOAT:
        return write_json_float(r, value);
    case VALUE_TEXT:
        return write_json_text(r, value->text, form->ascii);
    case VALUE_DICT:
        return write_json_dict(r, value->dict, form, depth);
    case VALUE_LIST:
        if (value->list->kind <= LIST_TUPLE) return write_json_list(r, value->list, form, depth);
        break;
    default:
        break;
    }
    return render_fail(r, "tojson: a %s has no JSON", value_type_name(value));
}
