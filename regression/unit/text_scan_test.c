/* SPDX-License-Identifier: Apache-2.0 */
/* The scanner by hand against the regular expressions that it stands for, on texts put together at
 * random of what the patterns tell apart; and the rewriting of patterns from Ruby's syntax. */
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"
#include "text/regex.h"
#include "text/scan.h"

#define TAIL "\\s+(?!\\S)|\\s+"
#define NEWER(digits)                                                                              \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" digits                     \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" TAIL

static const char *const patterns[] = {
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|" TAIL, NEWER("{1,3}"),
    NEWER("")};

static const char *const parts[] = {" ",
                                    "  ",
                                    "\n",
                                    "\r\n",
                                    "\t",
                                    "a",
                                    "Word",
                                    "'",
                                    "'s",
                                    "'LL",
                                    "'re",
                                    "'V",
                                    "e",
                                    "\xc5\xbf",
                                    "1",
                                    "234567",
                                    "\xc2\xbd",
                                    "\xd9\xa3",
                                    ".",
                                    "->",
                                    "\xe2\x80\xa8",
                                    "{",
                                    "\xc2\xa0",
                                    "\xe3\x80\x80",
                                    "\xc2\x85",
                                    "\xe1\xa0\x8e",
                                    "\xe4\xb8\xad",
                                    "\xcc\x81",
                                    "/*",
                                    "\x01",
                                    "\xf0\x9f\x98\x80",
                                    "\xef\xbf\xbd"};

static const struct zi_json_place place = {.room = "test", .file = "test.json"};
static uint64_t draws;

static size_t draw(size_t below)
{
    return (size_t)(zi_random_uniform(1, zi_random_stream("scan"), draws++) * (double)below);
}

/* All pieces of the expression are those of the scanner. */
static void check_same(const struct scanner *scanner, const struct regex *regex,
                       struct regex_matcher *matcher, const char *text)
{
    struct regex_walk walk = {
        .regex = regex, .matcher = matcher, .text = text, .bytes = strlen(text)};
    struct text_range found = {0, 0};
    size_t at = 0;
    bool is_found = true, same = true;
    while (same && at < walk.bytes) {
        same = regex_next(&walk, &found, &is_found) == ZI_OK && is_found && found.begin == at &&
               found.end == at + scanner_next(scanner, text + at, walk.bytes - at);
        at = found.end;
    }
    if (!same) fprintf(stderr, "|%s| at %zu\n", text, found.begin);
    CHECK(same);
}

static void test_scanner(const char *pattern)
{
    struct scanner *scanner;
    struct regex *regex;
    struct regex_matcher *matcher;
    CHECK_INT(scanner_create(pattern, &scanner), ZI_OK);
    CHECK_INT(regex_compile(&place, pattern, &regex), ZI_OK);
    CHECK_INT(regex_matcher_create(&matcher), ZI_OK);
    CHECK(scanner);
    for (int turn = 0; scanner && turn < 20000 && test_failures() == 0; turn++) {
        char text[256] = "";
        for (size_t count = 1 + draw(14); count > 0; count--)
            strcat(text, parts[draw(sizeof parts / sizeof *parts)]);
        check_same(scanner, regex, matcher, text);
    }
    scanner_free(scanner);
    regex_free(regex);
    regex_matcher_free(matcher);
}

/* Of a text the matches, with bars between. */
static void check_matches(const char *pattern, const char *text, const char *wanted)
{
    struct regex *regex;
    struct regex_matcher *matcher;
    char got[256] = "";
    struct text_range found;
    bool is_found;
    CHECK_INT(regex_compile(&place, pattern, &regex), ZI_OK);
    CHECK_INT(regex_matcher_create(&matcher), ZI_OK);
    struct regex_walk walk = {
        .regex = regex, .matcher = matcher, .text = text, .bytes = strlen(text)};
    while (regex && regex_next(&walk, &found, &is_found) == ZI_OK && is_found) {
        strncat(got, text + found.begin, found.end - found.begin);
        strcat(got, "|");
    }
    if (strcmp(got, wanted) != 0) fprintf(stderr, "%s: %s is not %s\n", pattern, got, wanted);
    CHECK(strcmp(got, wanted) == 0);
    regex_free(regex);
    regex_matcher_free(matcher);
}

static void check_refused(const char *pattern, const char *what)
{
    static struct capture capture;
    struct regex *regex;
    capture_begin(&capture, stderr);
    enum zi_status status = regex_compile(&place, pattern, &regex);
    const char *said = capture_end(&capture);
    CHECK_INT(status, ZI_ERROR_USAGE);
    CHECK(!regex);
    if (!strstr(said, what)) fprintf(stderr, "%s: %s", pattern, said);
    CHECK(strstr(said, what));
}

/* Right values are those of Oniguruma 6.9.10 in Ruby's syntax, as tokenizers 0.23.3 uses it. */
static void test_rewriting(void)
{
    check_matches("\\s+", "a \xe1\xa0\x8e\xc2\x85\xe2\x80\xa8z", " |\xc2\x85\xe2\x80\xa8|");
    check_matches("\\w+", "a\xcc\x81_1 \xe2\x85\xa7-\xe2\x93\x90",
                  "a\xcc\x81_1|\xe2\x85\xa7|\xe2\x93\x90|");
    check_matches("\\h+", "xaf09g", "af09|");
    check_matches("[\\h-]+", "xaf-09g", "af-09|");
    check_matches("^a|b$", "ab\nab\n", "a|b|a|b|");
    check_matches("a.", "a\nab", "ab|");
    check_matches("(?m)a.", "a\nab", "a\n|ab|");
    check_matches("\\bab", "ab xab_ab", "ab|");
    check_matches("x{,2}y", "xxxy", "xxy|");
    check_matches("a{b", "a{b", "a{b|");
    check_matches("\\p{Han}+", "\xe4\xb8\xad\xe3\x80\x81\xe4\xb8\xad",
                  "\xe4\xb8\xad|\xe4\xb8\xad|");
    check_matches("\\p{^L}+", "a1b", "1|");
    check_matches("\\u00e9", "e\xc3\xa9", "\xc3\xa9|");
    check_matches("a*", "baa", "|aa|");
    check_refused("[a&&b]", "an intersection of classes");
    check_refused("[a[bc]]", "a class in a class");
    check_refused("[[:alpha:]]", "a class of POSIX");
    check_refused("a{1,3}+", "a + behind an interval");
    check_refused("\\Ga", "\\G");
    check_refused("(?<n>a)", "this kind of group");
    check_refused("(a", "cannot be compiled");
    check_refused("[a", "a class without an end");
    check_refused("\\p{Nonsense}", "cannot be compiled");
}

int main(void)
{
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        test_scanner(patterns[i]);
    struct scanner *other;
    CHECK_INT(scanner_create("\\s+", &other), ZI_OK);
    CHECK(!other);
    test_rewriting();
    return test_finish("text_scan_test");
}
