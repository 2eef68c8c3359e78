/* SPDX-License-Identifier: Apache-2.0 */
/* Private to compiler: the steps from a deck to a configuration, shared by placement.c (the choice),
 * update_on.c (by what it goes) and advise.c (what to change when nothing fits). */
#ifndef ZI_COMPILER_RESOLVE_H
#define ZI_COMPILER_RESOLVE_H

#include <stdio.h>

#include "program/program.h"

struct resolve_fit {
    bool fits;
    /* Bytes past the budgets. */
    size_t excess[ZI_TIER_COUNT];
    /* Bytes of nvme that count as host memory. */
    size_t disk_memory;
    /* Of a kind. */
    int segments[LAYER_KIND_COUNT];
};

/* Local. What the deck says, with the first choice for auto. */
void resolve_settings(const struct settings *s, const struct device_properties *device,
                      struct zero_config *config);

/* Local. The budgets of the tiers: those of the deck, or what the node has. ZI_ERROR_USAGE when
 * memory.device is auto and the description does not say what the device has. */
enum zi_status resolve_budgets(const struct settings *s, const struct device_properties *device,
                               struct zero_config *config);

/* Local. Sequences that one rank passes at once. */
int64_t resolved_micro(const struct settings_batch *batch, int ranks);

/* Local. Micro-batches that a step program of the model may have. */
int64_t micros_most(const struct settings_model *model);

/* Local. Whether host or device update states that are not on the device, whose tiers are chosen. */
void resolve_update_on(const struct settings *s, struct zero_config *config);

/* Local. Whether a kind of state goes to the memory of the worker (host or device) for its update. */
bool update_brings(const struct zero_config *config, enum zi_tier worker, enum tier_kind kind);

/* Local. Which of them does, what that moves, and why where it was auto. */
void resolve_explain_update(const struct settings *s, const struct zero_config *config, FILE *out);

/* Local. Whether units can be updated speculatively (speculate.c). */
bool speculation_is_possible(const struct zero_config *config);

/* Local. ZI_ERROR_USAGE where the deck asks for that and they cannot. */
enum zi_status resolve_check_speculation(const struct settings *s,
                                         const struct zero_config *config);

/* Local. Whether they are, and why where it was auto. */
void resolve_explain_speculation(const struct settings *s, const struct zero_config *config,
                                 FILE *out);

/* Local. Lays out a candidate and compares its pools with the budgets. */
enum zi_status resolve_measure(const struct settings *s, struct zero_config *config,
                               struct resolve_fit *fit);

/* Local. Chooses everything that is auto; *fits says whether anything fits. */
enum zi_status resolve_choose(const struct settings *s, struct zero_config *config, bool *fits);

/* Local. Logs what is short by how much, and the nearest change of the deck that fits. */
enum zi_status resolve_advise(const struct settings *s, const struct device_properties *device,
                              const struct zero_config *config);

#endif
