/* SPDX-License-Identifier: Apache-2.0 */
/* Private to app: numbers as people read them. Local. */
#ifndef ZI_APP_NUMBERS_H
#define ZI_APP_NUMBERS_H

#include <time.h>

/* Given back by value, so that a call can stand among the arguments of a printf. "-" for NaN. */
struct number {
    char text[40];
};

/* Local. Four significant digits: "1.847", "4e-4". */
struct number number_plain(double value);

/* Local. Four decimals, as losses have in the lines of a run: "1.8465". */
struct number number_loss(double value);

/* Local. As learning rates: "4.01e-4". */
struct number number_exponent(double value);

/* Local. Three significant digits and k, M, G, T or P before `unit`: "17.4 MB", "21.5 k". */
struct number number_si(double value, const char *unit);

/* Local. Bytes of memory, in powers of 1024: "1.50 GiB". */
struct number number_memory(double bytes);

/* Local. A part of 1 in percent: "12.3 %". */
struct number number_share(double part);

/* Local. A time: "850 us", "45.2 ms", "12.3 s", "1:02:03". */
struct number number_time(double seconds);

/* Local. Date and time of day in UTC: "2026-01-31 12:00:00 UTC". */
struct number number_date(time_t when);

/* Local. A tick of an axis whose ticks are `step` apart and end at `most`: all of them have as many
 * decimals as the step needs. */
struct number number_tick(double value, double step, double most);

#endif
