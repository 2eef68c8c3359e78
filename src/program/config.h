/* SPDX-License-Identifier: Apache-2.0 */
/* What a program is compiled for: the deck's zero, placement, memory, batch and activations
 * sections with every `auto` resolved for one machine. */
#ifndef ZI_PROGRAM_CONFIG_H
#define ZI_PROGRAM_CONFIG_H

#include "program/partition.h"
#include "tier/tier.h"

/* Of a node; 0: not known. */
struct zero_rates {
    /* What the optimizer goes through on the host; the link, each direction; bytes/s. */
    double memory, link;
    /* Of arithmetic in the compute type; FLOP/s. */
    double flops;
};

/* Layers of the body, which alternate. A segment is of the kind of its first layer: with an even
 * interval all are of attention. */
enum layer_kind { LAYER_ATTENTION, LAYER_MLP, LAYER_KIND_COUNT };

/* A node as far as the budgets of its ranks depend on it. */
struct zero_node {
    /* That share it */
    int ranks;
    /* Of another node than this one, bytes of its memory and of its disks; 0: what this one has */
    size_t memory_bytes, disk_bytes;
};

struct zero_config {
    int ranks;
    struct zero_node node;
    int stage;
    enum zero_order order;
    /* Visits fetched ahead; 0 = strictly serial. */
    int prefetch;
    /* The update waits for the next program's fetches. */
    bool deferred;
    /* Updates of units that are last in forward are tried in backward, into a second generation of
     * their states on nvme; the others are deferred. */
    bool speculates;
    /* The memory in which states that are not on the device are updated: device, or host. */
    enum zi_tier update_on;
    /* By which auto chooses that, and what inner activations go to the host. */
    struct zero_rates rates;
    /* Elements of a group, a multiple of 4096. */
    int64_t group;
    /* Groups whose states are in memory at once. */
    int groups;
    /* Gradients on nvme: fp32 sums of several contributions wait there too. */
    bool sums_on_disk;
    /* Device memory is host memory. */
    bool unified;
    /* Homes of states, by the deck's keys. */
    enum zi_tier tier[PLACE_COUNT];
    size_t budget[ZI_TIER_COUNT];
    /* Of nvme's budget: on file systems that are memory, so host memory too. */
    size_t disk_memory;
    /* Where nothing fits: bytes that the leanest program is past the budget. */
    size_t excess[ZI_TIER_COUNT];
    /* Resolved: the model that was compiled has these. */
    struct settings_tiling tiling;
    /* Device and host budgets are one memory: their sum is bounded by budget[device]. */
    bool shared_budget;
    /* Sequences of a step and of a micro-batch, tokens per sequence, micro-batches M. */
    int64_t global, micro, tokens, micro_batches;
    enum zi_dtype compute, reduce, gradient;
    /* Of frozen matrices, where the model packs them. */
    enum zi_dtype frozen;
    /* The optimizer's own states: in blocks of 8-bit numbers; how many per element. */
    bool blocks;
    int states;
    /* Operations per kept input. */
    int interval;
    /* Places for fetched units beyond those that the window of visits needs: units stay in them from
     * forward to backward, and are not fetched again. */
    int resident;
    /* So many segments of a kind, from the last backwards, keep their inner activations; -1 = all. */
    int kept_segments[LAYER_KIND_COUNT];
    /* Those of layers of a kind wait for backward in host memory. */
    bool offloaded[LAYER_KIND_COUNT];
    /* false: parameters only, for generation. */
    bool training;
    /* Then: tokens of a sequence whose keys and values are cached, 0: none; and where. */
    int64_t cache;
    enum zi_tier cache_tier;
    /* Sequences may have several texts, and positions enter with the tokens. */
    bool packed;
};

struct program;

/* Local. The kind of state that a unit's weights are: packed, or parameters. */
enum tier_kind program_weights(const struct program *program, int unit);

/* Local. How many of `bytes` on nvme may lie in memory, and so count in the host's budget. */
size_t zero_disk_memory(const struct zero_config *config, size_t bytes);

/* Local. Whether each rank has only a shard of a kind of state. */
bool zero_is_sharded(const struct zero_config *config, enum tier_kind kind);

/* Local. What the table of states leaves open. */
struct tier_types zero_types(const struct zero_config *config);

/* Local. The type of a kind of state. */
enum zi_dtype zero_type(const struct zero_config *config, enum tier_kind kind);

/* Local. Whether a unit has a kind of state, by whether it is trained. */
bool zero_has(const struct zero_config *config, enum tier_kind kind, bool trainable);

/* Local. The tier of a kind of state. */
enum zi_tier zero_tier(const struct zero_config *config, enum tier_kind kind);

/* Local. The memory in which the optimizer works: the device's where its states are there or stream
 * through it, else the host's. */
enum zi_tier zero_optimizer_tier(const struct zero_config *config);

/* Local. Sequences of micro-batch `micro` of a rank: 0 .. config->micro. The global batch is dealt
 * in order: rank r has sequences [r * global / ranks, (r+1) * global / ranks). *first is the first
 * one's number in the global batch. */
int64_t zero_sequences(const struct zero_config *config, int rank, int micro, int64_t *first);

#endif
