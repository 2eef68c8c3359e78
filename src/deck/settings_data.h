/* SPDX-License-Identifier: Apache-2.0 */
/* On which data. Included through deck/settings.h. */
#ifndef ZI_DECK_SETTINGS_DATA_H
#define ZI_DECK_SETTINGS_DATA_H

#include <stdint.h>

#include "deck/sources.h"

/* Of files that tell documents apart: packed into sequences, or read as one stream. */
enum data_packing { PACKING_DOCUMENTS, PACKING_NONE };
enum data_format { DATA_HDF5, DATA_LLMC, DATA_NANOGPT, DATA_MEGATRON };
enum data_type { DATA_UINT8, DATA_UINT16, DATA_UINT32, DATA_INT32, DATA_INT64 };

struct settings_data {
    /* Token files; validation: 0 for none, and without weights. */
    struct deck_sources train, validation;
    /* enum data_format; auto: told by the file's first bytes and name. */
    int64_t format;
    /* enum data_type of ids in files without a header; auto: uint16. */
    int64_t type;
    /* enum data_packing. */
    int64_t packing;
    /* Of JSON lines; "": that of model.from. */
    char *tokenizer;
    /* Steps; 0 = never; auto: a tenth of the run where there is a file. */
    int64_t validation_every;
    /* auto: all, to 1024. */
    int64_t validation_sequences;
};

struct settings_batch {
    /* Sequences per step, over all ranks. */
    int64_t global;
    /* Sequences one rank passes at once; auto: its share, at most 8. */
    int64_t micro;
    /* Per sequence; auto: model.context. */
    int64_t tokens;
};

#endif
