/* SPDX-License-Identifier: Apache-2.0 */
/* Private to hf: which modules an adapter_config.json names, against those that the weights beside it
 * have. All are Local. */
#ifndef ZI_HF_ADAPTER_TARGETS_H
#define ZI_HF_ADAPTER_TARGETS_H

#include <jansson.h>

#include "hf/architecture.h"
#include "hf/safetensors.h"

/* What helps against all that zinf does not do with adapters. */
#define HF_MERGE                                                                                   \
    "; let PEFT merge it (merge_and_unload, then save_pretrained), and name that folder in "       \
    "model.from"

struct hf_targets {
    /* The folder, and its config. */
    const char *folder;
    const json_t *config;
    const struct hf_architecture *architecture;
    int64_t layers;
    const struct safetensors *files;
    struct settings_adapter settings;
};

/* The tensor of an adapter beside that of a row of names, `end` lora_A or lora_B; NULL: none. */
const struct safetensors_tensor *hf_targets_find(const struct hf_targets *targets,
                                                 const struct hf_name *row, int64_t layer,
                                                 const char *end);

/* A list under target_modules names what the weights have, and nothing else of the model; what is no
 * part of it is warned of. A pattern is not compared. rank_pattern and alpha_pattern ask for nothing,
 * or for a matrix that joins several of zinf as hf_adapter_write joins their adapters.
 * ZI_ERROR_USAGE naming the module. */
enum zi_status hf_targets_check(const struct hf_targets *targets);

/* Whether the adapter of a row of names joins those of several, with a rank of each. */
bool hf_targets_join(const struct hf_targets *targets, const struct hf_name *row);

#endif
