/* SPDX-License-Identifier: Apache-2.0 */
/* The tree of a template. Private to the room; all are Local. */
#ifndef ZI_CHAT_NODE_H
#define ZI_CHAT_NODE_H

#include "chat/value.h"

/* What a node is, and what it has: `a` to `e` are its parts, `value` and `function` what it was given.
 * A list of nodes is its first one, the others by `next`. */
enum node_kind {
    /* Expressions. */
    NODE_CONSTANT,  /* value */
    NODE_NAME,      /* value: the name */
    NODE_LIST,      /* a: items */
    NODE_TUPLE,     /* a: items */
    NODE_DICT,      /* a: list of NODE_PAIR */
    NODE_PAIR,      /* a: key, b: value */
    NODE_ATTRIBUTE, /* a: object, value: name */
    NODE_ITEM,      /* a: object, b: index */
    NODE_SLICE,     /* a: object, b, c, d: first, end, step or NULL */
    NODE_CALL,      /* a: what is called, b: arguments */
    NODE_KEYWORD,   /* of arguments: value: name, a: value */
    NODE_FILTER,    /* a: operand, b: arguments, function */
    NODE_TEST,      /* a: operand, b: arguments, function */
    NODE_NOT,       /* a */
    NODE_NEGATE,    /* a */
    NODE_PLUS,      /* a */
    NODE_AND,       /* a, b */
    NODE_OR,        /* a, b */
    NODE_JOIN,      /* a ~ b */
    NODE_BINARY,    /* a, b, operator */
    NODE_COMPARE,   /* a: first, b: list of NODE_OPERAND */
    NODE_OPERAND,   /* operator, a */
    NODE_CHOICE,    /* a if b else c; c may be NULL */
    /* Statements. */
    NODE_TEXT,       /* value */
    NODE_PRINT,      /* a */
    NODE_IF,         /* a: condition, b: body, c: statements of else */
    NODE_FOR,        /* a: target, b: what is run through, c: body, d: else, e: condition */
    NODE_SET,        /* a: target, b: value */
    NODE_SET_BLOCK,  /* a: target, b: body, c: NODE_FILTER to apply, whose last operand is NULL */
    NODE_MACRO,      /* value: name, a: list of NODE_KEYWORD with a default or NULL, b: body */
    NODE_GENERATION, /* a: body */
    NODE_BREAK,
    NODE_CONTINUE
};

enum operator_kind {
    OPERATOR_ADD,
    OPERATOR_SUBTRACT,
    OPERATOR_MULTIPLY,
    OPERATOR_DIVIDE,
    OPERATOR_FLOOR,
    OPERATOR_REMAINDER,
    OPERATOR_POWER,
    OPERATOR_EQUAL,
    OPERATOR_UNEQUAL,
    OPERATOR_LESS,
    OPERATOR_LESS_EQUAL,
    OPERATOR_GREATER,
    OPERATOR_GREATER_EQUAL,
    OPERATOR_IN,
    OPERATOR_NOT_IN
};

struct node {
    enum node_kind kind;
    int line;
    enum operator_kind operator;
    struct node *next;
    struct node *a, *b, *c, *d, *e;
    struct value value;
    const struct function *function;
};

struct tree {
    struct node *first;
    /* Has {% generation %}. */
    bool marks;
};

/* Reads a template, in which a line ends by \n, into nodes of the arena. What is not done is refused by
 * name. ZI_ERROR_USAGE, ZI_ERROR_DEVICE. */
enum zi_status node_parse(struct arena *arena, struct place *place, struct text text,
                          struct tree *tree);

#endif
