/* SPDX-License-Identifier: Apache-2.0 */
#include "chat/parser.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "chat/call.h"
#include "chat/characters.h"

static enum zi_status constant(struct parser *p, struct value value, struct node **node)
{
    ZI_TRY(parser_node(p, NODE_CONSTANT, node));
    (*node)->value = value;
    p->at++;
    return ZI_OK;
}

static enum zi_status number(struct parser *p, struct node **node)
{
    char digits[64];
    snprintf(digits, sizeof digits, "%.*s", (int)p->at->text.bytes, p->at->text.at);
    if (p->at->kind == TOKEN_FLOAT)
        return constant(p, (struct value){.type = VALUE_FLOAT, .number = strtod(digits, NULL)},
                        node);
    errno = 0;
    long long integer = strtoll(digits, NULL, 10);
    if (errno) return place_fail(p->place, "the number %s is too large", digits);
    return constant(p, value_integer(integer), node);
}

/* Strings that stand side by side are one. */
static enum zi_status string(struct parser *p, struct node **node)
{
    struct value value = {.type = VALUE_TEXT, .text = p->at->text};
    while (p->at[1].kind == TOKEN_STRING) {
        p->at++;
        ZI_TRY(arena_join(p->arena, value.text, p->at->text, &value.text));
    }
    return constant(p, value, node);
}

static enum zi_status name(struct parser *p, struct node **node)
{
    static const struct {
        const char *name;
        struct value value;
    } constants[] = {{"true", {.type = VALUE_BOOL, .truth = true}},
                     {"True", {.type = VALUE_BOOL, .truth = true}},
                     {"false", {.type = VALUE_BOOL, .truth = false}},
                     {"False", {.type = VALUE_BOOL, .truth = false}},
                     {"none", {.type = VALUE_NONE}},
                     {"None", {.type = VALUE_NONE}}};
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (text_is(p->at->text, constants[i].name)) return constant(p, constants[i].value, node);
    ZI_TRY(parser_node(p, NODE_NAME, node));
    (*node)->value = (struct value){.type = VALUE_TEXT, .text = p->at->text};
    p->at++;
    return ZI_OK;
}

/* Items up to a closing bracket, which is taken. */
static enum zi_status items(struct parser *p, const char *close, struct node **first)
{
    struct node **last = first;
    while (!parser_takes(p, close)) {
        if (last != first) ZI_TRY(parser_expect(p, ","));
        if (parser_takes(p, close)) return ZI_OK;
        ZI_TRY(parser_expression(p, last));
        last = &(*last)->next;
    }
    return ZI_OK;
}

static enum zi_status dict(struct parser *p, struct node *node)
{
    struct node **last = &node->a;
    p->at++;
    while (!parser_takes(p, "}")) {
        if (last != &node->a) ZI_TRY(parser_expect(p, ","));
        if (parser_takes(p, "}")) return ZI_OK;
        ZI_TRY(parser_node(p, NODE_PAIR, last));
        ZI_TRY(parser_expression(p, &(*last)->a));
        ZI_TRY(parser_expect(p, ":"));
        ZI_TRY(parser_expression(p, &(*last)->b));
        last = &(*last)->next;
    }
    return ZI_OK;
}

static enum zi_status primary(struct parser *p, struct node **node)
{
    if (p->at->kind == TOKEN_NAME) return name(p, node);
    if (p->at->kind == TOKEN_STRING) return string(p, node);
    if (p->at->kind == TOKEN_INTEGER || p->at->kind == TOKEN_FLOAT) return number(p, node);
    if (parser_sees(p, "[")) {
        ZI_TRY(parser_node(p, NODE_LIST, node));
        p->at++;
        return items(p, "]", &(*node)->a);
    }
    if (parser_sees(p, "{")) {
        ZI_TRY(parser_node(p, NODE_DICT, node));
        return dict(p, *node);
    }
    if (!parser_takes(p, "(")) return parser_refuse(p, "an expression");
    if (parser_sees(p, ")")) {
        ZI_TRY(parser_node(p, NODE_TUPLE, node));
        p->at++;
        return ZI_OK;
    }
    ZI_TRY(parser_tuple(p, true, node));
    return parser_expect(p, ")");
}

/* Arguments behind "(", with the closing bracket. */
static enum zi_status arguments(struct parser *p, struct node **last)
{
    bool is_first = true, keywords = false;
    while (!parser_takes(p, ")")) {
        if (!is_first) ZI_TRY(parser_expect(p, ","));
        if (parser_takes(p, ")")) return ZI_OK;
        is_first = false;
        if (parser_sees(p, "*") || parser_sees(p, "**"))
            return place_fail(p->place, "arguments out of a list (*) are not done");
        if (p->at->kind == TOKEN_NAME && p->at[1].kind == TOKEN_OPERATOR &&
            text_is(p->at[1].text, "=")) {
            keywords = true;
            ZI_TRY(parser_node(p, NODE_KEYWORD, last));
            (*last)->value = (struct value){.type = VALUE_TEXT, .text = p->at->text};
            p->at += 2;
            ZI_TRY(parser_expression(p, &(*last)->a));
        } else if (keywords) {
            return parser_refuse(p, "an argument with a name, as the one before it,");
        } else {
            ZI_TRY(parser_expression(p, last));
        }
        last = &(*last)->next;
    }
    return ZI_OK;
}

static enum zi_status call(struct parser *p, struct node **node)
{
    struct node *outer;
    ZI_TRY(parser_node(p, NODE_CALL, &outer));
    outer->a = *node;
    *node = outer;
    p->at++;
    return arguments(p, &outer->b);
}

/* object[index] or object[first:end:step], from "[" on. */
static enum zi_status subscript(struct parser *p, struct node *outer)
{
    struct node **parts[] = {&outer->b, &outer->c, &outer->d};
    int part = 0;
    p->at++;
    while (!parser_takes(p, "]")) {
        if (parser_takes(p, ":")) {
            outer->kind = NODE_SLICE;
            if (++part > 2) return parser_refuse(p, "]");
        } else if (parser_sees(p, ",")) {
            return place_fail(p->place, "an index of several parts is not done");
        } else if (*parts[part]) {
            return parser_refuse(p, "]");
        } else {
            ZI_TRY(parser_expression(p, parts[part]));
        }
    }
    if (outer->kind == NODE_ITEM && !outer->b) return parser_refuse(p, "an index before ]");
    return ZI_OK;
}

static enum zi_status attribute(struct parser *p, struct node *outer)
{
    p->at++;
    if (p->at->kind == TOKEN_INTEGER) {
        outer->kind = NODE_ITEM;
        return number(p, &outer->b);
    }
    struct text text;
    ZI_TRY(parser_name(p, &text));
    outer->kind = NODE_ATTRIBUTE;
    outer->value = (struct value){.type = VALUE_TEXT, .text = text};
    return ZI_OK;
}

static enum zi_status postfix(struct parser *p, struct node **node)
{
    for (;;) {
        if (parser_sees(p, "(")) {
            ZI_TRY(call(p, node));
            continue;
        }
        if (!parser_sees(p, ".") && !parser_sees(p, "[")) return ZI_OK;
        struct node *outer;
        ZI_TRY(parser_node(p, NODE_ITEM, &outer));
        outer->a = *node;
        *node = outer;
        ZI_TRY(parser_sees(p, ".") ? attribute(p, outer) : subscript(p, outer));
    }
}

/* The name of a filter or test, with what dots put to it: there is none of such a name here. */
static enum zi_status dotted_name(struct parser *p, struct text *name)
{
    struct text part = {NULL, 0};
    ZI_TRY(parser_name(p, name));
    while (parser_takes(p, "."))
        ZI_TRY(parser_name(p, &part));
    if (part.at) name->bytes = (size_t)(part.at + part.bytes - name->at);
    return ZI_OK;
}

enum zi_status parser_filters(struct parser *p, struct node **node)
{
    while (parser_takes(p, "|")) {
        struct node *outer;
        struct text text;
        ZI_TRY(parser_node(p, NODE_FILTER, &outer));
        ZI_TRY(dotted_name(p, &text));
        outer->function = filter_find(text);
        if (!outer->function)
            return place_fail(p->place, "the filter %.*s is not done", (int)text.bytes, text.at);
        outer->a = *node;
        *node = outer;
        if (parser_takes(p, "(")) ZI_TRY(arguments(p, &outer->b));
    }
    return ZI_OK;
}

/* Whether an argument of a test without brackets is next. */
static bool sees_argument(const struct parser *p)
{
    enum token_kind kind = p->at->kind;
    if (kind == TOKEN_NAME)
        return !parser_sees_name(p, "else") && !parser_sees_name(p, "or") &&
               !parser_sees_name(p, "and") && !parser_sees_name(p, "is") &&
               !parser_sees_name(p, "if") && !parser_sees_name(p, "in") &&
               !parser_sees_name(p, "not");
    return kind == TOKEN_STRING || kind == TOKEN_INTEGER || kind == TOKEN_FLOAT ||
           parser_sees(p, "[") || parser_sees(p, "{");
}

/* operand is [not] NAME, from `is` on. */
static enum zi_status test(struct parser *p, struct node **node)
{
    struct node *outer;
    struct text text;
    p->at++;
    bool negated = parser_takes_name(p, "not");
    ZI_TRY(parser_node(p, NODE_TEST, &outer));
    ZI_TRY(dotted_name(p, &text));
    outer->function = test_find(text);
    if (!outer->function)
        return place_fail(p->place, "the test %.*s is not done", (int)text.bytes, text.at);
    outer->a = *node;
    *node = outer;
    if (parser_takes(p, "(")) {
        ZI_TRY(arguments(p, &outer->b));
    } else if (sees_argument(p)) {
        ZI_TRY(primary(p, &outer->b));
        ZI_TRY(postfix(p, &outer->b));
    }
    if (parser_sees_name(p, "is")) return parser_refuse(p, "one test, not one of a test,");
    if (!negated) return ZI_OK;
    ZI_TRY(parser_node(p, NODE_NOT, node));
    (*node)->a = outer;
    return ZI_OK;
}

/* Filters, tests and calls by turns. */
static enum zi_status filters_and_tests(struct parser *p, struct node **node)
{
    for (;;) {
        if (parser_sees(p, "|"))
            ZI_TRY(parser_filters(p, node));
        else if (parser_sees_name(p, "is"))
            ZI_TRY(test(p, node));
        else if (parser_sees(p, "("))
            ZI_TRY(call(p, node));
        else
            return ZI_OK;
    }
}

static enum zi_status unary(struct parser *p, bool filters, struct node **node)
{
    ZI_TRY(parser_deeper(p));
    if (parser_sees(p, "-") || parser_sees(p, "+")) {
        ZI_TRY(parser_node(p, parser_sees(p, "-") ? NODE_NEGATE : NODE_PLUS, node));
        p->at++;
        ZI_TRY(unary(p, false, &(*node)->a));
    } else {
        ZI_TRY(primary(p, node));
    }
    ZI_TRY(postfix(p, node));
    if (filters) ZI_TRY(filters_and_tests(p, node));
    p->depth--;
    return ZI_OK;
}

/* Operators between two values, by how tightly they bind: the larger the tighter. All are read from
 * left to right. */
static const struct level {
    const char *name;
    enum operator_kind operator;
    int binding;
} levels[] = {{"+", OPERATOR_ADD, 0},    {"-", OPERATOR_SUBTRACT, 0}, {"*", OPERATOR_MULTIPLY, 2},
              {"/", OPERATOR_DIVIDE, 2}, {"//", OPERATOR_FLOOR, 2},   {"%", OPERATOR_REMAINDER, 2},
              {"**", OPERATOR_POWER, 3}};
enum { BINDING_JOIN = 1, BINDING_UNARY = 4 };

static const struct level *level_at(const struct parser *p, int binding)
{
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (levels[i].binding == binding && parser_sees(p, levels[i].name)) return &levels[i];
    return NULL;
}

static enum zi_status binary(struct parser *p, int binding, struct node **node)
{
    if (binding == BINDING_UNARY) return unary(p, true, node);
    ZI_TRY(binary(p, binding + 1, node));
    for (;;) {
        const struct level *level = level_at(p, binding);
        if (!level && !(binding == BINDING_JOIN && parser_sees(p, "~"))) return ZI_OK;
        struct node *outer;
        ZI_TRY(parser_node(p, level ? NODE_BINARY : NODE_JOIN, &outer));
        if (level) outer->operator= level->operator;
        p->at++;
        outer->a = *node;
        *node = outer;
        ZI_TRY(binary(p, binding + 1, &outer->b));
    }
}

/* Takes an operator that compares. */
static bool takes_comparison(struct parser *p, enum operator_kind *operator)
{
    static const struct {
        const char *name;
        enum operator_kind operator;
    } rows[] = {{"==", OPERATOR_EQUAL},  {"!=", OPERATOR_UNEQUAL},
                {"<", OPERATOR_LESS},    {"<=", OPERATOR_LESS_EQUAL},
                {">", OPERATOR_GREATER}, {">=", OPERATOR_GREATER_EQUAL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        *operator= rows[i].operator;
        if (parser_takes(p, rows[i].name)) return true;
    }
    *operator= OPERATOR_IN;
    if (parser_takes_name(p, "in")) return true;
    if (!parser_sees_name(p, "not") || p->at[1].kind != TOKEN_NAME || !text_is(p->at[1].text, "in"))
        return false;
    p->at += 2;
    *operator= OPERATOR_NOT_IN;
    return true;
}

static enum zi_status comparison(struct parser *p, struct node **node)
{
    enum operator_kind operator;
    struct node *outer = NULL, **last = NULL;
    ZI_TRY(binary(p, 0, node));
    while (takes_comparison(p, &operator)) {
        if (!outer) {
            ZI_TRY(parser_node(p, NODE_COMPARE, &outer));
            outer->a = *node;
            *node = outer;
            last = &outer->b;
        }
        ZI_TRY(parser_node(p, NODE_OPERAND, last));
        (*last)->operator= operator;
        ZI_TRY(binary(p, 0, &(*last)->a));
        last = &(*last)->next;
    }
    return ZI_OK;
}

static enum zi_status negation(struct parser *p, struct node **node)
{
    if (!parser_sees_name(p, "not")) return comparison(p, node);
    ZI_TRY(parser_deeper(p));
    ZI_TRY(parser_node(p, NODE_NOT, node));
    p->at++;
    ZI_TRY(negation(p, &(*node)->a));
    p->depth--;
    return ZI_OK;
}

/* Operands of `and`, and those of them with `or` between. */
static enum zi_status logic(struct parser *p, bool any, struct node **node)
{
    ZI_TRY(any ? logic(p, false, node) : negation(p, node));
    while (parser_sees_name(p, any ? "or" : "and")) {
        struct node *outer;
        ZI_TRY(parser_node(p, any ? NODE_OR : NODE_AND, &outer));
        p->at++;
        outer->a = *node;
        *node = outer;
        ZI_TRY(any ? logic(p, false, &outer->b) : negation(p, &outer->b));
    }
    return ZI_OK;
}

enum zi_status parser_simple(struct parser *p, struct node **node)
{
    ZI_TRY(parser_deeper(p));
    ZI_TRY(logic(p, true, node));
    p->depth--;
    return ZI_OK;
}

enum zi_status parser_expression(struct parser *p, struct node **node)
{
    ZI_TRY(parser_simple(p, node));
    while (parser_sees_name(p, "if")) {
        struct node *outer;
        ZI_TRY(parser_node(p, NODE_CHOICE, &outer));
        p->at++;
        outer->a = *node;
        *node = outer;
        ZI_TRY(parser_simple(p, &outer->b));
        if (!parser_takes_name(p, "else")) continue;
        ZI_TRY(parser_deeper(p));
        ZI_TRY(parser_expression(p, &outer->c));
        p->depth--;
    }
    return ZI_OK;
}

/* Whether a tuple ends here. */
static bool ends_tuple(const struct parser *p)
{
    return p->at->kind == TOKEN_PRINT_END || p->at->kind == TOKEN_BLOCK_END ||
           parser_sees(p, ")") || parser_sees(p, "=") || parser_sees_name(p, "in") ||
           parser_sees_name(p, "if");
}

enum zi_status parser_tuple(struct parser *p, bool choices, struct node **node)
{
    ZI_TRY(choices ? parser_expression(p, node) : parser_simple(p, node));
    if (!parser_sees(p, ",")) return ZI_OK;
    struct node *outer, **last = &(*node)->next;
    ZI_TRY(parser_node(p, NODE_TUPLE, &outer));
    outer->a = *node;
    *node = outer;
    while (parser_takes(p, ",") && !ends_tuple(p)) {
        ZI_TRY(choices ? parser_expression(p, last) : parser_simple(p, last));
        last = &(*last)->next;
    }
    return ZI_OK;
}

static enum zi_status target_name(struct parser *p, struct node **node)
{
    struct text text;
    ZI_TRY(parser_node(p, NODE_NAME, node));
    ZI_TRY(parser_name(p, &text));
    (*node)->value = (struct value){.type = VALUE_TEXT, .text = text};
    if (parser_sees(p, "(") || parser_sees(p, "[")) return parser_refuse(p, "= or in");
    return ZI_OK;
}

static enum zi_status target_names(struct parser *p, struct node **node)
{
    bool bracket = parser_takes(p, "(");
    ZI_TRY(target_name(p, node));
    if (parser_sees(p, ",")) {
        struct node *outer, **last = &(*node)->next;
        ZI_TRY(parser_node(p, NODE_TUPLE, &outer));
        outer->a = *node;
        *node = outer;
        while (parser_takes(p, ",") && !ends_tuple(p)) {
            ZI_TRY(target_name(p, last));
            last = &(*last)->next;
        }
    }
    return bracket ? parser_expect(p, ")") : ZI_OK;
}

enum zi_status parser_target(struct parser *p, bool attributes, struct node **node)
{
    struct node *outer;
    ZI_TRY(target_names(p, node));
    if (!attributes || (*node)->kind != NODE_NAME || !parser_takes(p, ".")) return ZI_OK;
    struct text text;
    ZI_TRY(parser_node(p, NODE_ATTRIBUTE, &outer));
    ZI_TRY(parser_name(p, &text));
    outer->value = (struct value){.type = VALUE_TEXT, .text = text};
    outer->a = *node;
    *node = outer;
    return ZI_OK;
}
