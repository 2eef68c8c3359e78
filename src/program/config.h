/* SPDX-License-Identifier: Apache-2.0 */
/* What a program is compiled for: the deck's zero, placement, memory, batch and activations
 * sections with every `auto` resolved for one machine. */
#ifndef ZI_PROGRAM_CONFIG_H
#define ZI_PROGRAM_CONFIG_H

#include "program/partition.h"
#include "tier/tier.h"

struct zero_config {
    int ranks, node_ranks;
    int stage;
    enum zero_order order;
    int prefetch;      /* visits fetched ahead; 0 = strictly serial */
    bool deferred;     /* the update waits for the next program's fetches */
    int64_t group;     /* elements of a group, a multiple of 4096 */
    int groups;        /* groups whose states are in memory at once */
    bool sums_on_disk; /* gradients on nvme: fp32 sums of several contributions wait there too */
    bool unified;      /* device memory is host memory */
    /* Homes of states, by the deck's keys. */
    enum zi_tier tier[PLACE_COUNT];
    size_t budget[ZI_TIER_COUNT];
    size_t disk_memory; /* of nvme's budget: on file systems that are memory, so host memory too */
    size_t
        excess[ZI_TIER_COUNT]; /* where nothing fits: bytes that the leanest program is past it */
    struct settings_tiling tiling; /* resolved: the model that was compiled has these */
    bool shared_budget; /* device and host budgets are one memory: their sum is bounded by
                           budget[device] */
    int64_t global, micro, tokens, micro_batches; /* sequences, sequences, tokens per sequence, M */
    enum zi_dtype compute, reduce, gradient;
    int interval; /* operations per kept input */
    /* Places for fetched units beyond those that the window of visits needs: units stay in them from
     * forward to backward, and are not fetched again. */
    int resident;
    int kept_segments; /* so many segments, from the last backwards, keep their inner activations;
                          -1 = all */
    bool training;     /* false: parameters only, for generation */
};

/* Local. How many of `bytes` on nvme may lie in memory, and so count in the host's budget. */
size_t zero_disk_memory(const struct zero_config *config, size_t bytes);

/* Local. Whether each rank has only a shard of a kind of state. */
bool zero_is_sharded(const struct zero_config *config, enum tier_kind kind);

/* Local. The tier of a kind of state, and the memory in which the optimizer works: with its states,
 * or, where they are on nvme, the host's. */
enum zi_tier zero_tier(const struct zero_config *config, enum tier_kind kind);
enum zi_tier zero_optimizer_tier(const struct zero_config *config);

/* Local. Sequences of micro-batch `micro` of a rank: 0 .. config->micro. The global batch is dealt
 * in order: rank r has sequences [r * global / ranks, (r+1) * global / ranks). *first is the first
 * one's number in the global batch. */
int64_t zero_sequences(const struct zero_config *config, int rank, int micro, int64_t *first);

#endif
