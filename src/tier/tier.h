/* SPDX-License-Identifier: Apache-2.0 */
/* Where bytes live between uses. A pool is all the memory that the device or the host gives to one
 * purpose of a run, allocated once, in the size that the compiled program asks for. What lives on
 * NVMe is in a store (store.h). */
#ifndef ZI_TIER_TIER_H
#define ZI_TIER_TIER_H

#include "base/status.h"
#include "device/device.h"
#include "tier/kinds.h"

struct tier_pool;

/* Local. Gives a pool of `bytes` zeroed bytes on a tier of the device, named `purpose` in the
 * memory table. `budget` is the deck's for that tier: ZI_ERROR_FIT when all pools of the tier
 * together would pass it. The base is a multiple of TIER_STORE_BLOCK: slots at such offsets can
 * take part in direct I/O. */
enum zi_status tier_pool_create(struct device *device, enum zi_tier tier, size_t bytes,
                                size_t budget, const char *purpose, struct tier_pool **pool);

/* Local. Frees the pool. NULL does nothing. */
void tier_pool_destroy(struct tier_pool *pool);

/* Local. Its first byte. */
struct device_ptr tier_pool_base(const struct tier_pool *pool);

#endif
