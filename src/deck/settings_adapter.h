/* SPDX-License-Identifier: Apache-2.0 */
/* What is beside the matrices of a model. Included through deck/settings.h. */
#ifndef ZI_DECK_SETTINGS_ADAPTER_H
#define ZI_DECK_SETTINGS_ADAPTER_H

#include <stdint.h>

#include "deck/list.h"

/* What the product of an adapter is multiplied with: alpha / rank, or alpha / sqrt(rank). */
enum adapter_scaling { ADAPTER_PLAIN, ADAPTER_RSQRT };

/* Low-rank adapters (LoRA). */
struct settings_adapter {
    /* Folder of PEFT with the values to begin with: "" for none. */
    char *from;
    /* 0: none. */
    int64_t rank;
    /* auto: rank. */
    int64_t alpha;
    /* enum adapter_scaling. */
    int scaling;
    double dropout;
    /* Names of matrices; auto: query and value; all. */
    struct deck_list targets;
};

#endif
