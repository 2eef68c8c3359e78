/* SPDX-License-Identifier: Apache-2.0 */
/* Statements. */
#include <stdlib.h>

#include "base/log.h"
#include "chat/characters.h"
#include "chat/render.h"

static struct variable *find_variable(const struct scope *scope, struct text name)
{
    for (struct variable *v = scope->first; v; v = v->next)
        if (text_same(v->name, name)) return v;
    return NULL;
}

enum zi_status scope_set(struct render *r, struct scope *scope, struct text name,
                         struct value value)
{
    struct variable *variable = find_variable(scope, name);
    ZI_TRY(value_work(&r->budget, 1));
    if (variable) {
        variable->value = value;
        return ZI_OK;
    }
    void *memory = r->spare;
    if (r->spare)
        r->spare = r->spare->next;
    else
        ZI_TRY(arena_take(&r->values, sizeof *variable, &memory));
    variable = memory;
    *variable = (struct variable){scope->first, name, value};
    scope->first = variable;
    return ZI_OK;
}

/* Forgets the variables of a scope, and leaves it. Nothing else knows them: macros are made outside of
 * all scopes but the top. */
static void scope_leave(struct render *r, struct scope *scope)
{
    while (scope->first) {
        struct variable *variable = scope->first;
        scope->first = variable->next;
        variable->next = r->spare;
        r->spare = variable;
    }
    r->scope = scope->outer;
}

static enum zi_status assign(struct render *r, const struct node *target, const struct value *value)
{
    r->place.line = target->line;
    if (target->kind == NODE_NAME) return scope_set(r, r->scope, target->value.text, *value);
    if (target->kind == NODE_ATTRIBUTE) {
        struct value object;
        ZI_TRY(evaluate(r, target->a, &object));
        if (object.type != VALUE_NAMESPACE)
            return render_fail(r, "an attribute of a %s cannot be set, only of a namespace",
                               value_type_name(&object));
        return dict_set(&r->budget, object.dict, target->value, *value);
    }
    struct list *items;
    size_t count = 0, at = 0;
    ZI_TRY(value_items(&r->budget, value, &items));
    for (const struct node *name = target->a; name; name = name->next)
        count++;
    if (count != items->count)
        return render_fail(r, "%zu values for %zu names", items->count, count);
    for (const struct node *name = target->a; name; name = name->next)
        ZI_TRY(assign(r, name, &items->items[at++]));
    return ZI_OK;
}

static enum zi_status execute_if(struct render *r, const struct node *node, enum node_kind *leaves)
{
    for (;;) {
        struct value condition;
        ZI_TRY(evaluate(r, node->a, &condition));
        if (value_truth(&condition)) return execute(r, node->b, leaves);
        if (!node->c || node->c->kind != NODE_IF || node->c->next)
            return execute(r, node->c, leaves);
        node = node->c;
        ZI_TRY(value_work(&r->budget, 1));
    }
}

/* An item that a loop with a condition kept: of one that has several names a tuple, as jinja2 makes. */
static enum zi_status loop_item(struct render *r, const struct node *target,
                                const struct value *item, struct value *kept)
{
    struct list *parts;
    *kept = *item;
    if (target->kind != NODE_TUPLE) return ZI_OK;
    ZI_TRY(value_items(&r->budget, item, &parts));
    ZI_TRY(value_list(&r->budget, LIST_TUPLE, parts->count, kept));
    for (size_t i = 0; i < parts->count; i++)
        kept->list->items[i] = parts->items[i];
    return ZI_OK;
}

/* What a loop runs through: items for which its condition holds. */
static enum zi_status loop_items(struct render *r, const struct node *node, struct list **items)
{
    struct value whole, kept;
    struct list *all;
    ZI_TRY(evaluate(r, node->b, &whole));
    ZI_TRY(value_items(&r->budget, &whole, &all));
    *items = all;
    if (!node->e) return ZI_OK;
    ZI_TRY(value_list(&r->budget, LIST_LIST, all->count, &kept));
    *items = kept.list;
    kept.list->count = 0;
    for (size_t i = 0; i < all->count; i++) {
        struct scope scope = {.outer = r->scope};
        struct value condition;
        r->scope = &scope;
        ZI_TRY(assign(r, node->a, &all->items[i]));
        ZI_TRY(evaluate(r, node->e, &condition));
        scope_leave(r, &scope);
        if (!value_truth(&condition)) continue;
        ZI_TRY(loop_item(r, node->a, &all->items[i], &kept.list->items[kept.list->count++]));
    }
    return ZI_OK;
}

static enum zi_status execute_for(struct render *r, const struct node *node, enum node_kind *leaves)
{
    static const struct text name = {"loop", 4};
    struct list *items;
    void *memory;
    enum node_kind inner = NODE_TEXT;
    bool any = false; /* a turn came to its end: jinja2 runs `else` unless one did */
    ZI_TRY(loop_items(r, node, &items));
    ZI_TRY(arena_take(&r->values, sizeof(struct loop), &memory));
    struct loop *loop = memory;
    *loop = (struct loop){items, 0};
    for (; loop->index < items->count && inner != NODE_BREAK; loop->index++) {
        struct scope scope = {.outer = r->scope};
        ZI_TRY(value_work(&r->budget, 1));
        r->scope = &scope;
        ZI_TRY(scope_set(r, &scope, name, (struct value){.type = VALUE_LOOP, .loop = loop}));
        ZI_TRY(assign(r, node->a, &items->items[loop->index]));
        ZI_TRY(execute(r, node->c, &inner));
        any = any || inner == NODE_TEXT;
        scope_leave(r, &scope);
    }
    if (any || !node->d) return ZI_OK;
    struct scope scope = {.outer = r->scope};
    r->scope = &scope;
    ZI_TRY(execute(r, node->d, leaves));
    scope_leave(r, &scope);
    return ZI_OK;
}

/* Runs statements whose variables are their own. */
static enum zi_status execute_apart(struct render *r, const struct node *first)
{
    enum node_kind leaves;
    struct scope scope = {.outer = r->scope};
    r->scope = &scope;
    ZI_TRY(execute(r, first, &leaves));
    scope_leave(r, &scope);
    return ZI_OK;
}

static enum zi_status execute_set_block(struct render *r, const struct node *node)
{
    struct value value;
    size_t first = r->bytes;
    ZI_TRY(execute_apart(r, node->b));
    ZI_TRY(render_capture(r, first, &value));
    if (node->c) ZI_TRY(evaluate_filter(r, node->c, &value, &value));
    return assign(r, node->a, &value);
}

static enum zi_status execute_generation(struct render *r, const struct node *node)
{
    size_t first = r->bytes;
    ZI_TRY(execute_apart(r, node->a));
    if (r->bytes == first) return ZI_OK;
    if (r->range_count == r->range_capacity) {
        size_t capacity = r->range_capacity ? 2 * r->range_capacity : 8;
        struct chat_range *ranges = realloc(r->ranges, capacity * sizeof *ranges);
        if (!ranges) return zi_fail(ZI_ERROR_DEVICE, "chat", "no memory for %zu turns", capacity);
        r->ranges = ranges;
        r->range_capacity = capacity;
    }
    r->ranges[r->range_count++] = (struct chat_range){first, r->bytes};
    return ZI_OK;
}

static enum zi_status execute_macro(struct render *r, const struct node *node)
{
    void *macro;
    ZI_TRY(arena_take(&r->values, sizeof(struct macro), &macro));
    *(struct macro *)macro = (struct macro){node};
    return scope_set(r, r->scope, node->value.text,
                     (struct value){.type = VALUE_MACRO, .macro = macro});
}

static enum zi_status execute_one(struct render *r, const struct node *node, enum node_kind *leaves)
{
    struct value value;
    switch (node->kind) {
    case NODE_TEXT:
        return render_write(r, node->value.text);
    case NODE_PRINT:
        ZI_TRY(evaluate(r, node->a, &value));
        return render_write_value(r, &value);
    case NODE_IF:
        return execute_if(r, node, leaves);
    case NODE_FOR:
        return execute_for(r, node, leaves);
    case NODE_SET:
        ZI_TRY(evaluate(r, node->b, &value));
        return assign(r, node->a, &value);
    case NODE_SET_BLOCK:
        return execute_set_block(r, node);
    case NODE_MACRO:
        return execute_macro(r, node);
    case NODE_GENERATION:
        return execute_generation(r, node);
    default:
        *leaves = node->kind;
        return ZI_OK;
    }
}

enum zi_status execute(struct render *r, const struct node *first, enum node_kind *leaves)
{
    *leaves = NODE_TEXT;
    for (const struct node *node = first; node && *leaves == NODE_TEXT; node = node->next) {
        ZI_TRY(render_deeper(r, node));
        ZI_TRY(execute_one(r, node, leaves));
        r->depth--;
    }
    return ZI_OK;
}

/* The argument of a parameter: by place, by name, or none. */
static enum zi_status macro_argument(struct render *r, const struct arguments *arguments,
                                     const struct node *parameter, size_t at, struct value *value)
{
    *value = (struct value){.type = VALUE_ABSENT};
    if (at < arguments->count) *value = arguments->at[at];
    for (size_t i = 0; i < arguments->keyword_count; i++) {
        if (!text_same(arguments->keywords[i].name, parameter->value.text)) continue;
        if (value->type != VALUE_ABSENT)
            return render_fail(r, "the argument %.*s of a macro is given twice",
                               (int)parameter->value.text.bytes, parameter->value.text.at);
        *value = arguments->keywords[i].value;
    }
    if (value->type != VALUE_ABSENT) return ZI_OK;
    if (parameter->a) return evaluate(r, parameter->a, value);
    *value = (struct value){.type = VALUE_UNDEFINED};
    return ZI_OK;
}

static bool has_parameter(const struct node *macro, struct text name)
{
    for (const struct node *parameter = macro->a; parameter; parameter = parameter->next)
        if (text_same(parameter->value.text, name)) return true;
    return false;
}

/* Sets the parameters of a macro in the scope that is innermost, and runs it. */
static enum zi_status macro_run(struct render *r, const struct node *macro,
                                const struct arguments *arguments)
{
    size_t at = 0;
    enum node_kind leaves;
    for (size_t i = 0; i < arguments->keyword_count; i++)
        if (!has_parameter(macro, arguments->keywords[i].name))
            return render_fail(r, "the macro has no argument %.*s",
                               (int)arguments->keywords[i].name.bytes,
                               arguments->keywords[i].name.at);
    for (const struct node *p = macro->a; p; p = p->next, at++) {
        struct value argument;
        ZI_TRY(macro_argument(r, arguments, p, at, &argument));
        ZI_TRY(scope_set(r, r->scope, p->value.text, argument));
    }
    if (at < arguments->count)
        return render_fail(r, "the macro takes %zu arguments, not %zu", at, arguments->count);
    return execute(r, macro->b, &leaves);
}

enum zi_status macro_call(struct render *r, const struct macro *macro,
                          const struct arguments *arguments, struct value *value)
{
    struct scope scope = {.outer = &r->top}, *caller = r->scope;
    int line = r->place.line;
    size_t first = r->bytes;
    r->scope = &scope;
    enum zi_status status = macro_run(r, macro->node, arguments);
    scope_leave(r, &scope);
    r->scope = caller;
    if (status < 0) return status;
    r->place.line = line;
    return render_capture(r, first, value);
}
