/* SPDX-License-Identifier: Apache-2.0 */
/* What dead runs left of their stores on a path (stale.c). */
#ifndef ZI_TIER_CLEAN_H
#define ZI_TIER_CLEAN_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "base/status.h"

enum tier_remains_state {
    /* Only looked at */
    TIER_REMAINS_FOUND,
    TIER_REMAINS_REMOVED,
    /* On a network, made by another machine, which alone knows whether the run lives */
    TIER_REMAINS_ELSEWHERE,
    /* The files are removed, the folder stays for what others have in it */
    TIER_REMAINS_SHARED,
    TIER_REMAINS_FAILED
};

/* The folder of a store whose run died. */
struct tier_remains {
    /* Seen from the path */
    const char *name;
    /* That made it; "" where that is not known */
    const char *host, *run;
    /* On the disk */
    size_t bytes;
    /* The last time that one of its files was */
    time_t written;
    enum tier_remains_state state;
    /* SHARED: the name of something that zinf has not made; FAILED: the cause; else NULL */
    const char *reason;
};

typedef void tier_remains_visitor(void *context, const struct tier_remains *remains);

/* Local. Finds the folders of dead runs' stores on a path that is open as `directory`, removes them
 * if `wanted` as a run does that reclaims, and calls `visit` for each. Runs that would start on the
 * path wait meanwhile. ZI_ERROR_IO when the path cannot be locked or listed; ZI_STOPPED. */
enum zi_status tier_store_clean(const char *path, int directory, bool wanted,
                                tier_remains_visitor *visit, void *context);

#endif
