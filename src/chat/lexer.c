/* SPDX-License-Identifier: Apache-2.0 */
#include "chat/lexer.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "chat/characters.h"

struct lexer {
    struct arena *arena;
    struct place *place;
    struct tokens *out;
    const char *at, *end;
    /* Brackets that are open in a tag: while there are any, it does not end. */
    int brackets;
    /* What was last taken ended a line, or nothing was taken yet. */
    bool line_begins;
};

static enum zi_status add(struct lexer *l, enum token_kind kind, const char *at, size_t bytes)
{
    struct tokens *out = l->out;
    if (out->count == out->capacity) {
        size_t capacity = out->capacity ? 2 * out->capacity : 256;
        struct token *tokens = realloc(out->tokens, capacity * sizeof *tokens);
        if (!tokens) return zi_fail(ZI_ERROR_DEVICE, "chat", "no memory for a template");
        out->tokens = tokens;
        out->capacity = capacity;
    }
    out->tokens[out->count++] =
        (struct token){.kind = kind, .line = l->place->line, .text = {at, bytes}};
    return ZI_OK;
}

static bool follows(const struct lexer *l, const char *text)
{
    size_t bytes = strlen(text);
    return (size_t)(l->end - l->at) >= bytes && memcmp(l->at, text, bytes) == 0;
}

/* Takes bytes, and counts their lines. */
static void take(struct lexer *l, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        l->place->line += l->at[i] == '\n';
    l->at += bytes;
    if (bytes) l->line_begins = l->at[-1] == '\n';
}

static void take_space(struct lexer *l)
{
    while (l->at < l->end && character_is_space(character_at(l->at)))
        take(l, character_length(*l->at));
}

/* Takes the end of a tag: with "-" the white space behind it too, with "+" nothing more, else, of
 * tags that `trim`, the end of the line. */
static void take_end(struct lexer *l, bool trim)
{
    char sign = *l->at;
    take(l, sign == '-' || sign == '+' ? 3 : 2);
    if (sign == '-')
        take_space(l);
    else if (trim && sign != '+' && follows(l, "\n"))
        take(l, 1);
}

/* Whether a tag ends here with these two characters, behind a sign or not. */
static bool is_end(const struct lexer *l, const char *two, bool plus)
{
    char with_sign[] = {'-', two[0], two[1], 0};
    if (follows(l, two) || follows(l, with_sign)) return true;
    with_sign[0] = '+';
    return plus && follows(l, with_sign);
}

/* The tag that comes next, or the end of the template. */
static const char *next_tag(const struct lexer *l)
{
    for (const char *at = l->at; at + 1 < l->end; at++)
        if (*at == '{' && (at[1] == '{' || at[1] == '%' || at[1] == '#')) return at;
    return l->end;
}

/* The text before a tag, without what the tag takes away of it: with "-" all white space, else, of
 * blocks and comments without "+", blanks between the beginning of the line and them. */
static struct text text_before(const struct lexer *l, const char *tag)
{
    struct text text = {l->at, (size_t)(tag - l->at)};
    char sign = tag + 2 < l->end ? tag[2] : 0;
    if (tag == l->end) return text;
    if (sign == '-') return text_strip(text, NULL, false, true);
    if (sign == '+' || tag[1] == '{') return text;
    const char *from = tag;
    while (from > l->at && (from[-1] == ' ' || from[-1] == '\t'))
        from--;
    if (from > l->at ? from[-1] == '\n' : l->line_begins) text.bytes = (size_t)(from - l->at);
    return text;
}

static enum zi_status take_comment(struct lexer *l)
{
    int line = l->place->line;
    while (l->at < l->end && !is_end(l, "#}", true))
        take(l, 1);
    if (l->at == l->end) {
        l->place->line = line;
        return place_fail(l->place, "a comment without #}");
    }
    take_end(l, true);
    return ZI_OK;
}

static int hexadecimal(char c)
{
    const char *digits = "0123456789abcdef", *found = memchr(digits, c | 0x20, 16);
    return c >= '0' && c <= '9' ? c - '0' : found && c >= 'A' ? (int)(found - digits) : -1;
}

/* The number of `most` digits behind an escape, in octal up to so many. */
static enum zi_status escape_number(struct lexer *l, const char **at, const char *end, int most,
                                    uint32_t *number)
{
    bool octal = most == 0;
    int taken = 0;
    *number = 0;
    for (; taken < (octal ? 3 : most) && *at < end; taken++, (*at)++) {
        int digit = hexadecimal(**at);
        if (digit < 0 || (octal && digit > 7)) break;
        *number = *number * (octal ? 8 : 16) + (uint32_t)digit;
    }
    if (!octal && taken < most) return place_fail(l->place, "a \\ escape that is cut off");
    if (*number > 0x10ffff || (*number >= 0xd800 && *number < 0xe000))
        return place_fail(l->place, "a \\ escape that is no character");
    return ZI_OK;
}

/* Writes what the escape at *at (behind the \) means. */
static enum zi_status unescape(struct lexer *l, const char **at, const char *end, char **out)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    char c = *(*at)++;
    const char *simple = memchr(from, c, sizeof from - 1);
    uint32_t number;
    if (simple) {
        *(*out)++ = to[simple - from];
        return ZI_OK;
    }
    if (c == '\n') return ZI_OK;
    if (c == 'N') return place_fail(l->place, "the escape \\N is not done");
    if (c == 'x' || c == 'u' || c == 'U' || (c >= '0' && c <= '7')) {
        *at -= c >= '0' && c <= '7';
        int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
        ZI_TRY(escape_number(l, at, end, digits, &number));
        *out += character_write(*out, number);
        return ZI_OK;
    }
    *(*out)++ = '\\';
    *(*out)++ = c;
    return ZI_OK;
}

static enum zi_status take_string(struct lexer *l)
{
    const char *first = l->at + 1, *end = first;
    while (end < l->end && *end != *l->at)
        end += *end == '\\' && end + 1 < l->end ? 2 : 1;
    if (end >= l->end) return place_fail(l->place, "a string without its end");
    void *memory;
    /* what an escape stands for is never longer than the escape */
    ZI_TRY(arena_take(l->arena, (size_t)(end - first) + 1, &memory));
    char *out = memory;
    for (const char *at = first; at < end;) {
        if (*at == '\\') {
            at++;
            ZI_TRY(unescape(l, &at, end, &out));
        } else {
            *out++ = *at++;
        }
    }
    ZI_TRY(add(l, TOKEN_STRING, memory, (size_t)(out - (char *)memory)));
    take(l, (size_t)(end - l->at) + 1);
    return ZI_OK;
}

static bool is_digit(const char *at, const char *end)
{
    return at < end && *at >= '0' && *at <= '9';
}

static bool is_name(const char *at, const char *end)
{
    return at < end && (is_digit(at, end) || *at == '_' || (*at >= 'a' && *at <= 'z') ||
                        (*at >= 'A' && *at <= 'Z') || (unsigned char)*at >= 0x80);
}

static enum zi_status take_number(struct lexer *l)
{
    const char *at = l->at, *exponent;
    bool is_float = false, behind_dot = l->out->count > 0 && l->at[-1] == '.';
    while (is_digit(at, l->end))
        at++;
    if (!behind_dot && at < l->end && *at == '.' && is_digit(at + 1, l->end)) {
        is_float = true;
        for (at++; is_digit(at, l->end);)
            at++;
    }
    if (!behind_dot && at < l->end && (*at == 'e' || *at == 'E')) {
        exponent = at + 1;
        exponent += exponent < l->end && (*exponent == '+' || *exponent == '-');
        if (is_digit(exponent, l->end)) {
            is_float = true;
            for (at = exponent; is_digit(at, l->end);)
                at++;
        }
    }
    size_t bytes = (size_t)(at - l->at);
    if (is_name(at, l->end) || bytes > 40 || (!is_float && bytes > 1 && *l->at == '0'))
        return place_fail(l->place, "a number that is written as %.*s... is not done",
                          (int)(bytes > 40 ? 40 : bytes + 1), l->at);
    ZI_TRY(add(l, is_float ? TOKEN_FLOAT : TOKEN_INTEGER, l->at, bytes));
    take(l, bytes);
    return ZI_OK;
}

static enum zi_status take_name(struct lexer *l)
{
    const char *at = l->at;
    while (is_name(at, l->end))
        at++;
    struct text name = {l->at, (size_t)(at - l->at)};
    if (!characters_are_ascii(name))
        return place_fail(l->place, "a name beyond ASCII is not done: %.*s",
                          (int)(name.bytes > 80 ? 80 : name.bytes), name.at);
    ZI_TRY(add(l, TOKEN_NAME, name.at, name.bytes));
    take(l, name.bytes);
    return ZI_OK;
}

static enum zi_status take_operator(struct lexer *l)
{
    static const char *const operators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                            "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                            ">",  "<",  "=",  ".",  ":",  "|",  ","};
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        if (!follows(l, operators[i])) continue;
        char c = *operators[i];
        if (c == '(' || c == '[' || c == '{') l->brackets++;
        if ((c == ')' || c == ']' || c == '}') && --l->brackets < 0)
            return place_fail(l->place, "%c closes nothing", c);
        ZI_TRY(add(l, TOKEN_OPERATOR, operators[i], strlen(operators[i])));
        take(l, strlen(operators[i]));
        return ZI_OK;
    }
    return place_fail(l->place, "a character that has no meaning here: %.*s",
                      (int)character_length(*l->at), l->at);
}

/* Takes what is inside a tag, and its end. */
static enum zi_status take_inside(struct lexer *l, const char *end, enum token_kind kind)
{
    struct place begun = *l->place;
    l->brackets = 0;
    for (;;) {
        take_space(l);
        if (l->at == l->end) {
            *l->place = begun;
            return place_fail(l->place, "a tag without %s", end);
        }
        if (l->brackets == 0 && is_end(l, end, kind == TOKEN_BLOCK_END)) break;
        if (*l->at == '"' || *l->at == '\'')
            ZI_TRY(take_string(l));
        else if (is_digit(l->at, l->end))
            ZI_TRY(take_number(l));
        else if (is_name(l->at, l->end))
            ZI_TRY(take_name(l));
        else
            ZI_TRY(take_operator(l));
    }
    ZI_TRY(add(l, kind, l->at, 0));
    take_end(l, kind == TOKEN_BLOCK_END);
    return ZI_OK;
}

static enum zi_status take_tag(struct lexer *l)
{
    char kind = l->at[1], sign = l->at + 2 < l->end ? l->at[2] : 0;
    enum token_kind begin = kind == '{' ? TOKEN_PRINT_BEGIN : TOKEN_BLOCK_BEGIN;
    if (kind != '#') ZI_TRY(add(l, begin, l->at, 0));
    take(l, sign == '-' || sign == '+' ? 3 : 2);
    if (kind == '#') return take_comment(l);
    if (kind == '{') return take_inside(l, "}}", TOKEN_PRINT_END);
    return take_inside(l, "%}", TOKEN_BLOCK_END);
}

enum zi_status lexer_cut(struct arena *arena, struct place *place, struct text text,
                         struct tokens *tokens)
{
    struct lexer l = {arena, place, tokens, text.at, text.at + text.bytes, 0, true};
    while (l.at < l.end) {
        const char *tag = next_tag(&l);
        struct text before = text_before(&l, tag);
        if (before.bytes) ZI_TRY(add(&l, TOKEN_TEXT, before.at, before.bytes));
        take(&l, (size_t)(tag - l.at));
        if (l.at < l.end) ZI_TRY(take_tag(&l));
    }
    return add(&l, TOKEN_END, l.end, 0);
}
