/* SPDX-License-Identifier: Apache-2.0 */
/* Rates of a machine.
 *
 * The assumed node is a small one: two processor cores with AVX-512, one NVMe disk, a 10 Gbit/s
 * network. A plan with assumed rates shows the shape of a step, not its length, so every assumed
 * rate is named in the output.
 *
 * Reads and writes of a disk share it. One number says how well: the bytes per second of both
 * together while both are busy. It is split in proportion to the rates that each has alone, as if
 * the disk gave both the same share of its time. */
#include "plan/machine.h"

#include <stdio.h>

#include "deck/pairs.h"

static const struct {
    const char *key, *unit;
    double assumed;
} rows[PLAN_RATE_COUNT] = {
    [RATE_FLOPS_FP32] = {"flops_fp32", "FLOP/s", 1e11},
    [RATE_FLOPS_BF16] = {"flops_bf16", "FLOP/s", 1e11},
    [RATE_FLOPS_FP16] = {"flops_fp16", "FLOP/s", 1e11},
    [RATE_MEMORY] = {"memory_bytes_per_s", "B/s", 1e10},
    [RATE_DISK_READ] = {"disk_read_bytes_per_s", "B/s", 2e9},
    [RATE_DISK_WRITE] = {"disk_write_bytes_per_s", "B/s", 1.5e9},
    [RATE_DISK_MIXED] = {"disk_mixed_bytes_per_s", "B/s", 1.75e9},
    [RATE_LINK] = {"link_bytes_per_s", "B/s", 1e10},
    [RATE_FILE] = {"file_bytes_per_s", "B/s", 1e9},
    [RATE_NETWORK] = {"network_bytes_per_s", "B/s", 1.25e9},
};

void plan_node_assume(struct plan_node *node)
{
    for (int rate = 0; rate < PLAN_RATE_COUNT; rate++) {
        node->rates[rate] = rows[rate].assumed;
        node->given[rate] = false;
    }
}

enum zi_status plan_node_parse(const char *text, size_t bytes, const char *name,
                               struct plan_node *node)
{
    struct deck_pair_number numbers[PLAN_RATE_COUNT];
    for (int rate = 0; rate < PLAN_RATE_COUNT; rate++)
        numbers[rate] = (struct deck_pair_number){.key = rows[rate].key, .unit = rows[rate].unit};
    ZI_TRY(deck_pairs_parse(text, bytes, name, "machine", numbers, PLAN_RATE_COUNT));
    for (int rate = 0; rate < PLAN_RATE_COUNT; rate++) {
        if (!numbers[rate].given) continue;
        node->rates[rate] = numbers[rate].value;
        node->given[rate] = true;
    }
    if (!node->given[RATE_DISK_MIXED] && node->given[RATE_DISK_READ] &&
        node->given[RATE_DISK_WRITE])
        node->rates[RATE_DISK_MIXED] =
            (node->rates[RATE_DISK_READ] + node->rates[RATE_DISK_WRITE]) / 2;
    return ZI_OK;
}

static const enum plan_rate rates_of_media[MEDIUM_COUNT] = {
    [MEDIUM_MEMORY] = RATE_MEMORY,
    [MEDIUM_NETWORK] = RATE_NETWORK,
    [MEDIUM_LINK] = RATE_LINK,
    [MEDIUM_DISK_READ] = RATE_DISK_READ,
    [MEDIUM_DISK_WRITE] = RATE_DISK_WRITE,
    [MEDIUM_FILE] = RATE_FILE,
};

static enum plan_rate rate_of_lane(int lane)
{
    return rates_of_media[program_lane_row((enum program_lane)lane)->medium];
}

static enum plan_rate rate_of_flops(enum zi_dtype type)
{
    if (type == ZI_FP16) return RATE_FLOPS_FP16;
    return type == ZI_BF16 ? RATE_FLOPS_BF16 : RATE_FLOPS_FP32;
}

void plan_machine_of(const struct plan_node *node, enum zi_dtype type, int node_ranks,
                     struct plan_machine *machine)
{
    double share = 1.0 / node_ranks;
    machine->flops_per_s = share * node->rates[rate_of_flops(type)];
    for (int lane = 0; lane < LANE_COUNT; lane++)
        machine->bytes_per_s[lane] = share * node->rates[rate_of_lane(lane)];
    machine->mixed_bytes_per_s = share * node->rates[RATE_DISK_MIXED];
}

double plan_machine_mixed(const struct plan_machine *machine, enum program_lane lane)
{
    double alone = machine->bytes_per_s[lane];
    double both = machine->bytes_per_s[LANE_DISK_READ] + machine->bytes_per_s[LANE_DISK_WRITE];
    double part = machine->mixed_bytes_per_s < both ? machine->mixed_bytes_per_s / both : 1;
    return alone * part;
}

int plan_node_lacks(const struct plan_node *node, const struct program_list *list,
                    enum zi_dtype type, char *text, size_t size)
{
    bool used[PLAN_RATE_COUNT] = {false};
    size_t written = 0;
    int count = 0;
    for (int i = 0; i < list->count; i++) {
        const struct program_op *op = &list->ops[i];
        if (op->flops > 0) used[rate_of_flops(type)] = true;
        if (op->bytes > 0) used[rate_of_lane((int)op->lane)] = true;
    }
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

void plan_node_print(const struct plan_node *node, FILE *out)
{
    for (int rate = 0; rate < PLAN_RATE_COUNT; rate++)
        fprintf(out, "  %-24s %9.3f G%s%s\n", rows[rate].key, node->rates[rate] * 1e-9,
                rows[rate].unit, node->given[rate] ? "" : ", assumed");
}
