/* SPDX-License-Identifier: Apache-2.0 */
/* Rates of a machine.
 *
 * The assumed node is a small one: two processor cores with AVX-512, one NVMe disk, a 10 Gbit/s
 * network. A plan with assumed rates shows the shape of a step, not its length, so every assumed
 * rate is named in the output.
 *
 * Reads and writes of a disk share it. One number says how well: the bytes per second of both
 * together while both are busy. It is split in proportion to the rates that each has alone, as if
 * the disk gave both the same share of its time.
 *
 * Collectives of a unit of B bytes on nodes of g ranks. All on one node: each rank passes B on over
 * its link to the others of the node. On several, it takes the longer of that and of the way between
 * nodes, which depends on who moves what:
 *   - a ring through all ranks, node after node, enters and leaves each node once: B at the whole rate
 *     of the node. NCCL gathers so, and sums where precision.order leaves it to the library.
 *     ZeRO-Infinity (SC'21, section 4) counts the same: each of a node's 16 GPUs gets parameters at
 *     70 GB/s, from nodes that have 100 GB/s to others.
 *   - an exchange, in which each rank sends every other what is for it: of g ranks nearly all of B
 *     leaves the node g times, so each has its share of the node's rate. Sums in rank order are made
 *     so, and all collectives of host memory (comm/nccl.c, comm/mpi.c).
 * A rank's own part, which stays, and in an exchange the parts for ranks of the node count as moved:
 * this is the time on many nodes, and at most twice that on two. */
#include "plan/machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "deck/pairs.h"

static const struct {
    const char *key, *unit;
    double assumed;
} rows[PLAN_RATE_COUNT] = {
    [RATE_FLOPS_FP32] = {"flops_fp32", "FLOP/s", 1e11},
    [RATE_FLOPS_BF16] = {"flops_bf16", "FLOP/s", 1e11},
    [RATE_FLOPS_FP16] = {"flops_fp16", "FLOP/s", 1e11},
    [RATE_MEMORY] = {"memory_bytes_per_s", "B/s", 1e10},
    [RATE_DEVICE] = {"device_bytes_per_s", "B/s", 1e10},
    [RATE_DISK_READ] = {"disk_read_bytes_per_s", "B/s", 2e9},
    [RATE_DISK_WRITE] = {"disk_write_bytes_per_s", "B/s", 1.5e9},
    [RATE_DISK_MIXED] = {"disk_mixed_bytes_per_s", "B/s", 1.75e9},
    [RATE_LINK] = {"link_bytes_per_s", "B/s", 1e10},
    [RATE_FILE] = {"file_bytes_per_s", "B/s", 1e9},
    [RATE_NODE_NETWORK] = {"node_network_bytes_per_s", "B/s", 1.25e9},
    [RATE_NETWORK] = {"network_bytes_per_s", "B/s", 1.25e9},
};

static const struct {
    const char *key, *unit;
    double most;
} size_rows[PLAN_SIZE_COUNT] = {
    [SIZE_DEVICES] = {"devices", NULL, 4096},
    [SIZE_DEVICE_MEMORY] = {"device_memory", "B", 1e18},
    [SIZE_HOST_MEMORY] = {"host_memory", "B", 1e18},
    [SIZE_DISK_SPACE] = {"disk_space", "B", 1e18},
};

void plan_node_assume(struct plan_node *node)
{
    for (int rate = 0; rate < PLAN_RATE_COUNT; rate++) {
        node->rates[rate] = rows[rate].assumed;
        node->given[rate] = false;
    }
    memset(node->sizes, 0, sizeof node->sizes);
}

enum zi_status plan_node_parse(const char *text, size_t bytes, const char *name,
                               struct plan_node *node)
{
    struct deck_pair_number numbers[PLAN_RATE_COUNT + PLAN_SIZE_COUNT];
    struct deck_pair_number *sizes = numbers + PLAN_RATE_COUNT;
    for (int rate = 0; rate < PLAN_RATE_COUNT; rate++)
        numbers[rate] = (struct deck_pair_number){.key = rows[rate].key, .unit = rows[rate].unit};
    for (int size = 0; size < PLAN_SIZE_COUNT; size++)
        sizes[size] = (struct deck_pair_number){
            .key = size_rows[size].key, .unit = size_rows[size].unit, .most = size_rows[size].most};
    ZI_TRY(
        deck_pairs_parse(text, bytes, name, "machine", numbers, PLAN_RATE_COUNT + PLAN_SIZE_COUNT));
    for (int size = 0; size < PLAN_SIZE_COUNT; size++) {
        if (sizes[size].given) node->sizes[size] = (int64_t)sizes[size].value;
    }
    for (int rate = 0; rate < PLAN_RATE_COUNT; rate++) {
        if (!numbers[rate].given) continue;
        node->rates[rate] = numbers[rate].value;
        node->given[rate] = true;
    }
    if (!node->given[RATE_DISK_MIXED] && node->given[RATE_DISK_READ] &&
        node->given[RATE_DISK_WRITE])
        node->rates[RATE_DISK_MIXED] =
            (node->rates[RATE_DISK_READ] + node->rates[RATE_DISK_WRITE]) / 2;
    if (!node->given[RATE_NODE_NETWORK]) node->rates[RATE_NODE_NETWORK] = node->rates[RATE_NETWORK];
    return ZI_OK;
}

static const enum plan_rate rates_of_media[MEDIUM_COUNT] = {
    [MEDIUM_DEVICE] = RATE_DEVICE,       [MEDIUM_MEMORY] = RATE_MEMORY,
    [MEDIUM_NETWORK] = RATE_NETWORK,     [MEDIUM_LINK] = RATE_LINK,
    [MEDIUM_DISK_READ] = RATE_DISK_READ, [MEDIUM_DISK_WRITE] = RATE_DISK_WRITE,
    [MEDIUM_FILE] = RATE_FILE,
};

static enum plan_rate rate_of_lane(int lane, bool unified)
{
    enum program_medium medium = program_lane_row((enum program_lane)lane)->medium;
    return unified && medium == MEDIUM_DEVICE ? RATE_MEMORY : rates_of_media[medium];
}

static enum plan_rate rate_of_flops(enum zi_dtype type)
{
    if (type == ZI_FP16) return RATE_FLOPS_FP16;
    return type == ZI_BF16 ? RATE_FLOPS_BF16 : RATE_FLOPS_FP32;
}

/* Whether each device has as much of the rate as any other, however many are used. */
static bool is_of_devices(enum plan_rate rate)
{
    return rate <= RATE_FLOPS_FP16 || rate == RATE_DEVICE || rate == RATE_LINK ||
           rate == RATE_NODE_NETWORK;
}

static double share_of(const struct plan_node *node, enum plan_rate rate,
                       const struct zero_config *config)
{
    int64_t devices = config->unified ? 0 : node->sizes[SIZE_DEVICES];
    bool own = devices > config->node.ranks && is_of_devices(rate);
    return node->rates[rate] / (double)(own ? devices : config->node.ranks);
}

/* Of a collective; `ring`: of one that enters and leaves a node once. */
static double collective_rate(const struct plan_node *node, const struct zero_config *config,
                              bool ring)
{
    double inside = share_of(node, RATE_NODE_NETWORK, config);
    double outside = ring ? node->rates[RATE_NETWORK] : share_of(node, RATE_NETWORK, config);
    if (config->ranks == config->node.ranks) return inside;
    return config->node.ranks > 1 && inside < outside ? inside : outside;
}

void plan_machine_of(const struct plan_node *node, const struct zero_config *config,
                     enum sum_order order, struct plan_machine *machine)
{
    bool library = !config->unified && order == SUM_LIBRARY;
    machine->flops_per_s = share_of(node, rate_of_flops(config->compute), config);
    for (int lane = 0; lane < LANE_COUNT; lane++)
        machine->bytes_per_s[lane] = share_of(node, rate_of_lane(lane, config->unified), config);
    machine->bytes_per_s[LANE_COMM] = collective_rate(node, config, !config->unified);
    machine->reduce_bytes_per_s = collective_rate(node, config, library);
    machine->mixed_bytes_per_s = share_of(node, RATE_DISK_MIXED, config);
}

double plan_machine_mixed(const struct plan_machine *machine, enum program_lane lane)
{
    double alone = machine->bytes_per_s[lane];
    double both = machine->bytes_per_s[LANE_DISK_READ] + machine->bytes_per_s[LANE_DISK_WRITE];
    double part = machine->mixed_bytes_per_s < both ? machine->mixed_bytes_per_s / both : 1;
    return alone * part;
}

int plan_node_lacks(const struct plan_node *node, const struct program_list *list,
                    const struct zero_config *config, char *text, size_t size)
{
    bool used[PLAN_RATE_COUNT] = {false};
    size_t written = 0;
    int count = 0;
    for (int i = 0; i < list->count; i++) {
        const struct program_op *op = &list->ops[i];
        if (op->flops > 0) used[rate_of_flops(config->compute)] = true;
        if (op->bytes > 0) used[rate_of_lane((int)op->lane, config->unified)] = true;
    }
    used[RATE_NODE_NETWORK] = used[RATE_NETWORK] && config->node.ranks > 1;
    used[RATE_NETWORK] = used[RATE_NETWORK] && config->ranks > config->node.ranks;
    text[0] = '\0';
    for (int rate = 0; rate < PLAN_RATE_COUNT; rate++) {
        if (!used[rate] || node->given[rate] || written >= size) continue;
        written += (size_t)snprintf(text + written, size - written, "%s%s", count++ ? ", " : "",
                                    rows[rate].key);
    }
    return count;
}

const char *plan_node_file_rate(const struct plan_node *node, int nodes, double *bytes_per_s)
{
    enum plan_rate rate = node->given[RATE_FILE] ? RATE_FILE : RATE_DISK_WRITE;
    if (!node->given[rate] || (rate == RATE_DISK_WRITE && nodes > 1)) return NULL;
    *bytes_per_s = nodes * node->rates[rate];
    return rows[rate].key;
}

void plan_node_print(const struct plan_node *node, bool unified, FILE *out)
{
    for (int size = 0; size < PLAN_SIZE_COUNT; size++) {
        int64_t value = node->sizes[size];
        char text[32];
        if (value == 0) continue;
        if (size_rows[size].unit)
            zi_memory_text((size_t)value, text, sizeof text);
        else
            snprintf(text, sizeof text, "%" PRId64, value);
        fprintf(out, "  %-24s %13s\n", size_rows[size].key, text);
    }
    for (int rate = 0; rate < PLAN_RATE_COUNT; rate++) {
        const char *how = rate == RATE_NODE_NETWORK ? ", as network_bytes_per_s" : ", assumed";
        if (unified && rate == RATE_DEVICE) continue;
        fprintf(out, "  %-24s %9.3f G%s%s\n", rows[rate].key, node->rates[rate] * 1e-9,
                rows[rate].unit, node->given[rate] ? "" : how);
    }
}
