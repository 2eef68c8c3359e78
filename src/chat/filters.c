/* SPDX-License-Identifier: Apache-2.0 */
/* What stands behind "|". */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "chat/characters.h"
#include "chat/texts.h"

#define FILTER(NAME)                                                                               \
    static enum zi_status NAME(struct render *r, const struct value *subject,                      \
                               const struct arguments *arguments, struct value *result)

static bool is_given(const struct value *argument)
{
    return argument->type != VALUE_ABSENT && argument->type != VALUE_NONE;
}

/* The text of a value, in letters of a case. */
static enum zi_status in_case(struct render *r, const struct value *subject, enum text_case how,
                              struct value *result)
{
    struct text text;
    ZI_TRY(render_text(r, subject, &text));
    return text_in_case(r, text, how, result);
}

FILTER(filter_lower)
{
    (void)arguments;
    return in_case(r, subject, CASE_LOWER, result);
}

FILTER(filter_upper)
{
    (void)arguments;
    return in_case(r, subject, CASE_UPPER, result);
}

FILTER(filter_title)
{
    (void)arguments;
    return in_case(r, subject, CASE_TITLE_FILTER, result);
}

FILTER(filter_capitalize)
{
    (void)arguments;
    return in_case(r, subject, CASE_CAPITALIZE, result);
}

FILTER(filter_string)
{
    (void)arguments;
    *result = (struct value){.type = VALUE_TEXT};
    return render_text(r, subject, &result->text);
}

FILTER(filter_safe)
{
    ZI_TRY(filter_string(r, subject, arguments, result));
    result->safe = true;
    return ZI_OK;
}

FILTER(filter_trim)
{
    struct text text, which = {"", 0};
    bool given = is_given(&arguments->at[0]);
    ZI_TRY(render_text(r, subject, &text));
    if (given) ZI_TRY(argument_text(r, &arguments->at[0], &which));
    ZI_TRY(value_work(&r->budget, text.bytes / 16 * (which.bytes + 1)));
    *result = (struct value){.type = VALUE_TEXT,
                             .text = text_strip(text, given ? &which : NULL, true, true)};
    return ZI_OK;
}

FILTER(filter_replace)
{
    struct text text, parts[2];
    int64_t most = -1;
    ZI_TRY(render_text(r, subject, &text));
    ZI_TRY(render_text(r, &arguments->at[0], &parts[0]));
    ZI_TRY(render_text(r, &arguments->at[1], &parts[1]));
    ZI_TRY(argument_integer(r, &arguments->at[2], &most));
    return text_replace(r, text, parts, most, result);
}

FILTER(filter_default)
{
    const struct value *other = &arguments->at[0], *falsy = &arguments->at[1];
    (void)r;
    bool takes = subject->type == VALUE_UNDEFINED ||
                 (falsy->type != VALUE_ABSENT && value_truth(falsy) && !value_truth(subject));
    *result = !takes ? *subject : other->type == VALUE_ABSENT ? value_text("") : *other;
    return ZI_OK;
}

FILTER(filter_length)
{
    size_t count = 0;
    (void)arguments;
    if (subject->type == VALUE_TEXT) {
        ZI_TRY(value_work(&r->budget, subject->text.bytes / 16));
        count = characters_count(subject->text);
    } else if (subject->type == VALUE_LIST && subject->list->kind != LIST_GENERATOR) {
        count = subject->list->count;
    } else if (subject->type == VALUE_DICT) {
        count = subject->dict->count;
    } else if (subject->type == VALUE_LOOP) {
        count = subject->loop->items->count;
    } else if (subject->type != VALUE_UNDEFINED) {
        return render_fail(r, "a %s has no length", value_type_name(subject));
    }
    *result = value_integer((int64_t)count);
    return ZI_OK;
}

FILTER(filter_first)
{
    struct list *items;
    (void)arguments;
    if (subject->type == VALUE_LIST && subject->list->kind == LIST_GENERATOR)
        return render_fail(r, "first of a generator is not done: make it a list before");
    ZI_TRY(value_items(&r->budget, subject, &items));
    *result = (struct value){.type = VALUE_UNDEFINED};
    if (items->count) *result = items->items[0];
    return ZI_OK;
}

FILTER(filter_last)
{
    struct list *items;
    (void)arguments;
    if (subject->type == VALUE_LIST && subject->list->kind == LIST_GENERATOR)
        return render_fail(r, "last of a generator is not done: make it a list before");
    ZI_TRY(value_items(&r->budget, subject, &items));
    *result = (struct value){.type = VALUE_UNDEFINED};
    if (items->count) *result = items->items[items->count - 1];
    return ZI_OK;
}

/* A list, tuple or generator of items that are copied. */
static enum zi_status copy_items(struct render *r, const struct list *items, enum list_kind kind,
                                 bool back, struct value *result)
{
    ZI_TRY(value_list(&r->budget, kind, items->count, result));
    for (size_t i = 0; i < items->count; i++)
        result->list->items[i] = items->items[back ? items->count - 1 - i : i];
    return ZI_OK;
}

FILTER(filter_list)
{
    struct list *items;
    (void)arguments;
    ZI_TRY(value_items(&r->budget, subject, &items));
    return copy_items(r, items, LIST_LIST, false, result);
}

FILTER(filter_reverse)
{
    struct list *items;
    (void)arguments;
    ZI_TRY(value_items(&r->budget, subject, &items));
    if (subject->type != VALUE_TEXT) return copy_items(r, items, LIST_GENERATOR, true, result);
    ZI_TRY(copy_items(r, items, LIST_LIST, true, result));
    return text_join(r, (struct text){"", 0}, result->list, true, result);
}

FILTER(filter_items)
{
    (void)arguments;
    if (subject->type != VALUE_DICT && subject->type != VALUE_UNDEFINED)
        return render_fail(r, "items of a %s", value_type_name(subject));
    size_t count = subject->type == VALUE_DICT ? subject->dict->count : 0;
    ZI_TRY(value_list(&r->budget, LIST_GENERATOR, count, result));
    for (size_t i = 0; i < count; i++) {
        struct value *pair = &result->list->items[i];
        ZI_TRY(value_list(&r->budget, LIST_TUPLE, 2, pair));
        pair->list->items[0] = subject->dict->entries[i].key;
        pair->list->items[1] = subject->dict->entries[i].value;
    }
    return ZI_OK;
}

/* An item by a path as `function.name` or `0`; a step that is not there gives `fallback` where there is
 * one. */
static enum zi_status item_by_path(struct render *r, const struct value *object,
                                   const struct value *path, const struct value *fallback,
                                   struct value *value)
{
    struct value item = *object, key;
    if (path->type == VALUE_INTEGER) return value_item(r, object, path, value);
    if (path->type != VALUE_TEXT) return render_fail(r, "an attribute that is no name");
    for (struct text rest = path->text; rest.at;) {
        const char *dot = rest.bytes ? memchr(rest.at, '.', rest.bytes) : NULL;
        struct text name = {rest.at, dot ? (size_t)(dot - rest.at) : rest.bytes};
        bool digits = name.bytes > 0 && name.bytes < 10;
        for (size_t i = 0; i < name.bytes; i++)
            digits = digits && name.at[i] >= '0' && name.at[i] <= '9';
        key = digits ? value_integer(atoi(name.at))
                     : (struct value){.type = VALUE_TEXT, .text = name};
        object = &item;
        ZI_TRY(value_item(r, object, &key, &item));
        if (item.type == VALUE_UNDEFINED && fallback) item = *fallback;
        rest = dot ? (struct text){dot + 1, rest.bytes - name.bytes - 1} : (struct text){NULL, 0};
    }
    *value = item;
    return ZI_OK;
}

FILTER(filter_join)
{
    struct text between = {"", 0};
    struct list *items;
    struct value list;
    const struct value *path = &arguments->at[1];
    if (arguments->at[0].type != VALUE_ABSENT) ZI_TRY(render_text(r, &arguments->at[0], &between));
    ZI_TRY(value_items(&r->budget, subject, &items));
    if (is_given(path)) {
        ZI_TRY(copy_items(r, items, LIST_LIST, false, &list));
        items = list.list;
        for (size_t i = 0; i < items->count; i++)
            ZI_TRY(item_by_path(r, &items->items[i], path, NULL, &items->items[i]));
    }
    return text_join(r, between, items, false, result);
}

/* map(attribute=PATH, default=VALUE). */
static enum zi_status map_attribute(struct render *r, const struct list *items,
                                    const struct arguments *arguments, struct value *result)
{
    const struct value *path = NULL, *fallback = NULL;
    for (size_t i = 0; i < arguments->keyword_count; i++) {
        const struct keyword *keyword = &arguments->keywords[i];
        if (text_is(keyword->name, "attribute"))
            path = &keyword->value;
        else if (text_is(keyword->name, "default"))
            fallback = &keyword->value;
        else
            return render_fail(r, "map: the argument %.*s is not done", (int)keyword->name.bytes,
                               keyword->name.at);
    }
    if (!path) return render_fail(r, "map has neither a filter nor an attribute");
    ZI_TRY(copy_items(r, items, LIST_GENERATOR, false, result));
    for (size_t i = 0; i < items->count; i++)
        ZI_TRY(item_by_path(r, &items->items[i], path, fallback, &result->list->items[i]));
    return ZI_OK;
}

FILTER(filter_map)
{
    struct list *items;
    struct text name;
    ZI_TRY(value_items(&r->budget, subject, &items));
    if (arguments->count == 0) return map_attribute(r, items, arguments, result);
    ZI_TRY(argument_text(r, &arguments->at[0], &name));
    const struct function *filter = filter_find(name);
    if (!filter)
        return render_fail(r, "the filter %.*s is not done",
                           (int)(name.bytes > 80 ? 80 : name.bytes), name.at);
    const struct arguments rest = {arguments->count - 1, arguments->keyword_count,
                                   arguments->at + 1, arguments->keywords};
    ZI_TRY(copy_items(r, items, LIST_GENERATOR, false, result));
    for (size_t i = 0; i < items->count; i++) {
        ZI_TRY(value_work(&r->budget, 1));
        ZI_TRY(function_apply(r, filter, &items->items[i], &rest, &result->list->items[i]));
    }
    return ZI_OK;
}

/* Items for which a test holds, or does not; of an attribute of theirs where `attribute`. Arguments: the
 * attribute, the test (without one: whether it is true), its arguments. */
static enum zi_status choose(struct render *r, const struct value *subject,
                             const struct arguments *arguments, const bool wanted_attribute[2],
                             struct value *result)
{
    bool wanted = wanted_attribute[0], attribute = wanted_attribute[1];
    struct list *items;
    struct text name;
    const struct function *test = NULL;
    size_t first = attribute ? 2 : 1;
    ZI_TRY(value_items(&r->budget, subject, &items));
    if (attribute && arguments->count == 0) return render_fail(r, "which attribute is missing");
    if (arguments->count >= first) {
        ZI_TRY(argument_text(r, &arguments->at[first - 1], &name));
        test = test_find(name);
        if (!test)
            return render_fail(r, "the test %.*s is not done",
                               (int)(name.bytes > 80 ? 80 : name.bytes), name.at);
    }
    const struct arguments rest = {test ? arguments->count - first : 0, arguments->keyword_count,
                                   test ? arguments->at + first : NULL, arguments->keywords};
    ZI_TRY(value_list(&r->budget, LIST_GENERATOR, items->count, result));
    size_t count = 0;
    for (size_t i = 0; i < items->count; i++) {
        struct value item = items->items[i], holds;
        ZI_TRY(value_work(&r->budget, 1));
        if (attribute) ZI_TRY(item_by_path(r, &item, &arguments->at[0], NULL, &item));
        holds = item;
        if (test) ZI_TRY(function_apply(r, test, &item, &rest, &holds));
        if (value_truth(&holds) == wanted) result->list->items[count++] = items->items[i];
    }
    result->list->count = count;
    return ZI_OK;
}

FILTER(filter_select)
{
    return choose(r, subject, arguments, (const bool[]){true, false}, result);
}

FILTER(filter_reject)
{
    return choose(r, subject, arguments, (const bool[]){false, false}, result);
}

FILTER(filter_selectattr)
{
    return choose(r, subject, arguments, (const bool[]){true, true}, result);
}

FILTER(filter_rejectattr)
{
    return choose(r, subject, arguments, (const bool[]){false, true}, result);
}

/* The number that a text is, as Python's float() reads it; false: it is none. Forms that Python and C
 * read differently are said to be none that is done. */
static enum zi_status number_of_text(struct render *r, struct text text, double *number, bool *is)
{
    char digits[64], *end;
    text = text_strip(text, NULL, true, true);
    *is = false;
    if (text.bytes >= sizeof digits)
        return render_fail(r, "a number of %zu digits is not done", text.bytes);
    for (size_t i = 0; i < text.bytes; i++)
        if (!text.at[i] || !strchr("0123456789+-.eE", text.at[i])) {
            bool other = (text.at[i] && strchr("_infatyINFATY", text.at[i])) ||
                         (unsigned char)text.at[i] >= 0x80;
            if (other)
                return render_fail(r, "a number that is written as %.*s is not done",
                                   (int)text.bytes, text.at);
            return ZI_OK;
        }
    memcpy(digits, text.at, text.bytes);
    digits[text.bytes] = 0;
    *number = strtod(digits, &end);
    *is = text.bytes > 0 && *end == 0;
    return ZI_OK;
}

FILTER(filter_int)
{
    double number = 0;
    bool is_number = value_is_number(subject);
    int64_t integer;
    *result = arguments->at[0].type == VALUE_ABSENT ? value_integer(0) : arguments->at[0];
    if (value_as_integer(subject, &integer)) {
        *result = value_integer(integer);
        return ZI_OK;
    }
    if (subject->type == VALUE_UNDEFINED) return render_fail(r, "int of an undefined value");
    if (is_number) number = subject->number;
    if (subject->type == VALUE_TEXT) {
        ZI_TRY(number_of_text(r, subject->text, &number, &is_number));
        if (is_number && fabs(number) >= 0x1p53)
            return render_fail(r, "int: a number as large as %.*s is not done",
                               (int)subject->text.bytes, subject->text.at);
    }
    if (!is_number || !isfinite(number)) return ZI_OK;
    if (fabs(number) >= 0x1p63) return render_fail(r, "integers beyond 64 bits are not done");
    *result = value_integer((int64_t)number);
    return ZI_OK;
}

FILTER(filter_float)
{
    double number = 0;
    bool is_number = value_is_number(subject);
    if (subject->type == VALUE_UNDEFINED) return render_fail(r, "float of an undefined value");
    if (is_number) number = value_as_number(subject);
    if (subject->type == VALUE_TEXT) ZI_TRY(number_of_text(r, subject->text, &number, &is_number));
    *result = (struct value){.type = VALUE_FLOAT, .number = number};
    if (!is_number && arguments->at[0].type != VALUE_ABSENT) *result = arguments->at[0];
    return ZI_OK;
}

/* Blanks, or the text that is put before each line. */
static enum zi_status indentation(struct render *r, const struct value *width, struct value *result)
{
    static const struct value blank = {.type = VALUE_TEXT, .text = {" ", 1}};
    int64_t columns = 4;
    if (width->type == VALUE_TEXT) {
        *result = *width;
        return ZI_OK;
    }
    ZI_TRY(argument_integer(r, width, &columns));
    const struct value count = value_integer(columns);
    return value_binary(r, OPERATOR_MULTIPLY, &blank, &count, result);
}

/* Lines behind the first, and the first and empty ones where asked for, behind a text. */
FILTER(filter_indent)
{
    const struct value *first = &arguments->at[1], *blank = &arguments->at[2];
    bool with_first = first->type != VALUE_ABSENT && value_truth(first);
    bool with_blank = blank->type != VALUE_ABSENT && value_truth(blank);
    struct text text;
    struct value before, lines;
    ZI_TRY(argument_text(r, subject, &text));
    ZI_TRY(indentation(r, &arguments->at[0], &before));
    ZI_TRY(arena_join(&r->texts, text, (struct text){"\n", 1}, &text));
    ZI_TRY(text_lines(r, text, false, &lines));
    size_t begun = r->bytes;
    for (size_t i = 0; i < lines.list->count; i++) {
        struct text line = lines.list->items[i].text;
        bool moved = i == 0 ? with_first : with_blank || line.bytes;
        if (i) ZI_TRY(render_write(r, (struct text){"\n", 1}));
        if (moved) ZI_TRY(render_write(r, before.text));
        ZI_TRY(render_write(r, line));
    }
    return render_capture(r, begun, result);
}

/* ensure_ascii, indent, separators and sort_keys are what transformers gives json.dumps. */
FILTER(filter_tojson)
{
    const struct value *at = arguments->at, *separators = &at[2];
    struct json_form form = {.indent = -1, .between = {", ", 2}, .colon = {": ", 2}};
    size_t first = r->bytes;
    form.ascii = at[0].type != VALUE_ABSENT && value_truth(&at[0]);
    form.sorted = at[3].type != VALUE_ABSENT && value_truth(&at[3]);
    ZI_TRY(argument_integer(r, &at[1], &form.indent));
    if (is_given(&at[1])) {
        if (form.indent < 0) form.indent = 0;
        if (form.indent > 100) return render_fail(r, "tojson: an indent above 100 is not done");
        form.between = (struct text){",", 1};
    }
    if (is_given(separators)) {
        if (separators->type != VALUE_LIST || separators->list->count != 2)
            return render_fail(r, "tojson: separators are not two texts");
        ZI_TRY(argument_text(r, &separators->list->items[0], &form.between));
        ZI_TRY(argument_text(r, &separators->list->items[1], &form.colon));
    }
    ZI_TRY(render_write_json(r, subject, &form, 0));
    return render_capture(r, first, result);
}

const struct function *filter_find(struct text name)
{
    static const struct function rows[] = {
        {"capitalize", filter_capitalize, "", 0},
        {"count", filter_length, "", 0},
        {"d", filter_default, "default_value boolean", 0},
        {"default", filter_default, "default_value boolean", 0},
        {"first", filter_first, "", 0},
        {"float", filter_float, "default", 0},
        {"indent", filter_indent, "width first blank", 0},
        {"int", filter_int, "default", 0},
        {"items", filter_items, "", 0},
        {"join", filter_join, "d attribute", 0},
        {"last", filter_last, "", 0},
        {"length", filter_length, "", 0},
        {"list", filter_list, "", 0},
        {"lower", filter_lower, "", 0},
        {"map", filter_map, NULL, 0},
        {"reject", filter_reject, NULL, 0},
        {"rejectattr", filter_rejectattr, NULL, 0},
        {"replace", filter_replace, "old new count", 2},
        {"reverse", filter_reverse, "", 0},
        {"safe", filter_safe, "", 0},
        {"select", filter_select, NULL, 0},
        {"selectattr", filter_selectattr, NULL, 0},
        {"string", filter_string, "", 0},
        {"title", filter_title, "", 0},
        {"tojson", filter_tojson, "ensure_ascii indent separators sort_keys", 0},
        {"trim", filter_trim, "chars", 0},
        {"upper", filter_upper, "", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (text_is(name, rows[i].name)) return &rows[i];
    return NULL;
}
