/* SPDX-License-Identifier: Apache-2.0 */
/* Functions, filters, tests and methods: what each takes and does, in tables. Private to the room; all
 * are Local. */
#ifndef ZI_CHAT_CALL_H
#define ZI_CHAT_CALL_H

#include "chat/value.h"

struct render;

struct keyword {
    struct text name;
    struct value value;
};

struct arguments {
    size_t count, keyword_count;
    struct value *at;
    struct keyword *keywords;
};

/* Applies a function to its subject (of a method its object, of a filter or test its operand; of others
 * NULL). at[] has a value or VALUE_ABSENT for each parameter of its row. */
typedef enum zi_status function_call(struct render *render, const struct value *subject,
                                     const struct arguments *arguments, struct value *result);

struct function {
    const char *name;
    function_call *call;
    /* Names of its parameters, blanks between; NULL: it takes arguments as they come. */
    const char *parameters;
    /* How many of them must be given. */
    size_t required;
};

enum { MOST_PARAMETERS = 5 };

/* A function with the object that it is of. */
struct method {
    const struct function *function;
    struct value subject;
};

/* A filter by name; NULL: none that is done. */
const struct function *filter_find(struct text name);

/* A test by name; NULL: none that is done. */
const struct function *test_find(struct text name);

/* What is always there to call (range, namespace, ...) by name; NULL: there is no such. */
const struct function *global_find(struct text name);

/* The attribute of a value that Python would find before any item: *found is false where there is
 * none. ZI_ERROR_USAGE where Python has one that is not done. */
enum zi_status method_find(struct render *render, const struct value *object, struct text name,
                           bool *found, struct value *value);

/* Calls a function with arguments as they stand in the template. */
enum zi_status function_apply(struct render *render, const struct function *function,
                              const struct value *subject, const struct arguments *arguments,
                              struct value *result);

/* An argument that has to be a text. */
enum zi_status argument_text(struct render *render, const struct value *argument,
                             struct text *text);

/* An argument that has to be an integer; absent or none: *integer stays. */
enum zi_status argument_integer(struct render *render, const struct value *argument,
                                int64_t *integer);

#endif
