/* SPDX-License-Identifier: Apache-2.0 */
/* Messages to people. Rank 0 writes notes to stdout; warnings and errors of any rank go to stderr
 * with rank and host. Lines look like "[  12.3 s] engine: message": lower case, cause stated. */
#ifndef ZI_BASE_LOG_H
#define ZI_BASE_LOG_H

#include <stddef.h>

#include "base/status.h"

enum zi_log_level { ZI_LOG_ERROR, ZI_LOG_WARN, ZI_LOG_NOTE, ZI_LOG_INFO, ZI_LOG_DEBUG };

/* Local. Says which rank of how many this process is; before the call it is rank 0 of 1. */
void zi_log_identify(int rank, int size);

/* Local. Messages above this level are dropped; the default is ZI_LOG_NOTE. */
void zi_log_set_level(enum zi_log_level level);

/* Local. Writes one line; `room` is the name of the room that speaks. Errors and warnings are
 * always written (warnings at most 20 of one format string), the other levels by rank 0 only.
 * Thread-safe. */
void zi_log(enum zi_log_level level, const char *room, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Local. Logs an error once, where it is decided, and gives back `status`, so that a caller writes
 * `return zi_fail(ZI_ERROR_IO, "disk", "...", ...)`. Thread-safe. */
enum zi_status zi_fail(enum zi_status status, const char *room, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Local. The same where the caller goes on and may fail so again and again: at most 20 of one format
 * string are written. Thread-safe. */
enum zi_status zi_fail_limited(enum zi_status status, const char *room, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Local. The text of the first error that this process logged, cut to `size`; where there was none
 * but of zi_fail_limited, of the last of these, written or not; else "". Thread-safe. */
void zi_log_first_error(char *text, size_t size);

/* Local. Number of warnings written so far. */
long zi_log_warnings(void);

/* Always-on check of an invariant: prints what failed and where, then ends the process with exit
 * code 70. */
#define ZI_REQUIRE(condition)                                                                      \
    ((condition) ? (void)0 : zi_require_failed(#condition, __FILE__, __LINE__))

/* Local. Ends the process for ZI_REQUIRE. */
void zi_require_failed(const char *condition, const char *file, int line) __attribute__((noreturn));

#endif
