/* SPDX-License-Identifier: Apache-2.0 */
/* Pools keep to the budget of their tier, and blocks of the device and host tiers are present for
 * ever at their own place. */
#include "tier/tier.h"

#include "regression/unit/test.h"

#include <string.h>

static struct device *device;

static void test_budget(void)
{
    const size_t kib = 1024, budget = 100 * kib;
    struct tier_pool *first = NULL, *second = NULL, *third = NULL;
    CHECK(tier_pool_create(device, ZI_TIER_HOST, 60 * kib, budget, "first", &first) == ZI_OK);
    CHECK(tier_pool_create(device, ZI_TIER_HOST, 41 * kib, budget, "second", &second) ==
          ZI_ERROR_FIT);
    CHECK(second == NULL);
    /* exactly what is left */
    CHECK(tier_pool_create(device, ZI_TIER_HOST, 40 * kib, budget, "second", &second) == ZI_OK);
    CHECK(tier_pool_create(device, ZI_TIER_HOST, 1, budget, "third", &third) == ZI_ERROR_FIT);
    /* tiers do not share a budget */
    CHECK(tier_pool_create(device, ZI_TIER_DEVICE, 100 * kib, budget, "third", &third) == ZI_OK);
    tier_pool_destroy(third);
    /* what a pool had is free again */
    tier_pool_destroy(first);
    CHECK(tier_pool_create(device, ZI_TIER_HOST, 60 * kib, budget, "third", &third) == ZI_OK);
    tier_pool_destroy(second);
    tier_pool_destroy(third);
    tier_pool_destroy(NULL);
    /* sizes near the largest number do not wrap around */
    CHECK(tier_pool_create(device, ZI_TIER_HOST, SIZE_MAX, budget, "huge", &first) == ZI_ERROR_FIT);
    CHECK(tier_pool_create(device, ZI_TIER_NVME, kib, budget, "disk", &first) == ZI_ERROR_USAGE);
    CHECK(zi_memory_used(ZI_TIER_HOST) == 0);
    CHECK(zi_memory_used(ZI_TIER_DEVICE) == 0);
}

static void test_blocks(enum zi_tier tier)
{
    struct tier_pool *pool = NULL;
    struct tier_block *blocks[3] = {NULL, NULL, NULL}, *other = NULL;
    CHECK(tier_pool_create(device, tier, 4096, 4096, "states", &pool) == ZI_OK);
    if (pool == NULL) return;
    char *base = (char *)tier_pool_base(pool).address;
    CHECK(base != NULL && base[0] == 0 && base[4095] == 0);
    CHECK(tier_block_create(pool, TIER_MASTER, 0, 0, 1024, &blocks[0]) == ZI_OK);
    CHECK(tier_block_create(pool, TIER_MOMENT1, 0, 1024, 3072, &blocks[1]) == ZI_OK);
    CHECK(tier_block_create(pool, TIER_ACTIVATION, 1, 4096, 0, &blocks[2]) == ZI_OK);
    CHECK(tier_block_create(pool, TIER_MASTER, 2, 1024, 3073, &other) == ZI_ERROR_BUG);
    CHECK(tier_block_create(pool, TIER_MASTER, 2, 4097, 0, &other) == ZI_ERROR_BUG);
    CHECK(tier_block_create(pool, TIER_MASTER, 2, SIZE_MAX, 2, &other) == ZI_ERROR_BUG);

    char bytes[3072];
    memset(bytes, 7, sizeof bytes);
    struct device_ptr slot = {(uintptr_t)bytes}, place = {0};
    for (int round = 0; round < 2; round++) {
        CHECK(tier_block_state(blocks[1]) == TIER_PRESENT);
        CHECK(tier_block_fetch(blocks[1], slot, &place) == ZI_OK);
        CHECK(place.address == (uintptr_t)base + 1024);
        CHECK(tier_block_write_back(blocks[1]) == ZI_OK);
        tier_block_release(blocks[1]);
    }
    CHECK(bytes[0] == 7 && bytes[3071] == 7); /* the slot was not needed */
    tier_block_destroy(blocks[1]);            /* from the middle of the pool's list */
    tier_block_destroy(NULL);
    CHECK(tier_block_fetch(blocks[0], slot, &place) == ZI_OK);
    CHECK(place.address == (uintptr_t)base);
    tier_pool_destroy(pool); /* ends the others */
}

static void test_empty_pool(void)
{
    struct tier_pool *pool = NULL;
    struct tier_block *block = NULL;
    CHECK(tier_pool_create(device, ZI_TIER_HOST, 0, 0, "nothing", &pool) == ZI_OK);
    if (pool == NULL) return;
    CHECK(device_is_null(tier_pool_base(pool)));
    CHECK(tier_block_create(pool, TIER_GRADIENT, 0, 0, 0, &block) == ZI_OK);
    tier_pool_destroy(pool);
}

int main(void)
{
    struct settings_device settings = {.type = DEVICE_CPU, .threads = 1, .isa = ZI_AUTO};
    if (device_open(&settings, 1, &device) < 0) return 1;
    test_budget();
    test_blocks(ZI_TIER_DEVICE);
    test_blocks(ZI_TIER_HOST);
    test_empty_pool();
    for (int kind = 0; kind < TIER_KIND_COUNT; kind++)
        CHECK(tier_kind_name(kind) != NULL && strlen(tier_kind_name(kind)) > 5);
    CHECK(strcmp(tier_kind_name(TIER_MOMENT2), "moment2") == 0);
    device_close(device);
    return test_finish("tier_pool_test");
}
