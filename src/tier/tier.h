/* SPDX-License-Identifier: Apache-2.0 */
/* Where bytes live between uses. A pool is all the memory that one tier gives to a run, allocated
 * once, in the size that the compiled program asks for; a block is the shard of one state kind of
 * one unit, at home in a tier.
 *
 * Blocks of the device and host tiers are present for ever: fetch and write_back are done at once
 * and cost nothing. A block at home on NVMe is absent until it is fetched into a slot (this comes
 * with the offload engine). */
#ifndef ZI_TIER_TIER_H
#define ZI_TIER_TIER_H

#include "base/status.h"
#include "device/device.h"

struct tier_pool;
struct tier_block;

enum tier_kind {
    TIER_PARAMETER, /* compute type */
    TIER_GRADIENT,
    TIER_MASTER, /* fp32 */
    TIER_MOMENT1,
    TIER_MOMENT2,
    TIER_ACTIVATION,
    TIER_KIND_COUNT
};

enum tier_state { TIER_ABSENT, TIER_ARRIVING, TIER_PRESENT, TIER_LEAVING };

/* Local. "parameter", "gradient", "master", "moment1", "moment2", "activation". */
const char *tier_kind_name(enum tier_kind kind);

/* Local. Gives a pool of `bytes` zeroed bytes on a tier of the device, named `purpose` in the
 * memory table. `budget` is the deck's for that tier: ZI_ERROR_FIT when all pools of the tier
 * together would pass it. */
enum zi_status tier_pool_create(struct device *device, enum zi_tier tier, size_t bytes,
                                size_t budget, const char *purpose, struct tier_pool **pool);
void tier_pool_destroy(struct tier_pool *pool);
struct device_ptr tier_pool_base(const struct tier_pool *pool);

/* Local. A block at home at [offset, offset + bytes) of a pool; it ends with the pool. */
enum zi_status tier_block_create(struct tier_pool *pool, enum tier_kind kind, int unit,
                                 size_t offset, size_t bytes, struct tier_block **block);
void tier_block_destroy(struct tier_block *block);
enum tier_state tier_block_state(const struct tier_block *block);

/* Local. Starts bringing the block's bytes to where they can be used and gives that place: its
 * home, or `slot` (bytes long, the block's until release) when home is NVMe. ZI_IN_PROGRESS while
 * arriving. */
enum zi_status tier_block_fetch(struct tier_block *block, struct device_ptr slot,
                                struct device_ptr *place);

/* Local. Starts sending changed bytes home; ZI_OK at once where the place is home. */
enum zi_status tier_block_write_back(struct tier_block *block);

/* Local. The slot is free again; the block must not be leaving. */
void tier_block_release(struct tier_block *block);

#endif
