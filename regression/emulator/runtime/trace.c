/* SPDX-License-Identifier: Apache-2.0 */
/* What is given to streams and what the host waits for, line by line on stderr (EMULATOR_TRACE=1):
 * reports name operations by number and stream, and here is what they were. */
#include "private.h"

#include <stdarg.h>
#include <stdio.h>

enum { LINE = 1024 };

/* Appends to a line. */
static void add(char line[LINE], int *length, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void add(char line[LINE], int *length, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int more = vsnprintf(line + *length, (size_t)(LINE - *length), format, list);
    va_end(list);
    if (more > 0) *length = *length + more < LINE ? *length + more : LINE - 1;
}

void trace_given(const struct operation *operation)
{
    if (!settings()->trace) return;
    char line[LINE];
    int length = 0;
    add(line, &length, "operation %u of stream %u, device %d: %s", operation->mark.number,
        operation->mark.slot, operation->device, operation->mark.name);
    if (operation->wait.number > 0)
        add(line, &length, " for operation %u of stream %u", operation->wait.number,
            operation->wait.slot);
    for (int i = 0; i < operation->work.range_count; i++) {
        const struct emulator_range *range = &operation->work.ranges[i];
        add(line, &length, "; %s %zu bytes: %s", range->writes ? "writes" : "reads", range->bytes,
            arena_describe(range->address));
    }
    report_line("trace", line);
}

void trace_host(const struct point *point)
{
    if (!settings()->trace) return;
    char line[LINE];
    int length = 0;
    add(line, &length, "the host has waited for operation %u of stream %u", point->number,
        point->slot);
    report_line("trace", line);
}
