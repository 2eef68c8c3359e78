/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: the words of a command line, against a table of the options that a command takes.
 */
#ifndef ZI_APP_OPTIONS_H
#define ZI_APP_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct option_row {
    /* With its dashes: "--set". */
    const char *name;
    /* What its value is called in the help, or NULL when it takes none. */
    const char *value;
    /* One line, no full stop. */
    const char *help;
};

#define OPTIONS_MAX 16

/* A command line taken apart. Everything points into argv. */
struct options {
    const struct option_row *rows;
    int row_count;
    /* Positional, in order. */
    const char **words;
    int word_count;
    /* Per row: every value given, in order ("" without one). */
    const char **values[OPTIONS_MAX];
    int value_counts[OPTIONS_MAX];
    void *memory;
};

/* Local. Takes apart argv[0..argc). ZI_ERROR_USAGE, logged with the nearest option and the way to
 * the command's help, for one that is unknown, lacks its value or has one too many. On success the
 * caller ends `options` with options_cleanup. */
enum zi_status options_parse(const char *command, const struct option_row *rows, int row_count,
                             int argc, char **argv, struct options *options);

/* Local. Frees what options_parse has made. */
void options_cleanup(struct options *options);

/* Local. Whether an option was given. */
bool options_given(const struct options *options, const char *name);

/* Local. The last value of an option, or `fallback` when it was not given. */
const char *options_text(const struct options *options, const char *name, const char *fallback);

/* Local. All values of an option; *count is their number. */
const char *const *options_all(const struct options *options, const char *name, int *count);

/* Local. The last value of an option as a number within [minimum, maximum]; *value stays as it is
 * when the option was not given. ZI_ERROR_USAGE when it is no such number. */
enum zi_status options_integer(const struct options *options, const char *name, int64_t minimum,
                               int64_t maximum, int64_t *value);

/* Local. As options_integer, for a real number. */
enum zi_status options_real(const struct options *options, const char *name, double minimum,
                            double maximum, double *value);

#endif
