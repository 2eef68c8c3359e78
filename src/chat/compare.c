/* SPDX-License-Identifier: Apache-2.0 */
#include "chat/compare.h"

#include <math.h>

#include "chat/characters.h"

enum zi_status value_check_key(struct budget *budget, const struct value *key)
{
    bool hashable = key->type == VALUE_TEXT || key->type == VALUE_NONE ||
                    key->type == VALUE_UNDEFINED || value_is_number(key);
    bool mutable =
        key->type == VALUE_DICT || (key->type == VALUE_LIST && key->list->kind == LIST_LIST);
    if (hashable) return ZI_OK;
    return place_fail(budget->values->place,
                      mutable ? "a %s cannot be a key" : "a %s as a key is not done",
                      value_type_name(key));
}

/* As numbers, exactly where one is an integer: a long double has 64 bits of fraction here. */
static int order_numbers(const struct value *a, const struct value *b)
{
    int64_t i = 0, k = 0;
    long double x = value_as_integer(a, &i) ? (long double)i : (long double)a->number;
    long double y = value_as_integer(b, &k) ? (long double)k : (long double)b->number;
    return x < y ? -1 : x > y;
}

static int order_texts(struct text a, struct text b)
{
    size_t least = a.bytes < b.bytes ? a.bytes : b.bytes;
    int order = least ? memcmp(a.at, b.at, least) : 0;
    if (order == 0) order = a.bytes < b.bytes ? -1 : a.bytes > b.bytes;
    return order < 0 ? -1 : order > 0;
}

/* Two values that are compared, and how deep in others they lie. */
struct pair {
    struct budget *budget;
    int depth;
};

static enum zi_status equal_at(struct pair pair, const struct value *a, const struct value *b,
                               bool *equal);

static enum zi_status equal_lists(struct pair pair, const struct list *a, const struct list *b,
                                  bool *equal)
{
    *equal = a == b;
    if (a == b || a->kind != b->kind || a->count != b->count) return ZI_OK;
    if (a->kind == LIST_VIEW || a->kind == LIST_GENERATOR)
        return place_fail(pair.budget->values->place,
                          "to compare views of dicts or generators is not done");
    *equal = true;
    for (size_t i = 0; i < a->count && *equal; i++)
        ZI_TRY(equal_at(pair, &a->items[i], &b->items[i], equal));
    return ZI_OK;
}

static enum zi_status equal_dicts(struct pair pair, const struct dict *a, const struct dict *b,
                                  bool *equal)
{
    *equal = a->count == b->count;
    for (size_t i = 0; i < a->count && *equal; i++) {
        struct value *other;
        ZI_TRY(dict_find(pair.budget, b, &a->entries[i].key, &other));
        *equal = other;
        if (other) ZI_TRY(equal_at(pair, &a->entries[i].value, other, equal));
    }
    return ZI_OK;
}

static enum zi_status equal_at(struct pair pair, const struct value *a, const struct value *b,
                               bool *equal)
{
    if (++pair.depth > VALUE_DEPTH)
        return place_fail(pair.budget->values->place, "values are deeper than %d", VALUE_DEPTH);
    ZI_TRY(value_work(pair.budget, 1));
    if (value_is_number(a) && value_is_number(b)) {
        bool is_nan = isnan(value_as_number(a)) || isnan(value_as_number(b));
        *equal = !is_nan && order_numbers(a, b) == 0;
        return ZI_OK;
    }
    *equal = false;
    if (a->type != b->type) return ZI_OK;
    switch (a->type) {
    case VALUE_TEXT:
        ZI_TRY(value_work(pair.budget, a->text.bytes / 16));
        *equal = text_same(a->text, b->text);
        return ZI_OK;
    case VALUE_LIST:
        return equal_lists(pair, a->list, b->list, equal);
    case VALUE_DICT:
        return equal_dicts(pair, a->dict, b->dict, equal);
    case VALUE_NAMESPACE:
        *equal = a->dict == b->dict;
        return ZI_OK;
    case VALUE_UNDEFINED:
    case VALUE_NONE:
        *equal = true;
        return ZI_OK;
    default:
        return place_fail(pair.budget->values->place, "to compare a %s is not done",
                          value_type_name(a));
    }
}

enum zi_status value_equal(struct budget *budget, const struct value *a, const struct value *b,
                           bool *equal)
{
    return equal_at((struct pair){budget, 0}, a, b, equal);
}

enum zi_status value_order(struct budget *budget, const struct value *a, const struct value *b,
                           int *order)
{
    if (value_is_number(a) && value_is_number(b)) {
        if (isnan(value_as_number(a)) || isnan(value_as_number(b)))
            return place_fail(budget->values->place, "to order what is no number is not done");
        *order = order_numbers(a, b);
        return ZI_OK;
    }
    if (a->type == VALUE_TEXT && b->type == VALUE_TEXT) {
        ZI_TRY(value_work(budget, a->text.bytes / 16));
        *order = order_texts(a->text, b->text);
        return ZI_OK;
    }
    return place_fail(budget->values->place, "%s and %s have no order that is done here",
                      value_type_name(a), value_type_name(b));
}

enum zi_status value_in(struct budget *budget, const struct value *item,
                        const struct value *container, bool *is_in)
{
    *is_in = false;
    if (container->type == VALUE_TEXT) {
        if (item->type != VALUE_TEXT)
            return place_fail(budget->values->place, "a %s cannot be in a str",
                              value_type_name(item));
        ZI_TRY(value_work(budget, container->text.bytes / 16));
        *is_in = text_find(container->text, item->text) >= 0;
        return ZI_OK;
    }
    if (container->type == VALUE_DICT) {
        struct value *found;
        ZI_TRY(value_check_key(budget, item));
        ZI_TRY(dict_find(budget, container->dict, item, &found));
        *is_in = found;
        return ZI_OK;
    }
    struct list *items;
    ZI_TRY(value_items(budget, container, &items));
    for (size_t i = 0; i < items->count && !*is_in; i++)
        ZI_TRY(value_equal(budget, &items->items[i], item, is_in));
    return ZI_OK;
}
