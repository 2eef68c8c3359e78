/* SPDX-License-Identifier: Apache-2.0 */
/* The process clock.
 *
 * Durations come from CLOCK_MONOTONIC, which no time service ever sets back. Its zero is arbitrary,
 * so the first call fixes a zero of its own; pthread_once makes that safe when several threads ask
 * first. Calendar time is only for records that people read, and is always UTC, so that records of
 * different sites compare. */
#include "base/timing.h"

#include <pthread.h>
#include <stdio.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct timespec origin;

static void origin_set(void)
{
    clock_gettime(CLOCK_MONOTONIC, &origin);
}

double zi_time_s(void)
{
    struct timespec now;
    pthread_once(&once, origin_set);
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - origin.tv_sec) + 1e-9 * (double)(now.tv_nsec - origin.tv_nsec);
}

const char *zi_time_text(time_t when, char *text, unsigned long size)
{
    struct tm parts;
    if (!size) return text;
    if (!gmtime_r(&when, &parts) || !strftime(text, size, "%Y-%m-%dT%H:%M:%SZ", &parts))
        text[0] = 0;
    return text;
}

const char *zi_time_stamp(char *text, unsigned long size)
{
    return zi_time_text(time(NULL), text, size);
}
