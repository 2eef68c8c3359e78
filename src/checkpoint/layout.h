/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the checkpoint room: what a form holds, the layout of a run's checkpoints. */
#ifndef ZI_CHECKPOINT_LAYOUT_H
#define ZI_CHECKPOINT_LAYOUT_H

#include "checkpoint/file.h"
#include "checkpoint/form.h"
#include "checkpoint/header.h"

/* Bytes of the file that are in no dataset. */
struct form_piece {
    int64_t offset, bytes;
    char *data;
};

struct checkpoint_form {
    struct comm *comm;
    /* Owned. */
    char *directory;
    /* What does not differ; texts owned. */
    struct checkpoint_header header;
    int tensor_count, dataset_count;
    /* With offsets on every rank, and nothing written. */
    struct checkpoint_dataset *datasets;
    /* [state * tensor_count + tensor]: the dataset, or -1. */
    int *places;
    /* Which tensors have states beside their parameter. */
    bool *trained;
    /* Rank 0: all of the file behind the user block that is in no dataset, and the file's bytes. */
    struct form_piece *pieces;
    int piece_count;
    int64_t bytes;
    /* Rank 0: where the values are that are known only later; 0: they are not in the file. */
    int64_t *checksums;
    int64_t values[HEADER_VALUES];
};

#endif
