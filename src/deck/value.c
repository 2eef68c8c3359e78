/* SPDX-License-Identifier: Apache-2.0 */
/* One value of a deck: from text to a typed field.
 *
 * The row says what is accepted; the same row words the error. Numbers are parsed by hand around
 * strtod and strtoll, because these take too much (hexadecimal, nan, trailing text) and because
 * whole numbers up to 2^63-1 must not pass through a double. A multiplier (k, M, G; Ki, Mi, Gi) and
 * the row's unit may follow a whole number. Sizes must have a unit: nobody can tell whether 64 was
 * meant in bytes or gibibytes.
 *
 * Quotes do not matter except for text, so that an editor which quotes "64 GiB" does no harm. An
 * empty or null value is an error: it mostly is a forgotten one. */
#include "deck/value.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "deck/expand.h"
#include "deck/paths.h"
#include "deck/private.h"
#include "deck/weights.h"
#include "deck/words.h"

struct multiplier {
    const char *word;
    int64_t factor;
};

static const struct multiplier counts[] = {
    {"k", 1000},     {"M", 1000000},  {"G", 1000000000}, {"Ki", 1 << 10},
    {"Mi", 1 << 20}, {"Gi", 1 << 30}, {NULL, 0},
};
static const struct multiplier sizes[] = {
    {"B", 1},
    {"KiB", (int64_t)1 << 10},
    {"MiB", (int64_t)1 << 20},
    {"GiB", (int64_t)1 << 30},
    {"TiB", (int64_t)1 << 40},
    {"kB", 1000},
    {"MB", 1000000},
    {"GB", 1000000000},
    {"TB", 1000000000000},
    {NULL, 0},
};

/* A number and the words after it. `error` is what is wrong with it, or NULL. */
struct number {
    const char *error;
    int64_t whole;
    double real;
    /* `whole` holds it exactly. */
    bool is_whole;
    char words[2][16];
    int word_count;
};

static void *field(const struct deck_row *row, struct settings *settings)
{
    return (char *)settings + row->offset;
}

static const void *field_const(const struct deck_row *row, const struct settings *settings)
{
    return (const char *)settings + row->offset;
}

/* Splits what follows the digits into at most two words; false when it is something else. */
static bool words_split(const char *rest, struct number *number)
{
    while (*(rest += strspn(rest, " "))) {
        size_t length = strcspn(rest, " ");
        if (number->word_count == 2 || length >= sizeof number->words[0]) return false;
        memcpy(number->words[number->word_count], rest, length);
        number->words[number->word_count++][length] = 0;
        rest += length;
    }
    return true;
}

static struct number number_parse(const char *text)
{
    struct number number = {.error = NULL};
    char digits[64];
    text += strspn(text, " ");
    size_t length = text[0] == '+' || text[0] == '-';
    length += strspn(text + length, "0123456789_.");
    bool has_digit = strcspn(text, "0123456789") < length;
    size_t exponent = 1 + (text[length] && (text[length + 1] == '+' || text[length + 1] == '-'));
    if ((text[length] == 'e' || text[length] == 'E') &&
        strspn(text + length + exponent, "0123456789") > 0)
        length += exponent + strspn(text + length + exponent, "0123456789");
    if (!has_digit || length >= sizeof digits) {
        number.error = "no number";
        return number;
    }
    size_t kept = 0;
    for (size_t i = 0; i < length; i++)
        if (text[i] != '_') digits[kept++] = text[i];
    digits[kept] = 0;
    char *end;
    errno = 0;
    number.whole = strtoll(digits, &end, 10);
    number.is_whole = !*end && !errno;
    bool too_large = !*end && errno == ERANGE;
    number.real = strtod(digits, &end);
    if (*end)
        number.error = "no number";
    else if (too_large || !isfinite(number.real))
        number.error = "too large";
    else if (number.real == 0 && strcspn(digits, "eE") > strcspn(digits, "123456789"))
        number.error = "too small";
    else if (!number.is_whole && fabs(number.real) < 0x1p53 && number.real == floor(number.real)) {
        number.whole = (int64_t)number.real;
        number.is_whole = true;
    }
    if (!number.error && !words_split(text + length, &number)) number.error = "no unit";
    return number;
}

static int64_t factor_find(const struct multiplier *list, const char *word)
{
    for (; list->word; list++)
        if (strcmp(list->word, word) == 0) return list->factor;
    return 0;
}

/* Multiplies: exactly, or, where the number had a fraction, to the nearest whole for a size and
 * only to an exact whole for a count. What is wrong, or NULL. */
static const char *number_scale(struct number *number, int64_t factor, bool round)
{
    if (number->is_whole) {
        if (__builtin_mul_overflow(number->whole, factor, &number->whole)) return "too large";
    } else {
        double product = number->real * (double)factor;
        if (fabs(product) >= 0x1p53) return "too large";
        if (!round && product != floor(product)) return "no whole number";
        number->whole = (int64_t)rint(product);
        number->is_whole = true;
    }
    number->real = (double)number->whole;
    return NULL;
}

const char *deck_unit_singular(const char *unit, char text[32])
{
    size_t length = strnlen(unit, 31);
    memcpy(text, unit, length);
    if (length > 4 && strcmp(unit + length - 4, "ches") == 0)
        length -= 2;
    else if (length > 1 && unit[length - 1] == 's')
        length--;
    text[length] = 0;
    return text;
}

static bool unit_matches(const struct deck_row *row, const char *word)
{
    char singular[32];
    if (!row->unit) return false;
    return strcmp(word, row->unit) == 0 ||
           strcmp(word, deck_unit_singular(row->unit, singular)) == 0;
}

/* What is wrong with a number as the value of a row, or NULL. Takes multiplier and unit. */
static const char *number_fit(const struct deck_row *row, struct number *number)
{
    const char *wrong;
    int word = 0;
    if (number->error) return number->error;
    if (row->type == DECK_BYTES) {
        int64_t factor = number->word_count == 1 ? factor_find(sizes, number->words[0]) : 0;
        if (!number->word_count) return "no unit";
        if (!factor) return "an unknown unit";
        if ((wrong = number_scale(number, factor, true))) return wrong;
    } else if (row->type == DECK_INTEGER) {
        int64_t factor = number->word_count ? factor_find(counts, number->words[0]) : 0;
        if (factor) word++;
        if ((wrong = number_scale(number, factor ? factor : 1, false))) return wrong;
    }
    if (row->type != DECK_BYTES) {
        if (word < number->word_count && unit_matches(row, number->words[word])) word++;
        if (word < number->word_count) return row->unit ? "an unknown unit" : "no unit works here";
    }
    if (number->real < row->minimum) return "too small";
    if (number->real > row->maximum) return "too large";
    return NULL;
}

const char *deck_number_read(const struct deck_row *row, const char *text, double *number)
{
    struct number parsed = number_parse(text);
    const char *wrong = number_fit(row, &parsed);
    if (!wrong) *number = parsed.real;
    return wrong;
}

static const char *number_read(const struct deck_row *row, const char *text,
                               struct settings *settings)
{
    struct number number = number_parse(text);
    const char *wrong = number_fit(row, &number);
    if (wrong) return wrong;
    if (row->type == DECK_REAL)
        *(double *)field(row, settings) = number.real;
    else
        *(int64_t *)field(row, settings) = number.whole;
    return NULL;
}

/* 1 and 0 for the words of a boolean, -1 for any other. */
static int boolean_word(const char *text)
{
    static const char *const words[] = {"no",    "yes",  "false", "true", "No",    "Yes",
                                        "False", "True", "NO",    "YES",  "FALSE", "TRUE"};
    for (int i = 0; i < 12; i++)
        if (strcmp(text, words[i]) == 0) return i % 2;
    return -1;
}

static const char *text_read(const struct deck_row *row, const char *text,
                             struct settings *settings, char wrong[DECK_WRONG])
{
    char **place = field(row, settings), *copy = NULL;
    if (!*text && (!row->fallback || *row->fallback)) return "empty";
    if (row->type == DECK_TEXT)
        copy = strdup(text);
    else if (!deck_path_expand(text, strlen(text), &copy, wrong))
        return wrong;
    if (!copy) return "more than memory holds";
    free(*place);
    *place = copy;
    return NULL;
}

static void choice_store(const struct deck_row *row, int value, struct settings *settings)
{
    if (row->may_be_auto)
        *(int64_t *)field(row, settings) = value;
    else
        *(int *)field(row, settings) = value;
}

/* The value into the field, or what is wrong with it, which may be in `wrong`. */
static const char *value_store(const struct deck_row *row, const char *text,
                               struct settings *settings, char wrong[DECK_WRONG])
{
    int boolean = boolean_word(text);
    switch (row->type) {
    case DECK_INTEGER:
    case DECK_REAL:
    case DECK_BYTES:
        return number_read(row, text, settings);
    case DECK_BOOLEAN:
        if (boolean < 0) return "";
        *(bool *)field(row, settings) = boolean;
        return NULL;
    case DECK_TRISTATE:
        if (boolean < 0) return "";
        *(int64_t *)field(row, settings) = boolean;
        return NULL;
    case DECK_CHOICE:
        for (const struct deck_choice *choice = row->choices; choice->word; choice++) {
            if (strcmp(choice->word, text) != 0) continue;
            choice_store(row, choice->value, settings);
            return NULL;
        }
        return "";
    case DECK_TEXT:
    case DECK_PATH:
        return text_read(row, text, settings, wrong);
    case DECK_PATHS:
        return deck_paths_read(text, field(row, settings), wrong) ? NULL : wrong;
    case DECK_WORDS:
        return deck_words_read(text, field(row, settings), wrong) ? NULL : wrong;
    case DECK_SOURCES:
        if (!*text && (!row->fallback || *row->fallback)) return "empty";
        return deck_sources_read(text, field(row, settings), wrong) ? NULL : wrong;
    }
    return "";
}

/* The known word nearest to the text, or to its unit. */
static const char *choice_nearest(const struct deck_row *row, const char *text)
{
    const char *words[32];
    int count = 0;
    if (row->type == DECK_BYTES) {
        struct number number = number_parse(text);
        for (; sizes[count].word; count++)
            words[count] = sizes[count].word;
        if (!number.error && number.word_count == 1 && !factor_find(sizes, number.words[0]))
            return deck_nearest(number.words[0], words, count);
        count = 0;
    }
    for (int i = 0; row->choices && row->choices[i].word && count < 30; i++)
        words[count++] = row->choices[i].word;
    if (row->may_be_auto) words[count++] = "auto";
    if (row->may_be_never) words[count++] = "never";
    return deck_nearest(text, words, count);
}

/* What may follow the digits, or the end of the range, where that is what was wrong. */
static void forms_write(const struct deck_row *row, const char *wrong, FILE *out)
{
    if (row->type == DECK_INTEGER && strstr(wrong, "unit"))
        fprintf(out, ", alone or with k, M, G, Ki, Mi, Gi%s%s", row->unit ? " or " : "",
                row->unit ? row->unit : "");
    else if (row->type == DECK_REAL && strstr(wrong, "unit") && row->unit)
        fprintf(out, ", alone or with %s", row->unit);
    else if (row->type <= DECK_BYTES && strcmp(wrong, "too large") == 0) {
        fputs("; the largest is ", out);
        deck_number_write(row->maximum, out);
    }
}

static void problem_write(const struct deck_row *row, const char *text, const char *wrong,
                          char *problem)
{
    char shown[64];
    const char *nearest = choice_nearest(row, text);
    memset(problem, 0, DECK_MESSAGE);
    FILE *out = fmemopen(problem, DECK_MESSAGE - 1, "w");
    if (!out) {
        snprintf(problem, DECK_MESSAGE, "cannot be read: %s", strerror(errno));
        return;
    }
    if (*text)
        fprintf(out, "found %s", deck_value_quote(text, shown));
    else
        fprintf(out, "found no value");
    if (*wrong && *text) fprintf(out, " (%s)", wrong);
    fprintf(out, ", expected ");
    deck_value_expected(row, out);
    forms_write(row, wrong, out);
    if (nearest) fprintf(out, "; nearest is %s", nearest);
    fclose(out);
}

bool deck_value_read(const struct deck_row *row, const char *text, bool quoted,
                     struct settings *settings, char *problem)
{
    const char *wrong;
    char wrong_path[DECK_WRONG];
    bool null = !quoted && (!*text || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
    if (null && (deck_row_is_text(row) || deck_row_is_list(row) || *text))
        wrong = "nothing";
    else if (row->may_be_auto && strcmp(text, "auto") == 0) {
        *(int64_t *)field(row, settings) = ZI_AUTO;
        return true;
    } else if (row->may_be_never && strcmp(text, "never") == 0) {
        *(int64_t *)field(row, settings) = 0;
        return true;
    } else {
        wrong = value_store(row, text, settings, wrong_path);
    }
    if (wrong) problem_write(row, text, wrong, problem);
    return !wrong;
}

bool deck_value_is_auto(const struct deck_row *row, const struct settings *settings)
{
    return row->may_be_auto && *(const int64_t *)field_const(row, settings) == ZI_AUTO;
}

size_t deck_value_bytes(const struct deck_row *row)
{
    if (row->type == DECK_BOOLEAN) return sizeof(bool);
    if (row->type == DECK_REAL) return sizeof(double);
    return row->type == DECK_CHOICE && !row->may_be_auto ? sizeof(int) : sizeof(int64_t);
}

bool deck_value_same(const struct deck_row *row, const struct settings *left,
                     const struct settings *right)
{
    const void *a = field_const(row, left), *b = field_const(row, right);
    switch (row->type) {
    case DECK_TEXT:
    case DECK_PATH:
        return strcmp(*(char *const *)a, *(char *const *)b) == 0;
    case DECK_PATHS:
    case DECK_WORDS:
        return deck_list_same(a, b);
    case DECK_SOURCES:
        return deck_sources_same(a, b);
    case DECK_BOOLEAN:
        return *(const bool *)a == *(const bool *)b;
    case DECK_REAL:
        return *(const double *)a == *(const double *)b;
    case DECK_CHOICE:
        if (!row->may_be_auto) return *(const int *)a == *(const int *)b;
        return *(const int64_t *)a == *(const int64_t *)b;
    default:
        return *(const int64_t *)a == *(const int64_t *)b;
    }
}
