/* SPDX-License-Identifier: Apache-2.0 */
#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

#include "base/log.h"
#include "text/buffer.h"

/* Steps of one match at one place; some tens of milliseconds. A pattern of a real tokenizer takes
 * about one per character. */
#define MATCH_LIMIT 2000000
/* Memory of the stack of compiled code: a match of some 100,000 characters with backtracking. */
#define STACK_BYTES ((size_t)8 << 20)

struct regex {
    pcre2_code *code;
    char *pattern;
};

struct regex_matcher {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

/* A pattern on its way from one syntax to the other. */
struct rewrite {
    const struct zi_json_place *place;
    const char *pattern, *at;
    struct buffer out;
    bool in_class;
};

#define WORD  "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define AHEAD "(?=[" WORD "])"

static enum zi_status refuse(const struct rewrite *r, const char *what)
{
    return zi_fail(ZI_ERROR_USAGE, "text",
                   "%s: pattern %s: %s (at byte %td) is not done; no text can be encoded as this "
                   "tokenizer would",
                   r->place->file, r->pattern, what, r->at - r->pattern);
}

static enum zi_status add(struct rewrite *r, const char *text)
{
    return buffer_add(&r->out, text, strlen(text));
}

/* A property between braces: general categories by their short names, scripts as such (PCRE2 would
 * take script extensions too). r->at is behind "\p". */
static enum zi_status rewrite_property(struct rewrite *r, char letter)
{
    static const char *const binary[] = {"Alphabetic", "Uppercase", "Lowercase", "White_Space",
                                         "Emoji",      "Any",       "ASCII"};
    static const char *const categories[][2] = {{"Letter", "L"},
                                                {"Mark", "M"},
                                                {"Number", "N"},
                                                {"Punctuation", "P"},
                                                {"Symbol", "S"},
                                                {"Separator", "Z"},
                                                {"Other", "C"},
                                                {"Decimal_Number", "Nd"},
                                                {"Lowercase_Letter", "Ll"},
                                                {"Uppercase_Letter", "Lu"},
                                                {"Nonspacing_Mark", "Mn"}};
    char name[64], text[96];
    const char *end = *r->at == '{' ? strchr(r->at, '}') : NULL;
    if (!end || (size_t)(end - r->at) > sizeof name) return refuse(r, "a property without {NAME}");
    const char *from = r->at + 1;
    const char *not = *from == '^' ? from++, "^" : "";
    snprintf(name, sizeof name, "%.*s", (int)(end - from), from);
    const char *kind = strlen(name) > 2 ? "sc:" : "", *chosen = name;
    for (size_t i = 0; i < sizeof binary / sizeof *binary; i++)
        if (strcmp(name, binary[i]) == 0) kind = "";
    for (size_t i = 0; i < sizeof categories / sizeof *categories; i++)
        if (strcmp(name, categories[i][0]) == 0) kind = "", chosen = categories[i][1];
    snprintf(text, sizeof text, "\\%c{%s%s%s}", letter, not, kind, chosen);
    r->at = end + 1;
    return add(r, text);
}

/* A letter behind a backslash that means something else to PCRE2, or the same. */
static enum zi_status rewrite_letter(struct rewrite *r, char letter)
{
    static const struct {
        char letter;
        /* NULL: not done there. */
        const char *outside, *inside;
    } table[] = {
        {'s', "\\p{White_Space}", "\\p{White_Space}"},
        {'S', "\\P{White_Space}", "\\P{White_Space}"},
        {'d', "\\p{Nd}", "\\p{Nd}"},
        {'D', "\\P{Nd}", "\\P{Nd}"},
        {'w', "[" WORD "]", WORD},
        {'W', "[^" WORD "]", NULL},
        {'h', "[0-9A-Fa-f]", "0-9A-Fa-f"},
        {'H', "[^0-9A-Fa-f]", NULL},
        {'b', "(?:(?<![" WORD "])" AHEAD "|(?<=[" WORD "])(?![" WORD "]))", "\\x08"},
        {'B', "(?:(?<![" WORD "])(?![" WORD "])|(?<=[" WORD "])" AHEAD ")", NULL},
        {'v', "\\x0b", "\\x0b"},
        {'n', "\\n", "\\n"},
        {'r', "\\r", "\\r"},
        {'t', "\\t", "\\t"},
        {'f', "\\f", "\\f"},
        {'a', "\\a", "\\a"},
        {'e', "\\e", "\\e"},
        {'x', "\\x", "\\x"},
        {'A', "\\A", NULL},
        {'z', "\\z", NULL},
        {'Z', "\\Z", NULL},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const char *text = r->in_class ? table[i].inside : table[i].outside;
        if (table[i].letter == letter && text) return add(r, text);
    }
    char what[32];
    snprintf(what, sizeof what, "\\%c%s", letter, r->in_class ? " in a class" : "");
    return refuse(r, what);
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static enum zi_status rewrite_escape(struct rewrite *r)
{
    char letter = r->at[1];
    if (!letter) return refuse(r, "a backslash at the end");
    r->at += 2;
    if (letter == 'p' || letter == 'P') return rewrite_property(r, letter);
    if (letter == 'u') {
        char text[16];
        if (strspn(r->at, "0123456789abcdefABCDEF") < 4) return refuse(r, "\\u without 4 digits");
        snprintf(text, sizeof text, "\\x{%.4s}", r->at);
        r->at += 4;
        return add(r, text);
    }
    if (letter >= '0' && letter <= '9') return refuse(r, "a number behind a backslash");
    if (is_letter(letter)) return rewrite_letter(r, letter);
    return buffer_add(&r->out, r->at - 2, 2);
}

/* r->at is at "(?": groups and lookarounds are the same; of options only i, m and x are. */
static enum zi_status rewrite_group(struct rewrite *r)
{
    static const char *const same[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        size_t length = strlen(same[i]);
        if (strncmp(r->at, same[i], length) == 0) {
            r->at += length;
            return add(r, same[i]);
        }
    }
    size_t options = strspn(r->at + 2, "imx-");
    char end = r->at[2 + options];
    if (options == 0 || (end != ':' && end != ')')) return refuse(r, "this kind of group");
    for (size_t i = 0; i < options + 3; i++) {
        char c = i >= 2 && r->at[i] == 'm' ? 's' : r->at[i];
        ZI_TRY(buffer_add(&r->out, &c, 1));
    }
    r->at += options + 3;
    return ZI_OK;
}

/* r->at is at "{": an interval, or a brace that stands for itself. */
static enum zi_status rewrite_brace(struct rewrite *r)
{
    size_t low = strspn(r->at + 1, "0123456789");
    const char *behind = r->at + 1 + low;
    size_t high = *behind == ',' ? strspn(behind + 1, "0123456789") : 0;
    bool has_comma = *behind == ',';
    behind += has_comma ? 1 + high : 0;
    if (*behind != '}' || (low == 0 && high == 0)) {
        r->at++;
        return add(r, "\\{");
    }
    if (behind[1] == '+') return refuse(r, "a + behind an interval");
    if (behind[1] == '?' && !has_comma) return refuse(r, "a ? behind {N}");
    ZI_TRY(add(r, low == 0 ? "{0" : "{"));
    ZI_TRY(buffer_add(&r->out, r->at + 1, (size_t)(behind - r->at)));
    r->at = behind + 1;
    return ZI_OK;
}

static enum zi_status rewrite_class(struct rewrite *r)
{
    if (*r->at == ']') {
        r->in_class = false;
        r->at++;
        return add(r, "]");
    }
    if (*r->at == '[')
        return refuse(r, r->at[1] == ':' ? "a class of POSIX" : "a class in a class");
    if (strncmp(r->at, "&&", 2) == 0) return refuse(r, "an intersection of classes");
    return buffer_add(&r->out, r->at++, 1);
}

static enum zi_status rewrite(struct rewrite *r)
{
    while (*r->at) {
        if (*r->at == '\\') {
            ZI_TRY(rewrite_escape(r));
        } else if (r->in_class) {
            ZI_TRY(rewrite_class(r));
        } else if (*r->at == '[') {
            size_t head = r->at[1] == '^' ? 2 : 1;
            if (r->at[head] == ']') return refuse(r, "a class that begins with ]");
            ZI_TRY(buffer_add(&r->out, r->at, head));
            r->at += head;
            r->in_class = true;
        } else if (strncmp(r->at, "(?", 2) == 0) {
            ZI_TRY(rewrite_group(r));
        } else if (strncmp(r->at, "(*", 2) == 0) {
            return refuse(r, "(*");
        } else if (*r->at == '{') {
            ZI_TRY(rewrite_brace(r));
        } else {
            ZI_TRY(buffer_add(&r->out, r->at++, 1));
        }
    }
    return ZI_OK;
}

/* Oniguruma ends a line at LF only, and its ^ and $ are those of lines. */
static enum zi_status compile(const struct rewrite *r, struct regex *regex)
{
    int error;
    PCRE2_SIZE at;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context) return zi_fail(ZI_ERROR_DEVICE, "text", "no memory for a pattern");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    regex->code = pcre2_compile((PCRE2_SPTR)r->out.text, r->out.bytes,
                                PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                                &error, &at, context);
    pcre2_compile_context_free(context);
    if (!regex->code) {
        char text[256];
        pcre2_get_error_message(error, (PCRE2_UCHAR *)text, sizeof text);
        return zi_fail(ZI_ERROR_USAGE, "text", "%s: pattern %s cannot be compiled: %s (PCRE2)",
                       r->place->file, r->pattern, text);
    }
    pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE); /* without it the match is only slower */
    return ZI_OK;
}

enum zi_status regex_compile(const struct zi_json_place *place, const char *pattern,
                             struct regex **regex)
{
    struct rewrite r = {.place = place, .pattern = pattern, .at = pattern};
    *regex = calloc(1, sizeof **regex);
    if (*regex) (*regex)->pattern = strdup(pattern);
    enum zi_status status = *regex && (*regex)->pattern
                                ? ZI_OK
                                : zi_fail(ZI_ERROR_DEVICE, "text", "no memory for a pattern");
    if (status >= 0) status = rewrite(&r);
    if (status >= 0 && r.in_class) status = refuse(&r, "a class without an end");
    if (status >= 0) status = compile(&r, *regex);
    buffer_free(&r.out);
    if (status < 0) {
        regex_free(*regex);
        *regex = NULL;
    }
    return status;
}

void regex_free(struct regex *regex)
{
    if (!regex) return;
    pcre2_code_free(regex->code);
    free(regex->pattern);
    free(regex);
}

enum zi_status regex_matcher_create(struct regex_matcher **matcher)
{
    struct regex_matcher *made = calloc(1, sizeof *made);
    *matcher = made;
    if (!made) return zi_fail(ZI_ERROR_DEVICE, "text", "no memory to match patterns");
    made->data = pcre2_match_data_create(1, NULL);
    made->context = pcre2_match_context_create(NULL);
    made->stack = pcre2_jit_stack_create((size_t)64 << 10, STACK_BYTES, NULL);
    if (made->data && made->context) {
        pcre2_set_match_limit(made->context, MATCH_LIMIT);
        if (made->stack) pcre2_jit_stack_assign(made->context, NULL, made->stack);
        return ZI_OK;
    }
    regex_matcher_free(made);
    *matcher = NULL;
    return zi_fail(ZI_ERROR_DEVICE, "text", "no memory to match patterns");
}

void regex_matcher_free(struct regex_matcher *matcher)
{
    if (!matcher) return;
    pcre2_match_data_free(matcher->data);
    pcre2_match_context_free(matcher->context);
    pcre2_jit_stack_free(matcher->stack);
    free(matcher);
}

enum zi_status regex_next(struct regex_walk *walk, struct text_range *found, bool *is_found)
{
    pcre2_match_data *data = walk->matcher->data;
    *is_found = false;
    while (walk->from <= walk->bytes) {
        int count = pcre2_match(walk->regex->code, (PCRE2_SPTR)walk->text, walk->bytes, walk->from,
                                PCRE2_NO_UTF_CHECK, data, walk->matcher->context);
        if (count == PCRE2_ERROR_NOMATCH) return ZI_OK;
        if (count < 0) {
            char what[256];
            pcre2_get_error_message(count, (PCRE2_UCHAR *)what, sizeof what);
            return zi_fail(ZI_ERROR_USAGE, "text",
                           "the tokenizer's pattern %s takes too long behind byte %zu of a text "
                           "(%s): it backtracks without bound; mend it in tokenizer.json",
                           walk->regex->pattern, walk->from, what);
        }
        const PCRE2_SIZE *range = pcre2_get_ovector_pointer(data);
        found->begin = range[0];
        found->end = range[1];
        walk->from = range[1];
        if (range[0] == range[1] && walk->has_last && walk->last == range[1]) {
            walk->from += range[1] < walk->bytes ? utf8_length(walk->text[range[1]]) : 1;
            continue;
        }
        walk->last = range[1];
        walk->has_last = true;
        *is_found = true;
        return ZI_OK;
    }
    return ZI_OK;
}
