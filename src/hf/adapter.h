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
 * GPT-2) have one adapter there, if any of them has one: of the sum of their ranks, with zeros where the
 * adapter of one meets the rows of another, and for those that have none. ZI_ERROR_USAGE where there
 * are no adapters; ZI_ERROR_IO; what the source gives. */
enum zi_status hf_adapter_write(const struct hf_adapter_writing *writing);

struct hf_adapter;

/* Opens a folder of PEFT for a model of zinf, whose settings are copied but for lists: reads the config
 * and the head of the weights, and compares which modules they name. ZI_ERROR_USAGE where it asks for
 * what zinf does not do, by name; ZI_ERROR_IO. */
enum zi_status hf_adapter_open(const char *folder, const struct settings_model *model,
                               struct hf_adapter **adapter);

/* NULL does nothing. */
void hf_adapter_close(struct hf_adapter *adapter);

/* Rank, alpha, scaling and targets, its own. */
const struct settings_adapter *hf_adapter_settings(const struct hf_adapter *adapter);

/* Finds the adapters among all tensors of a model in the files; they stay the caller's. A matrix that
 * joins several of zinf gives each its lora_A and its rows of lora_B, which is the same function; or, of
 * those that hf_adapter_write has joined, each its own.
 * ZI_ERROR_USAGE naming what is missing, has another shape, or is left over. */
enum zi_status hf_adapter_match(struct hf_adapter *adapter, const struct hf_tensor *tensors,
                                int count);

/* Reads elements [first, first + count), row-major, of tensor number `tensor` of hf_adapter_match, which
 * is of an adapter, as fp32. ZI_ERROR_IO. */
enum zi_status hf_adapter_read(const struct hf_adapter *adapter, int tensor, int64_t first,
                               int64_t count, float *values);

#endif
