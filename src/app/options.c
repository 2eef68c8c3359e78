/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines.
 *
 * Each command has a table of its options; the parser, the check for unknown ones and the help text
 * all read that table. `--name value` and `--name=value` are the same, `--` ends the options, and
 * an option may be given several times: the last value counts unless a command asks for all.
 *
 * Whoever mistypes gets one line: what is wrong, what was probably meant, and how to see the rest.
 * An option that is not in the table is always an error: a job that ignores a word of its command
 * line has not done what it was told. */
#include "app/options.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "deck/deck.h"

enum { WORD_MAX = 64 }; /* of an option, in messages */

static int find_row(const struct options *options, const char *name, size_t length)
{
    for (int i = 0; i < options->row_count; i++) {
        const char *known = options->rows[i].name;
        if (strlen(known) == length && strncmp(known, name, length) == 0) return i;
    }
    return -1;
}

static enum zi_status unknown_option(const char *command, const struct options *options,
                                     const char *word)
{
    const char *names[OPTIONS_MAX];
    char name[WORD_MAX + 1];
    size_t length = strcspn(word, "=");
    if (length > WORD_MAX) length = WORD_MAX;
    memcpy(name, word, length);
    name[length] = 0;
    for (int i = 0; i < options->row_count; i++)
        names[i] = options->rows[i].name;
    const char *nearest = deck_nearest(name, names, options->row_count);
    return zi_fail(ZI_ERROR_USAGE, "app",
                   "zinf %s has no option %s%s%s%s; `zinf %s --help` lists what it takes", command,
                   name, nearest ? " (nearest: " : "", nearest ? nearest : "", nearest ? ")" : "",
                   command);
}

/* A shell replaces a ~ at the start of a word, but not behind --output=. */
static enum zi_status check_tilde(const struct option_row *known, const char *value)
{
    if (strcmp(known->value, "FILE") != 0 || value[0] != '~') return ZI_OK;
    return zi_fail(
        ZI_ERROR_USAGE, "app",
        "%s=%s: the shell leaves a ~ there as it is; write %s %s, or ./%s for a name that "
        "begins with it",
        known->name, value, known->name, value, value);
}

/* Takes one option at argv[*at]; *at moves to its last word. */
static enum zi_status take_option(const char *command, struct options *options, int argc,
                                  char **argv, int *at)
{
    const char *word = argv[*at], *equals = strchr(word, '=');
    size_t length = equals ? (size_t)(equals - word) : strlen(word);
    int row = find_row(options, word, length);
    if (row < 0) return unknown_option(command, options, word);
    const struct option_row *known = &options->rows[row];
    const char *value = "";
    if (!known->value && equals)
        return zi_fail(ZI_ERROR_USAGE, "app", "option %s of zinf %s takes no value, but got %s",
                       known->name, command, word);
    if (known->value && equals) {
        value = equals + 1;
        ZI_TRY(check_tilde(known, value));
    } else if (known->value) {
        if (*at + 1 >= argc)
            return zi_fail(ZI_ERROR_USAGE, "app", "option %s of zinf %s needs a value: %s %s",
                           known->name, command, known->name, known->value);
        value = argv[++*at];
    }
    options->values[row][options->value_counts[row]++] = value;
    return ZI_OK;
}

enum zi_status options_parse(const char *command, const struct option_row *rows, int row_count,
                             int argc, char **argv, struct options *options)
{
    ZI_REQUIRE(row_count <= OPTIONS_MAX);
    memset(options, 0, sizeof *options);
    options->rows = rows;
    options->row_count = row_count;
    size_t each = (size_t)argc + 1;
    const char **memory = calloc(each * (size_t)(row_count + 1), sizeof *memory);
    if (!memory) return zi_fail(ZI_ERROR_DEVICE, "app", "no memory for the command line");
    options->memory = memory;
    options->words = memory;
    for (int i = 0; i < row_count; i++)
        options->values[i] = memory + each * (size_t)(i + 1);
    bool only_words = false;
    for (int i = 0; i < argc; i++) {
        if (!only_words && strcmp(argv[i], "--") == 0) {
            only_words = true;
        } else if (!only_words && argv[i][0] == '-' && argv[i][1]) {
            enum zi_status status = take_option(command, options, argc, argv, &i);
            if (status < 0) {
                options_cleanup(options);
                return status;
            }
        } else {
            options->words[options->word_count++] = argv[i];
        }
    }
    return ZI_OK;
}

void options_cleanup(struct options *options)
{
    free(options->memory);
    memset(options, 0, sizeof *options);
}

const char *const *options_all(const struct options *options, const char *name, int *count)
{
    int row = find_row(options, name, strlen(name));
    ZI_REQUIRE(row >= 0);
    *count = options->value_counts[row];
    return options->values[row];
}

bool options_given(const struct options *options, const char *name)
{
    int count;
    options_all(options, name, &count);
    return count > 0;
}

const char *options_text(const struct options *options, const char *name, const char *fallback)
{
    int count;
    const char *const *values = options_all(options, name, &count);
    return count ? values[count - 1] : fallback;
}

enum zi_status options_integer(const struct options *options, const char *name, int64_t minimum,
                               int64_t maximum, int64_t *value)
{
    const char *text = options_text(options, name, NULL);
    char *end;
    if (!text) return ZI_OK;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno || end == text || *end || number < minimum || number > maximum)
        return zi_fail(ZI_ERROR_USAGE, "app",
                       "%s %s: expected a whole number from %" PRId64 " to %" PRId64, name, text,
                       minimum, maximum);
    *value = number;
    return ZI_OK;
}

enum zi_status options_real(const struct options *options, const char *name, double minimum,
                            double maximum, double *value)
{
    const char *text = options_text(options, name, NULL);
    char *end;
    if (!text) return ZI_OK;
    errno = 0;
    double number = strtod(text, &end);
    if (errno || end == text || *end || !(number >= minimum && number <= maximum))
        return zi_fail(ZI_ERROR_USAGE, "app", "%s %s: expected a number from %g to %g", name, text,
                       minimum, maximum);
    *value = number;
    return ZI_OK;
}
