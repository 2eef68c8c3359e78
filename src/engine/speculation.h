/* SPDX-License-Identifier: Apache-2.0 */
/* Private to engine: what a deferred update has left to bring, and what speculative updates (compiler/
 * speculate.c) need from one step to the next. */
#ifndef ZI_ENGINE_SPECULATION_H
#define ZI_ENGINE_SPECULATION_H

#include <stdbool.h>
#include <stdint.h>

#include "optimizer/optimizer.h"

/* Of which units an update is pending: those that no speculative update has brought, or all. */
enum engine_pending { PENDING_NONE, PENDING_REST, PENDING_ALL, PENDING_COUNT };

/* The same on all ranks. */
struct speculation {
    /* Of states that are stored in two generations: which is the current one, 0 or 1. */
    int generation;
    /* The last step was neither clipped nor skipped, so the next one is tried. */
    bool expects;
    /* The step that runs, as speculative updates take it. */
    struct optimizer_step step;
    /* Of the parameters that those of the last step have made. */
    uint64_t checksum;
};

#endif
