/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the checkpoint room: a checkpoint file as its writer and its reader see it, a list of
 * datasets whose bytes lie at known offsets. */
#ifndef ZI_CHECKPOINT_FILE_H
#define ZI_CHECKPOINT_FILE_H

#include <pthread.h>
#include <stdatomic.h>

#include "checkpoint/checkpoint.h"
#include "checkpoint/form.h"
#include "checkpoint/writer.h"
#include "h5/attribute.h"
#include "h5/dataset.h"
#include "h5/h5.h"

#define CHECKPOINT_FORMAT    "zinf-checkpoint-3"
#define CHECKPOINT_WEIGHTS   "parameter"      /* attribute states of one that has nothing else */
#define CHECKPOINT_NAME      "step-%08lld.h5" /* of a step, a long long */
#define CHECKPOINT_TEMPORARY ".tmp"           /* behind it, until it is whole */

struct checkpoint_dataset {
    /* "parameter/blocks.3.attention.query.weight", owned */
    char *name;
    enum tier_kind state;
    enum zi_dtype type;
    int dimensions;
    int64_t shape[2], elements;
    /* Of its first byte in the file */
    int64_t offset;
    /* Of its checksum */
    uint64_t seed;
    /* Writing: of what this rank has written; reading: as recorded */
    uint64_t checksum;
    /* Elements this rank has written; of all ranks, in the end */
    uint64_t written;
    /* Of them, not finite; of parameters and masters only */
    uint64_t broken;
};

/* How far a checkpoint that is written has come. */
enum checkpoint_stage {
    /* Takes ranges. */
    STAGE_OPEN,
    /* Each rank's thread makes durable what it wrote. */
    STAGE_SEALED,
    /* Rank 0's thread makes the header durable and gives the file its name. */
    STAGE_NAMED,
    STAGE_DONE
};

struct checkpoint {
    struct comm *comm;
    /* Writing only; freed with the checkpoint where it is its own. */
    struct checkpoint_form *form;
    bool owns_form;
    /* Texts owned; `path` is this struct's */
    struct checkpoint_header header;
    /* Writing only */
    char *directory;
    /* Writing: `path` was given, and is not made of the step. */
    bool named;
    /* temporary: writing only, NULL once it has gone */
    char *path, *temporary;
    /* Reading only; -1 = closed */
    int descriptor;
    int tensor_count, dataset_count;
    struct checkpoint_dataset *datasets;
    /* Writing only. */
    char place[96];
    /* Writing only, rank 0: which file the temporary one is; 0, 0 on other ranks. */
    dev_t device;
    ino_t inode;
    /* Writing only. NULL once this rank's part is sealed. */
    struct checkpoint_writer *writer;
    enum checkpoint_stage stage;
    struct checkpoint_retention keep;
    /* Does the work of a stage that waits for the disk; `ready` when it is done. */
    pthread_t thread;
    bool threaded;
    atomic_bool ready;
    double thread_s, end_s;
    /* First error of this rank's writes, or of the thread's work. */
    enum zi_status status;
};

/* Local. Name of a kind of state in checkpoints, or NULL where it is in none. */
const char *checkpoint_state_name(enum tier_kind state);

/* Local. Its type there, for the type of parameters. */
enum zi_dtype checkpoint_state_type(enum tier_kind state, enum zi_dtype parameter);

/* Local. Whether it has datasets of its own there (with fp32 the parameter is the master). */
bool checkpoint_state_is_written(enum tier_kind state, enum zi_dtype parameter);

/* Local. The checksum of elements first .. first+count-1 of a dataset. */
uint64_t checkpoint_checksum(const struct checkpoint_dataset *dataset, int64_t first, int64_t count,
                             const void *values);

/* Local. How many values are not finite, told by an exponent of all ones. */
uint64_t checkpoint_count_broken(enum zi_dtype type, int64_t count, const void *values);

/* Local. Names a dataset and sets its sizes and seed. On error the name is set all the same, or
 * NULL. ZI_ERROR_IO for an extent that is not positive, or beyond what can be counted. */
enum zi_status checkpoint_dataset_set(struct checkpoint_dataset *dataset, enum tier_kind state,
                                      const char *tensor, enum zi_dtype type, const int64_t *shape,
                                      int dimensions);

/* Local (rank 0). The file that `path` stands for, which the caller frees with free(): itself; of a
 * folder what `latest` names; where that is missing or leads nowhere the newest whole checkpoint,
 * which is said. All of it but the tensors' numbers is what was written then. ZI_ERROR_USAGE when
 * there is none, or it has no user block; ZI_ERROR_IO when it is damaged. */
enum zi_status checkpoint_find(const char *path, char **found);

/* Local. Frees everything but a form of others; the file is the caller's business. */
void checkpoint_free(struct checkpoint *checkpoint);

/* Local. File access for all ranks of a group: parallel HDF5, or one process for a group without
 * MPI. Negative on failure. */
hid_t checkpoint_access_create(struct comm *comm);

/* Local. The status that a checkpoint or a local one gives back: memory that could not be had leaves
 * it unwritten, like room that could not be had, and is not the end of a run. */
enum zi_status checkpoint_unwritten(enum zi_status status);

/* Local (rank 0). Removes the temporary file, if it is still the one that was made. */
void checkpoint_discard(const struct checkpoint *checkpoint);

/* Collective. Rank 0 creates the temporary file, claims its space, and gives it the layout of the
 * form. On error the temporary file is gone on return. */
enum zi_status checkpoint_layout(struct checkpoint *checkpoint);

/* Local. Whether a path of one of the names of checkpoint_kind_of, or with `named` any path, is absent
 * or of that kind, with `named` a file, so that it may be replaced. ZI_ERROR_USAGE, ZI_ERROR_IO. */
enum zi_status checkpoint_name_free(const char *path, bool named);

/* Local. Opens the temporary file as it is, a regular file that no link leads to; on rank 0 the one
 * that it has made. ZI_ERROR_IO. */
enum zi_status checkpoint_reopen(const struct checkpoint *checkpoint, int flags, int *file);

/* Local (rank 0). Renames the finished file, moves `latest`, removes what `keep` does not name. */
enum zi_status checkpoint_publish(struct checkpoint *checkpoint, struct checkpoint_retention keep);

#endif
