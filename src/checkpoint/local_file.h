/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the checkpoint room: the file of a rank in a local checkpoint.
 *
 * Every file has room for all elements of all states, each at the place that it has in the files of
 * all other ranks too; a rank writes its own, and the rest are holes, which take no space. So there
 * is no list of what is where: the place of an element follows from its tensor, and as holes read
 * as zero, which adds nothing to a checksum, that of a whole dataset is that of what was written.
 *
 *   record   struct local_record, a struct local_sum for each dataset, deck, model; little-endian
 *   values   datasets in the order of states and tensors, each at a multiple of LOCAL_ALIGNMENT
 *
 * The record is written last, and has a checksum of its own. */
#ifndef ZI_CHECKPOINT_LOCAL_FILE_H
#define ZI_CHECKPOINT_LOCAL_FILE_H

#include "checkpoint/file.h"
#include "checkpoint/local.h"
#include "checkpoint/local_folder.h"

#define LOCAL_FORMAT "zinf-local-1"
#define LOCAL_OWNER  "run" /* the file that says whose a folder is */

enum { LOCAL_ALIGNMENT = 64, LOCAL_PIECE = 4 << 20 };

/* Local. Rounded up to whole alignments. */
static inline int64_t local_aligned(int64_t bytes)
{
    return (bytes + LOCAL_ALIGNMENT - 1) / LOCAL_ALIGNMENT * LOCAL_ALIGNMENT;
}

/* Every number has 8 bytes: there is no padding. */
struct local_record {
    char format[16];
    /* Of the record, with 0 in this place */
    uint64_t checksum;
    uint64_t identity, layout;
    int64_t rank, ranks, step, updates, tokens, seed;
    int64_t loss_scale, loss_scale_steps;
    /* enum zi_dtype */
    int64_t type;
    int64_t datasets, deck_bytes, model_bytes;
    /* Of the record, and of the file */
    int64_t record_bytes, file_bytes;
};

/* Of what the rank has of a dataset. */
struct local_sum {
    uint64_t checksum, written;
};

struct local_checkpoint {
    struct comm *comm;
    struct local_site site;
    /* Texts owned */
    struct checkpoint_header header;
    int tensor_count, dataset_count;
    struct checkpoint_dataset *datasets;
    int64_t record_bytes, file_bytes;
    /* `temporary`: writing only, NULL once it has gone */
    char *path, *temporary;
    /* `shared`: what all ranks have of these kinds; -1 = closed */
    int descriptor, shared;
    bool is_shared[TIER_KIND_COUNT];
    /* [LOCAL_PIECE], for what is shared; NULL before */
    char *piece;
    /* First error of this rank's writes */
    enum zi_status status;
};

/* Local. One of a step, with names, datasets and places; nothing is opened. Ended by local_close.
 * ZI_ERROR_DEVICE, ZI_ERROR_IO. */
enum zi_status local_describe(struct comm *comm, const struct local_site *site,
                              const struct checkpoint_header *header,
                              const struct checkpoint_tensor *tensors, int tensor_count,
                              struct local_checkpoint **made);

/* Local. The dataset of a state of a tensor; with fp32 the master's is the parameter's. */
struct checkpoint_dataset *local_dataset(const struct local_checkpoint *local, enum tier_kind state,
                                         int tensor);

/* Local. The checksum of a record of `bytes` bytes, whatever its field says. */
uint64_t local_record_checksum(const struct local_record *record, size_t bytes);

/* Local. Whether a name is one of a rank's file, with `ending` behind it, to the letter. */
bool local_name_read(const char *name, const char *ending, int *rank, int64_t *step);

/* Local. The largest step below `limit` of which a rank has a file in a folder; -1: none. */
int64_t local_step_below(const char *folder, int rank, int64_t limit);

#endif
