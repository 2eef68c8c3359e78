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

/* Steps in a row that were neither clipped nor skipped before one is tried, at most: a power of 2. */
enum { SPECULATION_PATIENCE = 32 };

/* The same on all ranks. */
struct speculation {
    /* Of states that are stored in two generations: which is the current one, 0 or 1. */
    int generation;
    /* The last ones that were neither clipped nor skipped; how many there must be for a try. */
    int64_t plain_steps, patience;
    /* The step that runs, as speculative updates take it. */
    struct optimizer_step step;
    /* Of the parameters that those of the last step have made. */
    uint64_t checksum;
};

/* Local. Before the first step. */
void speculation_start(struct speculation *speculation);

/* Local. Whether the next step is to be tried. */
bool speculation_tries(const struct speculation *speculation);

/* Local. Takes in how a step ended: whether it was tried, and whether it was plain: neither clipped nor
 * skipped. */
void speculation_learn(struct speculation *speculation, bool tried, bool plain);

#endif
