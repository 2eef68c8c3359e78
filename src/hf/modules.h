/* SPDX-License-Identifier: Apache-2.0 */
/* Private to hf: modules of blocks, the matrices of an architecture's files, as those of zinf that they
 * join. All are Local. */
#ifndef ZI_HF_MODULES_H
#define ZI_HF_MODULES_H

#include "hf/architecture.h"
#include "hf/model.h"

enum { HF_PARTS = 3 };

/* One of the matrices that a module joins: the tensor of its lora_a, behind which is that of lora_b, or
 * -1; its rows of the module. */
struct hf_part {
    int adapter;
    int64_t first, rows;
};

/* A module of one block; no part: the names' row is of no matrix. */
struct hf_module {
    struct hf_part parts[HF_PARTS];
    int part_count, adapter_count;
    int64_t inputs, outputs;
};

/* All tensors of a model of zinf, and what they are called in files. */
struct hf_modules {
    const struct hf_architecture *architecture;
    const struct hf_tensor *tensors;
    int count;
};

/* The module of a block whose first matrix has a row of names. */
struct hf_module hf_module_of(const struct hf_modules *all, const struct hf_name *first, int layer);

/* Whether a row of names is the first of a tensor of blocks. */
bool hf_names_module(const struct hf_architecture *architecture, const struct hf_name *row);

/* How many matrices of zinf the tensor of a row of names joins. */
int hf_parts_of(const struct hf_architecture *architecture, const struct hf_name *row);

/* The length of a name without its last part, ".weight". */
int hf_stem_length(const char *name);

#endif
