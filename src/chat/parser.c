/* SPDX-License-Identifier: Apache-2.0 */
#include "chat/parser.h"

#include <stdlib.h>

#include "chat/call.h"
#include "chat/characters.h"

enum zi_status parser_node(struct parser *p, enum node_kind kind, struct node **node)
{
    void *memory;
    p->place->line = p->at->line;
    ZI_TRY(arena_take(p->arena, sizeof **node, &memory));
    *node = memory;
    (*node)->kind = kind;
    (*node)->line = p->at->line;
    return ZI_OK;
}

enum zi_status parser_deeper(struct parser *p)
{
    p->place->line = p->at->line;
    if (++p->depth <= PARSER_DEPTH) return ZI_OK;
    return place_fail(p->place, "what is within each other is deeper than %d", PARSER_DEPTH);
}

bool parser_sees(const struct parser *p, const char *operator)
{
    return p->at->kind == TOKEN_OPERATOR && text_is(p->at->text, operator);
}

bool parser_sees_name(const struct parser *p, const char *name)
{
    return p->at->kind == TOKEN_NAME && text_is(p->at->text, name);
}

bool parser_takes(struct parser *p, const char *operator)
{
    if (!parser_sees(p, operator)) return false;
    p->at++;
    return true;
}

bool parser_takes_name(struct parser *p, const char *name)
{
    if (!parser_sees_name(p, name)) return false;
    p->at++;
    return true;
}

enum zi_status parser_expect(struct parser *p, const char *operator)
{
    return parser_takes(p, operator) ? ZI_OK : parser_refuse(p, operator);
}

enum zi_status parser_name(struct parser *p, struct text *name)
{
    *name = p->at->text;
    if (p->at->kind != TOKEN_NAME) return parser_refuse(p, "a name");
    p->at++;
    return ZI_OK;
}

enum zi_status parser_refuse(struct parser *p, const char *wanted)
{
    static const char *const kinds[] = {
        [TOKEN_PRINT_BEGIN] = "{{", [TOKEN_PRINT_END] = "}}", [TOKEN_BLOCK_BEGIN] = "{%",
        [TOKEN_BLOCK_END] = "%}",   [TOKEN_TEXT] = "text",    [TOKEN_END] = "the end"};
    const char *kind =
        p->at->kind < TOKEN_NAME || p->at->kind == TOKEN_END ? kinds[p->at->kind] : NULL;
    int bytes = (int)(p->at->text.bytes > 60 ? 60 : p->at->text.bytes);
    p->place->line = p->at->line;
    if (kind) return place_fail(p->place, "%s where %s should be", kind, wanted);
    return place_fail(p->place, "%.*s where %s should be", bytes, p->at->text.at, wanted);
}

static enum zi_status block_end(struct parser *p)
{
    if (p->at->kind != TOKEN_BLOCK_END) return parser_refuse(p, "%}");
    p->at++;
    return ZI_OK;
}

/* Statements up to a block that begins with one of the names, which is next then without its "{%". No
 * names: up to the end of the template. */
static enum zi_status body(struct parser *p, const char *const *ends, struct node **first);

static enum zi_status read_if(struct parser *p, struct node *node)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL}, *const last[] = {"endif",
                                                                                        NULL};
    for (;;) {
        ZI_TRY(parser_tuple(p, false, &node->a));
        ZI_TRY(block_end(p));
        ZI_TRY(body(p, ends, &node->b));
        if (!parser_sees_name(p, "elif")) break;
        ZI_TRY(parser_node(p, NODE_IF, &node->c));
        p->at++;
        node = node->c;
    }
    if (parser_takes_name(p, "else")) {
        ZI_TRY(block_end(p));
        ZI_TRY(body(p, last, &node->c));
    }
    p->at++;
    return block_end(p);
}

static enum zi_status read_for(struct parser *p, struct node *node)
{
    static const char *const ends[] = {"else", "endfor", NULL}, *const last[] = {"endfor", NULL};
    ZI_TRY(parser_target(p, false, &node->a));
    if (!parser_takes_name(p, "in")) return parser_refuse(p, "in");
    ZI_TRY(parser_tuple(p, false, &node->b));
    if (parser_takes_name(p, "if")) ZI_TRY(parser_expression(p, &node->e));
    if (parser_sees_name(p, "recursive"))
        return place_fail(p->place, "a loop that is recursive is not done");
    ZI_TRY(block_end(p));
    p->loops++;
    ZI_TRY(body(p, ends, &node->c));
    p->loops--;
    if (parser_takes_name(p, "else")) {
        ZI_TRY(block_end(p));
        ZI_TRY(body(p, last, &node->d));
    }
    p->at++;
    return block_end(p);
}

/* A body in which no loop around it can be left, and whose text goes to nowhere else. */
static enum zi_status captured(struct parser *p, const char *end, struct node **first)
{
    const char *const ends[] = {end, NULL};
    int loops = p->loops;
    p->loops = 0;
    p->captures++;
    ZI_TRY(body(p, ends, first));
    p->captures--;
    p->loops = loops;
    p->at++;
    return block_end(p);
}

static enum zi_status read_set(struct parser *p, struct node *node)
{
    ZI_TRY(parser_target(p, true, &node->a));
    if (parser_takes(p, "=")) {
        ZI_TRY(parser_tuple(p, true, &node->b));
        return block_end(p);
    }
    if (node->a->kind == NODE_TUPLE) return parser_refuse(p, "=");
    node->kind = NODE_SET_BLOCK;
    ZI_TRY(parser_filters(p, &node->c));
    ZI_TRY(block_end(p));
    return captured(p, "endset", &node->b);
}

static enum zi_status read_macro(struct parser *p, struct node *node)
{
    struct node **last = &node->a;
    if (p->loops + p->captures + p->generations > 0)
        return place_fail(p->place, "a macro inside of another block than if is not done");
    node->value.type = VALUE_TEXT;
    ZI_TRY(parser_name(p, &node->value.text));
    ZI_TRY(parser_expect(p, "("));
    while (!parser_takes(p, ")")) {
        if (last != &node->a) ZI_TRY(parser_expect(p, ","));
        ZI_TRY(parser_node(p, NODE_KEYWORD, last));
        (*last)->value.type = VALUE_TEXT;
        ZI_TRY(parser_name(p, &(*last)->value.text));
        if (parser_takes(p, "=")) ZI_TRY(parser_expression(p, &(*last)->a));
        last = &(*last)->next;
    }
    ZI_TRY(block_end(p));
    return captured(p, "endmacro", &node->b);
}

static enum zi_status read_generation(struct parser *p, struct node *node)
{
    static const char *const ends[] = {"endgeneration", NULL};
    int loops = p->loops;
    if (p->captures + p->generations > 0)
        return place_fail(p->place, "generation inside of macro, set or generation is not done");
    ZI_TRY(block_end(p));
    p->marks = true;
    p->loops = 0;
    p->generations++;
    ZI_TRY(body(p, ends, &node->a));
    p->generations--;
    p->loops = loops;
    p->at++;
    return block_end(p);
}

static enum zi_status read_leave(struct parser *p, struct node *node)
{
    if (p->loops == 0)
        return place_fail(p->place, "%s outside of a loop",
                          node->kind == NODE_BREAK ? "break" : "continue");
    return block_end(p);
}

/* A block, from its name on. */
static enum zi_status block(struct parser *p, struct node **node)
{
    static const struct {
        const char *name;
        enum node_kind kind;
        enum zi_status (*read)(struct parser *p, struct node *node);
    } rows[] = {{"if", NODE_IF, read_if},
                {"for", NODE_FOR, read_for},
                {"set", NODE_SET, read_set},
                {"macro", NODE_MACRO, read_macro},
                {"generation", NODE_GENERATION, read_generation},
                {"break", NODE_BREAK, read_leave},
                {"continue", NODE_CONTINUE, read_leave}};
    if (p->at->kind != TOKEN_NAME) return parser_refuse(p, "the name of a block");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!parser_sees_name(p, rows[i].name)) continue;
        ZI_TRY(parser_node(p, rows[i].kind, node));
        p->at++;
        return rows[i].read(p, *node);
    }
    p->place->line = p->at->line;
    return place_fail(p->place, "the block %.*s is not done, or not here",
                      (int)(p->at->text.bytes > 60 ? 60 : p->at->text.bytes), p->at->text.at);
}

/* {{ ... }} */
static enum zi_status print(struct parser *p, struct node **node)
{
    ZI_TRY(parser_node(p, NODE_PRINT, node));
    p->at++;
    ZI_TRY(parser_tuple(p, true, &(*node)->a));
    if (p->at->kind != TOKEN_PRINT_END) return parser_refuse(p, "}}");
    p->at++;
    return ZI_OK;
}

static bool is_end(const struct parser *p, const char *const *ends)
{
    for (; ends && *ends; ends++)
        if (p->at->kind == TOKEN_BLOCK_BEGIN && p->at[1].kind == TOKEN_NAME &&
            text_is(p->at[1].text, *ends))
            return true;
    return false;
}

static enum zi_status statement(struct parser *p, struct node **node)
{
    if (p->at->kind == TOKEN_PRINT_BEGIN) return print(p, node);
    if (p->at->kind == TOKEN_BLOCK_BEGIN) {
        p->at++;
        return block(p, node);
    }
    ZI_TRY(parser_node(p, NODE_TEXT, node));
    (*node)->value = (struct value){.type = VALUE_TEXT, .text = p->at->text};
    p->at++;
    return ZI_OK;
}

static enum zi_status body(struct parser *p, const char *const *ends, struct node **first)
{
    struct node **last = first;
    int line = ends ? p->at[-1].line : 1;
    ZI_TRY(parser_deeper(p));
    while (!is_end(p, ends)) {
        if (p->at->kind == TOKEN_END && ends) {
            p->place->line = line;
            return place_fail(p->place, "the block that begins here has no %s",
                              ends[1] && ends[2] ? ends[2]
                              : ends[1]          ? ends[1]
                                                 : ends[0]);
        }
        if (p->at->kind == TOKEN_END) break;
        ZI_TRY(statement(p, last));
        last = &(*last)->next;
    }
    if (ends) p->at++;
    p->depth--;
    return ZI_OK;
}

enum zi_status node_parse(struct arena *arena, struct place *place, struct text text,
                          struct tree *tree)
{
    struct tokens tokens = {.tokens = NULL};
    struct parser p = {.arena = arena, .place = place};
    enum zi_status status = lexer_cut(arena, place, text, &tokens);
    if (status >= 0) {
        p.at = tokens.tokens;
        status = body(&p, NULL, &tree->first);
        tree->marks = p.marks;
    }
    free(tokens.tokens);
    return status;
}
