/* SPDX-License-Identifier: Apache-2.0 */
#include "chat/value.h"

#include <jansson.h>
#include <string.h>

#include "chat/characters.h"
#include "chat/compare.h"

enum zi_status value_work(struct budget *budget, size_t units)
{
    if ((uint64_t)budget->work < units) {
        budget->work = 0;
        return place_fail(budget->values->place, "the template does not come to an end");
    }
    budget->work -= (int64_t)units;
    return ZI_OK;
}

struct value value_text(const char *text)
{
    return (struct value){.type = VALUE_TEXT, .text = {text, strlen(text)}};
}

struct value value_bool(bool truth)
{
    return (struct value){.type = VALUE_BOOL, .truth = truth};
}

struct value value_integer(int64_t integer)
{
    return (struct value){.type = VALUE_INTEGER, .integer = integer};
}

enum zi_status value_list(struct budget *budget, enum list_kind kind, size_t count,
                          struct value *value)
{
    void *list, *items;
    if (count > SIZE_MAX / sizeof(struct value)) count = SIZE_MAX / sizeof(struct value);
    ZI_TRY(value_work(budget, count));
    ZI_TRY(arena_take(budget->values, sizeof(struct list), &list));
    ZI_TRY(arena_take(budget->values, count * sizeof(struct value), &items));
    *value = (struct value){.type = VALUE_LIST, .list = list};
    *value->list = (struct list){.kind = kind, .count = count, .items = items};
    return ZI_OK;
}

enum zi_status value_dict(struct budget *budget, size_t capacity, struct value *value)
{
    void *dict, *entries;
    ZI_TRY(value_work(budget, capacity));
    ZI_TRY(arena_take(budget->values, sizeof(struct dict), &dict));
    ZI_TRY(arena_take(budget->values, capacity * sizeof(struct entry), &entries));
    *value = (struct value){.type = VALUE_DICT, .dict = dict};
    *value->dict = (struct dict){.capacity = capacity, .entries = entries};
    return ZI_OK;
}

enum zi_status dict_find(struct budget *budget, const struct dict *dict, const struct value *key,
                         struct value **found)
{
    *found = NULL;
    ZI_TRY(value_work(budget, dict->count));
    for (size_t i = 0; i < dict->count; i++) {
        bool equal;
        ZI_TRY(value_equal(budget, &dict->entries[i].key, key, &equal));
        if (!equal) continue;
        *found = &dict->entries[i].value;
        return ZI_OK;
    }
    return ZI_OK;
}

static enum zi_status dict_grow(struct budget *budget, struct dict *dict)
{
    size_t capacity = dict->capacity ? 2 * dict->capacity : 4;
    void *entries;
    ZI_TRY(arena_take(budget->values, capacity * sizeof *dict->entries, &entries));
    if (dict->count) memcpy(entries, dict->entries, dict->count * sizeof *dict->entries);
    dict->entries = entries;
    dict->capacity = capacity;
    return ZI_OK;
}

enum zi_status dict_set(struct budget *budget, struct dict *dict, struct value key,
                        struct value value)
{
    struct value *found;
    ZI_TRY(value_check_key(budget, &key));
    ZI_TRY(dict_find(budget, dict, &key, &found));
    if (found) {
        *found = value;
        return ZI_OK;
    }
    if (dict->count == dict->capacity) ZI_TRY(dict_grow(budget, dict));
    dict->entries[dict->count++] = (struct entry){key, value};
    return ZI_OK;
}

static enum zi_status list_of_json(struct budget *budget, const json_t *json, int depth,
                                   struct value *value)
{
    size_t count = json_array_size(json);
    ZI_TRY(value_list(budget, LIST_LIST, count, value));
    for (size_t i = 0; i < count; i++)
        ZI_TRY(value_of_json(budget, json_array_get(json, i), depth + 1, &value->list->items[i]));
    return ZI_OK;
}

/* Keys of JSON differ from each other, so that none has to be looked for. */
static enum zi_status dict_of_json(struct budget *budget, const json_t *json, int depth,
                                   struct value *value)
{
    void *iterator = json_object_iter((json_t *)json);
    ZI_TRY(value_dict(budget, json_object_size(json), value));
    for (; iterator; iterator = json_object_iter_next((json_t *)json, iterator)) {
        struct entry *entry = &value->dict->entries[value->dict->count++];
        entry->key = (struct value){
            .type = VALUE_TEXT,
            .text = {json_object_iter_key(iterator), strlen(json_object_iter_key(iterator))}};
        ZI_TRY(value_of_json(budget, json_object_iter_value(iterator), depth + 1, &entry->value));
    }
    return ZI_OK;
}

enum zi_status value_of_json(struct budget *budget, const json_t *json, int depth,
                             struct value *value)
{
    if (depth > VALUE_DEPTH)
        return place_fail(budget->values->place, "values are deeper than %d", VALUE_DEPTH);
    ZI_TRY(value_work(budget, 1));
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return dict_of_json(budget, json, depth, value);
    case JSON_ARRAY:
        return list_of_json(budget, json, depth, value);
    case JSON_STRING:
        *value = (struct value){.type = VALUE_TEXT,
                                .text = {json_string_value(json), json_string_length(json)}};
        return ZI_OK;
    case JSON_INTEGER:
        *value = value_integer(json_integer_value(json));
        return ZI_OK;
    case JSON_REAL:
        *value = (struct value){.type = VALUE_FLOAT, .number = json_real_value(json)};
        return ZI_OK;
    case JSON_NULL:
        *value = (struct value){.type = VALUE_NONE};
        return ZI_OK;
    default:
        *value = value_bool(json_is_true(json));
        return ZI_OK;
    }
}

bool value_truth(const struct value *value)
{
    switch (value->type) {
    case VALUE_ABSENT:
    case VALUE_UNDEFINED:
    case VALUE_NONE:
        return false;
    case VALUE_BOOL:
        return value->truth;
    case VALUE_INTEGER:
        return value->integer != 0;
    case VALUE_FLOAT:
        return value->number != 0;
    case VALUE_TEXT:
        return value->text.bytes > 0;
    case VALUE_LIST:
        return value->list->count > 0 || value->list->kind == LIST_GENERATOR;
    case VALUE_DICT:
        return value->dict->count > 0;
    default:
        return true;
    }
}

bool value_is_number(const struct value *value)
{
    return value->type == VALUE_BOOL || value->type == VALUE_INTEGER || value->type == VALUE_FLOAT;
}

bool value_as_integer(const struct value *value, int64_t *integer)
{
    if (value->type == VALUE_INTEGER) *integer = value->integer;
    if (value->type == VALUE_BOOL) *integer = value->truth;
    return value->type == VALUE_INTEGER || value->type == VALUE_BOOL;
}

double value_as_number(const struct value *value)
{
    int64_t integer = 0;
    return value_as_integer(value, &integer) ? (double)integer : value->number;
}

const char *value_type_name(const struct value *value)
{
    static const char *const names[] = {[VALUE_ABSENT] = "missing value",
                                        [VALUE_UNDEFINED] = "undefined value",
                                        [VALUE_NONE] = "none",
                                        [VALUE_BOOL] = "bool",
                                        [VALUE_INTEGER] = "int",
                                        [VALUE_FLOAT] = "float",
                                        [VALUE_TEXT] = "str",
                                        [VALUE_DICT] = "dict",
                                        [VALUE_NAMESPACE] = "namespace",
                                        [VALUE_FUNCTION] = "function",
                                        [VALUE_METHOD] = "method",
                                        [VALUE_MACRO] = "macro",
                                        [VALUE_LOOP] = "loop"};
    static const char *const lists[] = {[LIST_LIST] = "list",
                                        [LIST_TUPLE] = "tuple",
                                        [LIST_RANGE] = "range",
                                        [LIST_VIEW] = "view of a dict",
                                        [LIST_GENERATOR] = "generator"};
    return value->type == VALUE_LIST ? lists[value->list->kind] : names[value->type];
}

static enum zi_status characters_of(struct budget *budget, struct text text, struct list **items)
{
    struct value list;
    ZI_TRY(value_list(budget, LIST_LIST, characters_count(text), &list));
    for (size_t i = 0, at = 0; i < list.list->count; i++) {
        size_t length = character_length(text.at[at]);
        list.list->items[i] = (struct value){.type = VALUE_TEXT, .text = {text.at + at, length}};
        at += length;
    }
    *items = list.list;
    return ZI_OK;
}

enum zi_status value_items(struct budget *budget, const struct value *value, struct list **items)
{
    static struct list none = {.kind = LIST_LIST};
    struct value list;
    switch (value->type) {
    case VALUE_UNDEFINED:
        *items = &none;
        return ZI_OK;
    case VALUE_TEXT:
        return characters_of(budget, value->text, items);
    case VALUE_DICT:
        ZI_TRY(value_list(budget, LIST_LIST, value->dict->count, &list));
        for (size_t i = 0; i < value->dict->count; i++)
            list.list->items[i] = value->dict->entries[i].key;
        *items = list.list;
        return ZI_OK;
    case VALUE_LIST:
        *items = value->list->used ? &none : value->list;
        if (value->list->kind == LIST_GENERATOR) value->list->used = true;
        return ZI_OK;
    default:
        return place_fail(budget->values->place, "a %s cannot be run through",
                          value_type_name(value));
    }
}
