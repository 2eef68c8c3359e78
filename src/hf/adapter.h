/* SPDX-License-Identifier: Apache-2.0 */
/* Low-rank adapters in the format of the package PEFT: a folder with adapter_config.json and
 * adapter_model.safetensors. All are Local. */
#ifndef ZI_HF_ADAPTER_H
#define ZI_HF_ADAPTER_H

#include "hf/model.h"

struct hf_adapter_writing {
    /* Exists. */
    const char *folder;
    /* With adapters; and the type in which they are written. */
    struct hf_description description;
    /* All tensors of the model: of those with adapters, query.lora_a and query.lora_b beside
     * query.weight. */
    const struct hf_tensor *tensors;
    int count;
    hf_source *source;
    void *context;
};

/* Writes the folder. Matrices that are one in the files of an architecture (query, key and value of
 * GPT-2) have one adapter there: of the sum of their ranks, with zeros where the adapter of one meets
 * the rows of another. ZI_ERROR_USAGE where there are no adapters; ZI_ERROR_IO; what the source
 * gives. */
enum zi_status hf_adapter_write(const struct hf_adapter_writing *writing);

#endif
