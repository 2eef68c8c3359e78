/* SPDX-License-Identifier: Apache-2.0 */
/* What stands behind `is`. */
#include "chat/characters.h"
#include "chat/compare.h"
#include "chat/render.h"

/* Tests of the kind of a value, one function each. */
#define TEST(NAME, HOLDS)                                                                          \
    static enum zi_status NAME(struct render *r, const struct value *subject,                      \
                               const struct arguments *arguments, struct value *result)            \
    {                                                                                              \
        (void)r;                                                                                   \
        (void)arguments;                                                                           \
        *result = value_bool(HOLDS);                                                               \
        return ZI_OK;                                                                              \
    }

TEST(is_defined, subject->type != VALUE_UNDEFINED)
TEST(is_undefined, subject->type == VALUE_UNDEFINED)
TEST(is_none, subject->type == VALUE_NONE)
TEST(is_string, subject->type == VALUE_TEXT)
TEST(is_mapping, subject->type == VALUE_DICT)
TEST(is_number, value_is_number(subject))
TEST(is_integer, subject->type == VALUE_INTEGER)
TEST(is_float, subject->type == VALUE_FLOAT)
TEST(is_boolean, subject->type == VALUE_BOOL)
TEST(is_true, subject->type == VALUE_BOOL && subject->truth)
TEST(is_false, subject->type == VALUE_BOOL && !subject->truth)
TEST(is_iterable, subject->type == VALUE_UNDEFINED || subject->type == VALUE_TEXT ||
                      subject->type == VALUE_DICT || subject->type == VALUE_LIST ||
                      subject->type == VALUE_LOOP)
TEST(is_sequence, subject->type == VALUE_UNDEFINED || subject->type == VALUE_TEXT ||
                      subject->type == VALUE_DICT ||
                      (subject->type == VALUE_LIST && subject->list->kind < LIST_VIEW))
TEST(is_callable, subject->type == VALUE_UNDEFINED || subject->type == VALUE_FUNCTION ||
                      subject->type == VALUE_METHOD || subject->type == VALUE_MACRO)

static enum zi_status is_in(struct render *r, const struct value *subject,
                            const struct arguments *arguments, struct value *result)
{
    bool holds;
    ZI_TRY(value_in(&r->budget, subject, &arguments->at[0], &holds));
    *result = value_bool(holds);
    return ZI_OK;
}

static enum zi_status is_equal(struct render *r, const struct value *subject,
                               const struct arguments *arguments, struct value *result)
{
    bool holds;
    ZI_TRY(value_equal(&r->budget, subject, &arguments->at[0], &holds));
    *result = value_bool(holds);
    return ZI_OK;
}

static enum zi_status is_unequal(struct render *r, const struct value *subject,
                                 const struct arguments *arguments, struct value *result)
{
    ZI_TRY(is_equal(r, subject, arguments, result));
    result->truth = !result->truth;
    return ZI_OK;
}

/* Tests of the order of two values. */
#define ORDER_TEST(NAME, HOLDS)                                                                    \
    static enum zi_status NAME(struct render *r, const struct value *subject,                      \
                               const struct arguments *arguments, struct value *result)            \
    {                                                                                              \
        int order;                                                                                 \
        ZI_TRY(value_order(&r->budget, subject, &arguments->at[0], &order));                       \
        *result = value_bool(HOLDS);                                                               \
        return ZI_OK;                                                                              \
    }

ORDER_TEST(is_less, order < 0)
ORDER_TEST(is_less_equal, order <= 0)
ORDER_TEST(is_greater, order > 0)
ORDER_TEST(is_greater_equal, order >= 0)

static enum zi_status is_divisible(struct render *r, const struct value *subject,
                                   const struct arguments *arguments, struct value *result)
{
    const struct value zero = value_integer(0);
    struct value rest;
    bool holds;
    ZI_TRY(value_binary(r, OPERATOR_REMAINDER, subject, &arguments->at[0], &rest));
    ZI_TRY(value_equal(&r->budget, &rest, &zero, &holds));
    *result = value_bool(holds);
    return ZI_OK;
}

static enum zi_status is_even(struct render *r, const struct value *subject,
                              const struct arguments *arguments, struct value *result)
{
    struct value two = value_integer(2);
    const struct arguments by_two = {1, 0, &two, NULL};
    (void)arguments;
    return is_divisible(r, subject, &by_two, result);
}

static enum zi_status is_odd(struct render *r, const struct value *subject,
                             const struct arguments *arguments, struct value *result)
{
    ZI_TRY(is_even(r, subject, arguments, result));
    result->truth = !result->truth;
    return ZI_OK;
}

const struct function *test_find(struct text name)
{
    static const struct function rows[] = {
        {"defined", is_defined, "", 0},
        {"undefined", is_undefined, "", 0},
        {"none", is_none, "", 0},
        {"string", is_string, "", 0},
        {"mapping", is_mapping, "", 0},
        {"iterable", is_iterable, "", 0},
        {"sequence", is_sequence, "", 0},
        {"number", is_number, "", 0},
        {"integer", is_integer, "", 0},
        {"float", is_float, "", 0},
        {"boolean", is_boolean, "", 0},
        {"true", is_true, "", 0},
        {"false", is_false, "", 0},
        {"callable", is_callable, "", 0},
        {"in", is_in, "seq", 1},
        {"eq", is_equal, "b", 1},
        {"equalto", is_equal, "b", 1},
        {"==", is_equal, "b", 1},
        {"ne", is_unequal, "b", 1},
        {"!=", is_unequal, "b", 1},
        {"lt", is_less, "b", 1},
        {"lessthan", is_less, "b", 1},
        {"<", is_less, "b", 1},
        {"le", is_less_equal, "b", 1},
        {"<=", is_less_equal, "b", 1},
        {"gt", is_greater, "b", 1},
        {"greaterthan", is_greater, "b", 1},
        {">", is_greater, "b", 1},
        {"ge", is_greater_equal, "b", 1},
        {">=", is_greater_equal, "b", 1},
        {"divisibleby", is_divisible, "num", 1},
        {"even", is_even, "", 0},
        {"odd", is_odd, "", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (text_is(name, rows[i].name)) return &rows[i];
    return NULL;
}
