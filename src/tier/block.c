/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks: the shard of one state kind of one unit, at a fixed place of a pool.
 *
 * The step program is the same whatever the placement: it fetches a block before it uses it, writes
 * it back after a change and releases it. For a block at home in device or host memory these are
 * answered at once from the home place, without a copy: the block is present from its creation to
 * its end, and write_back and release leave it so. A slot offered to such a fetch is not touched.
 *
 * Invariants: [offset, offset + bytes) lies inside the pool; a block is in the list of its pool as
 * long as it lives. Blocks may share bytes when the program says that their lives do not overlap,
 * so overlap is not refused here (the program's own check proves it). */
#include "tier/pool.h"

#include "base/log.h"

#include <stdlib.h>

static const char *const kind_names[TIER_KIND_COUNT] = {
    [TIER_PARAMETER] = "parameter", [TIER_GRADIENT] = "gradient", [TIER_MASTER] = "master",
    [TIER_MOMENT1] = "moment1",     [TIER_MOMENT2] = "moment2",   [TIER_ACTIVATION] = "activation",
};

const char *tier_kind_name(enum tier_kind kind)
{
    return kind >= 0 && kind < TIER_KIND_COUNT ? kind_names[kind] : "unknown";
}

enum zi_status tier_block_create(struct tier_pool *pool, enum tier_kind kind, int unit,
                                 size_t offset, size_t bytes, struct tier_block **block)
{
    if (bytes > pool->bytes || offset > pool->bytes - bytes)
        return zi_fail(ZI_ERROR_BUG, "tier",
                       "block %s of unit %d at %zu + %zu passes the end of pool %s of %zu bytes",
                       tier_kind_name(kind), unit, offset, bytes, pool->purpose, pool->bytes);
    struct tier_block *made = calloc(1, sizeof *made);
    if (made == NULL)
        return zi_fail(ZI_ERROR_DEVICE, "tier", "no memory for the description of a block");
    made->pool = pool;
    made->kind = kind;
    made->unit = unit;
    made->offset = offset;
    made->bytes = bytes;
    made->state = TIER_PRESENT;
    made->next = pool->first;
    if (pool->first != NULL) pool->first->previous = made;
    pool->first = made;
    *block = made;
    return ZI_OK;
}

void tier_block_destroy(struct tier_block *block)
{
    if (block == NULL) return;
    if (block->previous != NULL)
        block->previous->next = block->next;
    else
        block->pool->first = block->next;
    if (block->next != NULL) block->next->previous = block->previous;
    free(block);
}

enum tier_state tier_block_state(const struct tier_block *block)
{
    return block->state;
}

enum zi_status tier_block_fetch(struct tier_block *block, struct device_ptr slot,
                                struct device_ptr *place)
{
    (void)slot;
    ZI_REQUIRE(block->state == TIER_PRESENT);
    *place = device_at(block->pool->base, block->offset);
    return ZI_OK;
}

enum zi_status tier_block_write_back(struct tier_block *block)
{
    ZI_REQUIRE(block->state == TIER_PRESENT);
    return ZI_OK;
}

void tier_block_release(struct tier_block *block)
{
    ZI_REQUIRE(block->state != TIER_LEAVING);
}
