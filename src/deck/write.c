/* SPDX-License-Identifier: Apache-2.0 */
/* One value of a deck: from a typed field to text.
 *
 * What is written here is read back by deck_value_read to the same bits, and is the same value for
 * other readers of YAML, of version 1.1 and 1.2. So real numbers have the fewest digits that give
 * the same double, always with a point and a signed exponent (1e-5 is a string in YAML 1.1, 1.0e-5
 * is not); sizes have the largest binary unit that divides them; text is in quotes unless it could
 * not be anything but text, and characters that YAML does not allow as they are, are escaped. */
#include "deck/value.h"

#include "base/log.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { QUOTE_BYTES = 40 };

static const void *field(const struct deck_row *row, const struct settings *settings)
{
    return (const char *)settings + row->offset;
}

static void real_write(double value, FILE *out)
{
    char text[40];
    int digits = 1;
    for (; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, value);
        if (strtod(text, NULL) == value) break;
    }
    char *exponent = strchr(text, 'e');
    int power = atoi(exponent + 1);
    *exponent = 0;
    if (power >= -4 && power < 7)
        fprintf(out, "%.*f", digits - 1 - power > 1 ? digits - 1 - power : 1, value);
    else
        fprintf(out, "%s%se%+d", text, strchr(text, '.') ? "" : ".0", power);
}

static void bytes_write(int64_t value, FILE *out)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int unit = 0;
    for (; value && value % 1024 == 0 && unit < 4; unit++)
        value /= 1024;
    fprintf(out, "%" PRId64 " %s", value, units[unit]);
}

static void integer_write(const struct deck_row *row, int64_t value, FILE *out)
{
    char singular[32];
    fprintf(out, "%" PRId64, value);
    if (row->unit)
        fprintf(out, " %s", value == 1 ? deck_unit_singular(row->unit, singular) : row->unit);
}

/* Whether a text is safe without quotes: a name or a path that starts like one and is no word that
 * YAML or a deck reads as something else. */
static bool text_is_plain(const char *text)
{
    static const char *const reserved[] = {"true", "false", "yes",   "no",   "on",  "off", "null",
                                           "y",    "n",     "never", "auto", "nan", "inf"};
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    static const char all[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";
    const char *start = text + (text[0] == '/' || (text[0] == '.' && text[1] == '/'));
    if (text[0] == '.' && text[1] == '/') start++;
    if (!*start || !strchr(letters, *start) || text[strspn(text, all)]) return false;
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (strcasecmp(text, reserved[i]) == 0) return false;
    return true;
}

/* The code point of a valid UTF-8 character, and its length. */
static uint32_t character_at(const char *text, int *length)
{
    const unsigned char *at = (const unsigned char *)text;
    *length = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    uint32_t code = *length == 1 ? at[0] : at[0] & (0x7fu >> *length);
    for (int i = 1; i < *length; i++)
        code = code << 6 | (at[i] & 0x3fu);
    return code;
}

bool deck_character_is_odd(const char *text, int *length)
{
    uint32_t code = character_at(text, length);
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029 ||
           code == 0xfeff || code == 0xfffe || code == 0xffff;
}

static void text_write(const char *text, FILE *out)
{
    int length;
    if (text_is_plain(text)) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text; text += length) {
        bool odd = deck_character_is_odd(text, &length);
        uint32_t code = character_at(text, &length);
        if (code == '"' || code == '\\')
            fprintf(out, "\\%c", (int)code);
        else if (code == '\n')
            fputs("\\n", out);
        else if (code == '\t')
            fputs("\\t", out);
        else if (odd)
            fprintf(out, "\\u%04" PRIX32, code);
        else
            fwrite(text, 1, (size_t)length, out);
    }
    fputc('"', out);
}

/* A path as a deck writes it: each dollar doubled. */
static void path_write(const char *path, FILE *out)
{
    char *text = malloc(2 * strlen(path) + 1), *to = text;
    ZI_REQUIRE(text);
    for (; *path; path++) {
        if (*path == '$') *to++ = '$';
        *to++ = *path;
    }
    *to = 0;
    text_write(text, out);
    free(text);
}

/* A list only where it has to be one. */
static void paths_write(const struct deck_list *list, FILE *out)
{
    const char *one = list->count == 1 ? list->items[0] : NULL;
    if (one && !strchr(one, ',') && *one != ' ' && one[strlen(one) - 1] != ' ') {
        path_write(one, out);
        return;
    }
    fputc('[', out);
    for (int i = 0; i < list->count; i++) {
        if (i) fputs(", ", out);
        path_write(list->items[i], out);
    }
    fputc(']', out);
}

/* Quotes are for what YAML reads otherwise. */
static void words_write(const struct deck_list *list, FILE *out)
{
    if (list->count != 1) fputc('[', out);
    for (int i = 0; i < list->count; i++) {
        const char *word = list->items[i];
        bool bare = !strpbrk(word, "*?[]!") && *word != '-' && strcmp(word, "null") != 0;
        fprintf(out, bare ? "%s%s" : "%s\"%s\"", i ? ", " : "", word);
    }
    if (list->count != 1) fputc(']', out);
}

/* A map where there are weights, a list where there is more than one path. */
static void sources_write(const struct deck_sources *sources, FILE *out)
{
    bool weighted = deck_sources_weighted(sources), list = weighted || sources->count > 1;
    if (!sources->count) fputs("\"\"", out);
    if (list) fputc('[', out);
    for (int i = 0; i < sources->count; i++) {
        if (i) fputs(", ", out);
        if (weighted) fputs("{path: ", out);
        path_write(sources->items[i].path, out);
        if (weighted) fputs(", weight: ", out);
        if (weighted) real_write(sources->items[i].weight, out);
        if (weighted) fputc('}', out);
    }
    if (list) fputc(']', out);
}

static void choice_write(const struct deck_row *row, const struct settings *settings, FILE *out)
{
    int64_t value = row->may_be_auto ? *(const int64_t *)field(row, settings)
                                     : *(const int *)field(row, settings);
    for (const struct deck_choice *choice = row->choices; choice->word; choice++) {
        if (choice->value != value) continue;
        fputs(choice->word, out);
        return;
    }
    fprintf(out, "%" PRId64, value);
}

void deck_value_write(const struct deck_row *row, const struct settings *settings, FILE *out)
{
    const void *value = field(row, settings);
    if (deck_value_is_auto(row, settings)) {
        fputs("auto", out);
        return;
    }
    switch (row->type) {
    case DECK_INTEGER:
        if (row->may_be_never && *(const int64_t *)value == 0)
            fputs("never", out);
        else
            integer_write(row, *(const int64_t *)value, out);
        return;
    case DECK_REAL:
        real_write(*(const double *)value, out);
        return;
    case DECK_BYTES:
        bytes_write(*(const int64_t *)value, out);
        return;
    case DECK_BOOLEAN:
        fputs(*(const bool *)value ? "yes" : "no", out);
        return;
    case DECK_TRISTATE:
        fputs(*(const int64_t *)value ? "yes" : "no", out);
        return;
    case DECK_CHOICE:
        choice_write(row, settings, out);
        return;
    case DECK_TEXT:
        text_write(*(char *const *)value, out);
        return;
    case DECK_PATH:
        path_write(*(char *const *)value, out);
        return;
    case DECK_PATHS:
        paths_write(value, out);
        return;
    case DECK_WORDS:
        words_write(value, out);
        return;
    case DECK_SOURCES:
        sources_write(value, out);
        return;
    }
}

void deck_number_write(double number, FILE *out)
{
    int power = 0;
    double digits = number;
    if (number >= 0x1p63) {
        fputs("2^63-1", out);
        return;
    }
    for (; fabs(digits) >= 1e6 && fmod(digits, 10) == 0; power++)
        digits /= 10;
    for (; power && fabs(digits) >= 10 && fmod(digits, 10) == 0; power++)
        digits /= 10;
    fprintf(out, "%.15g", digits);
    if (power) fprintf(out, "e%d", power);
}

static void range_write(const struct deck_row *row, FILE *out)
{
    if (row->type == DECK_BYTES) {
        fputs(" of at least ", out);
        bytes_write((int64_t)row->minimum, out);
        return;
    }
    bool open = row->maximum >= 1e9;
    fputs(open ? " of at least " : " from ", out);
    deck_number_write(row->minimum, out);
    if (open) return;
    fputs(" to ", out);
    deck_number_write(row->maximum, out);
}

void deck_value_expected(const struct deck_row *row, FILE *out)
{
    int words = 0, i = 0;
    switch (row->type) {
    case DECK_INTEGER:
        fprintf(out, "a whole number%s%s", row->unit ? " of " : "", row->unit ? row->unit : "");
        range_write(row, out);
        break;
    case DECK_REAL:
        fprintf(out, "a number%s%s", row->unit ? " of " : "", row->unit ? row->unit : "");
        range_write(row, out);
        break;
    case DECK_BYTES:
        fputs("a size", out);
        range_write(row, out);
        fputs(" with a unit (B, KiB, MiB, GiB, TiB, kB, MB, GB, TB), as in 64 GiB", out);
        break;
    case DECK_BOOLEAN:
        fputs("yes or no", out);
        break;
    case DECK_TRISTATE:
        fputs("yes, no", out);
        break;
    case DECK_CHOICE:
        while (row->choices[words].word)
            words++;
        for (; i < words; i++)
            fprintf(out, "%s%s", row->choices[i].word,
                    i + 2 < words || (i + 2 == words && row->may_be_auto) ? ", "
                    : i + 2 == words                                      ? " or "
                                                                          : "");
        break;
    case DECK_TEXT:
        fputs("text", out);
        break;
    case DECK_PATH:
        fputs("a path", out);
        break;
    case DECK_PATHS:
        fprintf(out, "a path, or a list of at most %d paths, as in [/mnt/a, /mnt/b]",
                (int)DECK_LIST_MAX);
        break;
    case DECK_WORDS:
        fprintf(out, "a word, or a list of at most %d words, as in [a, b]", (int)DECK_LIST_MAX);
        break;
    case DECK_SOURCES:
        fputs("a file, a folder, or a pattern as data/*.bin; or a list of them, as [a, b] or as "
              "[{path: a, weight: 0.7}, {path: b, weight: 0.3}]",
              out);
        break;
    }
    if (row->may_be_never) fputs(row->may_be_auto ? ", never" : ", or never", out);
    if (row->may_be_auto) fputs(", or auto", out);
}

const char *deck_value_clip(const char *text, char shown[64])
{
    size_t length = strnlen(text, QUOTE_BYTES + 1);
    bool cut = length > QUOTE_BYTES;
    if (cut) length = QUOTE_BYTES;
    while (cut && length && ((unsigned char)text[length] & 0xc0) == 0x80)
        length--; /* not in the middle of a character */
    snprintf(shown, 64, "%.*s%s", (int)length, text, cut ? "..." : "");
    for (char *c = shown; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    return shown;
}

const char *deck_value_quote(const char *text, char shown[64])
{
    char clipped[64];
    snprintf(shown, 64, "'%.61s'", deck_value_clip(text, clipped));
    return shown;
}
