/* SPDX-License-Identifier: Apache-2.0 */
/* What is decided before a program can be compiled: the deck's zero, placement, memory and
 * activations sections with every `auto` resolved for one machine, and the search for the nearest
 * deck that fits. */
#ifndef ZI_COMPILER_PLACEMENT_H
#define ZI_COMPILER_PLACEMENT_H

#include <stdio.h>

#include "program/config.h"

/* Local. Adds what is wrong with the deck's zero, placement, batch and precision sections for
 * `ranks` ranks to its complaints: more ranks than sequences, tiles with a longer interval, ... */
void zero_check(struct deck *deck, int ranks);

/* Local. Resolves the deck for a described device and the memory and disks of a described node (the
 * caller has set config->training, config->packed, and config->rates as far as they are known); it
 * makes the model with config->tiling, and `program.h` compiles the result. What is auto is chosen
 * by measuring, fastest first: tiers (states leave the device for host memory, then for nvme:
 * the optimizer's first, activations and gradients last), tile counts, prefetch, groups in
 * memory, segments with kept activations. Budgets are the deck's or what the node has; of nvme,
 * what is free on its paths, and what lies on memory there counts as host memory as well. Warns
 * of paths that are no local disks where states go there. ZI_ERROR_FIT, after logging what is
 * short by how much and the nearest change of the deck that fits; ZI_ERROR_USAGE when
 * memory.device is auto and the description does not say what the device has. */
enum zi_status zero_resolve(const struct settings *settings, const struct device_properties *device,
                            int ranks, const struct zero_node *node, struct zero_config *config);

/* Local. Whether zero_resolve would find a way to fit the deck into the budgets that *config has,
 * for its ranks; says nothing. *config becomes the leanest one. */
enum zi_status zero_fits(const struct settings *settings, const struct device_properties *device,
                         struct zero_config *config, bool *fits);

struct comm;

/* Collective. The same for all ranks of a group: rank 0 decides, since ranks that read different
 * amounts of free memory must not compile different programs. Where only the disk is short it is
 * ZI_ERROR_IO: a run then has a full disk. */
enum zi_status zero_resolve_all(const struct settings *settings,
                                const struct device_properties *device, struct comm *comm,
                                struct zero_config *config);

/* Bytes of an update per parameter. */
struct zero_way {
    /* Gone through where it is made; brought to the device, and from it. */
    size_t memory, in, out;
};

/* Local. What it takes to update on the host or on the device. */
void zero_update_way(const struct zero_config *config, enum zi_tier worker, struct zero_way *way);

/* Local. Why the tiers are what they are, in a line per state kind that was auto; what updates states
 * that are not on the device, and why. */
void zero_explain(const struct settings *settings, const struct zero_config *config, FILE *out);

#endif
