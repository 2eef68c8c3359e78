/* SPDX-License-Identifier: Apache-2.0 */
/* Messages.
 *
 * Many ranks and threads speak, and a job's log is read months later: so a message is one line,
 * made in memory and written by one call under a lock, and says when, who and what. Notes are for
 * the reader of stdout and come from rank 0 only, or every line would appear once a rank. Warnings
 * and errors can concern one rank alone, so any rank writes them, to stderr, with its number and
 * host when there are several ranks.
 *
 * A warning in a loop must not fill a disk, nor an error after which the caller goes on: after 20 of
 * one format string the rest are counted, not written, and the 20th says so. The table of formats is
 * finite; formats that find no place share its last entry. */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/timing.h"

enum { LIMIT = 20, FORMATS = 64, STACK_BYTES = 1024, EXIT_BUG = 70 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int this_rank = 0, rank_count = 1;
static enum zi_log_level level_limit = ZI_LOG_NOTE;
static long warnings = 0;
static char first_error[STACK_BYTES], last_limited[STACK_BYTES];
static struct {
    const char *format;
    int count;
} formats[FORMATS];

void zi_log_identify(int rank, int size)
{
    pthread_mutex_lock(&lock);
    this_rank = rank;
    rank_count = size;
    pthread_mutex_unlock(&lock);
}

void zi_log_set_level(enum zi_log_level level)
{
    pthread_mutex_lock(&lock);
    level_limit = level;
    pthread_mutex_unlock(&lock);
}

/* How often this format has been used, this time included. Under the lock. */
static int format_count(const char *format)
{
    int i = 0;
    while (i < FORMATS - 1 && formats[i].format && strcmp(formats[i].format, format) != 0)
        i++;
    formats[i].format = format;
    return ++formats[i].count;
}

/* The message as text: in `room_on_stack` if it fits, else in memory of its own that the caller
 * frees; NULL when there is none to be had. */
static char *message_format(char *room_on_stack, size_t size, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(room_on_stack, size, format, arguments);
    char *text = room_on_stack;
    if (length >= (int)size) {
        text = malloc((size_t)length + 1);
        if (text)
            vsnprintf(text, (size_t)length + 1, format, again);
        else
            text = room_on_stack; /* cut short rather than lost */
    }
    va_end(again);
    return text;
}

static void line_write(enum zi_log_level level, const char *room, const char *text, bool last)
{
    static const char *const words[] = {"error: ", "warning: ", "", "", "debug: "};
    FILE *stream = level <= ZI_LOG_WARN ? stderr : stdout;
    char who[128] = "";
    if (level <= ZI_LOG_WARN && rank_count > 1) {
        char host[64] = "unknown host";
        gethostname(host, sizeof host - 1);
        host[sizeof host - 1] = 0;
        snprintf(who, sizeof who, "rank %d on %s: ", this_rank, host);
    }
    fprintf(stream, "[%7.1f s] %s%s%s: %s", zi_time_s(), who, words[level], room, text);
    if (last)
        fprintf(stream, " (further %s of this kind are not shown)",
                level == ZI_LOG_WARN ? "warnings" : "errors");
    fputc('\n', stream);
    fflush(stream);
}

/* `limited`: not more than LIMIT of one format. */
static void log_list(enum zi_log_level level, bool limited, const char *room, const char *format,
                     va_list arguments)
{
    char on_stack[STACK_BYTES];
    pthread_mutex_lock(&lock);
    bool wanted = level <= ZI_LOG_WARN || (level <= level_limit && this_rank == 0);
    int count = limited ? format_count(format) : 0;
    bool shown = wanted && count <= LIMIT;
    if (level == ZI_LOG_WARN && shown) warnings++;
    if (wanted && (shown || level == ZI_LOG_ERROR)) {
        char *text = message_format(on_stack, sizeof on_stack, format, arguments);
        if (shown) line_write(level, room, text, count == LIMIT);
        if (level == ZI_LOG_ERROR && limited)
            snprintf(last_limited, sizeof last_limited, "%s: %s", room, text);
        else if (level == ZI_LOG_ERROR && !first_error[0])
            snprintf(first_error, sizeof first_error, "%s: %s", room, text);
        if (text != on_stack) free(text);
    }
    pthread_mutex_unlock(&lock);
}

void zi_log(enum zi_log_level level, const char *room, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_list(level, level == ZI_LOG_WARN, room, format, arguments);
    va_end(arguments);
}

enum zi_status zi_fail(enum zi_status status, const char *room, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_list(ZI_LOG_ERROR, false, room, format, arguments);
    va_end(arguments);
    return status;
}

enum zi_status zi_fail_limited(enum zi_status status, const char *room, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_list(ZI_LOG_ERROR, true, room, format, arguments);
    va_end(arguments);
    return status;
}

void zi_log_first_error(char *text, size_t size)
{
    pthread_mutex_lock(&lock);
    snprintf(text, size, "%s", first_error[0] ? first_error : last_limited);
    pthread_mutex_unlock(&lock);
}

long zi_log_warnings(void)
{
    pthread_mutex_lock(&lock);
    long count = warnings;
    pthread_mutex_unlock(&lock);
    return count;
}

void zi_require_failed(const char *condition, const char *file, int line)
{
    zi_log(ZI_LOG_ERROR, "base", "%s:%d: invariant does not hold: %s; this is a bug of zinf", file,
           line, condition);
    fflush(stdout);
    _exit(EXIT_BUG);
}
