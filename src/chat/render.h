/* SPDX-License-Identifier: Apache-2.0 */
/* One render of a template: what it may take, what it has written, which names it knows. Private to the
 * room; all are Local. */
#ifndef ZI_CHAT_RENDER_H
#define ZI_CHAT_RENDER_H

#include <time.h>

#include "chat/call.h"
#include "chat/chat.h"
#include "chat/node.h"

/* What a render may take. */
#define RENDER_VALUES_MOST ((size_t)24 << 20)
#define RENDER_TEXTS_MOST  ((size_t)16 << 20)
#define RENDER_OUTPUT_MOST ((size_t)8 << 20)
enum { RENDER_WORK_MOST = 8000000, RENDER_DEPTH = 300 };

struct variable {
    struct variable *next;
    struct text name;
    struct value value;
};

/* Names that are known together; what is not found is looked for in the outer one. */
struct scope {
    struct scope *outer;
    struct variable *first;
};

struct macro {
    const struct node *node;
};

/* What `loop` stands for. */
struct loop {
    const struct list *items;
    size_t index;
};

struct render {
    struct place place;
    struct arena values, texts;
    struct budget budget;
    int depth;
    /* NULL: strftime_now is not defined. */
    const struct tm *now;
    /* What was written, of blocks that are captured too, behind each other. */
    char *out;
    size_t bytes, capacity;
    struct chat_range *ranges;
    size_t range_count, range_capacity;
    /* Those of the request and of the file; those that the template sets outside of all blocks. */
    struct scope given, top;
    /* The innermost, and variables that are free again. */
    struct scope *scope;
    struct variable *spare;
};

/* Says what is wrong at the place that is evaluated. */
#define render_fail(render, ...) place_fail(&(render)->place, __VA_ARGS__)

/* Counts one level more of what is evaluated within each other, and a unit of work; who gives the level
 * back does depth--. */
enum zi_status render_deeper(struct render *render, const struct node *node);

/* Appends to the output. ZI_ERROR_USAGE past the limit; ZI_ERROR_DEVICE. */
enum zi_status render_write(struct render *render, struct text text);

/* The output from `first` on as a value; it is taken out of the output. */
enum zi_status render_capture(struct render *render, size_t first, struct value *value);

/* Writes a value as {{ }} does. */
enum zi_status render_write_value(struct render *render, const struct value *value);

/* The text of a value, as {{ }} would write it. */
enum zi_status render_text(struct render *render, const struct value *value, struct text *text);

/* How JSON is written: as json.dumps is told. */
struct json_form {
    bool ascii, sorted;
    /* -1: all in one line. */
    int64_t indent;
    struct text between, colon;
};

/* Writes a value as JSON. ZI_ERROR_USAGE where it has none. */
enum zi_status render_write_json(struct render *render, const struct value *value,
                                 const struct json_form *form, int depth);

/* Sets a variable of a scope. */
enum zi_status scope_set(struct render *render, struct scope *scope, struct text name,
                         struct value value);

/* Evaluates an expression. */
enum zi_status evaluate(struct render *render, const struct node *node, struct value *value);

/* Applies a filter of the tree to an operand that is given. */
enum zi_status evaluate_filter(struct render *render, const struct node *node,
                               const struct value *operand, struct value *value);

/* Calls a macro. */
enum zi_status macro_call(struct render *render, const struct macro *macro,
                          const struct arguments *arguments, struct value *value);

/* object.name and object[index]; undefined where there is none. */
enum zi_status value_attribute(struct render *render, const struct value *object, struct text name,
                               struct value *value);

/* object[index]; undefined where there is none. */
enum zi_status value_item(struct render *render, const struct value *object,
                          const struct value *index, struct value *value);

/* object[first:end:step]; none stands for each that is not given. ZI_ERROR_USAGE of what has no order. */
enum zi_status value_slice(struct render *render, const struct value *object,
                           const struct value bounds[3], struct value *value);

/* a operator b, of numbers and what else Python has it for. */
enum zi_status value_binary(struct render *render, enum operator_kind operator,
                            const struct value * a, const struct value *b, struct value *value);

/* Runs statements; *leaves is NODE_BREAK or NODE_CONTINUE where a loop is to be left, else
 * NODE_TEXT. */
enum zi_status execute(struct render *render, const struct node *first, enum node_kind *leaves);

#endif
