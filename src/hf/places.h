/* SPDX-License-Identifier: Apache-2.0 */
/* Private to hf: where tensors of zinf lie in those of files. */
#ifndef ZI_HF_PLACES_H
#define ZI_HF_PLACES_H

#include "hf/architecture.h"
#include "hf/model.h"

/* Where a tensor of zinf, [rows, columns], lies in one of a file that has `total` rows (outputs) in
 * all: from row `first` on. One dimension has one column. */
struct hf_place {
    const struct hf_name *name;
    int layer;
    int64_t rows, columns, first, total;
};

/* Local. Finds the places of tensors, one each. Those that share one in the file lie there in the
 * order of the rows of names. ZI_ERROR_USAGE for one without a row, or without those that share its
 * own. */
enum zi_status hf_places_find(const struct hf_architecture *architecture,
                              const struct hf_tensor *tensors, int count, struct hf_place *places);

#endif
