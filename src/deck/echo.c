/* SPDX-License-Identifier: Apache-2.0 */
/* The used deck.
 *
 * An echo is a deck: every section and key, one key a line, with its value and a comment that says
 * where the value came from. It is written beside the results of a run, so that a year later the
 * run can be repeated without guessing which defaults held then.
 *
 * Reading an echo and echoing it gives the same bytes. Values do by themselves (write.c). The
 * comments would not: for the reader of an echo, every key comes from a line of it. So an echo
 * begins with a mark, and whoever reads a deck with that mark takes the origin of each key from the
 * comment on its line: `default`, `deck line 12`, `--set` or `model.from`, followed by `: auto` where auto has
 * been resolved to the value beside it, or by `: "~/out"` where that is how the path beside it was
 * written. No such text has a # in it: comments begin at the last one of a line. A comment that
 * says `default` beside a value that is not the default tells of an edit, and the key then comes
 * from its line, as in any deck. */
#include "deck/deck.h"

#include "base/log.h"
#include "deck/private.h"
#include "deck/value.h"

#include <stdlib.h>
#include <string.h>

enum { COMMENT_COLUMN = 44 };

/* Text in quotes; the bytes of what is odd in a comment go as \xHH. */
static void written_write(const char *text, FILE *out)
{
    int length;
    fputc('"', out);
    for (; *text; text += length) {
        bool odd = deck_character_is_odd(text, &length) || strchr("#\"\\", *text);
        for (int i = 0; i < length; i++)
            fprintf(out, odd ? "\\x%02x" : "%c", (unsigned char)text[i]);
    }
    fputc('"', out);
}

/* The text that written_write wrote as `length` bytes, or NULL; the caller frees it. */
static char *written_parse(const char *text, size_t length)
{
    unsigned byte;
    if (length < 2 || text[0] != '"' || text[length - 1] != '"') return NULL;
    char *written = malloc(length), *to = written;
    for (size_t i = 1; written && i < length - 1; i++) {
        if (text[i] == '\\' && i + 4 < length && sscanf(text + i, "\\x%2x", &byte) == 1) {
            *to++ = (char)byte;
            i += 3;
        } else {
            *to++ = text[i];
        }
    }
    if (written) *to = 0;
    return written;
}

static void origin_write(const struct deck_origin *origin, bool resolved, FILE *out)
{
    if (origin->source == SOURCE_DECK)
        fprintf(out, "deck line %d", origin->told_line);
    else
        fputs(origin->source == SOURCE_SET     ? "--set"
              : origin->source == SOURCE_MODEL ? "model.from"
                                               : "default",
              out);
    if (resolved) fputs(": auto", out);
    if (origin->written) {
        fputs(": ", out);
        written_write(origin->written, out);
    }
}

static void key_write(const struct deck *deck, const struct deck_row *row, FILE *out)
{
    const struct deck_origin *origin = &deck->origins[deck_row_index(row)];
    bool resolved = origin->was_auto && !deck_value_is_auto(row, &deck->settings);
    long start = ftell(out);
    fprintf(out, "    %s: ", row->key);
    deck_value_write(row, &deck->settings, out);
    long width = ftell(out) - start;
    fprintf(out, "%*s# ", width < COMMENT_COLUMN ? (int)(COMMENT_COLUMN - width) : 1, "");
    origin_write(origin, resolved, out);
    fputc('\n', out);
}

enum zi_status deck_echo(const struct deck *deck, char **text)
{
    int rows;
    size_t bytes;
    const struct deck_row *row = deck_rows(&rows);
    *text = NULL;
    ZI_REQUIRE(!deck->sections);
    FILE *out = open_memstream(text, &bytes);
    if (!out) return zi_fail(ZI_ERROR_DEVICE, "deck", "no memory to echo %s", deck->name);
    fprintf(out, DECK_ECHO_MARK ": every key, its value, and where the value came from\n");
    for (int i = 0; i < rows; i++) {
        if (!i || strcmp(row[i].section, row[i - 1].section) != 0)
            fprintf(out, "%s%s:\n", i ? "\n" : "", row[i].section);
        key_write(deck, &row[i], out);
    }
    bool failed = ferror(out);
    failed = fclose(out) != 0 || failed;
    if (failed) {
        free(*text);
        *text = NULL;
        return zi_fail(ZI_ERROR_DEVICE, "deck", "no memory to echo %s", deck->name);
    }
    return ZI_OK;
}

/* The origin that a comment tells, if it is one that origin_write writes. What it owns is the
 * caller's. */
static bool origin_parse(const char *comment, size_t length, struct deck_origin *origin)
{
    char text[32];
    int line, used = 0;
    const char *colon = memchr(comment, ':', length);
    size_t source = colon ? (size_t)(colon - comment) : length;
    if (source >= sizeof text) return false;
    memcpy(text, comment, source);
    text[source] = 0;
    if (strcmp(text, "default") == 0)
        origin->source = SOURCE_DEFAULT;
    else if (strcmp(text, "--set") == 0)
        origin->source = SOURCE_SET;
    else if (strcmp(text, "model.from") == 0)
        origin->source = SOURCE_MODEL;
    else if (sscanf(text, "deck line %9d%n", &line, &used) == 1 && !text[used] && line > 0) {
        origin->source = SOURCE_DECK;
        origin->told_line = line;
    } else {
        return false;
    }
    bool resolved = colon && length - source == 6 && memcmp(colon, ": auto", 6) == 0;
    origin->was_auto = resolved;
    origin->written = NULL;
    if (!colon || resolved) return true;
    if (length - source < 4 || colon[1] != ' ') return false;
    origin->written = written_parse(colon + 2, length - source - 2);
    return origin->written;
}

/* The text after the last # of a line, without spaces around it. */
static const char *line_comment(const char *line, size_t bytes, size_t *length)
{
    size_t end = 0, start;
    while (end < bytes && line[end] != '\n')
        end++;
    while (end && (line[end - 1] == ' ' || line[end - 1] == '\r'))
        end--;
    for (start = end; start && line[start - 1] != '#';)
        start--;
    if (!start) return NULL;
    while (start < end && line[start] == ' ')
        start++;
    *length = end - start;
    return line + start;
}

void deck_origins_restore(struct deck *deck, const char *text, size_t bytes)
{
    int rows, line = 1;
    const struct deck_row *row = deck_rows(&rows);
    const char *end = text + bytes;
    if (bytes < strlen(DECK_ECHO_MARK) || memcmp(text, DECK_ECHO_MARK, strlen(DECK_ECHO_MARK)) != 0)
        return;
    for (const char *at = text; at < end; line++) {
        const char *next = memchr(at, '\n', (size_t)(end - at));
        size_t length, left = (size_t)(end - at);
        const char *comment = line_comment(at, left, &length);
        for (int i = 0; comment && i < rows; i++) {
            struct deck_origin *origin = &deck->origins[i], told = *origin;
            if (origin->source != SOURCE_DECK || origin->line != line) continue;
            if (!origin_parse(comment, length, &told)) continue;
            bool same = deck_value_same(&row[i], &deck->settings, &deck->defaults);
            if (told.source == SOURCE_DEFAULT && !told.was_auto && !same) {
                free(told.written);
                continue;
            }
            told.was_auto = told.was_auto || origin->was_auto;
            told.told = true;
            free(origin->written);
            *origin = told;
        }
        if (!next) break;
        at = next + 1;
    }
}
