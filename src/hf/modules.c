/* SPDX-License-Identifier: Apache-2.0 */
/* Modules by the rows of names of an architecture: those with the same name in the file are one. */
#include "hf/modules.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

static int find_tensor(const struct hf_modules *all, const char *name)
{
    for (int i = 0; i < all->count; i++)
        if (strcmp(all->tensors[i].name, name) == 0) return i;
    return -1;
}

int hf_stem_length(const char *name)
{
    return (int)(strrchr(name, '.') - name);
}

/* Adds a matrix of zinf to a module. */
static void add_part(const struct hf_modules *all, const struct hf_name *row, int layer,
                     struct hf_module *module)
{
    char name[HF_NAME], lora[HF_NAME + 8];
    int base = find_tensor(all, hf_name_write(row->tensor, layer, name));
    if (base < 0 || all->tensors[base].dimensions < 2) return;
    ZI_REQUIRE(module->part_count < HF_PARTS);
    snprintf(lora, sizeof lora, "%.*s.lora_a", hf_stem_length(name), name);
    struct hf_part *part = &module->parts[module->part_count++];
    *part = (struct hf_part){find_tensor(all, lora), module->outputs, all->tensors[base].shape[0]};
    module->adapter_count += part->adapter >= 0;
    module->inputs = all->tensors[base].shape[1];
    module->outputs += part->rows;
}

struct hf_module hf_module_of(const struct hf_modules *all, const struct hf_name *first, int layer)
{
    struct hf_module module = {.part_count = 0};
    for (const struct hf_name *row = first; row->tensor; row++)
        if (strcmp(row->in_file, first->in_file) == 0) add_part(all, row, layer, &module);
    return module;
}

bool hf_names_module(const struct hf_architecture *architecture, const struct hf_name *row)
{
    if (strncmp(row->tensor, "blocks.", strlen("blocks.")) != 0) return false;
    for (const struct hf_name *before = architecture->names; before < row; before++)
        if (strcmp(before->in_file, row->in_file) == 0) return false;
    return true;
}

int hf_parts_of(const struct hf_architecture *architecture, const struct hf_name *row)
{
    int count = 0;
    for (const struct hf_name *other = architecture->names; other->tensor; other++)
        count += strcmp(other->in_file, row->in_file) == 0;
    return count;
}
