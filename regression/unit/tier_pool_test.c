/* SPDX-License-Identifier: Apache-2.0 */
/* Pools keep to the budget of their tier, and give zeroed memory that
 * direct I/O can use. */
#include "tier/store.h"
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
    CHECK(!second);
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
    CHECK(tier_pool_create(device, ZI_TIER_NVME, kib, budget, "disk", &first) == ZI_ERROR_BUG);
    CHECK(zi_memory_used(ZI_TIER_HOST) == 0);
    CHECK(zi_memory_used(ZI_TIER_DEVICE) == 0);
}

/* Whatever the size, a pool is zeroed to its end and starts where direct I/O can. */
static void test_memory(enum zi_tier tier)
{
    static const size_t sizes[] = {1, 64, 4096, 100000, (2 << 20) - 1, 2 << 20, (2 << 20) + 1};
    for (size_t s = 0; s < 3 * sizeof sizes / sizeof sizes[0]; s++) {
        struct tier_pool *pool = NULL;
        size_t bytes = sizes[s / 3];
        CHECK(tier_pool_create(device, tier, bytes, bytes, "states", &pool) == ZI_OK);
        if (!pool) return;
        char *base = (char *)tier_pool_base(pool).address;
        CHECK(base && (uintptr_t)base % TIER_STORE_BLOCK == 0);
        CHECK(base[0] == 0 && base[bytes - 1] == 0);
        memset(base, 7, bytes);
        tier_pool_destroy(pool);
    }
}

static void test_empty_pool(void)
{
    struct tier_pool *pool = NULL;
    CHECK(tier_pool_create(device, ZI_TIER_HOST, 0, 0, "nothing", &pool) == ZI_OK);
    if (!pool) return;
    CHECK(device_is_null(tier_pool_base(pool)));
    tier_pool_destroy(pool);
}

int main(void)
{
    struct settings_device settings = {.type = DEVICE_CPU, .threads = 1, .isa = ZI_AUTO};
    if (device_open(&settings, DEVICE_ALONE, &device) < 0) return 1;
    test_budget();
    test_memory(ZI_TIER_DEVICE);
    test_memory(ZI_TIER_HOST);
    test_empty_pool();
    for (int kind = 0; kind < TIER_KIND_COUNT; kind++)
        CHECK(tier_kind_name(kind) && strlen(tier_kind_name(kind)) > 2);
    CHECK(strcmp(tier_kind_name(TIER_MOMENT2), "moment2") == 0);
    device_close(device);
    return test_finish("tier_pool_test");
}
