/* SPDX-License-Identifier: Apache-2.0 */
/* Expressions. */
#include "chat/characters.h"
#include "chat/compare.h"
#include "chat/render.h"

enum zi_status render_deeper(struct render *r, const struct node *node)
{
    r->place.line = node->line;
    ZI_TRY(value_work(&r->budget, 1));
    if (++r->depth <= RENDER_DEPTH) return ZI_OK;
    return render_fail(r, "what is evaluated within each other is deeper than %d", RENDER_DEPTH);
}

static enum zi_status evaluate_name(struct render *r, const struct node *node, struct value *value)
{
    static const char *const others[] = {"lipsum", "cycler",  "joiner", "self",
                                         "super",  "varargs", "kwargs", "caller"};
    struct text name = node->value.text;
    for (const struct scope *scope = r->scope; scope; scope = scope->outer)
        for (const struct variable *v = scope->first; v; v = v->next) {
            ZI_TRY(value_work(&r->budget, 1));
            if (!text_same(v->name, name)) continue;
            *value = v->value;
            return ZI_OK;
        }
    const struct function *function = global_find(name);
    if (function && (r->now || !text_is(name, "strftime_now"))) {
        *value = (struct value){.type = VALUE_FUNCTION, .function = function};
        return ZI_OK;
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (text_is(name, others[i])) return render_fail(r, "%s is not done", others[i]);
    *value = (struct value){.type = VALUE_UNDEFINED};
    return ZI_OK;
}

static enum zi_status evaluate_list(struct render *r, const struct node *node, struct value *value)
{
    size_t count = 0;
    for (const struct node *item = node->a; item; item = item->next)
        count++;
    ZI_TRY(value_list(&r->budget, node->kind == NODE_LIST ? LIST_LIST : LIST_TUPLE, count, value));
    struct value *items = value->list->items;
    for (const struct node *item = node->a; item; item = item->next)
        ZI_TRY(evaluate(r, item, items++));
    return ZI_OK;
}

static enum zi_status evaluate_dict(struct render *r, const struct node *node, struct value *value)
{
    ZI_TRY(value_dict(&r->budget, 0, value));
    for (const struct node *pair = node->a; pair; pair = pair->next) {
        struct value key, item;
        ZI_TRY(evaluate(r, pair->a, &key));
        ZI_TRY(evaluate(r, pair->b, &item));
        ZI_TRY(dict_set(&r->budget, value->dict, key, item));
    }
    return ZI_OK;
}

static enum zi_status evaluate_slice(struct render *r, const struct node *node, struct value *value)
{
    struct value object, bounds[3];
    const struct node *const parts[] = {node->b, node->c, node->d};
    ZI_TRY(evaluate(r, node->a, &object));
    for (int i = 0; i < 3; i++) {
        bounds[i] = (struct value){.type = VALUE_NONE};
        if (parts[i]) ZI_TRY(evaluate(r, parts[i], &bounds[i]));
    }
    return value_slice(r, &object, bounds, value);
}

static enum zi_status evaluate_arguments(struct render *r, const struct node *first,
                                         struct arguments *arguments)
{
    void *values, *keywords;
    size_t count = 0, keyword_count = 0;
    for (const struct node *node = first; node; node = node->next)
        *(node->kind == NODE_KEYWORD ? &keyword_count : &count) += 1;
    ZI_TRY(arena_take(&r->values, count * sizeof(struct value), &values));
    ZI_TRY(arena_take(&r->values, keyword_count * sizeof(struct keyword), &keywords));
    *arguments = (struct arguments){count, keyword_count, values, keywords};
    for (size_t i = 0; i < count; i++, first = first->next)
        ZI_TRY(evaluate(r, first, &arguments->at[i]));
    for (size_t i = 0; i < keyword_count; i++, first = first->next) {
        arguments->keywords[i].name = first->value.text;
        ZI_TRY(evaluate(r, first->a, &arguments->keywords[i].value));
    }
    return ZI_OK;
}

static enum zi_status evaluate_call(struct render *r, const struct node *node, struct value *value)
{
    struct value callee;
    struct arguments arguments;
    ZI_TRY(evaluate(r, node->a, &callee));
    ZI_TRY(evaluate_arguments(r, node->b, &arguments));
    r->place.line = node->line;
    switch (callee.type) {
    case VALUE_FUNCTION:
        return function_apply(r, callee.function, NULL, &arguments, value);
    case VALUE_METHOD:
        return function_apply(r, callee.method->function, &callee.method->subject, &arguments,
                              value);
    case VALUE_MACRO:
        return macro_call(r, callee.macro, &arguments, value);
    default:
        return render_fail(r, "a %s cannot be called%s%.*s", value_type_name(&callee),
                           node->a->kind == NODE_NAME || node->a->kind == NODE_ATTRIBUTE ? ": "
                                                                                         : "",
                           (int)node->a->value.text.bytes, node->a->value.text.at);
    }
}

enum zi_status evaluate_filter(struct render *r, const struct node *node,
                               const struct value *operand, struct value *value)
{
    struct value inner = *operand;
    struct arguments arguments;
    if (node->a) ZI_TRY(evaluate_filter(r, node->a, operand, &inner));
    if (inner.safe) return render_fail(r, "filters of a text that is marked as safe are not done");
    ZI_TRY(evaluate_arguments(r, node->b, &arguments));
    r->place.line = node->line;
    return function_apply(r, node->function, &inner, &arguments, value);
}

/* A filter or test of an expression. */
static enum zi_status evaluate_applied(struct render *r, const struct node *node,
                                       struct value *value)
{
    struct value operand;
    struct arguments arguments;
    ZI_TRY(evaluate(r, node->a, &operand));
    ZI_TRY(evaluate_arguments(r, node->b, &arguments));
    r->place.line = node->line;
    if (operand.safe && node->kind == NODE_FILTER)
        return render_fail(r, "filters of a text that is marked as safe are not done");
    return function_apply(r, node->function, &operand, &arguments, value);
}

static enum zi_status evaluate_sign(struct render *r, const struct node *node, struct value *value)
{
    const struct value zero = value_integer(0);
    struct value operand;
    ZI_TRY(evaluate(r, node->a, &operand));
    if (!value_is_number(&operand))
        return render_fail(r, "a %s has no sign", value_type_name(&operand));
    if (operand.type == VALUE_FLOAT) {
        operand.number = node->kind == NODE_NEGATE ? -operand.number : operand.number;
        *value = operand;
        return ZI_OK;
    }
    return value_binary(r, node->kind == NODE_NEGATE ? OPERATOR_SUBTRACT : OPERATOR_ADD, &zero,
                        &operand, value);
}

/* and, or: the operand that decides. */
static enum zi_status evaluate_logic(struct render *r, const struct node *node, struct value *value)
{
    ZI_TRY(evaluate(r, node->a, value));
    if (value_truth(value) == (node->kind == NODE_OR)) return ZI_OK;
    return evaluate(r, node->b, value);
}

static enum zi_status evaluate_join(struct render *r, const struct node *node, struct value *value)
{
    struct value a, b;
    struct text left, right;
    ZI_TRY(evaluate(r, node->a, &a));
    ZI_TRY(evaluate(r, node->b, &b));
    ZI_TRY(render_text(r, &a, &left));
    ZI_TRY(render_text(r, &b, &right));
    *value = (struct value){.type = VALUE_TEXT};
    return arena_join(&r->texts, left, right, &value->text);
}

static enum zi_status evaluate_binary(struct render *r, const struct node *node,
                                      struct value *value)
{
    struct value a, b;
    ZI_TRY(evaluate(r, node->a, &a));
    ZI_TRY(evaluate(r, node->b, &b));
    r->place.line = node->line;
    return value_binary(r, node->operator, & a, &b, value);
}

static enum zi_status compare(struct render *r, enum operator_kind operator, const struct value * a,
                              const struct value *b, bool *holds)
{
    int order;
    switch (operator) {
    case OPERATOR_EQUAL:
        return value_equal(&r->budget, a, b, holds);
    case OPERATOR_UNEQUAL:
        ZI_TRY(value_equal(&r->budget, a, b, holds));
        *holds = !*holds;
        return ZI_OK;
    case OPERATOR_IN:
        return value_in(&r->budget, a, b, holds);
    case OPERATOR_NOT_IN:
        ZI_TRY(value_in(&r->budget, a, b, holds));
        *holds = !*holds;
        return ZI_OK;
    default:
        ZI_TRY(value_order(&r->budget, a, b, &order));
        *holds = operator== OPERATOR_LESS       ? order < 0 :
                 operator== OPERATOR_LESS_EQUAL ? order <= 0
                 :
                 operator== OPERATOR_GREATER ? order > 0
                                             : order >= 0;
        return ZI_OK;
    }
}

/* a < b < c: each pair holds; what is behind one that does not is not evaluated. */
static enum zi_status evaluate_compare(struct render *r, const struct node *node,
                                       struct value *value)
{
    struct value left, right;
    bool holds = true;
    ZI_TRY(evaluate(r, node->a, &left));
    for (const struct node *operand = node->b; operand && holds; operand = operand->next) {
        ZI_TRY(evaluate(r, operand->a, &right));
        r->place.line = operand->line;
        ZI_TRY(compare(r, operand->operator, & left, &right, &holds));
        left = right;
    }
    *value = value_bool(holds);
    return ZI_OK;
}

static enum zi_status evaluate_choice(struct render *r, const struct node *node,
                                      struct value *value)
{
    ZI_TRY(evaluate(r, node->b, value));
    if (value_truth(value)) return evaluate(r, node->a, value);
    *value = (struct value){.type = VALUE_UNDEFINED};
    return node->c ? evaluate(r, node->c, value) : ZI_OK;
}

static enum zi_status evaluate_kind(struct render *r, const struct node *node, struct value *value)
{
    struct value object, index;
    switch (node->kind) {
    case NODE_CONSTANT:
        *value = node->value;
        return ZI_OK;
    case NODE_NAME:
        return evaluate_name(r, node, value);
    case NODE_LIST:
    case NODE_TUPLE:
        return evaluate_list(r, node, value);
    case NODE_DICT:
        return evaluate_dict(r, node, value);
    case NODE_ATTRIBUTE:
        ZI_TRY(evaluate(r, node->a, &object));
        r->place.line = node->line;
        return value_attribute(r, &object, node->value.text, value);
    case NODE_ITEM:
        ZI_TRY(evaluate(r, node->a, &object));
        ZI_TRY(evaluate(r, node->b, &index));
        return value_item(r, &object, &index, value);
    case NODE_SLICE:
        return evaluate_slice(r, node, value);
    case NODE_CALL:
        return evaluate_call(r, node, value);
    case NODE_FILTER:
    case NODE_TEST:
        return evaluate_applied(r, node, value);
    case NODE_NOT:
        ZI_TRY(evaluate(r, node->a, &object));
        *value = value_bool(!value_truth(&object));
        return ZI_OK;
    case NODE_NEGATE:
    case NODE_PLUS:
        return evaluate_sign(r, node, value);
    case NODE_AND:
    case NODE_OR:
        return evaluate_logic(r, node, value);
    case NODE_JOIN:
        return evaluate_join(r, node, value);
    case NODE_BINARY:
        return evaluate_binary(r, node, value);
    case NODE_COMPARE:
        return evaluate_compare(r, node, value);
    default:
        return evaluate_choice(r, node, value);
    }
}

enum zi_status evaluate(struct render *r, const struct node *node, struct value *value)
{
    ZI_TRY(render_deeper(r, node));
    ZI_TRY(evaluate_kind(r, node, value));
    r->depth--;
    return ZI_OK;
}
