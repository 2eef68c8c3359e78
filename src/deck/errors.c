/* SPDX-License-Identifier: Apache-2.0 */
/* The errors of a deck.
 *
 * A user who corrects one error, submits, waits in a queue and learns of the next one is badly
 * served. So nothing here stops at the first: errors are added as they are found, each with its
 * line and column, and reported together in the order of the file, in the form file:line:column
 * that editors jump to. A deck that is broken beyond reason (a listing, a binary) would give
 * thousands; the first 50 are shown and the rest counted. */
#include "deck/errors.h"

#include "base/log.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum { SHOWN = 50 };

void deck_errors_add_list(struct deck_errors *errors, int line, int column, const char *format,
                          va_list arguments)
{
    char *text = NULL;
    errors->failed = true;
    if (errors->count == errors->room) {
        int room = errors->room ? 2 * errors->room : 16;
        struct deck_error *grown = realloc(errors->list, (size_t)room * sizeof *grown);
        if (grown) {
            errors->list = grown;
            errors->room = room;
        }
    }
    if (errors->count == errors->room || vasprintf(&text, format, arguments) < 0) {
        zi_log(ZI_LOG_ERROR, "deck", "no memory to keep an error of %s, line %d", errors->name,
               line);
        return;
    }
    errors->list[errors->count] =
        (struct deck_error){.line = line, .column = column, .number = errors->count, .text = text};
    errors->count++;
}

void deck_errors_add(struct deck_errors *errors, int line, int column, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    deck_errors_add_list(errors, line, column, format, arguments);
    va_end(arguments);
}

/* File order; the whole file first, overrides last. */
static int error_compare(const void *left, const void *right)
{
    const struct deck_error *a = left, *b = right;
    int line_a = a->line == DECK_PLACE_SET ? INT_MAX : a->line;
    int line_b = b->line == DECK_PLACE_SET ? INT_MAX : b->line;
    if (line_a != line_b) return line_a < line_b ? -1 : 1;
    if (a->column != b->column) return a->column < b->column ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

static void error_log(const struct deck_errors *errors, const struct deck_error *error,
                      enum zi_log_level level)
{
    if (error->line == DECK_PLACE_SET)
        zi_log(level, "deck", "--set %s", error->text);
    else if (error->line == DECK_PLACE_WHOLE)
        zi_log(level, "deck", "%s: %s", errors->name, error->text);
    else
        zi_log(level, "deck", "%s:%d:%d: %s", errors->name, error->line, error->column,
               error->text);
}

static void errors_sort(struct deck_errors *errors)
{
    if (errors->count)
        qsort(errors->list, (size_t)errors->count, sizeof *errors->list, error_compare);
}

void deck_errors_warn(struct deck_errors *errors)
{
    errors_sort(errors);
    for (int i = 0; i < errors->count; i++)
        error_log(errors, &errors->list[i], ZI_LOG_WARN);
    deck_errors_free(errors);
}

enum zi_status deck_errors_report(struct deck_errors *errors)
{
    int count = errors->count;
    if (!errors->failed) return ZI_OK;
    errors_sort(errors);
    for (int i = 0; i < count && i < SHOWN; i++)
        error_log(errors, &errors->list[i], ZI_LOG_ERROR);
    for (int i = 0; i < count; i++)
        free(errors->list[i].text);
    errors->count = 0;
    if (!count) return ZI_ERROR_USAGE; /* reported before */
    return zi_fail(ZI_ERROR_USAGE, "deck", "%s: %d error%s%s; `zinf help deck` describes every key",
                   errors->name, count, count == 1 ? "" : "s",
                   count > SHOWN ? ", of which the first 50 are shown" : "");
}

void deck_errors_free(struct deck_errors *errors)
{
    for (int i = 0; i < errors->count; i++)
        free(errors->list[i].text);
    free(errors->list);
    errors->list = NULL;
    errors->count = errors->room = 0;
}
