/* SPDX-License-Identifier: Apache-2.0 */
/* A machine as far as a plan depends on it: twelve rates of one node, and what a node has.
 *
 * A machine file is YAML with one map, `machine:`, as `zinf bench disk` writes it. Its rates are
 * those of a whole node. Ranks share them equally, but for those of devices where the file says how
 * many a node has: a rank has its own device's. Rates that the file leaves out are assumed, and said
 * to be; what a node has is then that of the node that plans. */
#ifndef ZI_PLAN_MACHINE_H
#define ZI_PLAN_MACHINE_H

#include <stdbool.h>
#include <stdio.h>

#include "program/program.h"

enum plan_rate {
    RATE_FLOPS_FP32,
    RATE_FLOPS_BF16,
    RATE_FLOPS_FP16,
    RATE_MEMORY,       /* bytes gone through by the optimizer and by sums, in host memory */
    RATE_DEVICE,       /* in the memory of all devices; not of a processor, which has the host's */
    RATE_DISK_READ,    /* alone */
    RATE_DISK_WRITE,   /* alone */
    RATE_DISK_MIXED,   /* both at once, together */
    RATE_LINK,         /* host to device or back, each direction */
    RATE_NODE_NETWORK, /* between ranks of the node, out of all of them */
    RATE_NETWORK,      /* to other nodes, each direction */
    RATE_FILE,         /* checkpoints, to the run directory and back */
    PLAN_RATE_COUNT
};

enum plan_size {
    SIZE_DEVICES,       /* of a node; a rank has one */
    SIZE_DEVICE_MEMORY, /* bytes of each */
    SIZE_HOST_MEMORY,   /* bytes of the node */
    SIZE_DISK_SPACE,    /* bytes of the node's local disks */
    PLAN_SIZE_COUNT
};

/* Of a node. */
struct plan_node {
    /* FLOP/s or bytes/s */
    double rates[PLAN_RATE_COUNT];
    /* By the file, not assumed */
    bool given[PLAN_RATE_COUNT];
    /* 0: the file does not say */
    int64_t sizes[PLAN_SIZE_COUNT];
};

/* What one rank has of it. */
struct plan_machine {
    double flops_per_s;
    /* Of the disk lanes: when the other one is idle; of the comm lane: of gathers */
    double bytes_per_s[LANE_COUNT];
    /* Of sums over ranks, on the comm lane */
    double reduce_bytes_per_s;
    /* Of both disk lanes together, when both are busy */
    double mixed_bytes_per_s;
};

/* Local. The node that is assumed where nothing is known of it. */
void plan_node_assume(struct plan_node *node);

/* Local. Reads a machine file from text in memory; `name` stands for it in messages. Rates that it
 * leaves out stay as they are in *node, except that the mixed rate of a disk whose read and write
 * rates are given is assumed to be their mean, and that ranks of one node are taken to reach each
 * other as those of others. ZI_ERROR_USAGE after logging all errors at once. */
enum zi_status plan_node_parse(const char *text, size_t bytes, const char *name,
                               struct plan_node *node);

/* Local. The share of one of the ranks that a program was resolved for, whose sums over ranks are
 * made in `order`. */
void plan_machine_of(const struct plan_node *node, const struct zero_config *config,
                     enum sum_order order, struct plan_machine *machine);

/* Local. Rate of a disk lane while both are busy: each gets the same part of the rate that it has
 * alone, so that together they have the mixed rate; never more than alone. */
double plan_machine_mixed(const struct plan_machine *machine, enum program_lane lane);

/* Local. The rates that the time of a list depends on and that were assumed, not given, as a text
 * "key, key"; gives their number. */
int plan_node_lacks(const struct plan_node *node, const struct program_list *list,
                    const struct zero_config *config, char *text, size_t size);

/* Local. What the file system of the run directory can do as far as the machine file says: the rate of
 * checkpoints, of so many nodes together, or, for one node, where that is not given, of its disk. Gives
 * the key that says so; NULL where neither is given. */
const char *plan_node_file_rate(const struct plan_node *node, int nodes, double *bytes_per_s);

/* Local. One line per size that is given and per rate of the devices or of the processor (`unified`):
 * its key, its value, and whether it is assumed. */
void plan_node_print(const struct plan_node *node, bool unified, FILE *out);

#endif
