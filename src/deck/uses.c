/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that a deck gives and cannot use.
 *
 * Whoever writes optimizer.decay beside a cosine schedule believes that it does something. A row of
 * the table says by its terms under which values of other keys its own is of use; here the terms
 * are compared with the settings, and worded for messages and documents.
 *
 * Only what was stated counts: by the deck that is read or by --set, not by a default, and not by
 * an echo, which lists every key. A value that asks for nothing (auto, never, no, an empty text) is
 * stated in peace. Where a key holds auto, what it becomes is not known here, and nothing is said.
 */
#include "deck/private.h"

#include "base/log.h"
#include "deck/value.h"

#include <stdlib.h>
#include <string.h>

/* The row that a term's value names, or NULL where the value is one. */
static const struct deck_row *value_row(const struct deck_term *term)
{
    char section[32];
    const char *dot = strchr(term->value, '.');
    if (!dot || (size_t)(dot - term->value) >= sizeof section) return NULL;
    snprintf(section, sizeof section, "%.*s", (int)(dot - term->value), term->value);
    return deck_find(section, dot + 1);
}

static double number_of(const struct deck_row *row, const struct settings *settings)
{
    const void *field = (const char *)settings + row->offset;
    ZI_REQUIRE(row->type == DECK_INTEGER || row->type == DECK_REAL || row->type == DECK_BYTES);
    if (row->type == DECK_REAL) return *(const double *)field;
    return (double)*(const int64_t *)field;
}

/* Whether a key has the value that a term names. */
static bool value_equals(const struct deck_row *row, const char *value,
                         const struct settings *settings)
{
    struct settings other;
    char problem[DECK_MESSAGE];
    ZI_REQUIRE(deck_settings_fill(&other) && deck_value_read(row, value, true, &other, problem));
    bool same = deck_value_same(row, &other, settings);
    deck_settings_free(&other);
    return same;
}

static bool term_holds(const struct deck_term *term, const struct settings *settings)
{
    const struct deck_row *row = deck_find(term->section, term->key), *limit = value_row(term);
    ZI_REQUIRE(row);
    if (deck_value_is_auto(row, settings)) return true;
    if (term->relation == DECK_IS) return value_equals(row, term->value, settings);
    if (term->relation == DECK_IS_NOT) return !value_equals(row, term->value, settings);
    double number = number_of(row, settings);
    double bound = limit ? number_of(limit, settings) : strtod(term->value, NULL);
    if (term->relation == DECK_BELOW) return number < bound;
    if (term->relation == DECK_AT_MOST) return number <= bound;
    return number > bound;
}

/* The first of alternatives of which none holds, or NULL where all is fulfilled. */
static const struct deck_term *terms_fail(const struct deck_term *term,
                                          const struct settings *settings)
{
    while (term && term->key) {
        const struct deck_term *first = term;
        bool holds = term_holds(term, settings);
        for (; term->or_next; term++)
            holds = term_holds(term + 1, settings) || holds;
        if (!holds) return first;
        term++;
    }
    return NULL;
}

/* Whether all sections that terms compare were asked for. */
static bool terms_needed(const struct deck *deck, const struct deck_term *term)
{
    bool needed = true;
    for (; term && term->key && needed; term++) {
        const struct deck_row *limit = value_row(term);
        needed = deck_needs(deck, term->section) && (!limit || deck_needs(deck, limit->section));
    }
    return needed;
}

static void term_write(const struct deck_term *term, FILE *out)
{
    static const char *const words[] = {[DECK_IS] = ":",
                                        [DECK_IS_NOT] = " other than",
                                        [DECK_BELOW] = " below",
                                        [DECK_AT_MOST] = " at most",
                                        [DECK_ABOVE] = " above"};
    fprintf(out, "%s.%s", term->section, term->key);
    if (*term->value)
        fprintf(out, "%s %s", words[term->relation], term->value);
    else
        fputs(" given", out);
}

void deck_uses_write(const struct deck_row *row, FILE *out)
{
    for (const struct deck_term *term = row->uses; term && term->key; term++) {
        term_write(term, out);
        if (term[1].key) fputs(term->or_next ? " or " : " and ", out);
    }
}

/* "section.key: value" of a key that is not `own`; gives whether it was written. */
static bool key_show(const struct deck_row *row, const struct deck_row *own, const char *before,
                     const struct settings *settings, FILE *out)
{
    if (!row || row == own) return false;
    fprintf(out, "%s%s.%s: ", before, row->section, row->key);
    deck_value_write(row, settings, out);
    return true;
}

/* What is wrong with a key whose alternatives from `failed` on do not hold, as text that the caller
 * frees; NULL without memory. */
static char *unused_text(const struct deck_row *row, const struct deck_term *failed,
                         const struct settings *settings)
{
    char *text = NULL;
    size_t bytes;
    const char *before = " has no effect with ";
    const struct deck_row *shown = NULL; /* of alternatives that are about the same key */
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return NULL;
    for (const struct deck_term *term = failed;; term++) {
        const struct deck_row *of = deck_find(term->section, term->key);
        if (of == row) {
            fputs(": ", out);
            deck_value_write(row, settings, out);
        }
        if (of != shown && key_show(of, row, before, settings, out)) before = ", ";
        shown = of;
        if (key_show(value_row(term), row, before, settings, out)) before = ", ";
        if (!term->or_next) break;
    }
    fputs("; it is used with ", out);
    deck_uses_write(row, out);
    if (row->must_be_used)
        fprintf(out, "; change that, or use %s", row->may_be_never ? "never" : "\"\"");
    if (fclose(out) == 0) return text;
    free(text);
    return NULL;
}

/* Whether a value asks for something. */
static bool asks(const struct deck_row *row, const struct settings *settings)
{
    const void *field = (const char *)settings + row->offset;
    if (row->type == DECK_BOOLEAN) return *(const bool *)field;
    if (deck_row_is_text(row)) return **(char *const *)field;
    if (row->type == DECK_PATHS || row->type == DECK_WORDS)
        return ((const struct deck_list *)field)->count > 0;
    if (row->type == DECK_SOURCES) return ((const struct deck_sources *)field)->count > 0;
    if (row->may_be_never && *(const int64_t *)field == 0) return false;
    return !deck_value_is_auto(row, settings);
}

bool deck_row_is_idle(const struct deck_row *row, const struct settings *settings)
{
    return asks(row, settings) && terms_fail(row->uses, settings);
}

void deck_check_uses(struct deck *deck)
{
    int rows;
    const struct deck_row *row = deck_rows(&rows);
    for (int i = 0; i < rows; i++) {
        const struct deck_origin *origin = &deck->origins[i];
        const struct deck_term *failed = terms_fail(row[i].uses, &deck->settings);
        bool stated = origin->source == SOURCE_DECK || origin->source == SOURCE_SET;
        if (!failed || !stated || origin->was_auto || !asks(&row[i], &deck->settings)) continue;
        if (origin->told && !row[i].must_be_used) continue;
        if (!terms_needed(deck, row[i].uses)) continue;
        char *text = unused_text(&row[i], failed, &deck->settings);
        struct deck_errors *list = row[i].must_be_used ? &deck->errors : &deck->remarks;
        deck_place(deck, &row[i], list, text ? text : " has no effect");
        free(text);
    }
}
