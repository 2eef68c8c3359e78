/* SPDX-License-Identifier: Apache-2.0 */
/* What is decided before a program can be compiled: the deck's zero, placement, memory and
 * activations sections with every `auto` resolved for one machine, and the search for the nearest
 * deck that fits. */
#ifndef ZI_ZERO_PLACEMENT_H
#define ZI_ZERO_PLACEMENT_H

#include <stdio.h>

#include "tier/tier.h"
#include "zero/partition.h"

struct zero_config {
    int ranks, rank, node_ranks;
    int stage;
    enum zero_order order;
    int prefetch;      /* visits fetched ahead; 0 = strictly serial */
    bool deferred;     /* the update waits for the next program's fetches */
    int64_t group;     /* elements of a group, a multiple of 4096 */
    int groups;        /* groups whose states are in memory at once */
    bool sums_on_disk; /* gradients on nvme: fp32 sums of several contributions wait there too */
    bool unified;      /* device memory is host memory */
    enum zi_tier tier[TIER_KIND_COUNT]; /* homes */
    size_t budget[ZI_TIER_COUNT];
    size_t disk_memory; /* of nvme's budget: on file systems that are memory, so host memory too */
    size_t
        excess[ZI_TIER_COUNT]; /* where nothing fits: bytes that the leanest program is past it */
    struct settings_tiling tiling; /* resolved: the model that was compiled has these */
    bool shared_budget; /* device and host budgets are one memory: their sum is bounded by
                           budget[device] */
    int64_t global, micro, tokens, micro_batches; /* sequences, sequences, tokens per sequence, M */
    enum zi_dtype compute, reduce, gradient;
    int interval;      /* operations per kept input */
    int kept_segments; /* so many segments, from the last backwards, keep their inner activations;
                          -1 = all */
    bool training;     /* false: parameters only, for generation */
};

/* Local. Adds what is wrong with the deck's zero, placement, batch and precision sections for
 * `ranks` ranks to its complaints: more ranks than sequences, tiles with a longer interval, ... */
void zero_check(struct deck *deck, int ranks);

/* Local. Resolves the deck for a machine (config->training is set by the caller); the caller makes
 * the model with config->tiling, and `program.h` compiles the result. What is auto is chosen by
 * compiling, fastest first: tiers (states leave the device for host memory, then for nvme: the
 * optimizer's first, activations and gradients last), tile counts, prefetch, groups in memory,
 * segments with kept activations. Budgets are the deck's or what the node has; of nvme, what is
 * free on its paths, and what lies on memory there counts as host memory as well. Warns of paths
 * that are no local disks where states go there. ZI_ERROR_FIT, after logging what is short by how
 * much and the nearest change of the deck that fits. */
enum zi_status zero_resolve(const struct settings *settings, const struct device *device, int ranks,
                            int rank, int node_ranks, struct zero_config *config);

/* Local. Whether zero_resolve would find a way to fit the deck into the budgets that *config has,
 * for its ranks; says nothing. *config becomes the leanest one. */
enum zi_status zero_fits(const struct settings *settings, const struct device *device,
                         struct zero_config *config, bool *fits);

/* Collective. The same for all ranks of a group: rank 0 decides, since ranks that read different
 * amounts of free memory must not compile different programs. Where only the disk is short it is
 * ZI_ERROR_IO: a run then has a full disk. */
struct comm;
enum zi_status zero_resolve_all(const struct settings *settings, const struct device *device,
                                struct comm *comm, struct zero_config *config);

/* Local. How many of `bytes` on nvme may lie in memory, and so count in the host's budget. */
size_t zero_disk_memory(const struct zero_config *config, size_t bytes);

/* Local. Why the tiers are what they are, in a line per state kind that was auto. */
void zero_explain(const struct settings *settings, const struct zero_config *config, FILE *out);

/* Local. Sequences of micro-batch `micro` of a rank: 0 .. config->micro. The global batch is dealt
 * in order: rank r has sequences [r * global / ranks, (r+1) * global / ranks). *first is the first
 * one's number in the global batch. */
int64_t zero_sequences(const struct zero_config *config, int rank, int micro, int64_t *first);

#endif
