/* SPDX-License-Identifier: Apache-2.0 */
/* How arguments come to the parameters of a function, and the functions that are always there. */
#include "chat/call.h"

#include <string.h>

#include "chat/characters.h"
#include "chat/render.h"

/* The name of parameter `at` of a row; of 0 bytes behind the last. */
static struct text parameter_name(const struct function *function, size_t at)
{
    const char *name = function->parameters;
    for (; at > 0; at--) {
        name += strcspn(name, " ");
        name += *name == ' ';
    }
    return (struct text){name, strcspn(name, " ")};
}

static enum zi_status bind_keyword(struct render *r, const struct function *function,
                                   const struct keyword *keyword,
                                   struct value bound[MOST_PARAMETERS])
{
    for (size_t i = 0; i < MOST_PARAMETERS; i++) {
        struct text name = parameter_name(function, i);
        if (name.bytes == 0) break;
        if (!text_same(name, keyword->name)) continue;
        if (bound[i].type != VALUE_ABSENT)
            return render_fail(r, "%s: the argument %.*s is given twice", function->name,
                               (int)name.bytes, name.at);
        bound[i] = keyword->value;
        return ZI_OK;
    }
    return render_fail(r, "%s: the argument %.*s is not done", function->name,
                       (int)keyword->name.bytes, keyword->name.at);
}

enum zi_status function_apply(struct render *r, const struct function *function,
                              const struct value *subject, const struct arguments *arguments,
                              struct value *result)
{
    struct value bound[MOST_PARAMETERS] = {{.type = VALUE_ABSENT}}, object, made;
    struct arguments all = {MOST_PARAMETERS, 0, bound, NULL};
    if (subject) object = *subject; /* it may be where the result goes */
    subject = subject ? &object : NULL;
    if (function->parameters) {
        for (size_t i = 0; i < arguments->count; i++) {
            if (i >= MOST_PARAMETERS || parameter_name(function, i).bytes == 0)
                return render_fail(r, "%s: %zu arguments are not done", function->name,
                                   arguments->count);
            bound[i] = arguments->at[i];
        }
        for (size_t i = 0; i < arguments->keyword_count; i++)
            ZI_TRY(bind_keyword(r, function, &arguments->keywords[i], bound));
        for (size_t i = 0; i < function->required; i++)
            if (bound[i].type == VALUE_ABSENT)
                return render_fail(r, "%s: the argument %.*s is missing", function->name,
                                   (int)parameter_name(function, i).bytes,
                                   parameter_name(function, i).at);
    }
    ZI_TRY(function->call(r, subject, function->parameters ? &all : arguments, &made));
    *result = made;
    return ZI_OK;
}

enum zi_status argument_text(struct render *r, const struct value *argument, struct text *text)
{
    *text = argument->type == VALUE_TEXT ? argument->text : (struct text){"", 0};
    if (argument->type == VALUE_TEXT) return ZI_OK;
    return render_fail(r, "a %s where a str should be", value_type_name(argument));
}

enum zi_status argument_integer(struct render *r, const struct value *argument, int64_t *integer)
{
    if (argument->type == VALUE_ABSENT || argument->type == VALUE_NONE) return ZI_OK;
    if (!value_as_integer(argument, integer))
        return render_fail(r, "a %s where an int should be", value_type_name(argument));
    return ZI_OK;
}

static enum zi_status call_raise(struct render *r, const struct value *subject,
                                 const struct arguments *arguments, struct value *result)
{
    struct text text;
    (void)subject;
    *result = (struct value){.type = VALUE_NONE};
    ZI_TRY(render_text(r, &arguments->at[0], &text));
    return render_fail(r, "the template refuses these messages: %.*s",
                       (int)(text.bytes > 400 ? 400 : text.bytes), text.at);
}

static enum zi_status call_strftime(struct render *r, const struct value *subject,
                                    const struct arguments *arguments, struct value *result)
{
    char format[100], text[4000];
    struct text wanted;
    (void)subject;
    ZI_TRY(argument_text(r, &arguments->at[0], &wanted));
    if (wanted.bytes >= sizeof format || memchr(wanted.at, 0, wanted.bytes))
        return render_fail(r, "strftime_now: the format is too long");
    memcpy(format, wanted.at, wanted.bytes);
    format[wanted.bytes] = 0;
    *result = (struct value){.type = VALUE_TEXT};
    size_t bytes = strftime(text, sizeof text, format, r->now);
    return arena_copy(&r->texts, (struct text){text, bytes}, &result->text);
}

static enum zi_status call_range(struct render *r, const struct value *subject,
                                 const struct arguments *arguments, struct value *result)
{
    enum { MOST = 100000 }; /* as in the sandbox that transformers uses */
    int64_t first = 0, end = 0, step = 1;
    (void)subject;
    ZI_TRY(argument_integer(r, &arguments->at[0], &end));
    if (arguments->at[0].type == VALUE_NONE) return render_fail(r, "range of none");
    if (arguments->at[1].type != VALUE_ABSENT) {
        first = end;
        ZI_TRY(argument_integer(r, &arguments->at[1], &end));
    }
    ZI_TRY(argument_integer(r, &arguments->at[2], &step));
    if (step == 0) return render_fail(r, "range: the step is 0");
    bool up = step > 0;
    uint64_t span = up ? (uint64_t)end - (uint64_t)first : (uint64_t)first - (uint64_t)end;
    uint64_t size = up ? (uint64_t)step : 0 - (uint64_t)step;
    uint64_t count = (up ? first < end : first > end) ? (span - 1) / size + 1 : 0;
    if (count > MOST) return render_fail(r, "range: more than %d numbers", MOST);
    ZI_TRY(value_list(&r->budget, LIST_RANGE, (size_t)count, result));
    for (size_t i = 0; i < count; i++)
        result->list->items[i] = value_integer((int64_t)((uint64_t)first + i * (uint64_t)step));
    return ZI_OK;
}

/* dict(a=1) and namespace(a=1), also of a dict that is copied. */
static enum zi_status make_dict(struct render *r, const struct arguments *arguments,
                                struct value *result)
{
    ZI_TRY(value_dict(&r->budget, 0, result));
    if (arguments->count > 1) return render_fail(r, "a dict or namespace of several values");
    if (arguments->count == 1) {
        const struct value *other = &arguments->at[0];
        if (other->type != VALUE_DICT)
            return render_fail(r, "a dict or namespace of a %s is not done",
                               value_type_name(other));
        for (size_t i = 0; i < other->dict->count; i++)
            ZI_TRY(dict_set(&r->budget, result->dict, other->dict->entries[i].key,
                            other->dict->entries[i].value));
    }
    for (size_t i = 0; i < arguments->keyword_count; i++) {
        const struct keyword *keyword = &arguments->keywords[i];
        ZI_TRY(dict_set(&r->budget, result->dict,
                        (struct value){.type = VALUE_TEXT, .text = keyword->name}, keyword->value));
    }
    return ZI_OK;
}

static enum zi_status call_dict(struct render *r, const struct value *subject,
                                const struct arguments *arguments, struct value *result)
{
    (void)subject;
    return make_dict(r, arguments, result);
}

static enum zi_status call_namespace(struct render *r, const struct value *subject,
                                     const struct arguments *arguments, struct value *result)
{
    (void)subject;
    ZI_TRY(make_dict(r, arguments, result));
    result->type = VALUE_NAMESPACE;
    return ZI_OK;
}

const struct function *global_find(struct text name)
{
    static const struct function rows[] = {
        {"raise_exception", call_raise, "message", 1}, {"strftime_now", call_strftime, "format", 1},
        {"range", call_range, "start stop step", 1},   {"dict", call_dict, NULL, 0},
        {"namespace", call_namespace, NULL, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (text_is(name, rows[i].name)) return &rows[i];
    return NULL;
}
