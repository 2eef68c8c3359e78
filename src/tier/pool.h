/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the tier room: what pools and blocks know of each other. */
#ifndef ZI_TIER_POOL_H
#define ZI_TIER_POOL_H

#include "tier/tier.h"

struct tier_pool {
    struct device *device; /* not owned */
    enum zi_tier tier;
    size_t bytes;
    struct device_ptr base; /* null when bytes is 0 */
    char purpose[64];
    struct tier_block *first; /* blocks alive in this pool */
};

struct tier_block {
    struct tier_pool *pool;
    struct tier_block *previous, *next;
    enum tier_kind kind;
    int unit;
    size_t offset, bytes;
    enum tier_state state;
};

#endif
