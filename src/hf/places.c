/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors of zinf and those of files, by the rows of names of an architecture. */
#include "hf/places.h"

#include <string.h>

#include "base/log.h"

/* The tensor of a row of names and a layer; NULL when there is none. Those that share a tensor in the
 * file stand near each other, so the search goes out from `near`. */
static const struct hf_tensor *tensor_of(const struct hf_tensor *tensors, int count, int near,
                                         const char *wanted)
{
    for (int distance = 0; distance < count; distance++) {
        if (near + distance < count && strcmp(tensors[near + distance].name, wanted) == 0)
            return &tensors[near + distance];
        if (near - distance >= 0 && strcmp(tensors[near - distance].name, wanted) == 0)
            return &tensors[near - distance];
    }
    return NULL;
}

static enum zi_status find_place(const struct hf_architecture *architecture,
                                 const struct hf_tensor *tensors, int count, int index,
                                 struct hf_place *place)
{
    const struct hf_tensor *tensor = &tensors[index];
    char name[HF_NAME];
    bool before = true;
    *place = (struct hf_place){.rows = tensor->shape[0],
                               .columns = tensor->dimensions > 1 ? tensor->shape[1] : 1};
    for (const struct hf_name *row = architecture->names; row->tensor && !place->name; row++)
        if (hf_name_matches(row->tensor, tensor->name, &place->layer)) place->name = row;
    if (!place->name)
        return zi_fail(ZI_ERROR_USAGE, "hf", "%s has no place for %s", architecture->causal,
                       tensor->name);
    for (const struct hf_name *row = architecture->names; row->tensor; row++) {
        if (strcmp(row->in_file, place->name->in_file) != 0) continue;
        const struct hf_tensor *other =
            tensor_of(tensors, count, index, hf_name_write(row->tensor, place->layer, name));
        if (row == place->name) before = false;
        if (!other)
            return zi_fail(ZI_ERROR_USAGE, "hf", "%s needs %s beside %s", architecture->causal,
                           name, tensor->name);
        if (before) place->first += other->shape[0];
        place->total += other->shape[0];
    }
    return ZI_OK;
}

enum zi_status hf_places_find(const struct hf_architecture *architecture,
                              const struct hf_tensor *tensors, int count, struct hf_place *places)
{
    for (int i = 0; i < count; i++)
        ZI_TRY(find_place(architecture, tensors, count, i, &places[i]));
    return ZI_OK;
}
