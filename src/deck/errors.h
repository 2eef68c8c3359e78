/* SPDX-License-Identifier: Apache-2.0 */
/* Private to deck: the errors of one deck, collected so that all are reported at once. */
#ifndef ZI_DECK_ERRORS_H
#define ZI_DECK_ERRORS_H

#include <stdbool.h>
#include <stdarg.h>

#include "base/status.h"

/* Places that are no line of the deck; the others count from 1. */
enum { DECK_PLACE_WHOLE = 0, DECK_PLACE_SET = -1 };

struct deck_error {
    /* `number`: in the order of finding. */
    int line, column, number;
    char *text;
};

struct deck_errors {
    /* Of the deck; not owned. */
    const char *name;
    struct deck_error *list;
    int count, room;
    /* Some error was reported or lost for want of memory. */
    bool failed;
};

/* Local. Adds one error; `line` is a line number or one of the places above. */
void deck_errors_add(struct deck_errors *errors, int line, int column, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Local. The same with the arguments in a list. */
void deck_errors_add_list(struct deck_errors *errors, int line, int column, const char *format,
                          va_list arguments);

/* Local. Logs the errors added since the last report in the order of the deck, then a summary;
 * ZI_ERROR_USAGE when there ever was one, else ZI_OK. */
enum zi_status deck_errors_report(struct deck_errors *errors);

/* Local. Logs all as warnings in the order of the deck, and forgets them. */
void deck_errors_warn(struct deck_errors *errors);

/* Local. Frees the texts; the list is empty then. */
void deck_errors_free(struct deck_errors *errors);

#endif
