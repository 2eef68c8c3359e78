/* SPDX-License-Identifier: Apache-2.0 */
/* Pools: all the memory that one tier gives to one purpose of a run, allocated once.
 *
 * The problem: a model that does not fit must be told so before the first step, with what is short
 * by how much, and not by the kernel's out-of-memory killer an hour later.
 *
 * The idea: the compiled program knows the bytes of every purpose, so each purpose is one pool, and
 * the pools of a tier share the deck's budget of that tier. A pool that would pass the budget is
 * refused before anything is allocated.
 *
 * Invariants: used_bytes[tier] is the sum of the live pools of the process on that tier and never
 * passes a budget that was given. Pools are made and destroyed by one thread. A pool of 0 bytes is
 * a pool without memory, so that callers need no special case. A pool starts at an address that
 * direct I/O can use, which memory as allocated (to 64 or 256 bytes) does not. */
#include "tier/tier.h"

#include "base/log.h"
#include "base/memory.h"
#include "tier/store.h"

#include <stdio.h>
#include <stdlib.h>

struct tier_pool {
    /* Not owned */
    struct device *device;
    enum zi_tier tier;
    size_t bytes;
    /* As the device gave it; null when bytes is 0 */
    struct device_ptr memory;
    /* The first place in it that is aligned for direct I/O */
    struct device_ptr base;
    char purpose[64];
};

static size_t used_bytes[ZI_TIER_COUNT];

static enum zi_status refuse_budget(enum zi_tier tier, size_t bytes, size_t budget,
                                    const char *purpose)
{
    char need[32], has[32], taken[32], lack[32];
    size_t left = budget > used_bytes[tier] ? budget - used_bytes[tier] : 0;
    const char *name = zi_tier_name(tier);
    return zi_fail(ZI_ERROR_FIT, "tier",
                   "%s needs %s of %s memory, but memory.%s is %s, of which %s is taken: short by "
                   "%s; raise memory.%s, or place a state on another tier, or lower batch.micro",
                   purpose, zi_memory_text(bytes, need, sizeof need), name, name,
                   zi_memory_text(budget, has, sizeof has),
                   zi_memory_text(used_bytes[tier], taken, sizeof taken),
                   zi_memory_text(bytes - left, lack, sizeof lack), name);
}

enum zi_status tier_pool_create(struct device *device, enum zi_tier tier, size_t bytes,
                                size_t budget, const char *purpose, struct tier_pool **pool)
{
    if (tier != ZI_TIER_DEVICE && tier != ZI_TIER_HOST)
        return zi_fail(ZI_ERROR_BUG, "tier", "a pool for %s on %s: pools are memory", purpose,
                       zi_tier_name(tier));
    if (bytes > budget || used_bytes[tier] > budget - bytes)
        return refuse_budget(tier, bytes, budget, purpose);

    struct tier_pool *made = calloc(1, sizeof *made);
    if (!made) return zi_fail(ZI_ERROR_DEVICE, "tier", "no memory for a pool's description");
    made->device = device;
    made->tier = tier;
    made->bytes = bytes;
    snprintf(made->purpose, sizeof made->purpose, "%s", purpose);
    if (bytes > 0) {
        enum zi_status status = device_allocate(device, tier, bytes + TIER_STORE_BLOCK - 1,
                                                made->purpose, &made->memory);
        if (status < 0) {
            free(made);
            return status;
        }
        uintptr_t rest = made->memory.address % TIER_STORE_BLOCK;
        made->base = device_at(made->memory, rest > 0 ? TIER_STORE_BLOCK - rest : 0);
    }
    used_bytes[tier] += bytes;
    *pool = made;
    return ZI_OK;
}

void tier_pool_destroy(struct tier_pool *pool)
{
    if (!pool) return;
    if (pool->bytes > 0) device_free(pool->device, pool->tier, pool->memory);
    used_bytes[pool->tier] -= pool->bytes;
    free(pool);
}

struct device_ptr tier_pool_base(const struct tier_pool *pool)
{
    return pool->base;
}
