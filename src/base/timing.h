/* SPDX-License-Identifier: Apache-2.0 */
/* Time: a monotonic clock for measuring and a calendar stamp for records. */
#ifndef ZI_BASE_TIMING_H
#define ZI_BASE_TIMING_H

/* Local. Seconds on a monotonic clock; zero is when the process first asked. */
double zi_time_s(void);

/* Local. Wall-clock date and time of day, ISO 8601 in UTC, into text[0..size); gives text. */
const char *zi_time_stamp(char *text, unsigned long size);

#endif
