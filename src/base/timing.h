/* SPDX-License-Identifier: Apache-2.0 */
/* Time: a monotonic clock for measuring and a calendar stamp for records. */
#ifndef ZI_BASE_TIMING_H
#define ZI_BASE_TIMING_H

#include <time.h>

/* Local. Seconds on a monotonic clock; zero is when the process first asked. */
double zi_time_s(void);

/* Local. A date and time of day, ISO 8601 in UTC, into text[0..size); gives text, empty where the
 * calendar does not have it. */
const char *zi_time_text(time_t when, char *text, unsigned long size);

/* Local. zi_time_text of now. */
const char *zi_time_stamp(char *text, unsigned long size);

#endif
