/* SPDX-License-Identifier: Apache-2.0 */
/* What the parsers of statements and expressions share. Private to the room; all are Local. */
#ifndef ZI_CHAT_PARSER_H
#define ZI_CHAT_PARSER_H

#include "chat/lexer.h"
#include "chat/node.h"

enum { PARSER_DEPTH = 100 };

struct parser {
    struct arena *arena;
    struct place *place;
    /* The token that is next. */
    const struct token *at;
    int depth;
    /* What is around the statement that is read. */
    int loops, captures, generations;
    bool marks;
};

/* Makes a node where the next token stands. */
enum zi_status parser_node(struct parser *parser, enum node_kind kind, struct node **node);

/* Counts one level more of what is within each other; who gives a level back does depth--. */
enum zi_status parser_deeper(struct parser *parser);

/* Whether the next token is this operator. */
bool parser_sees(const struct parser *parser, const char *operator);

/* Whether the next token is this name. */
bool parser_sees_name(const struct parser *parser, const char *name);

/* Takes the operator if it is next. */
bool parser_takes(struct parser *parser, const char *operator);

/* Takes the name if it is next. */
bool parser_takes_name(struct parser *parser, const char *name);

/* Takes the operator. ZI_ERROR_USAGE where something else is next. */
enum zi_status parser_expect(struct parser *parser, const char *operator);

/* Takes a name. */
enum zi_status parser_name(struct parser *parser, struct text *name);

/* Says that what is next was not expected: "... where WANTED should be". */
enum zi_status parser_refuse(struct parser *parser, const char *wanted);

/* Reads an expression. */
enum zi_status parser_expression(struct parser *parser, struct node **node);

/* Reads one without `if`. */
enum zi_status parser_simple(struct parser *parser, struct node **node);

/* Reads expressions with commas between, which are a tuple. */
enum zi_status parser_tuple(struct parser *parser, bool choices, struct node **node);

/* Reads what is set: a name, names in a tuple, or `name.attribute`. */
enum zi_status parser_target(struct parser *parser, bool attributes, struct node **node);

/* Reads filters, from "|" on, around an operand (NULL: what a block has rendered). */
enum zi_status parser_filters(struct parser *parser, struct node **node);

#endif
