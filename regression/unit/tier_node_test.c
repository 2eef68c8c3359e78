/* SPDX-License-Identifier: Apache-2.0 */
/* Two ranks of a node with one run: one folder on each path, a file each, the same stripes, a
 * common budget of blocks in flight; the last one removes the folder. */
#include "tier/private.h"

#include "comm/comm.h"
#include "regression/unit/tier_store.h"

enum { BYTES = 400 * TIER_STORE_BLOCK, ROUNDS = 12, PARTS = 4 };

static struct comm *world;

static void run_rounds(struct tier_store *store, int rank)
{
    struct tier_channel *channel = NULL;
    char *buffer = store_test_buffer(BYTES);
    const size_t part = BYTES / PARTS;
    CHECK(tier_channel_open(store, PARTS, &channel) == ZI_OK);
    if (!channel) return;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        bool write = round % 2 == 0;
        if (write)
            store_test_fill(buffer, rank, 0, BYTES, round);
        else
            memset(buffer, 0, BYTES);
        for (size_t p = 0; p < PARTS; p++) {
            struct tier_transfer transfer = {
                .offset = p * part, .bytes = part, .write = write, .buffer = buffer + p * part};
            CHECK(tier_channel_start(channel, &transfer) == ZI_OK);
        }
        uint64_t tag;
        for (int p = 0; p < PARTS; p++)
            CHECK(tier_channel_reap(channel, 60, &tag) == ZI_OK);
        if (!write) CHECK_INT(store_test_wrong(buffer, rank, 0, BYTES, round - 1), 0);
    }
    tier_channel_close(channel);
    free(buffer);
}

int main(int argc, char **argv)
{
    if (comm_start(&argc, &argv, &world) < 0) return 1;
    int rank = comm_rank(world);
    struct settings_nvme nvme =
        store_test_settings((struct deck_list){{"tier-node-1.tmp", "tier-node-2.tmp"}, 2});
    struct tier_store_options options = store_test_options(&nvme, 5);
    struct tier_array array = {.name = "moment1/embed", .type = ZI_FP32, .bytes = BYTES};
    struct tier_store *store = NULL;
    options.rank = rank;
    options.node_rank = comm_node_rank(world);
    options.node_ranks = comm_node_size(world);
    CHECK(tier_store_create(&options, &array, 1, &store) == ZI_OK);
    if (comm_agree(world, store ? ZI_OK : ZI_ERROR_IO) < 0) return 1;
    CHECK(store->arbiter);
    CHECK_INT(store_test_entries("tier-node-1.tmp", "zinf-", NULL, 0), 1);
    CHECK_INT(store_test_entries(store->folders[0].folder, "rank-", NULL, 0), 2);
    CHECK_INT(store_test_entries(store->folders[1].folder, "rank-", NULL, 0), 2);
    CHECK_INT(store_test_entries(store->folders[1].folder, "speed-", NULL, 0), 0);
    run_rounds(store, rank);
    if (comm_barrier(world) < 0) return 1;
    tier_store_destroy(store);
    if (comm_barrier(world) < 0) return 1;
    CHECK_INT(store_test_entries("tier-node-1.tmp", "", NULL, 0), 0);
    CHECK_INT(store_test_entries("tier-node-2.tmp", "", NULL, 0), 0);
    if (comm_barrier(world) < 0) return 1;
    if (rank == 0) CHECK(rmdir("tier-node-1.tmp") == 0 && rmdir("tier-node-2.tmp") == 0);
    int result = test_finish("tier_node_test");
    comm_finish(world);
    return result;
}
