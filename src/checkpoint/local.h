/* SPDX-License-Identifier: Apache-2.0 */
/* Local checkpoints: what each rank has of the states, in a file on a disk of its node. Nothing
 * crosses the network and no file system is shared, so they may be frequent; a node that is lost
 * takes its part along, and then the shared level (checkpoint.h) has to do.
 *
 *   FOLDER/run                              whose they are (local_folder.c)
 *   FOLDER/rank-RRRRR.step-SSSSSSSS.local   record, then values (local_file.h)
 *
 * They belong to one run, one number of ranks and one way to cut the model among them (identity and
 * layout), and are of use together only. At most two steps stand, so that a kill between the
 * renames of two ranks leaves a step that all have. */
#ifndef ZI_CHECKPOINT_LOCAL_H
#define ZI_CHECKPOINT_LOCAL_H

#include "checkpoint/checkpoint.h"

struct local_checkpoint;

/* The local checkpoints of a run, as a rank has them. */
struct local_site {
    /* On this node (local_folder.h). The caller's. */
    const char *folder;
    /* Of the run, and of all that went on from its local checkpoints. */
    uint64_t identity;
    /* Which elements are which rank's; the same on all ranks. */
    uint64_t layout;
    /* The last step that all ranks have; -1: none. */
    int64_t standing;
};

/* Collective. Begins the file of this rank, under a temporary name. Of older steps only the one
 * that stands stays. What is given is copied, but for the site's folder. ZI_ERROR_IO, after a
 * warning, with nothing left behind. */
enum zi_status local_create(struct comm *comm, const struct local_site *site,
                            const struct checkpoint_header *header,
                            const struct checkpoint_tensor *tensors, int tensor_count,
                            struct local_checkpoint **made);

/* Local. Writes elements of one state of one tensor, as checkpoint_write does. A failing disk is a
 * warning at once, and an error of local_commit. */
enum zi_status local_write(struct local_checkpoint *local, enum tier_kind state, int tensor,
                           int64_t first, int64_t count, const void *values);

/* Collective. Makes the files of all ranks durable and gives them their names. Errors as those of
 * checkpoint_commit; the file is removed then, and the step before stands. Then good for
 * local_close only. */
enum zi_status local_commit(struct local_checkpoint *local);

/* Local. Bytes that this rank has written, or, of one that was opened, that it has. */
int64_t local_bytes(const struct local_checkpoint *local);

/* Collective. Opens the newest step that every rank has whole, of the site's identity and layout;
 * checksums are compared. NULL when there is none: where some ranks have files, the others say what
 * they lack. */
enum zi_status local_open_newest(struct comm *comm, const struct local_site *site,
                                 const struct checkpoint_tensor *tensors, int tensor_count,
                                 enum zi_dtype type, struct local_checkpoint **opened);

/* Local. What an open one says of itself; its own. */
const struct checkpoint_header *local_header(const struct local_checkpoint *local);

/* Collective. Gives elements that rank `root` has to all ranks, which keep them in a nameless file
 * beside their own: from then on local_read takes this state from there. An error is kept for
 * local_share_end. */
enum zi_status local_share(struct local_checkpoint *local, enum tier_kind state, int tensor,
                           int64_t first, int64_t count, int root);

/* Collective. Whether all that was shared is there. */
enum zi_status local_share_end(struct local_checkpoint *local);

/* Local. Reads elements that this rank has, or was given. ZI_ERROR_IO. */
enum zi_status local_read(const struct local_checkpoint *local, enum tier_kind state, int tensor,
                          int64_t first, int64_t count, void *values);

/* Local. Ends what create or open gave; NULL does nothing. A file without a name of its own goes. */
void local_close(struct local_checkpoint *local);

#endif
