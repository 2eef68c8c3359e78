/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic, attributes, items and slices. */
#include <math.h>
#include <string.h>

#include "chat/characters.h"
#include "chat/render.h"

static enum zi_status too_large(struct render *r)
{
    return render_fail(r, "integers beyond 64 bits are not done");
}

/* Python's: the quotient goes down, the remainder has the sign of the divisor. */
static enum zi_status divide_integers(struct render *r, bool remainder, int64_t a, int64_t b,
                                      int64_t *result)
{
    if (b == 0) return render_fail(r, "division by zero");
    if (b == -1) {
        *result = 0;
        return !remainder && __builtin_sub_overflow(0, a, result) ? too_large(r) : ZI_OK;
    }
    int64_t rest = a % b, quotient = a / b;
    bool down = rest != 0 && (rest < 0) != (b < 0);
    *result = remainder ? rest + (down ? b : 0) : quotient - down;
    return ZI_OK;
}

static enum zi_status power_integers(struct render *r, int64_t a, int64_t b, int64_t *result)
{
    *result = 1;
    if (a == 0 || a == 1) *result = b == 0 ? 1 : a;
    if (a == -1) *result = b % 2 ? -1 : 1;
    if (a >= -1 && a <= 1) return ZI_OK;
    for (; b > 0; b--)
        if (__builtin_mul_overflow(*result, a, result)) return too_large(r);
    return ZI_OK;
}

static enum zi_status binary_integers(struct render *r, enum operator_kind operator, int64_t a,
                                      int64_t b, struct value *value)
{
    bool over = false;
    int64_t result = 0;
    switch (operator) {
    case OPERATOR_ADD:
        over = __builtin_add_overflow(a, b, &result);
        break;
    case OPERATOR_SUBTRACT:
        over = __builtin_sub_overflow(a, b, &result);
        break;
    case OPERATOR_MULTIPLY:
        over = __builtin_mul_overflow(a, b, &result);
        break;
    case OPERATOR_POWER:
        ZI_TRY(power_integers(r, a, b, &result));
        break;
    default:
        ZI_TRY(divide_integers(r, operator== OPERATOR_REMAINDER, a, b, &result));
    }
    *value = value_integer(result);
    return over ? too_large(r) : ZI_OK;
}

static enum zi_status binary_numbers(struct render *r, enum operator_kind operator, double a,
                                     double b, struct value *value)
{
    double result = 0, rest;
    if (operator>= OPERATOR_DIVIDE && operator<= OPERATOR_REMAINDER && b == 0)
        return render_fail(r, "division by zero");
    switch (operator) {
    case OPERATOR_ADD:
        result = a + b;
        break;
    case OPERATOR_SUBTRACT:
        result = a - b;
        break;
    case OPERATOR_MULTIPLY:
        result = a * b;
        break;
    case OPERATOR_DIVIDE:
        result = a / b;
        break;
    case OPERATOR_POWER:
        result = pow(a, b);
        if (!isfinite(result) && isfinite(a) && isfinite(b))
            return render_fail(r, "a power that is no number that is done");
        break;
    default:
        rest = fmod(a, b);
        if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
        if (rest == 0) rest = copysign(0, b);
        result = rest;
        if (operator== OPERATOR_FLOOR)
            result = a - rest == 0 ? copysign(0, a / b) : rint((a - rest) / b);
    }
    *value = (struct value){.type = VALUE_FLOAT, .number = result};
    return ZI_OK;
}

/* A text or list several times. */
static enum zi_status repeat(struct render *r, const struct value *what, int64_t times,
                             struct value *value)
{
    if (times < 0) times = 0;
    if (what->type == VALUE_TEXT) {
        *value = (struct value){.type = VALUE_TEXT, .text = {"", 0}};
        for (int64_t i = 0; i < times && what->text.bytes; i++) {
            ZI_TRY(value_work(&r->budget, 1));
            ZI_TRY(arena_join(&r->texts, value->text, what->text, &value->text));
        }
        return ZI_OK;
    }
    size_t count = what->list->count, all;
    if (__builtin_mul_overflow(count, (size_t)times, &all)) all = SIZE_MAX;
    ZI_TRY(value_list(&r->budget, what->list->kind, all, value));
    for (size_t i = 0; i < all; i++)
        value->list->items[i] = what->list->items[i % count];
    return ZI_OK;
}

static enum zi_status add_lists(struct render *r, const struct list *a, const struct list *b,
                                struct value *value)
{
    ZI_TRY(value_list(&r->budget, a->kind, a->count + b->count, value));
    for (size_t i = 0; i < a->count; i++)
        value->list->items[i] = a->items[i];
    for (size_t i = 0; i < b->count; i++)
        value->list->items[a->count + i] = b->items[i];
    return ZI_OK;
}

static bool is_sequence(const struct value *value)
{
    return value->type == VALUE_TEXT ||
           (value->type == VALUE_LIST &&
            (value->list->kind == LIST_LIST || value->list->kind == LIST_TUPLE));
}

/* Operators on texts and lists; *done is false where Python has none. */
static enum zi_status binary_sequences(struct render *r, enum operator_kind operator,
                                       const struct value * a, const struct value *b,
                                       struct value *value, bool *done)
{
    int64_t times;
    *done = true;
    if (operator== OPERATOR_ADD && a->type == VALUE_TEXT && b->type == VALUE_TEXT) {
        *value = (struct value){.type = VALUE_TEXT};
        ZI_TRY(value_work(&r->budget, (a->text.bytes + b->text.bytes) / 16));
        return arena_join(&r->texts, a->text, b->text, &value->text);
    }
    if (operator== OPERATOR_ADD && a->type == VALUE_LIST && b->type == VALUE_LIST &&
        a->list->kind == b->list->kind && is_sequence(a))
        return add_lists(r, a->list, b->list, value);
    if (operator== OPERATOR_MULTIPLY && is_sequence(a) && value_as_integer(b, &times))
        return repeat(r, a, times, value);
    if (operator== OPERATOR_MULTIPLY && is_sequence(b) && value_as_integer(a, &times))
        return repeat(r, b, times, value);
    *done = false;
    return ZI_OK;
}

enum zi_status value_binary(struct render *r, enum operator_kind operator, const struct value * a,
                            const struct value *b, struct value *value)
{
    static const char *const names[] = {"+", "-", "*", "/", "//", "%", "**"};
    int64_t i, k;
    bool done;
    struct value result;
    if (value_is_number(a) && value_is_number(b)) {
        bool integers = value_as_integer(a, &i) && value_as_integer(b, &k);
        if (integers && operator!= OPERATOR_DIVIDE && !(operator== OPERATOR_POWER && k<0))
            return binary_integers(r, operator, i, k, value);
        return binary_numbers(r, operator, value_as_number(a), value_as_number(b), value);
    }
    if (a->safe || b->safe)
        return render_fail(r, "operators on a text that is marked as safe are not done: write ~");
    ZI_TRY(binary_sequences(r, operator, a, b, &result, &done));
    *value = result;
    if (done) return ZI_OK;
    if (operator== OPERATOR_REMAINDER && a->type == VALUE_TEXT)
        return render_fail(r, "texts are not formatted by %% here: write ~ between the parts");
    return render_fail(r, "%s %s %s is not possible", value_type_name(a), names[operator],
                       value_type_name(b));
}

static enum zi_status loop_item(struct render *r, const struct loop *loop, bool exists,
                                size_t index, struct value *value)
{
    (void)r;
    *value = (struct value){.type = VALUE_UNDEFINED};
    if (exists) *value = loop->items->items[index];
    return ZI_OK;
}

static enum zi_status loop_attribute(struct render *r, struct loop *loop, struct text name,
                                     struct value *value)
{
    size_t count = loop->items->count, i = loop->index;
    const struct {
        const char *name;
        struct value value;
    } rows[] = {{"index", value_integer((int64_t)i + 1)},
                {"index0", value_integer((int64_t)i)},
                {"revindex", value_integer((int64_t)(count - i))},
                {"revindex0", value_integer((int64_t)(count - i) - 1)},
                {"first", value_bool(i == 0)},
                {"last", value_bool(i + 1 == count)},
                {"length", value_integer((int64_t)count)},
                {"depth", value_integer(1)},
                {"depth0", value_integer(0)}};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        if (text_is(name, rows[k].name)) {
            *value = rows[k].value;
            return ZI_OK;
        }
    if (text_is(name, "previtem")) return loop_item(r, loop, i > 0, i - 1, value);
    if (text_is(name, "nextitem")) return loop_item(r, loop, i + 1 < count, i + 1, value);
    return render_fail(r, "loop.%.*s is not done", (int)name.bytes, name.at);
}

enum zi_status value_attribute(struct render *r, const struct value *object, struct text name,
                               struct value *value)
{
    bool found;
    if (object->type == VALUE_UNDEFINED)
        return render_fail(r, "%.*s of an undefined value", (int)name.bytes, name.at);
    if (object->type == VALUE_LOOP) return loop_attribute(r, object->loop, name, value);
    ZI_TRY(method_find(r, object, name, &found, value));
    if (found) return ZI_OK;
    *value = (struct value){.type = VALUE_UNDEFINED};
    if (object->type != VALUE_DICT && object->type != VALUE_NAMESPACE) return ZI_OK;
    const struct value key = {.type = VALUE_TEXT, .text = name};
    struct value *item;
    ZI_TRY(dict_find(&r->budget, object->dict, &key, &item));
    if (item) *value = *item;
    return ZI_OK;
}

/* Item `index` of a sequence, from the end where it is negative. */
static enum zi_status sequence_item(struct render *r, const struct value *object, int64_t index,
                                    struct value *value)
{
    *value = (struct value){.type = VALUE_UNDEFINED};
    if (object->type == VALUE_TEXT) {
        ZI_TRY(value_work(&r->budget, object->text.bytes / 16));
        int64_t count = (int64_t)characters_count(object->text);
        if (index < 0) index += count;
        if (index < 0 || index >= count) return ZI_OK;
        const char *at = object->text.at + characters_offset(object->text, (size_t)index);
        *value = (struct value){.type = VALUE_TEXT, .text = {at, character_length(*at)}};
        return ZI_OK;
    }
    int64_t count = (int64_t)object->list->count;
    if (index < 0) index += count;
    if (index < 0 || index >= count || object->list->kind >= LIST_VIEW) return ZI_OK;
    *value = object->list->items[index];
    return ZI_OK;
}

enum zi_status value_item(struct render *r, const struct value *object, const struct value *index,
                          struct value *value)
{
    int64_t integer;
    if (object->type == VALUE_UNDEFINED) return render_fail(r, "an item of an undefined value");
    if (object->type == VALUE_DICT &&
        (index->type == VALUE_TEXT || index->type == VALUE_NONE || value_is_number(index))) {
        struct value *item;
        ZI_TRY(dict_find(&r->budget, object->dict, index, &item));
        if (item) {
            *value = *item;
            return ZI_OK;
        }
    }
    if ((object->type == VALUE_TEXT || object->type == VALUE_LIST) &&
        value_as_integer(index, &integer))
        return sequence_item(r, object, integer, value);
    if (index->type == VALUE_TEXT) return value_attribute(r, object, index->text, value);
    *value = (struct value){.type = VALUE_UNDEFINED};
    return ZI_OK;
}

/* Puts the bounds of a slice where Python does. */
static enum zi_status slice_bounds(struct render *r, const struct value bounds[3], int64_t count,
                                   int64_t found[3])
{
    found[2] = 1;
    if (bounds[2].type != VALUE_NONE && !value_as_integer(&bounds[2], &found[2]))
        return render_fail(r, "a slice by a %s", value_type_name(&bounds[2]));
    if (found[2] == 0) return render_fail(r, "a slice whose step is 0");
    bool back = found[2] < 0;
    found[0] = back ? count - 1 : 0;
    found[1] = back ? -1 : count;
    for (int i = 0; i < 2; i++) {
        if (bounds[i].type == VALUE_NONE) continue;
        if (!value_as_integer(&bounds[i], &found[i]))
            return render_fail(r, "a slice by a %s", value_type_name(&bounds[i]));
        if (found[i] < 0) found[i] += count;
        int64_t low = back ? -1 : 0, high = back ? count - 1 : count;
        found[i] = found[i] < low ? low : found[i] > high ? high : found[i];
    }
    return ZI_OK;
}

static enum zi_status slice_items(struct render *r, const struct list *items,
                                  const int64_t bounds[3], enum list_kind kind, struct value *value)
{
    int64_t step = bounds[2], span = step > 0 ? bounds[1] - bounds[0] : bounds[0] - bounds[1];
    uint64_t size = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
    size_t count = span <= 0 ? 0 : (size_t)(((uint64_t)span - 1) / size + 1);
    ZI_TRY(value_list(&r->budget, kind, count, value));
    for (size_t i = 0; i < count; i++)
        value->list->items[i] = items->items[bounds[0] + (int64_t)i * step];
    return ZI_OK;
}

static enum zi_status slice_text(struct render *r, struct text text, const struct value bounds[3],
                                 struct value *value)
{
    int64_t found[3];
    struct list *characters;
    const struct value whole = {.type = VALUE_TEXT, .text = text};
    ZI_TRY(value_work(&r->budget, text.bytes / 16));
    ZI_TRY(slice_bounds(r, bounds, (int64_t)characters_count(text), found));
    *value = (struct value){.type = VALUE_TEXT, .text = {"", 0}};
    if (found[2] == 1) {
        size_t first = characters_offset(text, (size_t)found[0]);
        size_t end = characters_offset(text, (size_t)found[1]);
        if (first < end) value->text = (struct text){text.at + first, end - first};
        return ZI_OK;
    }
    struct value picked;
    ZI_TRY(value_items(&r->budget, &whole, &characters));
    ZI_TRY(slice_items(r, characters, found, LIST_LIST, &picked));
    for (size_t i = 0; i < picked.list->count; i++)
        ZI_TRY(arena_join(&r->texts, value->text, picked.list->items[i].text, &value->text));
    return ZI_OK;
}

enum zi_status value_slice(struct render *r, const struct value *object,
                           const struct value bounds[3], struct value *value)
{
    int64_t found[3];
    if (object->type == VALUE_TEXT) return slice_text(r, object->text, bounds, value);
    if (object->type == VALUE_LIST && object->list->kind < LIST_VIEW) {
        ZI_TRY(slice_bounds(r, bounds, (int64_t)object->list->count, found));
        return slice_items(r, object->list, found, object->list->kind, value);
    }
    return render_fail(r, "a slice of a %s", value_type_name(object));
}
