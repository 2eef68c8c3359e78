/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints: one HDF5 file per step, written in parallel by all ranks under the tensors' own
 * names and shapes, so that any number of ranks, h5dump and h5py read it.
 *
 *   /parameter/<name>   compute type (bf16 as an HDF5 float type of 16 bits)
 *   /master/<name>      fp32; with fp32 compute a hard link to /parameter/<name>
 *   /moment1/<name>, /moment2/<name>   fp32
 *   attributes of /: format, step, updates, tokens, seed, deck (text), version, family and sizes of
 * the model
 *
 * Datasets are contiguous, early-allocated and never filled. Writing goes to a temporary name; then
 * flush, fsync, agreement of all ranks, rename, fsync of the folder, and the link `latest` moves
 * last: a name without .tmp is whole. */
#ifndef ZI_CHECKPOINT_CHECKPOINT_H
#define ZI_CHECKPOINT_CHECKPOINT_H

#include <stdio.h>

#include "base/dtype.h"
#include "base/status.h"
#include "comm/comm.h"

enum checkpoint_state {
    CHECKPOINT_PARAMETER,
    CHECKPOINT_MASTER,
    CHECKPOINT_MOMENT1,
    CHECKPOINT_MOMENT2,
    CHECKPOINT_STATE_COUNT
};

struct checkpoint_tensor {
    const char *name;
    int dimensions;
    int64_t shape[2];
};

struct checkpoint_header {
    int64_t step, updates, tokens, seed;
    const char *deck;       /* the used deck, text */
    enum zi_dtype type;     /* of parameters */
    const char *model_text; /* family and sizes, one line of YAML, readable by deck_parse */
};

struct checkpoint;

/* Collective. Starts DIRECTORY/step-NNNNNNNN.h5 under a temporary name with room for all states of
 * the tensors (master is stored only when type is not fp32). ZI_ERROR_IO with file and remedy. */
enum zi_status checkpoint_create(struct comm *comm, const char *directory,
                                 const struct checkpoint_header *header,
                                 const struct checkpoint_tensor *tensors, int tensor_count,
                                 struct checkpoint **checkpoint);

/* Collective: every rank calls it equally often, with count 0 where it has nothing. Writes elements
 * [first, first+count) (row-major) of one state of one tensor from host memory in the state's type.
 */
enum zi_status checkpoint_write(struct checkpoint *checkpoint, enum checkpoint_state state,
                                int tensor, int64_t first, int64_t count, const void *values);

/* Collective. Makes it durable, gives it its name, moves `latest`, and removes the oldest beyond
 * `keep` (0 keeps all). After an error of any rank the temporary file is removed and nothing else
 * has changed. */
enum zi_status checkpoint_commit(struct checkpoint *checkpoint, int64_t keep);

/* Collective. Opens a checkpoint file, or the `latest` of a folder, for reading. ZI_ERROR_USAGE
 * when there is none or it is no checkpoint; ZI_ERROR_IO when it is damaged. */
enum zi_status checkpoint_open(struct comm *comm, const char *path, struct checkpoint **checkpoint);
const struct checkpoint_header *checkpoint_get_header(const struct checkpoint *checkpoint);

/* Local. Reads elements of one state of the named tensor of `elements` elements in all.
 * ZI_ERROR_USAGE when it is not there or has another size. */
enum zi_status checkpoint_read(struct checkpoint *checkpoint, enum checkpoint_state state,
                               const char *tensor, int64_t elements, int64_t first, int64_t count,
                               void *values);
void checkpoint_close(struct checkpoint *checkpoint);

/* Local. Prints what an HDF5 file of zinf holds (checkpoint, run record or token file): attributes,
 * datasets with type, shape, bytes, and for small floats mean, deviation, smallest and largest.
 * ZI_ERROR_USAGE when it is none of them. */
enum zi_status checkpoint_inspect(const char *path, FILE *out);

#endif
