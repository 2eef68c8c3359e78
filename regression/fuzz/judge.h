/* SPDX-License-Identifier: Apache-2.0 */
/* Whose fault it was that a process ended, by what a sanitizer wrote of it. */
#ifndef ZI_FUZZ_JUDGE_H
#define ZI_FUZZ_JUDGE_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Whether of the frames below `text` the first that is HDF5's or ours is HDF5's; others are those
 * of the sanitizer and the C library. */
static inline bool judge_in_hdf5(const char *text)
{
    for (const char *frame = text; (frame = strstr(frame, "    #")); frame++) {
        char line[1000];
        snprintf(line, sizeof line, "%.*s", (int)strcspn(frame, "\n"), frame);
        if (strstr(line, "libsanitizer") || strstr(line, "compiler-rt")) continue;
        /* what wrote the report */
        if (strstr(line, "fuzz_out_of_time") || strstr(line, "__sanitizer_malloc_hook")) continue;
        if (strstr(line, "libhdf5")) return true;
        if (strstr(line, "/src/") || strstr(line, "/regression/")) return false;
    }
    return false;
}

/* Whether a report is about memory that the caller of HDF5 owns. What the caller has freed is nobody's:
 * HDF5 keeps no address of it, and goes past memory of its own to get there. */
static inline bool judge_of_our_memory(const char *report)
{
    const char *allocated = strstr(report, "allocated by thread");
    if (strstr(report, "stack-buffer") || strstr(report, "global-buffer")) return true;
    return allocated && !strstr(report, "freed by thread") && !judge_in_hdf5(allocated);
}

/* Whether a fault that a sanitizer reported is HDF5's: it happened there, in memory that is not
 * ours. */
static inline bool judge_is_hdf5(const char *report)
{
    return strstr(report, "Sanitizer") && !strstr(report, "runtime error") &&
           judge_in_hdf5(report) && !judge_of_our_memory(report);
}

#endif
