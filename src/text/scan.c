/* SPDX-License-Identifier: Apache-2.0 */
#include "text/scan.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/log.h"
#include "text/buffer.h"
#include "text/regex.h"

enum { LETTER = 1, NUMBER = 2, SPACE = 4, LAST_CHARACTER = 0x10ffff };

struct scan_rules {
    const char *pattern;
    /* Contractions in capitals too. */
    bool any_case;
    /* Words begin with any one character that is no letter, number or end of a line; else with a
     * space, and numbers too. */
    bool any_prefix;
    /* Digits of a number, at most; 0: any. */
    int digits;
};

#define TAIL "\\s+(?!\\S)|\\s+"
#define NEWER(digits)                                                                              \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" digits                     \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" TAIL

const char scan_gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|" TAIL;

static const struct scan_rules rules[] = {
    {scan_gpt2, false, false, 0},
    {NEWER("{1,3}"), true, true, 3}, /* Llama 3 */
    {NEWER(""), true, true, 1},      /* Qwen 2 */
};

struct scanner {
    const struct scan_rules *rules;
    /* Of each character: LETTER, NUMBER, SPACE or 0. */
    unsigned char classes[LAST_CHARACTER + 1];
};

/* Marks all characters of a text that a pattern matches. */
static enum zi_status mark(struct scanner *s, struct regex_matcher *matcher,
                           const struct buffer *all, const char *pattern, int mark)
{
    const struct zi_json_place place = {.room = "text", .file = "classes of characters"};
    struct regex *regex;
    struct text_range found;
    bool is_found;
    ZI_TRY(regex_compile(&place, pattern, &regex));
    struct regex_walk walk = {
        .regex = regex, .matcher = matcher, .text = all->text, .bytes = all->bytes};
    enum zi_status status;
    while ((status = regex_next(&walk, &found, &is_found)) >= 0 && is_found)
        for (size_t at = found.begin; at < found.end; at += utf8_length(all->text[at]))
            s->classes[utf8_at(all->text + at)] = (unsigned char)mark;
    regex_free(regex);
    return status;
}

static enum zi_status find_classes(struct scanner *s)
{
    struct buffer all = {.text = NULL};
    struct regex_matcher *matcher = NULL;
    enum zi_status status = buffer_reserve(&all, (size_t)4 * LAST_CHARACTER + 4);
    for (uint32_t c = 0; status >= 0 && c <= LAST_CHARACTER; c++)
        if (c < 0xd800 || c > 0xdfff) buffer_put(&all, c);
    if (status >= 0) status = regex_matcher_create(&matcher);
    if (status >= 0) status = mark(s, matcher, &all, "\\p{L}", LETTER);
    if (status >= 0) status = mark(s, matcher, &all, "\\p{N}", NUMBER);
    if (status >= 0) status = mark(s, matcher, &all, "\\s", SPACE);
    regex_matcher_free(matcher);
    buffer_free(&all);
    return status;
}

enum zi_status scanner_create(const char *pattern, struct scanner **scanner)
{
    *scanner = NULL;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (strcmp(pattern, rules[i].pattern) != 0) continue;
        struct scanner *made = calloc(1, sizeof *made);
        if (!made) return zi_fail(ZI_ERROR_DEVICE, "text", "no memory for classes of characters");
        made->rules = &rules[i];
        enum zi_status status = find_classes(made);
        if (status < 0)
            free(made);
        else
            *scanner = made;
        return status;
    }
    return ZI_OK;
}

void scanner_free(struct scanner *scanner)
{
    free(scanner);
}

static inline int class_at(const struct scanner *s, const char *at)
{
    return s->classes[utf8_at(at)];
}

/* The end of the characters of one class from `at` on. */
static inline const char *run(const struct scanner *s, const char *at, const char *end, int class)
{
    while (at < end && class_at(s, at) == class)
        at += utf8_length(*at);
    return at;
}

/* Bytes of a contraction at `at`, which is an apostrophe; 0: none. In any case U+017F is an s. */
static size_t contraction(const struct scanner *s, const char *at, const char *end)
{
    bool any = s->rules->any_case;
    if (end - at < 2) return 0;
    unsigned char one = (unsigned char)at[1], two = end - at > 2 ? (unsigned char)at[2] : 0;
    if (any && one == 0xc5 && two == 0xbf) return 3;
    if (any && one >= 'A' && one <= 'Z') one += 'a' - 'A';
    if (any && two >= 'A' && two <= 'Z') two += 'a' - 'A';
    if (one == 's' || one == 't' || one == 'm' || one == 'd') return 2;
    return ((one == 'r' || one == 'v') && two == 'e') || (one == 'l' && two == 'l') ? 3 : 0;
}

/* White space that no word or sign takes its last blank from: all up to the last end of a line where
 * the newer patterns are meant, all at the end of the text, else all but the last. */
static const char *spaces(const struct scanner *s, const char *text, const char *end)
{
    const char *at = text, *last = text, *line = NULL;
    while (at < end && class_at(s, at) == SPACE) {
        last = at;
        at += utf8_length(*at);
        if (*last == '\n' || *last == '\r') line = at;
    }
    if (s->rules->any_prefix && line) return line;
    return at < end && last > text ? last : at;
}

/* A number, of as many digits as one piece may have. */
static const char *number(const struct scanner *s, const char *at, const char *end)
{
    if (s->rules->digits == 0) return run(s, at, end, NUMBER);
    for (int i = 0; i < s->rules->digits && at < end && class_at(s, at) == NUMBER; i++)
        at += utf8_length(*at);
    return at;
}

static const char *next(const struct scanner *s, const char *text, const char *end)
{
    const char *behind = text + utf8_length(*text), *from = *text == ' ' ? behind : text;
    int class = class_at(s, text);
    size_t length = *text == '\'' ? contraction(s, text, end) : 0;
    if (length) return text + length;
    if (class == LETTER) return run(s, behind, end, LETTER);
    if (class == NUMBER) return number(s, text, end);
    if (s->rules->any_prefix ? *text != '\r' && *text != '\n' : *text == ' ')
        if (behind < end && class_at(s, behind) == LETTER) return run(s, behind, end, LETTER);
    if (from == end) return end;
    class = class_at(s, from);
    if (class == NUMBER && !s->rules->any_prefix) return run(s, from, end, NUMBER);
    if (class != 0) return spaces(s, text, end);
    from = run(s, from, end, 0);
    while (s->rules->any_prefix && from < end && (*from == '\r' || *from == '\n'))
        from++;
    return from;
}

size_t scanner_next(const struct scanner *scanner, const char *text, size_t bytes)
{
    return (size_t)(next(scanner, text, text + bytes) - text);
}
