/* SPDX-License-Identifier: Apache-2.0 */
/* A machine as far as the time of a step depends on it: ten rates of one node.
 *
 * A machine file is YAML with one map, `machine:`, as `zinf bench disk` writes it. Its rates are
 * those of a whole node; the ranks of a node share them equally. What the file leaves out is
 * assumed, and said to be. */
#ifndef ZI_PLAN_MACHINE_H
#define ZI_PLAN_MACHINE_H

#include <stdbool.h>
#include <stdio.h>

#include "program/program.h"

enum plan_rate {
    RATE_FLOPS_FP32,
    RATE_FLOPS_BF16,
    RATE_FLOPS_FP16,
    RATE_MEMORY,     /* bytes gone through by the optimizer and by sums */
    RATE_DISK_READ,  /* alone */
    RATE_DISK_WRITE, /* alone */
    RATE_DISK_MIXED, /* both at once, together */
    RATE_LINK,       /* host to device or back, each direction */
    RATE_NETWORK,    /* to other ranks */
    RATE_FILE,       /* checkpoints, to the run directory and back */
    PLAN_RATE_COUNT
};

/* Of a node. */
struct plan_node {
    /* FLOP/s or bytes/s */
    double rates[PLAN_RATE_COUNT];
    /* By the file, not assumed */
    bool given[PLAN_RATE_COUNT];
};

/* What one rank has of it. */
struct plan_machine {
    double flops_per_s;
    /* Of the disk lanes: when the other one is idle */
    double bytes_per_s[LANE_COUNT];
    /* Of both disk lanes together, when both are busy */
    double mixed_bytes_per_s;
};

/* Local. The node that is assumed where nothing is known of it. */
void plan_node_assume(struct plan_node *node);

/* Local. Reads a machine file from text in memory; `name` stands for it in messages. Rates that it
 * leaves out stay as they are in *node, except that the mixed rate of a disk whose read and write
 * rates are given is assumed to be their mean. ZI_ERROR_USAGE after logging all errors at once. */
enum zi_status plan_node_parse(const char *text, size_t bytes, const char *name,
                               struct plan_node *node);

/* Local. The share of one of `node_ranks` ranks that compute in `type`. */
void plan_machine_of(const struct plan_node *node, enum zi_dtype type, int node_ranks,
                     struct plan_machine *machine);

/* Local. Rate of a disk lane while both are busy: each gets the same part of the rate that it has
 * alone, so that together they have the mixed rate; never more than alone. */
double plan_machine_mixed(const struct plan_machine *machine, enum program_lane lane);

/* Local. The rates that the time of a list in `type` depends on and that were assumed, not given,
 * as a text "key, key"; gives their number. */
int plan_node_lacks(const struct plan_node *node, const struct program_list *list,
                    enum zi_dtype type, char *text, size_t size);

/* Local. What the file system of the run directory can do as far as the machine file says: the rate of
 * checkpoints, of so many nodes together, or, for one node, where that is not given, of its disk. Gives
 * the key that says so; NULL where neither is given. */
const char *plan_node_file_rate(const struct plan_node *node, int nodes, double *bytes_per_s);

/* Local. One line per rate: its key, its value, and whether it is assumed. */
void plan_node_print(const struct plan_node *node, FILE *out);

#endif
