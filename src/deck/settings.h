/* SPDX-License-Identifier: Apache-2.0 */
/* The typed form of a deck: a struct per section, a field per key, filled through deck/table.h.
 * They own their texts and lists. ZI_AUTO is `auto`, until the section's room resolves it. */
#ifndef ZI_DECK_SETTINGS_H
#define ZI_DECK_SETTINGS_H

#include "deck/settings_data.h"
#include "deck/settings_machine.h"
#include "deck/settings_model.h"
#include "deck/settings_run.h"

#define ZI_AUTO (-1)

struct settings {
    struct settings_run run;
    struct settings_model model;
    struct settings_data data;
    struct settings_batch batch;
    struct settings_optimizer optimizer;
    struct settings_precision precision;
    struct settings_zero zero;
    struct settings_placement placement;
    struct settings_memory memory;
    struct settings_activations activations;
    struct settings_tiling tiling;
    struct settings_nvme nvme;
    struct settings_device device;
    struct settings_checkpoint checkpoint;
};

#endif
