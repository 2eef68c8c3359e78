/* SPDX-License-Identifier: Apache-2.0 */
/* Values of the template language, with the meaning that Python gives them. Values, and what they point
 * to, belong to the arena of a render (constants to the template's). Private to the room; all are
 * Local. */
#ifndef ZI_CHAT_VALUE_H
#define ZI_CHAT_VALUE_H

#include "chat/arena.h"

struct json_t;

enum value_type {
    /* Stands for an argument that was not given; no expression has it. */
    VALUE_ABSENT,
    VALUE_UNDEFINED,
    VALUE_NONE,
    VALUE_BOOL,
    VALUE_INTEGER,
    VALUE_FLOAT,
    VALUE_TEXT,
    VALUE_LIST,
    VALUE_DICT,
    VALUE_NAMESPACE,
    VALUE_FUNCTION,
    VALUE_METHOD,
    VALUE_MACRO,
    VALUE_LOOP
};

/* What Python has for it: each prints, counts and indexes differently. */
enum list_kind { LIST_LIST, LIST_TUPLE, LIST_RANGE, LIST_VIEW, LIST_GENERATOR };

struct list;
struct dict;
struct method;
struct function;
struct macro;
struct loop;

struct value {
    enum value_type type;
    /* A text that went through the filter safe: what Python would put to it by + or a method it would
     * escape, so that these are refused. */
    bool safe;
    union {
        bool truth;
        int64_t integer;
        double number;
        struct text text;
        struct list *list;
        /* Of a dict, and of a namespace. */
        struct dict *dict;
        const struct function *function;
        const struct method *method;
        const struct macro *macro;
        struct loop *loop;
    };
};

struct list {
    enum list_kind kind;
    size_t count;
    struct value *items;
    /* Of a generator: it was run through, and is empty from then on. */
    bool used;
};

struct entry {
    struct value key, value;
};

/* In the order in which keys came. */
struct dict {
    size_t count, capacity;
    struct entry *entries;
};

/* What a render may still do: evaluating a node, comparing two keys and running over 16 bytes of text
 * are one unit each. */
struct budget {
    struct arena *values, *texts;
    int64_t work;
};

/* Values within values, at most: as far as Python's own recursion goes, about. */
enum { VALUE_DEPTH = 500 };

/* Takes units of work. ZI_ERROR_USAGE when there are no more. */
enum zi_status value_work(struct budget *budget, size_t units);

/* A text of zero-ended bytes that last. */
struct value value_text(const char *text);

/* true or false. */
struct value value_bool(bool truth);

/* An integer. */
struct value value_integer(int64_t integer);

/* Makes a list of a kind with `count` items, all absent. */
enum zi_status value_list(struct budget *budget, enum list_kind kind, size_t count,
                          struct value *list);

/* Makes an empty dict with room for `capacity` entries. */
enum zi_status value_dict(struct budget *budget, size_t capacity, struct value *dict);

/* Sets a key of a dict or namespace. ZI_ERROR_USAGE where a key cannot be hashed. */
enum zi_status dict_set(struct budget *budget, struct dict *dict, struct value key,
                        struct value value);

/* Finds the value of a key; *found is NULL where there is none. */
enum zi_status dict_find(struct budget *budget, const struct dict *dict, const struct value *key,
                         struct value **found);

/* Makes the value of a JSON value, whose strings it borrows. */
enum zi_status value_of_json(struct budget *budget, const struct json_t *json, int depth,
                             struct value *value);

/* What `if` makes of it. */
bool value_truth(const struct value *value);

/* Whether it is a number of any kind; true and false are. */
bool value_is_number(const struct value *value);

/* The integer of an integer, true or false; false where it is none. */
bool value_as_integer(const struct value *value, int64_t *integer);

/* The number of what value_is_number. */
double value_as_number(const struct value *value);

/* "str", "list": what Python calls its type. */
const char *value_type_name(const struct value *value);

/* What a loop over a value runs through: items, keys, characters. A generator is used up by it.
 * ZI_ERROR_USAGE of what cannot be run through. */
enum zi_status value_items(struct budget *budget, const struct value *value, struct list **items);

#endif
