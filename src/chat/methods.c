/* SPDX-License-Identifier: Apache-2.0 */
/* Methods of str, list, tuple and dict that templates use. Those that Python has beside them are known
 * by name, so that a template that uses one is refused. */
#include <stdlib.h>

#include "chat/characters.h"
#include "chat/compare.h"
#include "chat/texts.h"

#define METHOD(NAME)                                                                               \
    static enum zi_status NAME(struct render *r, const struct value *subject,                      \
                               const struct arguments *arguments, struct value *result)

static struct value text_value(struct text text)
{
    return (struct value){.type = VALUE_TEXT, .text = text};
}

/* strip, lstrip and rstrip: of white space, or of the characters of an argument. */
static enum zi_status strip(struct render *r, const struct value *subject,
                            const struct value *which, const bool ends[2], struct value *result)
{
    struct text characters = {"", 0};
    bool given = which->type != VALUE_ABSENT && which->type != VALUE_NONE;
    if (given) ZI_TRY(argument_text(r, which, &characters));
    ZI_TRY(value_work(&r->budget, subject->text.bytes / 16 * (characters.bytes + 1)));
    *result = text_value(text_strip(subject->text, given ? &characters : NULL, ends[0], ends[1]));
    return ZI_OK;
}

METHOD(str_strip)
{
    return strip(r, subject, &arguments->at[0], (const bool[]){true, true}, result);
}

METHOD(str_lstrip)
{
    return strip(r, subject, &arguments->at[0], (const bool[]){true, false}, result);
}

METHOD(str_rstrip)
{
    return strip(r, subject, &arguments->at[0], (const bool[]){false, true}, result);
}

METHOD(str_lower)
{
    (void)arguments;
    return text_in_case(r, subject->text, CASE_LOWER, result);
}

METHOD(str_upper)
{
    (void)arguments;
    return text_in_case(r, subject->text, CASE_UPPER, result);
}

METHOD(str_title)
{
    (void)arguments;
    return text_in_case(r, subject->text, CASE_TITLE, result);
}

METHOD(str_capitalize)
{
    (void)arguments;
    return text_in_case(r, subject->text, CASE_CAPITALIZE, result);
}

METHOD(str_replace)
{
    struct text parts[2];
    int64_t most = -1;
    ZI_TRY(argument_text(r, &arguments->at[0], &parts[0]));
    ZI_TRY(argument_text(r, &arguments->at[1], &parts[1]));
    ZI_TRY(argument_integer(r, &arguments->at[2], &most));
    return text_replace(r, subject->text, parts, most, result);
}

/* Whether a text begins, or ends, with one of the texts of an argument. */
static enum zi_status has_end(struct render *r, struct text text, const struct value *part,
                              bool begin, bool *holds)
{
    struct text wanted;
    *holds = false;
    if (part->type == VALUE_LIST && part->list->kind == LIST_TUPLE) {
        for (size_t i = 0; i < part->list->count && !*holds; i++) {
            const struct value *one = &part->list->items[i];
            ZI_TRY(argument_text(r, one, &wanted));
            ZI_TRY(has_end(r, text, one, begin, holds));
        }
        return ZI_OK;
    }
    ZI_TRY(argument_text(r, part, &wanted));
    ZI_TRY(value_work(&r->budget, 1 + wanted.bytes / 16));
    if (wanted.bytes > text.bytes) return ZI_OK;
    const char *at = begin ? text.at : text.at + text.bytes - wanted.bytes;
    *holds = text_same((struct text){at, wanted.bytes}, wanted);
    return ZI_OK;
}

METHOD(str_startswith)
{
    bool holds;
    ZI_TRY(has_end(r, subject->text, &arguments->at[0], true, &holds));
    *result = value_bool(holds);
    return ZI_OK;
}

METHOD(str_endswith)
{
    bool holds;
    ZI_TRY(has_end(r, subject->text, &arguments->at[0], false, &holds));
    *result = value_bool(holds);
    return ZI_OK;
}

METHOD(str_removeprefix)
{
    struct text part;
    bool holds;
    ZI_TRY(argument_text(r, &arguments->at[0], &part));
    ZI_TRY(has_end(r, subject->text, &arguments->at[0], true, &holds));
    size_t less = holds ? part.bytes : 0;
    *result = text_value((struct text){subject->text.at + less, subject->text.bytes - less});
    return ZI_OK;
}

METHOD(str_removesuffix)
{
    struct text part;
    bool holds;
    ZI_TRY(argument_text(r, &arguments->at[0], &part));
    ZI_TRY(has_end(r, subject->text, &arguments->at[0], false, &holds));
    size_t less = holds ? part.bytes : 0;
    *result = text_value((struct text){subject->text.at, subject->text.bytes - less});
    return ZI_OK;
}

METHOD(str_join)
{
    struct list *items;
    ZI_TRY(value_items(&r->budget, &arguments->at[0], &items));
    return text_join(r, subject->text, items, true, result);
}

/* Characters before the first place of a part; -1: it is nowhere. */
METHOD(str_find)
{
    struct text part;
    ZI_TRY(argument_text(r, &arguments->at[0], &part));
    ZI_TRY(value_work(&r->budget, subject->text.bytes / 16));
    ptrdiff_t found = text_find(subject->text, part);
    *result = value_integer(found);
    if (found > 0)
        *result = value_integer(
            (int64_t)characters_count((struct text){subject->text.at, (size_t)found}));
    return ZI_OK;
}

METHOD(str_count)
{
    struct text part, rest = subject->text;
    int64_t count = 0;
    ptrdiff_t found;
    ZI_TRY(argument_text(r, &arguments->at[0], &part));
    ZI_TRY(value_work(&r->budget, rest.bytes / 16));
    if (part.bytes == 0) {
        *result = value_integer((int64_t)characters_count(rest) + 1);
        return ZI_OK;
    }
    for (; (found = text_find(rest, part)) >= 0; count++) {
        ZI_TRY(value_work(&r->budget, 1));
        rest.at += (size_t)found + part.bytes;
        rest.bytes -= (size_t)found + part.bytes;
    }
    *result = value_integer(count);
    return ZI_OK;
}

METHOD(str_splitlines)
{
    const struct value *ends = &arguments->at[0];
    return text_lines(r, subject->text, ends->type != VALUE_ABSENT && value_truth(ends), result);
}

/* What a text is cut at: a part, or NULL for runs of white space. */
struct cut {
    const struct text *part;
    int64_t most;
};

/* The next cut of a text: *first and *end around what is taken away. */
static bool next_cut(struct text text, const struct cut *cut, size_t *first, size_t *end)
{
    if (cut->part) {
        ptrdiff_t found = text_find(text, *cut->part);
        *first = (size_t)found;
        *end = *first + cut->part->bytes;
        return found >= 0;
    }
    for (*first = 0; *first < text.bytes; *first += character_length(text.at[*first]))
        if (character_is_space(character_at(text.at + *first))) break;
    struct text rest = {text.at + *first, text.bytes - *first};
    *end = text.bytes - text_strip(rest, NULL, true, false).bytes;
    return *first < text.bytes;
}

/* Cuts a text into items, which may be NULL; how many they are. */
static enum zi_status cut_text(struct render *r, struct text text, const struct cut *cut,
                               struct value *items, size_t *count)
{
    size_t first, end;
    int64_t most = cut->most;
    *count = 0;
    if (!cut->part) text = text_strip(text, NULL, true, false);
    while ((text.bytes || cut->part) && most != 0 && next_cut(text, cut, &first, &end)) {
        ZI_TRY(value_work(&r->budget, 1));
        if (!cut->part && end == text.bytes) {
            /* white space at the end is no cut */
            text.bytes = first;
            break;
        }
        if (items) items[*count] = text_value((struct text){text.at, first});
        *count += 1;
        text.at += end;
        text.bytes -= end;
        most -= most > 0;
    }
    if (!cut->part && text.bytes == 0) return ZI_OK;
    if (items) items[*count] = text_value(text);
    *count += 1;
    return ZI_OK;
}

METHOD(str_split)
{
    struct text part;
    struct cut cut = {NULL, -1};
    size_t count;
    if (arguments->at[0].type != VALUE_ABSENT && arguments->at[0].type != VALUE_NONE) {
        ZI_TRY(argument_text(r, &arguments->at[0], &part));
        if (part.bytes == 0) return render_fail(r, "split at an empty text");
        cut.part = &part;
    }
    ZI_TRY(argument_integer(r, &arguments->at[1], &cut.most));
    ZI_TRY(value_work(&r->budget, subject->text.bytes / 8));
    ZI_TRY(cut_text(r, subject->text, &cut, NULL, &count));
    ZI_TRY(value_list(&r->budget, LIST_LIST, count, result));
    return cut_text(r, subject->text, &cut, result->list->items, &count);
}

METHOD(dict_get)
{
    struct value *found;
    const struct value *fallback = &arguments->at[1];
    const struct value item = arguments->at[0];
    ZI_TRY(dict_find(&r->budget, subject->dict, &item, &found));
    *result = found ? *found : *fallback;
    if (result->type == VALUE_ABSENT) result->type = VALUE_NONE;
    return ZI_OK;
}

METHOD(dict_keys)
{
    (void)arguments;
    ZI_TRY(value_list(&r->budget, LIST_VIEW, subject->dict->count, result));
    for (size_t i = 0; i < subject->dict->count; i++)
        result->list->items[i] = subject->dict->entries[i].key;
    return ZI_OK;
}

METHOD(dict_values)
{
    (void)arguments;
    ZI_TRY(value_list(&r->budget, LIST_VIEW, subject->dict->count, result));
    for (size_t i = 0; i < subject->dict->count; i++)
        result->list->items[i] = subject->dict->entries[i].value;
    return ZI_OK;
}

METHOD(dict_items)
{
    (void)arguments;
    ZI_TRY(value_list(&r->budget, LIST_VIEW, subject->dict->count, result));
    for (size_t i = 0; i < subject->dict->count; i++) {
        struct value *pair = &result->list->items[i];
        ZI_TRY(value_list(&r->budget, LIST_TUPLE, 2, pair));
        pair->list->items[0] = subject->dict->entries[i].key;
        pair->list->items[1] = subject->dict->entries[i].value;
    }
    return ZI_OK;
}

METHOD(list_count)
{
    int64_t count = 0;
    for (size_t i = 0; i < subject->list->count; i++) {
        bool equal;
        ZI_TRY(value_equal(&r->budget, &subject->list->items[i], &arguments->at[0], &equal));
        count += equal;
    }
    *result = value_integer(count);
    return ZI_OK;
}

static const struct function str_methods[] = {
    {"strip", str_strip, "chars", 0},
    {"lstrip", str_lstrip, "chars", 0},
    {"rstrip", str_rstrip, "chars", 0},
    {"lower", str_lower, "", 0},
    {"upper", str_upper, "", 0},
    {"title", str_title, "", 0},
    {"capitalize", str_capitalize, "", 0},
    {"replace", str_replace, "old new count", 2},
    {"startswith", str_startswith, "prefix", 1},
    {"endswith", str_endswith, "suffix", 1},
    {"removeprefix", str_removeprefix, "prefix", 1},
    {"removesuffix", str_removesuffix, "suffix", 1},
    {"join", str_join, "iterable", 1},
    {"find", str_find, "sub", 1},
    {"count", str_count, "sub", 1},
    {"split", str_split, "sep maxsplit", 0},
    {"splitlines", str_splitlines, "keepends", 0},
};
static const struct function dict_methods[] = {
    {"get", dict_get, "key default", 1},
    {"keys", dict_keys, "", 0},
    {"values", dict_values, "", 0},
    {"items", dict_items, "", 0},
};
static const struct function list_methods[] = {
    {"count", list_count, "value", 1},
};

/* What Python has beside them, and macros and the loop: names with blanks around. */
static const char other_str[] =
    " casefold center encode expandtabs format format_map index isalnum isalpha isascii isdecimal "
    "isdigit isidentifier islower isnumeric isprintable isspace istitle isupper ljust maketrans "
    "partition rfind rindex rjust rpartition rsplit swapcase translate zfill ";
static const char other_list[] =
    " append clear copy extend index insert pop remove reverse sort start stop step mapping "
    "gi_code gi_frame gi_running gi_yieldfrom gi_suspended close send throw isdisjoint ";
static const char other_dict[] = " clear copy fromkeys pop popitem setdefault update ";
static const char other_number[] =
    " as_integer_ratio bit_count bit_length conjugate denominator from_bytes fromhex hex imag "
    "is_integer numerator real to_bytes ";
static const char other_macro[] =
    " name arguments catch_kwargs catch_varargs caller explicit_caller ";

/* Whether a list of names has one. */
static bool has_name(const char *names, struct text name)
{
    for (; *names; names++) {
        const char *end = strchr(names + 1, ' ');
        if (!end) return false;
        if (text_same((struct text){names + 1, (size_t)(end - names - 1)}, name)) return true;
        names = end - 1;
    }
    return false;
}

/* Methods of a value, and the names of those that are not done. */
struct methods {
    const struct function *rows;
    size_t count;
    const char *others;
};

static struct methods methods_of(const struct value *object)
{
    enum list_kind kind = object->type == VALUE_LIST ? object->list->kind : LIST_VIEW;
    switch (object->type) {
    case VALUE_TEXT:
        return (struct methods){str_methods, sizeof str_methods / sizeof *str_methods, other_str};
    case VALUE_DICT:
        return (struct methods){dict_methods, sizeof dict_methods / sizeof *dict_methods,
                                other_dict};
    case VALUE_LIST:
        return (struct methods){list_methods, kind <= LIST_TUPLE, other_list};
    case VALUE_BOOL:
    case VALUE_INTEGER:
    case VALUE_FLOAT:
        return (struct methods){NULL, 0, other_number};
    case VALUE_MACRO:
        return (struct methods){NULL, 0, other_macro};
    default:
        return (struct methods){NULL, 0, " "};
    }
}

enum zi_status method_find(struct render *r, const struct value *object, struct text name,
                           bool *found, struct value *value)
{
    const struct methods methods = methods_of(object);
    *found = false;
    if (object->safe)
        return render_fail(r, "methods of a text that is marked as safe are not done");
    if (name.bytes > 4 && memcmp(name.at, "__", 2) == 0)
        return render_fail(r, "the attribute %.*s is not done",
                           (int)(name.bytes > 80 ? 80 : name.bytes), name.at);
    if (has_name(methods.others, name))
        return render_fail(r, "%.*s of a %s is not done", (int)name.bytes, name.at,
                           value_type_name(object));
    for (size_t i = 0; i < methods.count; i++) {
        if (!text_is(name, methods.rows[i].name)) continue;
        void *memory;
        ZI_TRY(arena_take(&r->values, sizeof(struct method), &memory));
        *(struct method *)memory = (struct method){&methods.rows[i], *object};
        *value = (struct value){.type = VALUE_METHOD, .method = memory};
        *found = true;
        return ZI_OK;
    }
    return ZI_OK;
}
