/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints: one HDF5 file per step, written in parallel by all ranks under the tensors' own
 * names and shapes, so that any number of ranks, h5dump and h5py read it.
 *
 *   /<state>/<name>   dataset of each kind of state that is saved (tier/kinds.h), in its type there
 *                     (bf16 as an HDF5 float type of 16 bits, fp16 as IEEE F16); with fp32 compute
 *                     /master/<name> is a hard link to /parameter/<name>
 *                     tensors that training does not change have a parameter alone
 *   attributes of /   format, step, updates, tokens, seed, deck (text), type, model (family and
 *                     sizes, text), version, revision, written (date); with fp16
 *                     loss_scale and loss_scale_steps, of the step that follows
 *                     states: "parameter" where it has no others (weights_only)
 *                     moments: 0 or 1 where the optimizer keeps fewer than two
 *   attribute `checksum` of each dataset
 *                     the checksum of device/operations.h over its bits (32, or 16), with
 *                     seed = zi_random_stream("<kind>/<name>"); it does not depend on the ranks
 *   user block        before HDF5's part (user_block.h): where the numbers of datasets are, and a
 *                     checksum of every other byte, so an attribute that somebody adds is damage
 *
 * Datasets are contiguous, early-allocated and never filled. Writing goes to a temporary name, past
 * the page cache; then fsync, agreement of all ranks, rename, fsync of the folder, and the link
 * `latest` moves last: a name without .tmp is whole. None of it keeps the caller: begin takes some
 * milliseconds, write copies, and what waits for the disk runs in threads between the calls of
 * checkpoint_advance. */
#ifndef ZI_CHECKPOINT_CHECKPOINT_H
#define ZI_CHECKPOINT_CHECKPOINT_H

#include <stdbool.h>

#include "base/dtype.h"
#include "base/status.h"
#include "checkpoint/folder.h"
#include "comm/comm.h"
#include "tier/kinds.h"

struct checkpoint_tensor {
    const char *name;
    int dimensions;
    int64_t shape[2];
    /* Training does not change it: it has a parameter and no other state. */
    bool frozen;
};

struct checkpoint_header {
    int64_t step, updates, tokens, seed;
    /* Of the next step, with fp16: a power of two, and finite steps since it was changed. */
    int64_t loss_scale, loss_scale_steps;
    /* The used deck, text */
    const char *deck;
    /* Of parameters */
    enum zi_dtype type;
    /* Family and sizes, one line of YAML, for deck_parse_part */
    const char *model_text;
    /* Of the states it has parameters alone: for weights that were not trained here. */
    bool weights_only;
    /* So many of the last of TIER_MOMENTS moments it has not: the optimizer keeps fewer. */
    int lacks;
    /* Reading: the file. Writing: its name in the folder that is given; NULL: one made of the step, and
     * then `latest` moves to it */
    const char *path;
    /* Writing: permissions of the file, whatever the umask; 0: 0600 */
    unsigned mode;
};

/* How a rank writes a checkpoint. */
struct checkpoint_writing {
    /* File system, size of its blocks or stripes, disk engine: "ext4, blocks of 4.00 KiB, libaio" */
    const char *place;
    /* That threads have needed so far, in stages that are behind them */
    double seconds;
    /* When the last of them was done, on the clock of zi_time_s */
    double end_s;
};

struct checkpoint;

/* Collective. A single checkpoint: its form, and its beginning (form.h). */
enum zi_status checkpoint_create(struct comm *comm, const char *directory,
                                 const struct checkpoint_header *header,
                                 const struct checkpoint_tensor *tensors, int tensor_count,
                                 struct checkpoint **checkpoint);

/* Local (a count of 0 does nothing). Writes elements [first, first+count) (row-major) of one state
 * of one tensor from host memory in the state's type, which is copied. Over all ranks every element
 * is written once; from one thread at a time. A failing disk is logged at once and given back on
 * every rank by checkpoint_advance; the call itself gives ZI_OK then: all leave by the same door. */
enum zi_status checkpoint_write(struct checkpoint *checkpoint, enum tier_kind state, int tensor,
                                int64_t first, int64_t count, const void *values);

/* Local. This rank has written all that it has; begins to make it durable, in a thread. */
void checkpoint_seal(struct checkpoint *checkpoint, struct checkpoint_retention keep);

/* Collective, until *done, after checkpoint_seal. Goes on with what is ready on all ranks, or, where
 * it `waits`, to the end: the file is durable, gets its name, `latest` moves, and the oldest that
 * `keep` does not name and temporary files of killed runs are removed. ZI_ERROR_NUMERICS when a
 * parameter or a master is not finite: such states never take the place of good ones. After an error
 * of any rank, which is *done too, the temporary file is removed and nothing else has changed. The
 * checkpoint is then good for checkpoint_close only. */
enum zi_status checkpoint_advance(struct checkpoint *checkpoint, bool waits, bool *done);

/* Local. How this rank writes a checkpoint; `place` is the checkpoint's own. */
struct checkpoint_writing checkpoint_get_writing(const struct checkpoint *checkpoint);

/* Collective. Both: seals, and waits for the end. */
enum zi_status checkpoint_commit(struct checkpoint *checkpoint, struct checkpoint_retention keep);

/* Collective. Opens a checkpoint file, or the `latest` of a folder, for reading; where that link is
 * missing or leads nowhere the newest whole checkpoint of the folder, with a warning. Type, extents
 * and place of all it holds have been checked then. ZI_ERROR_USAGE when there is none or it is no
 * checkpoint; ZI_ERROR_IO when it is damaged. */
enum zi_status checkpoint_open(struct comm *comm, const char *path, struct checkpoint **checkpoint);

/* Collective. Opens the newest checkpoint of a folder that is whole and whose checksums all hold;
 * newer ones that are not are named in warnings. NULL when the folder has none, or is not there. */
enum zi_status checkpoint_open_newest(struct comm *comm, const char *folder,
                                      struct checkpoint **checkpoint);

/* Local. The largest step of the names of a folder's checkpoints, which are not opened; -1: none. */
int64_t checkpoint_newest_step(const char *folder);

/* Local. What an open checkpoint says of itself; its own. */
const struct checkpoint_header *checkpoint_get_header(const struct checkpoint *checkpoint);

/* Local. Reads elements of one state of the named tensor of `elements` elements in all, in the
 * state's type. ZI_ERROR_USAGE when it is not there or has another size; ZI_ERROR_IO when the disk
 * fails or, for a read of the whole tensor, the checksum differs. */
enum zi_status checkpoint_read(struct checkpoint *checkpoint, enum tier_kind state,
                               const char *tensor, int64_t elements, int64_t first, int64_t count,
                               void *values);

/* Collective. Reads all of an open checkpoint, a share on each rank, and compares the checksums.
 * ZI_ERROR_IO naming file and tensor when a byte has changed. */
enum zi_status checkpoint_verify(struct checkpoint *checkpoint);

/* Local. The most bytes that a checkpoint file of these tensors takes on the disk. */
int64_t checkpoint_bytes(const struct checkpoint_header *header,
                         const struct checkpoint_tensor *tensors, int tensor_count);

/* Local. Ends what begin or open gave; one that was not committed loses its temporary file. */
void checkpoint_close(struct checkpoint *checkpoint);

/* Local. Elements of one state of the named tensor of an open checkpoint, -1 when it has none. */
int64_t checkpoint_elements(const struct checkpoint *checkpoint, enum tier_kind state,
                            const char *tensor);

/* Local. Tensors of an open checkpoint. */
int checkpoint_tensors(const struct checkpoint *checkpoint);

#endif
